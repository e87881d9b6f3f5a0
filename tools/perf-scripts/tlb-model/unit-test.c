// SPDX-License-Identifier: GPL-2.0-only
/* Test the models and the map on streams of accesses with known results. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"
#include "tlb.h"

#define ROUNDS 4

static unsigned int tests, failures;

static void is(unsigned long got, unsigned long want, const char *fmt, ...)
{
	va_list args;

	printf("%sok %u - ", got == want ? "" : "not ", ++tests);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	if (got == want)
		return;
	failures++;
	printf("# %lu, expected %lu\n", got, want);
}

/* Access neighbouring leaves, from an address that is aligned to no larger leaf. */
static void sweep(struct tlb *tlb, enum leaf leaf, enum access access, unsigned long nr)
{
	unsigned long start = 0xff11000000000000 + (37UL << leaf_shift[leaf]);

	for (unsigned long i = 0; i < nr; i++)
		tlb_access(tlb, start + (i << leaf_shift[leaf]), leaf, access);
}

struct cycle {
	const char *tlb;
	enum leaf leaf;
	enum access access;
	unsigned long nr;
	unsigned long l1_misses, walks;		/* per round, once warm */
};

/*
 * Neighbours spread evenly over the sets, and some sets get one more. A set with more
 * leaves than ways misses all of them, the others miss none.
 */
static const struct cycle cycles[] = {
	{ "golden-cove", LEAF_4K, TLB_LOAD, 96, 0, 0 },
	{ "golden-cove", LEAF_4K, TLB_LOAD, 97, 7, 0 },
	{ "golden-cove", LEAF_4K, TLB_LOAD, 16 * 7, 16 * 7, 0 },
	{ "golden-cove", LEAF_4K, TLB_LOAD, 2048, 2048, 0 },
	{ "golden-cove", LEAF_4K, TLB_LOAD, 2049, 2049, 17 },
	{ "golden-cove", LEAF_4K, TLB_LOAD, 128 * 17, 128 * 17, 128 * 17 },
	{ "golden-cove", LEAF_2M, TLB_LOAD, 32, 0, 0 },
	{ "golden-cove", LEAF_2M, TLB_LOAD, 33, 5, 0 },
	{ "golden-cove", LEAF_2M, TLB_LOAD, 8 * 5, 8 * 5, 0 },
	{ "golden-cove", LEAF_2M, TLB_LOAD, 1024, 1024, 0 },
	{ "golden-cove", LEAF_2M, TLB_LOAD, 1025, 1025, 9 },
	{ "golden-cove", LEAF_2M, TLB_LOAD, 128 * 9, 128 * 9, 128 * 9 },
	{ "golden-cove", LEAF_1G, TLB_LOAD, 8, 0, 0 },
	{ "golden-cove", LEAF_1G, TLB_LOAD, 9, 9, 0 },
	{ "golden-cove", LEAF_1G, TLB_LOAD, 1024, 1024, 0 },
	{ "golden-cove", LEAF_1G, TLB_LOAD, 1025, 1025, 9 },
	{ "golden-cove", LEAF_1G, TLB_LOAD, 128 * 9, 128 * 9, 128 * 9 },
	{ "golden-cove", LEAF_4K, TLB_STORE, 16, 0, 0 },
	{ "golden-cove", LEAF_4K, TLB_STORE, 17, 17, 0 },
	{ "golden-cove", LEAF_2M, TLB_STORE, 17, 17, 0 },
	{ "golden-cove", LEAF_1G, TLB_STORE, 17, 17, 0 },
	{ "zen4", LEAF_4K, TLB_LOAD, 72, 0, 0 },
	{ "zen4", LEAF_4K, TLB_LOAD, 73, 73, 0 },
	{ "zen4", LEAF_4K, TLB_LOAD, 3072, 3072, 0 },
	{ "zen4", LEAF_4K, TLB_LOAD, 3073, 3073, 25 },
	{ "zen4", LEAF_4K, TLB_LOAD, 128 * 25, 128 * 25, 128 * 25 },
	{ "zen4", LEAF_2M, TLB_STORE, 72, 0, 0 },
	{ "zen4", LEAF_2M, TLB_STORE, 73, 73, 0 },
	{ "zen4", LEAF_2M, TLB_STORE, 3072, 3072, 0 },
	{ "zen4", LEAF_2M, TLB_STORE, 3073, 3073, 25 },
	{ "zen4", LEAF_2M, TLB_STORE, 128 * 25, 128 * 25, 128 * 25 },
	{ "zen4", LEAF_1G, TLB_LOAD, 72, 0, 0 },
	{ "zen4", LEAF_1G, TLB_LOAD, 73, 73, 73 },
};

static struct tlb *preset(const char *name)
{
	unsigned int nr;

