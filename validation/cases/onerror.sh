# SPDX-License-Identifier: Apache-2.0
# A snapshot that cannot be written: what snapshot.on_error makes of it. The limit on the size of a file (RLIMIT_FSIZE) stands for a
# disk that is full, since it can be lifted while the run goes on. Whatever happens, older snapshots stay whole, nothing half-written
# stays, and the run ends, sooner or later, as if nothing had been.
. "$srcdir/validation/tap.sh"
command -v prlimit >/dev/null || tap_skip_all "no prlimit (util-linux)"
input() { # input NAME ON_ERROR
    cat >"$tap_dir/$1.nml" <<EOT
&model path = '$srcdir/validation/cases/tiny', init = 'random' /
&data train = '$srcdir/README.md', format = 'text', seq_len = 96 /
&train steps = 240, global_batch = 2 /
&optim lr = 3.0e-3, warmup = 5, schedule = 'constant' /
&log dir = '$tap_dir/$1', progress = .false. /
&snapshot dir = '$tap_dir/$1/snapshots', every = 20, on_error = '$2' /
&export dir = '$tap_dir/$1/export' /
EOT
}
start() { # start NAME OVERRIDES ...: in the background, with files of 600 KB at most: a snapshot has more, an export less
    name=$1
    shift
    "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1 </dev/null &
    pid=$!
    prlimit --pid $pid --fsize=600000:unlimited
}
run() { # run NAME OVERRIDES ...: without limits
    name=$1
    shift
    "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1 </dev/null
}
said() { # said NAME TEXT: within a minute
    for _ in $(seq 600); do
        grep -q -e "$2" "$tap_dir/$1.out" && return 0
        sleep 0.1
    done
    return 1
}
state() { grep -E '^(step|row|updates|tensor|piece) ' "$tap_dir/$1/snapshots/step-00000240/MANIFEST"; }
same() { # the end of the undisturbed run
    state "$1" >"$tap_dir/a" && state whole >"$tap_dir/b" && cmp "$tap_dir/a" "$tap_dir/b" &&
        cmp "$tap_dir/$1/export/model.safetensors" "$tap_dir/whole/export/model.safetensors"
}
clean() { # clean NAME: no temporary of a snapshot
    [ -z "$(find "$tap_dir/$1/snapshots" -name '*.tmp*')" ]
}
input whole stop
run whole
tap_ok $? "undisturbed" || tap_note "$(tail -n 4 "$tap_dir/whole.out")"

input stop stop
run stop train.steps=40
start stop
wait $pid
rc=$?
[ $rc -eq 74 ] && grep -q "$tap_dir/stop/snapshots/step-00000060" "$tap_dir/stop.out" && grep -q 'File too large' "$tap_dir/stop.out"
tap_ok $? "stop: status 74, path and reason" || tap_note "status $rc" "$(tail -n 4 "$tap_dir/stop.out")"
[ "$(cd "$tap_dir/stop/snapshots" && echo step-*)" = 'step-00000020 step-00000040' ] && clean stop
tap_ok $? "... the older snapshots are there, nothing else" || tap_note "$(ls "$tap_dir/stop/snapshots")"
run stop
tap_check "... started again with room: the same end" same stop

input old stop # what cannot be removed: there is a directory in the one in which the old snapshot is put aside
"$NEMAFIT" "$tap_dir/old.nml" snapshot.keep=1 >"$tap_dir/old.out" 2>&1 </dev/null &
pid=$!
said old 'snapshot .*step-00000020'
mkdir -p "$tap_dir/old/snapshots/step-00000220.old.tmp/another"
wait $pid
[ $? -eq 0 ] && grep -q 'warning: an older snapshot cannot be removed: .*step-00000220.old.tmp' "$tap_dir/old.out"
tap_ok $? "stop: an old snapshot that cannot be removed is told, the run goes on" || tap_note "$(tail -n 4 "$tap_dir/old.out")"
[ "$(cd "$tap_dir/old/snapshots" && echo step-*[0-9])" = 'step-00000220 step-00000240' ]
tap_ok $? "... it lies there whole, beside the new one" || tap_note "$(ls "$tap_dir/old/snapshots")"
tap_check "... to the same end" same old

input retry retry
start retry
said retry 'no snapshot of step'
tap_ok $? "retry: said"
prlimit --pid $pid --fsize=unlimited:unlimited 2>/dev/null
wait $pid
rc=$?
[ $rc -eq 0 ] && clean retry
tap_ok $? "... the run goes on, and the next snapshot is written" || tap_note "status $rc" "$(tail -n 4 "$tap_dir/retry.out")"
tap_check "... to the same end" same retry
rm -rf "$tap_dir/retry"
start retry
wait $pid
rc=$?
[ $rc -eq 74 ] && [ "$(grep -c "no snapshot of step" "$tap_dir/retry.out")" -ge 3 ] && clean retry && [ -f "$tap_dir/retry/export/config.json" ]
tap_ok $? "... if none could be written to the end: status 74, the export is there" || tap_note "status $rc" "$(tail -n 4 "$tap_dir/retry.out")"

input behind retry
start behind snapshot.async=.true.
said behind 'no snapshot of step'
prlimit --pid $pid --fsize=unlimited:unlimited 2>/dev/null
wait $pid
rc=$?
[ $rc -eq 0 ] && clean behind
tap_ok $? "retry, written behind the steps: the run goes on, and the next snapshot is written" || tap_note "status $rc" "$(tail -n 4 "$tap_dir/behind.out")"
tap_check "... to the same end" same behind
rm -rf "$tap_dir/behind"
start behind snapshot.async=.true. snapshot.on_error="'pause'"
said behind 'the run waits'
prlimit --pid $pid --fsize=unlimited:unlimited
wait $pid
rc=$?
[ $rc -eq 0 ] && grep -q 'another is taken at once' "$tap_dir/behind.out"
tap_ok $? "pause, written behind the steps: it waits, then goes on" || tap_note "status $rc" "$(tail -n 4 "$tap_dir/behind.out")"
tap_check "... to the same end" same behind

input pause pause
start pause
said pause 'the run waits, since the snapshot of step 20'
tap_ok $? "pause: said" || tap_note "$(tail -n 4 "$tap_dir/pause.out")"
kill -TERM $pid
wait $pid
rc=$?
[ $rc -eq 74 ] && clean pause
tap_ok $? "... a signal ends the wait: status 74" || tap_note "status $rc" "$(tail -n 4 "$tap_dir/pause.out")"
start pause
said pause 'the run waits'
prlimit --pid $pid --fsize=unlimited:unlimited
wait $pid
rc=$?
[ $rc -eq 0 ] && grep -q 'the run goes on' "$tap_dir/pause.out"
tap_ok $? "... with room it goes on" || tap_note "status $rc" "$(tail -n 4 "$tap_dir/pause.out")"
tap_check "... to the same end" same pause
tap_done
