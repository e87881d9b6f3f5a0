/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unit tests for the pool of exclusive memory; included by pool.c.
 *
 * They run at boot on the pool that exmem= set up, before anybody else uses it,
 * and leave it as they found it.
 */
#include <kunit/test.h>
#include <linux/cpu.h>
#include <linux/moduleparam.h>
#include <linux/platform_device.h>
#include <linux/pm.h>
#include <linux/prandom.h>
#include <linux/set_memory.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "exmem_test."

/* exmem_test.ops=N: random operations in all, from all CPUs at once. */
static unsigned int exmem_test_ops = 20000;
module_param_named(ops, exmem_test_ops, uint, 0444);

static unsigned int exmem_test_seed = 42;
module_param_named(seed, exmem_test_seed, uint, 0444);

static struct exmem_stats exmem_test_stats(void)
{
	struct exmem_stats stats;

	exmem_read_stats(&exmem_pool_nodes, &stats);
	return stats;
}

static unsigned long exmem_test_total(void)
{
	return exmem_test_stats().total;
}

static unsigned long exmem_test_free(void)
{
	return exmem_test_stats().free;
}

static int exmem_test_alloc(unsigned long nr, struct list_head *runs)
{
	return exmem_alloc_pages(nr, EXMEM_CALLER_KERNEL, runs);
}

static void exmem_test_free_pages(struct page *page, unsigned long nr)
{
	exmem_free_pages(page, nr, EXMEM_CALLER_KERNEL);
}

static void exmem_test_free_runs(struct list_head *runs)
{
	exmem_free_runs(runs, EXMEM_CALLER_KERNEL);
}

static int exmem_test_give_back(struct page *page, unsigned long nr)
{
	return exmem_give_back(page, nr, EXMEM_CALLER_KERNEL);
}

static struct page *exmem_test_take(struct kunit *test, unsigned long nr)
{
	LIST_HEAD(runs);
	struct page *page;

	KUNIT_ASSERT_EQ(test, exmem_test_alloc(nr, &runs), 0);
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

/* Give back those of @pages, single ones, that ->mapping marks, in long runs. */
static void exmem_test_free_marked(struct list_head *pages)
{
	struct page *page, *next;
	unsigned long nr, room;
	LIST_HEAD(runs);

	list_for_each_entry_safe(page, next, pages, lru) {
		if (!page->mapping)
			continue;
		list_del(&page->lru);
		if (page_to_pfn(page) % EXMEM_REGION_PAGES == 0 || !page[-1].mapping)
			list_add(&page->lru, &runs);
	}
	list_for_each_entry(page, &runs, lru) {
		room = EXMEM_REGION_PAGES - page_to_pfn(page) % EXMEM_REGION_PAGES;
		for (nr = 0; nr < room && page[nr].mapping; nr++)
			page[nr].mapping = NULL;
		set_page_private(page, nr);
	}
	exmem_test_free_runs(&runs);
}

/* Every page once, in runs that do not overlap, each one marked as it must be. */
static void exmem_test_one_owner(struct kunit *test)
{
	unsigned long i, nr, total = exmem_test_total();
	struct xarray seen;
	struct page *page;
	LIST_HEAD(runs);

	xa_init(&seen);

	KUNIT_ASSERT_EQ(test, exmem_test_alloc(total, &runs), 0);
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
	exmem_test_free_runs(&runs);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_test_total());
}

static void exmem_test_exhaustion(struct kunit *test)
{
	unsigned long total = exmem_test_total();
	LIST_HEAD(runs);
	LIST_HEAD(more);

	KUNIT_EXPECT_EQ(test, exmem_test_alloc(total + 1, &more), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc(ULONG_MAX, &more), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc(0, &more), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);

	KUNIT_ASSERT_EQ(test, exmem_test_alloc(total - 1, &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc(2, &more), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), 1);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc(1, &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc(1, &more), -ENOMEM);
	KUNIT_EXPECT_TRUE(test, list_empty(&more));

	exmem_test_free_runs(&runs);
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

	exmem_test_free_pages(one, 1);
	exmem_test_free_pages(two, 1);
	exmem_test_free_pages(three, 1);
	exmem_test_free_pages(region, EXMEM_REGION_PAGES);
}

