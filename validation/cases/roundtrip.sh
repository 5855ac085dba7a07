# SPDX-License-Identifier: Apache-2.0
# What is loaded and written without a change is the same, byte for byte: a run of no steps on 1 and 4 ranks from fp32 and
# bf16 checkpoints, in fp32 and in bf16, into one file and into shards, and back from shards. input.used.nml reproduces a run.
. "$srcdir/validation/tap.sh"
golden=$srcdir/validation/golden

copy() { # copy NAME RANKS FROM OVERRIDES ...: FROM -> $tap_dir/NAME/export
    name=$1
    ranks=$2
    from=$3
    shift 3
    cat >"$tap_dir/$name.nml" <<EOF
&model path = '$from' /
&data format = 'mock', seq_len = 16 /
&train steps = 0 /
&optim lr = 1.0e-3 /
&export dir = '$tap_dir/$name/export' /
&log dir = '$tap_dir/$name', progress = .false. /
EOF
    "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1
    tap_ok $? "$name: $ranks ranks $*" || tap_note "$(tail -n 20 "$tap_dir/$name.out")"
}
# every tensor: name, dtype, shape, checksum of its bytes
tensors() {
    perl -e '
        use strict; use warnings; my %t;
        for my $file (glob "$ARGV[0]/model*.safetensors") {
            open my $f, "<:raw", $file or die $file; local $/; my $b = <$f>;
            my $n = unpack "Q<", substr $b, 0, 8; my $h = substr $b, 8, $n;
            while ($h =~ /"([^"]+)":\s*\{([^{}]*data_offsets[^{}]*)\}/g) {
                my ($name, $body) = ($1, $2);
                my ($from, $to) = $body =~ /data_offsets"?:\s*\[\s*(\d+)\s*,\s*(\d+)/;
                my ($type) = $body =~ /"dtype":\s*"(\w+)"/; my ($shape) = $body =~ /"shape":\s*\[([^\]]*)\]/; $shape =~ s/\s//g;
                $t{$name} = "$type [$shape] " . unpack "%32C*", substr $b, 8 + $n + $from, $to - $from;
                $t{$name} .= " " . unpack "H*", substr $b, 8 + $n + $from, $to - $from;
            }
        }
        print "$_ $t{$_}\n" for sort keys %t;' "$1"
}
same() { # same A B: the same tensors in both directories
    tensors "$1" >"$tap_dir/a"
    tensors "$2" >"$tap_dir/b"
    [ -s "$tap_dir/a" ] && cmp "$tap_dir/a" "$tap_dir/b"
}
copy fp32-1 1 "$golden/nemotron_h"
tap_check "fp32, one rank: the same tensors" same "$golden/nemotron_h" "$tap_dir/fp32-1/export"
tap_check "... and the same config.json" cmp "$golden/nemotron_h/config.json" "$tap_dir/fp32-1/export/config.json"
copy fp32-4 4 "$golden/nemotron_h" parallel.ep=4
tap_check "fp32, experts over 4 ranks: the same file" cmp "$tap_dir/fp32-1/export/model.safetensors" "$tap_dir/fp32-4/export/model.safetensors"
copy bf16-2 2 "$golden/nemotron_h_bf16" parallel.ep=2
tap_check "bf16: the same tensors, the router bias in F32" same "$golden/nemotron_h_bf16" "$tap_dir/bf16-2/export"
copy split 2 "$golden/nemotron_h" parallel.ep=2 model.dtype="'bf16'" optim.state="'split'"
tap_check "fp32 tensors as split bf16 weights: the same file" cmp "$tap_dir/fp32-1/export/model.safetensors" "$tap_dir/split/export/model.safetensors"
copy master 1 "$golden/nemotron_h" model.dtype="'bf16'"
tap_check "fp32 tensors as masters of bf16 weights: the same file" cmp "$tap_dir/fp32-1/export/model.safetensors" "$tap_dir/master/export/model.safetensors"
copy halved 1 "$golden/nemotron_h" export.dtype="'bf16'"
copy bare 2 "$golden/nemotron_h" parallel.ep=2 model.dtype="'bf16'" optim.state="'bf16'" export.dtype="'bf16'"
tap_check "fp32 tensors as bf16 weights without master: rounded once" cmp "$tap_dir/halved/export/model.safetensors" "$tap_dir/bare/export/model.safetensors"
copy bf16-bf16 1 "$golden/nemotron_h_bf16" model.dtype="'bf16'" optim.state="'split'"
tap_check "bf16 tensors as bf16 weights: the same tensors" same "$golden/nemotron_h_bf16" "$tap_dir/bf16-bf16/export"
copy shards 4 "$golden/nemotron_h" parallel.ep=2 export.shard_gb=0.00005
[ "$(find "$tap_dir/shards/export" -name 'model-*.safetensors' | wc -l)" -gt 2 ]
tap_ok $? "into shards: there are several"
tap_check "into shards: the same tensors" same "$golden/nemotron_h" "$tap_dir/shards/export"
copy gathered 2 "$tap_dir/shards/export" parallel.ep=1
tap_check "from shards: the same files again" diff -r "$tap_dir/shards/export" "$tap_dir/gathered/export"
copy single 1 "$tap_dir/shards/export" export.shard_gb=5
tap_check "from shards into one file: the same file" cmp "$tap_dir/fp32-1/export/model.safetensors" "$tap_dir/single/export/model.safetensors"
ls -d "$tap_dir"/*/*.tmp-* >/dev/null 2>&1
[ $? -ne 0 ]
tap_ok $? "no temporary directory is left"

"$MPIRUN_NP" 2 "$NEMAFIT" "$tap_dir/fp32-1.nml" train.steps=8 optim.lr=1.0e-3 train.local_batch=2 parallel.ep=2 "log.dir='$tap_dir/first'" "export.dir='$tap_dir/first/export'" >"$tap_dir/out" 2>&1
tap_ok $? "a run with overrides" || tap_note "$(tail -n 5 "$tap_dir/out")"
cp "$tap_dir/first/input.used.nml" "$tap_dir/used.nml"
"$MPIRUN_NP" 2 "$NEMAFIT" "$tap_dir/used.nml" "log.dir='$tap_dir/second'" "export.dir='$tap_dir/second/export'" >"$tap_dir/out" 2>&1
tap_ok $? "its input.used.nml runs" || tap_note "$(tail -n 5 "$tap_dir/out")"
tap_check "... and gives the same weights" cmp "$tap_dir/first/export/model.safetensors" "$tap_dir/second/export/model.safetensors"
tap_done
