/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unit tests for the pool; included by pool.c.
 *
 * They run at boot, while nobody else uses the pool, and leave all pages free.
 */
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/set_memory.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "exmem-kunit.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "exmem_test."

static unsigned int exmem_test_ops = 20000;
module_param_named(ops, exmem_test_ops, uint, 0444);
MODULE_PARM_DESC(ops, "random operations, by all CPUs together");

static unsigned int exmem_test_seed = 42;
module_param_named(seed, exmem_test_seed, uint, 0444);
MODULE_PARM_DESC(seed, "seed of the random operations");

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

static bool exmem_test_is_exmem(struct page *page)
{
	struct exmem_run *run = page_exmem_run(page);

	/* Its region is set, and no one can take a reference. */
	return PageOffline(page) && run->region && !page_count(page);
}

/* Allocate a request that fits in one run. */
static struct page *exmem_test_alloc_run(struct kunit *test, unsigned long nr)
{
	struct exmem_run *run;
	LIST_HEAD(runs);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(nr, &runs), 0);
	run = exmem_test_first_run(&runs);
	KUNIT_ASSERT_EQ(test, run->nr, nr);
	KUNIT_ASSERT_TRUE(test, list_is_singular(&runs));
	return exmem_run_page(run);
}

static struct page *exmem_test_alloc_page(void)
{
	LIST_HEAD(runs);

	if (exmem_alloc_pages(1, &runs))
		return NULL;
	return exmem_run_page(exmem_test_first_run(&runs));
}

/* Ignore the task's policy: use @nodes, starting at @nid. */
static bool exmem_test_alloc_on(int nid, const nodemask_t *nodes, unsigned long nr,
				struct list_head *runs)
{
	struct exmem_policy policy = { .nid = nid, .nodes = *nodes };
	LIST_HEAD(list);

	if (!exmem_alloc_by_policy(&policy, nr, &list))
		return false;
	exmem_mark_runs_allocated(&list);
	list_splice_tail(&list, runs);
	return true;
}

/* Every page once, in runs that do not overlap, each one marked as it must be. */
static void exmem_test_one_owner(struct kunit *test)
{
	unsigned long i, total = exmem_test_total();
	struct exmem_run *run;
	struct page *page;
	struct xarray seen;
	LIST_HEAD(runs);

	xa_init(&seen);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(total, &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), 0);

	list_for_each_entry(run, &runs, list) {
		page = exmem_run_page(run);
		for (i = 0; i < run->nr; i++) {
			KUNIT_EXPECT_TRUE(test, exmem_test_is_exmem(page + i));
			KUNIT_EXPECT_FALSE(test, PageReserved(page + i));
			KUNIT_EXPECT_EQ(test, page_count(page + i), 0);
			KUNIT_EXPECT_EQ(test, xa_insert(&seen, page_to_pfn(page + i), page,
							GFP_KERNEL), 0);
		}
		total -= run->nr;
	}
	KUNIT_EXPECT_EQ(test, total, 0);

	xa_destroy(&seen);
	exmem_free_runs(&runs);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_test_total());
}

static void exmem_test_exhaustion(struct kunit *test)
{
	unsigned long total = exmem_test_total();
	LIST_HEAD(runs);
	LIST_HEAD(more);

	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(total + 1, &more), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(ULONG_MAX, &more), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(0, &more), 0);
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

/* Small requests share a region; large ones find whole regions. */
static void exmem_test_packing(struct kunit *test)
{
	struct page *one = exmem_test_alloc_run(test, 1);
	struct page *two = exmem_test_alloc_run(test, 1);
	struct page *region = exmem_test_alloc_run(test, EXMEM_REGION_PAGES);
	struct page *three = exmem_test_alloc_run(test, 1);

	KUNIT_EXPECT_PTR_EQ(test, page_exmem_run(one)->region, page_exmem_run(two)->region);
	KUNIT_EXPECT_PTR_EQ(test, page_exmem_run(one)->region, page_exmem_run(three)->region);
	KUNIT_EXPECT_PTR_NE(test, page_exmem_run(one)->region, page_exmem_run(region)->region);

	exmem_free_pages(one, 1);
	exmem_free_pages(two, 1);
	exmem_free_pages(three, 1);
	exmem_free_pages(region, EXMEM_REGION_PAGES);
}

