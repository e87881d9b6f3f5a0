// SPDX-License-Identifier: GPL-2.0-only
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlb.h"

const char *const leaf_name[LEAVES] = { "4K", "2M", "1G" };
const unsigned int leaf_shift[LEAVES] = { 12, 21, 30 };

bool leaf_of(const char *name, const char *const names[LEAVES], enum leaf *leaf)
{
	for (*leaf = 0; *leaf < LEAVES; ++*leaf) {
		if (!strcmp(name, names[*leaf]))
			return true;
	}
	return false;
}

static bool parse_leaves(struct tlb_array *a, char *names)
{
	enum leaf leaf;

	for (char *name = strtok(names, "+"); name; name = strtok(NULL, "+")) {
		if (!leaf_of(name, leaf_name, &leaf))
			return false;
		a->leaves |= 1 << leaf;
	}
	return a->leaves;
}

static bool parse_accesses(struct tlb_array *a, const char *name)
{
	if (strcmp(name, "stores"))
		a->accesses |= TLB_LOAD;
	if (strcmp(name, "loads"))
		a->accesses |= TLB_STORE;
	return !strcmp(name, "stores") || !strcmp(name, "loads") || !strcmp(name, "all");
}

static bool parse_size(struct tlb_array *a, unsigned int entries)
{
	if (!a->ways || !entries || entries % a->ways)
		return false;
	a->sets = entries / a->ways;
	if (a->sets & (a->sets - 1))
		return false;
	a->entries = calloc(entries, sizeof(*a->entries));
	return a->entries;
}

const char *tlb_add_array(struct tlb *tlb, const char *line)
{
	char leaves[16], accesses[16], rest;
	struct tlb_array new = {};
	struct tlb_level *level;
	unsigned int l, entries;

	if (sscanf(line, "%*s l%u %u %u %15s %15s %c", &l, &entries, &new.ways, leaves,
		   accesses, &rest) != 5)
		return "not NAME LEVEL ENTRIES WAYS PAGES ACCESSES";
	if (l != 1 && l != 2)
		return "the level is neither l1 nor l2";
	level = &tlb->level[l - 1];
	if (level->nr == TLB_ARRAYS)
		return "too many arrays";
	if (!parse_leaves(&new, leaves))
		return "pages are not of 4K, 2M and 1G";
	if (!parse_accesses(&new, accesses))
		return "accesses are not loads, stores or all";
	if (!parse_size(&new, entries))
		return "the number of sets is not a power of two";
	level->array[level->nr++] = new;
	return NULL;
}

static void flush_level(struct tlb_level *level)
{
	for (unsigned int i = 0; i < level->nr; i++) {
		struct tlb_array *a = &level->array[i];

		memset(a->entries, 0, sizeof(*a->entries) * a->sets * a->ways);
	}
}

void tlb_reset_counts(struct tlb *tlb)
{
	tlb->l1_misses = 0;
	memset(tlb->walks, 0, sizeof(tlb->walks));
}

void tlb_flush(struct tlb *tlb)
{
	flush_level(&tlb->level[0]);
	flush_level(&tlb->level[1]);
	tlb->clock = 0;
	tlb->last_tag = 0;
}

/* A leaf by its number and size, and the kind of access that needs it */
struct key {
	unsigned long nr, tag;
	enum leaf leaf;
	enum access access;
};

static bool serves(const struct tlb_array *a, const struct key *key)
{
	return a->leaves & 1 << key->leaf && a->accesses & key->access;
}

/* The entry of @a that holds @key, or NULL. Updates the least recently used entry @lru. */
static struct tlb_entry *find(const struct tlb_array *a, const struct key *key,
			      struct tlb_entry **lru)
{
	struct tlb_entry *set = a->entries + (key->nr & (a->sets - 1)) * a->ways;

	for (struct tlb_entry *e = set; e < set + a->ways; e++) {
		if (e->tag == key->tag)
			return e;
		if (!*lru || e->used < (*lru)->used)
			*lru = e;
	}
	return NULL;
}

/* Returns whether @level holds @key. Inserts it otherwise, if an array serves it. */
static bool touch(struct tlb_level *level, const struct key *key, unsigned long now)
{
	struct tlb_entry *e = NULL, *lru = NULL;
	bool hit;

	for (unsigned int i = 0; i < level->nr && !e; i++) {
		if (serves(&level->array[i], key))
			e = find(&level->array[i], key, &lru);
	}
	hit = e;
	if (!e)
		e = lru;
	if (e)
		*e = (struct tlb_entry){ .tag = key->tag, .used = now };
	return hit;
}

void tlb_access(struct tlb *tlb, unsigned long addr, enum leaf leaf, enum access access)
{
	struct key key = { .nr = addr >> leaf_shift[leaf], .leaf = leaf, .access = access };

	key.tag = key.nr << leaf_shift[leaf] | (leaf + 1);
	/* The most recent entry of the first level again: a hit that changes nothing. */
	if (key.tag == tlb->last_tag && access == tlb->last_access)
		return;
	tlb->last_tag = key.tag;
	tlb->last_access = access;

	tlb->clock++;
	if (touch(&tlb->level[0], &key, tlb->clock))
		return;
	tlb->l1_misses++;
	if (!touch(&tlb->level[1], &key, tlb->clock))
		tlb->walks[leaf]++;
}

unsigned long tlb_walks(const struct tlb *tlb)
{
	unsigned long walks = 0;

	for (enum leaf leaf = 0; leaf < LEAVES; leaf++)
		walks += tlb->walks[leaf];
	return walks;
}
