/* SPDX-License-Identifier: GPL-2.0-only */
/* What the layers of exclusive memory say to each other. */
#ifndef _MM_EXMEM_INTERNAL_H
#define _MM_EXMEM_INTERNAL_H

#include <linux/cpuset.h>
#include <linux/exmem.h>
#include <linux/fs.h>
#include <linux/mm_types.h>
#include <linux/nodemask.h>
#include <linux/spinlock.h>
#include <linux/topology.h>

struct exmem_object;
struct seq_file;
struct vm_fault;

#define EXMEM_REGION_SHIFT	(PMD_SHIFT - PAGE_SHIFT)

/* Pages in a region: what one PMD maps. */
#define EXMEM_REGION_PAGES	(PMD_SIZE / PAGE_SIZE)

/**
 * struct exmem_node - the part of the pool that lies on one node
 * @lock: protects @bins, @nr_free, @nr_poisoned, @peak and what the regions say
 *	of free pages; nests inside the lock of a cache
 * @bins: regions whose longest run of free pages has at least 2^n and less than
 *	2^(n+1) of them
 * @nr_free: pages that are in no cache and that no request has laid claim to
 * @nr_poisoned: pages that were retired
 * @peak: the most good pages that have ever not been free
 * @nr_total: pages on this node; never changes after boot
 * @splits: direct map leaves that were split at boot
 * @nr_failed: requests that began here and got nothing
 */
struct exmem_node {
	spinlock_t lock;	/* see above */
	struct list_head bins[EXMEM_REGION_SHIFT + 1];
	unsigned long nr_free;
	unsigned long nr_poisoned;
	unsigned long peak;

	unsigned long nr_total ____cacheline_aligned_in_smp;
	struct exmem_splits splits;
	atomic_long_t nr_failed;
};

/* Nodes with a pool, and what they have. Regions: see region.c. */
extern nodemask_t exmem_pool_nodes;
extern struct exmem_node *exmem_nodes[MAX_NUMNODES];
struct exmem_region;

struct exmem_region *exmem_region_of(const struct page *page);
unsigned long exmem_good_pages(const struct page *page, unsigned long nr);

/*
 * So many runs are taken before a node's lock is given up for a moment: more than
 * the pages that a cache is refilled with, which happens under a spinlock.
 */
#define EXMEM_RUNS_AT_ONCE	128

unsigned long exmem_node_take(struct exmem_node *node, unsigned long nr, unsigned long least,
			      struct list_head *runs);
void exmem_put_run(struct exmem_node *node, struct page *page, unsigned long nr);
void exmem_node_put(struct page *page, unsigned long nr);
void exmem_put_runs(struct list_head *runs);
void exmem_clear_all(void);
void exmem_own(struct page *page, unsigned long nr);
bool exmem_disown(struct exmem_region *region, struct page *page, unsigned long nr);
int __init exmem_pool_add(struct page *page, unsigned long nr, struct exmem_splits *splits);

/**
 * struct exmem_policy - where the pages of a request may come from
 * @nid: the nearer to this node another is, the sooner it is tried
 * @nodes: nodes that may be used
 * @preferred: nodes that are tried before all others
 * @nr: pages to take before asking for a policy again
 */
struct exmem_policy {
	int nid;
	nodemask_t nodes;
	nodemask_t preferred;
	unsigned long nr;
};

#ifdef CONFIG_NUMA
void exmem_task_policy(struct exmem_policy *policy, unsigned long nr);
#else
static inline void exmem_task_policy(struct exmem_policy *policy, unsigned long nr)
{
	policy->nid = 0;
	policy->nodes = nodemask_of_node(0);
	policy->preferred = policy->nodes;
	policy->nr = nr;
}
#endif

/**
 * struct exmem_stats - the pool, or one node of it, in figures
 * @total: pages in the pool
 * @free: pages that nobody owns and that are fit for use
 * @peak: the most pages that were in use, or at hand of a CPU, at any one time;
 *	of all nodes, the sum of the nodes' peaks
 * @poisoned: pages that were retired, because memory_failure() marked them
 * @failed: requests that got nothing because there was not enough
 * @splits: direct map leaves that were split at boot
 */
struct exmem_stats {
	unsigned long total;
	unsigned long free;
	unsigned long peak;
	unsigned long poisoned;
	unsigned long failed;
	struct exmem_splits splits;
};

void exmem_read_stats(const nodemask_t *nodes, struct exmem_stats *stats);

/* Memory objects, for front ends */
struct exmem_object *exmem_object_new(enum exmem_caller caller);
void exmem_object_attach(struct exmem_object *obj, struct file *file);
void exmem_object_trim(struct exmem_object *obj, unsigned long nr);
struct file *exmem_file_new(const char *class, const char *name,
			    const struct file_operations *fops, enum exmem_caller caller);
int exmem_file_take(struct file *file, unsigned long nr);
int exmem_file_mmap(struct file *file, struct vm_area_struct *vma, unsigned long take,
		    unsigned long map);
vm_fault_t exmem_file_fault(struct vm_fault *vmf);
int exmem_file_split(struct vm_area_struct *vma, unsigned long addr);
void exmem_file_unmapped(struct vm_area_struct *vma);
int exmem_file_drop(struct file *file, unsigned long first, unsigned long last);
void exmem_file_show_fdinfo(struct seq_file *m, struct file *file);
int exmem_file_release(struct inode *inode, struct file *file);

#endif /* _MM_EXMEM_INTERNAL_H */