static void exmem_test_double_free(struct kunit *test)
{
	struct page *page = exmem_test_alloc_run(test, 4);
	struct page *foreign = alloc_page(GFP_KERNEL);
	long free;

	KUNIT_EXPECT_TRUE(test, __exmem_free_pages(page, 2, true));
	free = exmem_test_free();
	KUNIT_EXPECT_FALSE(test, __exmem_free_pages(page, 2, true));
	/* One page free, one not: nothing may change. */
	KUNIT_EXPECT_FALSE(test, __exmem_free_pages(page + 1, 2, true));
	KUNIT_EXPECT_EQ(test, exmem_test_free(), free);
	KUNIT_EXPECT_TRUE(test, __exmem_free_pages(page + 2, 2, true));
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_test_total());

	KUNIT_ASSERT_NOT_NULL(test, foreign);
	KUNIT_EXPECT_FALSE(test, exmem_test_is_exmem(foreign));
	KUNIT_EXPECT_FALSE(test, __exmem_free_pages(foreign, 1, true));
	__free_page(foreign);
}

static void exmem_test_zeroing(struct kunit *test)
{
	struct exmem_run *run;
	unsigned long i;
	struct page *page;
	LIST_HEAD(runs);

	page = exmem_test_alloc_run(test, 64);
	exmem_test_dirty(test, page, 64);
	exmem_free_pages(page, 64);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(exmem_test_total(), &runs), 0);
	list_for_each_entry(run, &runs, list)
		for (i = 0; i < run->nr; i += 64)
			exmem_test_expect_zero(test, exmem_run_page(run) + i,
					       min(run->nr - i, 64));
	exmem_free_runs(&runs);
}

/* Fragment the pool: every other page stays in @singles, the rest are free. */
static void exmem_test_free_every_other(struct kunit *test, struct list_head *singles)
{
	unsigned long i, total = exmem_test_total();
	struct exmem_run *run, *next;

	for (i = 0; i < total; i++)
		KUNIT_ASSERT_EQ(test, exmem_alloc_pages(1, singles), 0);

	i = 0;
	list_for_each_entry_safe(run, next, singles, list) {
		if (page_to_pfn(exmem_run_page(run)) % 2)
			continue;
		list_del(&run->list);
		exmem_free_pages(exmem_run_page(run), 1);
		i++;
	}
	KUNIT_EXPECT_EQ(test, i, total / 2);
}

/* A request longer than any free run gets several runs. */
static void exmem_test_pieces_of_pool(struct kunit *test)
{
	unsigned long total = exmem_test_total();
	struct exmem_run *run;
	LIST_HEAD(singles);
	LIST_HEAD(runs);

	exmem_test_free_every_other(test, &singles);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(total / 2, &runs), 0);
	list_for_each_entry(run, &runs, list)
		KUNIT_EXPECT_EQ(test, run->nr, 1);

	exmem_free_runs(&runs);
	exmem_free_runs(&singles);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);
}

static void exmem_test_expect_unmapped(struct kunit *test, unsigned long nr)
{
	struct exmem_run *run;
	unsigned long i;
	LIST_HEAD(runs);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(nr, &runs), 0);
	list_for_each_entry(run, &runs, list)
		for (i = 0; i < run->nr; i++)
			KUNIT_EXPECT_FALSE(test, kernel_page_present(exmem_run_page(run) + i));
	exmem_free_runs(&runs);
}

/* In use for the first time, and again after they were cleared. */
static void exmem_test_unmapped_in_use(struct kunit *test)
{
	exmem_test_expect_unmapped(test, exmem_test_total() / 2);
	exmem_test_expect_unmapped(test, exmem_test_total());
}

static long exmem_test_alloc_and_free(void *unused)
{
	struct page *page = exmem_test_alloc_page();

	if (!page)
		return -ENOMEM;
	exmem_free_pages(page, 1);
	return 0;
}

static void exmem_test_fill_pcps(struct kunit *test)
{
	int cpu;

	for_each_online_cpu(cpu)
		KUNIT_EXPECT_EQ(test, work_on_cpu(cpu, exmem_test_alloc_and_free, NULL), 0);
	KUNIT_EXPECT_GT(test, exmem_pcp_pages(&exmem_pool_nodes), 0);
}

