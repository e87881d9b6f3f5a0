// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: regions, and the state of their pages.
 *
 * A region is as large as a PMD leaf, and not in the direct map. Its pages can't
 * be read, so separate bitmaps tell which are free. A free page is zero.
 *
 * Each node lists its regions by the length of their longest run of free pages. A
 * request is served from a region whose longest run is just long enough. Longer
 * runs, whole regions above all, are kept for larger requests.
 */
#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/exmem.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/padata.h>
#include <linux/printk.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include "region.h"

#define EXMEM_REGION_ORDER	(PMD_SHIFT - PAGE_SHIFT)

/* A thread initializes at least this many regions. */
#define EXMEM_MIN_CHUNK		8
/* Report progress at this interval. */
#define EXMEM_REPORT_INTERVAL	(10 * HZ)

/**
 * struct exmem_region - as many pages as a PMD maps
 * @list: links the regions with the same @longest, unless that is 0
 * @pfn: first page
 * @longest: length of the longest run of free pages
 * @busy: pages that are not free in their node: allocated, cached by a CPU, on their
 *	way from or to an owner, or poisoned
 * @allocated: pages that have an owner. Atomic, so that no lock is needed to find
 *	a double free. The pages of one word mostly belong to one CPU's cache: each
 *	word has a cache line of its own.
 */
struct exmem_region {
	struct list_head list;
	unsigned long pfn;
	unsigned int longest;
	DECLARE_BITMAP(busy, EXMEM_REGION_PAGES);
	struct {
		atomic_long_t word ____cacheline_aligned_in_smp;
	} allocated[EXMEM_REGION_PAGES / BITS_PER_LONG];
};

/**
 * struct exmem_node - one node's part of the pool
 * @lock: protects all but @nr_total and @leaves, and the regions except for
 *	@allocated; nests inside the lock of a per-CPU cache. Numbers of pages are also
 *	read without it.
 * @lengths: bit n is set if element n of @regions is not empty
 * @regions: regions by the length of their longest free run; element 0 is not used
 * @nr_free: free pages that no request has claimed
 * @nr_ever_freed: pages that have been added to @nr_free so far; wraps around
 * @nr_poisoned: pages that were retired
 * @peak: highest number of pages that were neither free nor poisoned
 * @nr_whole: regions whose pages are all free
 * @nr_total: all pages; never changes after boot
 * @leaves: changes to the direct map at boot
 */
struct exmem_node {
	spinlock_t lock;	/* see above */
	unsigned long nr_free;
	unsigned long nr_ever_freed;
	unsigned long nr_poisoned;
	unsigned long peak;
	unsigned long nr_whole;
	DECLARE_BITMAP(lengths, EXMEM_REGION_PAGES + 1);
	struct list_head regions[EXMEM_REGION_PAGES + 1];

	unsigned long nr_total ____cacheline_aligned_in_smp;
	struct exmem_leaves leaves;
};

nodemask_t exmem_pool_nodes __ro_after_init;
static struct exmem_node *exmem_nodes[MAX_NUMNODES] __ro_after_init;

/* Regions by pfn >> EXMEM_REGION_ORDER. They are never removed. */
static DEFINE_XARRAY(exmem_regions);

static unsigned long exmem_last_report __initdata;

/**
 * exmem_enabled - is there any exclusive memory?
 *
 * Context: Any context, from the end of early initcalls on.
 * Return: true if boot has set up a pool.
 */
bool exmem_enabled(void)
{
	return !nodes_empty(exmem_pool_nodes);
}

/**
 * exmem_nearest_node - the nearest of several nodes
 * @nid: node to measure the distance from; need not be one of @nodes
 * @nodes: nodes to choose from
 *
 * Context: Any context.
 * Return: a node of @nodes, or NUMA_NO_NODE if there are none.
 */
int exmem_nearest_node(int nid, const nodemask_t *nodes)
{
	int n, best = NUMA_NO_NODE;

	if (nid >= 0 && nid < MAX_NUMNODES && node_isset(nid, *nodes))
		return nid;
	for_each_node_mask(n, *nodes)
		if (best == NUMA_NO_NODE || node_distance(nid, n) < node_distance(nid, best))
			best = n;
	return best;
}

/**
 * exmem_nodes_total - count all pages of the pool on some nodes
 * @nodes: nodes with a part of the pool
 *
 * Context: Any context.
 * Return: number of pages.
 */
