# SPDX-License-Identifier: Apache-2.0
# All of a GPU's memory has a name: the arenas take what was counted, and behind the second step nothing takes any more, whatever a run
# does: evaluation, samples, snapshots, exports. The driver only tells what all processes use: where others do, points are skipped.
. "$srcdir/validation/tap.sh"
cat >"$tap_dir/run.nml" <<EOT
&model path = '$srcdir/inputs/byte-hybrid', dtype = 'bf16' /
&data train = '$srcdir/README.md', valid = '$srcdir/doc/design.md', format = 'text', seq_len = 128 /
&train steps = 12, local_batch = 1, global_batch = 4, eval_every = 5, eval_batches = 2 /
&optim lr = 1.0e-3, warmup = 5, state = 'split' /
&backend device = 'cuda' /
&log dir = '$tap_dir/run', progress = .false., sample_prompt = 'The', sample_tokens = 8 /
&snapshot dir = '$tap_dir/run/snapshots', every = 4, async = .true., resume = 'never' /
&export dir = '$tap_dir/run/export', every = 6 /
EOT
"$NEMAFIT" --check "$tap_dir/run.nml" >"$tap_dir/out" 2>&1 || tap_skip_all "$(sed -n 's/^nemafit: //p' "$tap_dir/out" | head -n 1)"
others() { # how much is in use, and by whom, while nothing of ours runs
    nvidia-smi --query-gpu=memory.used --format=csv,noheader 2>/dev/null
    nvidia-smi --query-compute-apps=pid --format=csv,noheader 2>/dev/null
}
judge() { # judge PATTERN NOT TEXT: of the last run
    if grep -q -e "$1" "$tap_dir/out" && ! grep -q -e "$2" "$tap_dir/out"; then
        tap_ok 0 "$3"
    elif [ "$before" != "$(others)" ] || [ -n "$(nvidia-smi --query-compute-apps=pid --format=csv,noheader 2>/dev/null)" ]; then
        tap_skip "$3: other processes use the GPU"
    else
        tap_ok 1 "$3"
        tap_note "$(grep -i 'gpu' "$tap_dir/out")"
    fi
}
for ranks in 1 2 4; do
    before=$(others)
    "$MPIRUN_NP" $ranks "$NEMAFIT" "$tap_dir/run.nml" parallel.ep=$((ranks > 1 ? 2 : 1)) >"$tap_dir/out" 2>&1
    tap_ok $? "$ranks rank(s)" || tap_note "$(tail -n 8 "$tap_dir/out")"
    judge '^GPU .* in use.*: .* arenas' 'the GPU gave' "$ranks rank(s): the arenas took what was counted"
    tap_note "$(grep '^GPU .*arenas' "$tap_dir/out")"
    judge '^GPU .* in use at the end, no more than' 'were behind the first two steps:' "$ranks rank(s): nothing takes more behind the second step"
    tap_note "$(grep '^GPU .*at the end' "$tap_dir/out")"
done
tap_done