/* A request larger than any hole is served in pieces. */
static void exmem_test_pieces(struct kunit *test)
{
	unsigned long i, total = exmem_test_total();
	struct page *page, *next;
	LIST_HEAD(runs);
	LIST_HEAD(singles);

	for (i = 0; i < total; i++)
		KUNIT_ASSERT_EQ(test, exmem_test_alloc(1, &singles), 0);

	i = 0;
	list_for_each_entry_safe(page, next, &singles, lru) {
		if (page_to_pfn(page) % 2)
			continue;
		list_del(&page->lru);
		exmem_test_free_pages(page, 1);
		i++;
	}
	KUNIT_EXPECT_EQ(test, i, total / 2);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc(total / 2, &runs), 0);
	list_for_each_entry(page, &runs, lru)
		KUNIT_EXPECT_EQ(test, page_private(page), 1);

	exmem_test_free_runs(&runs);
	exmem_test_free_runs(&singles);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);
}

static void exmem_test_double_free(struct kunit *test)
{
	struct page *page = exmem_test_take(test, 4);
	struct page *foreign = alloc_page(GFP_KERNEL);
	long free;

	KUNIT_EXPECT_EQ(test, exmem_test_give_back(page, 2), 0);
	free = exmem_test_free();
	KUNIT_EXPECT_EQ(test, exmem_test_give_back(page, 2), -EINVAL);
	/* One page free, one not: nothing may change. */
	KUNIT_EXPECT_EQ(test, exmem_test_give_back(page + 1, 2), -EINVAL);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), free);
	KUNIT_EXPECT_EQ(test, exmem_test_give_back(page + 2, 2), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_test_total());

	KUNIT_ASSERT_NOT_NULL(test, foreign);
	KUNIT_EXPECT_FALSE(test, page_is_exmem(foreign));
	KUNIT_EXPECT_EQ(test, exmem_test_give_back(foreign, 1), -EINVAL);
	__free_page(foreign);
}

static void exmem_test_zeroing(struct kunit *test)
{
	unsigned long i;
	struct page *page;
	LIST_HEAD(runs);

	page = exmem_test_take(test, 64);
	exmem_test_dirty(test, page, 64);
	exmem_test_free_pages(page, 64);

	KUNIT_ASSERT_EQ(test, exmem_test_alloc(exmem_test_total(), &runs), 0);
	list_for_each_entry(page, &runs, lru)
		for (i = 0; i < page_private(page); i += 64)
			exmem_test_expect_zero(test, page + i, min(page_private(page) - i, 64));
	exmem_test_free_runs(&runs);
}

/* What another kernel has left in free pages is gone afterwards. */
static void exmem_test_clear_all(struct kunit *test)
{
	struct page *first = exmem_test_take(test, 64), *last;

	last = exmem_test_take(test, EXMEM_REGION_PAGES) + EXMEM_REGION_PAGES - 64;
	exmem_test_free_pages(first, 64);
	exmem_test_free_pages(last + 64 - EXMEM_REGION_PAGES, EXMEM_REGION_PAGES);

	exmem_test_dirty(test, first, 64);
	exmem_test_dirty(test, last, 64);
	exmem_clear_all();
	exmem_test_expect_zero(test, first, 64);
	exmem_test_expect_zero(test, last, 64);
}

#ifdef CONFIG_HIBERNATION
static void exmem_test_hibernation(struct kunit *test)
{
	struct device *dev = bus_find_device_by_name(&platform_bus_type, NULL, "exmem");
	struct page *page = exmem_test_take(test, 1);
	const struct dev_pm_ops *ops;

	KUNIT_ASSERT_NOT_NULL(test, dev);
	KUNIT_ASSERT_NOT_NULL(test, dev->driver);
	ops = dev->driver->pm;
	KUNIT_EXPECT_EQ(test, ops->freeze(dev), -EBUSY);
	exmem_test_free_pages(page, 1);
	KUNIT_EXPECT_EQ(test, ops->freeze(dev), 0);

	exmem_test_dirty(test, page, 1);
	KUNIT_EXPECT_EQ(test, ops->restore(dev), 0);
	exmem_test_expect_zero(test, page, 1);
	put_device(dev);
}
#endif

