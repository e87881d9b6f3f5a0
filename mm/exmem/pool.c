// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: the pool, as front ends see it.
 *
 * A page is cleared on its way back, before anybody can get it. Each CPU keeps a
 * few short runs of pages at hand, so that small requests take no lock that
 * another CPU has a use for. Requests are served whole or not at all, and none
 * fails while pages that it may use lie in a cache.
 */
#define pr_fmt(fmt) "exmem: " fmt

#include <linux/cpuhotplug.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/sched.h>

#include "internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/exmem.h>

/* The longest run that goes into a cache. */
#define EXMEM_CACHE_RUN		BITS_PER_LONG
/* The most pages in a cache, where the pool is large enough. */
#define EXMEM_CACHE_PAGES	256

/* Free pages of one node that one CPU keeps at hand. */
struct exmem_cache {
	/* Protects all of this. Its own CPU takes it, and who drains it. */
	spinlock_t lock;
	int nid;
	unsigned int high;	/* pages; zero, and so is nr, while the CPU isn't there */
	unsigned int nr;
	unsigned long lengths;	/* which of the lists have a run */
	struct list_head runs[EXMEM_CACHE_RUN];	/* by length, from 1 */
};

static DEFINE_PER_CPU(struct exmem_cache, exmem_cache) = {
	.lock = __SPIN_LOCK_UNLOCKED(exmem_cache.lock),
};

/*
 * While a request looks for its last pages, under the mutex, caches take no
 * pages: once it has drained them all, all free pages are with their nodes.
 */
static DEFINE_MUTEX(exmem_short_lock);
static bool exmem_short __read_mostly;

/* The node of @nodes nearest to @nid, which need not be one of them. */
static int exmem_nearest(int nid, const nodemask_t *nodes)
{
	int n, best = NUMA_NO_NODE;

	if (nid >= 0 && nid < MAX_NUMNODES && node_isset(nid, *nodes))
		return nid;
	for_each_node_mask(n, *nodes)
		if (best == NUMA_NO_NODE || node_distance(nid, n) < node_distance(nid, best))
			best = n;
	return best;
}

static void exmem_cache_add(struct exmem_cache *cache, struct page *page, unsigned long nr)
{
	lockdep_assert_held(&cache->lock);

	set_page_private(page, nr);
	list_add(&page->lru, &cache->runs[nr - 1]);
	__set_bit(nr - 1, &cache->lengths);
	cache->nr += nr;
}

static void exmem_cache_add_runs(struct exmem_cache *cache, struct list_head *runs)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, runs, lru) {
		list_del(&page->lru);
		exmem_cache_add(cache, page, page_private(page));
	}
}

static void exmem_cache_del(struct exmem_cache *cache, struct page *page)
{
	unsigned long nr = page_private(page);

	lockdep_assert_held(&cache->lock);

	list_del(&page->lru);
	if (list_empty(&cache->runs[nr - 1]))
		__clear_bit(nr - 1, &cache->lengths);
	cache->nr -= nr;
}

/*
 * Give pages to the node, which may join them, until no more than @keep are left.
 * If it need not be now, not while another CPU has to do with the node.
 */
static void exmem_cache_shrink(struct exmem_cache *cache, unsigned int keep, bool now)
{
	struct exmem_node *node = exmem_nodes[cache->nid];
	struct page *page;

	if (cache->nr <= keep)
		return;
	if (now)
		spin_lock(&node->lock);
	else if (!spin_trylock(&node->lock))
		return;
	while (cache->nr > keep) {
		page = list_last_entry(&cache->runs[__ffs(cache->lengths)], struct page, lru);
		exmem_cache_del(cache, page);
		exmem_put_run(node, page, page_private(page));
	}
	spin_unlock(&node->lock);
}

/* Have some more pages, at least @nr. */
static void exmem_cache_refill(struct exmem_cache *cache, unsigned long nr)
{
	unsigned long want = max(min(cache->high / 4, EXMEM_CACHE_RUN), nr);
	LIST_HEAD(runs);

	BUILD_BUG_ON(EXMEM_CACHE_RUN >= EXMEM_RUNS_AT_ONCE);

	exmem_cache_shrink(cache, cache->high - want, true);
	exmem_node_take(exmem_nodes[cache->nid], want, nr, &runs);
	exmem_cache_add_runs(cache, &runs);
}

/* The lengths in @cache that @nr pages can be taken from. */
static unsigned long exmem_cache_lengths(const struct exmem_cache *cache, unsigned long nr)
{
	return cache->lengths & GENMASK(BITS_PER_LONG - 1, nr - 1);
}

