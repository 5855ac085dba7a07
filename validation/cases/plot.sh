# SPDX-License-Identifier: Apache-2.0
# scripts/plot: a picture of one run, of two with awkward names, and its refusals. Skipped without gnuplot.
. "$srcdir/validation/tap.sh"
command -v gnuplot >/dev/null || tap_skip_all "gnuplot is not here"
header=step,loss,valid_loss,grad_norm,lr,skipped,tokens,scored,tokens_per_s,tokens_per_s_rank,tflops_rank,peak_rss_mib,ms_forward
header=$header,ms_backward,ms_update,ms_wait,expert_load_max_over_mean,dead_experts,overflow_slices
table() { # table FILE ROWS
    mkdir -p "$(dirname "$1")"
    {
        echo "$header"
        echo '0,,2.7,,,,,100,,,,,,,,,,,'
        i=1
        while [ $i -le "$2" ]; do
            echo "$i,$((30 - i)).5,,1,0.1,0,64,60,1000,500,0.1,12$i,1,1,1,1,$([ $((i % 2)) -eq 0 ] || echo 1.2),0,0"
            i=$((i + 1))
        done
    } >"$1"
}
plot() { # plot STATUS TEXT WORD ...: ends so, and says so
    want=$1
    text=$2
    shift 2
    "$srcdir/scripts/plot" "$@" >"$tap_dir/out" 2>&1
    got=$?
    [ $got -eq "$want" ] && grep -q -e "$text" "$tap_dir/out" || {
        tap_note "status $got: $(head -n 5 "$tap_dir/out")"
        return 1
    }
}
is_png() { [ "$(dd if="$1" bs=1 skip=1 count=3 2>/dev/null)" = PNG ] && [ "$(wc -c <"$1")" -gt 5000 ]; }

table "$tap_dir/run/log.csv" 20
table "$tap_dir/it's the 2nd \$run/log.csv" 9
plot 0 'run/plot.png$' "$tap_dir/run" && is_png "$tap_dir/run/plot.png"
tap_ok $? "a run's folder: plot.png in it"
plot 0 'both.png$' -o "$tap_dir/both.png" "$tap_dir/run/log.csv" "$tap_dir/it's the 2nd \$run/" && is_png "$tap_dir/both.png"
tap_ok $? "two runs, one with a quote, blanks and a dollar in its name"
plot 0 'both.svg$' -o "$tap_dir/both.svg" "$tap_dir/run" "$tap_dir/it's the 2nd \$run" && grep -q "it.*s the 2nd" "$tap_dir/both.svg"
tap_ok $? "the same as SVG names both runs"
plot 0 'compared.svg$' -c -o "$tap_dir/compared.svg" "$tap_dir/run" "$tap_dir/it's the 2nd \$run" && grep -q 'difference from' "$tap_dir/compared.svg" &&
    [ ! -e "$tap_dir/compared.svg.joined" ]
tap_ok $? "compared: losses, and the second's difference from the first"
plot 64 'nothing to be compared' -c "$tap_dir/run"
tap_ok $? "one run is not compared"
table "$tap_dir/later/log.csv" 3
sed -i 's/^[123],/10&/' "$tap_dir/later/log.csv"
plot 65 'no step in common' -c -o "$tap_dir/none.svg" "$tap_dir/run" "$tap_dir/later"
tap_ok $? "runs without a step in common"
plot 66 'absent: is not there' "$tap_dir/absent"
tap_ok $? "a run that is not there"
echo 'a,b' >"$tap_dir/other.csv"
plot 65 "other.csv:1: has no column 'step'" "$tap_dir/other.csv"
tap_ok $? "a table of something else"
table "$tap_dir/empty.csv" 0
sed -i 2d "$tap_dir/empty.csv"
plot 65 'has no row yet' "$tap_dir/empty.csv"
tap_ok $? "a table without rows"
plot 64 'neither .png nor .svg' -o "$tap_dir/x.gif" "$tap_dir/run"
tap_ok $? "another kind of picture"
plot 64 'usage' && plot 64 'usage' -z "$tap_dir/run"
tap_ok $? "no run, an unknown option"
plot 74 'could not be drawn' -o "$tap_dir/no/such/folder.png" "$tap_dir/run" && [ ! -e "$tap_dir/no" ]
tap_ok $? "a folder that is not there"
tap_done
