// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: the boot parameter, and the placement of the pool.
 *
 * The parts of exmem come up in this order:
 *
 *   setup_arch()	boot.c		reserves memory
 *   early_initcall	boot.c		unmaps it, with one CPU running
 *   core_initcall	boot.c		clears it, on all CPUs
 *   core_initcall	region.c	refuses memory hot-remove
 *   core_initcall	pcp.c		caches pages per CPU
 *   subsys_initcall	sysfs.c		shows statistics
 *   device_initcall	dev.c, mmap.c, secretmem.c
 *   late_initcall	pm.c		registered last, so that its ->freeze() runs first
 *
 * Without a pool each of them does nothing: see exmem_enabled().
 */
#define pr_fmt(fmt) "exmem: " fmt

#include <linux/async.h>
#include <linux/exmem.h>
#include <linux/kmemleak.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/pfn.h>
#include <linux/sizes.h>
#include <linux/topology.h>

#include "region.h"

#define EXMEM_MAX_RANGES	128

/**
 * struct exmem_range - contiguous memory on one node
 * @base: physical address
 * @size: in bytes
 * @nid: the node
 */
struct exmem_range {
	phys_addr_t base;
	phys_addr_t size;
	int nid;
};

/**
 * struct exmem_ranges - memory that is reserved for the pool
 * @nr: number of ranges
 * @range: the ranges, in no particular order
 */
struct exmem_ranges {
	unsigned int nr;
	struct exmem_range range[EXMEM_MAX_RANGES];
};

/**
 * struct exmem_place - a range that could be reserved, within one PUD_SIZE block
 * @range: the range; its size is 0 if there is no such place
 * @opens_leaf: a leaf larger than a region would have to be split for it
 * @reserved: bytes already reserved on the node
 */
struct exmem_place {
	struct exmem_range range;
	bool opens_leaf;
	u64 reserved;
};

/**
 * struct exmem_node_request - one node's share of the pool, in bytes
 * @asked: how much to reserve
 * @limit: how much the node can spare
 * @reserved: how much is reserved
 */
struct exmem_node_request {
	u64 asked;
	u64 limit;
	u64 reserved;
};

/**
 * struct exmem_request - the parameter, parsed
 * @bad: it could not be parsed
 * @size: bytes on any nodes; 0 if nodes are named
 * @node: bytes on each node
 */
struct exmem_request {
	bool bad;
	u64 size;
	struct exmem_node_request node[MAX_NUMNODES];
};

static char exmem_param[64] __initdata;
static struct exmem_request exmem_request __initdata;
static struct exmem_ranges exmem_reserved __initdata;

static bool __init exmem_parse_size(char **s, u64 *size)
{
	char *start = *s;
	int digits;
	s64 plain;

	/*
	 * memparse() overflows silently. Up to 18 digits fit. If a suffix makes the value
	 * overflow, the result is less than the plain number, or not a multiple of it.
	 */
	*size = memparse(start, s);
	if (*s == start || sscanf(start, "%lli%n", &plain, &digits) != 1 || digits > 18)
		return false;
	if (*size > S64_MAX || *size < plain || (plain && *size % plain))
		return false;

	*size = round_up(*size, PMD_SIZE);
	return true;
}

static bool __init exmem_parse_nodes(char *s, struct exmem_request *request)
{
	unsigned long nid;

	do {
		int colon = 0;

		if (sscanf(s, "%lu:%n", &nid, &colon) != 1 || !colon || nid >= MAX_NUMNODES)
			return false;
		s += colon;
		if (!exmem_parse_size(&s, &request->node[nid].asked))
			return false;
	} while (*s++ == ',');

	return !s[-1];
}

static void __init exmem_parse(char *s, struct exmem_request *request)
{
	memset(request, 0, sizeof(*request));
	if (!s)
		request->bad = true;
	else if (strchr(s, ':'))
		request->bad = !exmem_parse_nodes(s, request);
	else
		request->bad = !exmem_parse_size(&s, &request->size) || *s;
}

