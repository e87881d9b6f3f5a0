// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault injection: whichever allocation inside open(), mmap(), mremap() or ftruncate() fails,
 * the call fails cleanly and leaves nothing behind.
 */
#define _GNU_SOURCE
#include <errno.h>
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

TEST_HARNESS_MAIN
