# SPDX-License-Identifier: Apache-2.0
# Work done on a GPU is not lost: a run that is stopped or killed, and started again, ends with the same bits on the same ranks, in
# each type and state; algorithms chosen by timing come from the snapshot, wherever the run goes on; between GPU and CPU, and on other
# meshes, losses agree within the bounds of doc/numerics.md; signals, snapshots written behind the steps, and memory are as they should be.
. "$srcdir/validation/tap.sh"
cp "$srcdir/README.md" "$tap_dir/train.txt"
cp "$srcdir/doc/design.md" "$tap_dir/valid.txt"
input() { # input NAME: $tap_dir/NAME.nml, which writes below $tap_dir/NAME
    cat >"$tap_dir/$1.nml" <<EOT
&model path = '$srcdir/inputs/byte-hybrid', dtype = 'fp32' /
&data train = '$tap_dir/train.txt', valid = '$tap_dir/valid.txt', format = 'text', seq_len = 128 /
&train steps = 24, local_batch = 1, global_batch = 4, eval_every = 8, eval_batches = 2, gate = 'random', hang_timeout = 60.0 /
&optim lr = 1.0e-3, warmup = 5, schedule = 'constant' /
&backend device = 'cuda' /
&log dir = '$tap_dir/$1', progress = .false. /
&snapshot dir = '$tap_dir/$1/snapshots', every = 8, keep = 9 /
EOT
}
run() { # run NAME RANKS OVERRIDES ...: its status
    name=$1
    ranks=$2
    shift 2
    [ -f "$tap_dir/$name.nml" ] || input "$name"
    if [ "$ranks" -eq 1 ]; then
        timeout 120 "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1 </dev/null
    else
        NF_TIMEOUT=120 "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1
    fi
}
losses() { cut -d, -f1-6 "$tap_dir/$1/log.csv"; }
at() { printf '%s/%s/snapshots/step-%08d' "$tap_dir" "$1" "$2"; }
state() { grep -E '^(step|row|updates|skipped|best_step|best_loss|last_loss|tensor|piece) ' "$(at "$1" 24)/MANIFEST"; }
same() { # same A B: losses, weights and moments, choices of kernels
    losses "$1" >"$tap_dir/a" && losses "$2" >"$tap_dir/b" && cmp "$tap_dir/a" "$tap_dir/b" && state "$1" >"$tap_dir/a" && state "$2" >"$tap_dir/b" &&
        cmp "$tap_dir/a" "$tap_dir/b" && cmp "$(at "$1" 24)/products.tuning" "$(at "$2" 24)/products.tuning"
}
within() { # within A B BOUND: all losses
    for i in "$1" "$2"; do losses "$i" | awk -F, 'NR > 1 && $2 != "" { print $2 }' >"$tap_dir/$i.loss"; done
    paste "$tap_dir/$1.loss" "$tap_dir/$2.loss" | awk -v b="$3" '
        { d = ($1 - $2) / $2; d = d < 0 ? -d : d; w = d > w ? d : w }
        END { printf "%d losses, worst %.2e\n", NR, w; exit !(NR == 24 && w <= b) }'
}
restart() { # restart NAME RANKS OVERRIDES ...: from the snapshot of step 8 of run NAME, in another directory, log and all
    from=$1
    ranks=$2
    shift 2
    rm -rf "$tap_dir/again" "$tap_dir/again.nml"
    mkdir -p "$tap_dir/again/snapshots"
    cp -r "$(at "$from" 8)" "$tap_dir/again/snapshots/"
    cp "$tap_dir/$from/log.csv" "$tap_dir/again/"
    run again "$ranks" "$@"
}

input probe
"$NEMAFIT" --check "$tap_dir/probe.nml" >"$tap_dir/probe.out" 2>&1 || { # no GPU, no plug-in
    grep -q 'check: the input is valid' "$tap_dir/probe.out" || tap_skip_all "$(sed -n 's/^nemafit: //p' "$tap_dir/probe.out" | head -n 1)"
}

# ---- the same bits -------------------------------------------------------------------------------------------------------------
for kind in fp32:fp32:1:1 bf16:fp32:1:1 bf16:split:1:1 bf16:bf16:1:1 bf16:split:2:2 fp32:fp32:4:2; do
    IFS=: read -r type scheme ranks ep <<EOT
$kind
EOT
    kind=$type-$scheme-$ranks
    async=.false.
    [ "$scheme" = split ] && async=.true.
    set -- "$ranks" parallel.ep="$ep" "model.dtype='$type'" "optim.state='$scheme'" snapshot.async=$async
    run "$kind" "$@"
    tap_ok $? "$kind: undisturbed" || tap_note "$(tail -n 8 "$tap_dir/$kind.out")"
    restart "$kind" "$@"
    [ $? -eq 0 ] && grep -q 'resume .*step-00000008' "$tap_dir/again.out" && ! grep -q 'shapes timed' "$tap_dir/again.out"
    tap_ok $? "$kind: goes on elsewhere; nothing is timed again" || tap_note "$(grep -v '^step' "$tap_dir/again.out" | head -n 20)"
    tap_check "$kind: the same losses, weights, moments, choices" same "$kind" again
