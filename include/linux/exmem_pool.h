/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exclusive memory: the pool, for front ends inside mm/exmem and outside of it.
 *
 * These functions emit no tracepoints: that is up to the caller.
 */
#ifndef _LINUX_EXMEM_POOL_H
#define _LINUX_EXMEM_POOL_H

#include <linux/exmem_run.h>

int exmem_alloc_pages(unsigned long nr, struct list_head *runs);
void exmem_free_pages(struct page *page, unsigned long nr);
void exmem_free_runs(struct list_head *runs);

#endif /* _LINUX_EXMEM_POOL_H */
