/* SPDX-License-Identifier: GPL-2.0-only */
/* Helpers for the unit tests of exclusive memory. */
#ifndef _MM_EXMEM_TESTS_EXMEM_KUNIT_H
#define _MM_EXMEM_TESTS_EXMEM_KUNIT_H

#include <kunit/test.h>
#include <linux/exmem_pool.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/thread_info.h>
#include <linux/vmalloc.h>

#define EXMEM_TEST_MAX_PAGES	64

/* These pages are not in the direct map: map them for the test. */
static inline void *exmem_test_vmap(struct kunit *test, struct page *page, unsigned long nr)
{
	struct page *pages[EXMEM_TEST_MAX_PAGES];
	unsigned long i;
	void *addr;

	KUNIT_ASSERT_LE(test, nr, ARRAY_SIZE(pages));
	for (i = 0; i < nr; i++)
		pages[i] = page + i;
	addr = vmap(pages, nr, VM_MAP, PAGE_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	return addr;
}

static inline void exmem_test_dirty(struct kunit *test, struct page *page, unsigned long nr)
{
	void *addr = exmem_test_vmap(test, page, nr);

	memset(addr, 0xa5, nr * PAGE_SIZE);
	vunmap(addr);
}

static inline void exmem_test_expect_dirty(struct kunit *test, struct page *page)
{
	void *addr = exmem_test_vmap(test, page, 1);

	KUNIT_EXPECT_NULL(test, memchr_inv(addr, 0xa5, PAGE_SIZE));
	vunmap(addr);
}

static inline void exmem_test_expect_zero(struct kunit *test, struct page *page, unsigned long nr)
{
	void *addr = exmem_test_vmap(test, page, nr);

	KUNIT_EXPECT_NULL(test, memchr_inv(addr, 0, nr * PAGE_SIZE));
	vunmap(addr);
}

static inline struct exmem_run *exmem_test_first_run(struct list_head *runs)
{
	return list_first_entry(runs, struct exmem_run, list);
}

static inline struct page *exmem_test_alloc_dirty(struct kunit *test, unsigned long nr)
{
	struct page *page;
	LIST_HEAD(runs);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(nr, &runs), 0);
	KUNIT_ASSERT_TRUE(test, list_is_singular(&runs));
	page = exmem_run_page(exmem_test_first_run(&runs));
	exmem_test_dirty(test, page, nr);
	return page;
}

/* Makes the current task look as if it were being killed, or no longer. */
static inline void exmem_test_set_killed(bool killed)
{
	if (killed)
		sigaddset(&current->pending.signal, SIGKILL);
	else
		sigdelset(&current->pending.signal, SIGKILL);
	update_thread_flag(TIF_SIGPENDING, killed);
}

/* region-kunit.h: free a page that only the test has poisoned */
void exmem_test_unpoison(struct kunit *test, struct page *page);

/* pcp-kunit.h: no cache holds more than it may */
void exmem_test_expect_high(struct kunit *test);

#endif /* _MM_EXMEM_TESTS_EXMEM_KUNIT_H */
