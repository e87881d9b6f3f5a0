// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/exclusive_memory: the node, opening it, offsets, allocation, fdinfo, fallocate(), advice,
 * and the ioctl that punches holes. Tests of mappings, of any front end, are in mapping.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NEED_DEVICE_FIXTURE
#include "fixtures.h"

#define SECRET	"what the kernel must not know"

#define EXPECT_ERRNO(error, call) EXPECT_EQ((call) == -1 ? errno : 0, error)

TEST(absent_without_a_pool)
{
	if (exmem_total() > 0)
		SKIP(return, "there is a pool");
	EXPECT_EQ(access(EXMEM_DEV, F_OK), -1);
	EXPECT_EQ(errno, ENOENT);
	EXPECT_EQ(access(EXMEM_SYSFS, F_OK), -1);
	EXPECT_EQ(errno, ENOENT);
}

TEST_F(device, node_mode)
{
	struct stat st;

	ASSERT_EQ(stat(EXMEM_DEV, &st), 0);
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(st.st_mode & 07777, 0600);
	EXPECT_EQ(st.st_uid, 0);
}

TEST_F(device, each_open_is_a_new_object)
{
	int other = open(EXMEM_DEV, O_RDWR);
	char path[64];
	char *p, *q, *r;
	int again;

	ASSERT_GE(other, 0);
	p = exmem_map(self->fd, 1, 0);
	q = exmem_map(other, 1, 0);
	ASSERT_NE(p, MAP_FAILED);
	ASSERT_NE(q, MAP_FAILED);
	memcpy(p, SECRET, sizeof(SECRET));
	EXPECT_TRUE(all_bytes(q, 0, PAGE));

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	again = open(path, O_RDWR);
	ASSERT_GE(again, 0);
	r = exmem_map(again, 1, 0);
	ASSERT_NE(r, MAP_FAILED);
	EXPECT_TRUE(all_bytes(r, 0, PAGE));
}

TEST_F(device, read_only_open)
{
	int fd = open(EXMEM_DEV, O_RDONLY);
	char *p;

	ASSERT_GE(fd, 0);
	EXPECT_EQ(exmem_map(fd, 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, EACCES);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ | PROT_WRITE), -1);
	EXPECT_EQ(errno, EACCES);
}

TEST_F(device, unmapped_pages_stay)
{
	char *p = exmem_map(self->fd, 4, 0);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 4 * PAGE);
	ASSERT_EQ(munmap(p + PAGE, PAGE), 0);
	EXPECT_EQ(exmem_free(), self->usable - 4);
	ASSERT_EQ(munmap(p, 4 * PAGE), 0);
	EXPECT_EQ(exmem_free(), self->usable - 4);

	p = exmem_map(self->fd, 4, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(all_bytes(p, 0x5a, 4 * PAGE));
	EXPECT_EQ(exmem_free(), self->usable - 4);
}

TEST_F(device, mapping_more_allocates_more)
{
	char *low = exmem_map(self->fd, 2, 4);
	char *all;

	ASSERT_NE(low, MAP_FAILED);
	memset(low, 0x11, 2 * PAGE);
	all = exmem_map(self->fd, 10, 0);
	ASSERT_NE(all, MAP_FAILED);
	EXPECT_EQ(exmem_free(), self->usable - 10);
	EXPECT_TRUE(all_bytes(all, 0, 4 * PAGE));
	EXPECT_TRUE(all_bytes(all + 4 * PAGE, 0x11, 2 * PAGE));
	EXPECT_TRUE(all_bytes(all + 6 * PAGE, 0, 4 * PAGE));
	/* Both mappings show the same pages. */
	all[5 * PAGE] = 0x22;
	EXPECT_EQ(low[PAGE], 0x22);
}

