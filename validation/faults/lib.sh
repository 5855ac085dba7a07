# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# lib.sh: whole runs under faults, for the scripts of this folder, beside tap.sh. NF_SEED chooses the faults, NF_TRIALS their number,
# NF_LEDGER names a file that gets a line for each; scripts/faults sets them.
#
# The undisturbed run is "base": 12 steps on $ranks ranks, with a snapshot of each step. "The same" is the same SHA-256 of weights,
# moments and place of the run (digest.pl), the same rows of log.csv and the same exported weights.
tap_dir=$(cd "$tap_dir" && pwd -P)
shim=$builddir/validation/faults/shim.so
seed=${NF_SEED:-1}
steps=12
ranks=4
tap_note "seed $seed"
[ -f "$shim" ] || { echo "Bail out! no $shim"; exit 99; }
cp -r "$srcdir/validation/cases/tiny" "$tap_dir/model"
cp "$srcdir/README.md" "$tap_dir/train.txt"
cp "$srcdir/doc/design.md" "$tap_dir/valid.txt"

trials() { # trials USUAL: how many
    case ${NF_TRIALS-} in '' | *[!0-9]*) echo "$1" ;; *) echo "$NF_TRIALS" ;; esac
}
draw() { # draw N: $drawn is 0 ... N-1, the next of the seed's
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    drawn=$((seed / 65536 % $1))
}
one_of() { # one_of WORD ...: $word is one of them
    draw $#
    shift "$drawn"
    word=$1
}
now() { date +%s.%N; }
since() { echo "$1 $(now)" | awk '{ printf "%.1f", $2 - $1 }'; }
part() { # part PERMILLE SECONDS
    echo "$1 $2" | awk '{ printf "%.3f", $1 * $2 / 1000 }'
}
ledger() {
    [ -z "${NF_LEDGER-}" ] || echo "$*" >>"$NF_LEDGER"
}