static void exmem_test_unmapped(struct kunit *test)
{
	unsigned long i;
	struct page *page;
	LIST_HEAD(runs);

	KUNIT_ASSERT_EQ(test, exmem_test_alloc(exmem_test_total() / 2, &runs), 0);
	list_for_each_entry(page, &runs, lru)
		for (i = 0; i < page_private(page); i++)
			KUNIT_EXPECT_FALSE(test, kernel_page_present(page + i));
	exmem_test_free_runs(&runs);

	KUNIT_ASSERT_EQ(test, exmem_test_alloc(exmem_test_total(), &runs), 0);
	list_for_each_entry(page, &runs, lru)
		for (i = 0; i < page_private(page); i++)
			KUNIT_EXPECT_FALSE(test, kernel_page_present(page + i));
	exmem_test_free_runs(&runs);
}

/* After the pool was cut to pieces, what is whole is found. */
static void exmem_test_long_run(struct kunit *test)
{
	unsigned long i, total = exmem_test_total();
	struct page *page, *first = NULL;
	LIST_HEAD(singles);
	LIST_HEAD(runs);

	for (i = 0; i < total; i++)
		KUNIT_ASSERT_EQ(test, exmem_test_alloc(1, &singles), 0);

	/* Every other page in the first half of each region, and one run of 100. */
	list_for_each_entry(page, &singles, lru) {
		i = page_to_pfn(page) % EXMEM_REGION_PAGES;
		if (!first && i == 300)
			first = page;
		if (i < EXMEM_REGION_PAGES / 2 && i % 2)
			page->mapping = (void *)test;
	}
	KUNIT_ASSERT_NOT_NULL(test, first);
	for (i = 0; i < 100; i++)
		first[i].mapping = (void *)test;
	exmem_test_free_marked(&singles);

	KUNIT_EXPECT_EQ(test, exmem_test_alloc(90, &runs), 0);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&runs));
	exmem_test_free_runs(&runs);
	exmem_test_free_runs(&singles);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);
}

/* Each node by itself: no page from elsewhere, and all of its own. */
static void exmem_test_nodes(struct kunit *test)
{
	struct exmem_stats stats;
	struct page *page;
	LIST_HEAD(runs);
	int nid;

	for_each_node_mask(nid, exmem_pool_nodes) {
		nodemask_t node = nodemask_of_node(nid);
		enum exmem_caller caller = EXMEM_CALLER_KERNEL;

		exmem_read_stats(&node, &stats);
		KUNIT_EXPECT_EQ(test, exmem_alloc_pages_node(nid, &node, stats.total + 1, caller,
							     &runs), -ENOMEM);
		KUNIT_EXPECT_TRUE(test, list_empty(&runs));
		KUNIT_EXPECT_EQ(test, exmem_alloc_pages_node(NUMA_NO_NODE, &node, stats.total,
							     caller, &runs), 0);
		KUNIT_EXPECT_NULL(test, exmem_alloc_page_node(nid, &node, caller));
		list_for_each_entry(page, &runs, lru)
			KUNIT_EXPECT_EQ(test, page_to_nid(page), nid);
		exmem_test_free_runs(&runs);

		page = exmem_alloc_page_node(nid, NULL, caller);
		KUNIT_ASSERT_NOT_NULL(test, page);
		KUNIT_EXPECT_EQ(test, page_to_nid(page), nid);
		exmem_free_page(page, caller);
	}
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages_node(0, &NODE_MASK_NONE, 1, EXMEM_CALLER_KERNEL,
						     &runs), -ENOMEM);
}

/* What is watched: use, its peak, failures. */
static void exmem_test_figures(struct kunit *test)
{
	struct exmem_stats before = exmem_test_stats(), after;
	LIST_HEAD(runs);

	KUNIT_ASSERT_EQ(test, exmem_test_alloc(before.total, &runs), 0);
	after = exmem_test_stats();
	KUNIT_EXPECT_EQ(test, after.free, 0);
	KUNIT_EXPECT_EQ(test, after.peak, before.total);
	KUNIT_EXPECT_EQ(test, after.failed, before.failed);

	KUNIT_EXPECT_NULL(test, exmem_alloc_page(EXMEM_CALLER_KERNEL));
	KUNIT_EXPECT_EQ(test, exmem_test_stats().failed, before.failed + 1);
	exmem_test_free_runs(&runs);
	after = exmem_test_stats();
	KUNIT_EXPECT_EQ(test, after.free, before.total);
	KUNIT_EXPECT_EQ(test, after.peak, before.total);
}

