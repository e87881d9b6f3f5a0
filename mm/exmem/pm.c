// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: hibernation. An image has no page of the pool. So none may be
 * in use when it is made, and none holds what it should when it was restored.
 */
#include <linux/err.h>
#include <linux/init.h>
#include <linux/platform_device.h>
#include <linux/pm.h>

#include "internal.h"

/*
 * Tasks of users are frozen, and none of them in the middle of a system call: no
 * page is being taken, and the figures are exact. One that is on its way back
 * counts as in use.
 */
static int exmem_freeze(struct device *dev)
{
	return exmem_active() ? -EBUSY : 0;
}

/* The kernel that has restored the image did with the pool's memory as it liked. */
static int exmem_restore(struct device *dev)
{
	exmem_clear_all();
	return 0;
}

static const struct dev_pm_ops exmem_pm_ops = {
	.freeze		= exmem_freeze,
	.restore	= exmem_restore,
};

static struct platform_driver exmem_driver = {
	.driver = {
		.name	= "exmem",
		.pm	= &exmem_pm_ops,
	},
};

/* Late: the device comes last, so that its refusal comes first. */
static int __init exmem_pm_init(void)
{
	if (nodes_empty(exmem_pool_nodes))
		return 0;
	return PTR_ERR_OR_ZERO(platform_create_bundle(&exmem_driver, NULL, NULL, 0, NULL, 0));
}
late_initcall(exmem_pm_init);
