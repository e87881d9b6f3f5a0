/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unit tests for regions and nodes; included by region.c.
 *
 * They run at boot, on a node of the pool that nobody has used yet.
 */
#include <linux/set_memory.h>

#include "exmem-kunit.h"

static int exmem_test_nid;

static unsigned long exmem_test_node_total(void)
{
	return exmem_nodes[exmem_test_nid]->nr_total;
}

static unsigned long exmem_test_node_free(void)
{
	return exmem_nodes[exmem_test_nid]->nr_free;
}

static void exmem_test_node_alloc(struct kunit *test, unsigned long nr, struct list_head *runs)
{
	KUNIT_ASSERT_EQ(test, exmem_node_alloc(exmem_test_nid, nr, nr, runs), nr);
}

static struct exmem_run *exmem_test_pop_run(void *runs)
{
	struct exmem_run *run = list_first_entry_or_null(runs, struct exmem_run, list);

	if (run)
		list_del(&run->list);
	return run;
}

static void exmem_test_node_free_runs(struct kunit *test, struct list_head *runs)
{
	KUNIT_ASSERT_TRUE(test, exmem_node_free_runs(exmem_test_nid, true, exmem_test_pop_run,
						     runs));
}

static struct page *exmem_test_node_alloc_run(struct kunit *test, unsigned long nr)
{
	LIST_HEAD(runs);

	exmem_test_node_alloc(test, nr, &runs);
	KUNIT_ASSERT_TRUE(test, list_is_singular(&runs));
	KUNIT_ASSERT_EQ(test, exmem_test_first_run(&runs)->nr, nr);
	return exmem_run_page(exmem_test_first_run(&runs));
}

static void exmem_test_node_alloc_singles(struct kunit *test, struct list_head *singles)
{
	unsigned long i, total = exmem_test_node_total();

	for (i = 0; i < total; i++)
		exmem_test_node_alloc(test, 1, singles);
	KUNIT_ASSERT_EQ(test, exmem_test_node_free(), 0);
}

static bool exmem_test_at_even_pfn(unsigned long pfn)
{
	return pfn % 2 == 0;
}

/* The first of 100 pages in the middle of a region. */
static unsigned long exmem_test_long_run_pfn;

static bool exmem_test_in_holes(unsigned long pfn)
{
	unsigned long offset = pfn % EXMEM_REGION_PAGES;

	return (offset < EXMEM_REGION_PAGES / 2 && offset % 2) ||
	       (pfn >= exmem_test_long_run_pfn && pfn < exmem_test_long_run_pfn + 100);
}

static unsigned long exmem_test_free_some(struct list_head *singles,
					  bool (*wanted)(unsigned long pfn))
{
	struct exmem_run *run, *next;
	unsigned long freed = 0;

	list_for_each_entry_safe(run, next, singles, list) {
		struct page *page = exmem_run_page(run);

		if (!wanted(page_to_pfn(page)))
			continue;
		list_del(&run->list);
		exmem_node_free(page, 1);
		freed++;
	}
	return freed;
}

/* Fragment the node: every other page stays in @singles, the rest are free. */
static void exmem_test_free_every_other(struct kunit *test, struct list_head *singles)
{
	exmem_test_node_alloc_singles(test, singles);
	KUNIT_EXPECT_EQ(test, exmem_test_free_some(singles, exmem_test_at_even_pfn),
			exmem_test_node_total() / 2);
}

/* Small requests go to the region that is in use already: others stay whole. */
static void exmem_test_best_fit(struct kunit *test)
{
	struct page *one = exmem_test_node_alloc_run(test, 1);
	struct page *two = exmem_test_node_alloc_run(test, 1);
	struct page *whole = exmem_test_node_alloc_run(test, EXMEM_REGION_PAGES);
	struct page *three = exmem_test_node_alloc_run(test, 100);

	KUNIT_EXPECT_PTR_EQ(test, exmem_find_region(one), exmem_find_region(two));
	KUNIT_EXPECT_PTR_EQ(test, exmem_find_region(one), exmem_find_region(three));
	KUNIT_EXPECT_PTR_NE(test, exmem_find_region(one), exmem_find_region(whole));

	exmem_node_free(one, 1);
	exmem_node_free(whole, EXMEM_REGION_PAGES);
	exmem_node_free(two, 1);
	exmem_node_free(three, 100);
}

