/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reach of a core's data TLBs: two levels of set-associative arrays with true
 * LRU. A miss in both is a walk.
 *
 * Not modelled: page-walk caches and thus the cost of a walk, prefetched and
 * speculative accesses, flushes and context switches, pages that a core merges
 * into one entry, replacement other than true LRU, indexing by a hash.
 * Address ranges that are not passed to tlb_access() don't compete for entries.
 * A hit in the first level does not refresh the entry in the second.
 */
#ifndef TLB_MODEL_TLB_H
#define TLB_MODEL_TLB_H

#include <err.h>
#include <stdbool.h>
#include <unistd.h>

#define TLB_ARRAYS 6
#define TLB_NAME 32

/* A leaf entry of the page tables, at one of three levels. */
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

/* Find @name in @names, and set @leaf to its index. */
bool leaf_of(const char *name, const char *const names[LEAVES], enum leaf *leaf);

struct tlb_entry {
	unsigned long tag;	/* 0: empty */
	unsigned long used;	/* time of the last access */
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
 * tlb_add_array() - add an array to @tlb, described by a line of the file presets.
 * Returns NULL, or a description of the error.
 */
const char *tlb_add_array(struct tlb *tlb, const char *line);

/* tlb_flush() - empty the TLB, keep the counts */
void tlb_flush(struct tlb *tlb);

/* tlb_reset_counts() - start counting from zero, keep the entries */
void tlb_reset_counts(struct tlb *tlb);

/* tlb_access() - access @addr, mapped by a leaf of size @leaf */
void tlb_access(struct tlb *tlb, unsigned long addr, enum leaf leaf, enum access access);

unsigned long tlb_walks(const struct tlb *tlb);

/*
 * tlb_load() - create all TLBs of the file of presets, or those in @names, separated
 * by '+'. Exits if one is missing or invalid.
 */
struct tlb *tlb_load(const char *file, const char *names, unsigned int *nr);

/*
 * Print a one-line message, and exit at once: the guest's CPU calls this, and exit()
 * would wait for that CPU.
 */
#define die(...)		\
do {				\
	warnx(__VA_ARGS__);	\
	_exit(1);		\
} while (0)

#endif
