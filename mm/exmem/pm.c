// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: hibernation.
 *
 * The image has no page of the pool. So no page may be in use when the image is
 * made, and the pages have to be cleared again after it has been restored.
 */
#include <linux/err.h>
#include <linux/exmem.h>
#include <linux/init.h>
#include <linux/platform_device.h>
#include <linux/pm.h>

#include "pool.h"

static int exmem_freeze(struct device *dev)
{
	/*
	 * User tasks are frozen, none of them inside a system call: nothing is being
	 * allocated, and the figures are exact. A page that is being freed counts as
	 * in use.
	 */
	return exmem_active() ? -EBUSY : 0;
}

static int exmem_restore(struct device *dev)
{
	/* The kernel that loaded the image may have used the pool's memory. */
	exmem_clear_free_pages();
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

static int __init exmem_pm_init(void)
{
	if (!exmem_enabled())
		return 0;
	/* Registered last, and so the first device to be asked. */
	return PTR_ERR_OR_ZERO(platform_create_bundle(&exmem_driver, NULL, NULL, 0, NULL, 0));
}
late_initcall(exmem_pm_init);
