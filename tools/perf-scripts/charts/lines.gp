# SPDX-License-Identifier: GPL-2.0
# Lines over numbers of pages or CPUs: $data has a block of lines X, Y for each series. Needs the
# array series of their names, xname and yname; logarithmic is 0 or 1.
load "style.gp"
set key outside right top Left reverse samplen 3
set xlabel xname
set ylabel yname
line = "with linespoints linewidth 1.2 dashtype 1 pointsize 0.8"
if (logarithmic) {
	set logscale x 2
	set logscale y 10
	set format y "%.0f"
	plot for [i=1:|series|] $data index i-1 using 1:2 @line pointtype 3 + i title series[i]
} else {
	set xtics 1
	set xrange [0:*]
	set yrange [0:*]
	plot for [i=1:|series|] $data index i-1 using 1:2 @line pointtype 3 + i title series[i], \
		x with lines linewidth 0.5 dashtype 3 title "ideal"
}