/* Take a run of @nr pages out of @cache, or the longest there is. */
static struct page *exmem_cache_pop(struct exmem_cache *cache, unsigned long nr)
{
	unsigned long enough = exmem_cache_lengths(cache, nr), len;
	struct page *page;

	if (!cache->lengths)
		return NULL;
	len = 1 + (enough ? __ffs(enough) : __fls(cache->lengths));
	page = list_first_entry(&cache->runs[len - 1], struct page, lru);
	exmem_cache_del(cache, page);
	if (len > nr) {
		exmem_cache_add(cache, page + nr, len - nr);
		set_page_private(page, nr);
	}
	return page;
}

/* Take @nr pages, in one run if possible, or nothing. */
static bool exmem_cache_take_runs(struct exmem_cache *cache, unsigned long nr,
				  struct list_head *runs)
{
	struct page *page;
	LIST_HEAD(taken);

	if (!exmem_cache_lengths(cache, nr))
		exmem_cache_refill(cache, nr);
	while (nr && (page = exmem_cache_pop(cache, nr))) {
		unsigned long len = page_private(page);

		if (exmem_good_pages(page, len) < len) {
			/* The node knows what to do with it. */
			exmem_node_put(page, len);
			continue;
		}
		list_add_tail(&page->lru, &taken);
		nr -= len;
	}
	if (!nr) {
		list_splice_tail(&taken, runs);
		return true;
	}
	exmem_cache_add_runs(cache, &taken);
	return false;
}

/* Take a small request from this CPU's cache, if it keeps pages of @nid. */
static bool exmem_cache_take(int nid, unsigned long nr, struct list_head *runs)
{
	struct exmem_cache *cache = raw_cpu_ptr(&exmem_cache);
	bool taken = false;

	if (nr > EXMEM_CACHE_RUN)
		return false;

	spin_lock(&cache->lock);
	if (nr <= cache->high && nid == cache->nid && !READ_ONCE(exmem_short))
		taken = exmem_cache_take_runs(cache, nr, runs);
	spin_unlock(&cache->lock);
	return taken;
}

/* Put a run that is zero in this CPU's cache, if it belongs there. */
static bool exmem_cache_put(struct page *page, unsigned long nr)
{
	struct exmem_cache *cache = raw_cpu_ptr(&exmem_cache);
	bool put;

	if (nr > EXMEM_CACHE_RUN)
		return false;

	spin_lock(&cache->lock);
	put = nr <= cache->high && page_to_nid(page) == cache->nid &&
	      !READ_ONCE(exmem_short);
	if (put) {
		exmem_cache_add(cache, page, nr);
		if (cache->nr > cache->high / 4 * 3)
			exmem_cache_shrink(cache, cache->high / 2, cache->nr > cache->high);
	}
	spin_unlock(&cache->lock);
	return put;
}

/* Whatever CPUs keep of @nodes goes back there. */
static void exmem_cache_drain(const nodemask_t *nodes)
{
	struct exmem_cache *cache;
	int cpu;

	for_each_possible_cpu(cpu) {
		cache = per_cpu_ptr(&exmem_cache, cpu);
		if (!node_isset(cache->nid, *nodes))
			continue;
		spin_lock(&cache->lock);
		exmem_cache_shrink(cache, 0, true);
		spin_unlock(&cache->lock);
	}
}

/* The CPU is gone; a task that was about to use its cache may still do so. */
static int exmem_cache_dead(unsigned int cpu)
{
	struct exmem_cache *cache = per_cpu_ptr(&exmem_cache, cpu);

	spin_lock(&cache->lock);
	cache->high = 0;
	exmem_cache_shrink(cache, 0, true);
	spin_unlock(&cache->lock);
	return 0;
}

/* All caches together hold no more than an eighth of their node. */
static int exmem_cache_prepare(unsigned int cpu)
{
	struct exmem_cache *cache = per_cpu_ptr(&exmem_cache, cpu);
	int i, nid = exmem_nearest(cpu_to_mem(cpu), &exmem_pool_nodes);
	unsigned long share = exmem_nodes[nid]->nr_total / 8 / num_possible_cpus();

	spin_lock(&cache->lock);
	if (!cache->high)
		for (i = 0; i < EXMEM_CACHE_RUN; i++)
			INIT_LIST_HEAD(&cache->runs[i]);
	cache->nid = nid;
	cache->high = min(share, EXMEM_CACHE_PAGES);
	spin_unlock(&cache->lock);
	return 0;
}

