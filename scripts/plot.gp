# SPDX-License-Identifier: Apache-2.0
# plot.gp: four panels from tables of runs. Called by scripts/plot: gnuplot -c plot.gp TERMINAL FILE TABLE NAME [TABLE NAME ...]
# A run has one colour in all panels. Rows of evaluations have no training loss, and the other way round: lines go on over them.
runs = (ARGC - 2) / 2
table(i) = ARGV[2 * i + 1]
name(i) = ARGV[2 * i + 2]

if (ARG1 eq 'svg') {
    set terminal svg size 1400,1000 font 'sans,12' noenhanced background 'white'
} else {
    set terminal pngcairo size 1400,1000 font 'sans,11' noenhanced
}
set output ARG2
set datafile separator ','
set datafile columnheaders
set datafile missing ''
set grid
set xlabel 'step'
set format y '%.6g'
set key noenhanced
set multiplot layout 2,2

set title 'loss (points: validation)'
plot for [i = 1:runs] table(i) using 'step':'loss' with lines lw 1.5 lc i title name(i), \
     for [i = 1:runs] table(i) using 'step':'valid_loss' with points pt 7 ps 1.2 lc i notitle

set nokey
set title 'tokens a second, all ranks'
set yrange [0:*]
plot for [i = 1:runs] table(i) using 'step':'tokens_per_s' with lines lw 1.5 lc i

set title 'peak memory of a rank, MiB'
plot for [i = 1:runs] table(i) using 'step':'peak_rss_mib' with lines lw 1.5 lc i

set title 'busiest expert over the mean (1: even)'
set yrange [*:*]
plot for [i = 1:runs] table(i) using 'step':(column('expert_load_max_over_mean') > 0 ? column('expert_load_max_over_mean') : 1/0) \
     with points pt 7 ps 0.6 lc i

unset multiplot
