/* SPDX-License-Identifier: GPL-2.0-only */
/* The leaves that map addresses */
#ifndef TLB_MODEL_MAP_H
#define TLB_MODEL_MAP_H

#include <stdbool.h>

#include "tlb.h"

/* Addresses [@start, @end), mapped by leaves of one size */
struct range {
	unsigned long start, end;
	enum leaf leaf;
	unsigned long first;	/* the index of the first leaf in map.touched */
};

struct map {
	struct range *ranges;
	unsigned int nr;
	const struct range *last;	/* the last one found */
	unsigned long leaves;
	unsigned long *touched;		/* a bit for each leaf */
	unsigned long working_set[LEAVES];
};

/*
 * map_parse() - create a map from @text: either the kernel's page tables in the format
 * of debugfs, for the direct map, or lines START END SIZE.
 * Returns NULL, or a description of the error. Writes to @text.
 */
const char *map_parse(struct map *map, char *text);

void map_free(struct map *map);

/* map_find() - the range that contains @addr, or NULL */
const struct range *map_find(struct map *map, unsigned long addr);

/* map_touch() - add the leaf at @addr, in @range, to the working set */
void map_touch(struct map *map, const struct range *range, unsigned long addr);

/* map_clear_working_set() - empty the working set */
void map_clear_working_set(struct map *map);

/*
 * map_dump() - the @nr-th dump in @text, counted from 1, between a line "=== map" and
 * a line "=== end". Returns NULL if the dump is missing or incomplete, else sets @rest
 * to the text that follows. Writes to @text.
 */
char *map_dump(char *text, unsigned long nr, char **rest);

#endif
