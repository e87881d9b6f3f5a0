// SPDX-License-Identifier: GPL-2.0-only
/*
 * The invariants of exclusive memory, one by one, by their numbers in
 * Documentation/mm/exmem.rst.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define KPF_BUDDY	10
#define KPF_OFFLINE	23

FIXTURE(invariant)
{
	struct exmem_range ranges[16];
	int nr_ranges;
	long total, usable;
	int fd;
};

FIXTURE_SETUP(invariant)
{
	const char *missing = exmem_missing(2048);
	unsigned long bytes = 0;
	int i;

	if (missing)
		SKIP(return, "%s", missing);
	self->total = exmem_total();
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	self->nr_ranges = exmem_ranges(self->ranges, ARRAY_SIZE(self->ranges));
	for (i = 0; i < self->nr_ranges; i++)
		bytes += self->ranges[i].end - self->ranges[i].start;
	ASSERT_EQ(bytes, self->total * PAGE);
	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(invariant)
{
}

static bool in_direct_map(const struct exmem_range *ranges, int nr, unsigned long *mapped)
{
	unsigned long seen = 0, all = 0;
	int i;

	*mapped = 0;
	for (i = 0; i < nr; i++) {
		if (!direct_map_has(&ranges[i], &seen, mapped))
			return true;
		all += ranges[i].end - ranges[i].start;
	}
	/* Ranges that the page tables did not describe prove nothing. */
	return *mapped || seen != all;
}

TEST_F_TIMEOUT(invariant, 1_never_in_the_direct_map, 300)
{
	const struct exmem_range ordinary = { 16UL << 20, 18UL << 20 };
	unsigned long seen = 0, mapped = 0;
	char *p;

	if (access(PAGE_TABLES, R_OK))
		SKIP(return, "needs " PAGE_TABLES);
	ASSERT_TRUE(direct_map_has(&ordinary, &seen, &mapped));
	EXPECT_EQ(seen, 2UL << 20);
	EXPECT_EQ(mapped, 2UL << 20);

	EXPECT_FALSE(in_direct_map(self->ranges, self->nr_ranges, &mapped));
	EXPECT_EQ(mapped, 0);
	p = exmem_map(self->fd, self->usable, 0);
	ASSERT_NE(p, MAP_FAILED);
	memset(p, 1, self->usable * PAGE);
	EXPECT_FALSE(in_direct_map(self->ranges, self->nr_ranges, &mapped));
	munmap(p, self->usable * PAGE);
	close(self->fd);
	EXPECT_FALSE(in_direct_map(self->ranges, self->nr_ranges, &mapped));
}

/* Allocate, touch and free an object of the device. */
static bool cycle(long pages)
{
	int fd = open(EXMEM_DEV, O_RDWR);
	char *p = exmem_map(fd, pages, 0);

	if (p == MAP_FAILED)
		return false;
	memset(p, 1, pages * PAGE);
	munmap(p, pages * PAGE);
	close(fd);
	return true;
}

/* The same with MAP_EXCLUSIVE, freed in two parts. */
static bool exclusive_cycle(long pages)
{
	char *p = exmem_front_map(EXMEM_FRONT_MMAP, -1, NULL, pages * PAGE,
				  PROT_READ | PROT_WRITE);

	if (p == MAP_FAILED)
		return false;
	memset(p, 1, pages * PAGE);
	munmap(p, pages / 2 * PAGE);
	munmap(p, pages * PAGE);
	return true;
}

static bool secret_cycle(void)
{
	int fd = exmem_front_open(EXMEM_FRONT_SECRETMEM, PAGE);
	char *p;

	if (fd < 0)
		return false;
	p = exmem_map(fd, 1, 0);
	if (p == MAP_FAILED)
		return false;
	*p = 1;
	munmap(p, PAGE);
	close(fd);
	return true;
}

/* Kernel-range flushes of this process in the trace. */
static int flushes(void)
{
	char me[16];

	snprintf(me, sizeof(me), "-%d ", getpid());
	return traced(me, ": exmem_test_");
}

#define PROBES	TRACING "kprobe_events"
#define ENABLE	TRACING "events/kprobes/enable"

TEST_F_TIMEOUT(invariant, 2_no_split_and_no_shootdown, 300)
{
	long before, n;
	int i;

	if (access(PROBES, W_OK) || exmem_front_missing(EXMEM_FRONT_SECRETMEM, 1))
		SKIP(return, "needs kprobes, tracefs and vm.exmem_secretmem=1");
	ASSERT_TRUE(put(PROBES, "p:exmem_test_range flush_tlb_kernel_range\n"
				"p:exmem_test_all flush_tlb_all\n"));
	ASSERT_TRUE(put(TRACING "trace", "\n"));
	ASSERT_TRUE(put(ENABLE, "1"));
	/* Arming a probe may split a leaf. */
	before = direct_map_splits();
	ASSERT_GE(before, 0);
	for (i = 0; i < 500; i++) {
		ASSERT_TRUE(cycle(1));
		ASSERT_TRUE(cycle(1 + i % 100));
		ASSERT_TRUE(exclusive_cycle(1 + i % 100));
	}
	ASSERT_TRUE(cycle(self->usable));
	n = flushes();
	EXPECT_EQ(direct_map_splits(), before);
	/* memfd_secret(2) with memory from the pool does not flush, either. */
	EXPECT_TRUE(secret_cycle());
	EXPECT_EQ(flushes(), n);
	/* Without the pool it flushes every time, which shows that the probes work. */
	memfd_secret_from_pool(false);
	EXPECT_TRUE(secret_cycle());
	EXPECT_GT(flushes(), n);
	memfd_secret_from_pool(true);
	put(ENABLE, "0");
	put(PROBES, "\n");
	EXPECT_EQ(n, 0);
}

