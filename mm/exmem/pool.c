// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: the pool.
 *
 * Regions of PMD size that the direct map does not hold, and who may have
 * which of their pages. The pool knows nothing of files and users.
 *
 * A free page is zero: it is cleared on its way back, before anybody can get
 * it. Its contents are out of reach, so what is known of it stands beside it,
 * in a bitmap for each region. Regions with free pages hang in bins by how
 * many they have; small requests take from the fullest region that can serve
 * them, so that whole regions stay free for large ones.
 */
#define pr_fmt(fmt) "exmem: " fmt

#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/topology.h>
#include <linux/xarray.h>

#include "internal.h"

#define EXMEM_REGION_SHIFT	(PMD_SHIFT - PAGE_SHIFT)
#define EXMEM_NR_BINS		(EXMEM_REGION_SHIFT + 1)

struct exmem_region {
	struct list_head list;		/* in a bin, if it has free pages */
	unsigned long pfn;
	unsigned int nr_free;
	DECLARE_BITMAP(used, EXMEM_REGION_PAGES);	/* not free, or not yet */
	DECLARE_BITMAP(owned, EXMEM_REGION_PAGES);	/* handed out */
};

struct exmem_node {
	/* Protects the bins, and all but the pfn of the regions on this node. */
	spinlock_t lock;
	/* Regions with at least 2^n and less than 2^(n+1) free pages. */
	struct list_head bins[EXMEM_NR_BINS];
};

static struct exmem_node *exmem_nodes[MAX_NUMNODES] __ro_after_init;
static unsigned long exmem_nr_total __ro_after_init;
static struct exmem_splits exmem_splits __ro_after_init;

/* Regions by pfn >> EXMEM_REGION_SHIFT; they never go away. */
static DEFINE_XARRAY(exmem_regions);

/*
 * Free pages that nobody has laid claim to. A request subtracts all it wants
 * before it looks for pages, and a page counts after it has become free: the
 * regions never have fewer free pages than all claims together.
 */
static atomic_long_t exmem_nr_free;

static struct exmem_region *exmem_region_of(const struct page *page)
{
	return xa_load(&exmem_regions, page_to_pfn(page) >> EXMEM_REGION_SHIFT);
}

/* Hang @region where its number of free pages says. */
static void exmem_region_rebin(struct exmem_node *node, struct exmem_region *region)
{
	lockdep_assert_held(&node->lock);

	if (region->nr_free)
		list_move(&region->list, &node->bins[ilog2(region->nr_free)]);
	else
		list_del_init(&region->list);
}

/* The fullest region that may hold @nr pages in a row, or the emptiest of all. */
static struct exmem_region *exmem_pick_region(struct exmem_node *node, unsigned long nr)
{
	int want = ilog2(min(nr, EXMEM_REGION_PAGES));
	int bin;

	lockdep_assert_held(&node->lock);

	for (bin = want; bin < EXMEM_NR_BINS; bin++)
		if (!list_empty(&node->bins[bin]))
			goto found;
	for (bin = want - 1; bin >= 0; bin--)
		if (!list_empty(&node->bins[bin]))
			goto found;
	return NULL;
found:
	return list_first_entry(&node->bins[bin], struct exmem_region, list);
}

/* Take @nr pages in a row or, where @region has no such room, its first row. */
static struct page *exmem_region_take(struct exmem_node *node, struct exmem_region *region,
				      unsigned long *nr)
{
	unsigned long start;

	*nr = min(*nr, EXMEM_REGION_PAGES);
	start = bitmap_find_next_zero_area(region->used, EXMEM_REGION_PAGES, 0, *nr, 0);
	if (start >= EXMEM_REGION_PAGES) {
		start = find_first_zero_bit(region->used, EXMEM_REGION_PAGES);
		*nr = find_next_bit(region->used, EXMEM_REGION_PAGES, start) - start;
	}

	bitmap_set(region->used, start, *nr);
	bitmap_set(region->owned, start, *nr);
	region->nr_free -= *nr;
	exmem_region_rebin(node, region);
	return pfn_to_page(region->pfn + start);
}

/* Take one run of at most @nr pages from @node; return how many. */
static unsigned long exmem_node_take(struct exmem_node *node, unsigned long nr,
				     struct list_head *runs)
{
	struct exmem_region *region;
	struct page *page = NULL;

	spin_lock(&node->lock);
	region = exmem_pick_region(node, nr);
	if (region)
		page = exmem_region_take(node, region, &nr);
	spin_unlock(&node->lock);
	if (!page)
		return 0;

	set_page_private(page, nr);
	list_add_tail(&page->lru, runs);
	return nr;
}

/* Take one run from the nearest node that has free pages. */
static unsigned long exmem_take(unsigned long nr, struct list_head *runs)
{
	unsigned long taken = 0;
	int nid = numa_mem_id();

	if (exmem_nodes[nid])
		taken = exmem_node_take(exmem_nodes[nid], nr, runs);
	if (taken)
		return taken;

	for_each_online_node(nid) {
		if (exmem_nodes[nid])
			taken = exmem_node_take(exmem_nodes[nid], nr, runs);
		if (taken)
			break;
	}
	return taken;
}

static bool exmem_claim(unsigned long nr)
{
	long free = atomic_long_read(&exmem_nr_free);

	do {
		if (nr > free)
			return false;
	} while (!atomic_long_try_cmpxchg(&exmem_nr_free, &free, free - nr));
	return true;
}

