/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: the pool, for objects, sysfs and hibernation. */
#ifndef _MM_EXMEM_POOL_H
#define _MM_EXMEM_POOL_H

#include <linux/exmem_pool.h>
#include <linux/nodemask_types.h>

struct iov_iter;

/**
 * struct exmem_stats - statistics of the pool, or of some of its nodes
 * @total: all pages
 * @free: pages that can be allocated, those in per-CPU caches included
 * @peak: highest number of pages ever allocated or cached at one time; over several
 *	nodes, the sum of their peaks
 * @poisoned: pages that were retired, because memory_failure() marked them
 * @failed: requests that failed for lack of pages
 * @removed_pmd: PMD-sized direct map leaves that were removed whole at boot
 * @removed_pud: PUD-sized direct map leaves that were removed whole at boot
 * @split_pmd: PMD-sized direct map leaves that were split at boot
 * @split_pud: PUD-sized direct map leaves that were split at boot
 */
struct exmem_stats {
	unsigned long total;
	unsigned long free;
	unsigned long peak;
	unsigned long poisoned;
	unsigned long failed;
	unsigned long removed_pmd;
	unsigned long removed_pud;
	unsigned long split_pmd;
	unsigned long split_pud;
};

const nodemask_t *exmem_pool_nodemask(void);
void exmem_read_stats(const nodemask_t *nodes, struct exmem_stats *stats);
int exmem_failed_node(void);
void exmem_count_failed_request(void);
void exmem_clear_free_pages(void);
void exmem_free_untouched_pages(struct page *page, unsigned long nr);
ssize_t exmem_write_page(struct page *page, size_t offset, size_t bytes, struct iov_iter *from);

#endif /* _MM_EXMEM_POOL_H */
