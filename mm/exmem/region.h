/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exclusive memory: regions and nodes, for the per-CPU caches, the pool, boot and
 * shutdown.
 */
#ifndef _MM_EXMEM_REGION_H
#define _MM_EXMEM_REGION_H

#include <linux/exmem_arch.h>
#include <linux/exmem_run.h>
#include <linux/nodemask.h>

/* exmem_node_alloc() may sleep each time it has allocated this many runs. */
#define EXMEM_RUNS_AT_ONCE	128

/* Nodes with a part of the pool. */
extern nodemask_t exmem_pool_nodes;

/**
 * struct exmem_node_stats - statistics of one node's part of the pool
 * @total: number of pages; never changes after boot
 * @free: pages that are neither allocated nor in a per-CPU cache nor poisoned
 * @peak: highest number of pages ever allocated or cached at one time
 * @poisoned: pages that were retired
 * @leaves: changes to the direct map at boot
 */
struct exmem_node_stats {
	unsigned long total;
	unsigned long free;
	unsigned long peak;
	unsigned long poisoned;
	struct exmem_leaves leaves;
};

int exmem_nearest_node(int nid, const nodemask_t *nodes);
unsigned long exmem_nodes_total(const nodemask_t *nodes);
unsigned long exmem_nodes_free(const nodemask_t *nodes);
unsigned long exmem_node_whole_regions(int nid);
unsigned long exmem_nodes_ever_freed(const nodemask_t *nodes);
void exmem_node_read_stats(int nid, struct exmem_node_stats *stats);

unsigned long exmem_node_alloc(int nid, unsigned long nr, unsigned long least,
			       struct list_head *runs);
void exmem_node_free(struct page *page, unsigned long nr);
bool exmem_node_free_runs(int nid, bool may_spin, struct exmem_run *(*next)(void *arg),
			  void *arg);

void exmem_mark_allocated(struct exmem_run *run);
bool exmem_clear_allocated(struct page *page, unsigned long nr);

void exmem_clear_regions(void);
struct exmem_region *exmem_find_region_from(unsigned long *index);
unsigned long exmem_clear_busy_pages(struct exmem_region *region);
int __init exmem_add_regions(struct page *page, unsigned long nr, struct exmem_leaves *leaves);
void __init exmem_init_regions(struct page *page, unsigned long nr, int max_threads);

#endif /* _MM_EXMEM_REGION_H */
