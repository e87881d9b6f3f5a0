// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: per-CPU caches of short runs of free pages.
 *
 * They are to the pool what struct per_cpu_pages is to the page allocator. A
 * cache holds pages of one node, the one nearest to its CPU. A small request that the
 * cache can serve takes no contended lock.
 */
#include <linux/cpuhotplug.h>
#include <linux/exmem.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/topology.h>

#include "pcp.h"

/* Longer runs are not cached. */
#define EXMEM_PCP_MAX_RUN	BITS_PER_LONG
/* The limit for @high; a small pool has a lower one. */
#define EXMEM_PCP_MAX_HIGH	256

/**
 * struct exmem_pcp - free pages that one CPU keeps
 * @lock: protects the rest. Other CPUs take it to drain the cache, as does a task that
 *	was migrated after looking up its cache. @nid and @count are also read without it.
 * @nid: node of the pages
 * @count: number of pages
 * @high: limit for @count; zero while the CPU is offline
 * @batch: number of pages to refill with, unless a request is larger
 * @lengths: bit n is set if element n of @lists is not empty
 * @lists: runs by length; element n is for n + 1 pages
 */
struct exmem_pcp {
	spinlock_t lock;	/* see above */
	int nid;
	unsigned int count;
	unsigned int high;
	unsigned int batch;
	unsigned long lengths;
	struct list_head lists[EXMEM_PCP_MAX_RUN];
};

static DEFINE_PER_CPU(struct exmem_pcp, exmem_pcp) = {
	.lock = __SPIN_LOCK_UNLOCKED(exmem_pcp.lock),
};

/*
 * Nodes whose pages must not be cached. exmem_disable_pcps() sets this before it takes the
 * lock of each cache to drain it. Every later holder of the lock sees the new value, so the
 * caches stay empty.
 */
static nodemask_t exmem_uncached_nodes __read_mostly;

static bool exmem_pcp_serves(const struct exmem_pcp *pcp, int nid, unsigned long nr)
{
	lockdep_assert_held(&pcp->lock);

	return nr <= pcp->high && nid == pcp->nid && !node_isset(nid, exmem_uncached_nodes);
}

static void exmem_pcp_add(struct exmem_pcp *pcp, struct exmem_run *run)
{
	lockdep_assert_held(&pcp->lock);

	list_add(&run->list, &pcp->lists[run->nr - 1]);
	__set_bit(run->nr - 1, &pcp->lengths);
	WRITE_ONCE(pcp->count, pcp->count + run->nr);
}

static void exmem_pcp_add_list(struct exmem_pcp *pcp, struct list_head *runs)
{
	struct exmem_run *run, *next;

	list_for_each_entry_safe(run, next, runs, list) {
		list_del(&run->list);
		exmem_pcp_add(pcp, run);
	}
}

static void exmem_pcp_del(struct exmem_pcp *pcp, struct exmem_run *run)
{
	lockdep_assert_held(&pcp->lock);

	list_del(&run->list);
	if (list_empty(&pcp->lists[run->nr - 1]))
		__clear_bit(run->nr - 1, &pcp->lengths);
	WRITE_ONCE(pcp->count, pcp->count - run->nr);
}

struct exmem_pcp_drain {
	struct exmem_pcp *pcp;
	unsigned int keep;
};

static struct exmem_run *exmem_pcp_next_to_drain(void *arg)
{
	struct exmem_pcp_drain *drain = arg;
	struct exmem_pcp *pcp = drain->pcp;
	struct exmem_run *run;

	if (pcp->count <= drain->keep)
		return NULL;
	/* Short runs first: the node may join them into longer ones. */
	run = list_last_entry(&pcp->lists[__ffs(pcp->lengths)], struct exmem_run, list);
	exmem_pcp_del(pcp, run);
	return run;
}

static void exmem_pcp_drain(struct exmem_pcp *pcp, unsigned int keep, bool may_spin)
{
	struct exmem_pcp_drain drain = { .pcp = pcp, .keep = keep };

	if (pcp->count > keep)
		exmem_node_free_runs(pcp->nid, may_spin, exmem_pcp_next_to_drain, &drain);
}

static void exmem_pcp_refill(struct exmem_pcp *pcp, unsigned long least)
{
	unsigned long nr = max(pcp->batch, least);
	LIST_HEAD(runs);

	/* exmem_node_alloc() must not sleep here, under pcp->lock. */
	BUILD_BUG_ON(EXMEM_PCP_MAX_RUN >= EXMEM_RUNS_AT_ONCE);

	/* Runs that are too short may fill the cache: make room. */
	exmem_pcp_drain(pcp, pcp->high - nr, true);
	exmem_node_alloc(pcp->nid, nr, least, &runs);
	exmem_pcp_add_list(pcp, &runs);
}

