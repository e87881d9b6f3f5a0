/* SPDX-License-Identifier: GPL-2.0-only */
/* Small things that the tests of exclusive memory share. */
#ifndef _SELFTESTS_EXMEM_H
#define _SELFTESTS_EXMEM_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXMEM_DEV	"/dev/exclusive_memory"
#define EXMEM_SYSFS	"/sys/kernel/mm/exmem/"

#define PAGE		4096UL

/* One value of the pool, or -1. */
static inline long exmem_value(const char *name)
{
	char path[128];
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), EXMEM_SYSFS "%s", name);
	f = fopen(path, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

static inline long exmem_total(void)
{
	return exmem_value("total_pages");
}

static inline long exmem_free(void)
{
	return exmem_value("free_pages");
}

/* The number behind a name in a file of "name number" lines, or -1. */
static inline long named_value(const char *path, const char *name)
{
	size_t len = strlen(name);
	char line[256];
	long value = -1;
	FILE *f = fopen(path, "r");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, len) && strspn(line + len, ": \t")) {
			value = strtol(line + len + strspn(line + len, ": \t"), NULL, 10);
			break;
		}
	}
	fclose(f);
	return value;
}

static inline void *exmem_map(int fd, size_t pages, size_t pgoff)
{
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, pgoff * PAGE);
}

static inline bool all_bytes(const void *p, unsigned char value, size_t size)
{
	const unsigned char *c = p;

	return !size || (c[0] == value && !memcmp(c, c + 1, size - 1));
}

#endif /* _SELFTESTS_EXMEM_H */
