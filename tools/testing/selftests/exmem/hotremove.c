// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory block that is all exclusive memory can't be taken offline, though
 * none of its pages has a reference. Needs root, memory hot-remove, and a pool
 * that holds at least one whole block: exmem=512M, say.
 */
#include <errno.h>

#include "exmem.h"
#include "../kselftest_harness.h"

/* The largest range that the boot lines name. */
static bool pool_range(unsigned long *start, unsigned long *end)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	unsigned long from, last;
	char line[2048], *mem;
	ssize_t n;

	*start = *end = 0;
	while ((n = read(kmsg, line, sizeof(line) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		line[n > 0 ? n : 0] = 0;
		mem = strstr(line, ";exmem: ");
		mem = mem ? strstr(mem, "[mem ") : NULL;
		if (!mem || sscanf(mem, "[mem %lx-%lx]", &from, &last) != 2)
			continue;
		if (last + 1 - from > *end - *start) {
			*start = from;
			*end = last + 1;
		}
	}
	close(kmsg);
	return *end > *start;
}

TEST(block_stays_online)
{
	unsigned long start, end, size = 0, block;
	char path[96], state[16] = "";
	long total = exmem_total();
	FILE *f = fopen("/sys/devices/system/memory/block_size_bytes", "r");
	char *p;
	int fd;

	ASSERT_NE(f, NULL);
	ASSERT_EQ(fscanf(f, "%lx", &size), 1);
	fclose(f);
	ASSERT_TRUE(pool_range(&start, &end));
	block = (start + size - 1) / size;
	ASSERT_LE((block + 1) * size, end);

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