static unsigned long exmem_pcp_lengths_from(const struct exmem_pcp *pcp, unsigned long nr)
{
	return pcp->lengths & GENMASK(BITS_PER_LONG - 1, nr - 1);
}

static struct exmem_run *exmem_pcp_best_fit(struct exmem_pcp *pcp, unsigned long nr)
{
	unsigned long enough = exmem_pcp_lengths_from(pcp, nr);
	unsigned long nr_list = enough ? __ffs(enough) : __fls(pcp->lengths);

	return list_first_entry(&pcp->lists[nr_list], struct exmem_run, list);
}

static struct exmem_run *exmem_pcp_alloc_run(struct exmem_pcp *pcp, unsigned long nr)
{
	struct exmem_run *run, *rest;

	if (!pcp->lengths)
		return NULL;
	run = exmem_pcp_best_fit(pcp, nr);
	exmem_pcp_del(pcp, run);
	if (run->nr > nr) {
		rest = page_exmem_run(exmem_run_page(run) + nr);
		rest->nr = run->nr - nr;
		exmem_pcp_add(pcp, rest);
		run->nr = nr;
	}
	return run;
}

static bool exmem_pcp_alloc_runs(struct exmem_pcp *pcp, unsigned long nr, struct list_head *runs)
{
	struct exmem_run *run;
	LIST_HEAD(list);

	if (!exmem_pcp_lengths_from(pcp, nr))
		exmem_pcp_refill(pcp, nr);
	while (nr && (run = exmem_pcp_alloc_run(pcp, nr))) {
		struct page *page = exmem_run_page(run);

		if (exmem_unpoisoned_prefix(page, run->nr) < run->nr) {
			/* Retires the poisoned page, and frees the rest of the run. */
			exmem_node_free(page, run->nr);
			continue;
		}
		list_add_tail(&run->list, &list);
		nr -= run->nr;
	}
	if (nr) {
		exmem_pcp_add_list(pcp, &list);
		return false;
	}
	list_splice_tail(&list, runs);
	return true;
}

/**
 * exmem_pcp_alloc - allocate pages from this CPU's cache
 * @nid: node they have to belong to
 * @nr: number of pages
 * @runs: list to add them to, as one run if possible
 *
 * Context: Process context.
 * Return: true; or false, with nothing allocated, if the cache does not serve such
 * requests, or has too few pages even after a refill.
 */
bool exmem_pcp_alloc(int nid, unsigned long nr, struct list_head *runs)
{
	struct exmem_pcp *pcp = raw_cpu_ptr(&exmem_pcp);
	bool allocated = false;

	if (nr > EXMEM_PCP_MAX_RUN)
		return false;

	spin_lock(&pcp->lock);
	if (exmem_pcp_serves(pcp, nid, nr))
		allocated = exmem_pcp_alloc_runs(pcp, nr, runs);
	spin_unlock(&pcp->lock);
	return allocated;
}

/**
 * exmem_pcp_free - put pages in this CPU's cache
 * @page: first page
 * @nr: number of contiguous pages, which are zero
 *
 * Context: Process context.
 * Return: true; or false, with nothing changed, if the pages do not belong there.
 */
bool exmem_pcp_free(struct page *page, unsigned long nr)
{
	struct exmem_pcp *pcp = raw_cpu_ptr(&exmem_pcp);
	struct exmem_run *run = page_exmem_run(page);
	bool cached;

	if (nr > EXMEM_PCP_MAX_RUN)
		return false;

	spin_lock(&pcp->lock);
	cached = exmem_pcp_serves(pcp, page_to_nid(page), nr);
	if (cached) {
		run->nr = nr;
		exmem_pcp_add(pcp, run);
		/* Drain early, while the node's lock is not contended. */
		if (pcp->count > pcp->high / 4 * 3)
			exmem_pcp_drain(pcp, pcp->high / 2, pcp->count > pcp->high);
	}
	spin_unlock(&pcp->lock);
	return cached;
}

/**
 * exmem_drain_pcps - free all pages in the CPUs' caches to their nodes
 * @nodes: nodes whose pages to drain
 *
 * Context: Process context, no spinlock held. May sleep.
 */
