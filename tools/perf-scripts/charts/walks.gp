# SPDX-License-Identifier: GPL-2.0
# Walks by workload: a panel for each TLB, a bar for each scenario. $data has two blocks for each
# panel: a table of values, and lines WORKLOAD, SCENARIO, Y, TEXT that label the bars. Needs the
# arrays panels, workloads and scenarios of their names; top, the largest value; and yname.
load "style.gp"
set style data histograms
set style histogram clustered gap 1
set style fill solid border linecolor "black"
set xtics rotate by -15
set yrange [0:1.35 * top]
set ylabel yname
set key outside top right horizontal Left reverse samplen 1.5 width 2
set lmargin 10
n = |scenarios|
shade(i) = 65793 * int(255 * (1 - (i - 1) / (n > 1 ? n - 1.0 : 1)))
place(workload, scenario) = workload + (scenario - (n - 1) / 2.0) / (n + 1)
set multiplot layout |panels|,1
do for [p=1:|panels|] {
	set title panels[p] offset 0,-1
	plot for [i=1:n] $data index 2 * p - 2 using i:xtic(workloads[$0 + 1]) \
			linewidth 0.5 dashtype 1 linecolor rgb shade(i) title scenarios[i], \
		$data index 2 * p - 1 using (place($1, $2)):3:4 with labels rotate left \
			offset 0,0.3 font ",9" notitle
	set key off
}
unset multiplot
