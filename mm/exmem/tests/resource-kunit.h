/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unit tests for resources; included by resource.c.
 *
 * They add system RAM in an unused range of physical addresses.
 */
#include <kunit/test.h>
#include <linux/sizes.h>

#define EXMEM_TEST_RAM_SIZE	SZ_16M

static struct resource exmem_test_ram;

static phys_addr_t __init exmem_test_add_ram(struct kunit *test)
{
	exmem_test_ram = DEFINE_RES_NAMED(0, 0, "System RAM",
					  IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY);
	KUNIT_ASSERT_EQ(test, allocate_resource(&iomem_resource, &exmem_test_ram,
						EXMEM_TEST_RAM_SIZE, SZ_4G, -1, SZ_1G, NULL, NULL),
			0);
	return exmem_test_ram.start;
}

static struct resource * __init exmem_test_resource_at(phys_addr_t addr)
{
	struct resource *res = iomem_resource.child;

	while (res && res->end < addr)
		res = res->sibling;
	return res && res->start <= addr ? res : NULL;
}

static void __init exmem_test_expect_part(struct kunit *test, phys_addr_t base, size_t size,
					  const char *name)
{
	struct resource *res = exmem_test_resource_at(base);

	KUNIT_EXPECT_NOT_NULL(test, res);
	if (!res)
		return;
	KUNIT_EXPECT_EQ(test, res->start, base);
	KUNIT_EXPECT_EQ(test, resource_size(res), size);
	KUNIT_EXPECT_STREQ(test, res->name, name);
	KUNIT_EXPECT_EQ(test, res->flags & IORESOURCE_SYSTEM_RAM, IORESOURCE_SYSTEM_RAM);
}

static void __init exmem_test_remove_ram(phys_addr_t base)
{
	phys_addr_t addr;

	for (addr = base; addr < base + EXMEM_TEST_RAM_SIZE; addr += SZ_2M)
		if (exmem_test_resource_at(addr))
			release_resource(exmem_test_resource_at(addr));
}

/* Split off MiB @from to @to. A child fills each of the parts that remain. */
static void __init exmem_test_split(struct kunit *test, unsigned int from, unsigned int to)
{
	static struct resource rest[2], before, after;
	phys_addr_t base = exmem_test_add_ram(test);

	before = DEFINE_RES_MEM_NAMED(base, from * SZ_1M, "before");
	after = DEFINE_RES_MEM_NAMED(base + to * SZ_1M, EXMEM_TEST_RAM_SIZE - to * SZ_1M, "after");
	if (from)
		KUNIT_EXPECT_EQ(test, request_resource(&exmem_test_ram, &before), 0);
	if (to * SZ_1M < EXMEM_TEST_RAM_SIZE)
		KUNIT_EXPECT_EQ(test, request_resource(&exmem_test_ram, &after), 0);

	exmem_replace_resource(&exmem_test_ram, &rest[0], &rest[1], base + from * SZ_1M,
			       base + to * SZ_1M - 1);
	exmem_test_expect_part(test, base + from * SZ_1M, (to - from) * SZ_1M, "Exclusive memory");
	if (from) {
		exmem_test_expect_part(test, base, from * SZ_1M, "System RAM");
		KUNIT_EXPECT_PTR_EQ(test, before.parent, exmem_test_resource_at(base));
	}
	if (to * SZ_1M < EXMEM_TEST_RAM_SIZE) {
		exmem_test_expect_part(test, after.start, resource_size(&after), "System RAM");
		KUNIT_EXPECT_PTR_EQ(test, after.parent, exmem_test_resource_at(after.start));
	}
	exmem_test_remove_ram(base);
}

static void __init exmem_test_replace_resource(struct kunit *test)
{
	exmem_test_split(test, 4, 6);
	exmem_test_split(test, 0, 2);
	exmem_test_split(test, 14, 16);
	exmem_test_split(test, 0, 16);
}

static void __init exmem_test_find_ram(struct kunit *test)
{
	phys_addr_t base = exmem_test_add_ram(test), end = base + EXMEM_TEST_RAM_SIZE;

	KUNIT_EXPECT_PTR_EQ(test, exmem_find_ram(base, end - 1), &exmem_test_ram);
	KUNIT_EXPECT_NULL(test, exmem_find_ram(end, end + SZ_2M - 1));
	KUNIT_EXPECT_NULL(test, exmem_find_ram(base, end));
	exmem_test_ram.flags = IORESOURCE_MEM | IORESOURCE_BUSY;
	KUNIT_EXPECT_NULL(test, exmem_find_ram(base, end - 1));
	exmem_test_remove_ram(base);
}

static struct kunit_case __refdata exmem_test_resource_cases[] = {
	KUNIT_CASE(exmem_test_find_ram),
	KUNIT_CASE(exmem_test_replace_resource),
	{}
};

static struct kunit_suite exmem_test_resource_suite = {
	.name = "exmem_resource",
	.test_cases = exmem_test_resource_cases,
};

kunit_test_init_section_suite(exmem_test_resource_suite);
