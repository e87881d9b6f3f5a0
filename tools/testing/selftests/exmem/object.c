// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory objects: what happens to mappings when a range is dropped, and what
 * fdinfo shows. Needs root and a pool: exmem=64M.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../../../../include/uapi/linux/exclusive_memory.h"
#include "exmem.h"
#include "../kselftest_harness.h"

static __thread sigjmp_buf on_fault;

static void fault(int sig)
{
	siglongjmp(on_fault, sig);
}

/* The signal that reading, or writing @value to, @p raises, or 0. */
static int touch(char *p, int value)
{
	int sig = sigsetjmp(on_fault, 1);

	if (sig)
		return sig;
	if (value < 0)
		__atomic_load_n(p, __ATOMIC_RELAXED);
	else
		__atomic_store_n(p, value, __ATOMIC_RELAXED);
	return 0;
}

static int drop(int fd, uint64_t page, uint64_t pages)
{
	struct exclusive_memory_range range = { page * PAGE, pages * PAGE };

	return ioctl(fd, EXCLUSIVE_MEMORY_DROP, &range);
}

static long info(int fd, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return named_value(path, name);
}

FIXTURE(object)
{
	int fd;
	long total;
};

FIXTURE_SETUP(object)
{
	signal(SIGBUS, fault);
	signal(SIGSEGV, fault);
	self->total = exmem_total();
	ASSERT_GE(self->total, 2048);
	ASSERT_EQ(exmem_free(), self->total);
	self->fd = open(EXMEM_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(object)
{
}

#define used()	(self->total - exmem_free())

TEST_F(object, drop_gives_back)
{
	char *p = exmem_map(self->fd, 100, 0);
	int i;

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 100 * PAGE);
	EXPECT_EQ(drop(self->fd, 10, 20), 0);
	EXPECT_EQ(used(), 80);
	for (i = 0; i < 100; i++) {
		EXPECT_EQ(touch(p + i * PAGE, -1), i >= 10 && i < 30 ? SIGBUS : 0);
		EXPECT_EQ(touch(p + i * PAGE, 0x5a), i >= 10 && i < 30 ? SIGBUS : 0);
	}
	EXPECT_TRUE(all_bytes(p, 0x5a, 10 * PAGE));
	EXPECT_TRUE(all_bytes(p + 30 * PAGE, 0x5a, 70 * PAGE));

	/* There is nothing left to drop. */
	EXPECT_EQ(drop(self->fd, 10, 20), 0);
	EXPECT_EQ(drop(self->fd, 100, 1UL << 40), 0);
	EXPECT_EQ(used(), 80);
	EXPECT_EQ(drop(self->fd, 0, 1UL << 51), 0);
	EXPECT_EQ(used(), 0);
}

/* Beginning, end, all, and across several runs and holes. */
TEST_F(object, drop_any_part)
{
	static const struct { int at, nr, left; } steps[] = {
		{ 0, 10, 110 }, { 45, 10, 105 }, { 90, 20, 85 }, { 105, 5, 85 }, { 149, 1, 84 },
		{ 110, 1, 83 }, { 20, 100, 39 }, { 0, 150, 0 },
	};
	char *p = exmem_map(self->fd, 50, 0);
	char *q = exmem_map(self->fd, 70, 80);
	size_t i, j;

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_NE(q, MAP_FAILED);
	for (i = 0; i < 50; i++)
		p[i * PAGE] = i + 1;
	for (i = 0; i < 70; i++)
		q[i * PAGE] = i + 81;
	for (j = 0; j < ARRAY_SIZE(steps); j++) {
		ASSERT_EQ(drop(self->fd, steps[j].at, steps[j].nr), 0);
		EXPECT_EQ(used(), steps[j].left);
		EXPECT_EQ(info(self->fd, "pages"), steps[j].left);
		for (i = 0; i < 50; i++)
			if (!touch(p + i * PAGE, -1))
				EXPECT_EQ(p[i * PAGE], (char)(i + 1));
		for (i = 0; i < 70; i++)
			if (!touch(q + i * PAGE, -1))
				EXPECT_EQ(q[i * PAGE], (char)(i + 81));
	}
}

TEST_F(object, dropped_range_comes_back_zero)
{
	char *p = exmem_map(self->fd, 10, 0), *q;

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 10 * PAGE);
	ASSERT_EQ(drop(self->fd, 3, 4), 0);
	q = exmem_map(self->fd, 10, 0);
	ASSERT_NE(q, MAP_FAILED);
	EXPECT_TRUE(all_bytes(q, 0x5a, 3 * PAGE));
	EXPECT_TRUE(all_bytes(q + 3 * PAGE, 0, 4 * PAGE));
	EXPECT_TRUE(all_bytes(q + 7 * PAGE, 0x5a, 3 * PAGE));
	/* The old mapping does not see the new pages: it would have to fault. */
	EXPECT_EQ(touch(p + 3 * PAGE, -1), SIGBUS);
	EXPECT_EQ(used(), 10);
}

