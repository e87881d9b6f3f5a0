// SPDX-License-Identifier: GPL-2.0-only
/*
 * Access to exclusive memory: the device node's mode, RLIMIT_MEMLOCK and the sysctls, for each
 * front end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
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

#define GROUP	4713

/* Open and map as a user with a group of its own, and this one. */
static int member_maps(enum exmem_front front, gid_t group, long pages)
{
	struct rlimit limit = { 16 * PAGE, 16 * PAGE };
	int status = -1;
	pid_t pid = fork();
	void *p;

	if (!pid) {
		setrlimit(RLIMIT_MEMLOCK, &limit);
		if (setgroups(1, &group) || setresgid(4711, 4711, 4711) ||
		    setresuid(4711, 4711, 4711))
			_exit(255);
		errno = 0;
		p = exmem_front_map(front, exmem_front_open(front, pages * PAGE), NULL,
				    pages * PAGE, PROT_READ | PROT_WRITE);
		_exit(p == MAP_FAILED ? errno : 0);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The administrator gives the device to a group: its members may use it, within the limit. */
TEST_F(front, group)
{
	bool device = variant->front == EXMEM_FRONT_DEVICE;

	EXPECT_EQ(member_maps(variant->front, GROUP, 16), device ? EBADF : 0);
	ASSERT_EQ(chown(EXMEM_DEV, 0, GROUP), 0);
	EXPECT_EQ(member_maps(variant->front, GROUP, 16), device ? EBADF : 0);
	ASSERT_EQ(chmod(EXMEM_DEV, 0660), 0);
	EXPECT_EQ(member_maps(variant->front, GROUP, 16), 0);
	EXPECT_EQ(member_maps(variant->front, GROUP, 17), EAGAIN);
	EXPECT_EQ(member_maps(variant->front, GROUP + 1, 16), device ? EBADF : 0);
	/* A mapping that may be written needs both. */
	ASSERT_EQ(chmod(EXMEM_DEV, 0640), 0);
	EXPECT_EQ(member_maps(variant->front, GROUP, 16), device ? EBADF : 0);
	EXPECT_EQ(chown(EXMEM_DEV, 0, 0), 0);
	EXPECT_EQ(used(), 0);
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