static int __init exmem_early_param(char *s)
{
	/* SIZE or NODE:SIZE[,NODE:SIZE...]. If it is given twice, the last one counts. */
	strscpy(exmem_param, s ?: "");
	exmem_parse(s, &exmem_request);
	return 0;
}
early_param("exmem", exmem_early_param);

static bool __init exmem_ranges_reach(const struct exmem_ranges *ranges, phys_addr_t start,
				      phys_addr_t end)
{
	unsigned int i;

	for (i = 0; i < ranges->nr; i++) {
		const struct exmem_range *range = &ranges->range[i];

		if (range->base < end && range->base + range->size > start)
			return true;
	}
	return false;
}

static bool __init exmem_opens_leaf(phys_addr_t addr)
{
	phys_addr_t start = ALIGN_DOWN(addr, PUD_SIZE);

	/* A large leaf with a part of the pool in it is going to be split anyway. */
	return exmem_arch_leaf_size(addr) >= PUD_SIZE &&
	       !exmem_ranges_reach(&exmem_reserved, start, start + PUD_SIZE);
}

static bool __init exmem_ranges_adjoin(const struct exmem_range *a, const struct exmem_range *b)
{
	return a->nid == b->nid && (a->base + a->size == b->base || b->base + b->size == a->base);
}

static bool __init exmem_better_place(const struct exmem_place *a, const struct exmem_place *b)
{
	bool a_high = a->range.base >= SZ_4G, b_high = b->range.base >= SZ_4G;

	if (!a->range.size || !b->range.size)
		return a->range.size;
	if (a->opens_leaf != b->opens_leaf)
		return b->opens_leaf;
	/* Leave DMA32 alone as long as there is other memory. */
	if (a_high != b_high)
		return a_high;
	if (a->range.size != b->range.size)
		return a->range.size > b->range.size;
	return a->reserved < b->reserved;
}

static phys_addr_t __init exmem_first_region(phys_addr_t start)
{
	/* Leave the memory below to ISA DMA. */
	return ALIGN(max_t(phys_addr_t, start, SZ_16M), PMD_SIZE);
}

static struct exmem_range __init exmem_range_within(const struct exmem_ranges *ranges,
						    phys_addr_t start, phys_addr_t end,
						    u64 want, int nid)
{
	struct exmem_range range = { .base = start, .size = min(end - start, want), .nid = nid };
	unsigned int i;

	/* Take the end of the block, or its start if that adjoins a reserved range. */
	for (i = 0; i < ranges->nr; i++)
		if (exmem_ranges_adjoin(&ranges->range[i], &range))
			return range;

	range.base = end - range.size;
	return range;
}

static void __init exmem_find_place(u64 want, int nid, struct exmem_place *best)
{
	phys_addr_t start, end, block;
	u64 i;

	for_each_free_mem_range_reverse(i, nid, MEMBLOCK_NONE, &start, &end, NULL) {
		start = exmem_first_region(start);
		for (end = ALIGN_DOWN(end, PMD_SIZE); start < end; end = block) {
			struct exmem_place place = { .reserved = exmem_request.node[nid].reserved };

			block = max(start, ALIGN_DOWN(end - 1, PUD_SIZE));
			place.range = exmem_range_within(&exmem_reserved, block, end, want, nid);
			place.opens_leaf = exmem_opens_leaf(block);
			if (exmem_better_place(&place, best))
				*best = place;
		}
	}
}

static u64 __init exmem_free_on_node(int nid, bool without_opening_leaves)
{
	phys_addr_t start, end, next;
	u64 i, size = 0;

	for_each_free_mem_range(i, nid, MEMBLOCK_NONE, &start, &end, NULL) {
		end = ALIGN_DOWN(end, PMD_SIZE);
		for (start = exmem_first_region(start); start < end; start = next) {
			next = min(end, ALIGN_DOWN(start, PUD_SIZE) + PUD_SIZE);
			if (!without_opening_leaves || !exmem_opens_leaf(start))
				size += next - start;
		}
	}
	return size;
}