/* A request for 100 pages uses the run of 110: not that of 70, nor a whole region. */
static void exmem_test_just_long_enough(struct kunit *test)
{
	struct page *most = exmem_test_node_alloc_run(test, EXMEM_REGION_PAGES - 110);
	struct page *more = exmem_test_node_alloc_run(test, EXMEM_REGION_PAGES - 70);
	struct page *page = exmem_test_node_alloc_run(test, 100);

	KUNIT_EXPECT_PTR_NE(test, exmem_find_region(most), exmem_find_region(more));
	KUNIT_EXPECT_PTR_EQ(test, exmem_find_region(most), exmem_find_region(page));
	exmem_node_free(page, 100);
	exmem_node_free(more, EXMEM_REGION_PAGES - 70);
	exmem_node_free(most, EXMEM_REGION_PAGES - 110);
}

/* The only broken region has a run of 70 pages: too short for 100. */
static void exmem_test_too_short(struct kunit *test)
{
	struct page *most = exmem_test_node_alloc_run(test, EXMEM_REGION_PAGES - 70);
	struct page *page = exmem_test_node_alloc_run(test, 100);

	KUNIT_EXPECT_PTR_NE(test, exmem_find_region(most), exmem_find_region(page));
	exmem_node_free(page, 100);
	exmem_node_free(most, EXMEM_REGION_PAGES - 70);
}

/* A request longer than any free run gets several runs. */
static void exmem_test_pieces(struct kunit *test)
{
	unsigned long total = exmem_test_node_total();
	struct exmem_run *run;
	LIST_HEAD(singles);
	LIST_HEAD(runs);

	exmem_test_free_every_other(test, &singles);
	exmem_test_node_alloc(test, total / 2, &runs);
	list_for_each_entry(run, &runs, list)
		KUNIT_EXPECT_EQ(test, run->nr, 1);

	exmem_test_node_free_runs(test, &runs);
	exmem_test_node_free_runs(test, &singles);
}

/* A task that is being killed stops early, with the pages that it has, or with none. */
static void exmem_test_killed(struct kunit *test)
{
	unsigned long few, none, left, free = exmem_test_node_total() / 2;
	LIST_HEAD(singles);
	LIST_HEAD(runs);

	exmem_test_free_every_other(test, &singles);
	exmem_test_set_killed(true);
	none = exmem_node_alloc(exmem_test_nid, free, free, &runs);
	left = exmem_test_node_free();
	few = exmem_node_alloc(exmem_test_nid, free, 1, &runs);
	exmem_test_set_killed(false);
	KUNIT_EXPECT_EQ(test, none, 0);
	KUNIT_EXPECT_EQ(test, left, free);
	KUNIT_EXPECT_EQ(test, few, EXMEM_RUNS_AT_ONCE);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&runs), few);
	KUNIT_EXPECT_EQ(test, exmem_test_node_free(), free - few);
	exmem_test_node_free_runs(test, &runs);
	exmem_test_node_free_runs(test, &singles);
}

/* A fragmented node finds its one long run. */
static void exmem_test_long_run(struct kunit *test)
{
	struct page *page;
	LIST_HEAD(singles);

	exmem_test_node_alloc_singles(test, &singles);
	page = exmem_run_page(exmem_test_first_run(&singles));
	exmem_test_long_run_pfn = exmem_find_region(page)->pfn + 300;
	exmem_test_free_some(&singles, exmem_test_in_holes);

	page = exmem_test_node_alloc_run(test, 90);
	KUNIT_EXPECT_GE(test, page_to_pfn(page), exmem_test_long_run_pfn);
	KUNIT_EXPECT_LE(test, page_to_pfn(page), exmem_test_long_run_pfn + 10);
	exmem_node_free(page, 90);
	exmem_test_node_free_runs(test, &singles);
}

/* Nothing below @least; otherwise all that is free, up to @nr. */
static void exmem_test_least(struct kunit *test)
{
	unsigned long total = exmem_test_node_total();
	struct page *page = exmem_test_node_alloc_run(test, 3);
	LIST_HEAD(runs);

	KUNIT_EXPECT_EQ(test, exmem_node_alloc(exmem_test_nid, total, total - 2, &runs), 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&runs));
	KUNIT_EXPECT_EQ(test, exmem_test_node_free(), total - 3);
	KUNIT_EXPECT_EQ(test, exmem_node_alloc(exmem_test_nid, total, 1, &runs), total - 3);
	KUNIT_EXPECT_EQ(test, exmem_test_node_free(), 0);
	KUNIT_EXPECT_EQ(test, exmem_node_alloc(exmem_test_nid, 1, 1, &runs), 0);
	exmem_test_node_free_runs(test, &runs);
	exmem_node_free(page, 3);
}

