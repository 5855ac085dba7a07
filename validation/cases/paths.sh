# SPDX-License-Identifier: Apache-2.0
# Hostile and odd paths, through the program: links, FIFOs, devices and shard names that lead elsewhere are refused where they are
# read; nothing is followed, truncated or replaced where a run writes, and what is refused is refused before the first step;
# files are 0640 and directories 0750, less what umask takes. Numbers C.. and IX.. are those of the lists of malformations.
. "$srcdir/validation/tap.sh"
golden=$srcdir/validation/golden/nemotron_h
cat >"$tap_dir/run.nml" <<EOF
&model path = '$golden' /
&data format = 'mock', seq_len = 16 /
&train steps = 1 /
&optim lr = 1.0e-3 /
&log dir = '$tap_dir/run', progress = .false. /
EOF
run() { # run RANKS OVERRIDES ...: its status
    ranks=$1
    shift
    NF_TIMEOUT=120 "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/run.nml" "$@" >"$tap_dir/out" 2>&1
}
fails() { # fails STATUS TEXT RANKS OVERRIDES ...: ends with STATUS, one diagnosis that says TEXT, before the first step
    want=$1
    text=$2
    shift 2
    run "$@"
    got=$?
    [ $got -eq "$want" ] && grep -q -e "$text" "$tap_dir/out" && [ "$(grep -c '^nemafit: ' "$tap_dir/out")" -eq 1 ] &&
        ! grep -q 'step 1/' "$tap_dir/out"
    tap_ok $? "$(echo "$*" | sed "s|$tap_dir/||g") ranks: status $want, $text" || tap_note "status $got" "$(head -n 20 "$tap_dir/out")"
}
model() { # model NAME: a copy of the checkpoint
    mkdir -p "$tap_dir/$1"
    cp "$golden/config.json" "$golden/generation_config.json" "$golden/model.safetensors" "$tap_dir/$1/"
}

# ---- what is read
for name in fifo folder device out large; do
    model "c-$name"
    rm "$tap_dir/c-$name/config.json"
done
mkfifo "$tap_dir/c-fifo/config.json"
mkdir "$tap_dir/c-folder/config.json"
ln -s /dev/zero "$tap_dir/c-device/config.json"
ln -s "$golden/config.json" "$tap_dir/c-out/config.json"
{
    cat "$golden/config.json"
    head -c 1100000 /dev/zero | tr '\0' ' '
} >"$tap_dir/c-large/config.json"
fails 78 'config.json: expected a regular file, found a FIFO' 4 "model.path='$tap_dir/c-fifo'" # C37
fails 78 'config.json: expected a regular file, found a directory' 1 "model.path='$tap_dir/c-folder'"
fails 78 'config.json: expected a regular file, found a device' 4 "model.path='$tap_dir/c-device'"
fails 78 'config.json: is a link that leads out of the checkpoint' 1 "model.path='$tap_dir/c-out'"
fails 78 'config.json: larger than 1.00 MiB' 4 "model.path='$tap_dir/c-large'" # C06

cache=$tap_dir/models--a--b
model models--a--b/blobs
mkdir -p "$cache/snapshots/0123"
for name in config.json generation_config.json model.safetensors; do
    ln -s "../../blobs/$name" "$cache/snapshots/0123/$name"
done
run 2 "model.path='$cache/snapshots/0123'" "export.dir='$tap_dir/cached'"
tap_ok $? "a snapshot of the hub's cache is read through its links" || tap_note "$(cat "$tap_dir/out")"
cmp -s "$tap_dir/cached/generation_config.json" "$golden/generation_config.json" && [ ! -L "$tap_dir/cached/config.json" ]
tap_ok $? "and exported as files"

shards() { # shards NAME SHARD: an index that names SHARD
    model "$1"
    mv "$tap_dir/$1/model.safetensors" "$tap_dir/$1/part.safetensors"
    printf '{"weight_map":{"lm_head.weight":"%s","backbone.norm_f.weight":"part.safetensors"}}' "$2" \
        >"$tap_dir/$1/model.safetensors.index.json"
}
shards i-up '../part.safetensors'
shards i-root '/etc/passwd'
shards i-deep 'a/../../b.safetensors'
shards i-nul 'a\u0000.safetensors'
shards i-empty ''
fails 65 'IX-03: shard name .../part.safetensors' 4 "model.path='$tap_dir/i-up'"
fails 65 'IX-02: shard name ./etc/passwd' 1 "model.path='$tap_dir/i-root'"
fails 65 'IX-03' 1 "model.path='$tap_dir/i-deep'"
fails 65 'IX-04: shard name .a\\x00.safetensors' 4 "model.path='$tap_dir/i-nul'"
fails 65 'IX-04' 1 "model.path='$tap_dir/i-empty'"
for name in fifo zero out sparse; do
    model "w-$name"
    rm "$tap_dir/w-$name/model.safetensors"
done
mkfifo "$tap_dir/w-fifo/model.safetensors"
ln -s /dev/zero "$tap_dir/w-zero/model.safetensors"
ln -s "$golden/model.safetensors" "$tap_dir/w-out/model.safetensors"
fails 65 'IX-17: expected a regular file, found a FIFO' 4 "model.path='$tap_dir/w-fifo'"
fails 65 'IX-17' 1 "model.path='$tap_dir/w-zero'"
fails 65 'IX-16: is a link that leads out of the checkpoint' 4 "model.path='$tap_dir/w-out'"
for size in 7E 1P 15T 1T; do # as large as the file system lets it be
    truncate -s $size "$tap_dir/w-sparse/model.safetensors" 2>/dev/null && break
