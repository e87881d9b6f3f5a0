// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that memory_failure() marked are never allocated again. Each run costs the pool a few
 * pages until the next boot: they can't be unpoisoned, and all other tests count without them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <asm/mman.h>

#include "poison.h"
#include "../kselftest_harness.h"

/* Map @nr pages, and trace which pages were allocated for that. */
static char *map_traced(int fd, long nr)
{
	char *p;

	if (!exmem_trace_on())
		return MAP_FAILED;
	p = exmem_map(fd, nr, 0);
	return exmem_trace_off() ? p : MAP_FAILED;
}

/* Was @pfn among the traced allocations? */
static bool allocated(unsigned long pfn)
{
	FILE *f = fopen(TRACING "trace", "r");
	struct exmem_alloc alloc;
	bool found = false;

	while (!found && next_alloc(f, "", &alloc))
		found = pfn >= alloc.pfn && pfn < alloc.pfn + alloc.count;
	if (f)
		fclose(f);
	return found;
}

FIXTURE(poison)
{
	int fd;
	long total, free, poisoned;
};

FIXTURE_SETUP(poison)
{
	const char *missing = exmem_missing(1024) ?: poison_missing();

	if (missing)
		SKIP(return, "%s", missing);
	self->total = exmem_total();
	self->free = exmem_free();
	self->poisoned = exmem_value("poisoned_pages");
	ASSERT_GE(self->free, 1024);
	ASSERT_EQ(self->total, self->free + self->poisoned);
	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(poison)
{
}

/*
 * Before @pfn was poisoned, @free pages were free and @poisoned were poisoned. No mapping of all
 * free pages contains @pfn now, and the figures add up.
 */
static void expect_retired(struct __test_metadata *_metadata, int fd, unsigned long pfn,
			   long free, long poisoned)
{
	char *p;

	EXPECT_EQ(exmem_value("poisoned_pages"), poisoned + 1);
	EXPECT_EQ(exmem_free(), free - 1);
	EXPECT_EQ(exmem_map(fd, free, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	p = map_traced(fd, free - 1);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(all_bytes(p, 0, (free - 1) * PAGE));
	EXPECT_NE(first_pfn(), 0);
	EXPECT_FALSE(allocated(pfn));
	EXPECT_EQ(exmem_total(), exmem_value("poisoned_pages") + free - 1);
}

TEST_F(poison, in_use)
{
	char *p = map_traced(self->fd, 10);
	unsigned long pfn = first_pfn() + 3;

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_TRUE(allocated(pfn));
	memset(p, 0x5a, 10 * PAGE);
	poison(pfn);
	/* The owner still has it. */
	EXPECT_EQ(exmem_value("poisoned_pages"), self->poisoned);
	munmap(p, 10 * PAGE);
	close(self->fd);

	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
	expect_retired(_metadata, self->fd, pfn, self->free, self->poisoned);
}

/* A new mapping of the region has no PMD, and lacks the poisoned page. */
TEST_F(poison, in_a_region)
{
	char *p = map_traced(self->fd, REGION_PAGES), *q;
	unsigned long pfn = first_pfn() + 100;

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_TRUE(allocated(pfn));
	EXPECT_EQ(pmds_mapped(), 1);
	memset(p, 0x5a, PMD);
	poison(pfn);
	q = exmem_map(self->fd, REGION_PAGES, 0);
	ASSERT_NE(q, MAP_FAILED);
	EXPECT_EQ(pmds_mapped(), 1);
	EXPECT_TRUE(all_bytes(q, 0x5a, 100 * PAGE));
	EXPECT_TRUE(all_bytes(q + 101 * PAGE, 0x5a, PMD - 101 * PAGE));
	EXPECT_EQ(touch(q + 100 * PAGE, -1), SIGBUS);
	/* The kernel splits the PMD: each page is mapped by itself. */
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ), 0);
	EXPECT_EQ(touch(p + 99 * PAGE, -1), 0);
	EXPECT_EQ(touch(p + 100 * PAGE, -1), SIGBUS);
	EXPECT_TRUE(all_bytes(p + 101 * PAGE, 0x5a, PMD - 101 * PAGE));
	EXPECT_EQ(pmds_mapped(), 0);
	munmap(p, PMD);
	munmap(q, PMD);
	close(self->fd);

	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
	expect_retired(_metadata, self->fd, pfn, self->free, self->poisoned);
}

TEST_F(poison, while_free)
{
	char *p = map_traced(self->fd, 10);
	unsigned long pfn = first_pfn() + 3;

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_TRUE(allocated(pfn));
	munmap(p, 10 * PAGE);
	close(self->fd);
	poison(pfn);

	/* The poisoned page is not noticed until it would be allocated. */
	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
	EXPECT_EQ(exmem_map(self->fd, self->free, 0), MAP_FAILED);
	expect_retired(_metadata, self->fd, pfn, self->free, self->poisoned);
}

/* A page that is free in a CPU's cache: the next request is served from another. */
TEST_F(poison, while_cached)
{
	char *p = map_traced(self->fd, 1);
	unsigned long pfn = first_pfn();

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_NE(pfn, 0);
	munmap(p, PAGE);
	close(self->fd);
	poison(pfn);

	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
	p = map_traced(self->fd, 1);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_NE(first_pfn(), 0);
	EXPECT_FALSE(allocated(pfn));
	munmap(p, PAGE);
	close(self->fd);

	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
	EXPECT_EQ(exmem_map(self->fd, self->free, 0), MAP_FAILED);
	expect_retired(_metadata, self->fd, pfn, self->free, self->poisoned);
}

/* madvise() can't poison exclusive memory: it can't pin it. */
TEST_F(poison, not_by_madvise)
{
	char *p = exmem_map(self->fd, 1, 0);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(madvise(p, PAGE, MADV_HWPOISON), -1);
	EXPECT_EQ(madvise(p, PAGE, MADV_SOFT_OFFLINE), -1);
	*p = 1;
	munmap(p, PAGE);
	close(self->fd);
	EXPECT_EQ(exmem_value("poisoned_pages"), self->poisoned);
	EXPECT_EQ(exmem_free(), self->free);
}

TEST_HARNESS_MAIN
