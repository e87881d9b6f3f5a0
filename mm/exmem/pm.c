// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: hibernation.
 *
 * The image has no page of the pool. So no page may be in use when the image is
 * made, and the pages have to be cleared again after it has been restored.
 *
 * Xen and kexec jump call the same device callbacks, but preserve all memory. They
 * send no notifications of hibernation.
 */
#include <linux/err.h>
#include <linux/exmem.h>
#include <linux/init.h>
#include <linux/platform_device.h>
#include <linux/pm.h>
#include <linux/suspend.h>

#include "pool.h"

/* Hibernation or resume is under way: devices may be frozen for an image. */
static bool exmem_hibernating;

/* No page is in use, and an image of this kernel may be made. The image has this set. */
static bool exmem_clear_on_restore;

static int exmem_pm_notify(struct notifier_block *nb, unsigned long event, void *unused)
{
	switch (event) {
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		exmem_hibernating = true;
		break;
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		exmem_hibernating = false;
		break;
	}
	return NOTIFY_OK;
}

static struct notifier_block exmem_pm_notifier = {
	.notifier_call = exmem_pm_notify,
};

static int exmem_freeze(struct device *dev)
{
	if (!exmem_hibernating)
		return 0;
	/*
	 * User tasks are frozen, none of them inside a system call: nothing is being
	 * allocated, and the figures are exact. A page that is being freed counts as
	 * in use.
	 */
	if (exmem_active())
		return -EBUSY;
	exmem_clear_on_restore = true;
	return 0;
}

static int exmem_thaw(struct device *dev)
{
	/* This kernel goes on: the image was made, or could not be made. */
	exmem_clear_on_restore = false;
	return 0;
}

static int exmem_restore(struct device *dev)
{
	/*
	 * Also called when Xen or a kexec jump returns, or the machine fails to power off.
	 * Pages may be in use then, and must not be cleared.
	 */
	if (!exmem_clear_on_restore)
		return 0;
	exmem_clear_on_restore = false;
	/* The kernel that loaded the image may have used the pool's memory. */
	exmem_clear_free_pages();
	return 0;
}

static const struct dev_pm_ops exmem_pm_ops = {
	.freeze		= exmem_freeze,
	.thaw		= exmem_thaw,
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
	int ret;

	if (!exmem_enabled())
		return 0;
	ret = register_pm_notifier(&exmem_pm_notifier);
	if (ret)
		return ret;
	/* Registered last, and so the first device to be asked. */
	return PTR_ERR_OR_ZERO(platform_create_bundle(&exmem_driver, NULL, NULL, 0, NULL, 0));
}
late_initcall(exmem_pm_init);

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/pm-kunit.h"
#endif
