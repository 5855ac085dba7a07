# SPDX-License-Identifier: Apache-2.0
# Work is not lost. A run that is killed, signalled or out of time, and started again with the same command, ends with the same
# losses, weights and moments as one that nobody disturbed, bit for bit; on another mesh within the bounds of mesh.sh. What may not
# change between the two is refused by name. NF_SEED chooses the moments (default 1).
. "$srcdir/validation/tap.sh"
seed=${NF_SEED:-1}
tap_note "seed $seed"
cp "$srcdir/README.md" "$tap_dir/train.txt"
cp "$srcdir/doc/design.md" "$tap_dir/valid.txt"
cp -r "$srcdir/validation/cases/tiny" "$tap_dir/model"

input() { # input NAME: $tap_dir/NAME.nml, which writes below $tap_dir/NAME
    cat >"$tap_dir/$1.nml" <<EOT
&model path = '$tap_dir/model', init = 'random' /
&data train = '$tap_dir/train.txt', valid = '$tap_dir/valid.txt', format = 'text', seq_len = 96 /
&train steps = 40, local_batch = 1, global_batch = 4, eval_every = 9, eval_batches = 3, gate = 'random', hang_timeout = 60.0 /
&optim lr = 3.0e-3, warmup = 5 /
&log dir = '$tap_dir/$1', progress = .false. /
&snapshot dir = '$tap_dir/$1/snapshots', every = 7 /
&export dir = '$tap_dir/$1/export' /
EOT
}
start() { # start NAME RANKS OVERRIDES ...: in the background; its status is in $tap_dir/NAME.rc once it has ended
    name=$1
    ranks=$2
    shift 2
    [ -f "$tap_dir/$name.nml" ] || input "$name"
    rm -f "$tap_dir/$name.rc" "$tap_dir/$name/watch-00000"
    if [ "$ranks" -eq 1 ]; then # without a launcher: signals are for the program itself
        { "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1 </dev/null; echo $? >"$tap_dir/$name.rc"; } &
    else
        { NF_TIMEOUT=200 "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1; echo $? >"$tap_dir/$name.rc"; } &
    fi
    job=$!
}
ended() { # ended NAME: wait for it; its status is in $rc
    wait "$job"
    rc=$(cat "$tap_dir/$1.rc")
}
run() { # run NAME RANKS OVERRIDES ...: to its end; its status
    start "$@"
    ended "$1"
    return "$rc"
}
pids() { # pids NAME: of the ranks of a run that lives
    sed -n 's/^rank [0-9]* pid \([1-9][0-9]*\) .*/\1/p' "$tap_dir/$1/watch-00000" 2>/dev/null
}
until_step() { # until_step NAME N: its log has step N, or it has ended; false after two minutes
    for _ in $(seq 1200); do
        [ -f "$tap_dir/$1.rc" ] && return 0
        [ "$(awk -F, '$2 != "" && $1 + 0 > n { n = $1 } END { print n + 0 }' "$tap_dir/$1/log.csv" 2>/dev/null || echo 0)" -ge "$2" ] && [ -n "$(pids "$1")" ] && return 0
        sleep 0.1
    done
    return 1
}
random() { # random N: 0 ... N-1, the next of the seed's
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    echo $((seed / 65536 % $1))
}
losses() { # step, loss, validation loss, norm, rate of each row
    cut -d, -f1-6 "$tap_dir/$1/log.csv"
}
state() { # where the run stands, and checksums of all weights and moments; not when and by which start it was written
    grep -vE '^(run|generation|csv_bytes|seconds|file|sha256) ' "$tap_dir/$1/snapshots/step-00000040/MANIFEST"
}
same_state() { # same_state A B
    state "$1" >"$tap_dir/a.state" && state "$2" >"$tap_dir/b.state" && [ -s "$tap_dir/a.state" ] && cmp "$tap_dir/a.state" "$tap_dir/b.state"
}
same() { # same A B: log, weights and moments, exported weights
    losses "$1" >"$tap_dir/a.log" && losses "$2" >"$tap_dir/b.log" && cmp "$tap_dir/a.log" "$tap_dir/b.log" &&
        cmp "$tap_dir/$1/export/model.safetensors" "$tap_dir/$2/export/model.safetensors" && same_state "$1" "$2"
}
ends_same() { # ends_same NAME RANKS TEXT OVERRIDES ...: it goes on to its end, the same as the undisturbed run's
    name=$1
    ranks=$2
    text=$3
    shift 3
    run "$name" "$ranks" "$@" || tap_note "$(tail -n 5 "$tap_dir/$name.out")"
    tap_check "$text: the same end" same "base$ranks" "$name"
}

# a lock held by somebody else, for longer than anybody waits: looked at below
input held
mkdir -p "$tap_dir/held"
flock "$tap_dir/held/run.lock" sleep 60 &
holder=$!
sleep 0.2
start held 1
held_job=$job

run base1 1
tap_ok $? "undisturbed, one rank" || tap_note "$(tail -n 5 "$tap_dir/base1.out")"
run base2 2 parallel.ep=2
tap_ok $? "undisturbed, 2 ranks" || tap_note "$(tail -n 5 "$tap_dir/base2.out")"
[ "$(losses base2 | sed 1d | wc -l)" -eq 46 ] && [ "$(find "$tap_dir/base2/snapshots" -maxdepth 1 -name 'step-*' | wc -l)" -eq 2 ]
tap_ok $? "40 steps and 6 evaluations; two snapshots are kept" || tap_note "$(ls "$tap_dir/base2/snapshots")" "$(losses base2 | wc -l)"

# ---- killed ------------------------------------------------------------------------------------------------------------------
for how in sync async; do
    async=.false.
    [ $how = async ] && async=.true.
    for kill in 1 2 3; do
        start "killed-$how" 2 parallel.ep=2 "snapshot.async=$async"
        until_step "killed-$how" $((kill * 9 + $(random 9) - 4))
        victim=$(random 3)
        [ "$victim" -eq 2 ] && all=1,2 || all=$((victim + 1))
        sleep "0.0$(random 10)"
        for pid in $(pids "killed-$how" | sed -n "${all}p"); do kill -9 "$pid" 2>/dev/null; done
        ended "killed-$how"
        tap_note "$how, kill $kill: ranks (from 1) $all, status $rc, $(losses "killed-$how" | tail -n 1)"
    done
    ends_same "killed-$how" 2 "killed three times, $how" parallel.ep=2 "snapshot.async=$async"
done

# ---- signals -----------------------------------------------------------------------------------------------------------------
for signal in USR1 USR2 TERM INT HUP XCPU; do
    # a shell's background job ignores INT: it is told not to
    input "sig$signal"
    rm -f "$tap_dir/sig$signal.rc"
    perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' "$NEMAFIT" "$tap_dir/sig$signal.nml" >"$tap_dir/sig$signal.out" 2>&1 </dev/null &
    pid=$!
    until_step "sig$signal" $((3 + $(random 30)))
    kill -$signal $pid
    wait $pid
    rc=$?
    [ $rc -eq 75 ] && grep -q "SIG$signal came: stopped behind step" "$tap_dir/sig$signal.out"
    tap_ok $? "SIG$signal, one rank: a snapshot, status 75" || tap_note "status $rc" "$(tail -n 5 "$tap_dir/sig$signal.out")"
    ends_same "sig$signal" 1 "SIG$signal, one rank"
done
start mpi 2 parallel.ep=2
until_step mpi 5
kill -USR1 "$(pids mpi | tail -n 1)" 2>/dev/null
ended mpi
[ "$rc" -eq 75 ] && [ "$(grep -c '^nemafit: ' "$tap_dir/mpi.out")" -eq 1 ]
tap_ok $? "SIGUSR1 to one of 2 ranks: both stop, status 75" || tap_note "status $rc" "$(tail -n 5 "$tap_dir/mpi.out")"
start mpi 2 parallel.ep=2
until_step mpi 20
kill -USR2 $(pids mpi)
ended mpi
[ "$rc" -eq 75 ]
tap_ok $? "SIGUSR2 to all ranks: status 75" || tap_note "status $rc" "$(tail -n 5 "$tap_dir/mpi.out")"
ends_same mpi 2 "signalled twice" parallel.ep=2

# ---- compact state: bf16 weights, their remainders, bf16 moments with stochastic rounding -------------------------------------------
run splitbase 2 parallel.ep=2 model.dtype="'bf16'" optim.state="'split'"
tap_ok $? "split state, undisturbed" || tap_note "$(tail -n 5 "$tap_dir/splitbase.out")"
start split 2 parallel.ep=2 model.dtype="'bf16'" optim.state="'split'"
until_step split 12
for pid in $(pids split); do kill -9 "$pid" 2>/dev/null; done
ended split
tap_note "status $rc, $(losses split | tail -n 1)"
run split 2 parallel.ep=2 model.dtype="'bf16'" optim.state="'split'"
tap_check "split state, killed: the same end" same splitbase split

# ---- time --------------------------------------------------------------------------------------------------------------------
run long 1 train.steps=600 snapshot.every=0
starts=0
while [ $starts -lt 30 ]; do
    starts=$((starts + 1))
    run wall 1 train.steps=600 snapshot.every=100 train.max_wall=3.0
    rc=$?
    [ $rc -eq 75 ] || break
done
tap_note "$starts starts of 3 s"
[ $rc -eq 0 ]
tap_ok $? "max_wall: status 75 until it is done" || tap_note "status $rc" "$(tail -n 5 "$tap_dir/wall.out")"
losses long >"$tap_dir/a.log"
losses wall >"$tap_dir/b.log"
tap_check "max_wall: the same losses" cmp "$tap_dir/a.log" "$tap_dir/b.log"
tap_check "... and weights" cmp "$tap_dir/long/export/model.safetensors" "$tap_dir/wall/export/model.safetensors"
run short 1 train.max_wall=0.01
[ $? -eq 64 ] && grep -q 'leaves no time' "$tap_dir/short.out"
tap_ok $? "max_wall too short for a step: no crash loop, status 64" || tap_note "$(tail -n 5 "$tap_dir/short.out")"
SLURM_JOB_END_TIME=$(($(date +%s) + 8)) run slurm 1
[ $? -eq 75 ] && grep -q 'limit of' "$tap_dir/slurm.out"
tap_ok $? "SLURM_JOB_END_TIME: stopped while there is time" || tap_note "$(tail -n 3 "$tap_dir/slurm.out")"

# ---- what is there already -----------------------------------------------------------------------------------------------------
cp "$tap_dir/base2/log.csv" "$tap_dir/log.before"
run base2 2 parallel.ep=2
[ $? -eq 0 ] && grep -q 'all its 40 steps' "$tap_dir/base2.out" && cmp "$tap_dir/log.before" "$tap_dir/base2/log.csv"
tap_ok $? "a finished run says so and leaves its log alone" || tap_note "$(tail -n 5 "$tap_dir/base2.out")"
mv "$tap_dir/base2/export" "$tap_dir/export.before"
run base2 2 parallel.ep=2
tap_check "its export is made again if it is gone" cmp "$tap_dir/export.before/model.safetensors" "$tap_dir/base2/export/model.safetensors"

# ---- another mesh ----------------------------------------------------------------------------------------------------------------
within() { # within A B: first loss behind the change within 1e-6, all within 1e-4
    losses "$1" | awk -F, '$2 != "" { print $2 }' >"$tap_dir/a.loss"
    losses "$2" | awk -F, '$2 != "" { print $2 }' >"$tap_dir/b.loss"
    paste "$tap_dir/a.loss" "$tap_dir/b.loss" | awk '
        function rel(a, b) { d = a - b; if (d < 0) d = -d; return d / b }
        NR > 1 && rel($1, $2) > worst { worst = rel($1, $2) }
        NR == 23 { first = rel($1, $2) }
        END { printf "first %.2e, worst %.2e\n", first, worst; exit !(NR == 41 && first <= 1e-6 && worst <= 1e-4) }'
}
for mesh in 1:1 4:4 4:1; do
    name=mesh-$(echo $mesh | tr : -)
    mkdir -p "$tap_dir/$name"
    run "$name" 2 parallel.ep=2 train.steps=21 optim.schedule="'constant'" export.dir="''"
    run "$name" "${mesh%:*}" parallel.ep="${mesh#*:}" optim.schedule="'constant'"
    tap_ok $? "21 steps on 2 ranks, the rest on ${mesh%:*}, ep ${mesh#*:}" || tap_note "$(tail -n 5 "$tap_dir/$name.out")"
done
run constant 2 parallel.ep=2 optim.schedule="'constant'" export.dir="''"
for mesh in 1-1 4-4 4-1; do
    tap_check "... $mesh: the losses of 2 ranks" within constant "mesh-$mesh"
    tap_note "$(within constant "mesh-$mesh")"
done

# ---- what may not change -----------------------------------------------------------------------------------------------------------
refused() { # refused STATUS TEXT TEXT NAME RANKS OVERRIDES ...
    want=$1
    one=$2
    two=$3
    shift 3
    before=$(cat "$tap_dir/$1/log.csv" "$tap_dir/$1/input.used.nml" | cksum)
    run "$@"
    got=$?
    [ $got -eq "$want" ] && grep -q -e "$one" "$tap_dir/$1.out" && grep -q -e "$two" "$tap_dir/$1.out" &&
        [ "$(cat "$tap_dir/$1/log.csv" "$tap_dir/$1/input.used.nml" | cksum)" = "$before" ]
    tap_ok $? "refused, nothing touched: $one" || tap_note "status $got" "$(tail -n 8 "$tap_dir/$1.out")"
}
refused 64 'lr = 0.001' 'lr = 0.003' base1 1 optim.lr=1.0e-3 train.steps=50
refused 64 'global_batch = 8' 'global_batch = 4' base1 1 train.global_batch=8 train.steps=50
refused 64 'seed = 5' 'seed = 1234' base1 1 train.seed=5
echo more >>"$tap_dir/train.txt"
refused 65 'data.train or data.valid changed' 'fingerprint' base1 1
cp "$srcdir/README.md" "$tap_dir/train.txt"
sed -i 's/"norm_eps": [^,]*/"norm_eps": 2e-5/; s/"layer_norm_epsilon": [^,]*/"layer_norm_epsilon": 2e-5/' "$tap_dir/model/config.json"
cmp -s "$tap_dir/model/config.json" "$srcdir/validation/cases/tiny/config.json" && echo ' ' >>"$tap_dir/model/config.json"
refused 65 'config.json or the checkpoint' 'fingerprint' base1 1
cp "$srcdir/validation/cases/tiny/config.json" "$tap_dir/model/config.json"
run base1 1 log.every=5 snapshot.keep=3 train.steps=44 export.dir="'$tap_dir/base1/other'"
tap_ok $? "log, snapshot, export and steps may change" || tap_note "$(tail -n 5 "$tap_dir/base1.out")"

# ---- where to begin ------------------------------------------------------------------------------------------------------------------
run wall 1 snapshot.resume="'never'" train.steps=7
[ $? -eq 0 ] && [ -d "$tap_dir/wall/snapshots/earlier-1/step-00000600" ] && [ ! -e "$tap_dir/wall/snapshots/step-00000600" ] && [ -f "$tap_dir/wall/log.1.csv" ]
tap_ok $? "resume = 'never': anew, older snapshots and log put aside" || tap_note "$(tail -n 5 "$tap_dir/wall.out")" "$(find "$tap_dir/wall" -maxdepth 3)"
run fork 1 snapshot.resume="'$tap_dir/sigTERM/snapshots/step-00000035'" train.steps=38 snapshot.every=38
[ $? -eq 0 ] && grep -q 'resume .*sigTERM/snapshots/step-00000035' "$tap_dir/fork.out"
tap_ok $? "resume = DIR: from there" || tap_note "$(tail -n 5 "$tap_dir/fork.out")"
run fork 1 snapshot.resume="'$tap_dir/sigTERM/snapshots/step-00000035'"
grep -q 'resume .*fork/snapshots/step-00000038' "$tap_dir/fork.out"
tap_ok $? "... and again: from its own" || tap_note "$(tail -n 5 "$tap_dir/fork.out")"
run fork 1 snapshot.resume="'$tap_dir/sigINT/snapshots/step-00000035'"
[ $? -eq 0 ] && [ -d "$tap_dir/fork/snapshots/earlier-1/step-00000038" ]
tap_ok $? "... from another: its own are put aside" || tap_note "$(tail -n 5 "$tap_dir/fork.out")"
tap_check "... to the same weights and moments" same_state sigXCPU fork
newest=$tap_dir/sigUSR1/snapshots/step-00000040
printf 'x' | dd of="$newest/rank-00000.h5" bs=1 seek=50000 conv=notrunc 2>/dev/null
run sigUSR1 1
[ $? -eq 0 ] && grep -q 'warning' "$tap_dir/sigUSR1.out" && grep -q 'resume .*step-00000035' "$tap_dir/sigUSR1.out"
tap_ok $? "a damaged snapshot is told, the one before it serves" || tap_note "$(head -n 12 "$tap_dir/sigUSR1.out")"
tap_check "... to the same end" same sigXCPU sigUSR1

# ---- the best ------------------------------------------------------------------------------------------------------------------------
run best 1 snapshot.keep_best=.true. snapshot.keep=1 snapshot.every=0 optim.lr=0.05 optim.schedule="'constant'" export.dir="''"
best=$(losses best | awk -F, '$3 != "" && $1 > 0 && (!n || $3 < least) { n = $1; least = $3 } END { print n }')
[ -d "$tap_dir/best/snapshots/$(printf 'step-%08d' "$best")" ] && [ -d "$tap_dir/best/snapshots/step-00000040" ] && [ "$(find "$tap_dir/best/snapshots" -maxdepth 1 -name 'step-*' | wc -l)" -le 2 ]
tap_ok $? "keep_best: the snapshot with the lowest validation loss stays" || tap_note "best step $best" "$(ls "$tap_dir/best/snapshots")"

# ---- two at once -----------------------------------------------------------------------------------------------------------------------
start twice 1
first=$job
until_step twice 3
"$NEMAFIT" "$tap_dir/twice.nml" >"$tap_dir/second.out" 2>&1 </dev/null
rc=$?
wait "$first"
[ $rc -eq 0 ] && grep -q 'all its 40 steps' "$tap_dir/second.out" && [ "$(cat "$tap_dir/twice.rc")" -eq 0 ]
tap_ok $? "a second start waits for the first" || tap_note "status $rc" "$(tail -n 5 "$tap_dir/second.out")"
tap_check "... whose end is the same" same sigXCPU twice
job=$held_job
ended held
kill $holder 2>/dev/null
[ "$rc" -eq 73 ] && [ ! -e "$tap_dir/held/log.csv" ]
tap_ok $? "a directory that stays taken: status 73, nothing written" || tap_note "status $rc" "$(tail -n 5 "$tap_dir/held.out")"
tap_done
