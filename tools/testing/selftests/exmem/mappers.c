// SPDX-License-Identifier: GPL-2.0-only
/*
 * An object keeps nothing of processes that have mapped it and are gone. Needs
 * root, /proc/slabinfo, a pool, and a kernel without KASAN: its quarantine keeps
 * what is freed.
 */
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define CHILDREN	500

static long mm_structs(void)
{
	return named_value("/proc/slabinfo", "mm_struct");
}

TEST(mappers_are_forgotten)
{
	int fd = open(EXMEM_DEV, O_RDWR);
	long before;
	int i, status;
	pid_t pid;

	ASSERT_NE(exmem_map(fd, 1, 0), MAP_FAILED);
	before = mm_structs();
	ASSERT_GT(before, 0);
	for (i = 0; i < CHILDREN; i++) {
		pid = fork();
		if (!pid)
			_exit(exmem_map(fd, 1, 0) == MAP_FAILED);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		ASSERT_EQ(status, 0);
	}
	EXPECT_LT(mm_structs(), before + CHILDREN / 2);
}

TEST_HARNESS_MAIN
