# SPDX-License-Identifier: Apache-2.0
# What goes wrong on a GPU ends the run with one diagnosis and its own status, and no snapshot is touched: a kernel that never ends (76,
# within the time-out), a GPU that fails (71: every later call of the process fails, as behind an error of its memory), too little memory
# for the run (71, before the first step); one rank of 2 that hangs or fails takes the other with it. The same command then goes on.
. "$srcdir/validation/tap.sh"
shim=$builddir/validation/faults/gpu_shim.so
cat >"$tap_dir/run.nml" <<EOT
&model path = '$srcdir/validation/cases/tiny', init = 'random' /
&data train = '$srcdir/README.md', format = 'text', seq_len = 96 /
&train steps = 100000, local_batch = 1, global_batch = 2, hang_timeout = 3.0 /
&optim lr = 1.0e-4 /
&backend device = 'cuda' /
&log dir = '$tap_dir/run', progress = .false., every = 1000 /
&snapshot dir = '$tap_dir/run/snapshots', every = 40, keep = 3 /
EOT
"$NEMAFIT" --check "$tap_dir/run.nml" >"$tap_dir/out" 2>&1 || tap_skip_all "$(sed -n 's/^nemafit: //p' "$tap_dir/out" | head -n 1)"
[ -f "$shim" ] || make -C "$builddir" validation/faults/gpu_shim.so >"$tap_dir/out" 2>&1 || tap_skip_all "no gpu_shim.so: $(tail -n 1 "$tap_dir/out")"

# whoever is to meet the fault waits for a file of its name; the others for one that never comes
cat >"$tap_dir/rank" <<'EOT'
#!/bin/sh
export NF_GPU_FAULT="$NF_FAULTS/rank${OMPI_COMM_WORLD_RANK:-0}"
LD_PRELOAD=$NF_SHIM exec "$@"
EOT
chmod +x "$tap_dir/rank"
export NF_FAULTS="$tap_dir/faults" NF_SHIM="$shim"
newest() { find "$tap_dir/run/snapshots" -maxdepth 1 -name 'step-*[0-9]' 2>/dev/null | sort | tail -n 1; }
begin() { # begin RANKS OVERRIDES ...: until there is a new snapshot
    ranks=$1
    shift
    rm -rf "$NF_FAULTS"
    mkdir -p "$NF_FAULTS"
    before=$(newest)
    if [ "$ranks" -eq 1 ]; then
        timeout 30 "$tap_dir/rank" "$NEMAFIT" "$tap_dir/run.nml" "$@" >"$tap_dir/out" 2>&1 </dev/null &
    else
        NF_TIMEOUT=30 "$MPIRUN_NP" "$ranks" "$tap_dir/rank" "$NEMAFIT" "$tap_dir/run.nml" "$@" >"$tap_dir/out" 2>&1 &
    fi
    job=$!
    for _ in $(seq 150); do
        [ "$(newest)" != "$before" ] && break
        kill -0 $job 2>/dev/null || break
        sleep 0.1
    done
}
provoke() { # provoke NAME: sets rc and took
    t=$(date +%s.%N)
    touch "$NF_FAULTS/$1"
    wait $job
    rc=$?
    took=$(echo "$t $(date +%s.%N)" | awk '{ printf "%.1f", $2 - $1 }')
}
told() { # told STATUS SECONDS PATTERN TEXT
    [ "$rc" -eq "$1" ] && awk -v a="$took" -v b="$2" 'BEGIN { exit !(a <= b) }' && grep -q -e "$3" "$tap_dir/out" &&
        [ "$(grep -c '^nemafit: ' "$tap_dir/out")" -eq 1 ]
    tap_ok $? "$4: status $1" || tap_note "status $rc after $took s" "$(grep -v '^step' "$tap_dir/out" | tail -n 14)"
    tap_note "$took s: $(grep '^nemafit: ' "$tap_dir/out" | head -n 1)"
    tap_check "... its newest snapshot is whole" "$NEMAFIT" --verify "$(newest)"
}
begin 1
provoke rank0.hang
told 76 13 'nothing has moved for .* s: the run is ended' "a kernel that never ends"
begin 1
grep -q 'resume  *from' "$tap_dir/out"
tap_ok $? "... the same command goes on"
provoke rank0.illegal
told 71 10 'the GPU failed: .*illegal' "a GPU that fails"
begin 2 parallel.ep=2
grep -q 'resume  *from' "$tap_dir/out"
tap_ok $? "... on 2 ranks"
provoke rank1.hang
told 76 13 'rank 1 .* is behind the others\|nothing has moved' "one rank of 2 whose kernel never ends"
begin 2 parallel.ep=2
provoke rank1.illegal
told 71 10 'the GPU failed' "one rank of 2 whose GPU fails"

before=$(ls -l "$tap_dir/run/snapshots"/step-* | cksum)
touch "$NF_FAULTS/rank0.full"
took=0
"$tap_dir/rank" "$NEMAFIT" "$tap_dir/run.nml" >"$tap_dir/out" 2>&1 </dev/null
rc=$?
told 71 10 'cannot take .* of GPU memory' "too little memory"
[ "$(ls -l "$tap_dir/run/snapshots"/step-* | cksum)" = "$before" ]
tap_ok $? "... no snapshot is touched"
tap_done
