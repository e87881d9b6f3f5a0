// SPDX-License-Identifier: GPL-2.0-only
/*
 * chase PORT ROUNDS SIZE:COUNT[:store|:cross|:warm]...
 *
 * For each argument: map COUNT pages of SIZE (4K, 2M, 1G) next to each other, send the
 * map to the TLB model through the virtio port called PORT, and load from each page
 * in turn, once per round. "store" stores instead, "cross" loads across the boundary of
 * two pages, and "warm" does not count the first round. All pages map the same page
 * of memory.
 */
#define _GNU_SOURCE
#include <err.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "marker.h"
#include "port.h"

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

/* The C library does not define these flags. */
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
	for (long r = 0; r < rounds; r++) {
		if (r == 1 && !strcmp(how, "warm"))
			tlb_model_count();
		access_pages(pages, end, size, how);
	}
	tlb_model_stop();
	munmap(pages, count * size);
}

int main(int argc, char **argv)
{
	char size[3];
	FILE *port;
	long count;

	if (argc < 4)
		errx(2, "usage: chase PORT ROUNDS SIZE:COUNT[:store|:cross|:warm]...");
	port = open_port(argv[1]);
	for (int i = 3; i < argc; i++) {
		char how[6] = "";

		if (sscanf(argv[i], "%2[^:]:%ld:%5s", size, &count, how) < 2)
			errx(2, "not SIZE:COUNT: %s", argv[i]);
		chase(port, atol(argv[2]), size, count, how);
	}
	return 0;
}
