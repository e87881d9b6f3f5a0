/* SPDX-License-Identifier: GPL-2.0-only */
/* Core dumps that go to a file. */
#ifndef _SELFTESTS_EXMEM_CORE_H
#define _SELFTESTS_EXMEM_CORE_H

#include <sys/stat.h>

#include "exmem.h"

#define CORE		"/tmp/exmem-core"
#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"

/* The administrator's core_pattern. */
static char core_pattern_before[128];

/* Send core dumps to CORE. */
static inline bool core_begin(void)
{
	FILE *f = fopen(CORE_PATTERN, "r");
	bool ok = f && fgets(core_pattern_before, sizeof(core_pattern_before), f);

	if (f)
		fclose(f);
	return ok && put(CORE_PATTERN, CORE "\n");
}

static inline bool core_end(void)
{
	return put(CORE_PATTERN, core_pattern_before);
}

/* Crash, with all kinds of mappings in the core dump. */
static inline void crash(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	signal(SIGSEGV, SIG_DFL);
	if (!setrlimit(RLIMIT_CORE, &limit) && put("/proc/self/coredump_filter", "0x1ff"))
		kill(getpid(), SIGSEGV);
	_exit(1);
}

/* Map CORE, or return MAP_FAILED. */
static inline void *core_map(size_t *size)
{
	int fd = open(CORE, O_RDONLY);
	void *core = MAP_FAILED;
	struct stat st;

	if (fd >= 0 && !fstat(fd, &st)) {
		*size = st.st_size;
		core = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	}
	close(fd);
	return core;
}

#endif /* _SELFTESTS_EXMEM_CORE_H */
