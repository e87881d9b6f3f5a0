/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Age memory in seconds: make it look as if it had been in use for a while. See
 * /proc/buddyinfo, /proc/pagetypeinfo, and extfrag/ in debugfs for the result.
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

/* Free memory in MiB: all of it, and the part in blocks of at least 2 MiB */
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
 * memfd_secret allocates unmovable pages, and the kernel groups these apart from
 * the pages of programs. So age unmovable pages: fill half of the memory through
 * pipes, each page in a random pipe, and free a quarter of that in random order.
 * The pages live as long as the process.
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