TEST_F(device, exhausted_by_one_object)
{
	char *p, *q;

	EXPECT_EQ(exmem_map(self->fd, self->usable + 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(exmem_free(), self->usable);

	p = exmem_map(self->fd, self->usable, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_free(), 0);
	memset(p, 0x5a, self->usable * PAGE);
	EXPECT_EQ(exmem_map(self->fd, 1, self->usable), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	/* The object's pages can still be mapped again. */
	q = exmem_map(self->fd, self->usable, 0);
	ASSERT_NE(q, MAP_FAILED);
	EXPECT_TRUE(all_bytes(q, 0x5a, self->usable * PAGE));
}

/* A request fills several holes and fails at a later one. */
TEST_F(device, failed_mmap_keeps_nothing)
{
	char *p = exmem_map(self->fd, 1, 100);
	char *q;

	ASSERT_NE(p, MAP_FAILED);
	memcpy(p, SECRET, sizeof(SECRET));
	EXPECT_EQ(exmem_map(self->fd, self->usable + 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(exmem_free(), self->usable - 1);
	EXPECT_STREQ(p, SECRET);

	/* No page was left in a hole. */
	q = exmem_map(self->fd, self->usable - 1, 0);
	ASSERT_NE(q, MAP_FAILED);
	EXPECT_EQ(exmem_free(), 1);
	EXPECT_STREQ(q + 100 * PAGE, SECRET);
}

TEST_F(device, sparse_offsets)
{
	size_t far = (1UL << 51) - 1;
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, far * PAGE);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_free(), self->usable - 1);
	memcpy(p, SECRET, sizeof(SECRET));
}

/* mmap() can name 2^52 pages; the last one is out of bounds. */
TEST_F(device, last_offsets)
{
	uint64_t top = (1UL << 52) - 5;
	char *p = exmem_map(self->fd, 4, top);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 1, 4 * PAGE);
	EXPECT_EQ(object_info(self->fd, "pages"), 4);
	EXPECT_EQ(exmem_punch_hole(self->fd, top + 1, 1), 0);
	EXPECT_EQ(touch(p + PAGE, -1), SIGBUS);
	EXPECT_EQ(touch(p + 2 * PAGE, -1), 0);
	EXPECT_EQ(used(), 3);
	EXPECT_EQ(exmem_map(self->fd, 4, top + 2), MAP_FAILED);
	EXPECT_EQ(errno, EOVERFLOW);
	EXPECT_EQ(exmem_map(self->fd, 1, top + 4), MAP_FAILED);
	EXPECT_EQ(errno, EOVERFLOW);
	EXPECT_EQ(used(), 3);
	EXPECT_EQ(exmem_punch_hole(self->fd, top, 5), 0);
	EXPECT_EQ(used(), 0);
}

TEST_F(device, bad_mappings)
{
	EXPECT_EQ(exmem_map(self->fd, 0, 0), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap((void *)1, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, self->fd, 0),
		  MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 1), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, self->fd, 0),
		  MAP_FAILED);
	EXPECT_EQ(errno, EOPNOTSUPP);
	EXPECT_EQ(exmem_map(self->fd, 1UL << 40, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(used(), 0);
	/* A length is rounded up to pages. */
	EXPECT_NE(mmap(NULL, PAGE + 1, PROT_READ, MAP_SHARED, self->fd, 0), MAP_FAILED);
	EXPECT_EQ(used(), 2);
}

TEST_F(device, fdinfo)
{
	EXPECT_EQ(object_info(self->fd, "size"), 0);
	EXPECT_EQ(object_info(self->fd, "pages"), 0);
	ASSERT_NE(exmem_map(self->fd, 3, 100), MAP_FAILED);
	EXPECT_EQ(object_info(self->fd, "size"), 103 * (long)PAGE);
	EXPECT_EQ(object_info(self->fd, "pages"), 3);
	ASSERT_NE(exmem_map(self->fd, 2, 0), MAP_FAILED);
	EXPECT_EQ(object_info(self->fd, "size"), 103 * (long)PAGE);
	EXPECT_EQ(object_info(self->fd, "pages"), 5);
	ASSERT_EQ(exmem_punch_hole(self->fd, 102, 1), 0);
	EXPECT_EQ(object_info(self->fd, "size"), 102 * (long)PAGE);
	EXPECT_EQ(object_info(self->fd, "pages"), 4);
}

TEST_F(device, punch_hole_frees)
{
	char *p = exmem_map(self->fd, 100, 0);
	int i;

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 100 * PAGE);
	EXPECT_EQ(exmem_punch_hole(self->fd, 10, 20), 0);
	EXPECT_EQ(used(), 80);
	for (i = 0; i < 100; i++) {
		EXPECT_EQ(touch(p + i * PAGE, -1), i >= 10 && i < 30 ? SIGBUS : 0);
		EXPECT_EQ(touch(p + i * PAGE, 0x5a), i >= 10 && i < 30 ? SIGBUS : 0);
	}
	EXPECT_TRUE(all_bytes(p, 0x5a, 10 * PAGE));
	EXPECT_TRUE(all_bytes(p + 30 * PAGE, 0x5a, 70 * PAGE));

	/* Holes that exist already, and a range beyond the last page. */
	EXPECT_EQ(exmem_punch_hole(self->fd, 10, 20), 0);
	EXPECT_EQ(exmem_punch_hole(self->fd, 100, 1UL << 40), 0);
	EXPECT_EQ(used(), 80);
	EXPECT_EQ(exmem_punch_hole(self->fd, 0, 1UL << 51), 0);
	EXPECT_EQ(used(), 0);
}

/* The beginning, the end, all, and across several extents and holes. */
TEST_F(device, punch_hole_any_part)
{
	static const struct { int at, nr, left; } steps[] = {
		{ 0, 10, 110 }, { 45, 10, 105 }, { 90, 20, 85 }, { 105, 5, 85 }, { 149, 1, 84 },
		{ 110, 1, 83 }, { 20, 100, 39 }, { 0, 150, 0 },
	};
	char *p = exmem_map(self->fd, 50, 0);
	char *q = exmem_map(self->fd, 70, 80);
	size_t i, j;

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_NE(q, MAP_FAILED);
	for (i = 0; i < 50; i++)
		p[i * PAGE] = i + 1;
	for (i = 0; i < 70; i++)
		q[i * PAGE] = i + 81;
	for (j = 0; j < ARRAY_SIZE(steps); j++) {
		ASSERT_EQ(exmem_punch_hole(self->fd, steps[j].at, steps[j].nr), 0);
		EXPECT_EQ(used(), steps[j].left);
		EXPECT_EQ(object_info(self->fd, "pages"), steps[j].left);
		for (i = 0; i < 50; i++)
			if (!touch(p + i * PAGE, -1))
				EXPECT_EQ(p[i * PAGE], (char)(i + 1));
		for (i = 0; i < 70; i++)
			if (!touch(q + i * PAGE, -1))
				EXPECT_EQ(q[i * PAGE], (char)(i + 81));
	}
}

TEST_F(device, punched_hole_fills_with_zeroes)
{
	char *p = exmem_map(self->fd, 10, 0), *q;

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 10 * PAGE);
	ASSERT_EQ(exmem_punch_hole(self->fd, 3, 4), 0);
	q = exmem_map(self->fd, 10, 0);
	ASSERT_NE(q, MAP_FAILED);
	EXPECT_TRUE(all_bytes(q, 0x5a, 3 * PAGE));
	EXPECT_TRUE(all_bytes(q + 3 * PAGE, 0, 4 * PAGE));
	EXPECT_TRUE(all_bytes(q + 7 * PAGE, 0x5a, 3 * PAGE));
	/* The old mapping sees the new pages. */
	q[3 * PAGE] = 0x77;
	EXPECT_EQ(touch(p + 3 * PAGE, -1), 0);
	EXPECT_EQ(p[3 * PAGE], 0x77);
	EXPECT_EQ(used(), 10);
}