unsigned long exmem_nodes_total(const nodemask_t *nodes)
{
	unsigned long sum = 0;
	int n;

	for_each_node_mask(n, *nodes)
		sum += exmem_nodes[n]->nr_total;
	return sum;
}

/**
 * exmem_nodes_free - count the free pages on some nodes
 * @nodes: nodes with a part of the pool
 *
 * Context: Any context.
 * Return: number of pages, without those in per-CPU caches.
 */
unsigned long exmem_nodes_free(const nodemask_t *nodes)
{
	unsigned long sum = 0;
	int n;

	for_each_node_mask(n, *nodes)
		sum += READ_ONCE(exmem_nodes[n]->nr_free);
	return sum;
}

/**
 * exmem_node_whole_regions - count the regions of a node whose pages are all free
 * @nid: node with a part of the pool
 *
 * Context: Any context.
 * Return: number of regions. A region is not counted while a CPU caches one of its pages.
 */
unsigned long exmem_node_whole_regions(int nid)
{
	return READ_ONCE(exmem_nodes[nid]->nr_whole);
}

/**
 * exmem_nodes_ever_freed - count the pages that have become free on some nodes so far
 * @nodes: nodes with a part of the pool
 *
 * A page counts each time it is freed to its node, or a claim to it is given up. A later
 * call of exmem_nodes_free() counts it, too, unless a request has claimed it again.
 *
 * Context: Any context.
 * Return: number of pages. It wraps around: only differences have a meaning.
 */
unsigned long exmem_nodes_ever_freed(const nodemask_t *nodes)
{
	unsigned long sum = 0;
	int n;

	for_each_node_mask(n, *nodes)
		/* Pairs with exmem_add_free(). */
		sum += smp_load_acquire(&exmem_nodes[n]->nr_ever_freed);
	return sum;
}

/**
 * exmem_node_read_stats - statistics of one node's part of the pool
 * @nid: node with a part of the pool
 * @stats: filled in; not a consistent snapshot while the pool is in use
 *
 * Context: Any context.
 */
void exmem_node_read_stats(int nid, struct exmem_node_stats *stats)
{
	struct exmem_node *node = exmem_nodes[nid];

	stats->total = node->nr_total;
	stats->free = READ_ONCE(node->nr_free);
	stats->peak = READ_ONCE(node->peak);
	stats->poisoned = READ_ONCE(node->nr_poisoned);
	stats->leaves = node->leaves;
}

static struct exmem_region *exmem_find_region(const struct page *page)
{
	/* Unlike page_exmem_run(), for any page at all. */
	return xa_load(&exmem_regions, page_to_pfn(page) >> EXMEM_REGION_ORDER);
}

/**
 * __page_is_exmem - page_is_exmem(), for a page that is offline
 * @page: any page
 *
 * Context: Any context.
 * Return: true if the pool has the page.
 */
bool __page_is_exmem(const struct page *page)
{
	return exmem_find_region(page);
}

/**
 * exmem_unpoisoned_prefix - count the pages before the first poisoned one
 * @page: first page
 * @nr: number of contiguous pages
 *
 * Context: Any context.
 * Return: number of pages before the first that memory_failure() has marked; @nr
 * if it has marked none.
 */
unsigned long exmem_unpoisoned_prefix(const struct page *page, unsigned long nr)
{
	unsigned long i = 0;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE) || !atomic_long_read(&num_poisoned_pages))
		return nr;
	/* memory_failure() marks the page before it increments the counter. */
	smp_rmb();
	while (i < nr && !PageHWPoison(page + i))
		i++;
	return i;
}

static unsigned int exmem_next_word(unsigned int bit)
{
	return (bit | (BITS_PER_LONG - 1)) + 1;
}

static unsigned long exmem_mask_in_word(unsigned int start, unsigned int end)
{
	unsigned int last = min(end, exmem_next_word(start)) - 1;

	return GENMASK(last % BITS_PER_LONG, start % BITS_PER_LONG);
}

static void exmem_set_allocated(struct exmem_region *region, unsigned int start, unsigned int end)
{
	for (; start < end; start = exmem_next_word(start))
		atomic_long_or(exmem_mask_in_word(start, end),
			       &region->allocated[start / BITS_PER_LONG].word);
}

/**
 * exmem_mark_allocated - record that pages have an owner
 * @run: pages that were free, and that the caller alone can reach
 *
 * Context: Any context.
 */
void exmem_mark_allocated(struct exmem_run *run)
{
	unsigned int start = page_to_pfn(exmem_run_page(run)) % EXMEM_REGION_PAGES;

	exmem_set_allocated(run->region, start, start + run->nr);
}

