/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unit tests for memory objects; included by object.c.
 *
 * They run at boot, while nobody else uses the pool. Mappings need user memory, and
 * are left to the selftests.
 */
#include "exmem-kunit.h"

static unsigned long exmem_test_in_use(void)
{
	struct exmem_stats stats;

	exmem_read_stats(exmem_pool_nodemask(), &stats);
	return stats.total - stats.free;
}

static int exmem_test_alloc_range(struct exmem_object *obj, unsigned long first,
				  unsigned long last)
{
	LIST_HEAD(added);
	int ret;

	mutex_lock(&obj->lock);
	ret = exmem_alloc_range(obj, first, last, &added);
	mutex_unlock(&obj->lock);
	return ret;
}

static void exmem_test_free_range(struct exmem_object *obj, unsigned long first,
				  unsigned long last)
{
	LIST_HEAD(detached);

	exmem_detach_range(obj, first, last, &detached);
	exmem_clear_and_free(obj, &detached);
}

/* The page at @offset, or NULL in a hole. */
static struct page *exmem_test_page_at(struct exmem_object *obj, unsigned long offset)
{
	struct exmem_extent *extent = exmem_extent_first(obj, offset, offset);

	return extent ? extent->page + (offset - extent->offsets.start) : NULL;
}

static unsigned int exmem_test_nr_extents(struct exmem_object *obj)
{
	struct exmem_extent *extent;
	unsigned int nr = 0;

	for (extent = exmem_extent_first(obj, 0, ULONG_MAX); extent;
	     extent = exmem_extent_next(extent, 0, ULONG_MAX))
		nr++;
	return nr;
}

static void exmem_test_split(struct kunit *test)
{
	struct exmem_object *obj = test->priv;
	struct page *page;

	KUNIT_ASSERT_EQ(test, exmem_test_alloc_range(obj, 10, 25), 0);
	KUNIT_ASSERT_EQ(test, exmem_test_nr_extents(obj), 1);
	page = exmem_test_page_at(obj, 10);

	/* There is nothing to split at or outside of the extent's borders. */
	KUNIT_EXPECT_EQ(test, exmem_split_extent(obj, 10), 0);
	KUNIT_EXPECT_EQ(test, exmem_split_extent(obj, 26), 0);
	KUNIT_EXPECT_EQ(test, exmem_split_extent(obj, 9), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_nr_extents(obj), 1);

	KUNIT_EXPECT_EQ(test, exmem_split_extent(obj, 25), 0);
	KUNIT_EXPECT_EQ(test, exmem_split_extent(obj, 15), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_nr_extents(obj), 3);
	KUNIT_EXPECT_PTR_EQ(test, exmem_test_page_at(obj, 14), page + 4);
	KUNIT_EXPECT_PTR_EQ(test, exmem_test_page_at(obj, 15), page + 5);
	KUNIT_EXPECT_PTR_EQ(test, exmem_test_page_at(obj, 25), page + 15);
	KUNIT_EXPECT_NULL(test, exmem_test_page_at(obj, 26));
	KUNIT_EXPECT_EQ(test, obj->nr_pages, 16);
	KUNIT_EXPECT_EQ(test, exmem_test_in_use(), 16);
}

