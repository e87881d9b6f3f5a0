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

/* What it asks for in all, or else on each node, and how far that has come. */
static u64 exmem_size __initdata;

static struct exmem_ask {
	u64 asked;
	u64 limit;
	u64 taken;
} exmem_asks[MAX_NUMNODES] __initdata;

static struct exmem_range {
	phys_addr_t base;
	phys_addr_t size;
	int nid;
} exmem_ranges[EXMEM_MAX_RANGES] __initdata;
static unsigned int exmem_nr_ranges __initdata;

/* A range that could be taken, in one 1G piece of the address space. */
struct exmem_place {
	struct exmem_range range;
	bool opens_leaf;
};

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
		if (!exmem_parse_size(&s, &exmem_asks[nid].asked))
			return false;
	} while (*s++ == ',');

	return !s[-1];
}

/* exmem=SIZE or exmem=NODE:SIZE[,NODE:SIZE...]; given twice, the last counts. */
static int __init exmem_parse_param(char *s)
{
	exmem_size = 0;
	memset(exmem_asks, 0, sizeof(exmem_asks));
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

/* Can the two be one range, and the pool so have fewer of them? */
static bool __init exmem_adjoin(const struct exmem_range *a, const struct exmem_range *b)
{
	return a->nid == b->nid && (a->base + a->size == b->base || b->base + b->size == a->base);
}

/*
 * Is @a a better place than @b? One that opens no 1G leaf, then one above 4G, so
 * that DMA32 stays whole, then the one that holds more of what is wanted, then
 * the one on the node that has given less.
 */
static bool __init exmem_better_place(const struct exmem_place *a, const struct exmem_place *b)
{
	bool a_high = a->range.base >= SZ_4G, b_high = b->range.base >= SZ_4G;
	u64 a_taken = exmem_asks[a->range.nid].taken, b_taken = exmem_asks[b->range.nid].taken;

	if (!a->range.size || !b->range.size)
		return a->range.size;
	if (a->opens_leaf != b->opens_leaf)
		return b->opens_leaf;
	if (a_high != b_high)
		return a_high;
	if (a->range.size != b->range.size)
		return a->range.size > b->range.size;
	return a_taken < b_taken;
}

/* Regions start here: what is below is precious to old devices. */
static phys_addr_t __init exmem_first_region(phys_addr_t start)
{
	return ALIGN(max_t(phys_addr_t, start, SZ_16M), PMD_SIZE);
}

/* Up to @want bytes of free memory: its start if that joins a range, or its end. */
static struct exmem_place __init exmem_place_in(phys_addr_t start, phys_addr_t end,
						u64 want, int nid)
{
	struct exmem_place place = {
		.range = { .base = start, .size = min(end - start, want), .nid = nid },
		.opens_leaf = exmem_opens_leaf(start),
	};
	unsigned int i;

	for (i = 0; i < exmem_nr_ranges; i++)
		if (exmem_adjoin(&exmem_ranges[i], &place.range))
			return place;

	place.range.base = end - place.range.size;
	return place;
}

/* Make @best the best place on @nid for @want bytes, if there is a better one. */
static void __init exmem_find_place(u64 want, int nid, struct exmem_place *best)
{
	phys_addr_t start, end, piece;
	u64 i;

	for_each_free_mem_range_reverse(i, nid, MEMBLOCK_NONE, &start, &end, NULL) {
		start = exmem_first_region(start);
		for (end = ALIGN_DOWN(end, PMD_SIZE); start < end; end = piece) {
			struct exmem_place place;

			piece = max(start, ALIGN_DOWN(end - 1, PUD_SIZE));
			place = exmem_place_in(piece, end, want, nid);
			if (exmem_better_place(&place, best))
				*best = place;
		}
	}
}

/* Whole regions on @nid that are free, in bytes; or those that open no 1G leaf. */
static u64 __init exmem_free_on_node(int nid, bool in_small_leaves)
{
	phys_addr_t start, end, next;
	u64 i, size = 0;

	for_each_free_mem_range(i, nid, MEMBLOCK_NONE, &start, &end, NULL) {
		end = ALIGN_DOWN(end, PMD_SIZE);
		for (start = exmem_first_region(start); start < end; start = next) {
			next = min(end, ALIGN_DOWN(start, PUD_SIZE) + PUD_SIZE);
			if (!in_small_leaves || !exmem_opens_leaf(start))
				size += next - start;
		}
	}
	return size;
}

/*
 * What @nid can give. It keeps a sixteenth of its memory free: without pages
 * of its own to give out, a node drops out of the others' fallback lists.
 */
static u64 __init exmem_node_limit(int nid)
{
	u64 keep, size = exmem_free_on_node(nid, false);
	unsigned long start, end, memory = 0;
	int i;

	for_each_mem_pfn_range(i, nid, &start, &end, NULL)
		memory += end - start;
	keep = round_up(PFN_PHYS(memory) / 16, PMD_SIZE);
	return size > keep ? size - keep : 0;
}

/* Add a range, as one with its neighbours on the same node. */
static void __init exmem_add_reserved(struct exmem_range new)
{
	unsigned int i = exmem_nr_ranges;

	while (i--) {
		struct exmem_range *range = &exmem_ranges[i];

		if (!exmem_adjoin(range, &new))
			continue;
		new.base = min(new.base, range->base);
		new.size += range->size;
		*range = exmem_ranges[--exmem_nr_ranges];
	}
	exmem_ranges[exmem_nr_ranges++] = new;
}

static bool __init exmem_reserve_range(const struct exmem_range *range)
{
	if (!range->size || exmem_nr_ranges == EXMEM_MAX_RANGES ||
	    !memblock_alloc_range_nid(range->size, PMD_SIZE, range->base,
				      range->base + range->size, range->nid, true))
		return false;

	/* kmemleak must not read this memory, ever. */
	kmemleak_ignore_phys(range->base);
	exmem_asks[range->nid].taken += range->size;
	exmem_add_reserved(*range);
	return true;
}

/* Reserve @size bytes on @nodes, the best places first; return how many. */
static u64 __init exmem_reserve_size(u64 size, const nodemask_t *nodes)
{
	u64 left = size;
	int nid;

	while (left) {
		struct exmem_place best = {};

		for_each_node_mask(nid, *nodes) {
			struct exmem_ask *ask = &exmem_asks[nid];

			exmem_find_place(min(left, ask->limit - ask->taken), nid, &best);
		}
		if (!exmem_reserve_range(&best.range))
			break;
		left -= best.range.size;
	}
	return size - left;
}

/* What each node is asked for, in full or not at all, if EXMEM_MAX_RANGES do. */
static u64 __init exmem_reserve_nodes(void)
{
	u64 reserved = 0;
	int nid;

	for_each_online_node(nid) {
		struct exmem_ask *ask = &exmem_asks[nid];
		nodemask_t only = nodemask_of_node(nid);

		if (ask->asked <= ask->limit)
			reserved += exmem_reserve_size(ask->asked, &only);
	}
	return reserved;
}

/*
 * Ask the nodes for even shares of @size, but for no more than opens no 1G leaf;
 * others make up for a node with less. Return what no node has room for.
 */
static u64 __init exmem_share_out(u64 size)
{
	nodemask_t nodes = node_online_map;
	int nid;

	while (size && !nodes_empty(nodes)) {
		u64 share = round_up(DIV_ROUND_UP(size, nodes_weight(nodes)), PMD_SIZE);

		for_each_node_mask(nid, nodes) {
			struct exmem_ask *ask = &exmem_asks[nid];
			u64 room = min(exmem_free_on_node(nid, true), ask->limit) - ask->asked;
			u64 more = min3(share, size, room);

			ask->asked += more;
			size -= more;
			if (more == room)
				node_clear(nid, nodes);
		}
	}
	return size;
}

/* In full or not at all, on whatever nodes: first where no 1G leaf is opened. */
static u64 __init exmem_reserve_anywhere(void)
{
	u64 room = 0, left;
	int nid;

	for_each_online_node(nid)
		room += exmem_asks[nid].limit;
	if (exmem_size > room)
		return 0;

	left = exmem_share_out(exmem_size);
	return exmem_reserve_nodes() + exmem_reserve_size(left, &node_online_map);
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
 * A parameter that makes no sense or asks for more than the machine can spare
 * reserves nothing, and a node that does not exist or can't spare its share
 * nothing on that node; the log says so, and the boot goes on.
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
		if (check_add_overflow(asked, exmem_asks[nid].asked, &asked))
			asked = U64_MAX;
	if (!asked)
		return;

	for_each_online_node(nid)
		exmem_asks[nid].limit = exmem_node_limit(nid);
	if (exmem_fits(asked))
		reserved = exmem_size ? exmem_reserve_anywhere() : exmem_reserve_nodes();
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