/**
 * exmem_clear_allocated - record that pages no longer have an owner
 * @page: first page; any page at all
 * @nr: number of contiguous pages
 *
 * If two tasks free a page at the same time, this fails for one of them before
 * it has touched the page.
 *
 * Context: Any context.
 * Return: true if the pages lie in one region and each of them was allocated; or
 * false, with nothing changed.
 */
bool exmem_clear_allocated(struct page *page, unsigned long nr)
{
	unsigned int first = page_to_pfn(page) % EXMEM_REGION_PAGES;
	struct exmem_region *region = exmem_find_region(page);
	unsigned int start, end = first + nr;

	if (!region || nr > EXMEM_REGION_PAGES - first)
		return false;

	for (start = first; start < end; start = exmem_next_word(start)) {
		atomic_long_t *word = &region->allocated[start / BITS_PER_LONG].word;
		unsigned long mask = exmem_mask_in_word(start, end);
		unsigned long was = atomic_long_fetch_andnot(mask, word) & mask;

		if (was != mask) {
			atomic_long_or(was, word);
			exmem_set_allocated(region, first, start);
			return false;
		}
	}
	return true;
}

static void exmem_set_longest(struct exmem_node *node, struct exmem_region *region,
			      unsigned int longest)
{
	lockdep_assert_held(&node->lock);

	if (region->longest) {
		list_del(&region->list);
		if (list_empty(&node->regions[region->longest]))
			__clear_bit(region->longest, node->lengths);
	}
	WRITE_ONCE(node->nr_whole, node->nr_whole + (longest == EXMEM_REGION_PAGES) -
		   (region->longest == EXMEM_REGION_PAGES));
	region->longest = longest;
	if (longest) {
		list_add(&region->list, &node->regions[longest]);
		__set_bit(longest, node->lengths);
	}
}

static void exmem_add_free(struct exmem_node *node, unsigned long nr)
{
	lockdep_assert_held(&node->lock);

	WRITE_ONCE(node->nr_free, node->nr_free + nr);
	/* Pairs with exmem_nodes_ever_freed(). */
	smp_store_release(&node->nr_ever_freed, node->nr_ever_freed + nr);
}

static void exmem_count_poisoned(struct exmem_node *node)
{
	lockdep_assert_held(&node->lock);

	WRITE_ONCE(node->nr_poisoned, node->nr_poisoned + 1);
}

static void exmem_update_peak(struct exmem_node *node)
{
	unsigned long nr = node->nr_total - node->nr_poisoned - node->nr_free;

	lockdep_assert_held(&node->lock);

	if (nr > node->peak)
		WRITE_ONCE(node->peak, nr);
}

static void exmem_mark_busy(struct exmem_node *node, struct exmem_region *region,
			    unsigned long start, unsigned long nr)
{
	unsigned long from, to, longest = 0;

	bitmap_set(region->busy, start, nr);
	for_each_clear_bitrange(from, to, region->busy, EXMEM_REGION_PAGES)
		longest = max(longest, to - from);
	exmem_set_longest(node, region, longest);
}

static void exmem_mark_free(struct exmem_node *node, struct exmem_region *region,
			    unsigned long start, unsigned long nr)
{
	unsigned long from, to;

	bitmap_clear(region->busy, start, nr);
	/* The pages join the free ones on both sides of them. */
	from = find_last_bit(region->busy, start);
	from = from < start ? from + 1 : 0;
	to = find_next_bit(region->busy, EXMEM_REGION_PAGES, start + nr);
	exmem_set_longest(node, region, max(region->longest, to - from));
	exmem_add_free(node, nr);
}

static struct exmem_region *exmem_best_fit(struct exmem_node *node, unsigned long nr)
{
	const unsigned long nr_lists = ARRAY_SIZE(node->regions);
	unsigned long longest = find_next_bit(node->lengths, nr_lists, nr);

	/* No run is long enough: use the longest. */
	if (longest >= nr_lists)
		longest = find_last_bit(node->lengths, nr_lists);
	/* There is one: the caller has claimed pages. */
	return list_first_entry(&node->regions[longest], struct exmem_region, list);
}

/* Returns 0 if the first page is poisoned, and retires this page. */
static unsigned long exmem_alloc_run(struct exmem_node *node, unsigned long nr,
				     struct list_head *runs)
{
	struct exmem_region *region = exmem_best_fit(node, nr);
	struct exmem_run *run;
	unsigned long start;
	struct page *page;

