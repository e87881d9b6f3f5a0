/* SPDX-License-Identifier: GPL-2.0-only */
/* Which leaf maps an address. */
#ifndef TLB_MODEL_MAP_H
#define TLB_MODEL_MAP_H

#include <stdbool.h>

#include "tlb.h"

/* Addresses from @start to before @end, mapped by leaves of one size */
struct range {
	unsigned long start, end;
	enum leaf leaf;
	unsigned long first;	/* the index of the first leaf in map.touched */
};

struct map {
	struct range *ranges;
	unsigned int nr;
	const struct range *last;	/* found */
	unsigned long leaves;
	unsigned long *touched;		/* a bit for each leaf */
	unsigned long working_set[LEAVES];
};

/*
 * map_parse() - make a map of @text, either the kernel's page tables as they are in
 * debugfs, of which the direct map is taken, or lines with START END SIZE.
 * Returns what is wrong with it, or NULL. Writes to @text.
 */
const char *map_parse(struct map *map, char *text);

void map_free(struct map *map);

/* map_find() - the range that has @addr, or NULL */
const struct range *map_find(struct map *map, unsigned long addr);

/* map_touch() - count the leaf at @addr, which is in @range, as part of the working set */
void map_touch(struct map *map, const struct range *range, unsigned long addr);

/* map_forget() - an empty working set */
void map_forget(struct map *map);

/*
 * map_dump() - the dump number @nr, from 1, of those in @text, each between a line
 * "=== map" and a line "=== end". Returns NULL if it isn't there yet, or has no end.
 * What is behind it is then at *@rest. Writes to @text.
 */
char *map_dump(char *text, unsigned long nr, char **rest);

#endif
