// SPDX-License-Identifier: GPL-2.0-only
/*
 * memfd_secret(2) with memory from the pool is memfd_secret(2) still. Needs root
 * and a pool that nobody else uses: exmem=64M.
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

static long pages(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return named_value(path, "pages");
}

/* What lies beyond the end goes when it is known: nobody can reach it any more. */
TEST_F(secretmem, end_is_set)
{
	char *p = exmem_map(self->fd, 1000, 0), path[64];
	int i, fd;

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(used(), 1000);
	ASSERT_EQ(ftruncate(self->fd, 0), 0);
	EXPECT_EQ(used(), 1000);
	ASSERT_EQ(ftruncate(self->fd, 2 * PAGE + 1), 0);
	EXPECT_EQ(used(), 3);
	EXPECT_EQ(pages(self->fd), 3);
	for (i = 0; i < 1000; i++)
		EXPECT_EQ(touch(p + i * PAGE, 1), i < 3 ? 0 : SIGBUS);
	EXPECT_EQ(used(), 3);

	/* By name; in the second of two runs, with a hole before it. */
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

/* What was charged for them, too. */
TEST_F(secretmem, end_is_set_and_paid)
{
	struct rlimit limit = { 100 * PAGE, 100 * PAGE };
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(4711, 4711, 4711) ||
		    exmem_map(self->fd, 100, 0) == MAP_FAILED || ftruncate(self->fd, PAGE))
			_exit(1);
		_exit(exmem_map(syscall(SYS_memfd_secret, 0), 99, 0) == MAP_FAILED ||
		      exmem_map(syscall(SYS_memfd_secret, 0), 1, 0) != MAP_FAILED);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

/* Who has no more than its name gives it a size when its memory is gone. */
TEST_F(secretmem, end_is_set_too_late)
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

/* What /proc calls the file. */
static void link_of(int fd, char *link, size_t size)
{
	char path[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, link, size - 1);
	link[len < 0 ? 0 : len] = 0;
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

/* A file of the old sort looks the same, and has none of the pool; and vice versa. */
TEST_F(secretmem, apart_from_the_old)
{
	char *p, names[2][64];
	struct statfs fs[2];
	struct stat st[2];
	int old;

	ASSERT_TRUE(put("/proc/sys/vm/exmem_secretmem", "0"));
	old = exmem_front_open(EXMEM_FRONT_SECRETMEM, PAGE);
	ASSERT_TRUE(put("/proc/sys/vm/exmem_secretmem", "1"));
	ASSERT_GE(old, 0);
	ASSERT_EQ(ftruncate(self->fd, PAGE), 0);
	EXPECT_EQ(fcntl(old, F_GETFL), fcntl(self->fd, F_GETFL));
	link_of(old, names[0], sizeof(names[0]));
	link_of(self->fd, names[1], sizeof(names[1]));
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
	EXPECT_TRUE(file_has("/sys/power/disk", "[disabled]"));
}

TEST_HARNESS_MAIN
