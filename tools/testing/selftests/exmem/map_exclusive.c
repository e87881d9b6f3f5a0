// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one form of an mmap() call with MAP_EXCLUSIVE that is accepted: any other fails. Tests
 * of the mapping are in mapping.c.
 */
#define _GNU_SOURCE
#include <errno.h>

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

/* Without a pool, MAP_EXCLUSIVE fails as it does with an exhausted pool. */
TEST(absent_without_a_pool)
{
	if (exmem_total() > 0)
		SKIP(return, "there is a pool");
	EXPECT_EQ(error_of(PAGE, PROT_READ, FORM, -1, 0), ENOMEM);
	EXPECT_EQ(error_of(PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_EXCLUSIVE, -1, 0),
		  EINVAL);
	EXPECT_EQ(error_of(PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_EXCLUSIVE, -1, 0),
		  EINVAL);
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
