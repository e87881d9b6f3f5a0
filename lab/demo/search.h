/* SPDX-License-Identifier: GPL-2.0-only */
/* Search the kernel's direct map for a secret. For programs that include exmem.h. */
#ifndef _LAB_DEMO_SEARCH_H
#define _LAB_DEMO_SEARCH_H

#include <fcntl.h>
#include <linux/elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "secret.h"

#define CHUNK		(1024 * 1024UL)

static void die(const char *message)
{
	perror(message);
	exit(1);
}

/*
 * Count the copies of a secret in a piece of memory. The caller keeps the secret
 * masked, so that the search does not find the caller's own copy.
 */
static long count_copies(const unsigned long *mem, size_t words, const unsigned long *masked)
{
	unsigned long first = masked[0] ^ MASK;
	long found = 0;
	size_t i, j;

	for (i = 0; i + SECRET_WORDS <= words; i++) {
		if (mem[i] != first)
			continue;
		for (j = 1; j < SECRET_WORDS; j++)
			if ((mem[i + j] ^ MASK) != masked[j])
				break;
		found += j == SECRET_WORDS;
	}
	return found;
}

/* Search all RAM in the kernel's direct map, through /proc/kcore. */
static long search_kcore(const unsigned long *masked, unsigned long *searched)
{
	int kcore = open("/proc/kcore", O_RDONLY);
	int fd = open(EXMEM_DEV, O_RDWR);
	/* Exclusive memory, so that a search does not find what an earlier one has read. */
	unsigned long *buf = exmem_map(fd, CHUNK / PAGE, 0);
	struct elf64_phdr phdr[256];
	struct elf64_hdr ehdr;
	long found = 0;
	int i;

	if (kcore < 0 || buf == MAP_FAILED || read(kcore, &ehdr, sizeof(ehdr)) != sizeof(ehdr) ||
	    ehdr.e_phnum > 256 ||
	    pread(kcore, phdr, ehdr.e_phnum * sizeof(*phdr), ehdr.e_phoff) < 0)
		die("/proc/kcore");

	*searched = 0;
	for (i = 0; i < ehdr.e_phnum; i++) {
		unsigned long off;

		/* Skip segments that are not RAM, and the second mapping of the kernel's text. */
		if (phdr[i].p_type != PT_LOAD || phdr[i].p_paddr == -1UL ||
		    phdr[i].p_vaddr >= 0xffffffff80000000ULL)
			continue;
		for (off = 0; off < phdr[i].p_memsz; off += CHUNK) {
			unsigned long left = phdr[i].p_memsz - off;
			ssize_t n = pread(kcore, buf, left < CHUNK ? left : CHUNK,
					  phdr[i].p_offset + off);

			if (n < 0)
				die("read of /proc/kcore");
			found += count_copies(buf, n / sizeof(*buf), masked);
			*searched += n;
		}
	}
	munmap(buf, CHUNK);
	close(fd);
	close(kcore);
	return found;
}

#endif /* _LAB_DEMO_SEARCH_H */
