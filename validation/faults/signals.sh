# SPDX-License-Identifier: Apache-2.0
# Repeated (B1), gone on with (B2), signalled (E1), started twice (A7): the same bits at the end.
. "$srcdir/validation/tap.sh"
. "$srcdir/validation/faults/lib.sh"
base

# ---- B1: the same command again: other addresses, filled memory, another environment ------------------------------------------
i=0
want=$(trials 3)
while [ "$i" -lt "$want" ]; do
    i=$((i + 1))
    draw 255
    rm -rf "$tap_dir/run"
    MALLOC_PERTURB_=$((drawn + 1)) PADDING=$(printf '%*d' $((drawn * 17)) 0) run run
    ledger "B1 run $i: memory filled with $drawn, status $rc"
    good "run $i of $want: status 0" test "$rc" = 0
    good "run $i of $want: the same" same run
done
tap_ok "$bad" "$want more runs with filled memory: the same"
bad=0

# ---- B2: from any step -------------------------------------------------------------------------------------------------------
i=0
want=$(trials 4)
while [ "$i" -lt "$want" ]; do
    i=$((i + 1))
    draw $((steps - 1))
    step=$((drawn + 1))
    from run "$step"
    ledger "B2 from step $step"
    goes_on run "from step $step"
done
tap_ok "$bad" "gone on with from $want steps: the same"
bad=0

# ---- E1: signals, at any time, to one rank, to all, or to mpirun, and one more while the run stops ------------------------------------
want=$(trials 16)
sent=0
saved=0
runs=0
while [ "$sent" -lt "$want" ]; do
    rm -rf "$tap_dir/run"
    runs=$((runs + 1))
    for _ in 1 2 3; do
        [ "$sent" -lt "$want" ] || break
        start run
        draw 1000
        wait_s=$(part "$drawn" "$base_seconds")
        sleep "$wait_s"
        one_of TERM INT HUP USR1 USR2 XCPU
        signal=$word
        one_of 0 1 2 3 all all
        case $signal in USR1 | USR2 | XCPU) one_of 0 1 2 3 all mpirun ;; esac
        to=$word
        if [ -f "$tap_dir/run.rc" ]; then # it was faster
            base_seconds=$(part 900 "$base_seconds")
            break
        fi
        begun=no
        grep -q -e '^step ' -e '^resume ' -e '^snapshots ' "$tap_dir/run.out" && begun=yes
        # shellcheck disable=SC2046
        kill -"$signal" $(pid_of run "$to") 2>/dev/null
        draw 3
        [ "$drawn" -ne 0 ] || { sleep 0.05; kill -TERM $(pid_of run "$to") 2>/dev/null; }
        ended run
        sent=$((sent + 1))
        ledger "E1 signal $sent, run $runs: $signal to $to after $wait_s s, begun $begun, status $rc"
        # Before the program listens a signal ends it; then there is nothing to save.
        case $begun,$rc in
        *,75) saved=$((saved + 1)) ;;
        *,0) ;;
        no,*) ;;
        *) good "$signal to $to after $wait_s s: status 75" false ;;
        esac
        good "$signal to $to after $wait_s s: each snapshot is whole" whole run
        [ "$rc" != 0 ] || break
    done
    goes_on run "$sent signals in $runs runs"
done
[ "$saved" -gt 0 ] || [ "$want" -lt 8 ]
tap_ok $? "$saved of $sent signals ended with a snapshot and status 75"
tap_ok "$bad" "$sent signals: the same"
bad=0
tap_done
