# SPDX-License-Identifier: GPL-2.0
# The direct map as strips, a row each. $headings has the Y of each text in the array headings;
# $rows has lines Y, NAME, COUNTS; $outlines, $hole, $leaf_1G, $leaf_2M and $leaf_4K have polygons.
# Needs gib, the length of the longest strip; bottom, the last Y; and right, the end of strips on
# the screen.
load "style.gp"
set lmargin 8
set tmargin at screen 1 - 30.0 / height
set bmargin at screen 60.0 / height
set rmargin at screen right
set xrange [0:gib]
set yrange [bottom:0]
set border 1
unset ytics
unset grid
set xlabel "address in the direct map, GiB"
set key top left horizontal outside Left reverse samplen 1.5 width 2
set style fill solid noborder
polygons = "using 1:2 with filledcurves closed"
plot $hole @polygons fillstyle pattern 4 title "not mapped", \
	$leaf_1G @polygons fillcolor rgb "#dedede" title "1G leaves", \
	$leaf_2M @polygons fillcolor rgb "#a0a0a0" title "2M leaves", \
	$leaf_4K @polygons fillcolor rgb "#000000" title "4K leaves", \
	$outlines using 1:2 with lines linewidth 0.5 dashtype 1 notitle, \
	$headings using (0):1:(headings[$0 + 1]) with labels left offset -6,0 notitle, \
	$rows using (0):1:2 with labels right offset -1,0 notitle, \
	$rows using (gib):1:3 with labels left offset 1,0 notitle