TEST_F(device, fallocate)
{
	char *p;

	ASSERT_EQ(fallocate(self->fd, 0, 0, 10 * PAGE), 0);
	EXPECT_EQ(used(), 10);
	p = exmem_map(self->fd, 10, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(used(), 10);
	EXPECT_TRUE(all_bytes(p, 0, 10 * PAGE));
	memset(p, 0x5a, 10 * PAGE);
	ASSERT_EQ(fallocate(self->fd, HOLE, 3 * PAGE, 4 * PAGE), 0);
	EXPECT_EQ(used(), 6);
	EXPECT_EQ(touch(p + 3 * PAGE, -1), SIGBUS);
	EXPECT_EQ(touch(p + 6 * PAGE, -1), SIGBUS);
	ASSERT_EQ(fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 2 * PAGE, 4 * PAGE), 0);
	EXPECT_EQ(used(), 9);
	EXPECT_TRUE(all_bytes(p, 0x5a, 3 * PAGE));
	EXPECT_TRUE(all_bytes(p + 3 * PAGE, 0, 3 * PAGE));
	EXPECT_EQ(touch(p + 6 * PAGE, -1), SIGBUS);
}

TEST_F(device, fallocate_bad_arguments)
{
	int fd = open(EXMEM_DEV, O_RDONLY | O_CLOEXEC);

	ASSERT_GE(fd, 0);
	EXPECT_ERRNO(EBADF, fallocate(fd, 0, 0, PAGE));
	EXPECT_ERRNO(EBADF, fallocate(fd, HOLE, 0, PAGE));
	close(fd);
	EXPECT_ERRNO(EINVAL, fallocate(self->fd, 0, 1, PAGE));
	EXPECT_ERRNO(EINVAL, fallocate(self->fd, 0, 0, PAGE + 1));
	EXPECT_ERRNO(EINVAL, fallocate(self->fd, HOLE, PAGE, 1));
	EXPECT_ERRNO(EINVAL, fallocate(self->fd, 0, 0, 0));
	EXPECT_ERRNO(EOPNOTSUPP, fallocate(self->fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE));
	EXPECT_ERRNO(EOPNOTSUPP, fallocate(self->fd, FALLOC_FL_ZERO_RANGE, 0, PAGE));
	EXPECT_ERRNO(EOPNOTSUPP, fallocate(self->fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE));
	EXPECT_ERRNO(EFBIG, fallocate(self->fd, 0, LONG_MAX & -PAGE, PAGE));
	EXPECT_ERRNO(ENOMEM, fallocate(self->fd, 0, 0, (exmem_total() + 1) * PAGE));
	EXPECT_EQ(used(), 0);
}