#define STEADY_PAGES	100000
#define STEADY_HOLDERS	256

/* Objects of all sizes come and go, and the direct map stays as it is. */
TEST_F_TIMEOUT(invariant, 2_no_split_in_steady_state, 600)
{
	long before = direct_map_splits();
	long map4k = named_value("/proc/meminfo", "DirectMap4k");
	long map2m = named_value("/proc/meminfo", "DirectMap2M");
	long held = 0, allocated = 0, n;
	struct { char *p; long n; } holder[STEADY_HOLDERS] = {};
	int i, fd;

	ASSERT_GE(before, 0);
	/* Whole leaves are missing from the direct map. */
	ASSERT_EQ(exmem_value("removed_2M") * 512 + exmem_value("removed_1G") * 512 * 512,
		  self->total);
	srand(1);
	while (allocated < STEADY_PAGES) {
		i = rand() % STEADY_HOLDERS;
		if (holder[i].p) {
			munmap(holder[i].p, holder[i].n * PAGE);
			holder[i].p = NULL;
			held -= holder[i].n;
			continue;
		}
		n = 1 + rand() % 100;
		if (held + n > self->usable)
			continue;
		fd = open(EXMEM_DEV, O_RDWR);
		holder[i].p = exmem_map(fd, n, 0);
		ASSERT_NE(holder[i].p, MAP_FAILED);
		close(fd);
		holder[i].p[0] = 1;
		holder[i].p[n * PAGE - 1] = 1;
		holder[i].n = n;
		held += n;
		allocated += n;
	}
	EXPECT_EQ(exmem_free(), self->usable - held);
	for (i = 0; i < STEADY_HOLDERS; i++)
		if (holder[i].p)
			munmap(holder[i].p, holder[i].n * PAGE);
	EXPECT_EQ(exmem_free(), self->usable);
	EXPECT_EQ(direct_map_splits(), before);
	EXPECT_EQ(named_value("/proc/meminfo", "DirectMap4k"), map4k);
	EXPECT_EQ(named_value("/proc/meminfo", "DirectMap2M"), map2m);
}