/* A request gets the pages that other CPUs cache. */
static void exmem_test_cached_elsewhere(struct kunit *test)
{
	LIST_HEAD(runs);

	exmem_test_fill_pcps(test);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(exmem_test_total(), &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_pcp_pages(&exmem_pool_nodes), 0);
	exmem_free_runs(&runs);
}

/* A request that can't succeed leaves all caches as they are. */
static void exmem_test_failure_drains_nothing(struct kunit *test)
{
	struct page *page = exmem_test_alloc_run(test, 1);
	unsigned long cached, nr = exmem_test_total();
	LIST_HEAD(runs);

	exmem_test_fill_pcps(test);
	cached = exmem_pcp_pages(&exmem_pool_nodes);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(nr, &runs), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_pcp_pages(&exmem_pool_nodes), cached);

	/* A request for all free pages: only now are the caches drained. */
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(nr - 1, &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_pcp_pages(&exmem_pool_nodes), 0);
	exmem_free_runs(&runs);
	exmem_free_pages(page, 1);
}

/* A request drains the caches of the nodes that it may use, and no others. */
static void exmem_test_drains_own_nodes(struct kunit *test)
{
	nodemask_t node = nodemask_of_node(first_node(exmem_pool_nodes)), others;
	unsigned long cached;
	LIST_HEAD(runs);

	nodes_andnot(others, exmem_pool_nodes, node);
	exmem_test_fill_pcps(test);
	cached = exmem_pcp_pages(&others);
	if (!cached)
		kunit_skip(test, "needs CPUs on two nodes of the pool");
	KUNIT_EXPECT_TRUE(test, exmem_test_alloc_on(first_node(node), &node,
						    exmem_nodes_total(&node), &runs));
	KUNIT_EXPECT_EQ(test, exmem_pcp_pages(&node), 0);
	KUNIT_EXPECT_EQ(test, exmem_pcp_pages(&others), cached);
	exmem_free_runs(&runs);
}

/* A task that is being killed gets no pages, and its request does not count as failed. */
static void exmem_test_killed(struct kunit *test)
{
	unsigned long cached, failed = exmem_test_stats().failed;
	LIST_HEAD(singles);
	LIST_HEAD(runs);
	int ret;

	exmem_test_free_every_other(test, &singles);
	exmem_test_fill_pcps(test);
	cached = exmem_pcp_pages(&exmem_pool_nodes);
	exmem_test_set_killed(true);
	ret = exmem_alloc_pages(exmem_test_total() / 2, &runs);
	exmem_test_set_killed(false);
	KUNIT_EXPECT_EQ(test, ret, -EINTR);
	KUNIT_EXPECT_TRUE(test, list_empty(&runs));
	KUNIT_EXPECT_EQ(test, exmem_pcp_pages(&exmem_pool_nodes), cached);
	KUNIT_EXPECT_EQ(test, exmem_test_stats().failed, failed);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_test_total() / 2);
	exmem_free_runs(&singles);
}

/* Each node by itself: no page from elsewhere, and all of its own. */
static void exmem_test_nodes(struct kunit *test)
{
	struct exmem_stats stats;
	struct exmem_run *run;
	LIST_HEAD(runs);
	int nid;

	for_each_node_mask(nid, exmem_pool_nodes) {
		nodemask_t node = nodemask_of_node(nid);

		exmem_read_stats(&node, &stats);
		KUNIT_EXPECT_FALSE(test, exmem_test_alloc_on(nid, &node, stats.total + 1, &runs));
		KUNIT_EXPECT_TRUE(test, list_empty(&runs));
		KUNIT_EXPECT_TRUE(test, exmem_test_alloc_on(numa_mem_id(), &node, stats.total,
							    &runs));
		KUNIT_EXPECT_FALSE(test, exmem_test_alloc_on(nid, &node, 1, &runs));
		list_for_each_entry(run, &runs, list)
			KUNIT_EXPECT_EQ(test, page_to_nid(exmem_run_page(run)), nid);
		exmem_free_runs(&runs);

		KUNIT_ASSERT_TRUE(test, exmem_test_alloc_on(nid, &exmem_pool_nodes, 1, &runs));
		run = exmem_test_first_run(&runs);
		KUNIT_EXPECT_EQ(test, page_to_nid(exmem_run_page(run)), nid);
		exmem_free_runs(&runs);
	}
	KUNIT_EXPECT_FALSE(test, exmem_test_alloc_on(0, &NODE_MASK_NONE, 1, &runs));
}

