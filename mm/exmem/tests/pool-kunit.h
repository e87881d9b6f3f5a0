/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unit tests for the pool of exclusive memory; included by pool.c.
 *
 * They run at boot on the pool that exmem= set up, before anybody else uses it.
 */
#include <kunit/test.h>
#include <linux/prandom.h>
#include <linux/set_memory.h>
#include <linux/vmalloc.h>

static long exmem_test_free(void)
{
	return atomic_long_read(&exmem_nr_free);
}

static struct page *exmem_test_take(struct kunit *test, unsigned long nr)
{
	LIST_HEAD(runs);
	struct page *page;

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(nr, &runs), 0);
	page = list_first_entry(&runs, struct page, lru);
	/* The callers below ask for what an empty pool has in one piece. */
	KUNIT_ASSERT_EQ(test, page_private(page), nr);
	KUNIT_ASSERT_TRUE(test, list_is_singular(&runs));
	return page;
}

/* The direct map does not have these pages: map them for the test. */
static void *exmem_test_map(struct kunit *test, struct page *page, unsigned long nr)
{
	struct page *pages[64];
	unsigned long i;
	void *addr;

	KUNIT_ASSERT_LE(test, nr, ARRAY_SIZE(pages));
	for (i = 0; i < nr; i++)
		pages[i] = page + i;
	addr = vmap(pages, nr, VM_MAP, PAGE_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	return addr;
}

static void exmem_test_dirty(struct kunit *test, struct page *page, unsigned long nr)
{
	void *addr = exmem_test_map(test, page, nr);

	memset(addr, 0xa5, nr * PAGE_SIZE);
	vunmap(addr);
}

static void exmem_test_expect_zero(struct kunit *test, struct page *page, unsigned long nr)
{
	void *addr = exmem_test_map(test, page, nr);

	KUNIT_EXPECT_NULL(test, memchr_inv(addr, 0, nr * PAGE_SIZE));
	vunmap(addr);
}

/* Every page once, in runs that do not overlap, each one marked as it must be. */
static void exmem_test_one_owner(struct kunit *test)
{
	unsigned long i, nr, total = exmem_nr_total;
	struct xarray seen;
	struct page *page;
	LIST_HEAD(runs);

	xa_init(&seen);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(total, &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), 0);

	list_for_each_entry(page, &runs, lru) {
		nr = page_private(page);
		for (i = 0; i < nr; i++) {
			KUNIT_EXPECT_TRUE(test, page_is_exmem(page + i));
			KUNIT_EXPECT_FALSE(test, PageReserved(page + i));
			KUNIT_EXPECT_EQ(test, page_count(page + i), 0);
			KUNIT_EXPECT_EQ(test, xa_insert(&seen, page_to_pfn(page + i), page,
							GFP_KERNEL), 0);
		}
		total -= nr;
	}
	KUNIT_EXPECT_EQ(test, total, 0);

	xa_destroy(&seen);
	exmem_free_runs(&runs);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_nr_total);
}

static void exmem_test_exhaustion(struct kunit *test)
{
	unsigned long total = exmem_nr_total;
	LIST_HEAD(runs);
	LIST_HEAD(more);

	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(total + 1, &more), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(ULONG_MAX, &more), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(total - 1, &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(2, &more), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), 1);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(1, &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(1, &more), -ENOMEM);
	KUNIT_EXPECT_TRUE(test, list_empty(&more));

	exmem_free_runs(&runs);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);
}

/* Small requests fill what is open; large ones find whole regions. */
static void exmem_test_packing(struct kunit *test)
{
	struct page *one = exmem_test_take(test, 1);
	struct page *two = exmem_test_take(test, 1);
	struct page *region = exmem_test_take(test, EXMEM_REGION_PAGES);
	struct page *three = exmem_test_take(test, 1);

	KUNIT_EXPECT_PTR_EQ(test, exmem_region_of(one), exmem_region_of(two));
	KUNIT_EXPECT_PTR_EQ(test, exmem_region_of(one), exmem_region_of(three));
	KUNIT_EXPECT_PTR_NE(test, exmem_region_of(one), exmem_region_of(region));

	exmem_free_pages(one, 1);
	exmem_free_pages(two, 1);
	exmem_free_pages(three, 1);
	exmem_free_pages(region, EXMEM_REGION_PAGES);
}

/* A request larger than any hole is served in pieces. */
static void exmem_test_pieces(struct kunit *test)
{
	unsigned long i, total = exmem_nr_total;
	struct page *page, *next;
	LIST_HEAD(runs);
	LIST_HEAD(singles);

	for (i = 0; i < total; i++)
		KUNIT_ASSERT_EQ(test, exmem_alloc_pages(1, &singles), 0);

	i = 0;
	list_for_each_entry_safe(page, next, &singles, lru) {
		if (page_to_pfn(page) % 2)
			continue;
		list_del(&page->lru);
		exmem_free_pages(page, 1);
		i++;
	}
	KUNIT_EXPECT_EQ(test, i, total / 2);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(total / 2, &runs), 0);
	list_for_each_entry(page, &runs, lru)
		KUNIT_EXPECT_EQ(test, page_private(page), 1);

	exmem_free_runs(&runs);
	exmem_free_runs(&singles);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);
}

