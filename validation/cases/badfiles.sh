# SPDX-License-Identifier: Apache-2.0
# Bad files at 1, 4 and 40 ranks: one clear diagnosis, the exit status that fits, every rank gone, nothing half-written.
. "$srcdir/validation/tap.sh"
golden=$srcdir/validation/golden/nemotron_h

damage() { # damage NAME PERL: a copy of the checkpoint with model.safetensors changed by PERL ($b: bytes, $h: header, $d: data)
    mkdir -p "$tap_dir/$1"
    cp "$golden/config.json" "$tap_dir/$1/"
    perl -e 'open my $f, "<:raw", $ARGV[0] or die; local $/; my $b = <$f>; my $n = unpack "Q<", $b;
             my $h = substr $b, 8, $n; my $d = substr $b, 8 + $n; my $raw;
             '"$2"';
             $raw = pack("Q<", length $h) . $h . $d unless defined $raw;
             open my $o, ">:raw", $ARGV[1] or die; print $o $raw' "$golden/model.safetensors" "$tap_dir/$1/model.safetensors"
}
cat >"$tap_dir/run.nml" <<EOF
&model path = 'set below' /
&data format = 'mock', seq_len = 16 /
&train steps = 1 /
&optim lr = 1.0e-3 /
&log dir = '$tap_dir/run', progress = .false. /
&export dir = '$tap_dir/run/export' /
EOF
fails() { # fails STATUS TEXT RANKS OVERRIDES ...: ends with STATUS, says TEXT once, leaves no export
    want=$1
    text=$2
    ranks=$3
    shift 3
    rm -rf "$tap_dir/run"
    NF_TIMEOUT=120 "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/run.nml" "$@" >"$tap_dir/out" 2>&1
    got=$?
    said=$(grep -c -e "$text" "$tap_dir/out")
    [ $got -eq "$want" ] && [ "$said" -ge 1 ] && [ "$(grep -c '^nemafit: ' "$tap_dir/out")" -eq 1 ] && [ ! -e "$tap_dir/run/export" ]
    tap_ok $? "$ranks ranks, $*: status $want, $text" || tap_note "status $got" "$(head -n 30 "$tap_dir/out")"
}
damage truncated '$d = substr $d, 0, length($d) - 100'
damage longheader '$raw = pack("Q<", 1_000_003) . $h . $d'
damage hugeheader '$raw = pack("Q<", 200_000_000) . $h . $d'
damage missing '$h =~ s/"lm_head.weight"/"other.weight"/'
damage misshapen '$h =~ s/"shape":\[96,32\]/"shape":[32,96]/'
damage mistyped '$h =~ s/("backbone.norm_f.weight":\{"dtype":)"F32"/$1"I32"/'
damage overlap '$h =~ s/("data_offsets":\[)(\d{4,}),/$1 . ($2 - 4) . ","/e'
damage overrun '$h =~ s/,(\d{6})\]\}/"," . ($1 + 4000000) . "]}"/e'
damage nan 'substr($d, 400, 4) = pack "V", 0x7fc00000'
damage huge 'substr($d, -12288) = pack("f<", 3e38) x 3072'
damage lfs '$raw = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"'
mkdir -p "$tap_dir/noweights" "$tap_dir/badconfig" "$tap_dir/othermodel"
cp "$golden/config.json" "$tap_dir/noweights/"
cp "$golden/model.safetensors" "$tap_dir/badconfig/"
cp "$golden/model.safetensors" "$tap_dir/othermodel/"
sed 's/"hidden_size": 32/"hidden_size": 32, "hidden_size": 64/' "$golden/config.json" >"$tap_dir/badconfig/config.json"
sed 's/"nemotron_h"/"llama"/' "$golden/config.json" >"$tap_dir/othermodel/config.json"

for ranks in 1 4 40; do
    fails 66 'nowhere: ' $ranks "model.path='$tap_dir/nowhere'"
    fails 65 'ST-018' $ranks "model.path='$tap_dir/truncated'"
    fails 65 'ST-002' $ranks "model.path='$tap_dir/longheader'"
    fails 65 'lm_head.weight' $ranks "model.path='$tap_dir/missing'"
    fails 64 'setps' $ranks train.setps=3
done
fails 66 'safetensors' 4 "model.path='$tap_dir/noweights'"
fails 65 'ST-00[23]' 4 "model.path='$tap_dir/hugeheader'"
fails 65 'MD-0[34]' 4 "model.path='$tap_dir/misshapen'"
fails 65 'norm_f' 4 "model.path='$tap_dir/mistyped'"
fails 65 'ST-01[59]' 4 "model.path='$tap_dir/overlap'"
fails 65 'ST-01' 4 "model.path='$tap_dir/overrun'"
fails 79 'ST-027' 4 "model.path='$tap_dir/nan'"
fails 65 'ST-040' 4 "model.path='$tap_dir/lfs'"
fails 78 'given twice' 4 "model.path='$tap_dir/badconfig'"
fails 78 'llama' 4 "model.path='$tap_dir/othermodel'"
fails 64 'does not divide' 4 "model.path='$golden'" parallel.ep=3
fails 64 'does not divide' 3 "model.path='$golden'" parallel.ep=3
fails 64 'global_batch' 4 "model.path='$golden'" train.global_batch=6
fails 66 'no-such-text' 4 "model.path='$srcdir/validation/cases/tiny'" "model.init='random'" "data.format='text'" "data.train='no-such-text'"
fails 65 'vocab' 2 "model.path='$golden'" "data.format='text'" "data.train='$srcdir/README.md'"
head -c 1100000 /dev/zero | tr '\0' '!' >"$tap_dir/large.nml"
NF_TIMEOUT=120 "$MPIRUN_NP" 4 "$NEMAFIT" --check "$tap_dir/large.nml" >"$tap_dir/out" 2>&1
[ $? -eq 65 ] && grep -q 'large.nml: larger than 1.00 MiB' "$tap_dir/out"
tap_ok $? "an input file of more than a MiB: status 65" || tap_note "$(cat "$tap_dir/out")"
NF_TIMEOUT=120 "$MPIRUN_NP" 2 "$NEMAFIT" --check "$tap_dir/run.nml" "model.path='$golden'" data.seq_len=1024 >"$tap_dir/out" 2>&1
[ $? -eq 0 ] && grep -q 'longer than the model.s max_position_embeddings = 512' "$tap_dir/out"
tap_ok $? "rows longer than the model's context: said" || tap_note "$(cat "$tap_dir/out")"
mkdir -p "$tap_dir/precious"
echo work >"$tap_dir/precious/notes.txt"
rm -rf "$tap_dir/run"
"$MPIRUN_NP" 2 "$NEMAFIT" "$tap_dir/run.nml" "model.path='$golden'" "export.dir='$tap_dir/precious'" >"$tap_dir/out" 2>&1
[ $? -eq 73 ] && [ "$(ls "$tap_dir/precious")" = notes.txt ]
tap_ok $? "an export over somebody's directory: status 73, the directory untouched" || tap_note "$(cat "$tap_dir/out")"
rm -rf "$tap_dir/run"
"$MPIRUN_NP" 2 "$NEMAFIT" "$tap_dir/run.nml" "model.path='$tap_dir/huge'" train.steps=40 train.max_skipped=3 >"$tap_dir/out" 2>&1
[ $? -eq 79 ] && grep -q 'not finite in 3 steps' "$tap_dir/out" && [ "$(grep -c 'update skipped' "$tap_dir/out")" -ge 2 ]
tap_ok $? "a loss that overflows: updates skipped, then status 79" || tap_note "$(tail -n 8 "$tap_dir/out")"
tap_done
