# SPDX-License-Identifier: GPL-2.0
# The look of all charts: black and white, and the same on every run. Needs height.
set terminal svg size 800,height noenhanced font "sans-serif,11" background "white"
set encoding utf8
set monochrome
set datafile separator tab
set datafile commentschars ""
set datafile missing "?"
set border 3 linewidth 0.5
set tics nomirror out
set grid y linewidth 0.3
