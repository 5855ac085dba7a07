# SPDX-License-Identifier: Apache-2.0
# scripts/nemafit.sbatch without Slurm: launchers and a scontrol of our own stand in their place. A run that ends with 75 is put
# back into the queue, whether it ended by itself or was told by a signal; every other status is the job's.
. "$srcdir/validation/tap.sh"
command -v bash >/dev/null || tap_skip_all "bash is not here"
bin=$tap_dir/bin
mkdir -p "$bin"
cat >"$bin/mpirun" <<'EOF2'
#!/bin/sh
# ends with $STATUS, after a signal if $UNTIL_SIGNAL is set; says how it was called
echo "${0##*/} $*" >"$CALLED"
trap 'echo told; exit "$STATUS"' USR1
trap 'exit 1' TERM # as Open MPI's: the ranks are killed
[ -z "$UNTIL_SIGNAL" ] || { : >"$CALLED.waiting"; i=0; while [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done; exit 99; }
exit "$STATUS"
EOF2
cat >"$bin/scontrol" <<'EOF2'
#!/bin/sh
echo "$*" >>"$REQUEUED"
exit "${SCONTROL_STATUS:-0}"
EOF2
cp "$bin/mpirun" "$bin/srun"
chmod +x "$bin/mpirun" "$bin/srun" "$bin/scontrol"
echo '&train steps = 1 /' >"$tap_dir/run.nml"
CALLED=$tap_dir/called REQUEUED=$tap_dir/requeued
export CALLED REQUEUED SLURM_JOB_ID=4711
prepare() { # prepare STATUS UNTIL_SIGNAL
    STATUS=$1 UNTIL_SIGNAL=$2
    export STATUS UNTIL_SIGNAL
    rm -f "$CALLED" "$CALLED.waiting" "$REQUEUED"
}
job() { # job STATUS UNTIL_SIGNAL INPUT ...
    prepare "$1" "$2"
    shift 2
    PATH=$bin:$PATH bash "$srcdir/scripts/nemafit.sbatch" "$@" >"$tap_dir/out" 2>&1
}
ends() { # ends STATUS COMMAND ...
    want=$1
    shift
    "$@"
    [ $? -eq "$want" ]
}

for LAUNCHER in mpirun srun; do
    export LAUNCHER
    ends 0 job 0 '' "$tap_dir/run.nml" train.steps=5 && [ ! -e "$REQUEUED" ]
    tap_ok $? "$LAUNCHER: a run that is done ends the job"
    grep -q "^$LAUNCHER .*$tap_dir/run.nml train.steps=5" "$CALLED"
    tap_ok $? "$LAUNCHER: input and words are passed on"
    ends 0 job 75 '' "$tap_dir/run.nml" && grep -qx 'requeue 4711' "$REQUEUED"
    tap_ok $? "$LAUNCHER: status 75 puts the job back into the queue"
    for status in 64 65 74 76 79; do
        ends "$status" job "$status" '' "$tap_dir/run.nml" && [ ! -e "$REQUEUED" ]
        tap_ok $? "$LAUNCHER: status $status is the job's and nothing is queued"
    done
    export SCONTROL_STATUS=1
    ends 75 job 75 '' "$tap_dir/run.nml"
    tap_ok $? "$LAUNCHER: if the queue refuses, the job ends with 75"
    unset SCONTROL_STATUS
    for signal in USR1 TERM; do
        prepare 75 yes
        PATH=$bin:$PATH bash "$srcdir/scripts/nemafit.sbatch" "$tap_dir/run.nml" >"$tap_dir/out" 2>&1 &
        pid=$!
        i=0
        until [ -e "$CALLED.waiting" ] || [ $i -ge 300 ]; do
            sleep 0.1
            i=$((i + 1))
        done
        kill -"$signal" "$pid"
        wait "$pid"
        [ $? -eq 0 ] && grep -qx 'requeue 4711' "$REQUEUED" && grep -q told "$tap_dir/out"
        tap_ok $? "$LAUNCHER: $signal reaches the launcher, and its 75 the queue"
    done
    export SLURM_CPUS_PER_TASK=3
    ends 0 job 0 '' "$tap_dir/run.nml" && grep -q '[=:]PE=3 \|--cpus-per-task=3 ' "$CALLED" &&
        grep -q ' backend.threads=3$' "$CALLED"
    tap_ok $? "$LAUNCHER: a rank has its cores, and as many threads"
    unset SLURM_CPUS_PER_TASK
done
export SRUN_MPI=pmi2 SRUN_FLAGS=--exact
ends 0 job 0 '' "$tap_dir/run.nml" && grep -q -e '--mpi=pmi2 .* --exact .*nemafit ' "$CALLED"
tap_ok $? "srun's PMI and flags can be chosen" || tap_note "$(cat "$CALLED")"
unset SRUN_MPI SRUN_FLAGS
ends 0 job 0 '' "$tap_dir/run.nml" && grep -q -e '--mpi=pmix ' "$CALLED" && grep -q -e '--gpu-bind=none --kill-on-bad-exit=0' "$CALLED"
tap_ok $? "srun: PMIx; all GPUs are seen, no rank is killed for another's status"
LAUNCHER=aprun ends 64 job 0 '' "$tap_dir/run.nml" && [ ! -e "$CALLED" ]
tap_ok $? "another launcher is refused"
unset LAUNCHER
ends 0 job 0 '' "$tap_dir/run.nml" && grep -q '^mpirun ' "$CALLED"
tap_ok $? "without a word it is mpirun"
ends 66 job 0 '' "$tap_dir/absent.nml"
tap_ok $? "an input that is not there is told"
tap_done
