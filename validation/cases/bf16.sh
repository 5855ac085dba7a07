# SPDX-License-Identifier: Apache-2.0
# Training in bf16. The number of ranks must not matter: losses of the first step and of 20 steps within 2e-3 (doc/numerics.md; the
# random gate chooses the experts, since a near tie of a router may fall otherwise). The same mesh twice gives the same bits. State
# schemes and gradient types follow the loss of fp32. What bf16 state has no room for is refused.
. "$srcdir/validation/tap.sh"

run() { # run NAME RANKS OVERRIDES ...
    name=$1
    ranks=$2
    shift 2
    cat >"$tap_dir/$name.nml" <<EOF
&model path = '$srcdir/validation/cases/tiny', init = 'random', dtype = 'bf16' /
&data train = '$srcdir/README.md', format = 'text', seq_len = 48 /
&train steps = 30, local_batch = 1, global_batch = 8, gate = 'random' /
&optim lr = 3.0e-3, warmup = 5 /
&log dir = '$tap_dir/$name', progress = .false. /
EOF
    "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1
    tap_ok $? "$name: $ranks ranks $*" || tap_note "$(tail -n 20 "$tap_dir/$name.out")"
    awk -v name=loss -f "$srcdir/validation/cases/column.awk" "$tap_dir/$name/log.csv" >"$tap_dir/$name.loss"
}
within() { # within A B FIRST MORE STEPS: relative differences of the first loss and of those of STEPS steps
    paste "$tap_dir/$1.loss" "$tap_dir/$2.loss" | awk -v first="$3" -v more="$4" -v steps="$5" '
        function rel(a, b) { d = a - b; if (d < 0) d = -d; return d / b }
        NR == 1 { f = rel($1, $2) }
        NR <= steps && rel($1, $2) > worst { worst = rel($1, $2) }
        END { printf "first %.2e, worst of %d %.2e\n", f, steps, worst; exit !(NR == 30 && f <= first && worst <= more) }'
}

run one 1 optim.state="'split'" optim.grad_dtype="'bf16'"
for mesh in 2:2 4:2 4:4; do
    ranks=${mesh%:*}
    ep=${mesh#*:}
    run "m$ranks-$ep" "$ranks" optim.state="'split'" parallel.ep="$ep"
    tap_check "$ranks ranks, ep $ep: losses of one rank" within one "m$ranks-$ep" 2e-3 2e-3 20
    tap_note "$(within one "m$ranks-$ep" 2e-3 2e-3 20)"
done
awk 'NR == 1 { a = $1 } { b = $1 } END { exit !(b < 0.85 * a) }' "$tap_dir/one.loss"
tap_ok $? "the loss falls"

run wide 1 model.dtype="'fp32'"
run master 1
run bare 1 optim.state="'bf16'"
# How much 30 steps make of roundings is seen in fp32, from weights that were rounded once: doc/numerics.md has why all roundings do
# 2.3 times that, and a figure may be twice what is expected.
run start 1 model.dtype="'fp32'" train.steps=1 optim.lr=0 optim.warmup=0 export.dir="'$tap_dir/start/export'" export.dtype="'bf16'"
run rounded 1 model.dtype="'fp32'" model.path="'$tap_dir/start/export'" model.init="'checkpoint'"
worst() { # worst A B: the largest relative difference of their losses
    paste "$tap_dir/$1.loss" "$tap_dir/$2.loss" | awk '{ d = ($1 - $2) / $2; if (d < 0) d = -d; if (d > w) w = d } END { print w }'
}
tap_note "weights rounded once: the losses of 30 steps differ by $(worst wide rounded) at most"
for name in one:4.6 master:4.6 bare:16; do # without a master weights are rounded anew with each step, and keep that: 2 sqrt(5.4 + 2 30)
    bound=$(worst wide rounded | awk -v f="${name#*:}" '{ print f * $1 }')
    name=${name%:*}
    tap_check "$name: like fp32" within wide "$name" 2e-3 "$bound" 30
    tap_note "$(within wide "$name" 2e-3 "$bound" 30), bound $bound"
done
! cmp -s "$tap_dir/one.loss" "$tap_dir/master.loss" && ! cmp -s "$tap_dir/master.loss" "$tap_dir/bare.loss"
tap_ok $? "the schemes are not the same"

for name in again1 again2; do
    run $name 4 parallel.ep=2 train.global_batch=4 optim.state="'bf16'" export.dir="'$tap_dir/$name/export'"
done
tap_check "same mesh twice: the same losses" cmp "$tap_dir/again1.loss" "$tap_dir/again2.loss"
tap_check "same mesh twice: the same weights, bit for bit" cmp "$tap_dir/again1/export/model.safetensors" "$tap_dir/again2/export/model.safetensors"

# A snapshot holds remainders, masters and moments in their types: the last steps again give the same bits, on the same mesh; an
# export of the snapshot is the export of the run, in bf16 and, of what has an fp32 value, in fp32.
for state in fp32 split bf16; do
    name=snap-$state
    set -- parallel.ep=2 train.global_batch=4 "optim.state='$state'" "snapshot.dir='$tap_dir/$name/snapshots'" snapshot.every=10 snapshot.keep=9 \
        "export.dir='$tap_dir/$name/export'" "export.dtype='fp32'"
    run "$name" 2 "$@"
    mv "$tap_dir/$name/export" "$tap_dir/$name.whole"
    cp "$tap_dir/$name.loss" "$tap_dir/$name.whole.loss"
    mv "$tap_dir/$name/snapshots/step-00000030" "$tap_dir/$name.30"
    run "$name" 2 "$@"
    grep -q 'step-00000020' "$tap_dir/$name.out"
    tap_ok $? "$state: the second run goes on from step 20" || tap_note "$(head -n 30 "$tap_dir/$name.out")"
    tap_check "$state: the same losses" cmp "$tap_dir/$name.whole.loss" "$tap_dir/$name.loss"
    tap_check "$state: the same values in fp32" cmp "$tap_dir/$name.whole/model.safetensors" "$tap_dir/$name/export/model.safetensors"
    "$NEMAFIT" --export "$tap_dir/$name.30" "$tap_dir/$name.out30" "export.dtype='fp32'" >"$tap_dir/out" 2>&1
    tap_ok $? "$state: --export of the last snapshot" || tap_note "$(tail -n 5 "$tap_dir/out")"
    tap_check "$state: ... has the same values" cmp "$tap_dir/$name.whole/model.safetensors" "$tap_dir/$name.out30/model.safetensors"
done

refused() { # refused NAME TEXT OVERRIDES ...
    name=$1
    text=$2
    shift 2
    "$NEMAFIT" --check "$tap_dir/one.nml" "$@" >"$tap_dir/out" 2>&1
    [ $? -eq 64 ] && grep -q "$text" "$tap_dir/out"
    tap_ok $? "refused: $name" || tap_note "$(tail -n 5 "$tap_dir/out")"
}
refused "split weights in fp32" "with dtype = 'fp32' the weight is its own master" model.dtype="'fp32'" optim.state="'split'"
refused "bf16 gradients in fp32" "with dtype = 'fp32' gradients are fp32" model.dtype="'fp32'" optim.grad_dtype="'bf16'"
refused "split weights with 'auto' on a CPU" "dtype = 'auto' is fp32 on a CPU" model.dtype="'auto'" backend.device="'cpu'" optim.state="'split'"
tap_done
