/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unit tests for shutdown; included by shutdown.c.
 *
 * They run at boot, while nobody else uses the pool, and leave all pages free and zero.
 */
#include "exmem-kunit.h"

static void exmem_test_clear_in_threads(struct kunit *test, unsigned long least)
{
	static struct exmem_clearing clearing;

	memset(&clearing, 0, sizeof(clearing));
	KUNIT_EXPECT_TRUE(test, exmem_clear_in_threads(&clearing));
	KUNIT_EXPECT_FALSE(test, clearing.late);
	KUNIT_EXPECT_EQ(test, atomic_read(&clearing.nr_threads), 0);
	KUNIT_EXPECT_GE(test, atomic_long_read(&clearing.nr_pages), least);
}

/* Pages in use, in several regions */
static void exmem_test_clear_in_use(struct kunit *test)
{
	struct page *single = exmem_test_alloc_dirty(test, 1);
	struct page *region, *page;
	LIST_HEAD(runs);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(EXMEM_REGION_PAGES, &runs), 0);
	region = exmem_run_page(exmem_test_first_run(&runs));
	for (page = region; page < region + EXMEM_REGION_PAGES; page += EXMEM_TEST_MAX_PAGES)
		exmem_test_dirty(test, page, EXMEM_TEST_MAX_PAGES);
	exmem_test_clear_in_threads(test, EXMEM_REGION_PAGES + 1);
	exmem_test_expect_zero(test, single, 1);
	for (page = region; page < region + EXMEM_REGION_PAGES; page += EXMEM_TEST_MAX_PAGES)
		exmem_test_expect_zero(test, page, EXMEM_TEST_MAX_PAGES);
	exmem_free_runs(&runs);
	exmem_free_pages(single, 1);
}

/* Free pages are zero already, and are not cleared again. */
static void exmem_test_leave_free(struct kunit *test)
{
	LIST_HEAD(runs);
	struct page *page;

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(EXMEM_REGION_PAGES, &runs), 0);
	page = exmem_run_page(exmem_test_first_run(&runs));
	exmem_free_runs(&runs);
	exmem_test_dirty(test, page, 1);
	exmem_test_clear_in_threads(test, 0);
	exmem_test_expect_dirty(test, page);
	exmem_arch_clear(page, 1);
}

static void exmem_test_too_late(struct kunit *test)
{
	struct exmem_clearing clearing = { .end = jiffies - 1 };

	spin_lock_init(&clearing.lock);
	KUNIT_EXPECT_NULL(test, exmem_next_region(&clearing));
	KUNIT_EXPECT_TRUE(test, clearing.late);

	/* No region is left, so it is not too late. */
	clearing = (struct exmem_clearing) { .next = ULONG_MAX, .end = jiffies - 1 };
	spin_lock_init(&clearing.lock);
	KUNIT_EXPECT_NULL(test, exmem_next_region(&clearing));
	KUNIT_EXPECT_FALSE(test, clearing.late);
}

#ifdef CONFIG_MEMORY_FAILURE
static void exmem_test_leave_poisoned(struct kunit *test)
{
	struct page *page = exmem_test_alloc_dirty(test, 3);

	memory_failure(page_to_pfn(page + 1), MF_SW_SIMULATED);
	exmem_test_clear_in_threads(test, 2);
	exmem_test_expect_zero(test, page, 1);
	exmem_test_expect_dirty(test, page + 1);
	exmem_test_expect_zero(test, page + 2, 1);
	exmem_free_pages(page, 3);
	exmem_test_unpoison(test, page + 1);
}
#endif

static int exmem_test_shutdown_init(struct kunit *test)
{
	if (!exmem_enabled())
		kunit_skip(test, "needs exmem=8M or more");
	if (exmem_active())
		kunit_skip(test, "needs a pool that nobody uses: it clears all pages in use");
	return 0;
}

static struct kunit_case exmem_test_shutdown_cases[] = {
	KUNIT_CASE(exmem_test_clear_in_use),
	KUNIT_CASE(exmem_test_leave_free),
	KUNIT_CASE(exmem_test_too_late),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(exmem_test_leave_poisoned),
#endif
	{}
};

static struct kunit_suite exmem_test_shutdown_suite = {
	.name = "exmem_shutdown",
	.init = exmem_test_shutdown_init,
	.test_cases = exmem_test_shutdown_cases,
};

kunit_test_suite(exmem_test_shutdown_suite);
