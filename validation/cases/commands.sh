# SPDX-License-Identifier: Apache-2.0
# The commands beside a run, without a launcher and under one: --help, --version, --describe, --check; and what is no command.
. "$srcdir/validation/tap.sh"
cat >"$tap_dir/run.nml" <<EOF
&model path = '$srcdir/validation/golden/nemotron_h' /
&data format = 'mock', seq_len = 16 /
&train steps = 3 /
&optim lr = 1.0e-3 /
&log dir = '$tap_dir/run', progress = .false. /
EOF
says() { # says STATUS TEXT COMMAND ...
    want=$1
    text=$2
    shift 2
    "$@" >"$tap_dir/out" 2>&1 </dev/null
    got=$?
    [ $got -eq "$want" ] && grep -q -e "$text" "$tap_dir/out"
    tap_ok $? "$(echo "$*" | sed "s|$tap_dir/||g; s|[^ ]*/||g"): status $want" || tap_note "status $got" "$(head -n 12 "$tap_dir/out")"
}
says 0 '^usage' "$NEMAFIT" --help
says 0 '^nemafit [0-9]' "$NEMAFIT" --version
says 0 'lr' "$NEMAFIT" --describe optim.lr
says 0 'recv_factor' "$NEMAFIT" --describe
says 64 'steps' "$NEMAFIT" --describe train.setps
says 64 'unknown option' "$NEMAFIT" --frobnicate
says 64 'no input file' "$NEMAFIT"
says 66 'nothere.nml' "$NEMAFIT" "$tap_dir/nothere.nml"
says 0 'the input is valid' "$NEMAFIT" --check "$tap_dir/run.nml"
[ ! -e "$tap_dir/run" ]
tap_ok $? "--check writes nothing"
says 66 'run.nml/x: cannot be made: Not a directory' "$NEMAFIT" --check "$tap_dir/run.nml" "log.dir='$tap_dir/run.nml/x'"
says 66 'run.nml: cannot be written to: Not a directory' "$MPIRUN_NP" 2 "$NEMAFIT" --check "$tap_dir/run.nml" "snapshot.dir='$tap_dir/run.nml'"
says 0 'the input is valid' "$NEMAFIT" --check "$tap_dir/run.nml" "log.dir='$tap_dir/a/b/c'"
says 0 'the input is valid' "$MPIRUN_NP" 4 "$NEMAFIT" --check "$tap_dir/run.nml" parallel.ep=4
says 0 'the input is valid' "$NEMAFIT" --check "$tap_dir/run.nml" --ranks 8 parallel.ep=4
says 64 'does not divide 6 ranks' "$NEMAFIT" --ranks 6 --check "$tap_dir/run.nml" parallel.ep=4
says 64 'check with --ranks' "$NEMAFIT" --check "$tap_dir/run.nml" parallel.ep=4
says 64 'needs a number' "$NEMAFIT" --check "$tap_dir/run.nml" --ranks
says 64 'belongs to --check' "$NEMAFIT" "$tap_dir/run.nml" --ranks 4
says 64 'under a launcher of 2' "$MPIRUN_NP" 2 "$NEMAFIT" --check "$tap_dir/run.nml" --ranks 4
says 64 'ep' "$MPIRUN_NP" 4 "$NEMAFIT" --check "$tap_dir/run.nml" parallel.ep=3
says 64 'global_batch = 4294967296 is more than 2147483647 micro-batches' "$NEMAFIT" --check "$tap_dir/run.nml" train.global_batch=4294967296
says 78 'takes at least .* of memory on a node, but it has .* in all' "$NEMAFIT" "$tap_dir/run.nml" train.local_batch=1048576 data.seq_len=512
says 78 'of memory on a node by 2 ranks' "$MPIRUN_NP" 2 "$NEMAFIT" "$tap_dir/run.nml" train.local_batch=1048576 data.seq_len=512
[ ! -e "$tap_dir/run/input.used.nml" ]
tap_ok $? "what cannot fit leaves nothing"
rm -rf "$tap_dir/run"
says 0 'warning: a rank would take .* has .* in all' "$NEMAFIT" --check "$tap_dir/run.nml" --ranks 2 train.local_batch=1048576 data.seq_len=512
"$MPIRUN_NP" 2 "$NEMAFIT" "$tap_dir/run.nml" log.progress=.true. >"$tap_dir/out" 2>&1 </dev/null
[ $? -eq 0 ] && grep -q 'step 3/3' "$tap_dir/out" && ! grep -q ' left ' "$tap_dir/out"
tap_ok $? "no progress bar in a file, though Open MPI gives the ranks a terminal" || tap_note "$(tail -n 5 "$tap_dir/out")"
rm -rf "$tap_dir/run"
if command -v script >/dev/null; then
    script -qec "'$NEMAFIT' '$tap_dir/run.nml' log.progress=.true." /dev/null >"$tap_dir/out" 2>&1 </dev/null
    grep -q '1/3 .* left ' "$tap_dir/out"
    tap_ok $? "a progress bar on a terminal" || tap_note "$(tail -n 5 "$tap_dir/out")"
    rm -rf "$tap_dir/run"
fi
dd if=/dev/zero of="$tap_dir/zeros" bs=1 count=0 seek=40000000 2>"$tap_dir/dd.err"
says 64 'epochs = 1e+09 of .* rows are .* more than can be counted' "$NEMAFIT" --check "$tap_dir/run.nml" train.epochs=1e9 train.steps=0 train.global_batch=0 \
    "model.path='$srcdir/validation/cases/tiny'" "model.init='random'" "data.format='text'" \
    "data.train='$tap_dir/zeros'" data.seq_len=2
says 64 "'fused' is for GPUs" "$NEMAFIT" --check "$tap_dir/run.nml" "parallel.dispatch='fused'" "backend.device='cpu'"
says 71 'plug-in is missing; looked for .*none.so' env NEMAFIT_GPU_SO="$tap_dir/none.so" "$NEMAFIT" --check "$tap_dir/run.nml" "backend.device='cuda'"
says 71 'driver on this node\|cannot be loaded' env NEMAFIT_GPU_SO="$NEMAFIT" "$NEMAFIT" --check "$tap_dir/run.nml" "backend.device='cuda'"
says 64 'not in this version' "$NEMAFIT" --check "$tap_dir/run.nml" "parallel.shard='full'"
says 0 'step 3/3' "$NEMAFIT" "$tap_dir/run.nml"
says 0 'golden: PASS' "$NEMAFIT" --golden "$srcdir/validation/golden/nemotron_h"
says 80 'golden: FAIL' "$NEMAFIT" --golden "$srcdir/validation/golden/nemotron_h" optim.weight_decay=0.4
[ "$(head -n 1 "$tap_dir/run/log.csv" | tr ',' '\n' | wc -l)" -eq 19 ] && [ "$(sed 1d "$tap_dir/run/log.csv" | wc -l)" -eq 3 ]
tap_ok $? "log.csv: a header of 19 columns and a row a step"
tap_done
