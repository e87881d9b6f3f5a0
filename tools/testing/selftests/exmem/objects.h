/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of all objects in debugfs. */
#ifndef _SELFTESTS_EXMEM_OBJECTS_H
#define _SELFTESTS_EXMEM_OBJECTS_H

#include "exmem.h"

#define OBJECTS		"/sys/kernel/debug/exmem/objects"
#define OBJECTS_HEADER	"object caller user cgroup pages\n"

/* What the list shows of an object. */
struct object_line {
	unsigned long id, user, cgroup, pages;
	char caller[16];
};

static inline bool parse_object(const char *line, struct object_line *object)
{
	int end = 0;

	return sscanf(line, "%lu %15s %lu %lu %lu\n%n", &object->id, object->caller, &object->user,
		      &object->cgroup, &object->pages, &end) == 5 && !line[end];
}

/* Find an object by its number. */
static inline bool find_object(long id, struct object_line *object)
{
	FILE *f = fopen(OBJECTS, "r");
	bool found = false;
	char line[128];

	while (f && !found && fgets(line, sizeof(line), f))
		found = parse_object(line, object) && (long)object->id == id;
	if (f)
		fclose(f);
	return found;
}

/* The number and the pages of all objects. Returns false if the list is not as it should be. */
static inline bool sum_objects(long *objects, long *pages)
{
	FILE *f = fopen(OBJECTS, "r");
	struct object_line object;
	char line[128];
	bool ok;

	*objects = *pages = 0;
	if (!f)
		return false;
	ok = fgets(line, sizeof(line), f) && !strcmp(line, OBJECTS_HEADER);
	while (ok && fgets(line, sizeof(line), f)) {
		ok = parse_object(line, &object);
		++*objects;
		*pages += object.pages;
	}
	fclose(f);
	return ok;
}

#endif /* _SELFTESTS_EXMEM_OBJECTS_H */