	lockdep_assert_held(&node->lock);

	nr = min(nr, region->longest);
	start = bitmap_find_next_zero_area(region->busy, EXMEM_REGION_PAGES, 0, nr, 0);
	page = pfn_to_page(region->pfn + start);

	nr = exmem_unpoisoned_prefix(page, nr);
	exmem_mark_busy(node, region, start, nr ?: 1);
	if (!nr) {
		exmem_count_poisoned(node);
		return 0;
	}
	run = page_exmem_run(page);
	run->nr = nr;
	list_add_tail(&run->list, runs);
	return nr;
}

static void exmem_free_or_retire(struct exmem_node *node, struct page *page, unsigned long nr)
{
	struct exmem_region *region = page_exmem_run(page)->region;
	unsigned long start = page_to_pfn(page) - region->pfn;
	unsigned long end = start + nr;

	lockdep_assert_held(&node->lock);

	while (start < end) {
		nr = exmem_unpoisoned_prefix(pfn_to_page(region->pfn + start), end - start);
		if (nr)
			exmem_mark_free(node, region, start, nr);
		else
			exmem_count_poisoned(node);
		start += nr ?: 1;
	}
}

static unsigned long exmem_alloc_claimed(struct exmem_node *node, unsigned long claim,
					 struct list_head *runs)
{
	unsigned long nr, allocated = 0;
	unsigned int nr_runs = 0;

	while (claim) {
		nr = exmem_alloc_run(node, claim, runs);
		allocated += nr;
		claim -= nr;
		/* A claimed page turned out to be poisoned: claim another, if there is one. */
		if (!nr && node->nr_free)
			WRITE_ONCE(node->nr_free, node->nr_free - 1);
		else if (!nr)
			claim--;
		if (!nr || ++nr_runs % EXMEM_RUNS_AT_ONCE)
			continue;
		cond_resched_lock(&node->lock);
		if (fatal_signal_pending(current))
			break;
	}
	exmem_add_free(node, claim);
	return allocated;
}

static void exmem_free_or_retire_runs(struct exmem_node *node, struct list_head *runs)
{
	unsigned int nr_runs = 0;
	struct exmem_run *run;

	while ((run = list_first_entry_or_null(runs, struct exmem_run, list))) {
		list_del(&run->list);
		exmem_free_or_retire(node, exmem_run_page(run), run->nr);
		if (++nr_runs % EXMEM_RUNS_AT_ONCE == 0)
			cond_resched_lock(&node->lock);
	}
}

/**
 * exmem_node_alloc - allocate pages of one node
 * @nid: node with a part of the pool
 * @nr: maximum number of pages to allocate
 * @least: allocate nothing if fewer than this are available
 * @runs: list to add the pages to
 *
 * Context: Process context. May sleep, unless @nr is less than EXMEM_RUNS_AT_ONCE;
 * the caller may hold a spinlock then.
 * Return: number of pages, which are zero and not marked as allocated yet: 0, or at
 * least @least. If the task is being killed, this may be fewer than are available.
 */
unsigned long exmem_node_alloc(int nid, unsigned long nr, unsigned long least,
			       struct list_head *runs)
{
	struct exmem_node *node = exmem_nodes[nid];
	unsigned long claim, allocated;
	LIST_HEAD(list);

	/* Without the lock: a hopeless request need not disturb the node. */
	if (READ_ONCE(node->nr_free) < least)
		return 0;

	spin_lock(&node->lock);
	/*
	 * exmem_alloc_claimed() may drop the lock for a moment. The free pages in the
	 * regions always equal nr_free plus all open claims: each claim can be met.
	 */
	claim = min(nr, node->nr_free);
	if (claim < least)
		claim = 0;
	WRITE_ONCE(node->nr_free, node->nr_free - claim);
	allocated = exmem_alloc_claimed(node, claim, &list);
	if (allocated < least) {
		exmem_free_or_retire_runs(node, &list);
		allocated = 0;
	}
	exmem_update_peak(node);
	spin_unlock(&node->lock);

	list_splice_tail(&list, runs);
	return allocated;
}

/**
 * exmem_node_free - make pages free, and retire the poisoned ones
 * @page: first page
 * @nr: number of contiguous pages of one region; all but the poisoned ones are zero
 *
 * Context: Process context. The caller may hold a spinlock.
 */
void exmem_node_free(struct page *page, unsigned long nr)
{
	struct exmem_node *node = exmem_nodes[page_to_nid(page)];

	spin_lock(&node->lock);
	exmem_free_or_retire(node, page, nr);
	spin_unlock(&node->lock);
}

