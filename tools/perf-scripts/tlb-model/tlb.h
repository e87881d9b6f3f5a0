/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A core's data TLBs, as far as their reach goes: two levels of set-associative
 * arrays with true LRU. A miss in both is a walk.
 *
 * Not modelled: page-walk caches and thus what a walk costs, prefetched and
 * speculative accesses, flushes and context switches, pages that a core merges
 * into one entry, replacement that is less than true LRU, indexing by a hash.
 * Address ranges that are not passed to tlb_access() don't compete for entries.
 * A hit in the first level doesn't keep an entry young in the last.
 */
#ifndef TLB_MODEL_TLB_H
#define TLB_MODEL_TLB_H

#include <err.h>
#include <stdbool.h>
#include <unistd.h>

#define TLB_ARRAYS 6
#define TLB_NAME 32

/* What maps an address: an entry of a page table at one of three levels. */
enum leaf {
	LEAF_4K,
	LEAF_2M,
	LEAF_1G,
	LEAVES
};

enum access {
	TLB_LOAD = 1,
	TLB_STORE = 2,
};

extern const char *const leaf_name[LEAVES];
extern const unsigned int leaf_shift[LEAVES];

/* Is @name one of @names? Then *@leaf is whose. */
bool leaf_of(const char *name, const char *const names[LEAVES], enum leaf *leaf);

struct tlb_entry {
	unsigned long tag;	/* 0: empty */
	unsigned long used;	/* when last */
};

struct tlb_array {
	unsigned int leaves;	/* a bit for each enum leaf it holds */
	unsigned int accesses;	/* a bit for each enum access it serves */
	unsigned int sets, ways;
	struct tlb_entry *entries;
};

struct tlb_level {
	unsigned int nr;
	struct tlb_array array[TLB_ARRAYS];
};

struct tlb {
	char name[TLB_NAME];
	struct tlb_level level[2];
	unsigned long clock;
	unsigned long l1_misses;
	unsigned long walks[LEAVES];
	unsigned long last_tag;
	enum access last_access;
};

/*
 * tlb_add_array() - give @tlb one more array, by a line of a preset.
 * Returns what is wrong with it, or NULL. For its format see the file presets.
 */
const char *tlb_add_array(struct tlb *tlb, const char *line);

/* tlb_reset() - empty, and nothing counted */
void tlb_reset(struct tlb *tlb);

/* tlb_forget_counts() - nothing counted, but what is cached stays */
void tlb_forget_counts(struct tlb *tlb);

/* tlb_access() - access @addr, which is mapped by a @leaf */
void tlb_access(struct tlb *tlb, unsigned long addr, enum leaf leaf, enum access access);

unsigned long tlb_walks(const struct tlb *tlb);

/*
 * tlb_load() - make all TLBs of the file of presets, or those in @names, which
 * are separated by '+'. Exits if there is one missing or wrong.
 */
struct tlb *tlb_load(const char *file, const char *names, unsigned int *nr);

/*
 * Print one line that says what is wrong, and end the program at once: the guest's
 * CPU calls this, and exit() would wait for it.
 */
#define die(...)		\
do {				\
	warnx(__VA_ARGS__);	\
	_exit(1);		\
} while (0)

#endif