done
fails 65 'ST-004' 4 "model.path='$tap_dir/w-sparse'"
printf '\377\377\377\377\377\377\377\177' | dd of="$tap_dir/w-sparse/model.safetensors" conv=notrunc 2>/dev/null
fails 65 'ST-00[23]' 1 "model.path='$tap_dir/w-sparse'"

model carried
ln -s /etc/passwd "$tap_dir/carried/tokenizer.json"
fails 65 'tokenizer.json: IX-16: is a link that leads out' 4 "model.path='$tap_dir/carried'" "export.dir='$tap_dir/copy'"
[ ! -e "$tap_dir/copy" ]
tap_ok $? "a file of the user's is not carried into an export"

# ---- where a run writes
mkdir "$tap_dir/away" "$tap_dir/precious"
echo work >"$tap_dir/precious/notes.txt"
echo text >"$tap_dir/file"
ln "$tap_dir/file" "$tap_dir/hard"
ln -s away "$tap_dir/live"
ln -s nowhere "$tap_dir/dangling"
mkfifo "$tap_dir/fifo"
fails 73 'live: exists and is a link' 4 "export.dir='$tap_dir/live'"
fails 73 'dangling: exists and is a link' 1 "export.dir='$tap_dir/dangling'"
fails 73 'fifo: exists and is not a directory' 4 "export.dir='$tap_dir/fifo'"
fails 73 'hard: exists and is not a directory' 1 "export.dir='$tap_dir/hard'"
fails 73 'file: is not a directory' 1 "export.dir='$tap_dir/file/a/b'"
fails 73 'precious: exists and is not a checkpoint' 4 "export.dir='$tap_dir/precious'"
fails 73 'dangling' 4 "log.dir='$tap_dir/dangling'"
fails 73 'fifo' 1 "log.dir='$tap_dir/fifo'"
fails 73 'hard' 1 "log.dir='$tap_dir/hard'"
[ "$(cat "$tap_dir/file")" = text ] && [ ! -e "$tap_dir/nowhere" ] && [ -z "$(ls -A "$tap_dir/away")" ] &&
    [ "$(ls "$tap_dir/precious")" = notes.txt ]
tap_ok $? "and nothing of these has changed"

mkdir "$tap_dir/trap"
for name in log.csv input.used.nml; do
    echo "mine $name" >"$tap_dir/victim-$name"
    ln -s "../victim-$name" "$tap_dir/trap/$name"
done
run 2 "log.dir='$tap_dir/trap'"
status=$?
[ $status -eq 0 ] && [ "$(cat "$tap_dir/victim-log.csv" "$tap_dir/victim-input.used.nml")" = "mine log.csv
mine input.used.nml" ] && [ ! -L "$tap_dir/trap/log.csv" ] && [ ! -L "$tap_dir/trap/input.used.nml" ]
tap_ok $? "links in log.dir are replaced or put aside, never written through" || tap_note "status $status" "$(cat "$tap_dir/out")"
mkdir "$tap_dir/trap2"
ln "$tap_dir/victim-input.used.nml" "$tap_dir/trap2/input.used.nml"
ln -s ../made-by-the-run "$tap_dir/trap2/log.csv"
run 2 "log.dir='$tap_dir/trap2'"
[ "$(cat "$tap_dir/victim-input.used.nml")" = "mine input.used.nml" ] && [ ! -e "$tap_dir/made-by-the-run" ]
tap_ok $? "nor is a hard link, nor a link to nothing" || tap_note "$(cat "$tap_dir/out")"

# ---- modes
modes() { # modes UMASK FILES FOLDERS
    rm -rf "$tap_dir/m"
    (umask "$1" && run 2 "log.dir='$tap_dir/m/run'" "export.dir='$tap_dir/m/export'")
    status=$?
    find "$tap_dir/m" -type f ! -perm "$2" >"$tap_dir/odd"
    find "$tap_dir/m" -type d ! -perm "$3" >>"$tap_dir/odd"
    [ $status -eq 0 ] && [ ! -s "$tap_dir/odd" ] && [ -e "$tap_dir/m/export/config.json" ] && [ -e "$tap_dir/m/run/log.csv" ]
    tap_ok $? "umask $1: files $2, directories $3" || tap_note "status $status" "$(ls -lR "$tap_dir/m")"
}
modes 000 0640 0750
modes 077 0600 0700

# ---- where it may not write; the superuser may everywhere, so this is tried as somebody else
chmod 755 "$tap_dir"
mkdir "$tap_dir/closed" && chmod 555 "$tap_dir/closed"
as=
[ "$(id -u)" -ne 0 ] || as='setpriv --reuid=65534 --regid=65534 --clear-groups'
if $as "$NEMAFIT" --check "$tap_dir/run.nml" >/dev/null 2>&1; then
    for key in log.dir export.dir; do
        $as "$NEMAFIT" "$tap_dir/run.nml" "$key='$tap_dir/closed/x'" >"$tap_dir/out" 2>&1
        status=$?
        [ $status -eq 77 ] && grep -q 'closed.*Permission denied' "$tap_dir/out" && ! grep -q 'step 1/' "$tap_dir/out"
        tap_ok $? "$key in a directory that is not ours: status 77" || tap_note "status $status" "$(cat "$tap_dir/out")"
    done
else
    tap_skip "no other user can run the program here"
fi
tap_done