/* The node of @left to try next. */
static int exmem_next_node(const struct exmem_policy *policy, const nodemask_t *left)
{
	nodemask_t preferred;

	if (!nodes_intersects(*left, policy->preferred))
		return exmem_nearest(policy->nid, left);

	nodes_and(preferred, *left, policy->preferred);
	return exmem_nearest(policy->nid, &preferred);
}

/* All of @nr pages from one node. */
static bool exmem_take_whole(const struct exmem_policy *policy, unsigned long nr,
			     struct list_head *runs)
{
	nodemask_t left = policy->nodes;
	int n;

	while ((n = exmem_next_node(policy, &left)) != NUMA_NO_NODE) {
		if (exmem_cache_take(n, nr, runs) ||
		    exmem_node_take(exmem_nodes[n], nr, nr, runs))
			return true;
		/* Better a part of a large request from here than all of it from afar. */
		if (nr > EXMEM_REGION_PAGES)
			break;
		node_clear(n, left);
	}
	return false;
}

static unsigned long exmem_free_on(const nodemask_t *nodes)
{
	unsigned long sum = 0;
	int n;

	for_each_node_mask(n, *nodes)
		sum += READ_ONCE(exmem_nodes[n]->nr_free);
	return sum;
}

static unsigned long exmem_total_on(const nodemask_t *nodes)
{
	unsigned long sum = 0;
	int n;

	for_each_node_mask(n, *nodes)
		sum += exmem_nodes[n]->nr_total;
	return sum;
}

/* Up to @nr pages, if @nid has them: also those that CPUs keep, before another node's. */
static unsigned long exmem_take_part(int nid, unsigned long nr, struct list_head *runs)
{
	unsigned long taken = exmem_node_take(exmem_nodes[nid], nr, 1, runs);
	nodemask_t node = nodemask_of_node(nid);

	if (taken == nr)
		return taken;

	exmem_cache_drain(&node);
	return taken + exmem_node_take(exmem_nodes[nid], nr - taken, 1, runs);
}

/* A part from each node, for as long as something is missing. */
static bool exmem_take_parts(const struct exmem_policy *policy, unsigned long nr,
			     struct list_head *runs)
{
	nodemask_t left = policy->nodes;
	LIST_HEAD(parts);
	int n;

	if (nr > exmem_free_on(&left))
		return false;

	while (nr && (n = exmem_next_node(policy, &left)) != NUMA_NO_NODE) {
		nr -= exmem_take_part(n, nr, &parts);
		node_clear(n, left);
	}
	if (nr) {
		exmem_put_runs(&parts);
		return false;
	}
	list_splice_tail(&parts, runs);
	return true;
}

/*
 * What no node has alone. At the second attempt no cache holds a page, and nobody
 * else a part of a request without the whole, unless it is interleaved: what is not
 * there then is in use.
 */
static bool exmem_take_short(const struct exmem_policy *policy, unsigned long nr,
			     struct list_head *runs)
{
	bool taken;

	/* Who asks for more than there can be must not disturb the others. */
	if (nr > exmem_total_on(&policy->nodes))
		return false;

	mutex_lock(&exmem_short_lock);
	taken = exmem_take_parts(policy, nr, runs);
	if (!taken) {
		WRITE_ONCE(exmem_short, true);
		exmem_cache_drain(&exmem_pool_nodes);
		taken = exmem_take_parts(policy, nr, runs);
		WRITE_ONCE(exmem_short, false);
	}
	mutex_unlock(&exmem_short_lock);
	return taken;
}

/* Take @nr pages as @policy says, all or nothing. */
static bool exmem_take(struct exmem_policy *policy, unsigned long nr, struct list_head *runs)
{
	nodes_and(policy->nodes, policy->nodes, exmem_pool_nodes);
	return exmem_take_whole(policy, nr, runs) || exmem_take_short(policy, nr, runs);
}

/* Pages that were taken become the caller's. */
static void exmem_hand_out(struct list_head *taken, enum exmem_caller caller,
			   struct list_head *runs)
{
	struct page *page;

	list_for_each_entry(page, taken, lru) {
		unsigned long nr = page_private(page);

		exmem_own(page, nr);
		trace_exmem_take(page, nr, caller);
		if (!list_is_last(&page->lru, taken))
			cond_resched();
	}
	list_splice_tail(taken, runs);
}

static int exmem_fail(int nid, unsigned long nr, enum exmem_caller caller)
{
	nid = exmem_nearest(nid, &exmem_pool_nodes);
	if (nid != NUMA_NO_NODE) {
		atomic_long_inc(&exmem_nodes[nid]->nr_failed);
		trace_exmem_exhausted(nid, nr, caller);
	}
	return -ENOMEM;
}

