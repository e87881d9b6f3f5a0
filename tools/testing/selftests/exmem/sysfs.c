// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files in /sys/kernel/mm/exmem: figures of the pool and of each node.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>

#include "exmem.h"
#include "../kselftest_harness.h"

static const char * const names[] = {
	"total_pages", "free_pages", "peak_pages", "poisoned_pages", "failed_requests",
	"removed_2M", "removed_1G", "splits_2M", "splits_1G",
};

/* Every file holds one number, and none can be written. */
TEST(files)
{
	const char *missing = exmem_missing(1);
	char path[128], text[64];
	struct stat st;
	int dir, i, fd;
	ssize_t n;

	if (missing)
		SKIP(return, "%s", missing);
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

static long max(long a, long b)
{
	return a > b ? a : b;
}

static long min(long a, long b)
{
	return a < b ? a : b;
}

FIXTURE(sysfs)
{
	int fd;
	long usable, peak, cached;
};

FIXTURE_SETUP(sysfs)
{
	const char *missing = exmem_missing(2048);

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
	/* CPUs cache at most this many pages, which the peak includes. */
	self->cached = self->usable / 8;
	self->peak = exmem_value("peak_pages");
}

FIXTURE_TEARDOWN(sysfs)
{
}

/* Allocate @nr pages and free them. The new peak is at least @low and at most @high. */
static void expect_peak(struct __test_metadata *_metadata, int fd, long nr, long low, long high)
{
	long free = exmem_free(), peak;
	char *p = exmem_map(fd, nr, 0);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_free(), free - nr);
	peak = exmem_value("peak_pages");
	EXPECT_GE(peak, low);
	EXPECT_LE(peak, high);
	munmap(p, nr * PAGE);
	EXPECT_EQ(exmem_free(), free - nr);
	close(fd);
	EXPECT_EQ(exmem_free(), free);
	EXPECT_EQ(exmem_value("peak_pages"), peak);
}

/* Also when all pages have been in use before, and the peak can't rise. */
TEST_F(sysfs, use_and_peak)
{
	long nr = min(self->peak + 2 * self->cached, self->usable - self->cached);

	expect_peak(_metadata, self->fd, nr, max(self->peak, nr),
		    max(self->peak, nr + self->cached));
}

/* More pages than ever since boot: the peak is known, but for cached pages. */
TEST_F(sysfs, new_peak)
{
	long nr = self->peak + 2 * self->cached;

	if (exmem_node_value(0, "total_pages") != exmem_total())
		SKIP(return, "needs a pool on one node");
	if (nr > self->usable - self->cached)
		SKIP(return, "the pool has been used up since boot");
	expect_peak(_metadata, self->fd, nr, nr, nr + self->cached);
}

TEST_F(sysfs, failed_requests)
{
	long failed = exmem_value("failed_requests");

	ASSERT_EQ(exmem_map(self->fd, self->usable + 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(exmem_value("failed_requests"), failed + 1);
}

TEST_HARNESS_MAIN