# ---- runs ----------------------------------------------------------------------------------------------------------------------
input() { # input NAME: $tap_dir/NAME.nml, which writes below $tap_dir/NAME
    cat >"$tap_dir/$1.nml" <<EOT
&model path = '$tap_dir/model', init = 'random' /
&data train = '$tap_dir/train.txt', valid = '$tap_dir/valid.txt', format = 'text', seq_len = 48 /
&train steps = $steps, global_batch = 4, eval_every = 5, eval_batches = 1, hang_timeout = 60.0 /
&optim lr = 3.0e-3, warmup = 3 /
&log dir = '$tap_dir/$1', progress = .false. /
&snapshot dir = '$tap_dir/$1/snapshots', every = 3 /
&export dir = '$tap_dir/$1/out/export' /
EOT
}
fault= # RANK:CALLS:K:HOW for the next start, below $fault_dir (the run's own directory if empty)
fault_dir=
start() { # start NAME OVERRIDES ...: in the background
    name=$1
    shift
    input "$name"
    rm -rf "$tap_dir/$name.pids" "$tap_dir/$name.rc" "$tap_dir/$name.calls"
    mkdir -p "$tap_dir/$name.pids"
    {
        # shellcheck disable=SC2016
        NF_TIMEOUT=${limit:-120} "$MPIRUN_NP" "$ranks" env ${fault:+NF_FAULT="$fault"} NF_FAULT_DIR="${fault_dir:-$tap_dir/$name}" \
            NF_FAULT_LEDGER="$tap_dir/$name.calls" sh -c 'pids=$1
            so=$2
            shift 2
            echo "$$ $PPID" >"$pids/${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}"
            LD_PRELOAD=$so${LD_PRELOAD:+:$LD_PRELOAD} exec "$@"' rank "$tap_dir/$name.pids" "$shim" \
            "$NEMAFIT" "$tap_dir/$name.nml" parallel.ep="$ranks" "$@" >"$tap_dir/$name.out" 2>&1
        echo $? >"$tap_dir/$name.rc"
    } &
    job=$!
    fault=
    fault_dir=
}
until_step() { # until_step NAME N: the log of the run that was started has step N; false: it ended before, or after a minute
    for _ in $(seq 1200); do
        at=$(awk -F, '$2 != "" && $1 + 0 > n { n = $1 } END { print n + 0 }' "$tap_dir/$1/log.csv" 2>/dev/null || echo 0)
        [ "$at" -ge "$2" ] && return 0
        [ ! -f "$tap_dir/$1.rc" ] || return 1
        sleep 0.05
    done
    return 1
}
ended() { # ended NAME: wait for it; its status is in $rc
    wait "$job" 2>/dev/null
    rc=$(cat "$tap_dir/$1.rc" 2>/dev/null || echo none)
}
run() { # run NAME OVERRIDES ...: to its end; its status is in $rc
    start "$@"
    ended "$1"
}
pid_of() { # pid_of NAME RANK|all|mpirun
    case $2 in
    all) cut -d' ' -f1 "$tap_dir/$1.pids"/* 2>/dev/null ;;
    mpirun) cut -d' ' -f2 "$tap_dir/$1.pids"/* 2>/dev/null | sort -u ;;
    *) cut -d' ' -f1 "$tap_dir/$1.pids/$2" 2>/dev/null ;;
    esac
}
alive() { # alive PID ...: how many of these live, zombies apart
    n=0
    for pid in "$@"; do
        case $(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null) in '' | Z | X) ;; *) n=$((n + 1)) ;; esac
    done
    echo $n
}
said() { # the diagnosis, for a note
    sed -n '/^nemafit: /,/^---/p' "$tap_dir/$1.out" | grep . || grep -v '^step ' "$tap_dir/$1.out" | tail -n 6
}
struck() { # struck NAME: was the fault met in its last start?
    grep -qv ' -$' "$tap_dir/$1.calls" 2>/dev/null
}
calls() { # calls NAME RANK: how many it made in its last start
    grep -c " rank $2 call " "$tap_dir/$1.calls"
}

# ---- what is compared ------------------------------------------------------------------------------------------------------------
losses() { # step, loss, validation loss, norm, rate, skipped of each row
    cut -d, -f1-6 "$tap_dir/$1/log.csv"
}
base() { # the undisturbed run
    begun=$(now)
    run base snapshot.every=1 snapshot.keep=100
    base_seconds=$(since "$begun")
    perl "$srcdir/validation/faults/digest.pl" "$tap_dir"/base/snapshots/step-* >"$tap_dir/base.digests" 2>"$tap_dir/base.err"
    losses base >"$tap_dir/base.losses"
    [ "$rc" = 0 ] && [ "$(cut -d' ' -f2 "$tap_dir/base.digests" | sort -u | wc -l)" -eq $steps ] &&
        [ "$(wc -l <"$tap_dir/base.losses")" -eq $((steps + 5)) ]
    tap_ok $? "undisturbed: $steps steps on $ranks ranks, a snapshot of each" || {
        tap_note "status $rc" "$(said base)" "$(cat "$tap_dir/base.err")"
        tap_done
    }
    tap_note "$base_seconds s, end $(tail -n 1 "$tap_dir/base.digests")"
}
from() { # from NAME STEP: a run that was left behind this step: the snapshots of base up to it
    rm -rf "${tap_dir:?}/$1"
    cp -r "$tap_dir/base" "$tap_dir/$1"
    rm -rf "$tap_dir/$1/out" "$tap_dir/$1/snapshots/exports"
    for snapshot in "$tap_dir/$1"/snapshots/step-*; do
        number=$(basename "$snapshot" | sed 's/^step-0*//')
        [ "$number" -le "$2" ] && [ "$number" -gt $(($2 - 2)) ] || rm -rf "$snapshot"
    done
}
whole() { # whole NAME: each snapshot that has its name is what was in memory at its step; says what is not
    for snapshot in "$tap_dir/$1"/snapshots/step-*[0-9]; do
        [ -d "$snapshot" ] || continue
        digest=$(perl "$srcdir/validation/faults/digest.pl" "$snapshot" 2>&1)
        case $digest in
        *' due') grep -q "^${digest% due} " "$tap_dir/base.digests" && continue ;; # the evaluation is still to come
        *) grep -qxF "$digest" "$tap_dir/base.digests" && continue ;;
        esac
        [ ! -d "$snapshot" ] && continue # removed meanwhile, by a rank that outlived the kill
        echo "$snapshot: $digest"
        return 1
    done
}
same() { # same NAME: it has come to the undisturbed run's end; says what differs
    losses "$1" | cmp - "$tap_dir/base.losses" 2>&1 &&
        cmp "$tap_dir/$1/out/export/model.safetensors" "$tap_dir/base/out/export/model.safetensors" 2>&1 &&
        grep -q 'evaluation_due = 0' "$tap_dir/$1/snapshots/step-$(printf %08d $steps)/state.txt" && whole "$1" && ! find "$tap_dir/$1" -name '*.tmp*' | grep .
}
# Failures of many trials are one point each, successes one together.
bad=0
good() { # good TEXT COMMAND ...: counts a failure, and tells it
    text=$1
    shift
    out=$("$@" 2>&1) && return 0
    bad=$((bad + 1))
    tap_ok 1 "$text"
    tap_note "$out" "status $rc" "$(said "$name")" "$(grep -v ' -$' "$tap_dir/$name.calls" 2>/dev/null)"
    return 1
}
goes_on() { # goes_on NAME TEXT OVERRIDES ...: the same command, once more, comes to the same end
    name=$1
    text=$2
    shift 2
    run "$name" "$@"
    good "$text: it goes on, status 0" test "$rc" = 0
    good "$text: the same end" same "$name"
}
