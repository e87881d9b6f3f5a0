# SPDX-License-Identifier: GPL-2.0
# This is the lab's Makefile; the kernel's own is not part of this repository.
.PHONY: run test test-all bench perf kernel clean

run:
	@lab/run

test:
	@lab/test

test-all:
	@lab/test all

bench:
	@lab/bench

perf:
	@lab/perf

kernel:
	@lab/deps
	@lab/build

clean:
	rm -rf build