static void exmem_test_counts(struct kunit *test)
{
	struct exmem_stats before = exmem_test_stats(), after;
	LIST_HEAD(runs);

	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(before.total, &runs), 0);
	after = exmem_test_stats();
	KUNIT_EXPECT_EQ(test, after.free, 0);
	KUNIT_EXPECT_EQ(test, after.peak, before.total);
	KUNIT_EXPECT_EQ(test, after.failed, before.failed);

	KUNIT_EXPECT_NULL(test, exmem_test_alloc_page());
	KUNIT_EXPECT_EQ(test, exmem_test_stats().failed, before.failed + 1);
	exmem_free_runs(&runs);
	after = exmem_test_stats();
	KUNIT_EXPECT_EQ(test, after.free, before.total);
	KUNIT_EXPECT_EQ(test, after.peak, before.total);
}

#define EXMEM_TEST_MOVES	20000

/* Moves free pages between this CPU's cache and the node, and holds at most one page. */
static void exmem_test_move(struct work_struct *work)
{
	int i, nid = exmem_nearest_node(numa_mem_id(), &exmem_pool_nodes);
	nodemask_t node = nodemask_of_node(nid);
	LIST_HEAD(runs);

	for (i = 0; i < EXMEM_TEST_MOVES; i++) {
		if (exmem_pcp_alloc(nid, 1, &runs) &&
		    exmem_pcp_free(exmem_run_page(exmem_test_first_run(&runs)), 1))
			INIT_LIST_HEAD(&runs);
		else
			exmem_free_unmarked_runs(&runs);
		exmem_drain_pcps(&node);
	}
}

/* exmem_may_have_enough() misses no free page that moves. */
static void exmem_test_count_moving(struct kunit *test)
{
	unsigned long counted = 0, wrong = 0, nr = exmem_test_total() - num_online_cpus() + 1;
	struct work_struct *works;
	int cpu;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	works = kunit_kcalloc(test, nr_cpu_ids, sizeof(*works), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, works);
	for_each_online_cpu(cpu) {
		INIT_WORK(&works[cpu], exmem_test_move);
		if (cpu)
			queue_work_on(cpu, system_wq, &works[cpu]);
	}
	for_each_online_cpu(cpu)
		for (; work_busy(&works[cpu]); counted++)
			wrong += !exmem_may_have_enough(&exmem_pool_nodes, nr);
	KUNIT_EXPECT_GT(test, counted, 0);
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_FALSE(test, exmem_may_have_enough(&exmem_pool_nodes, exmem_test_total() + 1));
}

#define EXMEM_TEST_SLOTS	64

/* Allocates and frees at random, and counts what it finds wrong. */
struct exmem_test_worker {
	struct work_struct work;
	struct list_head slots[EXMEM_TEST_SLOTS];
	unsigned long held[EXMEM_TEST_SLOTS];
	unsigned long sum;	/* of held[] */
	unsigned long ops;
	struct rnd_state rnd;
	unsigned long wrong;
	bool alone;		/* no other worker: the model knows how many are free */
	unsigned long room;	/* pages that it can have at most, if alone */
};

/*
 * The model: ->mapping of a page points to the worker that has the page. It is NULL
 * while nobody has it.
 */
static void exmem_test_mark(struct exmem_test_worker *worker, struct list_head *runs,
			    void *from, void *to)
{
	struct exmem_run *run;
	unsigned long i;

	list_for_each_entry(run, runs, list) {
		struct page *page = exmem_run_page(run);

		for (i = 0; i < run->nr; i++) {
			worker->wrong += page[i].mapping != from || !exmem_test_is_exmem(page + i);
			page[i].mapping = to;
		}
	}
}

static bool exmem_test_was_zero_now_dirty(struct page *page)
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

static void exmem_test_free_slot(struct exmem_test_worker *worker, int slot)
{
	exmem_test_mark(worker, &worker->slots[slot], worker, NULL);
	exmem_free_runs(&worker->slots[slot]);
	worker->sum -= worker->held[slot];
	worker->held[slot] = 0;
}

