/* SPDX-License-Identifier: GPL-2.0-only */
/* Search the kernel's direct map for a secret. */
#ifndef _LAB_DEMO_SEARCH_H
#define _LAB_DEMO_SEARCH_H

#include <stdio.h>
#include <stdlib.h>

#include "../../tools/testing/selftests/exmem/kcore.h"
#include "secret.h"

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

struct found {
	const unsigned long *masked;
	long copies;
	unsigned long searched;	/* bytes */
};

static void search_piece(const void *mem, size_t size, void *arg)
{
	struct found *found = arg;

	found->copies += count_copies(mem, size / sizeof(unsigned long), found->masked);
	found->searched += size;
}

/* Search all RAM in the kernel's direct map, through /proc/kcore. */
static long search_kcore(const unsigned long *masked, unsigned long *searched)
{
	struct found found = { .masked = masked };

	if (!kcore_search(search_piece, &found))
		die("/proc/kcore");
	*searched = found.searched;
	return found.copies;
}

#endif /* _LAB_DEMO_SEARCH_H */