static void exmem_test_busy_lock(struct kunit *test)
{
	unsigned long free = exmem_test_node_free();
	spinlock_t *lock = &exmem_nodes[exmem_test_nid]->lock;
	LIST_HEAD(runs);
	bool freed;

	if (!IS_ENABLED(CONFIG_SMP))
		kunit_skip(test, "needs SMP");
	exmem_test_node_alloc(test, 1, &runs);
	spin_lock(lock);
	freed = exmem_node_free_runs(exmem_test_nid, false, exmem_test_pop_run, &runs);
	spin_unlock(lock);
	KUNIT_EXPECT_FALSE(test, freed);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&runs));
	KUNIT_EXPECT_EQ(test, exmem_test_node_free(), free - 1);
	KUNIT_EXPECT_TRUE(test, exmem_node_free_runs(exmem_test_nid, false, exmem_test_pop_run,
						     &runs));
	KUNIT_EXPECT_TRUE(test, list_empty(&runs));
}

/* Runs that cross words of the bitmap, with one page missing at each place in turn. */
static void exmem_test_allocated(struct kunit *test)
{
	struct page *page = exmem_test_node_alloc_run(test, EXMEM_REGION_PAGES);
	struct exmem_run *run = page_exmem_run(page + 60);
	unsigned long i;

	run->nr = 140;
	exmem_mark_allocated(run);
	for (i = 0; i < 140; i++) {
		KUNIT_EXPECT_TRUE(test, exmem_clear_allocated(page + 60 + i, 1));
		KUNIT_EXPECT_FALSE(test, exmem_clear_allocated(page + 60 + i, 1));
		KUNIT_EXPECT_FALSE(test, exmem_clear_allocated(page + 60, 140));
		exmem_set_allocated(exmem_find_region(page), 60 + i, 61 + i);
	}
	KUNIT_EXPECT_FALSE(test, exmem_clear_allocated(page + 59, 141));
	KUNIT_EXPECT_FALSE(test, exmem_clear_allocated(page + 60, 141));
	KUNIT_EXPECT_FALSE(test, exmem_clear_allocated(page + 60, ULONG_MAX));
	KUNIT_EXPECT_TRUE(test, exmem_clear_allocated(page + 60, 140));

	/* No owner's pages reach into the next region. */
	exmem_set_allocated(exmem_find_region(page), 500, EXMEM_REGION_PAGES);
	KUNIT_EXPECT_FALSE(test, exmem_clear_allocated(page + 500, 13));
	KUNIT_EXPECT_TRUE(test, exmem_clear_allocated(page + 500, 12));
	exmem_node_free(page, EXMEM_REGION_PAGES);
}

static void exmem_test_unmapped(struct kunit *test)
{
	struct exmem_region *region;
	unsigned long index, i;

	xa_for_each(&exmem_regions, index, region)
		for (i = 0; i < EXMEM_REGION_PAGES; i++)
			KUNIT_EXPECT_FALSE(test,
					   kernel_page_present(pfn_to_page(region->pfn + i)));
}

/* Both ways from a page to its region; and none from a foreign page. */
static void exmem_test_find_region(struct kunit *test)
{
	struct page *foreign = alloc_page(GFP_KERNEL);
	struct exmem_region *region;
	unsigned long index, i;

	xa_for_each(&exmem_regions, index, region) {
		for (i = 0; i < EXMEM_REGION_PAGES; i++) {
			struct page *page = pfn_to_page(region->pfn + i);

			KUNIT_EXPECT_PTR_EQ(test, exmem_find_region(page), region);
			KUNIT_EXPECT_PTR_EQ(test, page_exmem_run(page)->region, region);
		}
	}
	KUNIT_ASSERT_NOT_NULL(test, foreign);
	KUNIT_EXPECT_NULL(test, exmem_find_region(foreign));
	KUNIT_EXPECT_FALSE(test, exmem_clear_allocated(foreign, 1));
	__free_page(foreign);
}

/* Another kernel may leave anything in free pages. */
static void exmem_test_clear_regions(struct kunit *test)
{
	struct page *page = exmem_test_node_alloc_run(test, EXMEM_REGION_PAGES);
	struct page *last = page + EXMEM_REGION_PAGES - EXMEM_TEST_MAX_PAGES;

	exmem_node_free(page, EXMEM_REGION_PAGES);
	exmem_test_dirty(test, page, EXMEM_TEST_MAX_PAGES);
	exmem_test_dirty(test, last, EXMEM_TEST_MAX_PAGES);
	exmem_clear_regions();
	exmem_test_expect_zero(test, page, EXMEM_TEST_MAX_PAGES);
	exmem_test_expect_zero(test, last, EXMEM_TEST_MAX_PAGES);
}

