// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: the pool, which allocates and frees pages.
 *
 * Pages are cleared when they are freed, before anyone else can allocate them. A
 * request gets all its pages or none. Other CPUs' caches are drained for a request
 * only if it may succeed then.
 */
#include <linux/atomic.h>
#include <linux/cpuset.h>
#include <linux/exmem.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>

#include "pcp.h"
#include "policy.h"
#include "pool.h"

/* Serializes requests that may need parts from several nodes, or caches drained. */
static DEFINE_MUTEX(exmem_slowpath_lock);

/* Failed requests, by the first node that was tried for the failed part. */
static atomic_long_t exmem_nr_failed[MAX_NUMNODES];

static int exmem_next_node(const struct exmem_policy *policy, const nodemask_t *untried)
{
	nodemask_t preferred;

	if (!nodes_intersects(*untried, policy->preferred))
		return exmem_nearest_node(policy->nid, untried);

	nodes_and(preferred, *untried, policy->preferred);
	return exmem_nearest_node(policy->nid, &preferred);
}

static void exmem_collect_regions(int nid, unsigned long nr)
{
	nodemask_t only = nodemask_of_node(nid);

	/* A page in a per-CPU cache may be all that a region lacks. */
	if (exmem_node_whole_regions(nid) < nr / EXMEM_REGION_PAGES &&
	    nr <= exmem_nodes_free(&only) && exmem_pcp_pages(&only))
		exmem_drain_pcps(&only);
}

static bool exmem_alloc_from_node(const struct exmem_policy *policy, unsigned long nr,
				  struct list_head *runs)
{
	nodemask_t untried = policy->nodes;
	int nid;

	while ((nid = exmem_next_node(policy, &untried)) != NUMA_NO_NODE) {
		if (nr >= EXMEM_REGION_PAGES)
			exmem_collect_regions(nid, nr);
		if (exmem_pcp_alloc(nid, nr, runs) || exmem_node_alloc(nid, nr, nr, runs))
			return true;
		/* The slow path can take a part from here: prefer that to a distant node. */
		if (nr > EXMEM_REGION_PAGES)
			break;
		node_clear(nid, untried);
	}
	return false;
}

static void exmem_free_unmarked_runs(struct list_head *runs)
{
	struct exmem_run *run, *next;

	/* Still zero, and not marked as allocated. */
	list_for_each_entry_safe(run, next, runs, list) {
		list_del(&run->list);
		exmem_node_free(exmem_run_page(run), run->nr);
		cond_resched();
	}
}

static unsigned long exmem_alloc_up_to(unsigned long nr, int nid, struct list_head *runs)
{
	unsigned long allocated = exmem_node_alloc(nid, nr, 1, runs);
	nodemask_t only = nodemask_of_node(nid);

	if (allocated == nr || fatal_signal_pending(current) || !exmem_pcp_pages(&only))
		return allocated;

	/* Pages of this node that CPUs cache come before pages of the next node. */
	exmem_drain_pcps(&only);
	return allocated + exmem_node_alloc(nid, nr - allocated, 1, runs);
}

static bool exmem_alloc_in_parts(const struct exmem_policy *policy, unsigned long nr,
				 struct list_head *runs)
{
	nodemask_t untried = policy->nodes;
	LIST_HEAD(list);
	int nid;

	if (nr > exmem_nodes_free(&untried))
		return false;

	while (nr && !fatal_signal_pending(current) &&
	       (nid = exmem_next_node(policy, &untried)) != NUMA_NO_NODE) {
		nr -= exmem_alloc_up_to(nr, nid, &list);
		node_clear(nid, untried);
	}
	if (nr) {
		exmem_free_unmarked_runs(&list);
		return false;
	}
	list_splice_tail(&list, runs);
	return true;
}

static bool exmem_may_have_enough(const nodemask_t *nodes, unsigned long nr)
{
	unsigned long freed = exmem_nodes_ever_freed(nodes);
	unsigned long found = exmem_nodes_free(nodes);

	/*
	 * A page that stays free is counted at least once: on its node, in a cache that it
	 * has moved to since, or on its way back to the node. If too few are found, the
	 * missing pages are in use.
	 */
	found += exmem_pcp_pages_settled(nodes);
	found += exmem_nodes_ever_freed(nodes) - freed;
	return nr <= found;
}

static bool exmem_alloc_after_drain(const struct exmem_policy *policy, unsigned long nr,
				    struct list_head *runs)
{
	bool allocated;

	if (fatal_signal_pending(current))
		return false;
	/*
	 * With these caches disabled, and under exmem_slowpath_lock, all free pages are on
	 * their nodes, except parts that interleaved requests hold. If the allocation fails,
	 * the missing pages are in use.
	 */
	exmem_disable_pcps(&policy->nodes);
	allocated = exmem_alloc_in_parts(policy, nr, runs);
	exmem_enable_pcps();
	return allocated;
}

