// SPDX-License-Identifier: GPL-2.0-only
/*
 * chase PORT ROUNDS SIZE:COUNT[:store|:cross]...
 *
 * For each argument: map COUNT pages of SIZE (4K, 2M, 1G) next to each other, tell
 * the TLB model through the virtio port called PORT, and load from each once a round,
 * in turn, or store to it, or load from the end of one and the start of the next at
 * once. The pages are one page of memory, mapped many times.
 */
#define _GNU_SOURCE
#include <err.h>
#include <glob.h>
#include <linux/memfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "marker.h"

#define PORTS "/sys/class/virtio-ports/"

static void load(const char *p)
{
	asm volatile("movb (%0), %%al" : : "r"(p) : "al", "memory");
}

static void store(const char *p)
{
	asm volatile("movb %%al, (%0)" : : "r"(p) : "memory");
}

static void load8(const char *p)
{
	asm volatile("movq (%0), %%rax" : : "r"(p) : "rax", "memory");
}

static void access_pages(const char *pages, const char *end, long size, const char *how)
{
	void (*access)(const char *p) = load;
	long step = size;

	if (!strcmp(how, "store")) {
		access = store;
	} else if (!strcmp(how, "cross")) {
		access = load8;
		step = 2 * size;
		pages += size - 4;
	}
	for (const char *p = pages; p < end; p += step)
		access(p);
}

static bool is_port(const char *path, const char *name)
{
	char is[32] = "";
	FILE *f = fopen(path, "r");

	if (!f)
		err(1, "%s", path);
	if (fscanf(f, "%31s", is) != 1)
		*is = '\0';
	fclose(f);
	return !strcmp(is, name);
}

static FILE *open_port(const char *name)
{
	char port[32], device[64];
	FILE *f = NULL;
	glob_t g;

	if (glob(PORTS "*/name", 0, NULL, &g))
		errx(1, "no virtio ports");
	for (size_t i = 0; i < g.gl_pathc; i++) {
		if (!is_port(g.gl_pathv[i], name))
			continue;
		if (sscanf(g.gl_pathv[i], PORTS "%31[^/]", port) != 1)
			continue;
		snprintf(device, sizeof(device), "/dev/%s", port);
		f = fopen(device, "w");
	}
	globfree(&g);
	if (!f)
		err(1, "virtio port %s", name);
	return f;
}

/* The C library has no names for these sizes. */
static unsigned int memfd_flags(const char *size)
{
	if (!strcmp(size, "2M"))
		return MFD_HUGETLB | MFD_HUGE_2MB;
	return strcmp(size, "1G") ? 0 : MFD_HUGETLB | MFD_HUGE_1GB;
}

static long bytes_of(const char *size)
{
	static const char *const names[] = { "4K", "2M", "1G" };

	for (int i = 0; i < 3; i++) {
		if (!strcmp(size, names[i]))
			return 1L << (12 + 9 * i);
	}
	errx(1, "unknown size: %s", size);
}

static char *map_pages(const char *name, long size, long count)
{
	int fd = memfd_create("chase", memfd_flags(name));
	char *all, *pages;

	if (fd < 0 || ftruncate(fd, size))
		err(1, "a page of %s", name);
	all = mmap(NULL, size * (count + 1), PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (all == MAP_FAILED)
		err(1, "addresses for %ld pages of %s", count, name);
	pages = (char *)(((unsigned long)all + size - 1) & -size);
	for (long i = 0; i < count; i++) {
		if (mmap(pages + i * size, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED)
			err(1, "page %ld of %s", i, name);
	}
	close(fd);
	return pages;
}

static void chase(FILE *port, long rounds, const char *name, long count, const char *how)
{
	long size = bytes_of(name);
	char *pages = map_pages(name, size, count), *end = pages + count * size;

	fprintf(port, "=== map\n%p %p %s\n=== end\n", pages, end, name);
	if (fflush(port))
		err(1, "virtio port");
	tlb_model_start();
	for (long r = 0; r < rounds; r++)
		access_pages(pages, end, size, how);
	tlb_model_stop();
	munmap(pages, count * size);
}

int main(int argc, char **argv)
{
	char size[3];
	FILE *port;
	long count;

	if (argc < 4)
		errx(2, "usage: chase PORT ROUNDS SIZE:COUNT[:store|:cross]...");
	port = open_port(argv[1]);
	for (int i = 3; i < argc; i++) {
		char how[6] = "";

		if (sscanf(argv[i], "%2[^:]:%ld:%5s", size, &count, how) < 2)
			errx(2, "not SIZE:COUNT: %s", argv[i]);
		chase(port, atol(argv[2]), size, count, how);
	}
	return 0;
}
