// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

#define DUMP_START	"=== map\n"
#define DUMP_END	"=== end\n"
#define SECTION		"---[ "
#define DIRECT_MAP	"---[ Low Kernel Mapping ]---"
#define BITS		(8 * sizeof(long))

char *map_dump(char *text, unsigned long nr, char **rest)
{
	char *dump = text, *end;

	for (; nr; nr--) {
		dump = strstr(dump, DUMP_START);
		if (!dump)
			return NULL;
		dump += strlen(DUMP_START);
	}
	end = strstr(dump, DUMP_END);
	if (!end)
		return NULL;
	*end = '\0';
	*rest = end + strlen(DUMP_END);
	return dump;
}

static const char *add_range(struct map *map, struct range new)
{
	unsigned long mask = (1UL << leaf_shift[new.leaf]) - 1;
	struct range *ranges;

	if (new.start >= new.end || (new.start | new.end) & mask)
		return "a range is not a number of leaves";
	if (map->nr && new.start < map->ranges[map->nr - 1].end)
		return "ranges overlap or are not in order";
	ranges = realloc(map->ranges, (map->nr + 1) * sizeof(new));
	if (!ranges)
		return "no memory";
	new.first = map->leaves;
	map->leaves += (new.end - new.start) >> leaf_shift[new.leaf];
	map->ranges = ranges;
	map->ranges[map->nr++] = new;
	return NULL;
}

/* For example "0xffff888000200000-0xffff888001000000   14M   RW   PSE   GLB NX pmd" */
static const char *parse_page_tables(struct map *map, const char *line)
{
	static const char *const levels[LEAVES] = { "pte", "pmd", "pud" };
	const char *level = strrchr(line, ' ');
	struct range new;

	if (sscanf(line, "%lx-%lx", &new.start, &new.end) != 2 || !level)
		return "not a line of page tables";
	if (!strstr(line, " RW ") && !strstr(line, " ro "))
		return NULL;
	if (!leaf_of(level + 1, levels, &new.leaf))
		return "a leaf at an unknown level";
	return add_range(map, new);
}

static const char *parse_simple(struct map *map, const char *line)
{
	struct range new;
	char size[3], rest;

	if (sscanf(line, "%lx %lx %2s %c", &new.start, &new.end, size, &rest) != 3 ||
	    !leaf_of(size, leaf_name, &new.leaf))
		return "a line is not START END SIZE";
	return add_range(map, new);
}

static const char *parse_lines(struct map *map, char *text)
{
	bool simple = !strstr(text, SECTION), inside = simple;
	const char *wrong = NULL;

	for (char *line = strtok(text, "\n"); line && !wrong; line = strtok(NULL, "\n")) {
		if (!strncmp(line, SECTION, strlen(SECTION)))
			inside = !strcmp(line, DIRECT_MAP);
		else if (simple)
			wrong = parse_simple(map, line);
		else if (inside)
			wrong = parse_page_tables(map, line);
	}
	return wrong;
}

static size_t touched_longs(const struct map *map)
{
	return map->leaves / BITS + 1;
}

const char *map_parse(struct map *map, char *text)
{
	const char *wrong;

	*map = (struct map){};
	wrong = parse_lines(map, text);
	if (wrong)
		return wrong;
	if (!map->nr)
		return "no leaf is mapped";
	map->last = map->ranges;
	map->touched = calloc(touched_longs(map), sizeof(long));
	return map->touched ? NULL : "no memory";
}

void map_free(struct map *map)
{
	free(map->ranges);
	free(map->touched);
	*map = (struct map){};
}

void map_clear_working_set(struct map *map)
{
	memset(map->touched, 0, touched_longs(map) * sizeof(long));
	memset(map->working_set, 0, sizeof(map->working_set));
}

static bool has(const struct range *range, unsigned long addr)
{
	return addr >= range->start && addr < range->end;
}

const struct range *map_find(struct map *map, unsigned long addr)
{
	unsigned int low = 0, high = map->nr;

	if (has(map->last, addr))
		return map->last;
	if (addr < map->ranges[0].start || addr >= map->ranges[high - 1].end)
		return NULL;
	while (high - low > 1) {
		unsigned int middle = (low + high) / 2;

		if (addr < map->ranges[middle].start)
			high = middle;
		else
			low = middle;
	}
	if (!has(&map->ranges[low], addr))
		return NULL;
	map->last = &map->ranges[low];
	return map->last;
}

void map_touch(struct map *map, const struct range *range, unsigned long addr)
{
	unsigned long nr = range->first + ((addr - range->start) >> leaf_shift[range->leaf]);
	unsigned long bit = 1UL << nr % BITS;

	if (map->touched[nr / BITS] & bit)
		return;
	map->touched[nr / BITS] |= bit;
	map->working_set[range->leaf]++;
}
