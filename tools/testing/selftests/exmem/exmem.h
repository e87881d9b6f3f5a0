/* SPDX-License-Identifier: GPL-2.0-only */
/* Small things that the tests of exclusive memory share. */
#ifndef _SELFTESTS_EXMEM_H
#define _SELFTESTS_EXMEM_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXMEM_DEV	"/dev/exclusive_memory"
#define EXMEM_SYSFS	"/sys/kernel/mm/exmem/"
#define TRACING		"/sys/kernel/tracing/"

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

/* One value of one node's part of the pool, or -1. */
static inline long exmem_node_value(int nid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "node%d/%s", nid, name);
	return exmem_value(path);
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

struct exmem_range {
	unsigned long start, end;
};

/* The ranges that the boot lines name. Returns how many. */
static inline int exmem_ranges(struct exmem_range *ranges, int max)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK), nr = 0;
	char line[2048], *mem;
	ssize_t n;

	while ((n = read(kmsg, line, sizeof(line) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		line[n > 0 ? n : 0] = 0;
		mem = strstr(line, ";exmem: ");
		mem = mem ? strstr(mem, "[mem ") : NULL;
		if (!mem || nr == max ||
		    sscanf(mem, "[mem %lx-%lx]", &ranges[nr].start, &ranges[nr].end) != 2)
			continue;
		ranges[nr++].end++;
	}
	close(kmsg);
	return nr;
}

static inline bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return ok;
}

/* Empty the trace, and let the pool's events begin or end. */
static inline bool exmem_trace_on(void)
{
	return put(TRACING "trace", "\n") && put(TRACING "events/exmem/enable", "1");
}

static inline bool exmem_trace_off(void)
{
	return put(TRACING "events/exmem/enable", "0");
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
