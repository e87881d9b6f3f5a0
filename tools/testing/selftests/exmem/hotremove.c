// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory block that is all exclusive memory can't be taken offline, though
 * none of its pages has a reference. Needs root, memory hot-remove, and a pool
 * that holds at least one whole block: exmem=512M, say.
 */
#include <errno.h>

#include "exmem.h"
#include "../kselftest_harness.h"

TEST(block_stays_online)
{
	unsigned long start, size = 0, block;
	struct exmem_range ranges[16], *largest = ranges;
	char path[96], state[16] = "";
	long total = exmem_total();
	FILE *f = fopen("/sys/devices/system/memory/block_size_bytes", "r");
	int fd, i, nr = exmem_ranges(ranges, 16);
	char *p;

	ASSERT_NE(f, NULL);
	ASSERT_EQ(fscanf(f, "%lx", &size), 1);
	fclose(f);
	ASSERT_GT(nr, 0);
	for (i = 1; i < nr; i++)
		if (ranges[i].end - ranges[i].start > largest->end - largest->start)
			largest = &ranges[i];
	start = largest->start;
	block = (start + size - 1) / size;
	ASSERT_LE((block + 1) * size, largest->end);

	p = exmem_map(open(EXMEM_DEV, O_RDWR), total, 0);
	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, total * PAGE);

	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%lu/state", block);
	fd = open(path, O_RDWR);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(write(fd, "offline", 7), -1);
	EXPECT_EQ(errno, EBUSY);
	ASSERT_GT(pread(fd, state, sizeof(state) - 1, 0), 0);
	EXPECT_STREQ(state, "online\n");
	EXPECT_TRUE(all_bytes(p, 0x5a, total * PAGE));
}

TEST_HARNESS_MAIN