/* Pages that an object has stay where they are; only holes get new ones. */
static void exmem_test_holes(struct kunit *test)
{
	struct exmem_object *obj = test->priv;
	struct page *first, *last;

	KUNIT_ASSERT_EQ(test, exmem_test_alloc_range(obj, 0, 15), 0);
	first = exmem_test_page_at(obj, 4);
	last = exmem_test_page_at(obj, 10);
	KUNIT_ASSERT_EQ(test, exmem_split_extent(obj, 5), 0);
	KUNIT_ASSERT_EQ(test, exmem_split_extent(obj, 10), 0);
	exmem_test_free_range(obj, 5, 9);
	KUNIT_EXPECT_NULL(test, exmem_test_page_at(obj, 5));
	KUNIT_EXPECT_NULL(test, exmem_test_page_at(obj, 9));
	KUNIT_EXPECT_EQ(test, obj->nr_pages, 11);
	KUNIT_EXPECT_EQ(test, exmem_test_in_use(), 11);

	KUNIT_ASSERT_EQ(test, exmem_test_alloc_range(obj, 3, 19), 0);
	KUNIT_EXPECT_EQ(test, obj->nr_pages, 20);
	KUNIT_EXPECT_EQ(test, exmem_test_in_use(), 20);
	KUNIT_EXPECT_PTR_EQ(test, exmem_test_page_at(obj, 4), first);
	KUNIT_EXPECT_PTR_EQ(test, exmem_test_page_at(obj, 10), last);
	KUNIT_EXPECT_NOT_NULL(test, exmem_test_page_at(obj, 5));
	KUNIT_EXPECT_NOT_NULL(test, exmem_test_page_at(obj, 19));
	KUNIT_EXPECT_NULL(test, exmem_test_page_at(obj, 20));

	/* Nothing is missing any more. */
	KUNIT_EXPECT_EQ(test, exmem_test_alloc_range(obj, 0, 19), 0);
	KUNIT_EXPECT_EQ(test, obj->nr_pages, 20);
}

/* The first hole gets its pages, the second one can't: neither keeps any. */
static void exmem_test_undo(struct kunit *test)
{
	struct exmem_object *obj = test->priv;
	struct exmem_stats stats;
	struct page *page;

	exmem_read_stats(exmem_pool_nodemask(), &stats);
	KUNIT_ASSERT_EQ(test, exmem_test_alloc_range(obj, 8, 15), 0);
	page = exmem_test_page_at(obj, 8);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc_range(obj, 0, stats.total), -ENOMEM);
	KUNIT_EXPECT_EQ(test, obj->nr_pages, 8);
	KUNIT_EXPECT_EQ(test, exmem_test_nr_extents(obj), 1);
	KUNIT_EXPECT_PTR_EQ(test, exmem_test_page_at(obj, 8), page);
	KUNIT_EXPECT_EQ(test, exmem_test_in_use(), 8);

	/* All other pages are available. */
	KUNIT_EXPECT_EQ(test, exmem_test_alloc_range(obj, 0, stats.total - 1), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_in_use(), stats.total);
}

/* A task that is being killed stops between two holes, and keeps the pages of neither. */
static void exmem_test_killed(struct kunit *test)
{
	struct exmem_object *obj = test->priv;
	struct page *page;
	int ret;

	KUNIT_ASSERT_EQ(test, exmem_test_alloc_range(obj, 8, 15), 0);
	page = exmem_test_page_at(obj, 8);
	exmem_test_set_killed(true);
	ret = exmem_test_alloc_range(obj, 0, 23);
	exmem_test_set_killed(false);
	KUNIT_EXPECT_EQ(test, ret, -EINTR);
	KUNIT_EXPECT_EQ(test, obj->nr_pages, 8);
	KUNIT_EXPECT_EQ(test, exmem_test_nr_extents(obj), 1);
	KUNIT_EXPECT_PTR_EQ(test, exmem_test_page_at(obj, 8), page);
	KUNIT_EXPECT_EQ(test, exmem_test_in_use(), 8);
}

static void exmem_test_truncate(struct kunit *test)
{
	struct exmem_object *obj = test->priv;

	KUNIT_ASSERT_EQ(test, exmem_test_alloc_range(obj, 0, 9), 0);
	KUNIT_ASSERT_EQ(test, exmem_test_alloc_range(obj, 1000, 1009), 0);
	exmem_object_truncate(obj, 1010);
	KUNIT_EXPECT_EQ(test, obj->nr_pages, 20);
	exmem_object_truncate(obj, 5);
	KUNIT_EXPECT_EQ(test, obj->nr_pages, 5);
	KUNIT_EXPECT_NOT_NULL(test, exmem_test_page_at(obj, 4));
	KUNIT_EXPECT_NULL(test, exmem_test_page_at(obj, 5));
	KUNIT_EXPECT_EQ(test, exmem_test_in_use(), 5);
	exmem_object_truncate(obj, 0);
	KUNIT_EXPECT_EQ(test, exmem_test_in_use(), 0);
	/* The embedded extent is free for use again. */
	KUNIT_EXPECT_NULL(test, obj->first_extent.page);
}