/* As a VMM does for a balloon. */
TEST_F(device, advice)
{
	char *p = exmem_map(self->fd, 4, 0);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 4 * PAGE);
	ASSERT_EQ(madvise(p + PAGE, 2 * PAGE, MADV_REMOVE), 0);
	EXPECT_EQ(used(), 2);
	EXPECT_EQ(touch(p + PAGE, -1), SIGBUS);
	ASSERT_EQ(madvise(p + PAGE, PAGE, MADV_WILLNEED), 0);
	EXPECT_EQ(used(), 3);
	EXPECT_TRUE(all_bytes(p + PAGE, 0, PAGE));
	EXPECT_EQ(touch(p + 2 * PAGE, -1), SIGBUS);
	EXPECT_EQ(posix_fadvise(self->fd, 2 * PAGE, 1, POSIX_FADV_WILLNEED), 0);
	EXPECT_TRUE(all_bytes(p + 2 * PAGE, 0, PAGE));
	EXPECT_EQ(used(), 4);
	EXPECT_EQ(posix_fadvise(self->fd, 100 * PAGE, 0, POSIX_FADV_WILLNEED), 0);
	EXPECT_EQ(posix_fadvise(self->fd, 0, 4 * PAGE, POSIX_FADV_DONTNEED), 0);
	EXPECT_EQ(posix_fadvise(self->fd, 0, 4 * PAGE, 99), EINVAL);
	EXPECT_EQ(used(), 4);
}

TEST_F(device, punch_hole_reaches_all_processes)
{
	char *p = exmem_map(self->fd, 4, 0), c = 0;
	int ready[2], go[2], status;
	pid_t pid;

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(pipe(ready), 0);
	ASSERT_EQ(pipe(go), 0);
	pid = fork();
	if (!pid) {
		close(go[1]);
		char *q = exmem_map(self->fd, 2, 1);

		if (q == MAP_FAILED || touch(p + PAGE, -1) || touch(q, -1))
			_exit(1);
		if (write(ready[1], &c, 1) != 1 || read(go[0], &c, 1) < 0)
			_exit(2);
		_exit(touch(p + PAGE, -1) == SIGBUS && touch(q, -1) == SIGBUS &&
		      !touch(q + PAGE, -1) ? 0 : 3);
	}
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	EXPECT_EQ(exmem_punch_hole(self->fd, 1, 1), 0);
	close(go[0]);
	close(go[1]);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

TEST_F(device, punch_hole_bad_arguments)
{
	static const struct exclusive_memory_range bad[] = {
		{ 0, 0 }, { 1, PAGE }, { 0, 1 }, { PAGE, PAGE + 1 }, { PAGE / 2, PAGE / 2 },
		{ -PAGE, 2 * PAGE }, { PAGE, -PAGE + 1 }, { -PAGE, -PAGE },
	};
	int ro = open(EXMEM_DEV, O_RDONLY);
	size_t i;

	ASSERT_NE(exmem_map(self->fd, 10, 0), MAP_FAILED);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(ioctl(self->fd, EXCLUSIVE_MEMORY_DROP, &bad[i]), -1);
		EXPECT_EQ(errno, EINVAL);
	}
	EXPECT_EQ(ioctl(self->fd, EXCLUSIVE_MEMORY_DROP, NULL), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(ioctl(self->fd, EXCLUSIVE_MEMORY_DROP + 1, &bad[0]), -1);
	EXPECT_EQ(errno, ENOTTY);
	EXPECT_EQ(exmem_punch_hole(ro, 0, 1), -1);
	EXPECT_EQ(errno, EBADF);
	EXPECT_EQ(used(), 10);
}

TEST_HARNESS_MAIN
