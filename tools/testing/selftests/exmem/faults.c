// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault injection: if any allocation inside open(), mmap(), mremap(), ftruncate(), fallocate(),
 * posix_fadvise() or a page fault fails, the call or the fault fails and leaves nothing behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define MAX_NTH		500

static bool allow_faults(void)
{
	return put("/sys/kernel/debug/failslab/ignore-gfp-wait", "N") &&
	       put("/sys/kernel/debug/failslab/verbose", "0") &&
	       put("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N") &&
	       put("/sys/kernel/debug/fail_page_alloc/min-order", "0") &&
	       put("/sys/kernel/debug/fail_page_alloc/verbose", "0");
}

/* Make the @nth allocation from now on fail; 0 stops. Returns how many were left. */
static int fail_nth(int fd, int nth)
{
	char buf[16] = "";
	int left;

	if (pread(fd, buf, sizeof(buf) - 1, 0) < 0)
		return -1;
	left = atoi(buf);
	snprintf(buf, sizeof(buf), "%d", nth);
	if (pwrite(fd, buf, strlen(buf), 0) < 0)
		return -1;
	return left;
}

FIXTURE(faults)
{
	int nth;
	long usable;
};

static void set_node_mode(mode_t mode)
{
	if (chmod(EXMEM_DEV, mode))
		perror(EXMEM_DEV);
}

/* Each test runs without privileges, so that a leaked charge is noticed, too. */
FIXTURE_SETUP(faults)
{
	struct rlimit limit = { 2000 * PAGE, 2000 * PAGE };
	const char *missing = exmem_missing(2048);

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	if (!allow_faults())
		SKIP(return, "needs fault injection: CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC");
	self->nth = open(FAIL_NTH, O_RDWR);
	ASSERT_GE(self->nth, 0);
	set_node_mode(0666);
	ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	ASSERT_EQ(setresuid(-1, 65534, -1), 0);
}

FIXTURE_TEARDOWN(faults)
{
	if (!seteuid(0))
		set_node_mode(0600);
}

TEST_F(faults, open)
{
	int i, fd, left, failures = 0;

	for (i = 1; i < MAX_NTH; i++) {
		ASSERT_EQ(fail_nth(self->nth, i), 0);
		fd = open(EXMEM_DEV, O_RDWR);
		left = fail_nth(self->nth, 0);
		if (fd >= 0)
			close(fd);
		else
			failures++;
		if (left)
			break;
	}
	/* It succeeded in the end, after it had failed. */
	EXPECT_LT(i, MAX_NTH);
	EXPECT_GE(fd, 0);
	EXPECT_GT(failures, 0);
}

/*
 * Allocate in three holes around two extents, across several regions and page tables: extents
 * are added, pages mapped and page tables allocated in turns. The limit on locked memory is too
 * low for twice the pages, so that a leaked charge is noticed.
 */
TEST_F_TIMEOUT(faults, mmap, 300)
{
	int i, fd, left = 0, failures = 0;
	char *low, *high, *p;

	for (i = 1; i < MAX_NTH && !left; i++) {
		fd = open(EXMEM_DEV, O_RDWR);
		ASSERT_GE(fd, 0);
		low = exmem_map(fd, 1, 10);
		high = exmem_map(fd, 1, 1200);
		ASSERT_NE(low, MAP_FAILED);
		ASSERT_NE(high, MAP_FAILED);

		ASSERT_EQ(fail_nth(self->nth, i), 0);
		p = exmem_map(fd, 1300, 0);
		left = fail_nth(self->nth, 0);
		if (p == MAP_FAILED) {
			failures++;
			EXPECT_EQ(errno, ENOMEM);
			EXPECT_EQ(exmem_free(), self->usable - 2);
		} else {
			EXPECT_TRUE(all_bytes(p, 0, 1300 * PAGE));
			memset(p, 0x5a, 1300 * PAGE);
			munmap(p, 1300 * PAGE);
		}
		munmap(low, PAGE);
		munmap(high, PAGE);
		close(fd);
		ASSERT_EQ(exmem_free(), self->usable);
	}
	EXPECT_GT(left, 0);
	EXPECT_GT(failures, 5);
}

