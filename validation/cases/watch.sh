# SPDX-License-Identifier: Apache-2.0
# No run stands still in silence, and none stays behind. A rank that is stopped is named by the others, with its section, within the
# time-out; a rank that dies takes all with it at once; a rank that pauses for less than the time-out is waited for. $NF_DEVICE: where,
# if not on CPUs; $NF_RANKS: 4, or 2.
. "$srcdir/validation/tap.sh"
[ -n "$tap_dir" ] || exit 99
run=$tap_dir/run
ranks=${NF_RANKS:-4}
cat >"$tap_dir/run.nml" <<EOF
&model path = '$srcdir/validation/cases/tiny', init = 'random' /
&data train = '$srcdir/README.md', valid = '$srcdir/doc/design.md', format = 'text', seq_len = 128 /
&train steps = 100000, global_batch = 12, eval_every = 100000, hang_timeout = 4.0 /
&optim lr = 1.0e-4 /
&parallel ep = 2 /
&backend device = '${NF_DEVICE:-cpu}' /
&log dir = '$run', progress = .false. /
EOF
pids() { sed -n 's/^rank [0-9]* pid \([1-9][0-9]*\) .*/\1/p' "$run/watch-00000" 2>/dev/null; }
alive() { # how many of these live, zombies apart
    n=0
    for pid in "$@"; do
        case $(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null) in '' | Z | X) ;; *) n=$((n + 1)) ;; esac
    done
    echo $n
}
section='section step'
begin() { # begin OVERRIDES ...: until it is in $section; all: the ranks
    rm -rf "${run:?}"
    NF_TIMEOUT=120 "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/run.nml" "$@" >"$tap_dir/out" 2>&1 &
    job=$!
    for _ in $(seq 600); do
        [ -f "$run/log.csv" ] && [ "$(wc -l <"$run/log.csv")" -gt 3 ] && grep -q "$section" "$run/watch-00000" 2>/dev/null && break
        sleep 0.1
    done
    all=$(pids)
    if [ "$(echo "$all" | wc -w)" -ne "$ranks" ]; then
        tap_ok 1 "$ranks ranks run"
        tap_note "$(tail -n 12 "$tap_dir/out")"
        kill "$job"
        tap_done
    fi
}
now() { date +%s.%N; }
seconds() { echo "$1 $(now)" | awk '{ printf "%.1f", $2 - $1 }'; }
at_most() { echo "$1 $2" | awk '{ exit !($1 <= $2) }'; }
nth() { echo "$all" | sed -n "$1p"; }

begin
number=$((ranks / 2 + 1)) # of the stopped rank, from 1
victim=$(nth $number)
kill -STOP "$victim"
t=$(now)
wait $job
rc=$?
took=$(seconds "$t")
[ $rc -eq 76 ] && at_most "$took" 14 && grep -q "rank $((number - 1)) (pid $victim on .*) does not run: section step, step" "$tap_dir/out"
tap_ok $? "a stopped rank: status 76 within 4 + 10 s, rank and section are named" || tap_note "status $rc after $took s" "$(tail -n 12 "$tap_dir/out")"
grep -q 'last collective [0-9]* (' "$tap_dir/out" && [ "$(grep -c '^nemafit: ' "$tap_dir/out")" -eq 1 ]
tap_ok $? "... and its last collective, in one diagnosis" || tap_note "$(tail -n 12 "$tap_dir/out")"
tap_note "$took s"
sleep 3
[ "$(alive $all)" -eq 0 ]
tap_ok $? "... nobody stays behind"

begin
kill -STOP "$(nth 2)"
sleep 2
kill -CONT "$(nth 2)"
sleep 4
[ "$(alive $all)" -eq "$ranks" ]
tap_ok $? "a rank that pauses for half the time-out is waited for" || tap_note "$(tail -n 8 "$tap_dir/out")"
t=$(now)
kill -KILL "$(nth "$ranks")"
wait $job
rc=$?
while [ "$(alive $all)" -gt 0 ] && at_most "$(seconds "$t")" 20; do sleep 0.2; done
took=$(seconds "$t")
[ $rc -eq 137 ] && at_most "$took" 5
tap_ok $? "a rank that is killed: the others are gone within 5 s, status 137" || tap_note "status $rc after $took s"
tap_note "$took s"

section='section evaluate'
begin train.eval_every=2
kill -STOP "$(nth 1)"
wait $job
rc=$?
[ $rc -eq 76 ] && grep -q 'rank 0 (pid .*) does not run' "$tap_dir/out"
tap_ok $? "rank 0 stopped: the others tell" || tap_note "status $rc" "$(tail -n 12 "$tap_dir/out")"
sleep 3
[ "$(alive $all)" -eq 0 ]
tap_ok $? "... nobody stays behind"
tap_done