static u64 __init exmem_node_limit(int nid)
{
	u64 keep, size = exmem_free_on_node(nid, false);
	unsigned long start, end, memory = 0;
	int i;

	for_each_mem_pfn_range(i, nid, &start, &end, NULL)
		memory += end - start;
	/* A node without free pages would drop out of the others' fallback lists. */
	keep = round_up(PFN_PHYS(memory) / 16, PMD_SIZE);
	return size > keep ? size - keep : 0;
}

static void __init exmem_add_range(struct exmem_ranges *ranges, struct exmem_range new)
{
	unsigned int i = ranges->nr;

	while (i--) {
		struct exmem_range *range = &ranges->range[i];

		if (!exmem_ranges_adjoin(range, &new))
			continue;
		new.base = min(new.base, range->base);
		new.size += range->size;
		*range = ranges->range[--ranges->nr];
	}
	ranges->range[ranges->nr++] = new;
}

static bool __init exmem_reserve_range(const struct exmem_range *range)
{
	if (!range->size || exmem_reserved.nr == EXMEM_MAX_RANGES ||
	    !memblock_alloc_range_nid(range->size, PMD_SIZE, range->base,
				      range->base + range->size, range->nid, true))
		return false;

	/* kmemleak must never read this memory. */
	kmemleak_ignore_phys(range->base);
	exmem_request.node[range->nid].reserved += range->size;
	exmem_add_range(&exmem_reserved, *range);
	return true;
}

static u64 __init exmem_reserve_size(u64 size, const nodemask_t *nodes)
{
	u64 left = size;
	int nid;

	while (left) {
		struct exmem_place best = {};

		for_each_node_mask(nid, *nodes) {
			struct exmem_node_request *node = &exmem_request.node[nid];

			exmem_find_place(min(left, node->limit - node->reserved), nid, &best);
		}
		if (!exmem_reserve_range(&best.range))
			break;
		left -= best.range.size;
	}
	return size - left;
}

static u64 __init exmem_reserve_on_nodes(void)
{
	u64 reserved = 0;
	int nid;

	for_each_online_node(nid) {
		struct exmem_node_request *node = &exmem_request.node[nid];
		nodemask_t only = nodemask_of_node(nid);

		/* In full or not at all, unless EXMEM_MAX_RANGES are in use. */
		if (node->asked <= node->limit)
			reserved += exmem_reserve_size(node->asked, &only);
	}
	return reserved;
}

static u64 __init exmem_spread(u64 size)
{
	nodemask_t nodes = node_online_map;
	int nid;

	/* Even shares, but open no leaf: other nodes make up for the rest. */
	while (size && !nodes_empty(nodes)) {
		u64 share = round_up(DIV_ROUND_UP(size, nodes_weight(nodes)), PMD_SIZE);

		for_each_node_mask(nid, nodes) {
			struct exmem_node_request *node = &exmem_request.node[nid];
			u64 room = min(exmem_free_on_node(nid, true), node->limit) - node->asked;
			u64 more = min3(share, size, room);

			node->asked += more;
			size -= more;
			if (more == room)
				node_clear(nid, nodes);
		}
	}
	return size;
}

static u64 __init exmem_reserve_anywhere(u64 size)
{
	u64 room = 0, left;
	int nid;

	for_each_online_node(nid)
		room += exmem_request.node[nid].limit;
	if (size > room)
		return 0;

	left = exmem_spread(size);
	return exmem_reserve_on_nodes() + exmem_reserve_size(left, &node_online_map);
}

static bool __init exmem_enough_remains(u64 size, u64 memory)
{
	u64 keep = max_t(u64, memory / 16, SZ_256M);

	/* Better to boot without a pool than not to boot. */
	return memory > keep && size <= memory - keep;
}

