# SPDX-License-Identifier: Apache-2.0
# A rank that stops (D1) or dies (D2) in a section of the run: all are gone in time, with the status of the cause, which is told once.
. "$srcdir/validation/tap.sh"
. "$srcdir/validation/faults/lib.sh"
base
from ready 8
hang=3

# place SECTION: where the fault is: $fault_dir, calls, which of them
place() {
    case $1 in
    setup) fault_dir=$tap_dir/run/snapshots calls=open at=1 rank=0 ;;
    load) fault_dir=$tap_dir/run/snapshots calls=pread at=3 ;;
    snapshot) fault_dir=$tap_dir/run/snapshots calls=pwrite at=2 ;;
    export) fault_dir=$tap_dir/run/out calls=pwrite at=2 ;;
    esac
}
struck_at() { # when the fault was met
    grep -v ' -$' "$tap_dir/run.calls" | head -n 1 | cut -d' ' -f1
}
gone() { # within a second none of them lives
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        # shellcheck disable=SC2046
        [ "$(alive $(pid_of run all))" -eq 0 ] && return 0
        sleep 0.1
    done
    return 1
}
told() { # told SECTION RANK: rank and section of who stands still, in one diagnosis
    [ "$(grep -c '^nemafit: ' "$tap_dir/run.out")" -eq 1 ] && grep -q "rank $2 (pid .*) does not run: section $1" "$tap_dir/run.out" &&
        grep -q 'last collective' "$tap_dir/run.out"
}
begin() { # begin SECTION RANK HOW OVERRIDES ...
    rm -rf "$tap_dir/run"
    cp -r "$tap_dir/ready" "$tap_dir/run"
    rank=$2
    if [ "$1" = step ]; then # where no file is touched: from outside
        start run train.steps=100000 snapshot.every=0 export.dir="''"
        until_step run 30
        kill -"$3" "$(pid_of run "$rank")"
        met=$(now)
        ended run
        took=$(since "$met")
        return
    fi
    place "$1"
    case $3 in SEGV | ABRT | KILL) word=$(echo "$3" | tr A-Z a-z) ;; *) word=$3 ;; esac
    fault=$rank:$calls:$at:$word
    shift 3
    run run "$@"
    took=$(since "$(struck_at || now)")
}

# ---- D1 ------------------------------------------------------------------------------------------------------------------------
i=0
want=$(trials 4)
while [ "$i" -lt "$want" ]; do
    section=$(echo load snapshot export setup | cut -d' ' -f$((1 + i % 4)))
    i=$((i + 1))
    draw $ranks
    begin "$section" "$drawn" stop train.hang_timeout=$hang.0
    what="rank $rank stopped in section $section"
    ledger "D1 trial $i: $what, status $rc after $took s"
    tap_note "$what: $took s"
    good "$what: it was met" struck run
    good "$what: status 76" test "$rc" = 76
    good "$what: within time-out and 10 s" test "${took%.*}" -lt $((hang + 10))
    good "$what: rank, section and last collective are named, once" told "$section" "$rank"
    good "$what: nobody stays behind" gone
    # shellcheck disable=SC2046
    kill -9 $(pid_of run all) 2>/dev/null
    goes_on run "$what"
done
tap_ok "$bad" "$want stopped ranks: all gone in time, the rank and its section named, the same end"
bad=0

# ---- D2 ------------------------------------------------------------------------------------------------------------------------
i=0
want=$(trials 16)
while [ "$i" -lt "$want" ]; do
    section=$(echo load step snapshot export | cut -d' ' -f$((1 + i % 4)))
    how=$(echo SEGV ABRT KILL EIO | cut -d' ' -f$((1 + i / 4 % 4)))
    i=$((i + 1))
    [ "$section $how" != 'step EIO' ] || how=BUS
    draw $ranks
    begin "$section" "$drawn" "$how"
    what="rank $rank meets $how in section $section"
    ledger "D2 trial $i: $what, status $rc after $took s"
    case $how in SEGV) status=139 ;; ABRT) status=134 ;; KILL) status=137 ;; BUS) status=135 ;; *) status=74 ;; esac
    diagnoses=$((status == 74))
    [ "$section" = step ] || good "$what: it was met" struck run
    good "$what: status $status" test "$rc" = $status
    good "$what: within 5 s" test "${took%.*}" -lt 5
    good "$what: one diagnosis at most" test "$(grep -c '^nemafit: ' "$tap_dir/run.out")" -eq $diagnoses
    good "$what: nobody stays behind" gone
    good "$what: each snapshot is whole" whole run
done
tap_ok "$bad" "$want ranks that died or failed: all gone within 5 s with the status of the cause, told once"
tap_done
