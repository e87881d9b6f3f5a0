// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: the boot parameter, and the placement of the pool.
 *
 * The parts of exmem come up in this order:
 *
 *   setup_arch()	boot.c		reserves memory
 *   early_initcall	boot.c		unmaps it, with one CPU running
 *   core_initcall	boot.c		clears it, on all CPUs
 *   core_initcall	pcp.c		caches pages per CPU
 *   subsys_initcall	account.c	sets up accounts
 *   subsys_initcall	sysfs.c		shows statistics
 *   subsys_initcall	shutdown.c	registered before KVM's, to be called after it
 *   device_initcall	dev.c, mmap.c, secretmem.c, kvm.c
 *   late_initcall	pm.c		registered last, so that its ->freeze() runs first
 *
 * Without a pool each of them does nothing: see exmem_enabled().
 */
#define pr_fmt(fmt) "exmem: " fmt

#include <linux/async.h>
#include <linux/crash_dump.h>
#include <linux/exmem.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/pfn.h>
#include <linux/sizes.h>
#include <linux/swiotlb.h>
#include <linux/topology.h>

#include "region.h"
#include "resource.h"

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
 * enum exmem_rank - kinds of memory, from the cheapest to the most precious
 * @EXMEM_HIGH: above 4 GiB, opens no leaf
 * @EXMEM_LOW: below 4 GiB, opens no leaf; only up to @first of &struct exmem_low
 * @EXMEM_HIGH_LEAF: above 4 GiB, opens a leaf
 * @EXMEM_LOW_REST: below 4 GiB, opens no leaf; beyond @first
 * @EXMEM_LOW_LEAF: below 4 GiB, opens a leaf
 *
 * To open a leaf that is larger than a region means to take its first part for the pool.
 */
enum exmem_rank {
	EXMEM_HIGH,
	EXMEM_LOW,
	EXMEM_HIGH_LEAF,
	EXMEM_LOW_REST,
	EXMEM_LOW_LEAF,
};

/**
 * struct exmem_place - a range that could be reserved, within one PUD_SIZE block or of
 * several whole blocks
 * @range: the range; its size is 0 if there is no such place
 * @rank: the kind of memory
 * @reserved: bytes already reserved on the node
 */
struct exmem_place {
	struct exmem_range range;
	enum exmem_rank rank;
	u64 reserved;
};

/**
 * struct exmem_low - limits below 4 GiB, in bytes
 * @first: how much to reserve there before a leaf above 4 GiB is opened
 * @limit: the most to reserve there
 */
struct exmem_low {
	u64 first;
	u64 limit;
};

/**
 * struct exmem_pass - one step in spreading a size over the nodes
 * @share: the most that a node may have reserved after this step, in bytes
 * @share_high: the same for memory of rank EXMEM_HIGH
 * @worst: the worst rank of memory to use
 */
struct exmem_pass {
	u64 share;
	u64 share_high;
	enum exmem_rank worst;
};

/**
 * struct exmem_node_request - one node's share of the pool, in bytes
 * @asked: how much to reserve
 * @limit: how much the node can spare
 */
struct exmem_node_request {
	u64 asked;
	u64 limit;
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
static struct exmem_low exmem_low __initdata;

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

static u64 __init exmem_reserved_on_node(int nid)
{
	unsigned int i;
	u64 size = 0;

	for (i = 0; i < exmem_reserved.nr; i++)
		if (exmem_reserved.range[i].nid == nid)
			size += exmem_reserved.range[i].size;
	return size;
}

static u64 __init exmem_reserved_low(void)
{
	unsigned int i;
	u64 size = 0;

	for (i = 0; i < exmem_reserved.nr; i++)
		if (exmem_reserved.range[i].base < SZ_4G)
			size += exmem_reserved.range[i].size;
	return size;
}

static enum exmem_rank __init exmem_rank(phys_addr_t addr)
{
	bool opens_leaf = exmem_opens_leaf(addr);

