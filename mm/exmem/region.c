// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: regions, and which of their pages are free.
 *
 * A region is what one PMD maps; the direct map does not hold it. The contents
 * of its pages are out of reach, so what is known of them stands beside them,
 * in bitmaps. A page here is zero whenever it is free.
 *
 * On each node, regions with free pages hang in bins by the longest run of free
 * pages they have. A request takes from a region whose longest run is not much
 * longer than what it wants: long runs, whole regions most of all, are left to
 * those that need them.
 */
#define pr_fmt(fmt) "exmem: " fmt

#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "internal.h"

struct exmem_region {
	struct list_head list;		/* in a bin, if it has free pages */
	unsigned long pfn;
	unsigned int longest;		/* run of free pages */
	DECLARE_BITMAP(used, EXMEM_REGION_PAGES);	/* not free, or in a cache */
	/*
	 * Handed out. Atomic: it takes no lock to find out who was first. CPUs
	 * that fill their caches by a word's worth of pages have it for themselves.
	 */
	struct {
		atomic_long_t word ____cacheline_aligned_in_smp;
	} owned[EXMEM_REGION_PAGES / BITS_PER_LONG];
};

nodemask_t exmem_pool_nodes __ro_after_init;
struct exmem_node *exmem_nodes[MAX_NUMNODES] __ro_after_init;

/* Regions by pfn >> EXMEM_REGION_SHIFT; they never go away. */
static DEFINE_XARRAY(exmem_regions);

struct exmem_region *exmem_region_of(const struct page *page)
{
	return xa_load(&exmem_regions, page_to_pfn(page) >> EXMEM_REGION_SHIFT);
}

/* The same, for a page that is known to be ours. */
static struct exmem_region *exmem_page_region(const struct page *page)
{
	return (struct exmem_region *)page->index;
}

/**
 * page_is_exmem - is this page exclusive memory?
 * @page: any page
 *
 * Context: Any context.
 * Return: true if @page belongs to the pool, free or in use.
 */
bool page_is_exmem(const struct page *page)
{
	return PageOffline(page) && exmem_region_of(page);
}
EXPORT_SYMBOL_GPL(page_is_exmem);

/* How many of @nr pages there are before the first one that memory_failure() marked. */
unsigned long exmem_good_pages(const struct page *page, unsigned long nr)
{
	unsigned long i = 0;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE) || !atomic_long_read(&num_poisoned_pages))
		return nr;
	/* It marks first and counts then: what it is done with is seen here. */
	smp_rmb();
	while (i < nr && !PageHWPoison(page + i))
		i++;
	return i;
}

/* The part of [at, end) that lies in one word of a bitmap, as a mask. */
static unsigned long exmem_word(unsigned int at, unsigned int end)
{
	unsigned int last = min(end - 1, at | (BITS_PER_LONG - 1));

	return GENMASK(last % BITS_PER_LONG, at % BITS_PER_LONG);
}

static void exmem_region_own(struct exmem_region *region, unsigned int at, unsigned int end)
{
	for (; at < end; at = (at | (BITS_PER_LONG - 1)) + 1)
		atomic_long_or(exmem_word(at, end), &region->owned[at / BITS_PER_LONG].word);
}

/* Note that @nr pages of one region are handed out. */
void exmem_own(struct page *page, unsigned long nr)
{
	unsigned int at = page_to_pfn(page) % EXMEM_REGION_PAGES;

	exmem_region_own(exmem_page_region(page), at, at + nr);
}

/*
 * End the ownership of @nr pages of @region. False, and nothing has changed, if
 * one of them isn't handed out: of two that free a page at the same time one is
 * refused before it touches anything.
 */
bool exmem_disown(struct exmem_region *region, struct page *page, unsigned long nr)
{
	unsigned int start = page_to_pfn(page) % EXMEM_REGION_PAGES;
	unsigned int at, end = start + nr;

	for (at = start; at < end; at = (at | (BITS_PER_LONG - 1)) + 1) {
		atomic_long_t *word = &region->owned[at / BITS_PER_LONG].word;
		unsigned long mask = exmem_word(at, end);
		unsigned long owned = atomic_long_fetch_andnot(mask, word) & mask;

		if (owned != mask) {
			atomic_long_or(owned, word);
			exmem_region_own(region, start, at);
			return false;
		}
	}
	return true;
}

/* Hang @region where its longest run says. */
static void exmem_region_rebin(struct exmem_node *node, struct exmem_region *region)
{
	if (region->longest)
		list_move(&region->list, &node->bins[ilog2(region->longest)]);
	else
		list_del_init(&region->list);
}

static void exmem_region_use(struct exmem_node *node, struct exmem_region *region,
			     unsigned long start, unsigned long nr)
{
	unsigned long from, to;

	bitmap_set(region->used, start, nr);
	region->longest = 0;
	for_each_clear_bitrange(from, to, region->used, EXMEM_REGION_PAGES)
		region->longest = max_t(unsigned int, region->longest, to - from);
	exmem_region_rebin(node, region);
}