/**
 * exmem_node_free_runs - make many runs free under one hold of the node's lock
 * @nid: the node they belong to
 * @may_spin: wait for the lock if another CPU holds it
 * @next: returns the next run, whose pages are zero; NULL at the end
 * @arg: passed to @next
 *
 * Context: Process context. The caller may hold a spinlock. The time it takes grows
 * with the number of runs.
 * Return: true; or false, with @next not called, if another CPU held the lock.
 */
bool exmem_node_free_runs(int nid, bool may_spin, struct exmem_run *(*next)(void *arg),
			  void *arg)
{
	struct exmem_node *node = exmem_nodes[nid];
	struct exmem_run *run;

	if (may_spin)
		spin_lock(&node->lock);
	else if (!spin_trylock(&node->lock))
		return false;
	while ((run = next(arg)))
		exmem_free_or_retire(node, exmem_run_page(run), run->nr);
	spin_unlock(&node->lock);
	return true;
}

static unsigned long exmem_clear_unpoisoned(struct exmem_region *region, unsigned long start,
					    unsigned long end)
{
	struct page *page = pfn_to_page(region->pfn);
	unsigned long nr, sum = 0;

	for (; start < end; start += nr + 1) {
		nr = exmem_unpoisoned_prefix(page + start, end - start);
		exmem_arch_clear(page + start, nr);
		sum += nr;
	}
	return sum;
}

/**
 * exmem_clear_regions - clear all unpoisoned pages of all regions
 *
 * Context: Process context. May sleep. The caller guarantees that no page is allocated
 * meanwhile.
 */
void exmem_clear_regions(void)
{
	struct exmem_region *region;
	unsigned long index;

	xa_for_each(&exmem_regions, index, region) {
		exmem_clear_unpoisoned(region, 0, EXMEM_REGION_PAGES);
		cond_resched();
	}
}

/**
 * exmem_find_region_from - walk the regions of the pool
 * @index: where to start, 0 for the first region; advanced past the returned region
 *
 * Context: Any context. The caller serializes calls with the same @index.
 * Return: the region, or NULL after the last one.
 */
struct exmem_region *exmem_find_region_from(unsigned long *index)
{
	struct exmem_region *region = xa_find(&exmem_regions, index, ULONG_MAX, XA_PRESENT);

	if (region)
		++*index;
	return region;
}

/**
 * exmem_clear_busy_pages - clear the pages of a region that are not free
 * @region: the region
 *
 * These are pages in use, pages that are being allocated or freed, and pages in a per-CPU
 * cache of the pool. Poisoned pages stay as they are.
 *
 * Context: Process context. May sleep. Owners lose their data.
 * Return: number of pages that were cleared.
 */
unsigned long exmem_clear_busy_pages(struct exmem_region *region)
{
	struct exmem_node *node = exmem_nodes[page_to_nid(pfn_to_page(region->pfn))];
	DECLARE_BITMAP(busy, EXMEM_REGION_PAGES);
	unsigned long start, end, sum = 0;

	spin_lock(&node->lock);
	bitmap_copy(busy, region->busy, EXMEM_REGION_PAGES);
	spin_unlock(&node->lock);

	for_each_set_bitrange(start, end, busy, EXMEM_REGION_PAGES) {
		sum += exmem_clear_unpoisoned(region, start, end);
		cond_resched();
	}
	return sum;
}

static struct exmem_node * __init exmem_find_or_add_node(int nid)
{
	struct exmem_node *node = exmem_nodes[nid];
	int i;

	if (node)
		return node;

	node = kzalloc_node(sizeof(*node), GFP_KERNEL, nid);
	if (!node)
		return NULL;
	exmem_nodes[nid] = node;
	/* lock_stat shows the expression as the lock's name. */
	spin_lock_init(&exmem_nodes[nid]->lock);
	for (i = 0; i < ARRAY_SIZE(node->regions); i++)
		INIT_LIST_HEAD(&node->regions[i]);
	return node;
}

static int __init exmem_add_region(struct exmem_node *node, struct exmem_region *region,
				   unsigned long pfn)
{
	int ret;

	region->pfn = pfn;
	INIT_LIST_HEAD(&region->list);
	bitmap_fill(region->busy, EXMEM_REGION_PAGES);
	ret = xa_err(xa_store(&exmem_regions, pfn >> EXMEM_REGION_ORDER, region, GFP_KERNEL));
	if (!ret)
		node->nr_total += EXMEM_REGION_PAGES;
	return ret;
}