	return tlb_load(PRESETS, name, &nr);
}

static void test_cycle(const struct cycle *c)
{
	struct tlb *tlb = preset(c->tlb);

	for (int i = 0; i < ROUNDS; i++) {
		tlb_reset_counts(tlb);
		sweep(tlb, c->leaf, c->access, c->nr);
		if (!i)
			is(tlb->walks[c->leaf], c->nr, "%s: %lu of %s, cold", c->tlb, c->nr,
			   leaf_name[c->leaf]);
	}
	is(tlb->l1_misses, c->l1_misses, "%s: %lu of %s, misses in l1", c->tlb, c->nr,
	   leaf_name[c->leaf]);
	is(tlb_walks(tlb), c->walks, "%s: %lu of %s, walks", c->tlb, c->nr, leaf_name[c->leaf]);
}

/* Access @nr leaves of each size in turn; the counts are those of the last round. */
static struct tlb *mix(const char *name, const unsigned long nr[LEAVES])
{
	struct tlb *tlb = preset(name);

	for (int i = 0; i < ROUNDS; i++) {
		tlb_reset_counts(tlb);
		for (enum leaf leaf = 0; leaf < LEAVES; leaf++)
			sweep(tlb, leaf, TLB_LOAD, nr[leaf]);
	}
	return tlb;
}

static void test_sharing(void)
{
	struct tlb *tlb;

	tlb = mix("zen4", (unsigned long[]){ 30, 30, 12 });
	is(tlb->l1_misses, 0, "zen4: l1 holds 72 of all sizes");
	tlb = mix("zen4", (unsigned long[]){ 30, 30, 13 });
	is(tlb->l1_misses, 73, "zen4: l1 does not hold 73 of all sizes");
	tlb = mix("zen4", (unsigned long[]){ 1536, 1536, 64 });
	is(tlb_walks(tlb), 0, "zen4: l2 holds 3072 of 4K and 2M, and 64 of 1G");
	tlb = mix("zen4", (unsigned long[]){ 1664, 1664, 64 });
	is(tlb_walks(tlb), 3328, "zen4: l2 does not hold 3328 of 4K and 2M");
	tlb = mix("golden-cove", (unsigned long[]){ 96, 32, 8 });
	is(tlb->l1_misses, 0, "golden-cove: l1 has an array for each size");
	tlb = mix("golden-cove", (unsigned long[]){ 0, 1024, 1024 });
	is(tlb_walks(tlb), 0, "golden-cove: l2 has a half for 2M and one for 1G");
	tlb = mix("golden-cove", (unsigned long[]){ 1024, 1024, 0 });
	is(tlb_walks(tlb), 0, "golden-cove: l2 holds 1024 of 4K beside 1024 of 2M");
	tlb = mix("golden-cove", (unsigned long[]){ 1152, 1152, 1152 });
	is(tlb->walks[LEAF_2M] + tlb->walks[LEAF_1G], 2304,
	   "golden-cove: l2 does not hold 1152 of 2M, nor of 1G");
}

static void test_flush(void)
{
	struct tlb *tlb = preset("zen4");

	sweep(tlb, LEAF_4K, TLB_LOAD, 100);
	tlb_flush(tlb);
	is(tlb_walks(tlb), 100, "a flush keeps the counts");
	tlb_reset_counts(tlb);
	is(tlb->l1_misses + tlb_walks(tlb), 0, "counts are zero after a reset");
	sweep(tlb, LEAF_4K, TLB_LOAD, 100);
	is(tlb_walks(tlb), 100, "the TLB is empty after a flush");
}

static void test_stores_apart(void)
{
	struct tlb *tlb = preset("golden-cove");

	sweep(tlb, LEAF_4K, TLB_LOAD, 1);
	sweep(tlb, LEAF_4K, TLB_STORE, 1);
	is(tlb->l1_misses, 2, "golden-cove: a store after a load misses in l1");
	is(tlb_walks(tlb), 1, "golden-cove: a store after a load is no walk");

	for (int i = 0; i < ROUNDS; i++) {
		tlb_reset_counts(tlb);
		sweep(tlb, LEAF_4K, TLB_LOAD, 96);
		sweep(tlb, LEAF_4K, TLB_STORE, 16);
	}
	is(tlb->l1_misses, 0, "golden-cove: l1 holds 96 to load from and 16 to store to");
}

/* Access a 4K leaf for each letter. Returns the number of walks. */
static unsigned long walks_of(struct tlb *tlb, const char *leaves)
{
	unsigned long before = tlb_walks(tlb);

	for (; *leaves; leaves++)
		tlb_access(tlb, (unsigned long)*leaves << 12, LEAF_4K, TLB_LOAD);
	return tlb_walks(tlb) - before;
}