/* The next owner of a page finds zeroes, however the last one ended. */
TEST_F(invariant, 3_free_pages_are_zero)
{
	char *p = exmem_map(self->fd, self->usable, 0);
	int status;
	pid_t pid;

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(all_bytes(p, 0, self->usable * PAGE));
	memset(p, 0x5a, self->usable * PAGE);
	munmap(p, self->usable * PAGE);
	close(self->fd);

	pid = fork();
	if (!pid) {
		for (int i = 0; i < 40; i++) {
			p = exmem_map(open(EXMEM_DEV, O_RDWR), 1 + i, 0);
			if (p == MAP_FAILED || !all_bytes(p, 0, (1 + i) * PAGE))
				_exit(1);
			memset(p, 0x5a, (1 + i) * PAGE);
		}
		kill(getpid(), SIGKILL);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFSIGNALED(status));

	p = exmem_map(open(EXMEM_DEV, O_RDWR), self->usable, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(all_bytes(p, 0, self->usable * PAGE));
}

#define OBJECTS	32

/* The pages in use are known here: the others must be free. */
TEST_F_TIMEOUT(invariant, 4_the_figures_add_up, 300)
{
	struct { char *p; long n; } obj[OBJECTS] = {};
	long used = 0, n;
	int i, j, fd;

	srand(4);
	for (i = 0; i < 2000; i++) {
		j = rand() % OBJECTS;
		n = 1 + rand() % (1 << rand() % 11);
		if (obj[j].p) {
			munmap(obj[j].p, obj[j].n * PAGE);
			used -= obj[j].n;
			obj[j].p = NULL;
		} else {
			fd = open(EXMEM_DEV, O_RDWR);
			obj[j].p = exmem_map(fd, n, 0);
			obj[j].n = n;
			ASSERT_EQ(obj[j].p == MAP_FAILED, used + n > self->usable);
			if (obj[j].p == MAP_FAILED)
				obj[j].p = NULL;
			else
				used += n;
			close(fd);
		}
		ASSERT_EQ(exmem_free() + exmem_value("poisoned_pages") + used, self->total);
	}
}

/* Four processes own all pages, and each page names its owner. */
TEST_F(invariant, 5_a_page_has_one_owner)
{
	long share = self->usable / 4, i, n;
	int go[2], pids[4], status;
	char *p, c;

	ASSERT_EQ(pipe(go), 0);
	for (n = 0; n < 4; n++) {
		pids[n] = fork();
		if (pids[n])
			continue;
		close(go[1]);
		p = exmem_map(open(EXMEM_DEV, O_RDWR), share, 0);
		if (p == MAP_FAILED)
			_exit(1);
		for (i = 0; i < share; i++)
			*(long *)(p + i * PAGE) = n << 32 | i;
		/* All have written before anyone reads. */
		if (read(go[0], &c, 1) < 0)
			_exit(2);
		for (i = 0; i < share; i++)
			if (*(long *)(p + i * PAGE) != (n << 32 | i))
				_exit(3);
		_exit(0);
	}
	close(go[0]);
	for (i = 0; i < 1000 && exmem_free() > self->usable % 4; i++)
		usleep(10000);
	EXPECT_EQ(exmem_free(), self->usable % 4);
	sleep(1);
	close(go[1]);
	for (n = 0; n < 4; n++) {
		ASSERT_EQ(waitpid(pids[n], &status, 0), pids[n]);
		EXPECT_EQ(status, 0);
	}
	EXPECT_EQ(exmem_free(), self->usable);
}

TEST_F(invariant, 6_a_mapping_never_faults)
{
	char *p = exmem_map(self->fd, self->usable - 10, 0);
	int other = open(EXMEM_DEV, O_RDWR);
	long before, i;

	ASSERT_NE(p, MAP_FAILED);
	/* A request that failed keeps nothing. */
	EXPECT_EQ(exmem_map(other, 11, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(exmem_free(), 10);
	EXPECT_EQ(exmem_map(self->fd, self->usable + 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(exmem_free(), 10);

	before = page_faults();
	for (i = 0; i < self->usable - 10; i++)
		p[i * PAGE] = 1;
	EXPECT_EQ(page_faults(), before);
}

/* The number of pages in the ranges that have @flag in /proc/kpageflags. */
static long with_flag(const struct exmem_range *ranges, int nr, int flag)
{
	int fd = open("/proc/kpageflags", O_RDONLY), i;
	unsigned long pfn;
	uint64_t flags;
	long n = 0;

	for (i = 0; i < nr; i++) {
		for (pfn = ranges[i].start / PAGE; pfn < ranges[i].end / PAGE; pfn++) {
			if (pread(fd, &flags, 8, pfn * 8) != 8)
				return -1;
			n += flags >> flag & 1;
		}
	}
	close(fd);
	return n;
}

TEST_F_TIMEOUT(invariant, 7_apart_from_the_page_allocator, 300)
{
	long managed = named_value("/proc/meminfo", "MemTotal");
	char *p;
	int i;

	for (i = 0; i < 2; i++) {
		EXPECT_EQ(with_flag(self->ranges, self->nr_ranges, KPF_OFFLINE), self->total);
		EXPECT_EQ(with_flag(self->ranges, self->nr_ranges, KPF_BUDDY), 0);
		/* There is ordinary memory, and none of it is used. */
		EXPECT_EQ(exmem_map(self->fd, self->usable + 1, 0), MAP_FAILED);
		EXPECT_EQ(errno, ENOMEM);
		EXPECT_GT(named_value("/proc/meminfo", "MemFree"), self->usable * 4);

		p = exmem_map(self->fd, self->usable, 0);
		ASSERT_NE(p, MAP_FAILED);
		EXPECT_EQ(with_flag(self->ranges, self->nr_ranges, KPF_OFFLINE), self->total);
		EXPECT_EQ(with_flag(self->ranges, self->nr_ranges, KPF_BUDDY), 0);
		munmap(p, self->usable * PAGE);
		close(self->fd);
		self->fd = open(EXMEM_DEV, O_RDWR);
	}
	EXPECT_EQ(named_value("/proc/meminfo", "MemTotal"), managed);
}

/* A line of /proc/iomem, not indented */
static bool resource_range(const char *line, const char *name, struct exmem_range *range)
{
	int end = 0;

	if (sscanf(line, "%lx-%lx : %n", &range->start, &range->end, &end) != 2 || *line == ' ')
		return false;
	range->end++;
	return end && !strncmp(line + end, name, strlen(name));
}

/* kexec-tools takes the ranges of a dump from the lines that begin with "System RAM". */
TEST_F(invariant, 9_not_in_crash_dumps)
{
	FILE *f = fopen("/proc/iomem", "re");
	struct exmem_range range;
	int i, found = 0;
	char line[256];

	ASSERT_NE(f, NULL);
	while (fgets(line, sizeof(line), f)) {
		for (i = 0; i < self->nr_ranges; i++) {
			if (resource_range(line, "Exclusive memory\n", &range))
				found += range.start == self->ranges[i].start &&
					 range.end == self->ranges[i].end;
			if (resource_range(line, "System RAM", &range))
				EXPECT_FALSE(range.start < self->ranges[i].end &&
					     range.end > self->ranges[i].start);
		}
	}
	fclose(f);
	EXPECT_EQ(found, self->nr_ranges);
}

TEST_HARNESS_MAIN
