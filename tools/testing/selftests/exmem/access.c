// SPDX-License-Identifier: GPL-2.0-only
/*
 * Access to exclusive memory: the device node's mode, RLIMIT_MEMLOCK and the sysctls, for each
 * front end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define NEED_FRONT_FIXTURE
#include "fixtures.h"

/* The device node is root's. The other front ends are open to all, within the limit. */
TEST_F(front, unprivileged)
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

TEST_F(front, turned_off)
{
	int fd = open_front(1), other;

	if (variant->front == EXMEM_FRONT_MMAP) {
		ASSERT_TRUE(put(SYSCTL_MMAP, "0"));
		EXPECT_EQ(map_front(-1, 1), MAP_FAILED);
		EXPECT_EQ(errno, EPERM);
		ASSERT_TRUE(put(SYSCTL_MMAP, "1"));
		EXPECT_NE(map_front(-1, 1), MAP_FAILED);
	} else if (variant->front == EXMEM_FRONT_SECRETMEM) {
		ASSERT_TRUE(put(SYSCTL_SECRETMEM, "0"));
		other = open_front(1);
		/* New files use ordinary memory, as without a pool. Old files still do not. */
		EXPECT_NE(map_front(other, 1), MAP_FAILED);
		EXPECT_EQ(used(), 0);
		EXPECT_NE(map_front(fd, 1), MAP_FAILED);
		EXPECT_EQ(used(), 1);
		ASSERT_TRUE(put(SYSCTL_SECRETMEM, "1"));
	} else {
		ASSERT_EQ(chmod(EXMEM_DEV, 0), 0);
		EXPECT_NE(map_front(fd, 1), MAP_FAILED);
		ASSERT_EQ(chmod(EXMEM_DEV, 0600), 0);
	}
}

TEST_HARNESS_MAIN
