// SPDX-License-Identifier: GPL-2.0-only
/*
 * A 1G huge page is made by moving what is in its way. The pool's pages never move: the kernel
 * must leave alone each 1 GiB with a part of the pool, and not find out by trying. The test prints
 * how many pages were migrated in vain.
 *
 * Page structs don't move, either, and are in the same 1 GiB as the pool on most machines. To have
 * them elsewhere, boot 6 GiB on two nodes with exmem=1:600M crashkernel=512M,high.
 */
#include <linux/mempolicy.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define NR_HUGEPAGES	"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
#define PROBES		TRACING "kprobe_events"
#define NEW_PROBE	"p:exmem_isolate start_isolate_page_range start=$arg1 end=$arg2\n"
#define PROBE		TRACING "events/kprobes/exmem_isolate/enable"
#define MIGRATE		TRACING "events/migrate/mm_migrate_pages/enable"

#define GIB		0x40000000UL
#define CHUNK		0x200000UL	/* a transparent huge page */

/* Bits of /proc/kpageflags: KPF_NOPAGE and KPF_RESERVED */
#define KPF_UNMOVABLE	0x100100000

FIXTURE(huge)
{
	struct exmem_range ranges[128];
	int nr;
};

/* Could each page of the 1G be moved, as far as its flags tell? */
static bool looks_movable(int flags, unsigned long start)
{
	static uint64_t page[GIB / PAGE];
	unsigned long i;

	if (pread(flags, page, sizeof(page), start / PAGE * sizeof(*page)) != sizeof(page))
		return false;
	for (i = 0; i < GIB / PAGE; i++)
		if (page[i] & KPF_UNMOVABLE)
			return false;
	return true;
}

static bool pool_shares_movable_gib(const struct exmem_range *ranges, int nr)
{
	int flags = open("/proc/kpageflags", O_RDONLY), i;
	unsigned long start;
	bool found = false;

	for (i = 0; i < nr; i++)
		for (start = ranges[i].start / GIB * GIB; start < ranges[i].end; start += GIB)
			if (start < ranges[i].start || start + GIB > ranges[i].end)
				found |= looks_movable(flags, start);
	close(flags);
	return found;
}

FIXTURE_SETUP(huge)
{
	const char *missing = exmem_missing(1);

	if (missing)
		SKIP(return, "%s", missing);
	if (access(NR_HUGEPAGES, W_OK) || access(PROBES, W_OK) || access(MIGRATE, W_OK))
		SKIP(return, "needs 1G huge pages, kprobes and tracefs");
	self->nr = exmem_ranges(self->ranges, ARRAY_SIZE(self->ranges));
	ASSERT_GT(self->nr, 0);
	if (!pool_shares_movable_gib(self->ranges, self->nr))
		SKIP(return, "needs a movable 1 GiB with a part of the pool: see hugepages.c");
	ASSERT_EQ(number_in(NR_HUGEPAGES), 0);
}

FIXTURE_TEARDOWN(huge)
{
	put(NR_HUGEPAGES, "0");
}

/* Use nearly all memory of a node, and leave gaps to which pages can be moved. */
static bool fill_node(int nid)
{
	unsigned long size, i, mask = 1UL << nid;
	char path[64], node[32];
	char *p;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", nid);
	snprintf(node, sizeof(node), "Node %d MemFree", nid);
	size = named_value(path, node) * 1024 / 8 * 7 / CHUNK * CHUNK;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED || syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 8 * sizeof(mask)))
		return false;
	madvise(p, size, MADV_HUGEPAGE);
	for (i = 0; i < size; i += PAGE)
		p[i] = 1;
	for (i = 0; i < size; i += 4 * CHUNK)
		madvise(p + i, CHUNK, MADV_DONTNEED);
	return !syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0);
}

static bool fill_nodes_of_pool(void)
{
	int nid;

	for (nid = 0; nid < 64; nid++)
		if (exmem_node_value(nid, "total_pages") > 0 && !fill_node(nid))
			return false;
	return true;
}

static bool in_ranges(const struct exmem_range *ranges, int nr, unsigned long start,
		      unsigned long end)
{
	while (nr--)
		if (start < ranges[nr].end && end > ranges[nr].start)
			return true;
	return false;
}

/* What the kernel did to get contiguous memory */
struct attempts {
	long isolated;			/* blocks with a part of the pool */
	long migrated;			/* pages that were moved out of them */
	long isolated_elsewhere;
};

static void count_attempts(const struct exmem_range *ranges, int nr, struct attempts *attempts)
{
	FILE *f = fopen(TRACING "trace", "r");
	unsigned long start, end, migrated;
	char line[512], *args;
	bool in_vain = false;

	while (f && fgets(line, sizeof(line), f)) {
		args = strstr(line, " start=0x");
		if (args && sscanf(args, " start=%lx end=%lx", &start, &end) == 2) {
			in_vain = in_ranges(ranges, nr, start * PAGE, end * PAGE);
			attempts->isolated += in_vain;
			attempts->isolated_elsewhere += !in_vain;
		}
		/* This event is about the block that was isolated last. */
		args = strstr(line, " nr_succeeded=");
		if (in_vain && args && strstr(line, "contig_range") &&
		    sscanf(args, " nr_succeeded=%lu", &migrated) == 1)
			attempts->migrated += migrated;
	}
	if (f)
		fclose(f);
}

/* Ask for more huge pages than there can be: the kernel tries every place. */
static bool request_all(void)
{
	return put(NR_HUGEPAGES, "1000");
}

TEST_F_TIMEOUT(huge, leave_the_pool_alone, 300)
{
	struct attempts attempts = {};

	ASSERT_TRUE(put(TRACING "trace", "\n"));
	ASSERT_TRUE(put(PROBES, NEW_PROBE));
	EXPECT_TRUE(put(PROBE, "1"));
	EXPECT_TRUE(put(MIGRATE, "1"));
	EXPECT_TRUE(request_all());
	/* The memory that remains is in use, but could be moved. */
	EXPECT_TRUE(fill_nodes_of_pool());
	EXPECT_TRUE(request_all());
	EXPECT_TRUE(put(MIGRATE, "0"));
	EXPECT_TRUE(put(PROBE, "0"));
	count_attempts(self->ranges, self->nr, &attempts);
	EXPECT_TRUE(put(PROBES, "\n"));
	ksft_print_msg("1G huge pages: %ld\n", number_in(NR_HUGEPAGES));
	ksft_print_msg("pages migrated in vain: %ld\n", attempts.migrated);
	fflush(stdout);
	EXPECT_GT(attempts.isolated_elsewhere, 0);
	EXPECT_EQ(attempts.isolated, 0);
	EXPECT_EQ(attempts.migrated, 0);
}

TEST_HARNESS_MAIN
