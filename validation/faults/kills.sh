# SPDX-License-Identifier: Apache-2.0
# Killed at any time (A1): one rank, rank 0, all, or mpirun, up to four times in one run, while it starts, steps, writes or exports.
# Each snapshot that has its name is whole after each kill, and the run ends the same as the undisturbed one.
. "$srcdir/validation/tap.sh"
. "$srcdir/validation/faults/lib.sh"
base
want=$(trials 24)
kills=0
runs=0
while [ "$kills" -lt "$want" ]; do
    runs=$((runs + 1))
    rm -rf "$tap_dir/run"
    draw 4
    some=$((1 + drawn))
    while [ "$some" -gt 0 ] && [ "$kills" -lt "$want" ]; do
        start run
        draw 1100
        wait_s=$(part "$drawn" "$base_seconds")
        sleep "$wait_s"
        one_of 0 1 2 3 0 all mpirun
        if [ -f "$tap_dir/run.rc" ]; then # it was faster
            base_seconds=$(part 900 "$base_seconds")
            break
        fi
        # shellcheck disable=SC2046
        kill -9 $(pid_of run "$word") 2>/dev/null || { [ -f "$tap_dir/run.rc" ] || sleep 0.3; }
        ended run
        [ "$rc" = 0 ] && break
        some=$((some - 1))
        kills=$((kills + 1))
        at=$(losses run 2>/dev/null | tail -n 1 | cut -d, -f1)
        ledger "A1 kill $kills, run $runs: $word after $wait_s s, status $rc, step ${at:-none}"
        good "kill $kills ($word after $wait_s s): each snapshot is whole" whole run
    done
    goes_on run "run $runs, $kills kills so far"
done
tap_ok "$bad" "$kills kills in $runs runs: all came to the same end"
tap_done
