/* SPDX-License-Identifier: GPL-2.0-only */
/* Unit tests for the boot parameter and the placement; included by boot.c. */
#include <kunit/test.h>

static struct exmem_request exmem_test_request __initdata;
static struct exmem_ranges exmem_test_ranges __initdata;

static bool __init exmem_test_parse(const char *param)
{
	char text[64];

	strscpy(text, param);
	exmem_parse(text, &exmem_test_request);
	return !exmem_test_request.bad;
}

static void __init exmem_test_parse_size(struct kunit *test)
{
	const struct {
		const char *param;
		u64 size;
	} sizes[] = {
		{ "0", 0 },
		{ "1", PMD_SIZE },
		{ "64M", 64 * SZ_1M },
		{ "65M", 66 * SZ_1M },
		{ "0x200000", PMD_SIZE },
		{ "2g", 2 * (u64)SZ_1G },
		{ "1T", SZ_1T },
		{ "999999999999999999", round_up(999999999999999999ULL, PMD_SIZE) },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		KUNIT_EXPECT_TRUE_MSG(test, exmem_test_parse(sizes[i].param), "%s",
				      sizes[i].param);
		KUNIT_EXPECT_EQ(test, exmem_test_request.size, sizes[i].size);
		KUNIT_EXPECT_EQ(test, exmem_asked(&exmem_test_request), sizes[i].size);
	}
}

static void __init exmem_test_parse_nodes(struct kunit *test)
{
	if (MAX_NUMNODES < 2)
		kunit_skip(test, "needs two nodes");
	KUNIT_ASSERT_TRUE(test, exmem_test_parse("0:64M,1:1"));
	KUNIT_EXPECT_EQ(test, exmem_test_request.size, 0);
	KUNIT_EXPECT_EQ(test, exmem_test_request.node[0].asked, 64 * SZ_1M);
	KUNIT_EXPECT_EQ(test, exmem_test_request.node[MAX_NUMNODES > 1].asked, PMD_SIZE);
	KUNIT_EXPECT_EQ(test, exmem_asked(&exmem_test_request), 64 * SZ_1M + PMD_SIZE);

	/* The last size counts, and nothing is left of the previous parameter. */
	KUNIT_ASSERT_TRUE(test, exmem_test_parse("0:2M,0:4M"));
	KUNIT_EXPECT_EQ(test, exmem_asked(&exmem_test_request), 4 * SZ_1M);
}

static void __init exmem_test_parse_nonsense(struct kunit *test)
{
	const char * const params[] = {
		"", "garbage", "-1", "64Q", "64M ", "16E", "99999999999999999999",
		",", ":", "0:", ":64M", "0:64M,", "64M,,1:x", "0:64M,1", "0:64M;1:2M",
		"-1:2M", "1024:2M", "0:16E",
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(params); i++)
		KUNIT_EXPECT_FALSE_MSG(test, exmem_test_parse(params[i]), "%s", params[i]);

	exmem_parse(NULL, &exmem_test_request);
	KUNIT_EXPECT_TRUE(test, exmem_test_request.bad);
}

static void __init exmem_test_asked_overflows(struct kunit *test)
{
	if (MAX_NUMNODES < 4)
		kunit_skip(test, "needs four nodes");
	KUNIT_ASSERT_TRUE(test, exmem_test_parse("0:4E,1:4E,2:4E,3:4E"));
	KUNIT_EXPECT_EQ(test, exmem_asked(&exmem_test_request), U64_MAX);
}

static void __init exmem_test_enough_remains(struct kunit *test)
{
	KUNIT_EXPECT_TRUE(test, exmem_enough_remains(768 * SZ_1M, SZ_1G));
	KUNIT_EXPECT_FALSE(test, exmem_enough_remains(768 * SZ_1M + PMD_SIZE, SZ_1G));
	KUNIT_EXPECT_TRUE(test, exmem_enough_remains(15 * (u64)SZ_1G, 16 * (u64)SZ_1G));
	KUNIT_EXPECT_FALSE(test, exmem_enough_remains(15 * (u64)SZ_1G + PMD_SIZE, 16 * (u64)SZ_1G));
	KUNIT_EXPECT_FALSE(test, exmem_enough_remains(PMD_SIZE, SZ_256M));
	KUNIT_EXPECT_FALSE(test, exmem_enough_remains(U64_MAX, SZ_1G));
}

static struct exmem_range __init exmem_test_range(u64 mib, u64 size_mib, int nid)
{
	return (struct exmem_range) {
		.base = mib * SZ_1M, .size = size_mib * SZ_1M, .nid = nid,
	};
}

static void __init exmem_test_ranges_merge(struct kunit *test)
{
	struct exmem_ranges *ranges = &exmem_test_ranges;

	ranges->nr = 0;
	exmem_add_range(ranges, exmem_test_range(64, 2, 0));
	exmem_add_range(ranges, exmem_test_range(68, 2, 0));
	KUNIT_EXPECT_EQ(test, ranges->nr, 2);
	/* Another node's memory does not join. */
	exmem_add_range(ranges, exmem_test_range(70, 2, 1));
	KUNIT_EXPECT_EQ(test, ranges->nr, 3);
	/* One that fills the gap joins both. */
	exmem_add_range(ranges, exmem_test_range(66, 2, 0));
	KUNIT_ASSERT_EQ(test, ranges->nr, 2);
	KUNIT_EXPECT_EQ(test, ranges->range[1].base, 64 * SZ_1M);
	KUNIT_EXPECT_EQ(test, ranges->range[1].size, 6 * SZ_1M);

	KUNIT_EXPECT_TRUE(test, exmem_ranges_reach(ranges, 0, 66 * SZ_1M));
	KUNIT_EXPECT_TRUE(test, exmem_ranges_reach(ranges, 71 * SZ_1M, SZ_1G));
	KUNIT_EXPECT_FALSE(test, exmem_ranges_reach(ranges, 0, 64 * SZ_1M));
	KUNIT_EXPECT_FALSE(test, exmem_ranges_reach(ranges, 72 * SZ_1M, SZ_1G));
}