/* Replace a mapping, with more than half the limit: a leaked charge is noticed. */
TEST_F_TIMEOUT(faults, map_exclusive, 300)
{
	int i, left = 0, failures = 0;
	char *old, *p;

	for (i = 1; i < MAX_NTH && !left; i++) {
		old = mmap(NULL, 1300 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(old, MAP_FAILED);
		ASSERT_EQ(fail_nth(self->nth, i), 0);
		p = exmem_front_map(EXMEM_FRONT_MMAP, -1, old, 1300 * PAGE, PROT_READ);
		left = fail_nth(self->nth, 0);
		if (p == MAP_FAILED) {
			failures++;
			EXPECT_EQ(errno, ENOMEM);
			EXPECT_EQ(exmem_free(), self->usable);
		} else {
			EXPECT_EQ(exmem_free(), self->usable - 1300);
		}
		munmap(old, 1300 * PAGE);
		ASSERT_EQ(exmem_free(), self->usable);
	}
	EXPECT_GT(left, 0);
	EXPECT_GT(failures, 5);
}

/* Is there a mapping at @p? */
static bool is_mapped(char *p)
{
	return !msync(p, PAGE, MS_ASYNC);
}

/*
 * When mremap() can't remove the old mapping, both stay. A page is freed once neither maps it,
 * whichever is unmapped first.
 */
TEST_F_TIMEOUT(faults, mremap_exclusive, 300)
{
	char *to = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i, left = 0, failures = 0, both = 0;
	char *p, *q;

	for (i = 1; i < MAX_NTH && !left; i++) {
		/* The next mapping must not be placed here. */
		ASSERT_EQ(mmap(to, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			       -1, 0), to);
		p = exmem_front_map(EXMEM_FRONT_MMAP, -1, NULL, 10 * PAGE, PROT_READ);
		ASSERT_NE(p, MAP_FAILED);
		ASSERT_EQ(fail_nth(self->nth, i), 0);
		q = mremap(p + 3 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		left = fail_nth(self->nth, 0);
		EXPECT_EQ(exmem_free(), self->usable - 10);
		failures += q == MAP_FAILED;
		both += q != MAP_FAILED && is_mapped(p + 3 * PAGE);
		if (i % 2 && q != MAP_FAILED) {
			munmap(q, 4 * PAGE);
			munmap(p, 3 * PAGE);
			munmap(p + 3 * PAGE, 7 * PAGE);
		} else {
			munmap(p, 10 * PAGE);
			EXPECT_EQ(exmem_free(), self->usable - (q == MAP_FAILED ? 0 : 4));
			munmap(to, 4 * PAGE);
		}
		ASSERT_EQ(exmem_free(), self->usable);
	}
	EXPECT_GT(left, 0);
	EXPECT_GT(failures, 0);
	EXPECT_GT(both, 0);
}

/* If ftruncate() can't free the pages beyond the new end, they are freed with the file. */
TEST_F_TIMEOUT(faults, memfd_secret, 300)
{
	int i, fd, left = 0, failures = 0;
	char *p;

	for (i = 1; i < MAX_NTH && !left; i++) {
		ASSERT_EQ(fail_nth(self->nth, i), 0);
		fd = syscall(SYS_memfd_secret, 0);
		p = exmem_map(fd, 10, 0);
		if (p == MAP_FAILED || ftruncate(fd, PAGE))
			failures++;
		left = fail_nth(self->nth, 0);
		if (left)
			EXPECT_EQ(exmem_free(), self->usable - 1);
		if (p != MAP_FAILED)
			munmap(p, 10 * PAGE);
		close(fd);
		ASSERT_EQ(exmem_free(), self->usable);
	}
	EXPECT_GT(left, 0);
	EXPECT_GT(failures, 3);
}

/* Three regions: PMDs map the first two. */
#define OBJECT_PAGES	1300

/* A new object, with 0x5a in all its pages. */
static char *new_object(int *fd)
{
	char *p;

	*fd = open(EXMEM_DEV, O_RDWR);
	p = exmem_map(*fd, OBJECT_PAGES, 0);
	if (p != MAP_FAILED)
		memset(p, 0x5a, OBJECT_PAGES * PAGE);
	return p;
}

static void close_object(int fd, char *p)
{
	munmap(p, OBJECT_PAGES * PAGE);
	close(fd);
}

static int by_fallocate(int fd)
{
	return fallocate(fd, 0, 0, OBJECT_PAGES * PAGE);
}

static int by_fadvise(int fd)
{
	errno = posix_fadvise(fd, 0, OBJECT_PAGES * PAGE, POSIX_FADV_WILLNEED);
	return errno ? -1 : 0;
}

/* Are the holes at the beginning, the middle and the end all filled, or all empty? */
static bool holes_filled(char *p, bool filled)
{
	static const int pages[] = { 0, 700, OBJECT_PAGES - 1 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		if (touch(p + pages[i] * PAGE, -1) != (filled ? 0 : SIGBUS))
			return false;
		if (filled && !all_bytes(p + pages[i] * PAGE, 0, PAGE))
			return false;
	}
	return all_bytes(p + PAGE, 0x5a, 699 * PAGE) &&
	       all_bytes(p + 701 * PAGE, 0x5a, (OBJECT_PAGES - 702) * PAGE);
}

/* Each failure that leaked a charge would bring the next request closer to the limit. */
TEST_F_TIMEOUT(faults, fill_holes, 300)
{
	int (*const fill[])(int fd) = { by_fallocate, by_fadvise };
	int i, fd, ret, failures = 0, failed[2] = {};
	bool done[2] = {};
	char *p = new_object(&fd);

	for (i = 2; i < 2 * MAX_NTH && !(done[0] && done[1]); i++) {
		if (done[i % 2])
			continue;
		ASSERT_NE(p, MAP_FAILED);
		ASSERT_EQ(exmem_punch_hole(fd, 0, 1), 0);
		ASSERT_EQ(exmem_punch_hole(fd, 700, 1), 0);
		ASSERT_EQ(exmem_punch_hole(fd, OBJECT_PAGES - 1, 1), 0);
		ASSERT_EQ(fail_nth(self->nth, i / 2), 0);
		ret = fill[i % 2](fd);
		done[i % 2] = fail_nth(self->nth, 0) > 0;
		if (ret) {
			failures++;
			failed[i % 2]++;
			EXPECT_EQ(errno, ENOMEM);
		}
		EXPECT_EQ(exmem_free(), self->usable - OBJECT_PAGES + (ret ? 3 : 0));
		EXPECT_TRUE(holes_filled(p, !ret));
		if (ret && failures % 3)
			continue;
		close_object(fd, p);
		ASSERT_EQ(exmem_free(), self->usable);
		p = new_object(&fd);
	}
	EXPECT_TRUE(done[0]);
	EXPECT_TRUE(done[1]);
	EXPECT_GT(failed[0], 0);
	EXPECT_GT(failed[1], 0);
}

static int by_drop(int fd)
{
	return exmem_punch_hole(fd, 100, 1000);
}

static int by_punch_hole(int fd)
{
	return fallocate(fd, HOLE, 100 * PAGE, 1000 * PAGE);
}

/* The hole begins and ends within a region: extents are split. */
TEST_F_TIMEOUT(faults, punch_hole, 300)
{
	int (*const punch[])(int fd) = { by_drop, by_punch_hole };
	int i, fd, ret, failures = 0;
	bool done[2] = {};
	char *p;

	for (i = 2; i < 2 * MAX_NTH && !(done[0] && done[1]); i++) {
		if (done[i % 2])
			continue;
		p = new_object(&fd);
		ASSERT_NE(p, MAP_FAILED);
		ASSERT_EQ(fail_nth(self->nth, i / 2), 0);
		ret = punch[i % 2](fd);
		done[i % 2] = fail_nth(self->nth, 0) > 0;
		if (ret) {
			failures++;
			EXPECT_EQ(errno, ENOMEM);
			EXPECT_EQ(exmem_free(), self->usable - OBJECT_PAGES);
			EXPECT_TRUE(all_bytes(p, 0x5a, OBJECT_PAGES * PAGE));
		} else {
			EXPECT_EQ(exmem_free(), self->usable - OBJECT_PAGES + 1000);
			EXPECT_EQ(touch(p + 100 * PAGE, -1), SIGBUS);
			EXPECT_TRUE(all_bytes(p + 1100 * PAGE, 0x5a, 200 * PAGE));
		}
		close_object(fd, p);
		ASSERT_EQ(exmem_free(), self->usable);
	}
	EXPECT_TRUE(done[0]);
	EXPECT_TRUE(done[1]);
	EXPECT_GT(failures, 3);
}

/*
 * After a page of a region was replaced, PTEs have to map the others, too. If the kernel can't
 * allocate a page table, its own write to a page fails, but it retries a user's access.
 */
TEST_F_TIMEOUT(faults, page_fault, 300)
{
	int i, fd, left = 0, failures = 0, zero = open("/dev/zero", O_RDONLY);
	char *p;

	for (i = 1; i < MAX_NTH && !left; i++) {
		p = new_object(&fd);
		ASSERT_NE(p, MAP_FAILED);
		ASSERT_EQ(exmem_punch_hole(fd, 3, 1), 0);
		ASSERT_EQ(fallocate(fd, 0, 3 * PAGE, PAGE), 0);
		ASSERT_EQ(fail_nth(self->nth, i), 0);
		if (read(zero, p + PAGE, 1) != 1) {
			failures++;
			EXPECT_EQ(errno, EFAULT);
		}
		left = fail_nth(self->nth, 0);
		EXPECT_EQ(touch(p + PAGE, 0x5a), 0);
		EXPECT_TRUE(all_bytes(p + 3 * PAGE, 0, PAGE));
		memset(p + 3 * PAGE, 0x5a, PAGE);
		EXPECT_TRUE(all_bytes(p, 0x5a, OBJECT_PAGES * PAGE));
		close_object(fd, p);
		ASSERT_EQ(exmem_free(), self->usable);
	}
	EXPECT_GT(left, 0);
	EXPECT_GT(failures, 1);
}

TEST_HARNESS_MAIN
