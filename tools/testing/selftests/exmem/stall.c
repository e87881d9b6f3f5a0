// SPDX-License-Identifier: GPL-2.0-only
/*
 * Free the largest object that fits, in every possible way. No call may keep another task from
 * its CPU for long. Without preemption in the kernel (PREEMPT_NONE), all paths need explicit
 * points to reschedule. A missing one shows best with a pool of several GiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>

#include "exmem.h"
#include "../kselftest_harness.h"

/* Far more than a call takes: a virtual CPU may have to wait for a real one. */
#define MAX_DELAY_MSECS	1000

static bool stop;
static int64_t longest_delay;	/* of the watcher, in ns */

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static bool stay_on_cpu_0(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/* A real-time task: it runs as soon as the task that it interrupts reschedules. */
static void *watch(void *unused)
{
	struct sched_param param = { .sched_priority = 1 };
	struct timespec ms = { .tv_nsec = 1000000 };
	int64_t late, start;

	if (!stay_on_cpu_0() || sched_setscheduler(0, SCHED_FIFO, &param)) {
		longest_delay = INT64_MAX;
		return NULL;
	}
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		start = now();
		nanosleep(&ms, NULL);
		late = now() - start - ms.tv_nsec;
		if (late > longest_delay)
			longest_delay = late;
	}
	return NULL;
}

FIXTURE(stall)
{
	long usable;
	pthread_t watcher;
};

FIXTURE_SETUP(stall)
{
	const char *missing = exmem_missing(2048);

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_TRUE(stay_on_cpu_0());
	ASSERT_EQ(pthread_create(&self->watcher, NULL, watch, NULL), 0);
}

FIXTURE_TEARDOWN(stall)
{
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(self->watcher, NULL);
	TH_LOG("%ld pages, longest delay: %ld us", self->usable, (long)(longest_delay / 1000));
	EXPECT_LT(longest_delay / 1000000, MAX_DELAY_MSECS);
	EXPECT_EQ(used(), 0);
}

/* For comparison: no call, and so no delay but that of the host. */
TEST_F_TIMEOUT(stall, computing, 300)
{
	int64_t end = now() + 1000000000;

	while (now() < end)
		;
}

TEST_F_TIMEOUT(stall, close_device, 300)
{
	int fd = exmem_front_open(EXMEM_FRONT_DEVICE, 0);
	char *p = exmem_map(fd, self->usable, 0);

	ASSERT_NE(p, MAP_FAILED);
	munmap(p, self->usable * PAGE);
	EXPECT_EQ(used(), self->usable);
	close(fd);
}

TEST_F_TIMEOUT(stall, punch_hole, 300)
{
	int fd = exmem_front_open(EXMEM_FRONT_DEVICE, 0);
	char *p = exmem_map(fd, self->usable, 0);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_punch_hole(fd, 1, self->usable - 2), 0);
	EXPECT_EQ(used(), 2);
	munmap(p, self->usable * PAGE);
	close(fd);
}

static char *map_exclusive(long pages)
{
	return exmem_front_map(EXMEM_FRONT_MMAP, -1, NULL, pages * PAGE, PROT_READ | PROT_WRITE);
}

TEST_F_TIMEOUT(stall, munmap_exclusive, 300)
{
	char *p = map_exclusive(self->usable);

	ASSERT_NE(p, MAP_FAILED);
	munmap(p, self->usable * PAGE);
}

TEST_F_TIMEOUT(stall, munmap_part, 300)
{
	char *p = map_exclusive(self->usable);

	ASSERT_NE(p, MAP_FAILED);
	munmap(p + PAGE, (self->usable - 2) * PAGE);
	EXPECT_EQ(used(), 2);
	munmap(p, self->usable * PAGE);
}

TEST_F_TIMEOUT(stall, truncate, 300)
{
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	char *p = exmem_map(fd, self->usable, 0);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(ftruncate(fd, PAGE), 0);
	EXPECT_EQ(used(), 1);
	munmap(p, self->usable * PAGE);
	close(fd);
}

/* The first of two holes gets almost all pages, and loses them again. */
TEST_F_TIMEOUT(stall, fail_late, 300)
{
	int fd = exmem_front_open(EXMEM_FRONT_DEVICE, 0);
	long hole = self->usable - 2;
	char *p = exmem_map(fd, 1, hole);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_map(fd, hole + 3, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(used(), 1);
	munmap(p, PAGE);
	close(fd);
}

TEST_HARNESS_MAIN