static void __init exmem_test_range_within(struct kunit *test)
{
	struct exmem_ranges *ranges = &exmem_test_ranges;
	phys_addr_t start = 64 * SZ_1M, end = 128 * SZ_1M;
	struct exmem_range range;

	ranges->nr = 0;
	range = exmem_range_within(ranges, start, end, 8 * SZ_1M, 0);
	KUNIT_EXPECT_EQ(test, range.base, 120 * SZ_1M);
	KUNIT_EXPECT_EQ(test, range.size, 8 * SZ_1M);

	/* A range of another node is no neighbour. */
	exmem_add_range(ranges, exmem_test_range(62, 2, 1));
	range = exmem_range_within(ranges, start, end, 8 * SZ_1M, 0);
	KUNIT_EXPECT_EQ(test, range.base, 120 * SZ_1M);

	exmem_add_range(ranges, exmem_test_range(62, 2, 0));
	range = exmem_range_within(ranges, start, end, 8 * SZ_1M, 0);
	KUNIT_EXPECT_EQ(test, range.base, start);
	KUNIT_EXPECT_EQ(test, range.size, 8 * SZ_1M);

	range = exmem_range_within(ranges, start, end, SZ_1G, 0);
	KUNIT_EXPECT_EQ(test, range.base, start);
	KUNIT_EXPECT_EQ(test, range.size, end - start);
}

static void __init exmem_test_better_place(struct kunit *test)
{
	/* From the best to the worst */
	const struct exmem_place places[] = {
		{ exmem_test_range(5 * 1024, 512, 0), EXMEM_HIGH, 0 },
		{ exmem_test_range(5 * 1024, 512, 1), EXMEM_HIGH, SZ_1G },
		{ exmem_test_range(5 * 1024, 64, 0), EXMEM_HIGH, 0 },
		{ exmem_test_range(2048, 64, 0), EXMEM_LOW, 0 },
		{ exmem_test_range(64, 1024, 0), EXMEM_LOW, 0 },
		{ exmem_test_range(5 * 1024, 1024, 0), EXMEM_HIGH_LEAF, 0 },
		{ exmem_test_range(64, 1024, 0), EXMEM_LOW_REST, 0 },
		{ exmem_test_range(1024, 1024, 0), EXMEM_LOW_LEAF, 0 },
		{ exmem_test_range(5 * 1024, 0, 0), EXMEM_HIGH, 0 },
	};
	int a, b;

	for (a = 0; a < ARRAY_SIZE(places); a++)
		for (b = 0; b < ARRAY_SIZE(places); b++)
			KUNIT_EXPECT_EQ_MSG(test, exmem_better_place(&places[a], &places[b]),
					    a < b, "%d, %d", a, b);
}

static void __init exmem_test_low_limits(struct kunit *test)
{
	struct exmem_low low;

	/* 256 MiB and swiotlb's memory stay free. */
	low = exmem_low_limits(3 * (u64)SZ_1G, 2880 * (u64)SZ_1M, SZ_64M);
	KUNIT_EXPECT_EQ(test, low.first, 640 * SZ_1M);
	KUNIT_EXPECT_EQ(test, low.limit, 2304 * (u64)SZ_1M);
	low = exmem_low_limits(2 * (u64)SZ_1G, 1600 * SZ_1M, SZ_64M);
	KUNIT_EXPECT_EQ(test, low.first, 320 * SZ_1M);
	KUNIT_EXPECT_EQ(test, low.limit, 1280 * SZ_1M);
	low = exmem_low_limits(2 * (u64)SZ_1G - SZ_512K, 1900 * SZ_1M, SZ_64M);
	KUNIT_EXPECT_EQ(test, low.limit, 1536 * SZ_1M);
	low = exmem_low_limits(SZ_512M, 320 * SZ_1M, SZ_64M);
	KUNIT_EXPECT_EQ(test, low.first, 0);
	KUNIT_EXPECT_EQ(test, low.limit, 0);
	low = exmem_low_limits(SZ_512M, SZ_256M, SZ_64M);
	KUNIT_EXPECT_EQ(test, low.limit, 0);
}

static void __init exmem_test_first_region(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, exmem_first_region(0), SZ_16M);
	KUNIT_EXPECT_EQ(test, exmem_first_region(SZ_16M), SZ_16M);
	KUNIT_EXPECT_EQ(test, exmem_first_region(SZ_16M + 1), SZ_16M + PMD_SIZE);
}

static struct kunit_case __refdata exmem_test_boot_cases[] = {
	KUNIT_CASE(exmem_test_parse_size),
	KUNIT_CASE(exmem_test_parse_nodes),
	KUNIT_CASE(exmem_test_parse_nonsense),
	KUNIT_CASE(exmem_test_asked_overflows),
	KUNIT_CASE(exmem_test_enough_remains),
	KUNIT_CASE(exmem_test_ranges_merge),
	KUNIT_CASE(exmem_test_range_within),
	KUNIT_CASE(exmem_test_better_place),
	KUNIT_CASE(exmem_test_low_limits),
	KUNIT_CASE(exmem_test_first_region),
	{}
};

static struct kunit_suite exmem_test_boot_suite = {
	.name = "exmem_boot",
	.test_cases = exmem_test_boot_cases,
};

kunit_test_init_section_suite(exmem_test_boot_suite);
