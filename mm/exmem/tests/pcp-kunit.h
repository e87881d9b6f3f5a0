/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unit tests for the per-CPU caches; included by pcp.c.
 *
 * They run at boot, while nobody else uses the pool.
 */
#include <linux/cpu.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

#include "exmem-kunit.h"

static void exmem_test_free_to_node(struct list_head *runs)
{
	struct exmem_run *run, *next;

	list_for_each_entry_safe(run, next, runs, list) {
		list_del(&run->list);
		exmem_node_free(exmem_run_page(run), run->nr);
	}
}

/* Alloc one page and free it: that fills the cache of the CPU it runs on. */
static long exmem_test_fill_pcp(void *unused)
{
	int nid = this_cpu_read(exmem_pcp.nid);
	LIST_HEAD(runs);

	if (!exmem_pcp_alloc(nid, 1, &runs))
		return -ENOMEM;
	return exmem_pcp_free(exmem_run_page(exmem_test_first_run(&runs)), 1) ? 0 : -EINVAL;
}

static void exmem_test_disable(struct kunit *test)
{
	unsigned long total = exmem_nodes_total(&exmem_pool_nodes);
	LIST_HEAD(runs);
	int cpu;

	for_each_online_cpu(cpu) {
		KUNIT_EXPECT_EQ(test, work_on_cpu(cpu, exmem_test_fill_pcp, NULL), 0);
		KUNIT_EXPECT_GT(test, per_cpu_ptr(&exmem_pcp, cpu)->count, 0);
	}
	KUNIT_EXPECT_LT(test, exmem_nodes_free(&exmem_pool_nodes), total);
	KUNIT_EXPECT_EQ(test, exmem_nodes_free(&exmem_pool_nodes) +
			      exmem_pcp_pages(&exmem_pool_nodes), total);

	exmem_disable_pcps(&exmem_pool_nodes);
	KUNIT_EXPECT_EQ(test, exmem_pcp_pages(&exmem_pool_nodes), 0);
	KUNIT_EXPECT_EQ(test, exmem_nodes_free(&exmem_pool_nodes), total);
	KUNIT_EXPECT_FALSE(test, exmem_pcp_alloc(this_cpu_read(exmem_pcp.nid), 1, &runs));
	exmem_enable_pcps();
	KUNIT_EXPECT_EQ(test, exmem_test_fill_pcp(NULL), 0);
}

/* Neither another node's pages nor long runs are cached. */
static void exmem_test_refusals(struct kunit *test)
{
	int n, nid = this_cpu_read(exmem_pcp.nid);
	unsigned long long_run = EXMEM_PCP_MAX_RUN + 1;
	struct page *page;
	LIST_HEAD(runs);

	KUNIT_EXPECT_FALSE(test, exmem_pcp_alloc(NUMA_NO_NODE, 1, &runs));
	KUNIT_EXPECT_FALSE(test, exmem_pcp_alloc(nid, long_run, &runs));
	KUNIT_EXPECT_TRUE(test, list_empty(&runs));
	KUNIT_ASSERT_EQ(test, exmem_node_alloc(nid, long_run, long_run, &runs), long_run);
	KUNIT_EXPECT_FALSE(test, exmem_pcp_free(exmem_run_page(exmem_test_first_run(&runs)),
						long_run));
	exmem_test_free_to_node(&runs);

	for_each_node_mask(n, exmem_pool_nodes) {
		KUNIT_ASSERT_EQ(test, exmem_node_alloc(n, 1, 1, &runs), 1);
		page = exmem_run_page(exmem_test_first_run(&runs));
		if (n != nid) {
			KUNIT_EXPECT_FALSE(test, exmem_pcp_alloc(n, 1, &runs));
			KUNIT_EXPECT_FALSE(test, exmem_pcp_free(page, 1));
		}
		exmem_test_free_to_node(&runs);
	}
}

/* The shortest run that is long enough is split, and the rest of it stays cached. */
static void exmem_test_split_run(struct kunit *test)
{
	struct exmem_pcp *pcp = this_cpu_ptr(&exmem_pcp);
	struct exmem_run *run;
	unsigned int count;
	LIST_HEAD(runs);

	KUNIT_ASSERT_EQ(test, exmem_test_fill_pcp(NULL), 0);
	count = pcp->count;
	KUNIT_ASSERT_GE(test, count, 4);
	KUNIT_ASSERT_TRUE(test, exmem_pcp_alloc(pcp->nid, 3, &runs));
	run = exmem_test_first_run(&runs);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&runs));
	KUNIT_EXPECT_EQ(test, run->nr, 3);
	KUNIT_EXPECT_EQ(test, pcp->count, count - 3);
	KUNIT_EXPECT_TRUE(test, exmem_pcp_free(exmem_run_page(run), 3));
	KUNIT_EXPECT_EQ(test, pcp->count, count);
}

