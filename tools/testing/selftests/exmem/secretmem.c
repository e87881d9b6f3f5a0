// SPDX-License-Identifier: GPL-2.0-only
/*
 * memfd_secret(2) with memory from the pool still behaves as memfd_secret(2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

FIXTURE(secretmem)
{
	long usable;
	int fd;
};

FIXTURE_SETUP(secretmem)
{
	const char *missing = exmem_front_missing(EXMEM_FRONT_SECRETMEM, 2048);

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	self->fd = syscall(SYS_memfd_secret, 0);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(secretmem)
{
}

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

/* The size is set once, in bytes, and mappings end with its last page. */
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

/* Mapped before it has a size: the pages it may need later are allocated at once. */
TEST_F(secretmem, mapped_before_it_has_a_size)
{
	char *p = exmem_map(self->fd, 4, 0), *all;
	int status;
	pid_t pid;

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(used(), 4);
	EXPECT_EQ(touch(p, -1), SIGBUS);
	EXPECT_EQ(exmem_map(self->fd, self->usable + 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(used(), 4);

	/* All other pages are in use, and yet every access succeeds. */
	all = exmem_map(open(EXMEM_DEV, O_RDWR), self->usable - 4, 0);
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

/* Pages beyond the end are freed when the size is set: nobody can reach them any more. */
TEST_F(secretmem, end_frees)
{
	char *p = exmem_map(self->fd, 1000, 0), path[64];
	int i, fd;

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(used(), 1000);
	ASSERT_EQ(ftruncate(self->fd, 0), 0);
	EXPECT_EQ(used(), 1000);
	ASSERT_EQ(ftruncate(self->fd, 2 * PAGE + 1), 0);
	EXPECT_EQ(used(), 3);
	EXPECT_EQ(object_info(self->fd, "pages"), 3);
	for (i = 0; i < 1000; i++)
		EXPECT_EQ(touch(p + i * PAGE, 1), i < 3 ? 0 : SIGBUS);
	EXPECT_EQ(used(), 3);

	/* By name; in the second of two extents, with a hole before it. */
	fd = syscall(SYS_memfd_secret, 0);
	ASSERT_NE(exmem_map(fd, 5, 0), MAP_FAILED);
	p = exmem_map(fd, 10, 10);
	ASSERT_NE(p, MAP_FAILED);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ASSERT_EQ(truncate(path, 12 * PAGE), 0);
	EXPECT_EQ(used(), 3 + 5 + 2);
	EXPECT_EQ(touch(p + PAGE, 1), 0);
	EXPECT_EQ(touch(p + 2 * PAGE, 1), SIGBUS);
	close(fd);
}

/* Pages beyond the end are uncharged when the size is set. */
TEST_F(secretmem, end_uncharges)
{
	struct rlimit limit = { 100 * PAGE, 100 * PAGE };
	int fd, status;
	pid_t pid = fork();

	if (!pid) {
		if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(4711, 4711, 4711))
			_exit(1);
		fd = syscall(SYS_memfd_secret, 0);
		if (exmem_map(fd, 101, 0) != MAP_FAILED || exmem_map(fd, 100, 0) == MAP_FAILED ||
		    ftruncate(fd, PAGE))
			_exit(2);
		_exit(exmem_map(syscall(SYS_memfd_secret, 0), 99, 0) == MAP_FAILED ||
		      exmem_map(syscall(SYS_memfd_secret, 0), 1, 0) != MAP_FAILED);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

/* The size is set by name when the last descriptor and mapping are gone. */
TEST_F(secretmem, size_after_last_close)
{
	char *p = exmem_map(self->fd, 10, 0), path[64];
	int by_name;

	ASSERT_NE(p, MAP_FAILED);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	by_name = open(path, O_PATH);
	ASSERT_GE(by_name, 0);
	ASSERT_EQ(munmap(p, 10 * PAGE), 0);
	ASSERT_EQ(close(self->fd), 0);
	EXPECT_EQ(used(), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", by_name);
	EXPECT_EQ(truncate(path, PAGE), 0);
	close(by_name);
}

/* The file's name in /proc. */
static void name_of(int fd, char *name, size_t size)
{
	char path[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, name, size - 1);
	name[len < 0 ? 0 : len] = 0;
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
	/* The size can't be changed through a path, either. */
	EXPECT_EQ(truncate(path, 0), -1);
	EXPECT_EQ(errno, EINVAL);
}

/* A file without memory from the pool looks the same, and uses none of it. */
TEST_F(secretmem, same_as_without_the_pool)
{
	char *p, names[2][64];
	struct statfs fs[2];
	struct stat st[2];
	int old;

	ASSERT_TRUE(put(SYSCTL_SECRETMEM, "0"));
	old = exmem_front_open(EXMEM_FRONT_SECRETMEM, PAGE);
	ASSERT_TRUE(put(SYSCTL_SECRETMEM, "1"));
	ASSERT_GE(old, 0);
	ASSERT_EQ(ftruncate(self->fd, PAGE), 0);
	EXPECT_EQ(fcntl(old, F_GETFL), fcntl(self->fd, F_GETFL));
	name_of(old, names[0], sizeof(names[0]));
	name_of(self->fd, names[1], sizeof(names[1]));
	EXPECT_STREQ(names[0], names[1]);
	ASSERT_EQ(fstat(old, &st[0]), 0);
	ASSERT_EQ(fstat(self->fd, &st[1]), 0);
	EXPECT_EQ(st[0].st_mode, st[1].st_mode);
	EXPECT_EQ(st[0].st_size, st[1].st_size);
	EXPECT_EQ(st[0].st_nlink, st[1].st_nlink);
	ASSERT_EQ(fstatfs(old, &fs[0]), 0);
	ASSERT_EQ(fstatfs(self->fd, &fs[1]), 0);
	EXPECT_EQ(fs[0].f_type, fs[1].f_type);
	EXPECT_EQ(fs[0].f_flags, fs[1].f_flags);
	p = exmem_map(old, 1, 0);
	ASSERT_NE(p, MAP_FAILED);
	*p = 1;
	EXPECT_EQ(used(), 0);
	EXPECT_TRUE(file_contains("/sys/power/disk", "[disabled]"));
}

TEST_HARNESS_MAIN