void exmem_drain_pcps(const nodemask_t *nodes)
{
	struct exmem_pcp *pcp;
	int cpu;

	for_each_possible_cpu(cpu) {
		pcp = per_cpu_ptr(&exmem_pcp, cpu);
		if (!node_isset(READ_ONCE(pcp->nid), *nodes))
			continue;
		spin_lock(&pcp->lock);
		exmem_pcp_drain(pcp, 0, true);
		spin_unlock(&pcp->lock);
		cond_resched();
	}
}

/**
 * exmem_disable_pcps - drain the caches of some nodes, and keep them empty
 * @nodes: nodes whose pages must not be cached until exmem_enable_pcps()
 *
 * Context: Process context, no spinlock held. May sleep. Callers exclude each other.
 */
void exmem_disable_pcps(const nodemask_t *nodes)
{
	int nid;

	/* Readers take no lock: node_set() is atomic, a copy of the mask is not. */
	for_each_node_mask(nid, *nodes)
		node_set(nid, exmem_uncached_nodes);
	exmem_drain_pcps(nodes);
}

/**
 * exmem_enable_pcps - undo exmem_disable_pcps()
 *
 * Context: Process context.
 */
void exmem_enable_pcps(void)
{
	int nid;

	for_each_node_mask(nid, exmem_pool_nodes)
		node_clear(nid, exmem_uncached_nodes);
}

/**
 * exmem_pcp_pages - count the pages that CPUs cache
 * @nodes: nodes whose pages to count
 *
 * Context: Any context.
 * Return: number of pages.
 */
unsigned long exmem_pcp_pages(const nodemask_t *nodes)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct exmem_pcp *pcp = per_cpu_ptr(&exmem_pcp, cpu);

		if (node_isset(READ_ONCE(pcp->nid), *nodes))
			sum += READ_ONCE(pcp->count);
	}
	return sum;
}

/**
 * exmem_pcp_pages_settled - count the pages that CPUs cache, under the caches' locks
 * @nodes: nodes whose pages to count
 *
 * No page moves between a cache and its node while this cache is counted.
 *
 * Context: Process context, no spinlock held. May sleep.
 * Return: number of pages. The caches are counted one after the other.
 */
unsigned long exmem_pcp_pages_settled(const nodemask_t *nodes)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct exmem_pcp *pcp = per_cpu_ptr(&exmem_pcp, cpu);

		if (!node_isset(READ_ONCE(pcp->nid), *nodes))
			continue;
		spin_lock(&pcp->lock);
		sum += pcp->count;
		spin_unlock(&pcp->lock);
		cond_resched();
	}
	return sum;
}

static int exmem_pcp_cpu_dead(unsigned int cpu)
{
	struct exmem_pcp *pcp = per_cpu_ptr(&exmem_pcp, cpu);

	spin_lock(&pcp->lock);
	/* Turn away a task that was migrated after looking up this cache. */
	pcp->high = 0;
	exmem_pcp_drain(pcp, 0, true);
	spin_unlock(&pcp->lock);
	return 0;
}

static int exmem_pcp_cpu_prepare(unsigned int cpu)
{
	struct exmem_pcp *pcp = per_cpu_ptr(&exmem_pcp, cpu);
	int i, nid = exmem_nearest_node(cpu_to_mem(cpu), &exmem_pool_nodes);
	nodemask_t only = nodemask_of_node(nid);
	/* All caches together hold at most an eighth of a node. */
	unsigned long share = exmem_nodes_total(&only) / 8 / num_possible_cpus();

	spin_lock(&pcp->lock);
	if (!pcp->high)
		for (i = 0; i < EXMEM_PCP_MAX_RUN; i++)
			INIT_LIST_HEAD(&pcp->lists[i]);
	WRITE_ONCE(pcp->nid, nid);
	pcp->high = min(share, EXMEM_PCP_MAX_HIGH);
	pcp->batch = min(pcp->high / 4, EXMEM_PCP_MAX_RUN);
	spin_unlock(&pcp->lock);
	return 0;
}

static int __init exmem_pcp_init(void)
{
	int ret;

	if (!exmem_enabled())
		return 0;
	ret = cpuhp_setup_state(CPUHP_BP_PREPARE_DYN, "mm/exmem:prepare", exmem_pcp_cpu_prepare,
				exmem_pcp_cpu_dead);
	return min(ret, 0);
}
core_initcall(exmem_pcp_init);

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/pcp-kunit.h"
#endif