static bool exmem_alloc_slowpath(const struct exmem_policy *policy, unsigned long nr,
				 struct list_head *runs)
{
	bool allocated;

	/* Can never succeed: fail without the lock. */
	if (nr > exmem_nodes_total(&policy->nodes))
		return false;
	if (mutex_lock_killable(&exmem_slowpath_lock))
		return false;
	/* Can't succeed now: fail before draining any CPU's cache. */
	allocated = exmem_may_have_enough(&policy->nodes, nr) &&
		    (exmem_alloc_in_parts(policy, nr, runs) ||
		     exmem_alloc_after_drain(policy, nr, runs));
	mutex_unlock(&exmem_slowpath_lock);
	return allocated;
}

static bool exmem_alloc_by_policy(struct exmem_policy *policy, unsigned long nr,
				  struct list_head *runs)
{
	nodes_and(policy->nodes, policy->nodes, exmem_pool_nodes);
	return exmem_alloc_from_node(policy, nr, runs) || exmem_alloc_slowpath(policy, nr, runs);
}

static void exmem_mark_runs_allocated(struct list_head *runs)
{
	struct exmem_run *run;

	list_for_each_entry(run, runs, list) {
		exmem_mark_allocated(run);
		/* A small request is one short run: do not reschedule. */
		if (!list_is_last(&run->list, runs))
			cond_resched();
	}
}

static void exmem_count_failure(int nid)
{
	nid = exmem_nearest_node(nid, &exmem_pool_nodes);
	if (nid != NUMA_NO_NODE)
		atomic_long_inc(&exmem_nr_failed[nid]);
}

static bool exmem_alloc_chunks(struct exmem_policy *policy, unsigned long nr,
			       struct list_head *runs)
{
	unsigned long chunk, left = nr;

	while (left) {
		exmem_task_policy(policy, nr);
		chunk = min(left, policy->nr);
		if (!exmem_alloc_by_policy(policy, chunk, runs))
			return false;
		left -= chunk;
		if (!left)
			break;
		cond_resched();
		if (fatal_signal_pending(current))
			return false;
	}
	return true;
}

/**
 * exmem_alloc_pages - allocate pages of exclusive memory
 * @nr: number of pages
 * @runs: list to add them to, as &struct exmem_run of contiguous pages
 *
 * The current task's memory policy and cpuset select the nodes.
 *
 * All pages are zero. The kernel has no mapping of them, and their reference
 * count is zero: map them as raw pfns only.
 *
 * Context: Process context, no spinlock held. May sleep.
 * Return: 0; or with nothing allocated, -ENOMEM if fewer than @nr pages are free on the
 * nodes that the task may use, -EINTR if the task is being killed.
 */
int exmem_alloc_pages(unsigned long nr, struct list_head *runs)
{
	struct exmem_policy policy;
	unsigned int cookie;
	LIST_HEAD(list);

	might_sleep();
	might_lock(&exmem_slowpath_lock);

	do {
		cookie = read_mems_allowed_begin();
		if (exmem_alloc_chunks(&policy, nr, &list)) {
			exmem_mark_runs_allocated(&list);
			list_splice_tail(&list, runs);
			return 0;
		}
		exmem_free_unmarked_runs(&list);
		if (fatal_signal_pending(current))
			return -EINTR;
	} while (read_mems_allowed_retry(cookie));

	exmem_count_failure(policy.nid);
	return -ENOMEM;
}

/**
 * exmem_failed_node - the node that the current task's failed request began with
 *
 * Context: Process context, after exmem_alloc_pages() has failed.
 * Return: the node that counts the failure, or NUMA_NO_NODE without a pool.
 */
int exmem_failed_node(void)
{
	return exmem_nearest_node(exmem_task_last_node(), &exmem_pool_nodes);
}

/**
 * exmem_count_failed_request - count a request that is too large for the pool
 *
 * For callers that reject such a request without a call of exmem_alloc_pages(), which counts
 * its own failures.
 *
 * Context: Process context.
 */
void exmem_count_failed_request(void)
{
	exmem_count_failure(exmem_failed_node());
}

static bool __exmem_free_pages(struct page *page, unsigned long nr, bool clear)
{
	unsigned long clean, chunk;

	if (!exmem_clear_allocated(page, nr))
		return false;

	for (; nr; page += chunk, nr -= chunk) {
		clean = exmem_unpoisoned_prefix(page, nr);
		chunk = clean ?: 1;
		if (clear)
			exmem_arch_clear(page, clean);
		/* A poisoned page is never cached: its node retires it. */
		if (!clean || !exmem_pcp_free(page, chunk))
			exmem_node_free(page, chunk);
	}
	return true;
}

