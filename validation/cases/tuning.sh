# SPDX-License-Identifier: Apache-2.0
# The kernels that a GPU chose by timing are part of the run: a stretch on a CPU hands them on, from snapshot to snapshot, on any mesh;
# --verify shows them; damage of them is damage of the snapshot. What a GPU makes of them: gpu_resume.sh.
. "$srcdir/validation/tap.sh"
run() { # run RANKS OVERRIDES ...: a short run of the tiny model, below $tap_dir/run
    ranks=$1
    shift
    cat >"$tap_dir/run.nml" <<EOT
&model path = '$srcdir/validation/cases/tiny', init = 'random' /
&data train = '$srcdir/README.md', format = 'text', seq_len = 48 /
&train steps = 9, local_batch = 1, global_batch = 4, gate = 'random' /
&backend device = 'cpu' /
&log dir = '$tap_dir/run', progress = .false. /
&snapshot dir = '$tap_dir/run/snapshots', every = 3, keep = 9 /
EOT
    "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/run.nml" "$@" >"$tap_dir/out" 2>&1
}
at() { echo "$tap_dir/run/snapshots/step-0000000$1"; }

run 1 train.steps=3
tap_ok $? "a run on a CPU" || tap_note "$(tail -n 5 "$tap_dir/out")"
[ ! -e "$(at 3)/products.tuning" ]
tap_ok $? "it has chosen no kernels"
perl -e 'print "nflt  2\0", map { chr($_ * 7 & 255) } 1 .. 5000' >"$tap_dir/products.tuning" # as a GPU would write; a CPU looks at none of it
tap_check "a snapshot as of a GPU" perl "$srcdir/validation/cases/attach.pl" "$(at 3)" products.tuning "$tap_dir/products.tuning"
"$NEMAFIT" --verify "$(at 3)" >"$tap_dir/out" 2>&1
[ $? -eq 0 ] && grep -q 'whole .*products.tuning' "$tap_dir/out"
tap_ok $? "--verify shows its choices" || tap_note "$(cat "$tap_dir/out")"
run 1 train.steps=6
[ $? -eq 0 ] && grep -q 'resume .*step-00000003' "$tap_dir/out" && cmp "$(at 6)/products.tuning" "$tap_dir/products.tuning"
tap_ok $? "gone on with on a CPU: the next snapshot has them" || tap_note "$(tail -n 5 "$tap_dir/out")"
[ ! -e "$tap_dir/run/products.tuning" ]
tap_ok $? "... and the run's directory not: nothing was chosen there"
run 2 parallel.ep=2
[ $? -eq 0 ] && grep -q 'resume .*step-00000006' "$tap_dir/out" && cmp "$(at 9)/products.tuning" "$tap_dir/products.tuning"
tap_ok $? "... and so has that of 2 ranks" || tap_note "$(tail -n 5 "$tap_dir/out")"
printf 'x' | dd of="$(at 9)/products.tuning" bs=1 seek=100 conv=notrunc 2>/dev/null
"$NEMAFIT" --verify "$(at 9)" >"$tap_dir/out" 2>&1
[ $? -eq 65 ] && grep -q 'products.tuning: .*damaged' "$tap_dir/out"
tap_ok $? "damaged choices: --verify names them, status 65" || tap_note "$(cat "$tap_dir/out")"
run 1 train.steps=12
[ $? -eq 0 ] && grep -q 'warning.*products.tuning.*damaged' "$tap_dir/out" && grep -q 'resume .*step-00000006' "$tap_dir/out"
tap_ok $? "the snapshot is not used: the one before it serves" || tap_note "$(head -n 12 "$tap_dir/out")"
rm "$(at 6)/products.tuning"
rm -rf "$(at 9)" "$tap_dir/run/snapshots/step-00000012"
run 1 train.steps=12
[ $? -eq 0 ] && grep -q 'warning.*products.tuning.*missing' "$tap_dir/out" && grep -q 'resume .*step-00000003' "$tap_dir/out"
tap_ok $? "missing choices: the same" || tap_note "$(head -n 12 "$tap_dir/out")"
tap_done
