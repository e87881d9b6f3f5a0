/* SPDX-License-Identifier: GPL-2.0-only */
/* Poison pages by memory_failure(). The pool loses each of them until the next boot. */
#ifndef _SELFTESTS_EXMEM_POISON_H
#define _SELFTESTS_EXMEM_POISON_H

#include "exmem.h"

#define INJECT	"/sys/kernel/debug/hwpoison/corrupt-pfn"

/* The reason why pages can't be found and poisoned here, or NULL. */
static inline const char *poison_missing(void)
{
	return exmem_can_trace() && !access(INJECT, W_OK) ? NULL : "needs tracefs and " INJECT;
}

/* The first page of the traced allocations, or 0. */
static inline unsigned long first_pfn(void)
{
	FILE *f = fopen(TRACING "trace", "r");
	struct exmem_alloc alloc = {};

	next_alloc(f, "", &alloc);
	if (f)
		fclose(f);
	return alloc.pfn;
}

/* The result of the write is about recovery, and there is nothing to recover. */
static inline void poison(unsigned long pfn)
{
	char line[32];

	snprintf(line, sizeof(line), "%#lx\n", pfn);
	put(INJECT, line);
}

#endif /* _SELFTESTS_EXMEM_POISON_H */