/**
 * exmem_alloc_pages - take pages out of the pool
 * @nr: number of pages
 * @caller: on whose behalf
 * @runs: list that the pages are added to
 *
 * The current task's memory policy and cpuset say which nodes the pages come
 * from.
 *
 * The pages come as runs of contiguous ones. The first page of each run is
 * linked into @runs by its ->lru, and page_private() of it is the number of
 * pages in the run; both are the caller's to reuse once it has read them. All
 * pages are zero. They have no mapping in the kernel, and a reference count of
 * zero: they may be mapped as raw pfns only.
 *
 * Context: Process context, no spinlock held. May sleep.
 * Return: 0, or -ENOMEM if there are fewer than @nr free pages that the task
 * may use; nothing is taken then.
 */
int exmem_alloc_pages(unsigned long nr, enum exmem_caller caller, struct list_head *runs)
{
	struct exmem_policy policy;
	unsigned long left, part;
	unsigned int cookie;
	LIST_HEAD(taken);

	might_sleep();
	might_lock(&exmem_short_lock);

	do {
		cookie = read_mems_allowed_begin();
		for (left = nr; left; left -= part) {
			exmem_task_policy(&policy, nr);
			part = min(left, policy.nr);
			if (!exmem_take(&policy, part, &taken))
				break;
		}
		if (!left) {
			exmem_hand_out(&taken, caller, runs);
			return 0;
		}
		exmem_put_runs(&taken);
	} while (read_mems_allowed_retry(cookie));

	return exmem_fail(policy.nid, nr, caller);
}
EXPORT_SYMBOL_GPL(exmem_alloc_pages);

/**
 * exmem_alloc_pages_node - take pages out of the pool, near a node
 * @nid: node to begin with, or NUMA_NO_NODE for this CPU's
 * @nodes: nodes the pages may come from, or NULL for all
 * @nr: number of pages
 * @caller: on whose behalf
 * @runs: list that the pages are added to
 *
 * As exmem_alloc_pages(), but the current task's memory policy and cpuset do not
 * matter.
 *
 * Context: Process context, no spinlock held. May sleep.
 * Return: 0, or -ENOMEM if there are fewer than @nr free pages on @nodes;
 * nothing is taken then.
 */
int exmem_alloc_pages_node(int nid, const nodemask_t *nodes, unsigned long nr,
			   enum exmem_caller caller, struct list_head *runs)
{
	struct exmem_policy policy;
	LIST_HEAD(taken);

	might_sleep();
	might_lock(&exmem_short_lock);

	policy.nid = nid == NUMA_NO_NODE ? numa_mem_id() : nid;
	policy.nodes = nodes ? *nodes : node_states[N_POSSIBLE];
	policy.preferred = NODE_MASK_NONE;
	if (nr && !exmem_take(&policy, nr, &taken))
		return exmem_fail(policy.nid, nr, caller);

	exmem_hand_out(&taken, caller, runs);
	return 0;
}
EXPORT_SYMBOL_GPL(exmem_alloc_pages_node);

/* The page of a request for one, which may have failed. */
static struct page *exmem_only_page(struct list_head *runs)
{
	struct page *page = list_first_entry_or_null(runs, struct page, lru);

	if (page)
		list_del(&page->lru);
	return page;
}

/**
 * exmem_alloc_page - take one page out of the pool
 * @caller: on whose behalf
 *
 * Context: Process context, no spinlock held. May sleep.
 * Return: a page as exmem_alloc_pages() has them, in no list, or NULL.
 */
struct page *exmem_alloc_page(enum exmem_caller caller)
{
	LIST_HEAD(runs);

	exmem_alloc_pages(1, caller, &runs);
	return exmem_only_page(&runs);
}
EXPORT_SYMBOL_GPL(exmem_alloc_page);

/**
 * exmem_alloc_page_node - take one page out of the pool, near a node
 * @nid: node to begin with, or NUMA_NO_NODE for this CPU's
 * @nodes: nodes the page may come from, or NULL for all
 * @caller: on whose behalf
 *
 * Context: Process context, no spinlock held. May sleep.
 * Return: a page as exmem_alloc_pages() has them, in no list, or NULL.
 */
struct page *exmem_alloc_page_node(int nid, const nodemask_t *nodes, enum exmem_caller caller)
{
	LIST_HEAD(runs);

	exmem_alloc_pages_node(nid, nodes, 1, caller, &runs);
	return exmem_only_page(&runs);
}
EXPORT_SYMBOL_GPL(exmem_alloc_page_node);

