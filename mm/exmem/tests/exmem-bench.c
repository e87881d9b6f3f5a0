// SPDX-License-Identifier: GPL-2.0-only
/*
 * How the pool scales: threads that only alloc and free pages, first on one CPU,
 * then on several.
 *
 * It measures, and sets no target. It is skipped without exmem_bench.cpus=. To
 * measure after boot, boot with exmem_bench.rounds=0, set that parameter later, and
 * write to the suite's file "run" in debugfs.
 */
#include <kunit/test.h>
#include <linux/cache.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/exmem_pool.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>

static unsigned int exmem_bench_cpus;
module_param_named(cpus, exmem_bench_cpus, uint, 0600);
MODULE_PARM_DESC(cpus, "number of CPUs to compare with one (0: skip)");

static unsigned int exmem_bench_rounds = 15;
module_param_named(rounds, exmem_bench_rounds, uint, 0600);
MODULE_PARM_DESC(rounds, "number of times to measure each load");

#define EXMEM_BENCH_MSECS	100
/* Requests that a thread keeps while it makes the next one */
#define EXMEM_BENCH_HELD	8
/* Largest request of random size */
#define EXMEM_BENCH_MIXED	64
/* Steps of a load that shares nothing, for comparison */
#define EXMEM_BENCH_LOCAL	1000

struct exmem_bench_thread;

struct exmem_bench_load {
	const char *name;
	void (*step)(struct exmem_bench_thread *thread, struct list_head *held);
	unsigned int size;	/* of requests, in pages; 0: random */
};

struct exmem_bench_run {
	struct completion start;
	const struct exmem_bench_load *load;
	bool stop;
};

struct exmem_bench_thread {
	struct exmem_bench_run *run;
	struct completion done;
	struct rnd_state rnd;
	struct list_head held[EXMEM_BENCH_HELD];
	u64 pages;
	u64 nsecs;
	unsigned int refused;
} ____cacheline_aligned_in_smp;

static void exmem_bench_requests(struct exmem_bench_thread *thread, struct list_head *held)
{
	unsigned int size = thread->run->load->size;

	if (!size)
		size = 1 + prandom_u32_state(&thread->rnd) % EXMEM_BENCH_MIXED;
	exmem_free_runs(held);
	if (exmem_alloc_pages(size, held))
		thread->refused++;
	else
		thread->pages += size;
}

static void exmem_bench_local(struct exmem_bench_thread *thread, struct list_head *held)
{
	unsigned int i;

	for (i = 0; i < EXMEM_BENCH_LOCAL; i++)
		prandom_u32_state(&thread->rnd);
	thread->pages++;
}

static const struct exmem_bench_load exmem_bench_loads[] = {
	{ "1", exmem_bench_requests, 1 },
	{ "8", exmem_bench_requests, 8 },
	{ "64", exmem_bench_requests, 64 },
	{ "any", exmem_bench_requests },
	{ "none", exmem_bench_local },
};

static int exmem_bench_work(void *data)
{
	struct exmem_bench_thread *thread = data;
	unsigned int slot;
	u64 start;

	wait_for_completion(&thread->run->start);
	start = ktime_get_ns();
	for (slot = 0; !READ_ONCE(thread->run->stop); slot++) {
		thread->run->load->step(thread, &thread->held[slot % EXMEM_BENCH_HELD]);
		cond_resched();
	}
	thread->nsecs = ktime_get_ns() - start;

	for (slot = 0; slot < EXMEM_BENCH_HELD; slot++)
		exmem_free_runs(&thread->held[slot]);
	complete(&thread->done);
	return 0;
}

static int exmem_bench_start(struct exmem_bench_run *run, struct exmem_bench_thread *thread,
			     unsigned int cpu)
{
	struct task_struct *task;
	unsigned int slot;

	*thread = (struct exmem_bench_thread){ .run = run };
	init_completion(&thread->done);
	prandom_seed_state(&thread->rnd, cpu);
	for (slot = 0; slot < EXMEM_BENCH_HELD; slot++)
		INIT_LIST_HEAD(&thread->held[slot]);

	task = kthread_create_on_cpu(exmem_bench_work, thread, cpu, "exmem_bench/%u");
	if (IS_ERR(task))
		return PTR_ERR(task);
	wake_up_process(task);
	return 0;
}

static u64 exmem_bench_wait_for_rate(struct kunit *test, struct exmem_bench_thread *thread)
{
	wait_for_completion(&thread->done);
	KUNIT_EXPECT_EQ(test, thread->refused, 0);
	/* On a busy CPU it may have had no time to run. */
	return div64_u64(thread->pages * NSEC_PER_SEC, max(thread->nsecs, 1));
}

/* Total pages per second on @nr CPUs, starting with the @first online one */
static u64 exmem_bench_rate(struct kunit *test, struct exmem_bench_thread *threads,
			    const struct exmem_bench_load *load, unsigned int first,
			    unsigned int nr)
{
	struct exmem_bench_run run = { .load = load };
	unsigned int i, started;
	u64 rate = 0;
	int ret = 0;

	init_completion(&run.start);
	for (started = 0; started < nr; started++) {
		ret = exmem_bench_start(&run, &threads[started],
					cpumask_nth(first + started, cpu_online_mask));
		if (ret)
			break;
	}

	complete_all(&run.start);
	msleep(EXMEM_BENCH_MSECS);
	WRITE_ONCE(run.stop, true);

	for (i = 0; i < started; i++)
		rate += exmem_bench_wait_for_rate(test, &threads[i]);
	KUNIT_ASSERT_EQ(test, ret, 0);
	return rate;
}

/*
 * One thread runs before the many and one after them, on different CPUs: other work
 * on the machine disturbs them all alike.
 */
static void exmem_bench_round(struct kunit *test, struct exmem_bench_thread *threads,
			      const struct exmem_bench_load *load)
{
	unsigned int cpus = exmem_bench_cpus;
	u64 before = exmem_bench_rate(test, threads, load, 0, 1);
	u64 many = exmem_bench_rate(test, threads, load, 0, cpus);
	u64 after = exmem_bench_rate(test, threads, load, cpus - 1, 1);

	kunit_info(test, "requests %s: %llu pages/s on one CPU, %llu on %u\n",
		   load->name, (before + after) / 2, many, cpus);
}

static void exmem_bench_scaling(struct kunit *test)
{
	struct exmem_bench_thread *threads;
	unsigned int round, i;

	threads = kunit_kcalloc(test, exmem_bench_cpus, sizeof(*threads), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, threads);

	for (round = 0; round < exmem_bench_rounds; round++)
		for (i = 0; i < ARRAY_SIZE(exmem_bench_loads); i++)
			exmem_bench_round(test, threads, &exmem_bench_loads[i]);
}

static int exmem_bench_init(struct kunit *test)
{
	if (!exmem_bench_cpus)
		kunit_skip(test, "needs exmem_bench.cpus=");
	if (exmem_bench_cpus > num_online_cpus())
		kunit_skip(test, "only %u CPUs", num_online_cpus());
	return 0;
}

static struct kunit_case exmem_bench_cases[] = {
	KUNIT_CASE_SLOW(exmem_bench_scaling),
	{}
};

static struct kunit_suite exmem_bench_suite = {
	.name = "exmem_bench",
	.init = exmem_bench_init,
	.test_cases = exmem_bench_cases,
};

kunit_test_suite(exmem_bench_suite);
