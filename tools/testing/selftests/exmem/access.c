// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may have exclusive memory: the device node's mode, RLIMIT_MEMLOCK and the sysctls, for
 * each front end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

FIXTURE(access)
{
	long usable;
};

FIXTURE_VARIANT(access)
{
	enum exmem_front front;
};

FIXTURE_VARIANT_ADD(access, device) { .front = EXMEM_FRONT_DEVICE };
FIXTURE_VARIANT_ADD(access, map_exclusive) { .front = EXMEM_FRONT_MMAP };
FIXTURE_VARIANT_ADD(access, memfd_secret) { .front = EXMEM_FRONT_SECRETMEM };

FIXTURE_SETUP(access)
{
	const char *missing = exmem_front_missing(variant->front, 2048);

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
}

/* A test that failed half-way must not lock out those after it. */
FIXTURE_TEARDOWN(access)
{
	put("/proc/sys/vm/exmem_mmap", "1");
	put("/proc/sys/vm/exmem_secretmem", "1");
	chmod(EXMEM_DEV, 0600);
}

/* The device node is root's. The other front ends are open to all, within the limit. */
TEST_F(access, unprivileged)
{
	struct rlimit limit = { PAGE, PAGE };
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		setrlimit(RLIMIT_MEMLOCK, &limit);
		if (setresuid(4711, 4711, 4711))
			_exit(1);
		if (variant->front == EXMEM_FRONT_DEVICE)
			_exit(open(EXMEM_DEV, O_RDWR) != -1 || errno != EACCES);
		_exit(map_front(open_front(1), 1) == MAP_FAILED ||
		      map_front(open_front(1), 1) != MAP_FAILED || errno != EAGAIN);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

TEST_F(access, turned_off)
{
	int fd = open_front(1), other;

	if (variant->front == EXMEM_FRONT_MMAP) {
		ASSERT_TRUE(put("/proc/sys/vm/exmem_mmap", "0"));
		EXPECT_EQ(map_front(-1, 1), MAP_FAILED);
		EXPECT_EQ(errno, EPERM);
		ASSERT_TRUE(put("/proc/sys/vm/exmem_mmap", "1"));
		EXPECT_NE(map_front(-1, 1), MAP_FAILED);
	} else if (variant->front == EXMEM_FRONT_SECRETMEM) {
		ASSERT_TRUE(put("/proc/sys/vm/exmem_secretmem", "0"));
		other = open_front(1);
		/* New files are as they were without a pool, and old files are as they were. */
		EXPECT_NE(map_front(other, 1), MAP_FAILED);
		EXPECT_EQ(used(), 0);
		EXPECT_NE(map_front(fd, 1), MAP_FAILED);
		EXPECT_EQ(used(), 1);
		ASSERT_TRUE(put("/proc/sys/vm/exmem_secretmem", "1"));
	} else {
		ASSERT_EQ(chmod(EXMEM_DEV, 0), 0);
		EXPECT_NE(map_front(fd, 1), MAP_FAILED);
		ASSERT_EQ(chmod(EXMEM_DEV, 0600), 0);
	}
}

TEST_HARNESS_MAIN
