# SPDX-License-Identifier: Apache-2.0
# compare.gp: losses of runs over each other, and below how far the others lie from the first, step by step. Called by scripts/plot -c:
# gnuplot -c compare.gp TERMINAL FILE JOINED TABLE NAME [TABLE NAME ...]. JOINED has a column a run behind the step, in their order.
runs = (ARGC - 3) / 2
name(i) = ARGV[3 + 2 * i]

if (ARG1 eq 'svg') {
    set terminal svg size 900,700 font 'sans,12' noenhanced background 'white'
} else {
    set terminal pngcairo size 900,700 font 'sans,11' noenhanced
}
set output ARG2
set grid
set key noenhanced
set lmargin 12
set multiplot layout 2,1

set title 'training loss'
set format y '%.6g'
plot for [i = 1:runs] ARG3 using 1:(column(i + 1)) with lines lw 1.2 lc i title name(i)

# log.csv has 9 digits: what is nearer is drawn there
far(a, b) = abs(a - b) / b > 1e-9 ? abs(a - b) / b : 1e-9
set title sprintf('difference from %s, relative', name(1))
set xlabel 'step'
set logscale y
set format y '10^{%T}'
set yrange [1e-9:*]
set termoption enhanced
plot for [i = 2:runs] ARG3 using 1:(far(column(i + 1), column(2))) with lines lw 1.2 lc i title name(i) noenhanced
unset multiplot