	if (addr >= SZ_4G)
		return opens_leaf ? EXMEM_HIGH_LEAF : EXMEM_HIGH;
	if (opens_leaf)
		return EXMEM_LOW_LEAF;
	return exmem_reserved_low() < exmem_low.first ? EXMEM_LOW : EXMEM_LOW_REST;
}

static u64 __init exmem_room_by_share(const struct exmem_pass *pass, enum exmem_rank rank, int nid)
{
	u64 share = rank == EXMEM_HIGH ? pass->share_high : pass->share;
	u64 limit = min(exmem_request.node[nid].limit, share);
	u64 reserved = exmem_reserved_on_node(nid);

	if (rank > pass->worst)
		return 0;
	return limit > reserved ? limit - reserved : 0;
}

static u64 __init exmem_room_by_rank(enum exmem_rank rank)
{
	u64 limit = rank == EXMEM_LOW ? exmem_low.first : exmem_low.limit;
	u64 reserved = exmem_reserved_low();

	if (rank == EXMEM_HIGH || rank == EXMEM_HIGH_LEAF)
		return U64_MAX;
	return limit > reserved ? limit - reserved : 0;
}

static bool __init exmem_better_place(const struct exmem_place *a, const struct exmem_place *b)
{
	if (!a->range.size || !b->range.size)
		return a->range.size;
	if (a->rank != b->rank)
		return a->rank < b->rank;
	/* Keep low addresses for devices whose DMA masks have fewer than 32 bits. */
	if (a->range.base < SZ_4G && a->range.base != b->range.base)
		return a->range.base > b->range.base;
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

static phys_addr_t __init exmem_start_of_block(phys_addr_t start, phys_addr_t end, u64 want)
{
	phys_addr_t block = max(start, ALIGN_DOWN(end - 1, PUD_SIZE));

	/* Whole leaves are taken together: there may be thousands. */
	while (end - block >= PUD_SIZE && block - start >= PUD_SIZE &&
	       end - block + PUD_SIZE <= want && exmem_rank(block) == EXMEM_HIGH_LEAF &&
	       exmem_rank(block - PUD_SIZE) == EXMEM_HIGH_LEAF)
		block -= PUD_SIZE;
	return block;
}

static void __init exmem_find_place(u64 want, int nid, const struct exmem_pass *pass,
				    struct exmem_place *best)
{
	phys_addr_t start, end, block;
	u64 i;

	for_each_free_mem_range_reverse(i, nid, MEMBLOCK_NONE, &start, &end, NULL) {
		start = exmem_first_region(start);
		for (end = ALIGN_DOWN(end, PMD_SIZE); start < end; end = block) {
			struct exmem_place place = { .reserved = exmem_reserved_on_node(nid) };
			u64 room;

			room = exmem_room_by_share(pass, EXMEM_HIGH_LEAF, nid);
			block = exmem_start_of_block(start, end, min(want, room));
			place.rank = exmem_rank(block);
			room = min(exmem_room_by_share(pass, place.rank, nid),
				   exmem_room_by_rank(place.rank));
			place.range = exmem_range_within(&exmem_reserved, block, end,
							 min(want, room), nid);
			if (exmem_better_place(&place, best))
				*best = place;
		}
	}
}

static u64 __init exmem_free_below(phys_addr_t limit, int nid)
{
	phys_addr_t start, end;
	u64 i, size = 0;

	for_each_free_mem_range(i, nid, MEMBLOCK_NONE, &start, &end, NULL) {
		start = exmem_first_region(start);
		end = min(ALIGN_DOWN(end, PMD_SIZE), limit);
		size += end > start ? end - start : 0;
	}
	return size;
}

static u64 __init exmem_memory_below(phys_addr_t limit, int nid)
{
	unsigned long start, end, max_pfn = PHYS_PFN(limit), nr = 0;
	int i;

	for_each_mem_pfn_range(i, nid, &start, &end, NULL)
		nr += min(end, max_pfn) - min(start, max_pfn);
	return PFN_PHYS(nr);
}

static u64 __init exmem_node_limit(int nid)
{
	u64 size = exmem_free_below(PHYS_ADDR_MAX, nid);
	/* A node without free pages would drop out of the others' fallback lists. */
	u64 keep = round_up(exmem_memory_below(PHYS_ADDR_MAX, nid) / 16, PMD_SIZE);

	return size > keep ? size - keep : 0;
}

static struct exmem_low __init exmem_low_limits(u64 memory, u64 free, u64 swiotlb)
{
	u64 keep = SZ_256M + swiotlb, spare = free > keep ? free - keep : 0;

	/* Firmware takes a little of each GiB: round, so that 3/4 of 2 GiB can be had. */
	return (struct exmem_low) {
		.first = round_down(spare / 4, PMD_SIZE),
		.limit = min(round_down(spare, PMD_SIZE), round_up(memory / 4 * 3, PMD_SIZE)),
	};
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
	/* Not memblock's alloc functions: kmemleak would read what they return. */
	if (!range->size || exmem_reserved.nr == EXMEM_MAX_RANGES ||
	    memblock_reserve(range->base, range->size))
		return false;

	exmem_add_range(&exmem_reserved, *range);
	return true;
}

static void __init exmem_release(const nodemask_t *nodes)
{
	struct exmem_ranges *ranges = &exmem_reserved;
	unsigned int i = ranges->nr;

	while (i--) {
		struct exmem_range *range = &ranges->range[i];

		if (!node_isset(range->nid, *nodes))
			continue;
		memblock_phys_free(range->base, range->size);
		*range = ranges->range[--ranges->nr];
	}
}

static u64 __init exmem_reserve_up_to(u64 size, const struct exmem_pass *pass,
				      const nodemask_t *nodes)
{
	u64 left = size;
	int nid;

	while (left) {
		struct exmem_place best = {};

		for_each_node_mask(nid, *nodes)
			exmem_find_place(left, nid, pass, &best);
		if (!exmem_reserve_range(&best.range))
			break;
		left -= best.range.size;
	}
	return size - left;
}

static u64 __init exmem_reserve_on_nodes(void)
{
	const struct exmem_pass pass = { U64_MAX, U64_MAX, EXMEM_LOW_LEAF };
	u64 sum = 0;
	int nid;

	/* In full or not at all. */
	for_each_online_node(nid) {
		u64 asked = exmem_request.node[nid].asked;
		nodemask_t only = nodemask_of_node(nid);

		if (exmem_reserve_up_to(asked, &pass, &only) == asked)
			sum += asked;
		else
			exmem_release(&only);
	}
	return sum;
}

static u64 __init exmem_even_share(u64 size)
{
	u64 nr = 0;
	int nid;

	for_each_online_node(nid)
		nr += !!exmem_request.node[nid].limit;
	return round_up(DIV_ROUND_UP(size, max(nr, 1)), PMD_SIZE);
}

static u64 __init exmem_reserve_in_passes(u64 size, const struct exmem_pass *pass, int nr)
{
	u64 left = size;

	for (; left && nr; pass++, nr--)
		left -= exmem_reserve_up_to(left, pass, &node_online_map);
	if (!left)
		return size;
	exmem_release(&node_online_map);
	return 0;
}

static u64 __init exmem_reserve_anywhere(u64 size)
{
	u64 share = exmem_even_share(size);
	const struct exmem_pass open_no_leaf[] = {
		{ share, share, EXMEM_LOW },
		{ 2 * share, 2 * share, EXMEM_LOW },
	};
	const struct exmem_pass open_leaves[] = {
		{ share, share, EXMEM_LOW },
		{ share, 2 * share, EXMEM_HIGH_LEAF },
		{ U64_MAX, U64_MAX, EXMEM_HIGH_LEAF },
		{ share, U64_MAX, EXMEM_LOW_LEAF },
		{ U64_MAX, U64_MAX, EXMEM_LOW_LEAF },
	};

	return exmem_reserve_in_passes(size, open_no_leaf, ARRAY_SIZE(open_no_leaf)) ?:
	       exmem_reserve_in_passes(size, open_leaves, ARRAY_SIZE(open_leaves));
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
 * reserves nothing. A node that does not exist, or cannot spare what is asked of it,
 * gives nothing. The log says so, and the boot goes on. A crash kernel ignores the
 * parameter: its memory is small.
 *
 * Context: setup_arch(), once memblock knows the nodes and the crash kernel has its
 * memory.
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
	if (is_kdump_kernel()) {
		pr_info("exmem=%s is ignored in a crash kernel\n", exmem_param);
		return;
	}

	exmem_low = exmem_low_limits(exmem_memory_below(SZ_4G, MAX_NUMNODES),
				     exmem_free_below(SZ_4G, NUMA_NO_NODE),
				     swiotlb_size_or_default());
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

	ret = exmem_split_resource(range->base, range->size);
	if (ret)
		pr_warn("[mem %pa-%pa] may get into crash dumps: %d\n", &range->base, &last, ret);
	/* SEV-SNP needs the mapping for this. */
	accept_memory(range->base, range->size);
	ret = exmem_add_regions(page, range->size / PAGE_SIZE, &leaves);
	if (ret) {
		pr_warn("[mem %pa-%pa] can't be used: %d\n", &range->base, &last, ret);
		return;
	}
	pr_info("%llu MiB on node %d, [mem %pa-%pa], %lu 2M and %lu 1G leaves removed, %lu 2M and %lu 1G leaves split\n",
		range->size / SZ_1M, range->nid, &range->base, &last, leaves.removed_pmd,
		leaves.removed_pud, leaves.split_pmd, leaves.split_pud);
}

static int __init exmem_unmap_pool(void)
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
early_initcall(exmem_unmap_pool);

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

static int __init exmem_init_pool(void)
{
	ASYNC_DOMAIN_EXCLUSIVE(domain);
	long nid;

	/* A node with CPUs is cleared by its own. */
	for_each_node_mask(nid, exmem_pool_nodes)
		async_schedule_node_domain(exmem_init_node, (void *)nid, nid, &domain);
	async_synchronize_full_domain(&domain);
	return 0;
}
core_initcall(exmem_init_pool);

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/boot-kunit.h"
#endif
