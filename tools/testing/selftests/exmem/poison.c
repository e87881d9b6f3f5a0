// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that memory_failure() marked are never handed out again. Needs root,
 * debugfs, CONFIG_HWPOISON_INJECT and a pool: exmem=64M. The pages that this
 * program poisons are lost until the next boot.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <asm/mman.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define INJECT	"/sys/kernel/debug/hwpoison/corrupt-pfn"

/* Map @nr pages, and note which pages the pool gave for it. */
static char *map_traced(int fd, long nr)
{
	char *p;

	if (!exmem_trace_on())
		return MAP_FAILED;
	p = exmem_map(fd, nr, 0);
	return exmem_trace_off() ? p : MAP_FAILED;
}

/* Is @pfn one of those? Or, if it is 0, which is the first? */
static unsigned long given(unsigned long pfn)
{
	FILE *f = fopen(TRACING "trace", "r");
	unsigned long from, nr, found = 0;
	char line[512], *p;

	while (f && !found && fgets(line, sizeof(line), f)) {
		p = strstr(line, " exmem_take: pfn=");
		if (!p || sscanf(p, " exmem_take: pfn=%lx node=%*d count=%lu", &from, &nr) != 2)
			continue;
		if (!pfn)
			found = from;
		else if (pfn >= from && pfn < from + nr)
			found = pfn;
	}
	if (f)
		fclose(f);
	return found;
}

/* What it returns is about recovery: there is nothing to be recovered here. */
static void poison(unsigned long pfn)
{
	char line[32];

	snprintf(line, sizeof(line), "%#lx\n", pfn);
	put(INJECT, line);
}

FIXTURE(poison)
{
	int fd;
	long total, free, poisoned;
};

FIXTURE_SETUP(poison)
{
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

/* No mapping of all that is free has @pfn in it, and the figures add up. */
#define expect_retired(pfn) do {								\
	char *_p;										\
												\
	EXPECT_EQ(exmem_value("poisoned_pages"), self->poisoned + 1);				\
	EXPECT_EQ(exmem_free(), self->free - 1);						\
	EXPECT_EQ(exmem_map(self->fd, self->free, 0), MAP_FAILED);				\
	EXPECT_EQ(errno, ENOMEM);								\
	_p = map_traced(self->fd, self->free - 1);						\
	ASSERT_NE(_p, MAP_FAILED);								\
	EXPECT_TRUE(all_bytes(_p, 0, (self->free - 1) * PAGE));					\
	EXPECT_NE(given(0), 0);									\
	EXPECT_EQ(given(pfn), 0);								\
	EXPECT_EQ(exmem_total(), exmem_value("poisoned_pages") + self->free - 1);		\
} while (0)

TEST_F(poison, in_use)
{
	char *p = map_traced(self->fd, 10);
	unsigned long pfn = given(0) + 3;

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_NE(given(pfn), 0);
	memset(p, 0x5a, 10 * PAGE);
	poison(pfn);
	/* Still its owner's. */
	EXPECT_EQ(exmem_value("poisoned_pages"), self->poisoned);
	munmap(p, 10 * PAGE);
	close(self->fd);

	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
	expect_retired(pfn);
}

TEST_F(poison, while_free)
{
	char *p = map_traced(self->fd, 10);
	unsigned long pfn = given(0) + 3;

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_NE(given(pfn), 0);
	munmap(p, 10 * PAGE);
	close(self->fd);
	poison(pfn);

	/* It is found when it would be handed out. */
	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
	EXPECT_EQ(exmem_map(self->fd, self->free, 0), MAP_FAILED);
	expect_retired(pfn);
}

/* One page that is free in a cache: who asks for one gets another. */
TEST_F(poison, while_cached)
{
	char *p = map_traced(self->fd, 1);
	unsigned long pfn = given(0);

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_NE(pfn, 0);
	munmap(p, PAGE);
	close(self->fd);
	poison(pfn);

	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
	p = map_traced(self->fd, 1);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_NE(given(0), 0);
	EXPECT_EQ(given(pfn), 0);
	munmap(p, PAGE);
	close(self->fd);

	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
	EXPECT_EQ(exmem_map(self->fd, self->free, 0), MAP_FAILED);
	expect_retired(pfn);
}

/* No way to poison memory through a mapping of it: madvise() can't pin it. */
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
