# SPDX-License-Identifier: Apache-2.0
# Killed at one of the calls that change the disk (A2): in front of it, behind half of its bytes, or behind it, on rank 0 and on
# another, from the taking of the directories over snapshots and the removal of older ones to the export; the calls are spread evenly.
. "$srcdir/validation/tap.sh"
. "$srcdir/validation/faults/lib.sh"
base
from run 8
run run snapshot.keep=1
calls_0=$(calls run 0)
calls_1=$(calls run 1)
good "from step 8: the same end" same run
tap_note "$calls_0 calls on rank 0, $calls_1 on rank 1"
want=$(trials 40)
[ "${NF_TRIALS-}" != all ] || want=$(((calls_0 + calls_1) * 3))
met=0
i=0
while [ "$i" -lt "$want" ]; do
    from run 8
    if [ $((i % 4)) -eq 3 ]; then
        rank=1
        n=$calls_1
    else
        rank=0
        n=$calls_0
    fi
    case $((i % 3)) in 0) how=kill ;; 1) how=kill-half ;; *) how=kill-after ;; esac
    at=$((1 + i * n / want))
    if [ "${NF_TRIALS-}" = all ]; then # each call in each way
        at=$((1 + i / 3))
        rank=0
        [ "$at" -le "$calls_0" ] || { rank=1; at=$((at - calls_0)); }
    fi
    i=$((i + 1))
    fault=$rank:write:$at:$how
    run run snapshot.keep=1
    what=$(grep -v ' -$' "$tap_dir/run.calls" | head -n 1 | sed "s,$tap_dir/,,; s/^[0-9.]* //")
    ledger "A2 trial $i: $what, status $rc"
    struck run || continue # a call that came later in this run
    met=$((met + 1))
    good "$what: status 137" test "$rc" = 137
    good "$what: each snapshot is whole" whole run
    goes_on run "$what" snapshot.keep=1
done
[ "$met" -ge $((want * 9 / 10)) ]
tap_ok $? "$met of $want calls were met"
tap_ok "$bad" "$met kills at a call: all came to the same end"
tap_done
