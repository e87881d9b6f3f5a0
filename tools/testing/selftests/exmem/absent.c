// SPDX-License-Identifier: GPL-2.0-only
/*
 * MAP_EXCLUSIVE on a kernel without exclusive memory: the call fails instead of mapping
 * ordinary memory. Powers the system off if it is the first process.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "../../../../include/uapi/linux/exclusive_memory.h"
#include "../kselftest.h"

static int map(int flags)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return errno;
	munmap(p, 4096);
	return 0;
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	ksft_print_header();
	ksft_set_plan(3);
	ksft_test_result(map(MAP_SHARED_VALIDATE | MAP_EXCLUSIVE) == EINVAL,
			 "MAP_SHARED_VALIDATE fails with EINVAL\n");
	/* The reason why MAP_EXCLUSIVE needs MAP_SHARED_VALIDATE. */
	ksft_test_result(map(MAP_SHARED | MAP_EXCLUSIVE) == 0,
			 "MAP_SHARED maps ordinary memory\n");
	ksft_test_result(map(MAP_PRIVATE | MAP_EXCLUSIVE) == 0,
			 "MAP_PRIVATE maps ordinary memory\n");
	ksft_print_cnts();
	if (getpid() == 1)
		reboot(RB_POWER_OFF);
	return ksft_get_fail_cnt() ? KSFT_FAIL : KSFT_PASS;
}
