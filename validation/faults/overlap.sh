# SPDX-License-Identifier: Apache-2.0
# Two generations of a run never mix (A7): the next one is started while ranks of a killed one live on, while the first is at
# work, and while it is stopped; one that was stopped and is woken later writes nothing.
. "$srcdir/validation/tap.sh"
. "$srcdir/validation/faults/lib.sh"
base
want=$(trials 4)
i=0
while [ "$i" -lt "$want" ]; do
    i=$((i + 1))
    rm -rf "$tap_dir/run"
    draw 8
    step=$((2 + drawn))
    case $((i % 4)) in
    1 | 2) # rank 0, and with it the lock, is gone; the others are not
        start run
        old=$job
        until_step run $step
        others=$(pid_of run all)
        kill -9 "$(pid_of run 0)"
        draw 400
        sleep "$(part "$drawn" 1)"
        # shellcheck disable=SC2086
        what="started $drawn ms after rank 0 was killed behind step $step, $(alive $others) ranks alive"
        goes_on run "$what"
        wait "$old"
        ledger "A7 trial $i: $what, status $rc"
        ;;
    3) # the first is at work
        start run
        old=$job
        until_step run $step
        second=$("$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/run.nml" parallel.ep="$ranks" 2>&1)
        rc=$?
        wait "$old"
        what="started while the first is at step $step"
        ledger "A7 trial $i: $what, status $rc"
        good "$what: it waits" test "$rc" = 0
        good "$what: it finds all done" sh -c 'printf "%s\n" "$1" | grep -q "all its"' sh "$second"
        good "$what: the same end" same run
        ;;
    0) # the first is stopped, and its lock is lost, as when its node is away; it is woken when the second is done
        start run log.sample_prompt=x log.sample_tokens=2000 # long looks at steps 5 and 10: it is stopped before its end
        old=$job
        until_step run $step
        pids=$(pid_of run all)
        # shellcheck disable=SC2086
        kill -STOP $pids
        rm -f "$tap_dir/run/run.lock" "$tap_dir/run/snapshots/run.lock"
        mv "$tap_dir/run.pids" "$tap_dir/old.pids"
        mv "$tap_dir/run.out" "$tap_dir/old.out"
        what="stopped behind step $step, another run to its end, woken"
        goes_on run "$what"
        # shellcheck disable=SC2086
        kill -CONT $pids
        wait "$old"
        rc=$(cat "$tap_dir/run.rc")
        ledger "A7 trial $i: $what, status $rc"
        good "$what: status 73" test "$rc" = 73
        good "$what: it changed nothing" same run
        tap_note "$(tail -n 2 "$tap_dir/old.out")"
        ;;
    esac
done
tap_ok "$bad" "$want overlaps of two generations: the same end"
tap_done
