# SPDX-License-Identifier: Apache-2.0
# The number of ranks must not matter. A 50-step run with the same global batch on 1, 2, 4 and 8 ranks: first loss within 1e-6, 20
# steps within 1e-4 (the design's bounds: fp32 sums are regrouped). The random gate chooses the experts, since a router may break a
# near tie differently once sums differ in the last bit; a run with the router follows with the bound of its first loss alone. The
# same mesh twice gives the same bits, losses and weights alike. $NF_DEVICE: where, if not on CPUs.
. "$srcdir/validation/tap.sh"
text=$srcdir/README.md

# column.awk prints with the 9 digits of the table: enough for 1e-6
run() { # run NAME RANKS OVERRIDES ...
    name=$1
    ranks=$2
    shift 2
    cat >"$tap_dir/$name.nml" <<EOF
&model path = '$srcdir/validation/cases/tiny', init = 'random', dtype = 'fp32' /
&backend device = '${NF_DEVICE:-cpu}' /
&data train = '$text', format = 'text', seq_len = 48 /
&train steps = 50, local_batch = 1, global_batch = 8 /
&optim lr = 3.0e-3, warmup = 5 /
&log dir = '$tap_dir/$name', progress = .false. /
EOF
    "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1
    tap_ok $? "$name: $ranks ranks $*" || tap_note "$(tail -n 20 "$tap_dir/$name.out")"
    awk -v name=loss -f "$srcdir/validation/cases/column.awk" "$tap_dir/$name/log.csv" >"$tap_dir/$name.loss"
}
within() { # within A B FIRST TWENTY: relative differences of the first loss and of the first 20 are within these
    paste "$tap_dir/$1.loss" "$tap_dir/$2.loss" | awk -v first="$3" -v twenty="$4" '
        function rel(a, b) { d = a - b; if (d < 0) d = -d; return d / b }
        NR == 1 { f = rel($1, $2) }
        NR <= 20 { if (rel($1, $2) > worst) worst = rel($1, $2) }
        END { printf "first %.2e, worst of 20 %.2e\n", f, worst; exit !(NR == 50 && f <= first && worst <= twenty) }'
}

run one 1 train.gate="'random'"
for mesh in 2:1 2:2 4:2 4:4 8:4 8:8; do
    ranks=${mesh%:*}
    ep=${mesh#*:}
    run "m$ranks-$ep" "$ranks" train.gate="'random'" parallel.ep="$ep"
    tap_check "$ranks ranks, ep $ep: losses of one rank" within one "m$ranks-$ep" 1e-6 1e-4
    tap_note "$(within one "m$ranks-$ep" 1e-6 1e-4)"
done
awk 'NR == 1 { a = $1 } { b = $1 } END { exit !(b < 0.8 * a) }' "$tap_dir/one.loss"
tap_ok $? "the loss falls"

run gather 4 train.gate="'random'" parallel.ep=4 parallel.dispatch="'allgather'"
tap_check "allgather: losses of one rank" within one gather 1e-6 1e-4
run narrow 4 train.gate="'random'" parallel.ep=4 parallel.recv_factor=0.25 parallel.chunks=3
tap_check "windows too small for what arrives: losses of one rank" within one narrow 1e-6 1e-4
awk -v name=overflow_slices -f "$srcdir/validation/cases/column.awk" "$tap_dir/narrow/log.csv" | awk '{ n += $1 } END { exit !(n > 0) }'
tap_ok $? "... and the log counts the slices beyond the planned ones"
run block 2 train.gate="'random'" parallel.ep=2 model.recompute="'block'"
tap_check "recompute: losses of one rank" within one block 1e-6 1e-4

run routed1 1
run routed4 4 parallel.ep=4
tap_check "router: first loss of one rank" within routed1 routed4 1e-6 1

run again1 4 train.gate="'random'" parallel.ep=2 export.dir="'$tap_dir/again1/export'"
run again2 4 train.gate="'random'" parallel.ep=2 export.dir="'$tap_dir/again2/export'"
tap_check "same mesh twice: the same losses" cmp "$tap_dir/again1.loss" "$tap_dir/again2.loss"
tap_check "same mesh twice: the same weights, bit for bit" cmp "$tap_dir/again1/export/model.safetensors" "$tap_dir/again2/export/model.safetensors"
tap_done