/* Each page is charged and uncharged, also when a request fails. */
static void exmem_test_charge(struct kunit *test)
{
	struct exmem_object *obj = test->priv;
	struct exmem_account *account = &obj->account;
	struct exmem_stats stats;

	exmem_read_stats(exmem_pool_nodemask(), &stats);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc_range(obj, 4, 5), 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&account->nr_pages), 2);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc_range(obj, 0, 7), 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&account->nr_pages), 8);
	/* The first hole gets its pages, the second one can't. */
	exmem_object_truncate(obj, 3);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&account->nr_pages), 3);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc_range(obj, 10, 15), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc_range(obj, 0, stats.total), -ENOMEM);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&account->nr_pages), 9);
	exmem_object_truncate(obj, 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&account->nr_pages), 0);
}

/* Whole regions come at aligned offsets, and the gap before them is filled from the end. */
static void exmem_test_place(struct kunit *test)
{
	struct exmem_object *obj = test->priv;
	unsigned long offset;

	KUNIT_ASSERT_EQ(test, exmem_test_alloc_range(obj, 5, 5 + 2 * EXMEM_REGION_PAGES - 1), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_nr_extents(obj), 3);
	for (offset = 5; offset < 5 + 2 * EXMEM_REGION_PAGES; offset++)
		KUNIT_EXPECT_EQ(test, offset % EXMEM_REGION_PAGES,
				page_to_pfn(exmem_test_page_at(obj, offset)) % EXMEM_REGION_PAGES);
	exmem_test_free_range(obj, 5, ULONG_MAX);
	KUNIT_EXPECT_EQ(test, obj->nr_pages, 0);
}

static int exmem_test_object_init(struct kunit *test)
{
	struct exmem_stats stats;
	struct file *file;

	exmem_read_stats(exmem_pool_nodemask(), &stats);
	if (stats.total < 2048)
		kunit_skip(test, "needs exmem=8M or more");
	KUNIT_ASSERT_EQ(test, exmem_test_in_use(), 0);
	file = kunit_kzalloc(test, sizeof(*file), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, file);
	test->priv = exmem_object_create(false);
	KUNIT_ASSERT_NOT_NULL(test, test->priv);
	file->f_cred = get_current_cred();
	exmem_object_attach(test->priv, file, "kunit");
	return 0;
}

static void exmem_test_object_exit(struct kunit *test)
{
	struct exmem_object *obj = test->priv;
	struct file *file;

	if (obj) {
		file = obj->account.file;
		exmem_object_destroy(obj);
		put_cred(file->f_cred);
	}
	KUNIT_EXPECT_EQ(test, exmem_test_in_use(), 0);
}

static struct kunit_case exmem_test_object_cases[] = {
	KUNIT_CASE(exmem_test_split),
	KUNIT_CASE(exmem_test_holes),
	KUNIT_CASE(exmem_test_undo),
	KUNIT_CASE(exmem_test_killed),
	KUNIT_CASE(exmem_test_truncate),
	KUNIT_CASE(exmem_test_charge),
	KUNIT_CASE(exmem_test_place),
	{}
};

static struct kunit_suite exmem_test_object_suite = {
	.name = "exmem_object",
	.init = exmem_test_object_init,
	.exit = exmem_test_object_exit,
	.test_cases = exmem_test_object_cases,
};

kunit_test_suite(exmem_test_object_suite);