done
grep 'of which the run stood still' "$tap_dir/bf16-split-1.out" | sed 's/.*step-/# step-/'

# ---- other devices, other meshes ---------------------------------------------------------------------------------------------------
restart fp32-fp32-1 1 "backend.device='cpu'"
tap_ok $? "a GPU's snapshot goes on on the CPU" || tap_note "$(tail -n 8 "$tap_dir/again.out")"
tap_check "... losses within 1e-4" within fp32-fp32-1 again 1e-4
tap_note "$(within fp32-fp32-1 again 1e-4)"
tap_check "... its snapshots hand the choices on" cmp "$(at again 24)/products.tuning" "$(at fp32-fp32-1 8)/products.tuning"
rm -rf "$(at again 24)"
run again 1
[ $? -eq 0 ] && grep -q 'resume .*step-00000016' "$tap_dir/again.out" && ! grep -q 'shapes timed' "$tap_dir/again.out"
tap_ok $? "... back on the GPU: the choices are taken" || tap_note "$(tail -n 8 "$tap_dir/again.out")"
tap_check "... losses within 1e-4" within fp32-fp32-1 again 1e-4
restart fp32-fp32-1 2 parallel.ep=2
tap_ok $? "one rank's snapshot goes on on 2" || tap_note "$(tail -n 8 "$tap_dir/again.out")"
tap_check "... losses within 1e-4" within fp32-fp32-1 again 1e-4
tap_note "$(within fp32-fp32-1 again 1e-4)"

# ---- choices of another GPU ----------------------------------------------------------------------------------------------------------
rm -rf "$tap_dir/other"
input other
mkdir -p "$tap_dir/other/snapshots"
cp -r "$(at fp32-fp32-1 8)" "$tap_dir/other/snapshots/"
cp "$tap_dir/fp32-fp32-1/log.csv" "$tap_dir/other/"
perl -pe 'BEGIN { $/ = undef } substr($_, 24, 6) = "OTHER "' "$(at other 8)/products.tuning" >"$tap_dir/products.tuning"
perl -ni -e 'print unless /^file .* products.tuning$/' "$(at other 8)/MANIFEST"
perl -pi -e 's/^files (\d+)$/"files " . ($1 - 1)/e' "$(at other 8)/MANIFEST"
tap_check "choices of another GPU" perl "$srcdir/validation/cases/attach.pl" "$(at other 8)" products.tuning "$tap_dir/products.tuning"
run other 1
[ $? -eq 0 ] && [ "$(grep -c 'warning: products are timed again.*OTHER' "$tap_dir/other.out")" -eq 1 ] && grep -q 'shapes timed' "$tap_dir/other.out"
tap_ok $? "... are told in one line, and products timed anew" || tap_note "$(grep -v '^step' "$tap_dir/other.out" | head -n 20)"
tap_note "$(grep 'timed again' "$tap_dir/other.out")"
tap_check "... losses within 1e-4" within fp32-fp32-1 other 1e-4

# ---- signals and kills -----------------------------------------------------------------------------------------------------------------
long="train.steps=4000 train.eval_every=4000 snapshot.every=50 snapshot.async=.true. log.every=1000"
for signal in USR1 TERM KILL; do
    input "sig$signal"
    # shellcheck disable=SC2086 # words
    timeout 120 "$NEMAFIT" "$tap_dir/sig$signal.nml" $long >"$tap_dir/sig$signal.out" 2>&1 </dev/null &
    job=$!
    for _ in $(seq 300); do
        [ -f "$tap_dir/sig$signal/log.csv" ] && [ "$(wc -l <"$tap_dir/sig$signal/log.csv")" -gt 120 ] && break
        sleep 0.1
    done
    pid=$(sed -n 's/^rank 0 pid \([0-9]*\) .*/\1/p' "$tap_dir/sig$signal/watch-00000")
    kill -$signal "$pid"
    wait $job
    rc=$?
    case $signal in
    KILL) [ $rc -eq 137 ] ;;
    *) [ $rc -eq 75 ] && grep -q "SIG$signal came: stopped behind step" "$tap_dir/sig$signal.out" ;;
    esac
    tap_ok $? "SIG$signal: status $rc" || tap_note "$(tail -n 5 "$tap_dir/sig$signal.out")"
    newest=$(find "$tap_dir/sig$signal/snapshots" -maxdepth 1 -name 'step-*[0-9]' | sort | tail -n 1)
    tap_check "... its newest snapshot is whole" "$NEMAFIT" --verify "$newest"
done
tap_done
