// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: reboot, halt, power-off and kexec.
 *
 * The next kernel can read all memory. So pages that are still in use are cleared on
 * the way down: tasks are frozen before devices are shut down, and the pages are
 * cleared after that, by all CPUs. A free page is zero already.
 *
 * A kexec jump keeps the contents of all memory, and comes here neither before it
 * nor after it.
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

/* The machine goes down after this time, even if pages are left. */
#define EXMEM_CLEAR_TIME	(60 * HZ)

/**
 * struct exmem_clearing - CPUs clear the pages in use
 * @lock: protects @next
 * @next: which regions are left, see exmem_find_region_from()
 * @end: no CPU begins with another region after this time
 * @late: a region was left because of @end
 * @nr_pages: pages cleared so far
 * @nr_threads: threads that have not finished
 * @done: completed by the last of them
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

static int exmem_freeze_tasks(struct notifier_block *nb, unsigned long event, void *unused)
{
	int ret = freeze_processes();

	if (ret)
		pr_warn("tasks still run, and may write to their memory after it is cleared: %d\n",
			ret);
	return NOTIFY_DONE;
}

static struct notifier_block exmem_reboot_notifier = {
	.notifier_call = exmem_freeze_tasks,
	/* Last: other notifiers may depend on tasks. */
	.priority = INT_MIN,
};

static struct exmem_region *exmem_next_region(struct exmem_clearing *clearing)
{
	struct exmem_region *region;

	guard(spinlock)(&clearing->lock);
	region = exmem_find_region_from(&clearing->next);
	if (!region || time_before(jiffies, clearing->end))
		return region;
	clearing->late = true;
	return NULL;
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

static void exmem_clear_in_threads(struct exmem_clearing *clearing)
{
	int cpu;

	spin_lock_init(&clearing->lock);
	init_completion(&clearing->done);
	clearing->end = jiffies + EXMEM_CLEAR_TIME;
	atomic_set(&clearing->nr_threads, num_online_cpus());
	for_each_online_cpu(cpu)
		async_schedule_node(exmem_clear_in_thread, clearing, cpu_to_node(cpu));
	if (!wait_for_completion_timeout(&clearing->done, EXMEM_CLEAR_TIME + HZ))
		clearing->late = true;
	/* Zeroes in a cache do not survive a reset, but old contents of memory do. */
	exmem_arch_write_back();
}

static void exmem_shutdown(void *unused)
{
	struct exmem_clearing *clearing = &exmem_clearing;
	unsigned long start = jiffies;

	exmem_clear_in_threads(clearing);
	if (clearing->late)
		pr_warn("not all exclusive memory could be cleared in %u s\n",
			EXMEM_CLEAR_TIME / HZ);
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
	/* Before KVM: what is registered first is shut down last, when no guest can run. */
	register_syscore(&exmem_syscore);
	return register_reboot_notifier(&exmem_reboot_notifier);
}
subsys_initcall(exmem_shutdown_init);

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/shutdown-kunit.h"
#endif
