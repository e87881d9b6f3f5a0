// SPDX-License-Identifier: GPL-2.0-only
/*
 * An object keeps no reference to a process that mapped it, once that has exited. The number of
 * mm_structs shows this.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define CHILDREN	500
#define TOGETHER	500

static long mm_structs(void)
{
	return named_value("/proc/slabinfo", "mm_struct");
}

/* The reason why mm_structs can't be counted here, or NULL. */
static const char *cannot_count(void)
{
	if (mm_structs() <= 0)
		return "needs mm_struct in /proc/slabinfo";
	if (file_contains("/proc/kallsyms", " kasan_report\n"))
		return "KASAN's quarantine keeps freed mm_structs";
	return exmem_front_missing(EXMEM_FRONT_SECRETMEM, 1);
}

FIXTURE(mappers)
{
};

FIXTURE_SETUP(mappers)
{
}

FIXTURE_TEARDOWN(mappers)
{
}

TEST_F_TIMEOUT(mappers, are_forgotten, 300)
{
	const char *missing = cannot_count();
	int fd = open(EXMEM_DEV, O_RDWR);
	long before;
	int i, status;
	pid_t pid;

	if (missing)
		SKIP(return, "%s", missing);
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

/* No hole can be punched in a memfd_secret() file: it need not know its mappers. */
TEST_F_TIMEOUT(mappers, not_kept_by_memfd_secret, 300)
{
	int i, status, ready[2], fd = syscall(SYS_memfd_secret, 0);
	const char *missing = cannot_count();
	pid_t pids[TOGETHER];
	long before;
	char c;

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(ftruncate(fd, PAGE), 0);
	ASSERT_EQ(pipe(ready), 0);
	before = mm_structs();
	for (i = 0; i < TOGETHER; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			if (exmem_map(fd, 1, 0) == MAP_FAILED || write(ready[1], "!", 1) != 1)
				_exit(1);
			pause();
		}
		ASSERT_EQ(read(ready[0], &c, 1), 1);
	}
	EXPECT_GE(mm_structs(), before + TOGETHER / 2);
	for (i = 0; i < TOGETHER; i++) {
		kill(pids[i], SIGKILL);
		ASSERT_EQ(waitpid(pids[i], &status, 0), pids[i]);
	}
	EXPECT_LT(mm_structs(), before + TOGETHER / 2);
}

TEST_HARNESS_MAIN
