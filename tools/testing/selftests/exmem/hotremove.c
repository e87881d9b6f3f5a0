// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory block that is all exclusive memory can't be taken offline, although none of its
 * pages has a reference.
 */
#include <errno.h>

#include "exmem.h"
#include "../kselftest_harness.h"

TEST(block_stays_online)
{
	unsigned long start, size = 0, block;
	struct exmem_range ranges[16], *largest = ranges;
	int fd, i, nr = exmem_ranges(ranges, ARRAY_SIZE(ranges));
	const char *missing = exmem_missing(1);
	long usable = exmem_usable();
	char path[96], state[16] = "";
	FILE *f;
	char *p;

	if (missing)
		SKIP(return, "%s", missing);
	f = fopen("/sys/devices/system/memory/block_size_bytes", "r");
	if (!f)
		SKIP(return, "needs memory hot-remove");
	ASSERT_EQ(fscanf(f, "%lx", &size), 1);
	fclose(f);
	ASSERT_GT(nr, 0);
	for (i = 1; i < nr; i++)
		if (ranges[i].end - ranges[i].start > largest->end - largest->start)
			largest = &ranges[i];
	start = largest->start;
	block = (start + size - 1) / size;
	if ((block + 1) * size > largest->end)
		SKIP(return, "needs a pool with a whole memory block: boot with exmem=512M");

	p = exmem_map(open(EXMEM_DEV, O_RDWR), usable, 0);
	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, usable * PAGE);

	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%lu/state", block);
	fd = open(path, O_RDWR);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(write(fd, "offline", 7), -1);
	EXPECT_EQ(errno, EBUSY);
	ASSERT_GT(pread(fd, state, sizeof(state) - 1, 0), 0);
	EXPECT_STREQ(state, "online\n");
	EXPECT_TRUE(all_bytes(p, 0x5a, usable * PAGE));
}

TEST_HARNESS_MAIN