static void exmem_test_double_free(struct kunit *test)
{
	struct page *page = exmem_test_take(test, 4);
	struct page *foreign = alloc_page(GFP_KERNEL);
	long free;

	KUNIT_EXPECT_EQ(test, exmem_give_back(page, 2), 0);
	free = exmem_test_free();
	KUNIT_EXPECT_EQ(test, exmem_give_back(page, 2), -EINVAL);
	/* One page free, one not: nothing may change. */
	KUNIT_EXPECT_EQ(test, exmem_give_back(page + 1, 2), -EINVAL);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), free);
	KUNIT_EXPECT_EQ(test, exmem_give_back(page + 2, 2), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_nr_total);

	KUNIT_ASSERT_NOT_NULL(test, foreign);
	KUNIT_EXPECT_FALSE(test, page_is_exmem(foreign));
	KUNIT_EXPECT_EQ(test, exmem_give_back(foreign, 1), -EINVAL);
	__free_page(foreign);
}

static void exmem_test_zeroing(struct kunit *test)
{
	unsigned long i;
	struct page *page;
	LIST_HEAD(runs);

	page = exmem_test_take(test, 64);
	exmem_test_dirty(test, page, 64);
	exmem_free_pages(page, 64);

	/* Runs of an empty pool are whole regions. */
	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(exmem_nr_total, &runs), 0);
	list_for_each_entry(page, &runs, lru)
		for (i = 0; i < page_private(page); i += 64)
			exmem_test_expect_zero(test, page + i, 64);
	exmem_free_runs(&runs);
}

static void exmem_test_unmapped(struct kunit *test)
{
	unsigned long i;
	struct page *page;
	LIST_HEAD(runs);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(exmem_nr_total / 2, &runs), 0);
	list_for_each_entry(page, &runs, lru)
		for (i = 0; i < page_private(page); i++)
			KUNIT_EXPECT_FALSE(test, kernel_page_present(page + i));
	exmem_free_runs(&runs);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(exmem_nr_total, &runs), 0);
	list_for_each_entry(page, &runs, lru)
		for (i = 0; i < page_private(page); i++)
			KUNIT_EXPECT_FALSE(test, kernel_page_present(page + i));
	exmem_free_runs(&runs);
}

#define EXMEM_TEST_SLOTS	64
#define EXMEM_TEST_ROUNDS	20000

/* Requests of random size in random order; the model is a sum. */
static void exmem_test_random(struct kunit *test)
{
	unsigned long held[EXMEM_TEST_SLOTS] = {}, sum = 0, nr;
	struct list_head *slots;
	struct rnd_state rnd;
	int i, slot, ret;

	slots = kunit_kcalloc(test, EXMEM_TEST_SLOTS, sizeof(*slots), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slots);
	for (i = 0; i < EXMEM_TEST_SLOTS; i++)
		INIT_LIST_HEAD(&slots[i]);
	prandom_seed_state(&rnd, 42);

	for (i = 0; i < EXMEM_TEST_ROUNDS; i++) {
		slot = prandom_u32_state(&rnd) % EXMEM_TEST_SLOTS;
		if (held[slot]) {
			exmem_free_runs(&slots[slot]);
			sum -= held[slot];
			held[slot] = 0;
		} else {
			/* Mostly small, sometimes more than there is. */
			nr = 1 + prandom_u32_state(&rnd) % (1 << prandom_u32_state(&rnd) % 12);
			ret = exmem_alloc_pages(nr, &slots[slot]);
			KUNIT_ASSERT_EQ(test, ret, sum + nr > exmem_nr_total ? -ENOMEM : 0);
			held[slot] = ret ? 0 : nr;
			sum += held[slot];
		}
		KUNIT_ASSERT_EQ(test, exmem_test_free(), exmem_nr_total - sum);
	}

	for (i = 0; i < EXMEM_TEST_SLOTS; i++)
		exmem_free_runs(&slots[i]);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_nr_total);
}

static int exmem_test_init(struct kunit *test)
{
	if (exmem_nr_total < 4 * EXMEM_REGION_PAGES)
		kunit_skip(test, "needs exmem=8M or more");
	KUNIT_ASSERT_EQ(test, exmem_test_free(), exmem_nr_total);
	return 0;
}

static struct kunit_case exmem_test_cases[] = {
	KUNIT_CASE(exmem_test_one_owner),
	KUNIT_CASE(exmem_test_exhaustion),
	KUNIT_CASE(exmem_test_packing),
	KUNIT_CASE(exmem_test_pieces),
	KUNIT_CASE(exmem_test_double_free),
	KUNIT_CASE(exmem_test_zeroing),
	KUNIT_CASE(exmem_test_unmapped),
	KUNIT_CASE_SLOW(exmem_test_random),
	{}
};

static struct kunit_suite exmem_test_suite = {
	.name = "exmem",
	.init = exmem_test_init,
	.test_cases = exmem_test_cases,
};

kunit_test_suite(exmem_test_suite);
