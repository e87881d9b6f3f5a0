// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: what exmem= asks for, and where it comes from.
 */
#define pr_fmt(fmt) "exmem: " fmt

#include <linux/exmem.h>
#include <linux/kmemleak.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/pfn.h>
#include <linux/sizes.h>

#include "internal.h"

#define EXMEM_MAX_RANGES	128

/* The parameter as it was given, for the log. */
static char exmem_param[64] __initdata;
static bool exmem_param_bad __initdata;

/* What it asks for: in all, or on each node. */
static u64 exmem_size __initdata;
static u64 exmem_size_on_node[MAX_NUMNODES] __initdata;

static struct exmem_range {
	phys_addr_t base;
	phys_addr_t size;
	int nid;
} exmem_ranges[EXMEM_MAX_RANGES] __initdata;
static unsigned int exmem_nr_ranges __initdata;

/*
 * Read one size, rounded up to whole regions. memparse() wraps silently: a
 * number of more digits may not fit, nor may what its suffix makes of it.
 */
static bool __init exmem_parse_size(char **s, u64 *size)
{
	char *start = *s;
	int digits;
	s64 plain;

	*size = memparse(start, s);
	if (*s == start || sscanf(start, "%lli%n", &plain, &digits) != 1 || digits > 18)
		return false;
	if (*size > S64_MAX || *size < plain || (plain && *size % plain))
		return false;

	*size = round_up(*size, PMD_SIZE);
	return true;
}

static bool __init exmem_parse_nodes(char *s)
{
	unsigned long nid;

	do {
		int colon = 0;

		if (sscanf(s, "%lu:%n", &nid, &colon) != 1 || !colon || nid >= MAX_NUMNODES)
			return false;
		s += colon;
		if (!exmem_parse_size(&s, &exmem_size_on_node[nid]))
			return false;
	} while (*s++ == ',');

	return !s[-1];
}

/* exmem=SIZE or exmem=NODE:SIZE[,NODE:SIZE...]; given twice, the last counts. */
static int __init exmem_parse_param(char *s)
{
	exmem_size = 0;
	memset(exmem_size_on_node, 0, sizeof(exmem_size_on_node));
	strscpy(exmem_param, s ?: "");

	if (!s)
		exmem_param_bad = true;
	else if (strchr(s, ':'))
		exmem_param_bad = !exmem_parse_nodes(s);
	else
		exmem_param_bad = !exmem_parse_size(&s, &exmem_size) || *s;
	return 0;
}
early_param("exmem", exmem_parse_param);

static void __init exmem_unreserve(unsigned int keep)
{
	while (exmem_nr_ranges > keep) {
		struct exmem_range *range = &exmem_ranges[--exmem_nr_ranges];

		memblock_phys_free(range->base, range->size);
	}
}

/* Does a leaf have to be split first that maps more than a region? */
static bool __init exmem_opens_leaf(phys_addr_t addr)
{
	unsigned int i;

	if (exmem_arch_leaf_size(addr) < PUD_SIZE)
		return false;
	for (i = 0; i < exmem_nr_ranges; i++) {
		struct exmem_range *range = &exmem_ranges[i];

		/* Taken already, and split before long. */
		if (range->base < ALIGN_DOWN(addr, PUD_SIZE) + PUD_SIZE &&
		    range->base + range->size > ALIGN_DOWN(addr, PUD_SIZE))
			return false;
	}
	return true;
}

/*
 * Is @a a better place for @want bytes than @b? One that opens no 1G leaf, then
 * one above 4G, so that DMA32 stays whole, then the one that holds more of it.
 */
static bool __init exmem_better_place(const struct exmem_range *a, const struct exmem_range *b,
				      u64 want)
{
	bool a_high = a->base >= SZ_4G, b_high = b->base >= SZ_4G;
	bool a_opens, b_opens;

	if (!b->size)
		return true;

	a_opens = exmem_opens_leaf(a->base);
	b_opens = exmem_opens_leaf(b->base);
	if (a_opens != b_opens)
		return b_opens;
	if (a_high != b_high)
		return a_high;
	return min(a->size, want) >= min(b->size, want);
}

/* The best place on @nid for @want bytes, or what comes nearest; size 0 if none. */
static struct exmem_range __init exmem_find_place(u64 want, int nid)
{
	struct exmem_range best = {}, place = {};
	phys_addr_t start, end;
	u64 i;

	for_each_free_mem_range(i, nid, MEMBLOCK_NONE, &start, &end, NULL) {
		start = ALIGN(max_t(phys_addr_t, start, SZ_16M), PMD_SIZE);
		end = ALIGN_DOWN(end, PMD_SIZE);
		for (; start < end; start += place.size) {
			place.base = start;
			place.size = min(end, ALIGN_DOWN(start, PUD_SIZE) + PUD_SIZE) - start;
			if (exmem_better_place(&place, &best, want))
				best = place;
		}
	}
	return best;
}