#define EXMEM_TEST_SLOTS	64

/* One that takes and gives back at random, and what it saw. */
struct exmem_test_worker {
	struct work_struct work;
	struct list_head slots[EXMEM_TEST_SLOTS];
	unsigned long held[EXMEM_TEST_SLOTS];
	unsigned long sum;	/* of held[] */
	unsigned long ops;
	struct rnd_state rnd;
	unsigned long wrong;
	bool alone;		/* then the model knows when the pool is empty, */
	unsigned long room;	/* namely when it holds so many pages */
};

/*
 * The model: ->mapping of a page is NULL as long as nobody has it, and tells who
 * does.
 */
static void exmem_test_mark(struct exmem_test_worker *worker, struct list_head *runs,
			    void *from, void *to)
{
	struct page *page;
	unsigned long i;

	list_for_each_entry(page, runs, lru) {
		for (i = 0; i < page_private(page); i++) {
			worker->wrong += page[i].mapping != from || !page_is_exmem(page + i);
			page[i].mapping = to;
		}
	}
}

/* Is @page zero? And no longer so. */
static bool exmem_test_soil(struct page *page)
{
	void *addr = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	bool zero;

	if (!addr)
		return true;
	zero = !memchr_inv(addr, 0, PAGE_SIZE);
	memset(addr, 0xa5, PAGE_SIZE);
	vunmap(addr);
	return zero;
}

static void exmem_test_one_give(struct exmem_test_worker *worker, int slot)
{
	exmem_test_mark(worker, &worker->slots[slot], worker, NULL);
	exmem_test_free_runs(&worker->slots[slot]);
	worker->sum -= worker->held[slot];
	worker->held[slot] = 0;
}

/* Mostly small, sometimes more than there is. */
static unsigned long exmem_test_size(struct exmem_test_worker *worker)
{
	u32 log = prandom_u32_state(&worker->rnd);

	/* Those who are many shall get far, too. */
	log = worker->alone || log % 64 == 0 ? log / 64 % 12 : log / 64 % 7;
	return 1 + prandom_u32_state(&worker->rnd) % (1 << log);
}

static void exmem_test_one_take(struct exmem_test_worker *worker, int slot)
{
	unsigned long nr = exmem_test_size(worker);
	struct list_head *runs = &worker->slots[slot];
	int ret = exmem_test_alloc(nr, runs);

	if (worker->alone)
		worker->wrong += ret != (worker->sum + nr > worker->room ? -ENOMEM : 0);
	if (ret) {
		worker->wrong += !list_empty(runs);
		return;
	}

	exmem_test_mark(worker, runs, NULL, worker);
	if (prandom_u32_state(&worker->rnd) % 16 == 0)
		worker->wrong += !exmem_test_soil(list_first_entry(runs, struct page, lru));
	worker->held[slot] = nr;
	worker->sum += nr;
}

static void exmem_test_work(struct work_struct *work)
{
	struct exmem_test_worker *worker = container_of(work, struct exmem_test_worker, work);
	int slot;

	while (worker->ops--) {
		slot = prandom_u32_state(&worker->rnd) % EXMEM_TEST_SLOTS;
		if (worker->held[slot])
			exmem_test_one_give(worker, slot);
		else
			exmem_test_one_take(worker, slot);
		if (worker->alone)
			worker->wrong += exmem_test_free() != worker->room - worker->sum;
		cond_resched();
	}
	for (slot = 0; slot < EXMEM_TEST_SLOTS; slot++)
		exmem_test_one_give(worker, slot);
}

static struct exmem_test_worker *exmem_test_workers(struct kunit *test, work_func_t func)
{
	struct exmem_test_worker *workers;
	int i, cpu;

	workers = kunit_kcalloc(test, nr_cpu_ids, sizeof(*workers), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, workers);
	for (cpu = 0; cpu < nr_cpu_ids; cpu++) {
		INIT_WORK(&workers[cpu].work, func);
		prandom_seed_state(&workers[cpu].rnd, exmem_test_seed + cpu);
		for (i = 0; i < EXMEM_TEST_SLOTS; i++)
			INIT_LIST_HEAD(&workers[cpu].slots[i]);
	}
	return workers;
}