TEST_F(object, drop_reaches_all_processes)
{
	char *p = exmem_map(self->fd, 4, 0), c = 0;
	int ready[2], go[2], status;
	pid_t pid;

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(pipe(ready), 0);
	ASSERT_EQ(pipe(go), 0);
	pid = fork();
	if (!pid) {
		close(go[1]);
		char *q = exmem_map(self->fd, 2, 1);

		if (q == MAP_FAILED || touch(p + PAGE, -1) || touch(q, -1))
			_exit(1);
		if (write(ready[1], &c, 1) != 1 || read(go[0], &c, 1) < 0)
			_exit(2);
		_exit(touch(p + PAGE, -1) == SIGBUS && touch(q, -1) == SIGBUS &&
		      !touch(q + PAGE, -1) ? 0 : 3);
	}
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	EXPECT_EQ(drop(self->fd, 1, 1), 0);
	close(go[0]);
	close(go[1]);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

TEST_F(object, drop_bad_arguments)
{
	static const struct exclusive_memory_range bad[] = {
		{ 0, 0 }, { 1, PAGE }, { 0, 1 }, { PAGE, PAGE + 1 }, { PAGE / 2, PAGE / 2 },
		{ -PAGE, 2 * PAGE }, { PAGE, -PAGE + 1 }, { -PAGE, -PAGE },
	};
	int ro = open(EXMEM_DEV, O_RDONLY);
	size_t i;

	ASSERT_NE(exmem_map(self->fd, 10, 0), MAP_FAILED);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(ioctl(self->fd, EXCLUSIVE_MEMORY_DROP, &bad[i]), -1);
		EXPECT_EQ(errno, EINVAL);
	}
	EXPECT_EQ(ioctl(self->fd, EXCLUSIVE_MEMORY_DROP, NULL), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(ioctl(self->fd, EXCLUSIVE_MEMORY_DROP + 1, &bad[0]), -1);
	EXPECT_EQ(errno, ENOTTY);
	EXPECT_EQ(drop(ro, 0, 1), -1);
	EXPECT_EQ(errno, EBADF);
	EXPECT_EQ(used(), 10);
}

/* What was charged is given back with the pages, not later, and only once. */
TEST_F(object, drop_uncharges)
{
	struct rlimit limit = { 50 * PAGE, 50 * PAGE };
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		setrlimit(RLIMIT_MEMLOCK, &limit);
		if (setuid(12345) || exmem_map(self->fd, 50, 0) == MAP_FAILED ||
		    exmem_map(self->fd, 1, 50) != MAP_FAILED || errno != EAGAIN ||
		    drop(self->fd, 5, 7) || exmem_map(self->fd, 8, 50) != MAP_FAILED ||
		    exmem_map(self->fd, 7, 50) == MAP_FAILED ||
		    exmem_map(self->fd, 1, 60) != MAP_FAILED || drop(self->fd, 0, 100) ||
		    exmem_map(self->fd, 50, 100) == MAP_FAILED)
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

TEST_F(object, fdinfo)
{
	EXPECT_EQ(info(self->fd, "size"), 0);
	EXPECT_EQ(info(self->fd, "pages"), 0);
	ASSERT_NE(exmem_map(self->fd, 3, 100), MAP_FAILED);
	EXPECT_EQ(info(self->fd, "size"), 103 * (long)PAGE);
	EXPECT_EQ(info(self->fd, "pages"), 3);
	ASSERT_NE(exmem_map(self->fd, 2, 0), MAP_FAILED);
	EXPECT_EQ(info(self->fd, "size"), 103 * (long)PAGE);
	EXPECT_EQ(info(self->fd, "pages"), 5);
	ASSERT_EQ(drop(self->fd, 102, 1), 0);
	EXPECT_EQ(info(self->fd, "size"), 102 * (long)PAGE);
	EXPECT_EQ(info(self->fd, "pages"), 4);
}

/* Offsets go as far as a page offset can. */
TEST_F(object, far_offsets)
{
	uint64_t top = (1UL << 51) - 4;
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, top * PAGE);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 1, 4 * PAGE);
	EXPECT_EQ(info(self->fd, "pages"), 4);
	EXPECT_EQ(drop(self->fd, top + 1, 1), 0);
	EXPECT_EQ(touch(p + PAGE, -1), SIGBUS);
	EXPECT_EQ(touch(p + 2 * PAGE, -1), 0);
	EXPECT_EQ(used(), 3);
}

