/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that has been in use for a while, made in seconds. What it looks like
 * is seen in /proc/buddyinfo, /proc/pagetypeinfo, and extfrag/ in debugfs.
 */
#ifndef _PERF_SCRIPTS_AGE_H
#define _PERF_SCRIPTS_AGE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGE_PAGE		4096
#define AGE_PIPE_PAGES		256

/* Free memory in MiB: all, and what of it lies in blocks of 2 MiB and more. */
static inline void free_blocks(long *all, long *large)
{
	FILE *f = fopen("/proc/buddyinfo", "r");
	char line[512], *s;
	int order;

	*all = 0;
	*large = 0;
	while (f && fgets(line, sizeof(line), f)) {
		s = strstr(line, "zone");
		s += strcspn(s, " ");
		s += strspn(s, " ");
		s += strcspn(s, " ");
		for (order = 0; *s && *s != '\n' && order < 11; order++) {
			long n = strtol(s, &s, 10) << order;

			*all += n;
			if (order >= 9)
				*large += n;
		}
	}
	if (f)
		fclose(f);
	*all /= 256;
	*large /= 256;
}

/*
 * memfd_secret takes its pages where the kernel's own go, and the kernel keeps
 * those apart from what programs use. So what ages here are kernel pages: half
 * of the memory goes into pipes, each page into a random one, and a quarter of
 * that is freed again in random order. It lasts as long as the process.
 */
static inline bool age_memory(unsigned int seed)
{
	static char data[AGE_PAGE];
	long all, large, i, pipes, pages;
	int (*fd)[2];

	free_blocks(&all, &large);
	pipes = all / 2 * 256 / AGE_PIPE_PAGES;
	pages = pipes * AGE_PIPE_PAGES;
	fd = calloc(pipes, sizeof(*fd));

	for (i = 0; i < pipes; i++)
		if (pipe2(fd[i], O_NONBLOCK | O_CLOEXEC) ||
		    fcntl(fd[i][0], F_SETPIPE_SZ, AGE_PIPE_PAGES * AGE_PAGE) < 0)
			return false;
	srand(seed);
	for (i = 0; i < pages - pipes;)
		i += write(fd[rand() % pipes][1], data, AGE_PAGE) == AGE_PAGE;
	for (i = 0; i < pages / 4;)
		i += read(fd[rand() % pipes][0], data, AGE_PAGE) == AGE_PAGE;
	free(fd);
	return true;
}

#endif /* _PERF_SCRIPTS_AGE_H */