static void exmem_free_or_warn(struct page *page, unsigned long nr, bool clear)
{
	bool freed;

	might_sleep();
	freed = __exmem_free_pages(page, nr, clear);
	WARN_ONCE(!freed, "exmem: pfn %#lx, %lu pages: not allocated\n", page_to_pfn(page), nr);
}

/**
 * exmem_free_pages - clear pages and free them
 * @page: first page
 * @nr: number of contiguous pages, all of one run
 *
 * The caller owns the pages, and no mapping of them is left. This allocates no memory.
 * A page that memory_failure() has marked is not cleared, and never allocated again.
 *
 * Context: Process context. The task holds no spinlock, nor its mmap_lock: clearing many
 * pages takes a long time. May sleep.
 */
void exmem_free_pages(struct page *page, unsigned long nr)
{
	if (current->mm)
		lockdep_assert_not_held(&current->mm->mmap_lock);
	exmem_free_or_warn(page, nr, true);
}

/**
 * exmem_free_untouched_pages - free pages that are still zero
 * @page: first page
 * @nr: number of contiguous pages, all of one run
 *
 * As exmem_free_pages(), but for pages that nobody has mapped since they were allocated.
 * They are not cleared.
 *
 * Context: Process context, no spinlock held. May sleep.
 */
void exmem_free_untouched_pages(struct page *page, unsigned long nr)
{
	exmem_free_or_warn(page, nr, false);
}

/**
 * exmem_free_runs - clear and free the pages of several runs
 * @runs: list that exmem_alloc_pages() added to; empty afterwards
 *
 * Context: As exmem_free_pages().
 */
void exmem_free_runs(struct list_head *runs)
{
	struct exmem_run *run, *next;

	list_for_each_entry_safe(run, next, runs, list) {
		list_del(&run->list);
		exmem_free_pages(exmem_run_page(run), run->nr);
		cond_resched();
	}
}

/**
 * exmem_write_page - write to an allocated page
 * @page: the page, which the caller owns
 * @offset: where to begin, in bytes
 * @bytes: number of bytes, up to the end of the page
 * @from: the data; not faulted in
 *
 * Context: Process context.
 * Return: number of bytes written, fewer than @bytes if the rest of the data is not present;
 * or -EHWPOISON if the page is poisoned.
 */
ssize_t exmem_write_page(struct page *page, size_t offset, size_t bytes, struct iov_iter *from)
{
	if (PageHWPoison(page))
		return -EHWPOISON;
	return exmem_arch_copy_from_iter(page, offset, bytes, from);
}

/**
 * exmem_pool_nodemask - the nodes of the pool
 *
 * Context: Any context.
 * Return: mask of the nodes that have a part of it.
 */
const nodemask_t *exmem_pool_nodemask(void)
{
	return &exmem_pool_nodes;
}

/**
 * exmem_read_stats - statistics of the pool
 * @nodes: nodes of the pool to add up
 * @stats: filled in; not a consistent snapshot while the pool is in use
 *
 * Context: Any context.
 */
void exmem_read_stats(const nodemask_t *nodes, struct exmem_stats *stats)
{
	struct exmem_node_stats node;
	int nid;

	memset(stats, 0, sizeof(*stats));
	for_each_node_mask(nid, *nodes) {
		exmem_node_read_stats(nid, &node);
		stats->total += node.total;
		stats->free += node.free;
		stats->peak += node.peak;
		stats->poisoned += node.poisoned;
		stats->removed_pmd += node.leaves.removed_pmd;
		stats->removed_pud += node.leaves.removed_pud;
		stats->split_pmd += node.leaves.split_pmd;
		stats->split_pud += node.leaves.split_pud;
		stats->failed += atomic_long_read(&exmem_nr_failed[nid]);
	}
	stats->free += exmem_pcp_pages(nodes);
}

/**
 * exmem_active - is any page in use?
 *
 * Pages in use would not survive hibernation. While others allocate and free, a page
 * that moves between a node and a cache may be taken for one in use. The answer is
 * exact once user tasks are frozen.
 *
 * Context: Any context.
 * Return: true if there is such a page.
 */
bool exmem_active(void)
{
	struct exmem_stats stats;

	exmem_read_stats(&exmem_pool_nodes, &stats);
	return stats.free + stats.poisoned < stats.total;
}

/**
 * exmem_clear_free_pages - clear free pages that another kernel may have used
 *
 * Context: Process context. May sleep. The caller guarantees that no page is in use
 * meanwhile.
 */
void exmem_clear_free_pages(void)
{
	exmem_clear_regions();
}

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/pool-kunit.h"
#endif
