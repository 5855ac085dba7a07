# SPDX-License-Identifier: Apache-2.0
# Disks that are really full (A5): a file system in memory of less and less room, and one that fills up while a snapshot is written.
# Needs a mount: as root, or in a name space of its own; else it is skipped.
if [ -z "${NF_UNSHARED-}" ] && unshare -rm true 2>/dev/null; then
    NF_UNSHARED=1 exec unshare -rm sh "$0" # the mount ends with this process
fi
. "$srcdir/validation/tap.sh"
mkdir -p "$tap_dir/disk"
mount -t tmpfs -o size=1m none "$tap_dir/disk" 2>"$tap_dir/err" || tap_skip_all "no mount: $(cat "$tap_dir/err")"
trap 'umount -l "$tap_dir/disk"; [ -n "${NF_KEEP-}" ] || rm -rf "$tap_dir"' 0
. "$srcdir/validation/faults/lib.sh"
ranks=2
base
disk=$tap_dir/disk
snapshots=$disk/snapshots
kib=$(du -sk "$tap_dir/base/snapshots/step-00000012" | cut -f1)
room() { mount -o remount,size="$1"k "$disk"; } # room KIB
empty() { # a run with its snapshots on an empty disk
    rm -rf "$tap_dir/run" "${disk:?}"/*
    mkdir -p "$tap_dir/run" "$snapshots"
    ln -s "$snapshots" "$tap_dir/run/snapshots" # for whole() and same()
}

# ---- from nothing to 1.2 snapshots ------------------------------------------------------------------------------------------------
want=$(trials 8)
i=0
committed=0
while [ "$i" -lt "$want" ]; do
    size=$((4 + i * kib * 12 / 10 / (want > 1 ? want - 1 : 1)))
    i=$((i + 1))
    room $((kib * 8))
    empty
    room "$size"
    one_of retry stop
    run run snapshot.dir="'$snapshots'" snapshot.on_error="'$word'" snapshot.keep=1
    what="room for $size KiB of $kib, on_error $word"
    got=$(find "$snapshots" -maxdepth 1 -name 'step-*' | wc -l)
    committed=$((committed + got))
    ledger "A5 trial $i: $what, status $rc, $got snapshots"
    good "$what: status 74, or 0 with a snapshot" test "$rc" = 74 -o "$rc" = 0 -a "$got" -gt 0
    good "$what: told with path, needed and free" sh -c 'test "$1" = 0 || grep -q "$2.*" "$3" && { test "$1" = 0 || grep -q "free" "$3"; }' \
        sh "$rc" "$disk" "$tap_dir/run.out"
    good "$what: each snapshot is whole" whole run
    room $((kib * 8))
    goes_on run "$what, then more" snapshot.dir="'$snapshots'"
done
tap_ok "$bad" "$want disks of less room than a snapshot, or little more ($committed snapshots committed): the same end"
bad=0

# ---- full in the middle of a snapshot -----------------------------------------------------------------------------------------------
for how in stop retry; do
    room $((kib * 8))
    empty
    from before 8
    rm -rf "$tap_dir/run"
    cp -r "$tap_dir/before" "$tap_dir/run"
    rm -rf "$tap_dir/run/snapshots" "$snapshots"
    cp -r "$tap_dir/before/snapshots" "$disk/"
    ln -s "$snapshots" "$tap_dir/run/snapshots"
    fault=0:fallocate:1:stall
    fault_dir=$snapshots
    # a long continuation at step 10 gives the time to make room again before the last step
    start run snapshot.dir="'$snapshots'" snapshot.on_error="'$how'" snapshot.keep=8 log.sample_prompt=x log.sample_tokens=2000
    for _ in $(seq 300); do
        struck run && break
        sleep 0.1
    done
    dd if=/dev/zero of="$disk/filler" bs=64k 2>/dev/null
    truncate -s -100k "$disk/filler" # there is some room, but not enough
    if [ $how = retry ]; then
        for _ in $(seq 200); do
            grep -q 'no snapshot of step 9' "$tap_dir/run.out" && break
            [ ! -f "$tap_dir/run.rc" ] || break
            sleep 0.02
        done
        rm -f "$disk/filler"
    fi
    ended run
    what="full while the snapshot of step 9 is written, on_error $how"
    ledger "A5 $what: status $rc"
    tap_note "$(grep -h -e 'are needed' -e 'snapshot needs' "$tap_dir/run.out" | head -n 2)"
    [ $how = stop ] && status=74 || status=0
    good "$what: status $status" test "$rc" = $status
    good "$what: path, bytes needed and free are told" grep -q "$snapshots.*No space left.*bytes) are needed.*bytes) are free" "$tap_dir/run.out"
    good "$what: the snapshots before are whole" whole run
    good "$what: they are there" test -d "$snapshots/step-00000008"
    rm -f "$disk/filler"
    goes_on run "$what, then room" snapshot.dir="'$snapshots'" snapshot.keep=8
done
tap_ok "$bad" "a disk that fills up while a snapshot is written"
tap_done