static unsigned long exmem_test_size(struct exmem_test_worker *worker)
{
	u32 log = prandom_u32_state(&worker->rnd);

	/* Many workers exhaust the pool soon: fewer of their requests are large. */
	log = worker->alone || log % 64 == 0 ? log / 64 % 12 : log / 64 % 7;
	return 1 + prandom_u32_state(&worker->rnd) % (1 << log);
}

static void exmem_test_alloc_slot(struct exmem_test_worker *worker, int slot)
{
	unsigned long nr = exmem_test_size(worker);
	struct list_head *runs = &worker->slots[slot];
	int ret = exmem_alloc_pages(nr, runs);
	struct page *first;

	if (worker->alone)
		worker->wrong += ret != (worker->sum + nr > worker->room ? -ENOMEM : 0);
	if (ret) {
		worker->wrong += !list_empty(runs);
		return;
	}

	exmem_test_mark(worker, runs, NULL, worker);
	first = exmem_run_page(exmem_test_first_run(runs));
	if (prandom_u32_state(&worker->rnd) % 16 == 0)
		worker->wrong += !exmem_test_was_zero_now_dirty(first);
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
			exmem_test_free_slot(worker, slot);
		else
			exmem_test_alloc_slot(worker, slot);
		if (worker->alone)
			worker->wrong += exmem_test_free() != worker->room - worker->sum;
		cond_resched();
	}
	for (slot = 0; slot < EXMEM_TEST_SLOTS; slot++)
		exmem_test_free_slot(worker, slot);
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

	/* Leave so few pages that many requests fail. */
	worker->alone = true;
	worker->room = 2000;
	worker->ops = 20000;
	KUNIT_ASSERT_EQ(test, exmem_alloc_pages(exmem_test_total() - worker->room, &ballast), 0);
	exmem_test_work(&worker->work);
	KUNIT_EXPECT_EQ(test, worker->wrong, 0);
	exmem_free_runs(&ballast);
}

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

/* Allocates page by page until none is left, and frees some meanwhile. */
static void exmem_test_exhaust(struct work_struct *work)
{
	struct exmem_test_worker *worker = container_of(work, struct exmem_test_worker, work);
	struct list_head *runs = &worker->slots[0];
	struct exmem_run *run;

	while (!exmem_alloc_pages(1, runs)) {
		worker->sum++;
		if (worker->ops++ % 3 == 2) {
			run = exmem_test_first_run(runs);
			list_del(&run->list);
			exmem_free_pages(exmem_run_page(run), 1);
			worker->sum--;
		}
		cond_resched();
	}
}

/* When the last worker fails, nobody frees pages any more: no cache may hold any. */
static void exmem_test_exhaust_all_cpus(struct kunit *test)
{
	struct exmem_test_worker *workers = exmem_test_workers(test, exmem_test_exhaust);
	unsigned long sum = 0;
	int cpu;

	exmem_test_run(workers);
	for_each_online_cpu(cpu)
		sum += workers[cpu].sum;
	KUNIT_EXPECT_EQ(test, sum, exmem_test_total());
	KUNIT_EXPECT_EQ(test, exmem_test_free(), 0);
	for_each_online_cpu(cpu)
		exmem_free_runs(&workers[cpu].slots[0]);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), exmem_test_total());
}

#ifdef CONFIG_MEMORY_FAILURE
static void exmem_test_poison(struct page *page)
{
	/* All it can do is to mark the page. */
	memory_failure(page_to_pfn(page), MF_SW_SIMULATED);
}

static void exmem_test_poison_in_use(struct kunit *test)
{
	unsigned long total = exmem_test_total();
	struct page *page = exmem_test_alloc_run(test, 16);
	LIST_HEAD(runs);
	void *addr;

	exmem_test_dirty(test, page, 16);
	exmem_test_poison(page + 5);
	KUNIT_ASSERT_TRUE(test, PageHWPoison(page + 5));
	exmem_free_pages(page, 16);
	KUNIT_EXPECT_EQ(test, exmem_test_stats().poisoned, 1);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total - 1);

	/* It was not cleared, the pages around it were. */
	addr = exmem_test_vmap(test, page + 5, 1);
	KUNIT_EXPECT_NULL(test, memchr_inv(addr, 0xa5, PAGE_SIZE));
	exmem_test_dirty(test, page + 6, 1);
	exmem_clear_regions();
	KUNIT_EXPECT_NULL(test, memchr_inv(addr, 0xa5, PAGE_SIZE));
	vunmap(addr);
	exmem_test_expect_zero(test, page, 5);
	exmem_test_expect_zero(test, page + 6, 10);

	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(total, &runs), -ENOMEM);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(total - 1, &runs), 0);
	exmem_free_runs(&runs);
	exmem_test_unpoison(test, page + 5);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);
}

