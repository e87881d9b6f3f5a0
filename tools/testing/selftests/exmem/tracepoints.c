// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints: pages allocated and freed, and requests that failed.
 */
#define _GNU_SOURCE
#include <errno.h>

#include "exmem.h"
#include "../kselftest_harness.h"

TEST(tracepoints)
{
	const char *missing = exmem_missing(2048);
	char text[64], *p;
	int fd;

	if (missing)
		SKIP(return, "%s", missing);
	if (!exmem_can_trace())
		SKIP(return, "needs tracefs");
	snprintf(text, sizeof(text), "count=%ld caller=device", exmem_total() + 1);
	ASSERT_TRUE(exmem_trace_on());
	fd = open(EXMEM_DEV, O_RDWR);
	p = exmem_map(fd, 5, 0);
	EXPECT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_map(fd, exmem_total() + 1, 5), MAP_FAILED);
	munmap(p, 5 * PAGE);
	close(fd);
	ASSERT_TRUE(exmem_trace_off());

	EXPECT_EQ(traced(" " EVENT_ALLOC ": pfn=0x", "count=5 caller=device"), 1);
	EXPECT_EQ(traced(" " EVENT_FREE ": pfn=0x", "count=5 caller=device"), 1);
	EXPECT_EQ(traced(" " EVENT_ALLOC_FAIL ": node=", text), 1);
	EXPECT_EQ(traced(" exmem_", "node="), 3);
}

TEST_HARNESS_MAIN