static u64 __init exmem_asked(const struct exmem_request *request)
{
	u64 asked = request->size;
	int nid;

	for (nid = 0; nid < MAX_NUMNODES; nid++)
		if (check_add_overflow(asked, request->node[nid].asked, &asked))
			return U64_MAX;
	return asked;
}

/**
 * exmem_reserve - reserve memory for the pool, as the exmem= parameter asks
 *
 * A parameter that cannot be parsed, or asks for more than the machine can spare,
 * reserves nothing. A node that does not exist, or cannot spare its share, gives
 * nothing. The log says so, and the boot goes on.
 *
 * Context: setup_arch(), once memblock knows the nodes.
 */
void __init exmem_reserve(void)
{
	u64 asked = exmem_asked(&exmem_request), size = exmem_request.size, reserved = 0;
	int nid;

	if (exmem_request.bad) {
		pr_warn("exmem=%s: not SIZE or NODE:SIZE[,NODE:SIZE...], nothing reserved\n",
			exmem_param);
		return;
	}
	if (!asked)
		return;

	for_each_online_node(nid)
		exmem_request.node[nid].limit = exmem_node_limit(nid);
	if (exmem_enough_remains(asked, memblock_phys_mem_size()))
		reserved = size ? exmem_reserve_anywhere(size) : exmem_reserve_on_nodes();
	if (reserved != asked)
		pr_warn("exmem=%s: reserved %llu MiB of %llu MiB, missing node or memory\n",
			exmem_param, reserved / SZ_1M, asked / SZ_1M);
}

static void __init exmem_add_range_to_pool(const struct exmem_range *range)
{
	struct page *page = pfn_to_page(PHYS_PFN(range->base));
	phys_addr_t last = range->base + range->size - 1;
	struct exmem_leaves leaves = {};
	int ret;

	ret = exmem_add_regions(page, range->size / PAGE_SIZE, &leaves);
	if (ret) {
		pr_warn("[mem %pa-%pa] can't be used: %d\n", &range->base, &last, ret);
		return;
	}
	pr_info("%llu MiB on node %d, [mem %pa-%pa], %lu 2M and %lu 1G leaves removed, %lu 2M and %lu 1G leaves split\n",
		range->size / SZ_1M, range->nid, &range->base, &last, leaves.removed_pmd,
		leaves.removed_pud, leaves.split_pmd, leaves.split_pud);
}

static int __init exmem_unmap(void)
{
	unsigned int i;
	int ret;

	if (!exmem_reserved.nr)
		return 0;

	/* No other CPU runs yet, so unmapping needs no TLB shootdown. */
	ret = exmem_arch_init();
	if (ret) {
		pr_warn("no address space for clearing pages: %d, there is no pool\n", ret);
		return ret;
	}
	for (i = 0; i < exmem_reserved.nr; i++)
		exmem_add_range_to_pool(&exmem_reserved.range[i]);
	return 0;
}
early_initcall(exmem_unmap);

static void __init exmem_init_node(void *data, async_cookie_t cookie)
{
	int nid = (long)data, nr_cpus = nr_cpus_node(nid);
	unsigned int i;

	for (i = 0; i < exmem_reserved.nr; i++) {
		const struct exmem_range *range = &exmem_reserved.range[i];

		if (range->nid == nid)
			exmem_init_regions(pfn_to_page(PHYS_PFN(range->base)),
					   range->size / PAGE_SIZE, nr_cpus ?: num_online_cpus());
	}
}

static int __init exmem_init(void)
{
	ASYNC_DOMAIN_EXCLUSIVE(domain);
	long nid;

	/* On a node's own CPUs, if it has any. */
	for_each_node_mask(nid, exmem_pool_nodes)
		async_schedule_node_domain(exmem_init_node, (void *)nid, nid, &domain);
	async_synchronize_full_domain(&domain);
	return 0;
}
core_initcall(exmem_init);

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/boot-kunit.h"
#endif
