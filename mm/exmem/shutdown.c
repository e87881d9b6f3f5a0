// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: reboot, halt, power-off and kexec.
 *
 * The next kernel can read all memory. So pages that are still in use are cleared at
 * shutdown: tasks are frozen before devices are shut down, and all CPUs clear the pages
 * after that. A free page is zero already.
 *
 * A kexec jump preserves all memory, and calls nothing in this file.
 */
#define pr_fmt(fmt) "exmem: " fmt

#include <linux/async.h>
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/exmem.h>
#include <linux/freezer.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/notifier.h>
#include <linux/printk.h>
#include <linux/reboot.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/suspend.h>
#include <linux/syscore_ops.h>
#include <linux/topology.h>

#include "region.h"

/* The machine goes down after this time, even if some pages are not cleared yet. */
#define EXMEM_CLEAR_TIME	(60 * HZ)

/**
 * struct exmem_clearing - progress of the CPUs in clearing pages that are not free
 * @lock: protects @next and @late
 * @next: index of the next region; see exmem_find_region_from()
 * @end: no CPU starts another region after this time
 * @late: not all regions were started in time
 * @nr_pages: pages cleared so far
 * @nr_threads: threads that have not finished
 * @done: completed by the last thread
 */
struct exmem_clearing {
	spinlock_t lock;	/* see above */
	unsigned long next;
	unsigned long end;
	bool late;
	atomic_long_t nr_pages;
	atomic_t nr_threads;
	struct completion done;
};

/* Not on a stack: the machine does not wait for a thread that is stuck. */
static struct exmem_clearing exmem_clearing;

static bool exmem_tried_to_freeze;

static void exmem_freeze_tasks(void)
{
	int ret = freeze_processes();

	exmem_tried_to_freeze = true;
	if (ret)
		pr_warn("cannot freeze all tasks (%d): they may write to pages after these are cleared\n",
			ret);
}

static int exmem_reboot_notify(struct notifier_block *nb, unsigned long event, void *unused)
{
	/* Drivers may need a task for the shutdown of their device: freeze none without need. */
	if (exmem_active())
		exmem_freeze_tasks();
	return NOTIFY_DONE;
}

static struct notifier_block exmem_reboot_notifier = {
	.notifier_call = exmem_reboot_notify,
	/* Last: other notifiers may depend on tasks. */
	.priority = INT_MIN,
};

static struct exmem_region *exmem_next_region(struct exmem_clearing *clearing)
{
	struct exmem_region *region;

	spin_lock(&clearing->lock);
	region = exmem_find_region_from(&clearing->next);
	if (region && !time_before(jiffies, clearing->end)) {
		clearing->late = true;
		region = NULL;
	}
	spin_unlock(&clearing->lock);
	return region;
}

static void exmem_clear_in_thread(void *data, async_cookie_t cookie)
{
	struct exmem_clearing *clearing = data;
	struct exmem_region *region;

	while ((region = exmem_next_region(clearing)))
		atomic_long_add(exmem_clear_busy_pages(region), &clearing->nr_pages);
	if (atomic_dec_and_test(&clearing->nr_threads))
		complete(&clearing->done);
}

/* Returns false if a thread is stuck. */
static bool exmem_clear_in_threads(struct exmem_clearing *clearing)
{
	int cpu;

	spin_lock_init(&clearing->lock);
	init_completion(&clearing->done);
	clearing->end = jiffies + EXMEM_CLEAR_TIME;
	atomic_set(&clearing->nr_threads, num_online_cpus());
	for_each_online_cpu(cpu)
		async_schedule_node(exmem_clear_in_thread, clearing, cpu_to_node(cpu));
	return wait_for_completion_timeout(&clearing->done, EXMEM_CLEAR_TIME + HZ);
}

static void exmem_shutdown(void *unused)
{
	struct exmem_clearing *clearing = &exmem_clearing;
	unsigned long start = jiffies;

	/* Pages were allocated later, or another notifier has ended the chain. */
	if (!exmem_tried_to_freeze && exmem_active())
		exmem_freeze_tasks();
	/* A reset loses zeroes that are only in a cache, and memory keeps its old contents. */
	if (exmem_clear_in_threads(clearing))
		exmem_arch_write_back();
	else
		pr_warn("a CPU is stuck, and may not have cleared its pages\n");

	if (clearing->late)
		pr_warn("not all pages in use could be cleared in %u s\n", EXMEM_CLEAR_TIME / HZ);
	pr_info("cleared %lu KiB in %u ms\n",
		atomic_long_read(&clearing->nr_pages) * (PAGE_SIZE / SZ_1K),
		jiffies_to_msecs(jiffies - start));
}

static const struct syscore_ops exmem_syscore_ops = {
	.shutdown = exmem_shutdown,
};

static struct syscore exmem_syscore = {
	.ops = &exmem_syscore_ops,
};

static int __init exmem_shutdown_init(void)
{
	if (!exmem_enabled())
		return 0;
	/* Registered before KVM's, and so called after it, when no guest can run. */
	register_syscore(&exmem_syscore);
	return register_reboot_notifier(&exmem_reboot_notifier);
}
subsys_initcall(exmem_shutdown_init);

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/shutdown-kunit.h"
#endif