/* An array of four sets of four ways: letters four apart share a set. */
static void test_sets(void)
{
	struct tlb tlb = {};

	is(!tlb_add_array(&tlb, "small l1 16 4 4K all"), 1, "an array of four sets");
	tlb_flush(&tlb);
	walks_of(&tlb, "aeim");
	is(walks_of(&tlb, "aeimaeim"), 0, "four in a set stay");
	is(walks_of(&tlb, "bcdfgh"), 6, "leaves of other sets");
	is(walks_of(&tlb, "aeim"), 0, "leaves of other sets evict nothing");
	is(walks_of(&tlb, "qaeimqaeim"), 10, "five in a set all miss, although others have room");
	tlb_flush(&tlb);
	walks_of(&tlb, "aeimaq");
	is(walks_of(&tlb, "aimq"), 0, "the least recently used is replaced, not the first in");
	is(walks_of(&tlb, "e"), 1, "the least recently used is gone");
	tlb_access(&tlb, (unsigned long)'a' << 12, LEAF_2M, TLB_LOAD);
	is(tlb.walks[LEAF_2M], 1, "a leaf of a size that no array holds is always a walk");
}

static void test_presets(void)
{
	struct tlb tlb = {};
	unsigned int nr;

	tlb_load(PRESETS, NULL, &nr);
	is(nr, 2, "two presets");
	tlb_load(PRESETS, "zen4+golden-cove", &nr);
	is(nr, 2, "two presets by their names");
	is(!tlb_add_array(&tlb, "x l1 96 4 4K all"), 0, "24 sets are refused");
	is(!tlb_add_array(&tlb, "x l1 64 4 4K+4M all"), 0, "a size of 4M is refused");
	is(!tlb_add_array(&tlb, "x l3 64 4 4K all"), 0, "a third level is refused");
	is(!tlb_add_array(&tlb, "x l1 64 4 4K some"), 0, "unknown accesses are refused");
}

static const char page_tables[] =
"---[ User Space ]---\n"
"0x0000000000000000-0x0000000000200000           2M                               pmd\n"
"---[ Kernel Space ]---\n"
"0xff00000000000000-0xff11000000000000        4352T                               pgd\n"
"---[ Low Kernel Mapping ]---\n"
"0xff11000000000000-0xff11000000098000         608K     RW                 GLB NX pte\n"
"0xff11000000098000-0xff11000000099000           4K     ro                 GLB NX pte\n"
"0xff11000000099000-0xff11000000100000         412K                               pte\n"
"0xff11000000100000-0xff11000000200000           1M     RW                 GLB x  pte\n"
"0xff11000000200000-0xff11000001000000          14M     RW         PSE     GLB NX pmd\n"
"0xff11000001000000-0xff11000001c00000          12M     ro         PSE     GLB NX pmd\n"
"0xff11000001c00000-0xff11000002000000           4M                               pmd\n"
"0xff11000040000000-0xff110000c0000000           2G     RW         PSE     GLB NX pud\n"
"0xff110000c0000000-0xff11000100000000           1G                               pud\n"
"0xff11000100000000-0xff11000140000000           1G     RW         PSE     GLB NX pud\n"
"0xff11000140000000-0xff11008000000000         507G                               pud\n"
"---[ vmalloc() Area ]---\n"
"0xffa0000000000000-0xffa0000000004000          16K     RW                 GLB NX pte\n"
"0xffa0000000200000-0xffa0000000400000           2M     RW         PSE     GLB NX pmd\n"
"---[ Fixmap Area ]---\n"
"0xffffffffff800000-0x0000000000000000           8M                               pmd\n";

/* The size of the leaf that maps @addr, or LEAVES */
static enum leaf leaf_at(struct map *map, unsigned long addr)
{
	const struct range *range = map_find(map, addr);

	return range ? range->leaf : LEAVES;
}

