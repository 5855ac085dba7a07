# SPDX-License-Identifier: Apache-2.0
# log.profile: the table of times. Its phases are those of log.csv but for the first step, its rows add up to its sums, parts that
# have work have time, and on CPUs only several ranks stand still for each other. NF_DEVICE=cuda: on a GPU.
. "$srcdir/validation/tap.sh"
cat >"$tap_dir/run.nml" <<EOF
&model path = '$srcdir/validation/golden/nemotron_h' /
&data format = 'mock', seq_len = 64 /
&train steps = 4 /
&optim lr = 1.0e-3 /
&backend device = '${NF_DEVICE:-cpu}' /
&log progress = .false., profile = .true. /
EOF
profiled() { # profiled RANKS EP: what is wrong in the run's tables
    "$MPIRUN_NP" "$1" "$NEMAFIT" "$tap_dir/run.nml" "parallel.ep=$2" "log.dir='$tap_dir/$1'" >"$tap_dir/$1.out" 2>&1 </dev/null || return 1
    [ "$(grep -c '^profile   milliseconds a step, mean of 3 steps' "$tap_dir/$1.out")" -eq 1 ] || return 1
    awk -F, -v ranks="$1" -v device="${NF_DEVICE:-cpu}" '
        function near(a, b) { return a > 0.998 * b - 1e-3 && a < 1.002 * b + 1e-3 }
        function wrong(text) { print text; bad = 1 }
        FNR == 1 { files++; for (i = 1; i <= NF; i++) c[$i] = i; next }
        files == 1 && $c["step"] > 1 { forward += $c["ms_forward"] / 3; backward += $c["ms_backward"] / 3; update += $c["ms_update"] / 3 }
        files == 1 { next }
        {
            rows++
            f = $c["ms_forward"]; b = $c["ms_backward"]; u = $c["ms_update"]; g = $c["ms_between"]
            for (i = 4; i < NF; i += 2) if ($i > $(i + 1) * 1.00001) wrong($1 ": the mean is above the slowest rank")
            if ($1 ~ /^(embedding|mamba|moe|attention)$/ && (f <= 0 || b <= 0)) wrong($1 ": no time")
            if ($1 == "head and loss" && f <= 0 || $1 == "optimizer" && u <= 0) wrong($1 ": no time")
            if ($1 == "moe" && $2 != 3) wrong("moe: " $2 " blocks")
            if ($1 == "exchange" && ((ranks > 1) != (f + b > 0)) && device == "cpu") wrong("exchange: " f " + " b)
            if ($1 != "sum") { F += f; B += b; U += u; G += g; next }
            if (!near(F, f) || !near(B, b) || !near(U, u) || !near(G, g)) wrong("rows do not add up")
            if (ranks == 1 && (!near(f, forward) || !near(b, backward) || !near(u, update)))
                wrong("log.csv: " forward " " backward " " update ", profile: " f " " b " " u)
        }
        END { exit bad || rows < 9 }' "$tap_dir/$1/log.csv" "$tap_dir/$1/profile.csv"
}
for ranks in 1 2 4; do
    wrong=$(profiled "$ranks" $((ranks > 1 ? 2 : 1)))
    tap_ok $? "$ranks rank(s): profile.csv" || tap_note "$wrong" "$(tail -n 20 "$tap_dir/$ranks.out")" "$(cat "$tap_dir/$ranks/profile.csv")"
done
tap_done