/* A region that has @nr free pages in a row, or else one that comes near. */
static struct exmem_region *exmem_pick_region(struct exmem_node *node, unsigned long nr)
{
	int want = ilog2(min(nr, EXMEM_REGION_PAGES));
	struct exmem_region *region;
	int bin;

	/* In the first bin not all have a run as long, in the next ones they do. */
	region = list_first_entry_or_null(&node->bins[want], struct exmem_region, list);
	if (region && region->longest >= nr)
		return region;
	for (bin = want + 1; bin <= EXMEM_REGION_SHIFT; bin++)
		if (!list_empty(&node->bins[bin]))
			goto found;
	for (bin = want; bin >= 0; bin--)
		if (!list_empty(&node->bins[bin]))
			goto found;
	return NULL;
found:
	return list_first_entry(&node->bins[bin], struct exmem_region, list);
}

/*
 * Take one run of at most @nr claimed pages. If the first page of what was
 * found is poisoned, it is retired, and nothing is taken.
 */
static unsigned long exmem_take_run(struct exmem_node *node, unsigned long nr,
				    struct list_head *runs)
{
	struct exmem_region *region = exmem_pick_region(node, nr);
	unsigned long start, good;
	struct page *page;

	lockdep_assert_held(&node->lock);

	nr = min(nr, region->longest);
	start = bitmap_find_next_zero_area(region->used, EXMEM_REGION_PAGES, 0, nr, 0);
	page = pfn_to_page(region->pfn + start);

	good = exmem_good_pages(page, nr);
	exmem_region_use(node, region, start, good ?: 1);
	if (good) {
		set_page_private(page, good);
		list_add_tail(&page->lru, runs);
	} else {
		node->nr_poisoned++;
	}
	return good;
}

static void exmem_region_unuse(struct exmem_node *node, struct exmem_region *region,
			       unsigned long start, unsigned long nr)
{
	unsigned long from, to;

	bitmap_clear(region->used, start, nr);
	/* What is free on both sides of them makes one run with them. */
	from = find_last_bit(region->used, start);
	from = from < start ? from + 1 : 0;
	to = find_next_bit(region->used, EXMEM_REGION_PAGES, start + nr);
	region->longest = max_t(unsigned int, region->longest, to - from);
	exmem_region_rebin(node, region);
	node->nr_free += nr;
}

/* Make free what is good of @nr pages of one region, and retire what is poisoned. */
void exmem_put_run(struct exmem_node *node, struct page *page, unsigned long nr)
{
	struct exmem_region *region = exmem_page_region(page);
	unsigned long start = page_to_pfn(page) - region->pfn;
	unsigned long end = start + nr, good;

	lockdep_assert_held(&node->lock);

	while (start < end) {
		good = exmem_good_pages(pfn_to_page(region->pfn + start), end - start);
		if (good)
			exmem_region_unuse(node, region, start, good);
		else
			node->nr_poisoned++;
		start += good ?: 1;
	}
}

/*
 * Take up to @nr pages from @node, but nothing if that would be fewer than
 * @least. Return how many. May sleep if @nr is EXMEM_RUNS_AT_ONCE or more.
 */
unsigned long exmem_node_take(struct exmem_node *node, unsigned long nr, unsigned long least,
			      struct list_head *runs)
{
	unsigned long claim, got, taken = 0;
	unsigned int taken_runs = 0;
	struct page *page, *next;
	LIST_HEAD(list);

	/* A node with too little need not be disturbed. */
	if (READ_ONCE(node->nr_free) < least)
		return 0;

	spin_lock(&node->lock);
	/* A claim always finds its pages: regions have all claims plus nr_free. */
	claim = min(nr, node->nr_free);
	if (claim < least)
		claim = 0;
	node->nr_free -= claim;
	node->peak = max(node->peak, node->nr_total - node->nr_poisoned - node->nr_free);
	while (claim) {
		got = exmem_take_run(node, claim, &list);
		taken += got;
		claim -= got;
		/* A page that was claimed has been retired: is there another? */
		if (!got && node->nr_free)
			node->nr_free--;
		else if (!got)
			claim--;
		if (got && ++taken_runs % EXMEM_RUNS_AT_ONCE == 0)
			cond_resched_lock(&node->lock);
	}
	if (taken < least) {
		list_for_each_entry_safe(page, next, &list, lru)
			exmem_put_run(node, page, page_private(page));
		INIT_LIST_HEAD(&list);
		taken = 0;
	}
	spin_unlock(&node->lock);

	list_splice_tail(&list, runs);
	return taken;
}

/*
 * Make @nr pages of one region free, which are zero. All but those that
 * memory_failure() marked: they are retired, and need not be zero.
 */
void exmem_node_put(struct page *page, unsigned long nr)
{
	struct exmem_node *node = exmem_nodes[page_to_nid(page)];

	spin_lock(&node->lock);
	exmem_put_run(node, page, nr);
	spin_unlock(&node->lock);
}

