/* SPDX-License-Identifier: GPL-2.0-only */
/* Functions that programs need to measure time. */
#ifndef _SELFTESTS_EXMEM_BENCH_H
#define _SELFTESTS_EXMEM_BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TRACING_ON	"/sys/kernel/tracing/tracing_on"

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

/* In ns */
static inline uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

#endif /* _SELFTESTS_EXMEM_BENCH_H */
