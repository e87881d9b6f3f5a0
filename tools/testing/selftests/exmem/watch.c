// SPDX-License-Identifier: GPL-2.0-only
/*
 * What there is to see of exclusive memory: files in sysfs, and tracepoints.
 * Needs root, tracefs and a pool: exmem=64M.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>

#include "exmem.h"
#include "../kselftest_harness.h"

static const char * const names[] = {
	"total_pages", "free_pages", "peak_pages", "poisoned_pages", "failed_requests",
	"splits_2M", "splits_1G",
};

/* All files there are, one number in each, and nobody can write one. */
TEST(files)
{
	char path[128], text[64];
	struct stat st;
	int dir, i, fd;
	ssize_t n;

	for (dir = 0; dir < 2; dir++) {
		for (i = 0; i < (int)ARRAY_SIZE(names); i++) {
			snprintf(path, sizeof(path), EXMEM_SYSFS "%s%s", dir ? "node0/" : "",
				 names[i]);
			ASSERT_EQ(stat(path, &st), 0);
			EXPECT_EQ(st.st_mode & 07777, 0444);
			fd = open(path, O_RDONLY);
			n = read(fd, text, sizeof(text) - 1);
			ASSERT_GT(n, 1);
			text[n] = 0;
			EXPECT_EQ(strspn(text, "0123456789"), n - 1);
			EXPECT_EQ(text[n - 1], '\n');
			close(fd);
		}
	}
}

/* One node, and nobody before who had it all: then the peak is known. */
TEST(use_and_peak)
{
	/* CPUs keep some pages at hand, and these count as in use, too. */
	long total = exmem_total(), at_hand = total / 8, peak, nr;
	int fd = open(EXMEM_DEV, O_RDWR);
	char *p;

	nr = exmem_value("peak_pages") + 2 * at_hand;
	ASSERT_EQ(exmem_free(), total);
	ASSERT_EQ(exmem_node_value(0, "total_pages"), total);
	ASSERT_LE(nr, total - at_hand);
	p = exmem_map(fd, nr, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_free(), total - nr);
	peak = exmem_value("peak_pages");
	EXPECT_GE(peak, nr);
	EXPECT_LE(peak, nr + at_hand);
	munmap(p, nr * PAGE);
	EXPECT_EQ(exmem_free(), total - nr);
	close(fd);
	EXPECT_EQ(exmem_free(), total);
	EXPECT_EQ(exmem_value("peak_pages"), peak);
}

TEST(failures)
{
	long failed = exmem_value("failed_requests");
	int fd = open(EXMEM_DEV, O_RDWR);

	ASSERT_EQ(exmem_map(fd, exmem_total() + 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(exmem_value("failed_requests"), failed + 1);
	close(fd);
}

TEST(tracepoints)
{
	char text[64], *p;
	int fd;

	snprintf(text, sizeof(text), "count=%ld caller=device", exmem_total() + 1);
	ASSERT_TRUE(exmem_trace_on());
	fd = open(EXMEM_DEV, O_RDWR);
	p = exmem_map(fd, 5, 0);
	EXPECT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_map(fd, exmem_total() + 1, 5), MAP_FAILED);
	munmap(p, 5 * PAGE);
	close(fd);
	ASSERT_TRUE(exmem_trace_off());

	EXPECT_EQ(traced(" exmem_take: pfn=0x", "count=5 caller=device"), 1);
	EXPECT_EQ(traced(" exmem_give: pfn=0x", "count=5 caller=device"), 1);
	EXPECT_EQ(traced(" exmem_exhausted: node=", text), 1);
	EXPECT_EQ(traced(" exmem_", "node="), 3);
}

TEST_HARNESS_MAIN