#ifdef CONFIG_MEMORY_FAILURE
void exmem_test_unpoison(struct kunit *test, struct page *page)
{
	struct exmem_node *node = exmem_nodes[page_to_nid(page)];

	KUNIT_EXPECT_TRUE(test, TestClearPageHWPoison(page));
	num_poisoned_pages_sub(page_to_pfn(page), 1);
	spin_lock(&node->lock);
	node->nr_poisoned--;
	spin_unlock(&node->lock);
	exmem_arch_clear(page, 1);
	exmem_node_free(page, 1);
}

/* A poisoned page splits the run around it, and is retired by alloc or by free. */
static void exmem_test_poison(struct kunit *test)
{
	unsigned long total = exmem_test_node_total();
	struct exmem_node_stats stats;
	struct page *page;
	LIST_HEAD(runs);

	page = exmem_test_node_alloc_run(test, 16);
	memory_failure(page_to_pfn(page + 5), MF_SW_SIMULATED);
	KUNIT_EXPECT_EQ(test, exmem_unpoisoned_prefix(page, 16), 5);
	KUNIT_EXPECT_EQ(test, exmem_unpoisoned_prefix(page, 5), 5);
	KUNIT_EXPECT_EQ(test, exmem_unpoisoned_prefix(page + 5, 1), 0);
	exmem_node_free(page, 16);
	exmem_node_read_stats(exmem_test_nid, &stats);
	KUNIT_EXPECT_EQ(test, stats.poisoned, 1);
	KUNIT_EXPECT_EQ(test, stats.free, total - 1);
	exmem_test_unpoison(test, page + 5);

	memory_failure(page_to_pfn(page + 5), MF_SW_SIMULATED);
	KUNIT_EXPECT_EQ(test, exmem_node_alloc(exmem_test_nid, total, 1, &runs), total - 1);
	exmem_node_read_stats(exmem_test_nid, &stats);
	KUNIT_EXPECT_EQ(test, stats.poisoned, 1);
	KUNIT_EXPECT_EQ(test, stats.free, 0);
	exmem_test_node_free_runs(test, &runs);
	exmem_test_unpoison(test, page + 5);
}
#endif /* CONFIG_MEMORY_FAILURE */

static int exmem_test_region_init(struct kunit *test)
{
	exmem_test_nid = first_node(exmem_pool_nodes);
	if (!exmem_enabled() || exmem_test_node_total() < 4 * EXMEM_REGION_PAGES)
		kunit_skip(test, "needs exmem=8M or more");
	if (exmem_test_node_free() != exmem_test_node_total())
		kunit_skip(test, "needs a pool that nobody has used yet");
	return 0;
}

static void exmem_test_region_exit(struct kunit *test)
{
	LIST_HEAD(runs);

	if (test->status == KUNIT_SKIPPED)
		return;
	KUNIT_EXPECT_EQ(test, exmem_test_node_free(), exmem_test_node_total());
	exmem_test_node_alloc(test, exmem_test_node_total(), &runs);
	exmem_test_node_free_runs(test, &runs);
}

static struct kunit_case exmem_test_region_cases[] = {
	KUNIT_CASE(exmem_test_best_fit),
	KUNIT_CASE(exmem_test_just_long_enough),
	KUNIT_CASE(exmem_test_too_short),
	KUNIT_CASE(exmem_test_pieces),
	KUNIT_CASE(exmem_test_killed),
	KUNIT_CASE(exmem_test_long_run),
	KUNIT_CASE(exmem_test_least),
	KUNIT_CASE(exmem_test_busy_lock),
	KUNIT_CASE(exmem_test_allocated),
	KUNIT_CASE(exmem_test_unmapped),
	KUNIT_CASE(exmem_test_find_region),
	KUNIT_CASE(exmem_test_clear_regions),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(exmem_test_poison),
#endif
	{}
};

static struct kunit_suite exmem_test_region_suite = {
	.name = "exmem_region",
	.init = exmem_test_region_init,
	.exit = exmem_test_region_exit,
	.test_cases = exmem_test_region_cases,
};

kunit_test_suite(exmem_test_region_suite);
