# SPDX-License-Identifier: Apache-2.0
# References that cannot be held against a model: one diagnosis with file and tensor, the status that fits, all ranks gone, also where
# only the ranks with rows would notice; and a reference that lacks a tensor is no pass. In bf16, too, a wrong model is no pass.
. "$srcdir/validation/tap.sh"
golden=$srcdir/validation/golden/nemotron_h

damage() { # damage NAME FILE PERL: a copy of the reference with FILE changed by PERL ($h: header, $d: data, at(name): its offset)
    mkdir -p "$tap_dir/$1"
    cp "$golden"/* "$tap_dir/$1/"
    perl -e 'our ($h, $d); open my $f, "<:raw", $ARGV[0] or die; local $/; my $b = <$f>; my $n = unpack "Q<", $b;
             $h = substr $b, 8, $n; $d = substr $b, 8 + $n;
             sub at { my $name = quotemeta shift; $h =~ /"$name":\{[^}]*"data_offsets":\[(\d+)/ or die; $1 }
             '"$3"';
             open my $o, ">:raw", $ARGV[1] or die; print $o pack("Q<", length $h), $h, $d' "$golden/$2" "$tap_dir/$1/$2"
}
fails() { # fails STATUS TEXT NAME RANKS ...
    want=$1
    text=$2
    name=$3
    shift 3
    for ranks; do
        NF_TIMEOUT=120 "$MPIRUN_NP" "$ranks" "$NEMAFIT" --golden "$tap_dir/$name" >"$tap_dir/out" 2>&1
        got=$?
        [ $got -eq "$want" ] && grep -q -e "$text" "$tap_dir/out" && [ "$(grep -c '^nemafit: ' "$tap_dir/out")" -eq 1 ]
        tap_ok $? "$name, $ranks ranks: status $want, $text" || tap_note "status $got" "$(head -n 20 "$tap_dir/out")"
    done
}
damage label golden.safetensors 'substr($d, at("labels") + 8 * 47, 8) = pack "q<", 96'
damage id golden.safetensors 'substr($d, at("input_ids") + 8 * 3, 8) = pack "q<", -1'
damage nologits golden.safetensors '$h =~ s/"logits"/"logitz"/'
damage swapped grads.safetensors '$h =~ s/"lm_head.weight"/"tmp"/; $h =~ s/"backbone.norm_f.weight"/"lm_head.weight"/; $h =~ s/"tmp"/"backbone.norm_f.weight"/'
damage integer after6.safetensors '$h =~ s/("backbone.norm_f.weight":\{"dtype":)"F32"/$1"I32"/'
damage lacking grads.safetensors '$h =~ s/"lm_head.weight"/"lm_head.weighs"/'
fails 65 "'labels' of row 1, token 3 is 96" label 1 4
fails 65 "'input_ids' of row 0, token 3 is -1" id 4
fails 65 "'logits' is missing" nologits 4
fails 65 "grads.safetensors: '.*weight' has .* values" swapped 4
fails 65 "after6.safetensors: 'backbone.norm_f.weight' .* I32" integer 4
fails 80 'the reference lacks lm_head.weight' lacking 1 4

# bf16: one gradient too large by a third; two rows of a projection exchanged; a steeper step. The lines in bf16 must say so.
wrong_in_bf16() { # wrong_in_bf16 NAME FIGURE OVERRIDES ...
    name=$1
    figure=$2
    shift 2
    "$NEMAFIT" --golden "$tap_dir/$name" model.dtype=bf16 "$@" >"$tap_dir/out" 2>&1
    [ $? -eq 80 ] && sed '1,/^in bf16/d' "$tap_dir/out" | grep -q "^$figure.*FAIL"
    tap_ok $? "$name in bf16 $*: $figure FAIL" || tap_note "$(tail -n 25 "$tap_dir/out")"
}
damage third grads.safetensors 'my $at = at("backbone.layers.1.mixer.shared_experts.up_proj.weight");
    substr($d, $at + 4 * $_, 4) = pack "f<", 4 / 3 * unpack "f<", substr($d, $at + 4 * $_, 4) for 0 .. 895'
damage exchanged model.safetensors 'my $at = at("backbone.layers.2.mixer.in_proj.weight");
    (substr($d, $at + 128 * 60, 128), substr($d, $at + 128 * 61, 128)) = (substr($d, $at + 128 * 61, 128), substr($d, $at + 128 * 60, 128))'
cp -r "$golden" "$tap_dir/whole"
wrong_in_bf16 third gradients
wrong_in_bf16 exchanged 'hidden states'
wrong_in_bf16 exchanged gradients
wrong_in_bf16 whole 'weights after' optim.lr=6e-3
tap_done