/**
 * exmem_alloc_pages - take pages out of the pool
 * @nr: number of pages
 * @runs: list that the pages are added to
 *
 * The pages come as runs of contiguous ones. The first page of each run is
 * linked into @runs by its ->lru, and page_private() of it is the number of
 * pages in the run; both are the caller's to reuse once it has read them. All
 * pages are zero. They have no mapping in the kernel, and a reference count of
 * zero: they may be mapped as raw pfns only.
 *
 * Context: Process context, no locks required. Does not sleep.
 * Return: 0, or -ENOMEM if the pool has fewer than @nr free pages; nothing is
 * taken then.
 */
int exmem_alloc_pages(unsigned long nr, struct list_head *runs)
{
	if (!exmem_claim(nr))
		return -ENOMEM;

	/*
	 * The claim holds, but what it stands for may move to a node that was
	 * already looked at.
	 */
	while (nr)
		nr -= exmem_take(nr, runs);
	return 0;
}
EXPORT_SYMBOL_GPL(exmem_alloc_pages);

/* End the ownership of @nr pages; false if they weren't handed out. */
static bool exmem_region_disown(struct exmem_node *node, struct exmem_region *region,
				unsigned long start, unsigned long nr)
{
	bool owned;

	spin_lock(&node->lock);
	owned = find_next_zero_bit(region->owned, start + nr, start) >= start + nr;
	if (owned)
		bitmap_clear(region->owned, start, nr);
	spin_unlock(&node->lock);
	return owned;
}

/*
 * Clear @nr pages of @region and make them free. While they are being cleared
 * nobody owns them and nobody can get them: of two that free a page at the same
 * time one is refused before it touches anything.
 */
static bool exmem_region_put(struct exmem_region *region, unsigned long start,
			     unsigned long nr)
{
	struct page *page = pfn_to_page(region->pfn + start);
	struct exmem_node *node = exmem_nodes[page_to_nid(page)];

	if (!exmem_region_disown(node, region, start, nr))
		return false;

	exmem_arch_clear(page, nr);

	spin_lock(&node->lock);
	bitmap_clear(region->used, start, nr);
	region->nr_free += nr;
	exmem_region_rebin(node, region);
	spin_unlock(&node->lock);
	return true;
}

static int exmem_give_back(struct page *page, unsigned long nr)
{
	while (nr) {
		struct exmem_region *region = exmem_region_of(page);
		unsigned long start, chunk;

		if (!region)
			return -EINVAL;
		start = page_to_pfn(page) - region->pfn;
		chunk = min(nr, EXMEM_REGION_PAGES - start);
		if (!exmem_region_put(region, start, chunk))
			return -EINVAL;
		atomic_long_add(chunk, &exmem_nr_free);
		page += chunk;
		nr -= chunk;
		cond_resched();
	}
	return 0;
}

/**
 * exmem_free_pages - clear pages and give them back to the pool
 * @page: first page
 * @nr: number of contiguous pages
 *
 * The caller owns the pages, and nothing maps them any more. Cannot fail, and
 * allocates nothing.
 *
 * Context: Process context. May sleep.
 */
void exmem_free_pages(struct page *page, unsigned long nr)
{
	might_sleep();
	WARN_ONCE(exmem_give_back(page, nr), "exmem: pfn %#lx, %lu pages: not handed out\n",
		  page_to_pfn(page), nr);
}
EXPORT_SYMBOL_GPL(exmem_free_pages);

/**
 * exmem_free_runs - give back what exmem_alloc_pages() added to a list
 * @runs: list of runs, empty afterwards
 *
 * Context: Process context. May sleep.
 */
void exmem_free_runs(struct list_head *runs)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, runs, lru) {
		list_del(&page->lru);
		exmem_free_pages(page, page_private(page));
	}
}
EXPORT_SYMBOL_GPL(exmem_free_runs);

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

/* The figures are each right, but not of one moment, while the pool is in use. */
void exmem_read_stats(struct exmem_stats *stats)
{
	stats->total = exmem_nr_total;
	stats->free = atomic_long_read(&exmem_nr_free);
	stats->splits = exmem_splits;
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
	spin_lock_init(&node->lock);
	for (bin = 0; bin < EXMEM_NR_BINS; bin++)
		INIT_LIST_HEAD(&node->bins[bin]);
	exmem_nodes[nid] = node;
	return node;
}

/*
 * PageOffline tells those who read memory by pfn (/proc/kcore, hibernation,
 * makedumpfile) to leave the page alone. A reference count of zero keeps
 * everybody from taking a reference: KVM and VFIO map the pages behind a
 * VM_PFNMAP only if they can, or if the page is reserved.
 */
static void __init exmem_prepare_page(struct page *page)
{
	struct folio *folio = page_folio(page);

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
	region->nr_free = EXMEM_REGION_PAGES;
	INIT_LIST_HEAD(&region->list);

	ret = xa_err(xa_store(&exmem_regions, region->pfn >> EXMEM_REGION_SHIFT, region,
			      GFP_KERNEL));
	if (ret)
		return ret;

	for (i = 0; i < EXMEM_REGION_PAGES; i++)
		exmem_prepare_page(page + i);
	exmem_arch_clear(page, EXMEM_REGION_PAGES);

	spin_lock(&node->lock);
	exmem_region_rebin(node, region);
	spin_unlock(&node->lock);
	exmem_nr_total += EXMEM_REGION_PAGES;
	atomic_long_add(EXMEM_REGION_PAGES, &exmem_nr_free);
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
	exmem_splits.pmd += splits->pmd;
	exmem_splits.pud += splits->pud;

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

static int __init exmem_pool_init(void)
{
	if (!exmem_nr_total)
		return 0;
	return hotplug_memory_notifier(exmem_memory_notify, DEFAULT_CALLBACK_PRI);
}
core_initcall(exmem_pool_init);

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/pool-kunit.h"
#endif