static void exmem_test_random(struct kunit *test)
{
	struct exmem_test_worker *worker = exmem_test_workers(test, exmem_test_work);
	LIST_HEAD(ballast);

	/* So little is left that many requests fail. */
	worker->alone = true;
	worker->room = 2000;
	worker->ops = 20000;
	KUNIT_ASSERT_EQ(test, exmem_test_alloc(exmem_test_total() - worker->room, &ballast), 0);
	exmem_test_work(&worker->work);
	KUNIT_EXPECT_EQ(test, worker->wrong, 0);
	exmem_test_free_runs(&ballast);
}

/* Run every worker on its CPU; return when all are done. */
static void exmem_test_run(struct exmem_test_worker *workers)
{
	int cpu;

	for_each_online_cpu(cpu)
		queue_work_on(cpu, system_wq, &workers[cpu].work);
	for_each_online_cpu(cpu)
		flush_work(&workers[cpu].work);
}

static void exmem_test_all_cpus(struct kunit *test)
{
	struct exmem_test_worker *workers = exmem_test_workers(test, exmem_test_work);
	int cpu;

	for_each_online_cpu(cpu)
		workers[cpu].ops = exmem_test_ops / num_online_cpus();
	kunit_info(test, "%u operations from %u CPUs, seed %u\n", exmem_test_ops,
		   num_online_cpus(), exmem_test_seed);
	exmem_test_run(workers);
	for_each_online_cpu(cpu)
		KUNIT_EXPECT_EQ(test, workers[cpu].wrong, 0);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_test_total());
}

/* Take page by page for as long as there are any; give some back on the way. */
static void exmem_test_grab(struct work_struct *work)
{
	struct exmem_test_worker *worker = container_of(work, struct exmem_test_worker, work);
	struct list_head *runs = &worker->slots[0];
	struct page *page;

	while (!exmem_test_alloc(1, runs)) {
		worker->sum++;
		if (worker->ops++ % 3 == 2) {
			page = list_first_entry(runs, struct page, lru);
			list_del(&page->lru);
			exmem_test_free_pages(page, 1);
			worker->sum--;
		}
		cond_resched();
	}
}

/*
 * The last of those who fail does so when nobody gives back any more: then not
 * a page may be left, in whichever cache.
 */
static void exmem_test_exhaust_all_cpus(struct kunit *test)
{
	struct exmem_test_worker *workers = exmem_test_workers(test, exmem_test_grab);
	unsigned long sum = 0;
	int cpu;

	exmem_test_run(workers);
	for_each_online_cpu(cpu)
		sum += workers[cpu].sum;
	KUNIT_EXPECT_EQ(test, sum, exmem_test_total());
	KUNIT_EXPECT_EQ(test, exmem_test_free(), 0);
	for_each_online_cpu(cpu)
		exmem_test_free_runs(&workers[cpu].slots[0]);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_test_total());
}

/* Take one page and give it back: this fills the cache of the CPU it runs on. */
static long exmem_test_touch(void *unused)
{
	struct page *page = exmem_alloc_page(EXMEM_CALLER_KERNEL);

	if (!page)
		return -ENOMEM;
	exmem_free_page(page, EXMEM_CALLER_KERNEL);
	return 0;
}