/* A page is poisoned while it is free: in its node, or in a cache. */
static void exmem_test_poison_free(struct kunit *test)
{
	unsigned long nr, total = exmem_test_total();
	struct exmem_run *run;
	struct page *page;
	LIST_HEAD(runs);

	for (nr = 1; nr <= 64; nr *= 64) {
		page = exmem_test_alloc_run(test, nr);
		exmem_free_pages(page, nr);
		exmem_test_poison(page);

		/* All other pages have been allocated when it is found: none is lost. */
		KUNIT_EXPECT_EQ(test, exmem_alloc_pages(total, &runs), -ENOMEM);
		KUNIT_EXPECT_TRUE(test, list_empty(&runs));
		KUNIT_EXPECT_EQ(test, exmem_test_stats().poisoned, 1);
		KUNIT_EXPECT_EQ(test, exmem_test_free(), total - 1);
		KUNIT_EXPECT_EQ(test, exmem_alloc_pages(total - 1, &runs), 0);
		list_for_each_entry(run, &runs, list)
			KUNIT_EXPECT_FALSE(test, in_range(page_to_pfn(page),
							  page_to_pfn(exmem_run_page(run)),
							  run->nr));
		exmem_free_runs(&runs);
		exmem_test_unpoison(test, page);
	}
}
#endif /* CONFIG_MEMORY_FAILURE */

static int exmem_test_pool_init(struct kunit *test)
{
	if (exmem_test_total() < 4 * EXMEM_REGION_PAGES)
		kunit_skip(test, "needs exmem=8M or more");
	KUNIT_ASSERT_EQ(test, exmem_test_free(), exmem_test_total());
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(0)), 0);
	return 0;
}

static void exmem_test_pool_exit(struct kunit *test)
{
	unsigned long total = exmem_test_total();
	LIST_HEAD(runs);

	exmem_test_expect_high(test);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), total);
	KUNIT_EXPECT_EQ(test, exmem_alloc_pages(total, &runs), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_free(), 0);
	exmem_free_runs(&runs);
	set_cpus_allowed_ptr(current, cpu_possible_mask);
}

static struct kunit_case exmem_test_pool_cases[] = {
	KUNIT_CASE(exmem_test_counts),
	KUNIT_CASE(exmem_test_one_owner),
	KUNIT_CASE(exmem_test_exhaustion),
	KUNIT_CASE(exmem_test_packing),
	KUNIT_CASE(exmem_test_pieces_of_pool),
	KUNIT_CASE(exmem_test_unmapped_in_use),
	KUNIT_CASE(exmem_test_cached_elsewhere),
	KUNIT_CASE(exmem_test_failure_drains_nothing),
	KUNIT_CASE(exmem_test_drains_own_nodes),
	KUNIT_CASE(exmem_test_killed),
	KUNIT_CASE(exmem_test_count_moving),
	KUNIT_CASE(exmem_test_nodes),
	KUNIT_CASE(exmem_test_double_free),
	KUNIT_CASE(exmem_test_zeroing),
	KUNIT_CASE(exmem_test_exhaust_all_cpus),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(exmem_test_poison_in_use),
	KUNIT_CASE(exmem_test_poison_free),
#endif
	KUNIT_CASE_SLOW(exmem_test_random),
	KUNIT_CASE_SLOW(exmem_test_all_cpus),
	{}
};

static struct kunit_suite exmem_test_pool_suite = {
	.name = "exmem_pool",
	.init = exmem_test_pool_init,
	.exit = exmem_test_pool_exit,
	.test_cases = exmem_test_pool_cases,
};

kunit_test_suite(exmem_test_pool_suite);
