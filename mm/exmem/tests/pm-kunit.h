/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unit tests for hibernation; included by pm.c.
 *
 * They run at boot, while nobody else uses the pool, and leave all pages free and zero.
 */
#include <linux/platform_device.h>

#include "exmem-kunit.h"

/* The callbacks of the device, as the PM core finds them. */
static const struct dev_pm_ops *exmem_test_ops;

static void exmem_test_notify(unsigned long event)
{
	exmem_pm_notifier.notifier_call(&exmem_pm_notifier, event, NULL);
}

/* Xen and kexec jump: no notification, and pages stay in use. */
static void exmem_test_not_hibernation(struct kunit *test)
{
	struct page *page = exmem_test_alloc_dirty(test, 1);

	KUNIT_EXPECT_EQ(test, exmem_test_ops->freeze(NULL), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_ops->restore(NULL), 0);
	exmem_test_expect_dirty(test, page);
	KUNIT_EXPECT_EQ(test, exmem_test_ops->freeze(NULL), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_ops->thaw(NULL), 0);
	exmem_test_expect_dirty(test, page);
	exmem_free_pages(page, 1);
}

static void exmem_test_page_in_use(struct kunit *test)
{
	static const unsigned long events[][2] = {
		{ PM_HIBERNATION_PREPARE, PM_POST_HIBERNATION },
		{ PM_RESTORE_PREPARE, PM_POST_RESTORE },
	};
	struct page *page = exmem_test_alloc_dirty(test, 1);
	int i;

	for (i = 0; i < ARRAY_SIZE(events); i++) {
		exmem_test_notify(events[i][0]);
		KUNIT_EXPECT_EQ(test, exmem_test_ops->freeze(NULL), -EBUSY);
		exmem_test_notify(events[i][1]);
		KUNIT_EXPECT_EQ(test, exmem_test_ops->freeze(NULL), 0);
		KUNIT_EXPECT_EQ(test, exmem_test_ops->restore(NULL), 0);
		exmem_test_expect_dirty(test, page);
	}
	exmem_free_pages(page, 1);
}

static void exmem_test_image_restored(struct kunit *test)
{
	struct page *page = exmem_test_alloc_dirty(test, 1);

	exmem_free_pages(page, 1);
	exmem_test_notify(PM_HIBERNATION_PREPARE);
	KUNIT_EXPECT_EQ(test, exmem_test_ops->freeze(NULL), 0);
	/* The other kernel uses the page. */
	exmem_test_dirty(test, page, 1);
	KUNIT_EXPECT_EQ(test, exmem_test_ops->restore(NULL), 0);
	exmem_test_expect_zero(test, page, 1);

	/* Only once: ->restore() is called for other reasons, too. */
	exmem_test_dirty(test, page, 1);
	KUNIT_EXPECT_EQ(test, exmem_test_ops->restore(NULL), 0);
	exmem_test_expect_dirty(test, page);
	exmem_test_notify(PM_POST_HIBERNATION);
	exmem_clear_free_pages();
}

/* The kernel that made the image fails to power off, and user tasks run on. */
static void exmem_test_image_made(struct kunit *test)
{
	struct page *page;

	exmem_test_notify(PM_HIBERNATION_PREPARE);
	KUNIT_EXPECT_EQ(test, exmem_test_ops->freeze(NULL), 0);
	KUNIT_EXPECT_EQ(test, exmem_test_ops->thaw(NULL), 0);
	page = exmem_test_alloc_dirty(test, 1);
	KUNIT_EXPECT_EQ(test, exmem_test_ops->restore(NULL), 0);
	exmem_test_expect_dirty(test, page);
	exmem_test_notify(PM_POST_HIBERNATION);
	exmem_free_pages(page, 1);
}

static int exmem_test_pm_init(struct kunit *test)
{
	struct device *dev = bus_find_device_by_name(&platform_bus_type, NULL, "exmem");

	if (!exmem_enabled())
		kunit_skip(test, "needs exmem=");
	KUNIT_ASSERT_NOT_NULL(test, dev);
	KUNIT_ASSERT_NOT_NULL(test, dev->driver);
	exmem_test_ops = dev->driver->pm;
	put_device(dev);
	KUNIT_ASSERT_FALSE(test, exmem_active());
	return 0;
}

static void exmem_test_pm_exit(struct kunit *test)
{
	if (test->status != KUNIT_SKIPPED)
		KUNIT_EXPECT_FALSE(test, exmem_active());
}

static struct kunit_case exmem_test_pm_cases[] = {
	KUNIT_CASE(exmem_test_not_hibernation),
	KUNIT_CASE(exmem_test_page_in_use),
	KUNIT_CASE(exmem_test_image_restored),
	KUNIT_CASE(exmem_test_image_made),
	{}
};

static struct kunit_suite exmem_test_pm_suite = {
	.name = "exmem_pm",
	.init = exmem_test_pm_init,
	.exit = exmem_test_pm_exit,
	.test_cases = exmem_test_pm_cases,
};

kunit_test_suite(exmem_test_pm_suite);