static void exmem_test_caches(struct kunit *test)
{
	LIST_HEAD(runs);
	int cpu;

	for_each_online_cpu(cpu) {
		KUNIT_EXPECT_EQ(test, work_on_cpu(cpu, exmem_test_touch, NULL), 0);
		KUNIT_EXPECT_GT(test, per_cpu_ptr(&exmem_cache, cpu)->nr, 0);
	}
	/* All of them are to be had. */
	KUNIT_EXPECT_EQ(test, exmem_test_alloc(exmem_test_total(), &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_cached_on(&exmem_pool_nodes), 0);
	exmem_test_free_runs(&runs);
}

/* Where only single pages are free, a cache has to be content with these. */
static void exmem_test_cache_fragments(struct kunit *test)
{
	unsigned long i, total = exmem_test_total(), high = this_cpu_read(exmem_cache.high);
	struct page *page, *next;
	LIST_HEAD(singles);
	LIST_HEAD(runs);

	for (i = 0; i < total; i++)
		KUNIT_ASSERT_EQ(test, exmem_test_alloc(1, &singles), 0);
	list_for_each_entry_safe(page, next, &singles, lru) {
		if (page_to_pfn(page) % 2)
			continue;
		list_del(&page->lru);
		exmem_test_free_pages(page, 1);
	}
	for (i = 0; i < 200; i++) {
		KUNIT_EXPECT_EQ(test, exmem_test_alloc(1 + i % 10, &runs), 0);
		KUNIT_EXPECT_LE(test, this_cpu_read(exmem_cache.nr), high);
	}
	exmem_test_free_runs(&runs);
	exmem_test_free_runs(&singles);
}

/* A CPU that goes leaves its pages to others, and may come back. */
static void exmem_test_hotplug(struct kunit *test)
{
	int cpu = cpumask_last(cpu_online_mask);
	struct exmem_cache *cache = per_cpu_ptr(&exmem_cache, cpu);
	unsigned long free;

	if (!cpu || !cache->high)
		kunit_skip(test, "needs two CPUs, and a pool that has room for caches");
	KUNIT_ASSERT_EQ(test, work_on_cpu(cpu, exmem_test_touch, NULL), 0);
	KUNIT_EXPECT_GT(test, cache->nr, 0);
	free = exmem_nodes[cache->nid]->nr_free + cache->nr;

	KUNIT_ASSERT_EQ(test, remove_cpu(cpu), 0);
	KUNIT_EXPECT_EQ(test, cache->nr, 0);
	KUNIT_EXPECT_EQ(test, exmem_nodes[cache->nid]->nr_free, free);
	KUNIT_ASSERT_EQ(test, add_cpu(cpu), 0);

	KUNIT_EXPECT_EQ(test, work_on_cpu(cpu, exmem_test_touch, NULL), 0);
	KUNIT_EXPECT_GT(test, cache->nr, 0);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_test_total());
}

#ifdef CONFIG_MEMORY_FAILURE
/* Poison is for good; these pages are only said to be. Make @page free again. */
static void exmem_test_heal(struct kunit *test, struct page *page)
{
	struct exmem_node *node = exmem_nodes[page_to_nid(page)];

	KUNIT_EXPECT_TRUE(test, TestClearPageHWPoison(page));
	num_poisoned_pages_sub(page_to_pfn(page), 1);
	spin_lock(&node->lock);
	node->nr_poisoned--;
	spin_unlock(&node->lock);
	exmem_arch_clear(page, 1);
	exmem_node_put(page, 1);
}

static void exmem_test_poison(struct page *page)
{
	/* It can do no more than mark such a page, and says so. */
	memory_failure(page_to_pfn(page), MF_SW_SIMULATED);
}

static void exmem_test_poison_in_use(struct kunit *test)
{
	unsigned long total = exmem_test_total();
	struct page *page = exmem_test_take(test, 16);
	LIST_HEAD(runs);
	void *addr;

	exmem_test_dirty(test, page, 16);
	exmem_test_poison(page + 5);
	KUNIT_ASSERT_TRUE(test, PageHWPoison(page + 5));
	exmem_test_free_pages(page, 16);
	KUNIT_EXPECT_EQ(test, exmem_test_stats().poisoned, 1);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total - 1);

	/* Not cleared; and those around it are. */
	addr = exmem_test_map(test, page + 5, 1);
	KUNIT_EXPECT_NULL(test, memchr_inv(addr, 0xa5, PAGE_SIZE));
	exmem_test_dirty(test, page + 6, 1);
	exmem_clear_all();
	KUNIT_EXPECT_NULL(test, memchr_inv(addr, 0xa5, PAGE_SIZE));
	vunmap(addr);
	exmem_test_expect_zero(test, page, 5);
	exmem_test_expect_zero(test, page + 6, 10);

	KUNIT_EXPECT_EQ(test, exmem_test_alloc(total, &runs), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc(total - 1, &runs), 0);
	exmem_test_free_runs(&runs);
	exmem_test_heal(test, page + 5);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);
}

