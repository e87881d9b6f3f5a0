// SPDX-License-Identifier: GPL-2.0-only
/*
 * memfd_secret(2) with memory from the pool is memfd_secret(2) still. Needs root
 * and a pool that nobody else uses: exmem=64M.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

FIXTURE(secretmem)
{
	long total;
	int fd;
};

FIXTURE_SETUP(secretmem)
{
	self->total = exmem_total();
	ASSERT_GE(self->total, 2048);
	ASSERT_EQ(exmem_free(), self->total);
	self->fd = syscall(SYS_memfd_secret, 0);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(secretmem)
{
}

#define used()	(self->total - exmem_free())

TEST_F(secretmem, flags)
{
	struct rlimit limit = { self->fd + 1, self->fd + 1 };
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);

	EXPECT_EQ(fcntl(self->fd, F_GETFD), 0);
	EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(fcntl(fd, F_GETFL), fcntl(self->fd, F_GETFL));
	EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	EXPECT_EQ(syscall(SYS_memfd_secret, 1), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(syscall(SYS_memfd_secret, O_NONBLOCK), -1);
	EXPECT_EQ(errno, EINVAL);
	close(fd);
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	EXPECT_EQ(syscall(SYS_memfd_secret, 0), -1);
	EXPECT_EQ(errno, EMFILE);
}

/* A size is set once, in bytes, and mappings end with its last page. */
TEST_F(secretmem, size)
{
	struct stat st;
	char *p;

	ASSERT_EQ(ftruncate(self->fd, 0), 0);
	EXPECT_EQ(ftruncate(self->fd, -1), -1);
	EXPECT_EQ(errno, EINVAL);
	ASSERT_EQ(ftruncate(self->fd, 2 * PAGE + 1), 0);
	ASSERT_EQ(fstat(self->fd, &st), 0);
	EXPECT_EQ(st.st_size, 2 * PAGE + 1);
	EXPECT_TRUE(S_ISREG(st.st_mode));
	EXPECT_EQ(ftruncate(self->fd, 3 * PAGE), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(ftruncate(self->fd, 0), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(used(), 0);

	p = exmem_map(self->fd, 5, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(used(), 3);
	EXPECT_EQ(touch(p + 2 * PAGE, 1), 0);
	EXPECT_EQ(touch(p + 3 * PAGE - 1, 1), 0);
	EXPECT_EQ(touch(p + 3 * PAGE, 1), SIGBUS);
	EXPECT_EQ(touch(p + 4 * PAGE, -1), SIGBUS);
	p = exmem_map(self->fd, 2, 100);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(touch(p, -1), SIGBUS);
	EXPECT_EQ(used(), 3);
}

/* Mapped while there is no size: what it may need one day is taken, and is there then. */
TEST_F(secretmem, mapped_before_it_has_a_size)
{
	char *p = exmem_map(self->fd, 4, 0), *all;
	int status;
	pid_t pid;

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(used(), 4);
	EXPECT_EQ(touch(p, -1), SIGBUS);
	EXPECT_EQ(exmem_map(self->fd, self->total + 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(used(), 4);

	/* Nobody else may have what is left. */
	all = exmem_map(open(EXMEM_DEV, O_RDWR), self->total - 4, 0);
	ASSERT_NE(all, MAP_FAILED);
	ASSERT_EQ(ftruncate(self->fd, 3 * PAGE), 0);
	EXPECT_TRUE(all_bytes(p, 0, 3 * PAGE));
	EXPECT_EQ(touch(p + PAGE, 42), 0);
	EXPECT_EQ(touch(p + 3 * PAGE, -1), SIGBUS);
	pid = fork();
	if (!pid)
		_exit(p[PAGE] != 42 || touch(p + 2 * PAGE, 43));
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(p[2 * PAGE], 43);
}

TEST_F(secretmem, no_file_io)
{
	char buf[16], path[64];

	ASSERT_EQ(ftruncate(self->fd, PAGE), 0);
	EXPECT_EQ(read(self->fd, buf, sizeof(buf)), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(write(self->fd, buf, sizeof(buf)), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(lseek(self->fd, 0, SEEK_SET), -1);
	EXPECT_EQ(errno, ESPIPE);
	EXPECT_EQ(fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), -1);
	EXPECT_EQ(errno, EOPNOTSUPP);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	EXPECT_EQ(open(path, O_RDWR), -1);
	EXPECT_EQ(errno, ENXIO);
	/* By path or by descriptor, a size is set once. */
	EXPECT_EQ(truncate(path, 0), -1);
	EXPECT_EQ(errno, EINVAL);
}

/* Another's file has none of it, and vice versa. */
TEST_F(secretmem, apart_from_the_old)
{
	int old;
	char *p;

	ASSERT_TRUE(put("/proc/sys/vm/exmem_secretmem", "0"));
	old = exmem_front_open(EXMEM_FRONT_SECRETMEM, PAGE);
	ASSERT_TRUE(put("/proc/sys/vm/exmem_secretmem", "1"));
	ASSERT_GE(old, 0);
	EXPECT_EQ(fcntl(old, F_GETFL), fcntl(self->fd, F_GETFL));
	p = exmem_map(old, 1, 0);
	ASSERT_NE(p, MAP_FAILED);
	*p = 1;
	EXPECT_EQ(used(), 0);
	EXPECT_TRUE(file_has("/sys/power/disk", "[disabled]"));
}

TEST_HARNESS_MAIN
