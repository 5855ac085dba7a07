# SPDX-License-Identifier: Apache-2.0
# Tokens through windows of peers (dispatch 'fused') are the same tokens: bits as with 'alltoall', on ranks that share a GPU or have one
# each, with windows too small for what arrives and under recompute. A rank that is stopped while the kernels of others wait for it ends
# the run in time, and its name is told. Skipped where there is no GPU. $NF_RANKS: 2 4 8, or some of them.
. "$srcdir/validation/tap.sh"
nvidia-smi -L 2>/dev/null | grep -q '^GPU' && [ -f "${NEMAFIT_GPU_SO:-$(dirname "$NEMAFIT")/nemafit_gpu.so}" ] ||
    tap_skip_all "no GPU here, or a build without CUDA"
columns='loss grad_norm'
run() { # run NAME RANKS OVERRIDES ...
    name=$1
    ranks=$2
    shift 2
    cat >"$tap_dir/$name.nml" <<EOF
&model path = '$srcdir/validation/cases/tiny', init = 'random', dtype = 'fp32' /
&backend device = 'cuda' /
&data train = '$srcdir/README.md', format = 'text', seq_len = 48 /
&train steps = 10, local_batch = 1, global_batch = 8 /
&optim lr = 3.0e-3, warmup = 5 /
&log dir = '$tap_dir/$name', progress = .false. /
&export dir = '$tap_dir/$name/export' /
EOF
    "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1
    tap_ok $? "$name: $ranks ranks $*" || tap_note "$(tail -n 20 "$tap_dir/$name.out")"
    for c in $columns; do
        awk -v name="$c" -f "$srcdir/validation/cases/column.awk" "$tap_dir/$name/log.csv"
    done >"$tap_dir/$name.numbers"
}
same() { # same A B: losses, norms and weights
    [ -s "$tap_dir/$1.numbers" ] && cmp "$tap_dir/$1.numbers" "$tap_dir/$2.numbers" &&
        cmp "$tap_dir/$1/export/model.safetensors" "$tap_dir/$2/export/model.safetensors"
}
for ranks in ${NF_RANKS:-2 4 8}; do
    run "all$ranks" "$ranks" parallel.ep="$ranks" parallel.dispatch="'alltoall'"
    run "fused$ranks" "$ranks" parallel.ep="$ranks" parallel.dispatch="'fused'"
    tap_check "$ranks ranks: the same bits through windows" same "all$ranks" "fused$ranks"
    grep -q 'peer windows' "$tap_dir/fused$ranks.out"
    tap_ok $? "... which it was" || tap_note "$(grep -i -e mesh -e exchange "$tap_dir/fused$ranks.out")"
done
set -- parallel.ep=2 parallel.recv_factor=0.25 parallel.chunks=3
run narrow 2 "$@" parallel.dispatch="'alltoall'"
run window 2 "$@" parallel.dispatch="'fused'"
tap_check "windows too small for what arrives: the same bits" same narrow window
awk -v name=overflow_slices -f "$srcdir/validation/cases/column.awk" "$tap_dir/window/log.csv" | awk '{ n += $1 } END { exit !(n > 0) }'
tap_ok $? "... and the log counts the slices beyond the planned ones"
awk -v name=expert_load_max_over_mean -f "$srcdir/validation/cases/column.awk" "$tap_dir/window/log.csv" >"$tap_dir/load.window"
awk -v name=expert_load_max_over_mean -f "$srcdir/validation/cases/column.awk" "$tap_dir/narrow/log.csv" | cmp - "$tap_dir/load.window"
tap_ok $? "... and the load of experts once"
set -- parallel.ep=2 model.recompute="'block'" parallel.chunks=2
run again 2 "$@" parallel.dispatch="'alltoall'"
run replayed 2 "$@" parallel.dispatch="'fused'"
tap_check "recompute: the same bits" same again replayed

# one of two is stopped: the other waits for it, on its GPU or, at the sums, on the host
"$MPIRUN_NP" 2 "$NEMAFIT" "$tap_dir/window.nml" parallel.ep=2 parallel.dispatch="'fused'" train.steps=1000000 train.hang_timeout=4 export.dir= \
    log.dir="'$tap_dir/stopped'" >"$tap_dir/out" 2>&1 &
job=$!
for _ in $(seq 600); do
    grep -q 'section step' "$tap_dir/stopped/watch-00000" 2>/dev/null && [ "$(wc -l <"$tap_dir/stopped/log.csv")" -gt 3 ] && break
    sleep 0.1
done
kill -STOP "$(sed -n 's/^rank 1 pid \([1-9][0-9]*\) .*/\1/p' "$tap_dir/stopped/watch-00000")"
begin=$(date +%s)
wait $job
rc=$?
took=$(($(date +%s) - begin))
[ $rc -eq 76 ] && [ $took -le 14 ] && grep -q 'rank 1 (pid .*) does not run' "$tap_dir/out"
tap_ok $? "a rank is stopped: status 76 within 4 + 10 s, its name is told" ||
    tap_note "status $rc after $took s" "$(tail -n 12 "$tap_dir/out")"
tap_done
