// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory block with a part of the pool can't be taken offline, although none of the pool's pages
 * has a reference. The attempt fails before anything is moved.
 */
#include <errno.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define MEMORY		"/sys/devices/system/memory/"

FIXTURE(block)
{
	struct exmem_range largest;
	unsigned long size;
	long usable;
	char *p;
};

FIXTURE_SETUP(block)
{
	struct exmem_range ranges[128], *largest = ranges;
	int i, nr = exmem_ranges(ranges, ARRAY_SIZE(ranges));
	const char *missing = exmem_missing(1);
	FILE *f;

	if (missing)
		SKIP(return, "%s", missing);
	f = fopen(MEMORY "block_size_bytes", "r");
	if (!f)
		SKIP(return, "needs memory hot-remove");
	ASSERT_EQ(fscanf(f, "%lx", &self->size), 1);
	fclose(f);
	ASSERT_GT(nr, 0);
	for (i = 1; i < nr; i++)
		if (ranges[i].end - ranges[i].start > largest->end - largest->start)
			largest = &ranges[i];
	self->largest = *largest;
	self->usable = exmem_usable();
	self->p = exmem_map(open(EXMEM_DEV, O_RDWR), self->usable, 0);
	ASSERT_NE(self->p, MAP_FAILED);
	memset(self->p, 0x5a, self->usable * PAGE);
}

FIXTURE_TEARDOWN(block)
{
	EXPECT_TRUE(all_bytes(self->p, 0x5a, self->usable * PAGE));
}

static long migrated(void)
{
	return named_value("/proc/vmstat", "pgmigrate_success") +
	       named_value("/proc/vmstat", "pgmigrate_fail");
}

static void expect_stays_online(struct __test_metadata *_metadata, unsigned long block)
{
	char path[96], state[16] = "";
	long before = migrated();
	int fd;

	ASSERT_GE(before, 0);
	snprintf(path, sizeof(path), MEMORY "memory%lu/state", block);
	fd = open(path, O_RDWR);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(write(fd, "offline", 7), -1);
	if (errno == EINVAL)
		SKIP(return, "needs a memory block without a hole: boot with exmem=512M");
	EXPECT_EQ(errno, EBUSY);
	ASSERT_GT(pread(fd, state, sizeof(state) - 1, 0), 0);
	EXPECT_STREQ(state, "online\n");
	EXPECT_EQ(migrated(), before);
	close(fd);
}

TEST_F(block, all_exclusive)
{
	unsigned long block = (self->largest.start + self->size - 1) / self->size;

	if ((block + 1) * self->size > self->largest.end)
		SKIP(return, "needs a pool with a whole memory block: boot with exmem=512M");
	expect_stays_online(_metadata, block);
}

/* Other memory in the block could be moved. */
TEST_F(block, partly_exclusive)
{
	unsigned long block = self->largest.start / self->size;

	if (self->largest.start % self->size == 0)
		block = self->largest.end / self->size;
	if (self->largest.start % self->size == 0 && self->largest.end % self->size == 0)
		SKIP(return, "needs a pool that shares a memory block: boot with exmem=500M");
	expect_stays_online(_metadata, block);
}

TEST_HARNESS_MAIN