#define RACE_PAGES	64
#define RACE_SECONDS	5

static struct {
	int fd;
	bool stop;
	long mapped, dropped, looked, wrong;
} race;

static bool stopped(void)
{
	return __atomic_load_n(&race.stop, __ATOMIC_RELAXED);
}

/* Map the object over and over, and write to it for as long as that works. */
static void *race_map(void *unused)
{
	int i;

	while (!stopped()) {
		char *p = exmem_map(race.fd, RACE_PAGES, 0);

		if (p == MAP_FAILED)
			continue;
		race.mapped++;
		for (i = 0; i < 4 * RACE_PAGES; i++)
			touch(p + i % RACE_PAGES * PAGE, 0x5a);
		munmap(p, RACE_PAGES * PAGE);
	}
	return NULL;
}

static void *race_drop(void *unused)
{
	while (!stopped())
		race.dropped += !drop(race.fd, rand() % RACE_PAGES, 1 + rand() % RACE_PAGES);
	return NULL;
}

/* Take what others gave back: nobody may still write to it. */
static void *race_look(void *unused)
{
	while (!stopped()) {
		int fd = open(EXMEM_DEV, O_RDWR);
		char *p = exmem_map(fd, RACE_PAGES, 0);

		if (p != MAP_FAILED) {
			usleep(rand() % 1000);
			race.wrong += !all_bytes(p, 0, RACE_PAGES * PAGE);
			race.looked++;
			munmap(p, RACE_PAGES * PAGE);
		}
		close(fd);
	}
	return NULL;
}

/* A mapping that is being made when its pages are dropped must lose them. */
TEST_F(object, drop_against_mmap)
{
	void *(*work[])(void *) = { race_map, race_map, race_drop, race_drop, race_look };
	pthread_t threads[ARRAY_SIZE(work)];
	size_t i;

	race.fd = self->fd;
	for (i = 0; i < ARRAY_SIZE(work); i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, work[i], NULL), 0);
	sleep(RACE_SECONDS);
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < ARRAY_SIZE(work); i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(race.wrong, 0);
	EXPECT_GT(race.mapped, 10);
	EXPECT_GT(race.dropped, 10);
	EXPECT_GT(race.looked, 10);
	EXPECT_EQ(drop(self->fd, 0, RACE_PAGES), 0);
	EXPECT_EQ(used(), 0);
}

TEST_HARNESS_MAIN