static void test_page_tables(void)
{
	struct map map;
	char *text = strdup(page_tables);

	is(!map_parse(&map, text), 1, "page tables are parsed");
	is(map.leaves, 0x98 + 1 + 0x100 + 7 + 6 + 2 + 1, "leaves in merged lines are counted");
	is(leaf_at(&map, 0xff11000000000000), LEAF_4K, "the first address");
	is(leaf_at(&map, 0xff11000000097fff), LEAF_4K, "in a merged line of 4K leaves");
	is(leaf_at(&map, 0xff11000000098008), LEAF_4K, "in a leaf that is read-only");
	is(leaf_at(&map, 0xff11000000099000), LEAVES, "in a hole between 4K leaves");
	is(leaf_at(&map, 0xff110000001fffff), LEAF_4K, "before a 2M leaf");
	is(leaf_at(&map, 0xff11000000200000), LEAF_2M, "at the start of a 2M leaf");
	is(leaf_at(&map, 0xff11000001bfffff), LEAF_2M, "at the end of the last 2M leaf");
	is(leaf_at(&map, 0xff11000001c00000), LEAVES, "after the last 2M leaf");
	is(leaf_at(&map, 0xff110000bfffffff), LEAF_1G, "at the end of two 1G leaves");
	is(leaf_at(&map, 0xff110000c0000000), LEAVES, "in a hole between 1G leaves");
	is(leaf_at(&map, 0xff1100013fffffff), LEAF_1G, "the last address");
	is(leaf_at(&map, 0xff11000140000000), LEAVES, "after the last address");
	is(leaf_at(&map, 0xffa0000000000000), LEAVES, "a 4K leaf of vmalloc()");
	is(leaf_at(&map, 0xffa0000000200000), LEAVES, "a 2M leaf of vmalloc()");
	is(leaf_at(&map, 0x400000), LEAVES, "an address of a program");
	map_free(&map);
	free(text);
}

static void touch(struct map *map, unsigned long addr)
{
	map_touch(map, map_find(map, addr), addr);
}

static void test_working_set(void)
{
	char text[] = "1000 3000 4K\n200000 600000 2M\n40000000 80000000 1G\n";
	struct map map;

	is(!map_parse(&map, text), 1, "a simple map is parsed");
	touch(&map, 0x1000);
	touch(&map, 0x1fff);
	touch(&map, 0x200000);
	touch(&map, 0x400000);
	touch(&map, 0x5fffff);
	touch(&map, 0x7fffffff);
	is(map.working_set[LEAF_4K], 1, "a 4K leaf accessed twice is one");
	is(map.working_set[LEAF_2M], 2, "two 2M leaves, accessed three times");
	is(map.working_set[LEAF_1G], 1, "a 1G leaf, at its end");
	map_clear_working_set(&map);
	touch(&map, 0x1000);
	touch(&map, 0x7fffffff);
	is(map.working_set[LEAF_4K], 1, "a 4K leaf, after clearing");
	is(map.working_set[LEAF_2M], 0, "no 2M leaf, after clearing");
	is(map.working_set[LEAF_1G], 1, "the last leaf, after clearing");
	map_free(&map);
}

static void test_bad_maps(void)
{
	static const char *const bad[] = {
		"",
		"1000 3000 4M\n",
		"1000 3000\n",
		"1000 3000 2M\n",
		"1000 1000 4K\n",
		"1000 3000 4K\n2000 4000 4K\n",
		"2000 3000 4K\n1000 2000 4K\n",
		"---[ vmalloc() Area ]---\n"
		"0xffa0000000000000-0xffa0000000004000 16K     RW      GLB NX pte\n",
		"---[ Low Kernel Mapping ]---\n"
		"0xff11000000200000-0xff11000001000000 14M             pmd\n",
		"---[ Low Kernel Mapping ]---\n"
		"0xff11000000200000-0xff11000001000000 14M     RW      GLB NX p4d\n",
		"---[ Low Kernel Mapping ]---\n... 3 entries skipped ...\n",
	};
	struct map map;

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char *text = strdup(bad[i]);

		is(!map_parse(&map, text), 0, "bad map %u is refused", i);
		map_free(&map);
		free(text);
	}
}

static bool same(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

/* Expect the dump @want, or NULL for none, followed by @rest. */
static void test_dump(const char *stream, unsigned long nr, const char *want, const char *rest,
		      const char *name)
{
	char *text = strdup(stream), *after = NULL, *dump = map_dump(text, nr, &after);

	is(same(dump, want) && same(after, rest), 1, "%s", name);
	free(text);
}

static void test_dumps(void)
{
	static const char two[] = "=== map\na\nb\n=== end\n=== map\nc\n=== end\n";

	test_dump("", 1, NULL, NULL, "no dump yet");
	test_dump(two, 1, "a\nb\n", "=== map\nc\n=== end\n", "the first of two dumps");
	test_dump(two, 2, "c\n", "", "the second of two dumps");
	test_dump(two, 3, NULL, NULL, "a third is not there yet");
	test_dump("=== map\na\n=== end\n=== map\nb\n", 2, NULL, NULL, "a dump without an end");
	test_dump("=== map\na\n=== en", 1, NULL, NULL, "a dump that is being written");
}

int main(void)
{
	for (unsigned int i = 0; i < sizeof(cycles) / sizeof(*cycles); i++)
		test_cycle(&cycles[i]);
	test_sharing();
	test_stores_apart();
	test_flush();
	test_sets();
	test_presets();
	test_page_tables();
	test_working_set();
	test_bad_maps();
	test_dumps();
	printf("1..%u\n", tests);
	return failures != 0;
}