/* Poison a page while it is free: with its node, or in a cache. */
static void exmem_test_poison_free(struct kunit *test)
{
	unsigned long nr, total = exmem_test_total();
	struct page *page, *run;
	LIST_HEAD(runs);

	for (nr = 1; nr <= 64; nr *= 64) {
		page = exmem_test_take(test, nr);
		exmem_test_free_pages(page, nr);
		exmem_test_poison(page);

		/* All but one are claimed before it is found; nothing is lost. */
		KUNIT_EXPECT_EQ(test, exmem_test_alloc(total, &runs), -ENOMEM);
		KUNIT_EXPECT_TRUE(test, list_empty(&runs));
		KUNIT_EXPECT_EQ(test, exmem_test_stats().poisoned, 1);
		KUNIT_EXPECT_EQ(test, exmem_test_free(), total - 1);
		KUNIT_EXPECT_EQ(test, exmem_test_alloc(total - 1, &runs), 0);
		list_for_each_entry(run, &runs, lru)
			KUNIT_EXPECT_FALSE(test, page >= run && page < run + page_private(run));
		exmem_test_free_runs(&runs);
		exmem_test_heal(test, page);
	}
}

/* One that asks for a page gets another. */
static void exmem_test_poison_on_the_way_out(struct kunit *test)
{
	struct page *one, *two;

	one = exmem_test_take(test, 1);
	exmem_test_free_pages(one, 1);
	exmem_test_poison(one);
	two = exmem_test_take(test, 1);
	KUNIT_EXPECT_PTR_NE(test, one, two);
	KUNIT_EXPECT_EQ(test, exmem_test_stats().poisoned, 1);
	exmem_test_free_pages(two, 1);
	exmem_test_heal(test, one);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_test_total());
}
#endif /* CONFIG_MEMORY_FAILURE */

/* To stay on one CPU is to know which cache is used. */
static int exmem_test_init(struct kunit *test)
{
	if (exmem_test_total() < 4 * EXMEM_REGION_PAGES)
		kunit_skip(test, "needs exmem=8M or more");
	KUNIT_ASSERT_EQ(test, exmem_test_free(), exmem_test_total());
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(0)), 0);
	return 0;
}

/* After each test every page is where it can be found, by count and by hand. */
static void exmem_test_exit(struct kunit *test)
{
	unsigned long total = exmem_test_total();
	LIST_HEAD(runs);
	int cpu;

	for_each_possible_cpu(cpu)
		KUNIT_EXPECT_LE(test, per_cpu_ptr(&exmem_cache, cpu)->nr,
				per_cpu_ptr(&exmem_cache, cpu)->high);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);
	KUNIT_EXPECT_EQ(test, exmem_test_alloc(total, &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), 0);
	exmem_test_free_runs(&runs);
	set_cpus_allowed_ptr(current, cpu_possible_mask);
}

static struct kunit_case exmem_test_cases[] = {
	KUNIT_CASE(exmem_test_figures),
	KUNIT_CASE(exmem_test_one_owner),
	KUNIT_CASE(exmem_test_exhaustion),
	KUNIT_CASE(exmem_test_packing),
	KUNIT_CASE(exmem_test_pieces),
	KUNIT_CASE(exmem_test_long_run),
	KUNIT_CASE(exmem_test_nodes),
	KUNIT_CASE(exmem_test_double_free),
	KUNIT_CASE(exmem_test_zeroing),
	KUNIT_CASE(exmem_test_clear_all),
#ifdef CONFIG_HIBERNATION
	KUNIT_CASE(exmem_test_hibernation),
#endif
	KUNIT_CASE(exmem_test_unmapped),
	KUNIT_CASE(exmem_test_caches),
	KUNIT_CASE(exmem_test_cache_fragments),
	KUNIT_CASE(exmem_test_hotplug),
	KUNIT_CASE(exmem_test_exhaust_all_cpus),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(exmem_test_poison_in_use),
	KUNIT_CASE(exmem_test_poison_free),
	KUNIT_CASE(exmem_test_poison_on_the_way_out),
#endif
	KUNIT_CASE_SLOW(exmem_test_random),
	KUNIT_CASE_SLOW(exmem_test_all_cpus),
	{}
};

static struct kunit_suite exmem_test_suite = {
	.name = "exmem",
	.init = exmem_test_init,
	.exit = exmem_test_exit,
	.test_cases = exmem_test_cases,
};

kunit_test_suite(exmem_test_suite);
