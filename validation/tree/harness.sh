# SPDX-License-Identifier: Apache-2.0
# The harness itself: a program that crashes, hangs, says less than it planned or says nothing is a failed test, on one rank and
# under MPI.
. "$srcdir/validation/tap.sh"
driver=$srcdir/scripts/build-aux/tap-driver.sh

program() { # program NAME TEXT: a shell script
    printf '#!/bin/sh\n%s\n' "$2" >"$tap_dir/$1"
    chmod +x "$tap_dir/$1"
}
program good 'echo "ok 1 - one"; echo "ok 2 # SKIP not here"; echo 1..2'
program bad 'echo "ok 1 - one"; echo "not ok 2 - two"; echo 1..2; exit 1'
program crash 'echo "ok 1 - one"; kill -SEGV $$'
program hang 'echo 1..1; echo "ok 1 - one"; exec sleep 100'
program short 'echo 1..3; echo "ok 1 - one"'
program silent 'exit 0'
program lies 'echo 1..1; echo "ok 1 - one"; exit 7'
program skips 'echo "1..0 # SKIP nothing here"'

alone() { # alone NAME RESULTS: what the driver makes of it, run as a program on one rank
    AM_TAP_AWK=${AWK:-awk} sh "$driver" --test-name "$1" --log-file "$tap_dir/$1.log" --trs-file "$tap_dir/$1.trs" \
        --color-tests no --enable-hard-errors yes --expect-failure no -- timeout -k 1 2 "$tap_dir/$1" >"$tap_dir/out" 2>&1
    found=$(sed -n 's/^:test-result: \([A-Z]*\).*/\1/p' "$tap_dir/$1.trs" | tr '\n' ' ')
    [ "$found" = "$2 " ]
    tap_ok $? "one rank, $1: $2" || tap_note "$found" "$(cat "$tap_dir/out")"
}
alone good 'PASS SKIP'
alone bad 'PASS FAIL ERROR'
alone crash 'PASS ERROR ERROR'
alone hang 'PASS ERROR'
alone short 'PASS ERROR'
alone silent 'ERROR'
alone lies 'PASS ERROR'
alone skips 'SKIP'

under_mpi() { # under_mpi NAME LINE ...: what mpitap makes of it on 1 rank
    name=$1
    NP=1 NF_TIMEOUT=3 sh "$srcdir/validation/mpitap" "$tap_dir/$name" >"$tap_dir/out" 2>&1
    shift
    wrong=
    for line in "$@"; do
        grep -q -e "^$line" "$tap_dir/out" || wrong=$line
    done
    [ -z "$wrong" ]
    tap_ok $? "under MPI, $name" || tap_note "missing: $wrong" "$(cat "$tap_dir/out")"
}
under_mpi good 'ok 1 - np=1: one' 'ok 2 # SKIP' 'ok 3 - np=1: exit status 0' '1\.\.3$'
under_mpi bad 'not ok 2 - np=1: two' 'ok 3 - np=1: exit status 1' '1\.\.3$'
under_mpi crash 'ok 1 - np=1: one' 'not ok 2 - np=1: exit status 139, no plan' '1\.\.2$'
under_mpi hang 'ok 1' 'not ok 2 - np=1: hangs' '1\.\.2$'
under_mpi short 'not ok 2 - np=1: exit status 0, 1 points of 3'
under_mpi silent 'not ok 1 - np=1: exit status 0, no plan' '1\.\.1$'
under_mpi lies 'ok 1' 'not ok 2 - np=1: exit status 7' '1\.\.2$'
under_mpi skips 'ok 1 # SKIP nothing here' 'ok 2 - np=1: exit status 0' '1\.\.2$'

# 40 ranks that leave with a status of their own: the launcher ends, with that status
NF_TIMEOUT=60 "$MPIRUN_NP" 40 sh -c 'exit 3' >"$tap_dir/out" 2>&1
status=$?
[ $status -eq 3 ]
tap_ok $? "40 ranks that leave before MPI_Init end the launcher" || tap_note "status $status" "$(tail -n 5 "$tap_dir/out")"
tap_done