/* Clear @nr pages of one region and make them free, all but the poisoned ones. */
static void exmem_clear_and_put(struct page *page, unsigned long nr)
{
	while (nr) {
		unsigned long good = exmem_good_pages(page, nr);
		unsigned long part = good ?: 1;

		exmem_arch_clear(page, good);
		/* The node retires a page that is not good. */
		if (!good || !exmem_cache_put(page, part))
			exmem_node_put(page, part);
		page += part;
		nr -= part;
	}
}

static int exmem_give_back(struct page *page, unsigned long nr, enum exmem_caller caller)
{
	while (nr) {
		unsigned long room = EXMEM_REGION_PAGES - page_to_pfn(page) % EXMEM_REGION_PAGES;
		struct exmem_region *region = exmem_region_of(page);
		unsigned long chunk = min(nr, room);

		if (!region || !exmem_disown(region, page, chunk))
			return -EINVAL;

		trace_exmem_give(page, chunk, caller);
		exmem_clear_and_put(page, chunk);
		page += chunk;
		nr -= chunk;
		if (nr)
			cond_resched();
	}
	return 0;
}

/**
 * exmem_free_pages - clear pages and give them back to the pool
 * @page: first page
 * @nr: number of contiguous pages
 * @caller: on whose behalf
 *
 * The caller owns the pages, and nothing maps them any more. Cannot fail, and
 * allocates nothing. A page that memory_failure() marked is not cleared, and
 * never handed out again.
 *
 * Context: Process context, no spinlock held. May sleep.
 */
void exmem_free_pages(struct page *page, unsigned long nr, enum exmem_caller caller)
{
	might_sleep();
	WARN_ONCE(exmem_give_back(page, nr, caller),
		  "exmem: pfn %#lx, %lu pages: not handed out\n", page_to_pfn(page), nr);
}
EXPORT_SYMBOL_GPL(exmem_free_pages);

/**
 * exmem_free_page - clear a page and give it back to the pool
 * @page: the page
 * @caller: on whose behalf
 *
 * Context: Process context, no spinlock held. May sleep.
 */
void exmem_free_page(struct page *page, enum exmem_caller caller)
{
	exmem_free_pages(page, 1, caller);
}
EXPORT_SYMBOL_GPL(exmem_free_page);

/**
 * exmem_free_runs - give back what exmem_alloc_pages() added to a list
 * @runs: list of runs, empty afterwards
 * @caller: on whose behalf
 *
 * Context: Process context, no spinlock held. May sleep.
 */
void exmem_free_runs(struct list_head *runs, enum exmem_caller caller)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, runs, lru) {
		list_del(&page->lru);
		exmem_free_pages(page, page_private(page), caller);
	}
}
EXPORT_SYMBOL_GPL(exmem_free_runs);

static unsigned long exmem_cached_on(const nodemask_t *nodes)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct exmem_cache *cache = per_cpu_ptr(&exmem_cache, cpu);

		if (node_isset(cache->nid, *nodes))
			sum += READ_ONCE(cache->nr);
	}
	return sum;
}

/* The figures are each right, but not of one moment, while the pool is in use. */
void exmem_read_stats(const nodemask_t *nodes, struct exmem_stats *stats)
{
	int nid;

	memset(stats, 0, sizeof(*stats));
	stats->total = exmem_total_on(nodes);
	stats->free = exmem_free_on(nodes) + exmem_cached_on(nodes);
	for_each_node_mask(nid, *nodes) {
		struct exmem_node *node = exmem_nodes[nid];

		stats->peak += READ_ONCE(node->peak);
		stats->failed += atomic_long_read(&node->nr_failed);
		stats->poisoned += READ_ONCE(node->nr_poisoned);
		stats->splits.pmd += node->splits.pmd;
		stats->splits.pud += node->splits.pud;
	}
}

/**
 * exmem_active - is any page in use?
 *
 * The contents of those that are would not survive hibernation. While pages come
 * and go, one that moves between the sums may be missed, and pages may be taken
 * after the answer: it is for refusing early, and for all to see. What counts is
 * the one that ->freeze() gets, in pm.c.
 *
 * Context: Any context.
 * Return: true if it is so.
 */
bool exmem_active(void)
{
	struct exmem_stats stats;

	exmem_read_stats(&exmem_pool_nodes, &stats);
	return stats.free + stats.poisoned < stats.total;
}

static int __init exmem_pool_init(void)
{
	int ret;

	if (nodes_empty(exmem_pool_nodes))
		return 0;
	ret = cpuhp_setup_state(CPUHP_BP_PREPARE_DYN, "mm/exmem:prepare", exmem_cache_prepare,
				exmem_cache_dead);
	return min(ret, 0);
}
core_initcall(exmem_pool_init);

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/pool-kunit.h"
#endif
