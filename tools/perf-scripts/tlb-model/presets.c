// SPDX-License-Identifier: GPL-2.0-only
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlb.h"

/* Is @name in @names, a list separated by '+'? */
static bool listed(const char *name, const char *names)
{
	size_t len = strlen(name);

	for (; names; names = strchr(names, '+')) {
		names += *names == '+';
		if (!strncmp(names, name, len) && (!names[len] || names[len] == '+'))
			return true;
	}
	return false;
}

/* The TLB called @name in @tlbs, or a new one appended to them */
static struct tlb *get(struct tlb **tlbs, unsigned int *nr, const char *name)
{
	struct tlb *new;

	for (unsigned int i = 0; i < *nr; i++) {
		if (!strcmp((*tlbs)[i].name, name))
			return *tlbs + i;
	}
	*tlbs = realloc(*tlbs, (*nr + 1) * sizeof(**tlbs));
	if (!*tlbs)
		die("no memory");
	new = *tlbs + (*nr)++;
	*new = (struct tlb){};
	snprintf(new->name, sizeof(new->name), "%s", name);
	return new;
}

static void check_names(const char *file, const char *names, struct tlb *tlbs, unsigned int nr)
{
	while (names && *names) {
		size_t len = strcspn(names, "+");
		unsigned int i = 0;

		while (i < nr && (strncmp(names, tlbs[i].name, len) || tlbs[i].name[len]))
			i++;
		if (i == nr)
			die("%s: no TLB is called %.*s", file, (int)len, names);
		names += len + (names[len] == '+');
	}
}

struct tlb *tlb_load(const char *file, const char *names, unsigned int *nr)
{
	char line[200], name[TLB_NAME];
	struct tlb *tlbs = NULL;
	const char *wrong;
	FILE *f = fopen(file, "r");

	*nr = 0;
	if (!f)
		die("%s: %m", file);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%31s", name) != 1 || *name == '#')
			continue;
		if (names && !listed(name, names))
			continue;
		wrong = tlb_add_array(get(&tlbs, nr, name), line);
		if (wrong)
			die("%s: %s: %s", file, name, wrong);
	}
	fclose(f);
	check_names(file, names, tlbs, *nr);
	if (!*nr)
		die("%s: no TLB", file);
	return tlbs;
}