/* Make runs of pages free, which are zero. May sleep. */
void exmem_put_runs(struct list_head *runs)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, runs, lru) {
		list_del(&page->lru);
		exmem_node_put(page, page_private(page));
		cond_resched();
	}
}

/*
 * Clear all pages but those that memory_failure() marked. None is in use, and none
 * is going to be meanwhile.
 */
void exmem_clear_all(void)
{
	struct exmem_region *region;
	unsigned long index, at, good;
	struct page *page;

	xa_for_each(&exmem_regions, index, region) {
		page = pfn_to_page(region->pfn);
		for (at = 0; at < EXMEM_REGION_PAGES; at += good + 1) {
			good = exmem_good_pages(page + at, EXMEM_REGION_PAGES - at);
			exmem_arch_clear(page + at, good);
		}
		cond_resched();
	}
}

static struct exmem_node * __init exmem_node_create(int nid)
{
	struct exmem_node *node = exmem_nodes[nid];
	int bin;

	if (node)
		return node;

	node = kzalloc_node(sizeof(*node), GFP_KERNEL, nid);
	if (!node)
		return NULL;
	exmem_nodes[nid] = node;
	/* The lock's name in lock_stat. */
	spin_lock_init(&exmem_nodes[nid]->lock);
	for (bin = 0; bin <= EXMEM_REGION_SHIFT; bin++)
		INIT_LIST_HEAD(&node->bins[bin]);
	return node;
}

/*
 * PageOffline tells those who read memory by pfn (/proc/kcore, hibernation,
 * makedumpfile) to leave the page alone. A reference count of zero keeps
 * everybody from taking a reference: KVM and VFIO map the pages behind a
 * VM_PFNMAP only if they can, or if the page is reserved.
 */
static void __init exmem_prepare_page(struct page *page, struct exmem_region *region)
{
	struct folio *folio = page_folio(page);

	page->index = (unsigned long)region;
	__folio_clear_reserved(folio);
	set_page_count(page, 0);
	__folio_set_offline(folio);
}

static int __init exmem_region_add(struct exmem_node *node, struct exmem_region *region,
				   struct page *page)
{
	unsigned long i;
	int ret;

	region->pfn = page_to_pfn(page);
	INIT_LIST_HEAD(&region->list);
	bitmap_fill(region->used, EXMEM_REGION_PAGES);

	ret = xa_err(xa_store(&exmem_regions, region->pfn >> EXMEM_REGION_SHIFT, region,
			      GFP_KERNEL));
	if (ret)
		return ret;

	for (i = 0; i < EXMEM_REGION_PAGES; i++)
		exmem_prepare_page(page + i, region);
	exmem_arch_clear(page, EXMEM_REGION_PAGES);
	node->nr_total += EXMEM_REGION_PAGES;
	exmem_node_put(page, EXMEM_REGION_PAGES);
	return 0;
}

/*
 * Add @nr pages from @page, all on one node, to the pool. On failure the pool
 * has some of them or none; nobody else may have any.
 */
int __init exmem_pool_add(struct page *page, unsigned long nr, struct exmem_splits *splits)
{
	struct exmem_node *node = exmem_node_create(page_to_nid(page));
	unsigned long i, nr_regions = nr / EXMEM_REGION_PAGES;
	struct exmem_region *regions;
	int ret;

	regions = kvcalloc(nr_regions, sizeof(*regions), GFP_KERNEL);
	if (!node || !regions) {
		kvfree(regions);
		return -ENOMEM;
	}

	ret = exmem_arch_unmap(page, nr, splits);
	if (ret) {
		kvfree(regions);
		return ret;
	}
	node->splits.pmd += splits->pmd;
	node->splits.pud += splits->pud;
	node_set(page_to_nid(page), exmem_pool_nodes);

	for (i = 0; !ret && i < nr_regions; i++) {
		ret = exmem_region_add(node, &regions[i], page + i * EXMEM_REGION_PAGES);
		cond_resched();
	}
	return ret;
}

/* With no references to its pages, a memory block looks as if it could go. */
static int exmem_memory_notify(struct notifier_block *nb, unsigned long action, void *data)
{
	struct memory_notify *mn = data;
	unsigned long index = mn->start_pfn >> EXMEM_REGION_SHIFT;
	unsigned long last = (mn->start_pfn + mn->nr_pages - 1) >> EXMEM_REGION_SHIFT;

	if (action == MEM_GOING_OFFLINE && xa_find(&exmem_regions, &index, last, XA_PRESENT))
		return notifier_from_errno(-EBUSY);
	return NOTIFY_OK;
}

static int __init exmem_region_init(void)
{
	if (nodes_empty(exmem_pool_nodes))
		return 0;
	return hotplug_memory_notifier(exmem_memory_notify, DEFAULT_CALLBACK_PRI);
}
core_initcall(exmem_region_init);