static void __init exmem_add_leaves(struct exmem_leaves *sum, const struct exmem_leaves *leaves)
{
	sum->removed_pmd += leaves->removed_pmd;
	sum->removed_pud += leaves->removed_pud;
	sum->split_pmd += leaves->split_pmd;
	sum->split_pud += leaves->split_pud;
}

/**
 * exmem_add_regions - unmap a range of memory and add it to the pool
 * @page: first page; aligned to a region
 * @nr: number of pages, all on one node; a multiple of EXMEM_REGION_PAGES
 * @leaves: counts the direct map leaves that are removed or split
 *
 * exmem_init_regions() makes the pages free.
 *
 * Context: Boot, while this is the only CPU.
 * Return: 0 or a negative errno. On failure the pool may have some of the pages. The
 * others are lost: nothing may use them.
 */
int __init exmem_add_regions(struct page *page, unsigned long nr, struct exmem_leaves *leaves)
{
	unsigned long i, pfn = page_to_pfn(page), nr_regions = nr / EXMEM_REGION_PAGES;
	int ret, nid = page_to_nid(page);
	struct exmem_node *node = exmem_find_or_add_node(nid);
	struct exmem_region *regions;

	regions = vzalloc_node(array_size(nr_regions, sizeof(*regions)), nid);
	if (!node || !regions) {
		vfree(regions);
		return -ENOMEM;
	}

	ret = exmem_arch_unmap(page, nr, leaves);
	if (ret) {
		vfree(regions);
		return ret;
	}
	exmem_add_leaves(&node->leaves, leaves);
	node_set(nid, exmem_pool_nodes);

	for (i = 0; !ret && i < nr_regions; i++)
		ret = exmem_add_region(node, &regions[i], pfn + i * EXMEM_REGION_PAGES);
	return ret;
}

static void __init exmem_init_page(struct page *page, struct exmem_region *region)
{
	struct folio *folio = page_folio(page);

	page_exmem_run(page)->region = region;
	__folio_clear_reserved(folio);
	/*
	 * VFIO uses a page behind a VM_PFNMAP mapping if the page has a reference or is
	 * reserved. Prevent both.
	 */
	set_page_count(page, 0);
	/* Code that reads memory by pfn skips it: /proc/kcore, hibernation, makedumpfile. */
	__folio_set_offline(folio);
}

static void __init exmem_report_progress(void)
{
	unsigned long last = READ_ONCE(exmem_last_report);

	/* Several threads may get here at the same time: only one of them reports. */
	if (time_before(jiffies, last + EXMEM_REPORT_INTERVAL) ||
	    cmpxchg(&exmem_last_report, last, jiffies) != last)
		return;
	pr_info("exmem: %lu of %lu MiB are clear\n",
		exmem_nodes_free(&exmem_pool_nodes) >> (20 - PAGE_SHIFT),
		exmem_nodes_total(&exmem_pool_nodes) >> (20 - PAGE_SHIFT));
}

static void __init exmem_init_chunk(unsigned long start, unsigned long end, void *unused)
{
	struct exmem_region *region;
	unsigned long i, index;
	struct page *page;

	xa_for_each_range(&exmem_regions, index, region, start, end - 1) {
		page = pfn_to_page(region->pfn);
		for (i = 0; i < EXMEM_REGION_PAGES; i++)
			exmem_init_page(page + i, region);
		exmem_arch_clear(page, EXMEM_REGION_PAGES);
		exmem_node_free(page, EXMEM_REGION_PAGES);
		exmem_report_progress();
	}
}

/**
 * exmem_init_regions - clear a range of the pool and make it free
 * @page: first page of a range that exmem_add_regions() has added
 * @nr: number of pages
 * @max_threads: use at most this many CPUs
 *
 * Context: Boot, once all CPUs run, and before anyone allocates. Several ranges may be
 * initialized at the same time.
 */
void __init exmem_init_regions(struct page *page, unsigned long nr, int max_threads)
{
	struct padata_mt_job job = {
		.thread_fn	= exmem_init_chunk,
		.start		= page_to_pfn(page) >> EXMEM_REGION_ORDER,
		.size		= nr / EXMEM_REGION_PAGES,
		.align		= 1,
		.min_chunk	= EXMEM_MIN_CHUNK,
		.max_threads	= max_threads,
	};

	cmpxchg(&exmem_last_report, 0, jiffies);
	padata_do_multithreaded(&job);
}

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/region-kunit.h"
#endif