/* Add a range, or make it one with a neighbour on the same node. */
static void __init exmem_add_reserved(phys_addr_t base, phys_addr_t size, int nid)
{
	struct exmem_range *range;

	for (range = exmem_ranges; range < exmem_ranges + exmem_nr_ranges; range++) {
		if (range->nid != nid)
			continue;
		if (range->base == base + size) {
			range->base = base;
			range->size += size;
			return;
		}
		if (range->base + range->size == base) {
			range->size += size;
			return;
		}
	}
	*range = (struct exmem_range){ base, size, nid };
	exmem_nr_ranges++;
}

/* Reserve up to @left bytes at the end of @place; return how many. */
static u64 __init exmem_reserve_place(const struct exmem_range *place, u64 left, int nid)
{
	phys_addr_t end = place->base + place->size;
	u64 size = min(left, place->size);

	if (!size || !memblock_alloc_range_nid(size, PMD_SIZE, end - size, end, nid, true))
		return 0;

	/* kmemleak must not read this memory, ever. */
	kmemleak_ignore_phys(end - size);
	exmem_add_reserved(end - size, size, nid);
	return size;
}

/* Reserve all of @size on @nid, or nothing. */
static u64 __init exmem_reserve_on_node(u64 size, int nid)
{
	unsigned int keep = exmem_nr_ranges;
	u64 left = size;

	while (left && exmem_nr_ranges < EXMEM_MAX_RANGES) {
		struct exmem_range place = exmem_find_place(left, nid);
		u64 taken = exmem_reserve_place(&place, left, nid);

		if (!taken)
			break;
		left -= taken;
	}
	if (!left)
		return size;

	exmem_unreserve(keep);
	return 0;
}

static u64 __init exmem_reserve_nodes(void)
{
	u64 reserved = 0;
	int nid;

	for_each_online_node(nid)
		if (exmem_size_on_node[nid])
			reserved += exmem_reserve_on_node(exmem_size_on_node[nid], nid);
	return reserved;
}

/* Shares of whole regions, the first nodes taking one more if it must be. */
static u64 __init exmem_reserve_spread(void)
{
	u64 share = round_up(DIV_ROUND_UP(exmem_size, num_online_nodes()), PMD_SIZE);
	u64 left = exmem_size;
	int nid;

	for_each_online_node(nid)
		left -= exmem_reserve_on_node(min(share, left), nid);
	return exmem_size - left;
}

/* A machine that boots with a smaller pool than asked for beats one that doesn't. */
static bool __init exmem_fits(u64 size)
{
	u64 memory = memblock_phys_mem_size();
	u64 keep = max_t(u64, memory / 16, SZ_256M);

	return memory > keep && size <= memory - keep;
}

/**
 * exmem_reserve - set memory aside for the pool, as the exmem= parameter says
 *
 * A parameter that makes no sense or asks for more than there is reserves
 * nothing, and a node that does not exist or has no room nothing on that node;
 * the log says so, and the boot goes on.
 *
 * Context: setup_arch(), when the nodes are known to memblock.
 */
void __init exmem_reserve(void)
{
	u64 asked = exmem_size, reserved = 0;
	int nid;

	if (exmem_param_bad) {
		pr_warn("exmem=%s: not SIZE or NODE:SIZE[,NODE:SIZE...], nothing reserved\n",
			exmem_param);
		return;
	}

	for (nid = 0; nid < MAX_NUMNODES; nid++)
		if (check_add_overflow(asked, exmem_size_on_node[nid], &asked))
			asked = U64_MAX;
	if (!asked)
		return;

	if (exmem_fits(asked))
		reserved = exmem_size ? exmem_reserve_spread() : exmem_reserve_nodes();
	if (reserved != asked)
		pr_warn("exmem=%s: reserved %llu MiB of %llu MiB, the rest has no node or no room\n",
			exmem_param, reserved / SZ_1M, asked / SZ_1M);
}

static void __init exmem_add_range(const struct exmem_range *range)
{
	struct page *page = pfn_to_page(PHYS_PFN(range->base));
	phys_addr_t last = range->base + range->size - 1;
	struct exmem_splits splits = {};
	int ret;

	ret = exmem_pool_add(page, range->size / PAGE_SIZE, &splits);
	if (ret) {
		pr_warn("[mem %pa-%pa] can't be used: %d\n", &range->base, &last, ret);
		return;
	}
	pr_info("%llu MiB on node %d, [mem %pa-%pa], %lu 2M and %lu 1G leaves split\n",
		range->size / SZ_1M, page_to_nid(page), &range->base, &last,
		splits.pmd, splits.pud);
}

/*
 * Before the other CPUs start: what is taken out of the direct map now needs
 * no interrupt to make it so.
 */
static int __init exmem_init(void)
{
	unsigned int i;
	int ret;

	if (!exmem_nr_ranges)
		return 0;

	ret = exmem_arch_init();
	if (ret) {
		pr_warn("no address space to clear pages in: %d, nothing is usable\n", ret);
		return ret;
	}
	for (i = 0; i < exmem_nr_ranges; i++)
		exmem_add_range(&exmem_ranges[i]);
	return 0;
}
early_initcall(exmem_init);
