// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one form of an mmap() call with MAP_EXCLUSIVE that is accepted where there is a pool: any
 * other fails. Without a pool the flag is ignored. Tests of the mapping are in mapping.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

static int error_of(size_t length, int prot, int flags, int fd, off_t offset)
{
	void *p = mmap(NULL, length, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return errno;
	munmap(p, length);
	return 0;
}

#define FORM	(MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_EXCLUSIVE)

/* Without a pool, MAP_EXCLUSIVE is an unknown flag, as on a kernel without exclusive memory. */
TEST(absent_without_a_pool)
{
	int file = open("/proc/self/exe", O_RDONLY);

	if (exmem_total() > 0)
		SKIP(return, "there is a pool");
	EXPECT_EQ(error_of(PAGE, PROT_READ, FORM, -1, 0), EINVAL);
	EXPECT_EQ(error_of(PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_EXCLUSIVE, -1, 0), 0);
	EXPECT_EQ(error_of(PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_EXCLUSIVE, file, 0),
		  EOPNOTSUPP);
	EXPECT_EQ(error_of(PAGE, PROT_READ, MAP_PRIVATE | MAP_EXCLUSIVE, file, 0), 0);
}

/* Ordinary memory: each process has its own, and its pages are resident. */
TEST(private_without_a_pool)
{
	unsigned char resident = 0;
	int status;
	char *p;
	pid_t pid;

	if (exmem_total() > 0)
		SKIP(return, "there is a pool");
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_EXCLUSIVE,
		 -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	*p = 42;
	ASSERT_EQ(mincore(p, PAGE, &resident), 0);
	EXPECT_EQ(resident & 1, 1);
	pid = fork();
	if (!pid) {
		if (*p != 42)
			_exit(1);
		*p = 43;
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(*p, 42);
	EXPECT_EQ(access(SYSCTL_MMAP, F_OK), -1);
	EXPECT_EQ(access(SYSCTL_SECRETMEM, F_OK), -1);
}

FIXTURE(map_exclusive)
{
	long usable;
};

FIXTURE_SETUP(map_exclusive)
{
	const char *missing = exmem_front_missing(EXMEM_FRONT_MMAP, 1);

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
}

FIXTURE_TEARDOWN(map_exclusive)
{
}

TEST_F(map_exclusive, sharing_type)
{
	EXPECT_EQ(error_of(PAGE, PROT_READ, FORM, -1, 0), 0);
	EXPECT_EQ(error_of(PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_EXCLUSIVE, -1, 0),
		  EINVAL);
	EXPECT_EQ(error_of(PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_EXCLUSIVE, -1, 0),
		  EINVAL);
	EXPECT_EQ(used(), 0);
}

TEST_F(map_exclusive, no_file)
{
	int device = open(EXMEM_DEV, O_RDWR);

	ASSERT_GE(device, 0);
	EXPECT_EQ(error_of(PAGE, PROT_READ, FORM, device, 0), EINVAL);
	EXPECT_EQ(error_of(PAGE, PROT_READ, FORM, -2, 0), EINVAL);
	EXPECT_EQ(error_of(PAGE, PROT_READ, FORM, -1, PAGE), EINVAL);
	EXPECT_EQ(error_of(PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_EXCLUSIVE, device, 0),
		  EINVAL);
	EXPECT_EQ(error_of(PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_EXCLUSIVE, -1, 0), EINVAL);
	EXPECT_EQ(used(), 0);
}

TEST_F(map_exclusive, length)
{
	EXPECT_EQ(error_of(0, PROT_READ, FORM, -1, 0), EINVAL);
	EXPECT_EQ(error_of(-PAGE, PROT_READ, FORM, -1, 0), ENOMEM);
	EXPECT_EQ(error_of(1, PROT_READ, FORM, -1, 0), 0);
	EXPECT_EQ(used(), 0);
}

/* Flags that the mapping can't honour are refused, and the others are accepted. */
TEST_F(map_exclusive, other_flags)
{
	static const int refused[] = { MAP_HUGETLB, MAP_GROWSDOWN, MAP_NORESERVE, MAP_SYNC };
	static const int accepted[] = {
		MAP_POPULATE, MAP_NONBLOCK, MAP_LOCKED, MAP_STACK, MAP_32BIT,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(refused); i++)
		EXPECT_EQ(error_of(PAGE, PROT_READ, FORM | refused[i], -1, 0), EINVAL);
	for (i = 0; i < ARRAY_SIZE(accepted); i++)
		EXPECT_EQ(error_of(PAGE, PROT_READ, FORM | accepted[i], -1, 0), 0);
	EXPECT_EQ(used(), 0);
}

TEST_HARNESS_MAIN
