# SPDX-License-Identifier: Apache-2.0
# Calls that fail (A4): a full disk, a quota, an I/O error, no right to write, a short write, an interrupted one, once or from there
# on, anywhere between the first file and the export. Either the run ends with status 74 or 77 and one message that names path and
# reason, or it goes on; no snapshot is spoilt; started again without the fault it comes to the undisturbed run's end.
. "$srcdir/validation/tap.sh"
. "$srcdir/validation/faults/lib.sh"
ranks=2
base
from run 8
run run snapshot.keep=1
calls_0=$(calls run 0)
calls_1=$(calls run 1)
tap_note "$calls_0 calls on rank 0, $calls_1 on rank 1"
text_of() {
    case $1 in ENOSPC) echo 'No space left' ;; EDQUOT) echo 'quota' ;; EIO) echo 'Input/output error' ;; EROFS) echo 'Read-only file system' ;; EACCES) echo 'Permission denied' ;; *) echo . ;; esac
}
ends_cleanly() { # status, one diagnosis, path and reason
    case $rc in 0) return 0 ;; 74 | 77) ;; *) return 1 ;; esac
    [ "$(grep -c '^nemafit: ' "$tap_dir/run.out")" -eq 1 ] && sed -n '/^nemafit: /,$p' "$tap_dir/run.out" | grep -q "$tap_dir/run" &&
        sed -n '/^nemafit: /,$p' "$tap_dir/run.out" | grep -q "$(text_of "$how")"
}
want=$(trials 60)
met=0
ended_0=0
tried=0
while [ "$met" -lt "$want" ] && [ "$tried" -lt $((want * 4)) ]; do
    from run 8
    for _ in 1 2 3; do # so many failed starts, then one that is left alone
        tried=$((tried + 1))
        draw 4
        rank=$((drawn == 3))
        [ $rank -eq 1 ] && draw "$calls_1" || draw "$calls_0"
        at=$((1 + drawn))
        one_of ENOSPC EDQUOT EIO EROFS EACCES ENOSPC EIO short EINTR
        how=$word
        one_of '' :always
        [ "$how" != EINTR ] || word=
        one=$word
        one_of stop stop retry
        fault=$rank:write:$at:$how$one
        order=$fault
        run run snapshot.keep=1 snapshot.on_error="'$word'"
        what="$order, on_error $word: $(grep -v ' -$' "$tap_dir/run.calls" | head -n 1 | sed "s,$tap_dir/,,; s/^[0-9.]* //")"
        if struck run; then
            met=$((met + 1))
            ledger "A4 trial $met: $what, status $rc"
            good "$what: ends cleanly" ends_cleanly
            good "$what: each snapshot is whole" whole run
        fi
        [ "$rc" != 0 ] || break
    done
    [ "$rc" != 0 ] || ended_0=$((ended_0 + 1))
    goes_on run "$what" snapshot.keep=1
done
[ "$met" -ge "$want" ]
tap_ok $? "$met faults in $tried starts, of which $ended_0 went on to their end"
tap_ok "$bad" "$met faults: none lost a snapshot, each run came to the same end"
tap_done
