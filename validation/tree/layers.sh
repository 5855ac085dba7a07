# SPDX-License-Identifier: Apache-2.0
# The tree keeps to the table of who may use what; and the checker finds each kind of breach, at its line.
. "$srcdir/validation/tap.sh"
check=$srcdir/scripts/check-layers
table=$srcdir/scripts/layers

tap_check "sources keep to scripts/layers" sh "$check" "$srcdir" "$table"

plant() { # plant FILE LINE EXPECTED: a tree with one more line in FILE is refused, and the breach is named with its place
    rm -rf "$tap_dir/tree"
    mkdir -p "$tap_dir/tree/src/base" "$tap_dir/tree/src/ops/cpu" "$tap_dir/tree/src/model" "$tap_dir/tree/include/nemafit/io" \
        "$tap_dir/tree/src/layers"
    for header in base mesh ops model; do
        echo '/* nothing */' >"$tap_dir/tree/include/nemafit/$header.h"
    done
    echo '/* private */' >"$tap_dir/tree/src/model/own.h"
    printf '%s\n' '#include "nemafit/base.h"' '#include "own.h"' '#include <stdio.h>' >"$tap_dir/tree/src/model/ok.c"
    printf '%s\n' '/* #include <mpi.h> and exit(1) */' "$2" >"$tap_dir/tree/$1"
    sh "$check" "$tap_dir/tree" "$table" >"$tap_dir/found" 2>&1
    tap_status=$?
    if [ -z "$3" ]; then
        tap_ok $tap_status "allowed: $1: $2" || tap_note "$(cat "$tap_dir/found")"
        return
    fi
    [ $tap_status -eq 1 ] && grep -q "^$1:2: .*$3" "$tap_dir/found" && [ "$(wc -l <"$tap_dir/found")" -eq 1 ]
    tap_ok $? "found: $1: $2" || tap_note "$(cat "$tap_dir/found")"
}
plant src/base/a.c '#include "nemafit/base.h"' ''
plant src/base/a.c '#include "nemafit/mesh.h"' 'base must not use mesh'
plant src/ops/a.c '#include "nemafit/mesh.h"' 'ops must not use mesh'
plant src/ops/a.c '#include  "nemafit/ops.h"' ''
plant src/ops/a.c '#include "config.h"' ''
plant src/ops/cpu/a.c '#include "../../model/own.h"' 'private header'
plant src/ops/cpu/a.c '#include "model/own.h"' 'private header'
plant src/ops/cpu/a.c '#include "gone.h"' 'no header of this tree'
plant src/ops/cpu/a.c '#include "nemafit/gone.h"' 'there is no'
plant src/ops/cpu/a.c '#include <cblas.h>' ''
plant src/ops/a.c '#include <cblas.h>' 'only in'
plant src/ops/cpu/a.c '#include <mpi.h>' 'only in'
plant src/ops/cpu/a.c '# include "hdf5.h"' 'only in'
plant src/base/a.c '#include <jansson.h>' 'only in'
plant src/base/json.c '#include <jansson.h>' ''
plant src/model/a.c '#include <cuda_runtime.h>' 'only in'
plant src/model/a.c '    exit(1);' 'only in'
plant src/model/a.c 'if (x) abort ();' 'only in'
plant src/base/a.c 'MPI_Abort(c, 1);' 'only in'
plant src/base/die.c 'MPI_Abort(c, 1);' ''
plant src/main.c 'exit(1);' ''
plant src/model/a.c 'nf_status_exit(1); say("exit(1)"); /* abort() */' ''
plant src/layers/a.c '#ifdef HAVE_CUDA' 'conditional'
plant include/nemafit/ops.h '#include "nemafit/mesh.h"' 'ops must not use mesh'
plant include/nemafit/ops.h '#include "model/own.h"' 'must not include a private one'
tap_done
