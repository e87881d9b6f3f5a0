# SPDX-License-Identifier: GPL-2.0
# This is the lab's Makefile; the kernel's own is not part of this repository.
.PHONY: run run-vm test test-all bench bench-gmem perf series kernel deb needles soak clean

run:
	@lab/run

run-vm:
	@lab/run-vm

test:
	@lab/test

test-all:
	@lab/test all

bench:
	@lab/bench

# Only the part of make bench that measures guest_memfd
bench-gmem:
	@lab/bench gmem

perf:
	@lab/perf

# SOURCE=DIR: for another kernel. CHECK=1: check the patches, too.
series:
	@lab/series $(if $(SOURCE),--source "$(SOURCE)")
	@$(if $(CHECK),lab/series-check)

kernel:
	@lab/deps
	@lab/build

# CONFIG=FILE: a kernel with this configuration. DEBUG=1: the debug kernel.
deb:
	@CONFIG="$(CONFIG)" lab/deb $(if $(DEBUG),--debug)

# Are secrets left in RAM or in a crash dump after a reboot, a kexec, a crash, ...?
needles:
	@KVER=$(or $(KVER),7.3) lab/needles

# HOURS=N
soak:
	@lab/soak

clean:
	rm -rf build