/* Where only single pages are free, a cache has to use these. */
static void exmem_test_fragments(struct kunit *test)
{
	struct exmem_pcp *pcp = this_cpu_ptr(&exmem_pcp);
	nodemask_t node = nodemask_of_node(pcp->nid);
	unsigned long i, total = exmem_nodes_total(&node);
	struct exmem_run *run, *next;
	LIST_HEAD(singles);
	LIST_HEAD(runs);

	exmem_drain_pcps(&node);
	for (i = 0; i < total; i++)
		KUNIT_ASSERT_EQ(test, exmem_node_alloc(pcp->nid, 1, 1, &singles), 1);
	list_for_each_entry_safe(run, next, &singles, list) {
		if (page_to_pfn(exmem_run_page(run)) % 2)
			continue;
		list_del(&run->list);
		exmem_node_free(exmem_run_page(run), 1);
	}
	for (i = 0; i < 200; i++) {
		KUNIT_EXPECT_TRUE(test, exmem_pcp_alloc(pcp->nid, 1 + i % 10, &runs));
		KUNIT_EXPECT_LE(test, pcp->count, pcp->high);
	}
	exmem_test_free_to_node(&runs);
	exmem_test_free_to_node(&singles);
}

/* A CPU that goes offline leaves its pages to others, and may come back. */
static void exmem_test_hotplug(struct kunit *test)
{
	int cpu = cpumask_last(cpu_online_mask);
	struct exmem_pcp *pcp = per_cpu_ptr(&exmem_pcp, cpu);
	nodemask_t node = nodemask_of_node(pcp->nid);
	unsigned long free;

	if (!cpu || !pcp->high)
		kunit_skip(test, "needs two CPUs, and a pool that has room for caches");
	KUNIT_ASSERT_EQ(test, work_on_cpu(cpu, exmem_test_fill_pcp, NULL), 0);
	KUNIT_EXPECT_GT(test, pcp->count, 0);
	free = exmem_nodes_free(&node) + pcp->count;

	KUNIT_ASSERT_EQ(test, remove_cpu(cpu), 0);
	KUNIT_EXPECT_EQ(test, pcp->count, 0);
	KUNIT_EXPECT_EQ(test, exmem_nodes_free(&node), free);
	KUNIT_ASSERT_EQ(test, add_cpu(cpu), 0);

	KUNIT_EXPECT_EQ(test, work_on_cpu(cpu, exmem_test_fill_pcp, NULL), 0);
	KUNIT_EXPECT_GT(test, pcp->count, 0);
}

#ifdef CONFIG_MEMORY_FAILURE
/* A request that meets a poisoned page in the cache gets another one. */
static void exmem_test_poison_in_pcp(struct kunit *test)
{
	int nid = this_cpu_read(exmem_pcp.nid);
	struct exmem_node_stats stats;
	struct page *page;
	LIST_HEAD(runs);

	KUNIT_ASSERT_TRUE(test, exmem_pcp_alloc(nid, 1, &runs));
	page = exmem_run_page(exmem_test_first_run(&runs));
	INIT_LIST_HEAD(&runs);
	KUNIT_ASSERT_TRUE(test, exmem_pcp_free(page, 1));
	memory_failure(page_to_pfn(page), MF_SW_SIMULATED);

	KUNIT_ASSERT_TRUE(test, exmem_pcp_alloc(nid, 1, &runs));
	KUNIT_EXPECT_PTR_NE(test, exmem_run_page(exmem_test_first_run(&runs)), page);
	exmem_node_read_stats(nid, &stats);
	KUNIT_EXPECT_EQ(test, stats.poisoned, 1);
	exmem_test_free_to_node(&runs);
	exmem_test_unpoison(test, page);
}
#endif /* CONFIG_MEMORY_FAILURE */

static int exmem_test_pcp_init(struct kunit *test)
{
	/* Stay on one CPU, so that its cache is the one in use. */
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(0)), 0);
	if (this_cpu_read(exmem_pcp.high) < EXMEM_PCP_MAX_HIGH)
		kunit_skip(test, "needs exmem=64M or more");
	return 0;
}

void exmem_test_expect_high(struct kunit *test)
{
	int cpu;

	for_each_possible_cpu(cpu)
		KUNIT_EXPECT_LE(test, per_cpu_ptr(&exmem_pcp, cpu)->count,
				per_cpu_ptr(&exmem_pcp, cpu)->high);
}

static void exmem_test_pcp_exit(struct kunit *test)
{
	exmem_test_expect_high(test);
	exmem_drain_pcps(&exmem_pool_nodes);
	KUNIT_EXPECT_EQ(test, exmem_nodes_free(&exmem_pool_nodes),
			exmem_nodes_total(&exmem_pool_nodes));
	set_cpus_allowed_ptr(current, cpu_possible_mask);
}

static struct kunit_case exmem_test_pcp_cases[] = {
	KUNIT_CASE(exmem_test_disable),
	KUNIT_CASE(exmem_test_refusals),
	KUNIT_CASE(exmem_test_split_run),
	KUNIT_CASE(exmem_test_fragments),
	KUNIT_CASE(exmem_test_hotplug),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(exmem_test_poison_in_pcp),
#endif
	{}
};

static struct kunit_suite exmem_test_pcp_suite = {
	.name = "exmem_pcp",
	.init = exmem_test_pcp_init,
	.exit = exmem_test_pcp_exit,
	.test_cases = exmem_test_pcp_cases,
};

kunit_test_suite(exmem_test_pcp_suite);
