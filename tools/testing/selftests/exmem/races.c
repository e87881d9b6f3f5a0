// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads and processes that map, unmap, move, resize and punch holes at the same time: no
 * page may be left to two owners.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#define NEED_DEVICE_FIXTURE
#include "fixtures.h"

#define RACE_PAGES	64
#define RACE_SECONDS	5
#define RACE_MAX_SECONDS	60
#define RACE_RARELY	2

static struct {
	int fd;
	bool stop;
	long mapped, punched, checked, forked, wrong;
	long unmapped, moved, remapped, filled;
} race;

static bool stopped(void)
{
	return __atomic_load_n(&race.stop, __ATOMIC_RELAXED);
}

/* Map the object again and again, and write to it as long as that works. */
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

static void *race_punch(void *unused)
{
	while (!stopped())
		race.punched += !exmem_punch_hole(race.fd, rand() % RACE_PAGES,
						  1 + rand() % RACE_PAGES);
	return NULL;
}

/* Allocate pages that others have freed: nobody may still write to them. */
static void *race_check_zero(void *unused)
{
	while (!stopped()) {
		int fd = open(EXMEM_DEV, O_RDWR);
		char *p = exmem_map(fd, RACE_PAGES, 0);

		if (p != MAP_FAILED) {
			usleep(rand() % 1000);
			race.wrong += !all_bytes(p, 0, RACE_PAGES * PAGE);
			race.checked++;
			munmap(p, RACE_PAGES * PAGE);
		}
		close(fd);
	}
	return NULL;
}

/* Was there a child, and did it end as it should? */
static bool succeeds(pid_t pid)
{
	int status;

	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

/* Children map the object while it changes, and exit. */
static void *race_fork(void *unused)
{
	while (!stopped()) {
		char *p = exmem_map(race.fd, RACE_PAGES, 0);
		pid_t pid = fork();

		if (!pid) {
			touch(p, 0x5a);
			exmem_map(race.fd, RACE_PAGES, 1);
			_exit(0);
		}
		race.forked += succeeds(pid);
		munmap(p, RACE_PAGES * PAGE);
	}
	return NULL;
}

#define MOST_THREADS	8

/* A count, and what it has to exceed. */
struct goal {
	const long *count;
	long least;
};

/* Is each goal reached? One without a count ends them. */
static bool reached(const struct goal *goals)
{
	while (goals->count && __atomic_load_n(goals->count, __ATOMIC_RELAXED) > goals->least)
		goals++;
	return !goals->count;
}

/* Run all of @work for RACE_SECONDS; on a slow machine, until all goals are reached. */
static bool run_race(void *(*work[])(void *), size_t nr, const struct goal *goals)
{
	time_t end = time(NULL) + RACE_MAX_SECONDS;
	pthread_t threads[MOST_THREADS];
	size_t i, started = 0;

	while (started < nr && started < MOST_THREADS &&
	       !pthread_create(&threads[started], NULL, work[started], NULL))
		started++;
	sleep(RACE_SECONDS);
	while (!reached(goals) && time(NULL) < end)
		sleep(1);
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	return started == nr;
}

/* A mapping that is being made must lose the pages of a hole that is being punched. */
TEST_F_TIMEOUT(device, map_and_punch_holes, 120)
{
	void *(*work[])(void *) = {
		race_map, race_map, race_punch, race_punch, race_check_zero, race_fork
	};
	static const struct goal goals[] = {
		{ &race.mapped, 10 }, { &race.punched, 10 }, { &race.checked, 10 },
		{ &race.forked, RACE_RARELY }, {}
	};

	race.fd = self->fd;
	ASSERT_TRUE(run_race(work, ARRAY_SIZE(work), goals));
	EXPECT_EQ(race.wrong, 0);
	EXPECT_GT(race.mapped, 10);
	EXPECT_GT(race.punched, 10);
	EXPECT_GT(race.checked, 10);
	EXPECT_GT(race.forked, RACE_RARELY);
	EXPECT_EQ(exmem_punch_hole(self->fd, 0, RACE_PAGES + 1), 0);
	EXPECT_EQ(used(), 0);
}

/* An address range that mmap() does not pick by itself. */
#define ARENA_PAGES	64
#define ARENA		0x200000000000UL

/* A random part of the arena. */
static char *any_part(size_t *size)
{
	int at = rand() % ARENA_PAGES;

	*size = (1 + rand() % (ARENA_PAGES - at)) * PAGE;
	return (char *)ARENA + at * PAGE;
}

static void *race_exclusive(void *unused)
{
	size_t size, i;
	char *p;

	while (!stopped()) {
		p = any_part(&size);
		if (exmem_front_map(EXMEM_FRONT_MMAP, -1, p, size, PROT_READ | PROT_WRITE) != p)
			continue;
		race.mapped++;
		for (i = 0; i < size; i += PAGE)
			touch(p + i, 0x5a);
	}
	return NULL;
}

static void *race_unmap(void *unused)
{
	size_t size;
	char *p;

	while (!stopped()) {
		p = any_part(&size);
		race.unmapped += !munmap(p, size);
	}
	return NULL;
}

static void *race_move(void *unused)
{
	size_t size, room;
	char *p, *to;

	while (!stopped()) {
		p = any_part(&size);
		do {
			to = any_part(&room);
		} while (room < PAGE * 2);
		if (size > room)
			size = room;
		race.moved += mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
	}
	return NULL;
}

static void *race_remap(void *unused)
{
	size_t size;
	char *p;

	while (!stopped()) {
		p = any_part(&size);
		race.remapped += !remap_file_pages(p, size, 0, rand() % 3, 0);
	}
	return NULL;
}

TEST_F_TIMEOUT(device, map_exclusive, 120)
{
	void *(*work[])(void *) = {
		race_exclusive, race_exclusive, race_unmap, race_move, race_move, race_remap,
		race_check_zero
	};
	static const struct goal goals[] = {
		{ &race.mapped, 10 }, { &race.unmapped, 10 }, { &race.moved, 10 },
		{ &race.remapped, RACE_RARELY }, { &race.checked, 10 }, {}
	};

	ASSERT_TRUE(run_race(work, ARRAY_SIZE(work), goals));
	EXPECT_EQ(race.wrong, 0);
	EXPECT_GT(race.mapped, 10);
	EXPECT_GT(race.unmapped, 10);
	EXPECT_GT(race.moved, 10);
	EXPECT_GT(race.remapped, RACE_RARELY);
	EXPECT_GT(race.checked, 10);
	munmap((void *)ARENA, ARENA_PAGES * PAGE);
	EXPECT_EQ(used(), 0);
}

#define RACE_REGIONS	2

/* Map all regions of the object, by PMDs where it has whole ones, and write to some pages. */
static void *race_map_regions(void *unused)
{
	int i;

	while (!stopped()) {
		char *p = exmem_map(race.fd, RACE_REGIONS * REGION_PAGES, 0);

		if (p == MAP_FAILED)
			continue;
		race.mapped++;
		for (i = 0; i < 200; i++)
			touch(p + rand() % (RACE_REGIONS * REGION_PAGES) * PAGE, 0x5a);
		mprotect(p + rand() % (RACE_REGIONS * REGION_PAGES) * PAGE, PAGE, PROT_READ);
		munmap(p, RACE_REGIONS * PMD);
	}
	return NULL;
}

/* Punch a hole of a page or of a region, and fill it. */
static void *race_replace(void *unused)
{
	while (!stopped()) {
		long pages = rand() % 2 ? REGION_PAGES : 1;
		off_t at = rand() % (RACE_REGIONS * REGION_PAGES / pages) * pages * PAGE;

		race.punched += !fallocate(race.fd, HOLE, at, pages * PAGE);
		race.filled += !fallocate(race.fd, 0, at, pages * PAGE);
	}
	return NULL;
}

/* Move a mapping between addresses that PMDs can map, and others. */
static void *race_move_regions(void *unused)
{
	char *p = (char *)ARENA, *to;

	while (!stopped()) {
		to = p + (1 + rand() % 2) * 2 * RACE_REGIONS * PMD + rand() % 2 * PAGE;
		if (mmap(p, RACE_REGIONS * PMD, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 race.fd, 0) != p)
			continue;
		touch(p + rand() % RACE_REGIONS * PMD, 0x5a);
		race.moved += mremap(p, RACE_REGIONS * PMD, RACE_REGIONS * PMD,
				     MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
		munmap(to + rand() % RACE_REGIONS * PMD, rand() % 2 ? PMD : PAGE);
		touch(to + rand() % RACE_REGIONS * PMD, 0x5a);
		munmap(to, RACE_REGIONS * PMD);
	}
	return NULL;
}

/* Children inherit PMDs while they change, and write to the pages. */
static void *race_fork_regions(void *unused)
{
	while (!stopped()) {
		char *p = exmem_map(race.fd, RACE_REGIONS * REGION_PAGES, 0);
		pid_t pid = p == MAP_FAILED ? -1 : fork();
		int i;

		if (!pid) {
			for (i = 0; i < RACE_REGIONS * REGION_PAGES; i += 37)
				touch(p + i * PAGE, 0x5a);
			_exit(0);
		}
		if (p == MAP_FAILED)
			continue;
		race.forked += succeeds(pid);
		munmap(p, RACE_REGIONS * PMD);
	}
	return NULL;
}

/* A region that others have freed is zero. Then it has only the data of its new owner. */
static void *race_own_region(void *unused)
{
	while (!stopped()) {
		int fd = open(EXMEM_DEV, O_RDWR);
		char *p = exmem_map(fd, REGION_PAGES, 0);

		if (p != MAP_FAILED) {
			race.wrong += !all_bytes(p, 0, PMD);
			memset(p, 0xa5, PMD);
			usleep(rand() % 1000);
			race.wrong += !all_bytes(p, 0xa5, PMD);
			race.checked++;
			munmap(p, PMD);
		}
		close(fd);
	}
	return NULL;
}

/* As map_and_punch_holes, with regions: fork(), mremap() and faults copy, split and map PMDs. */
TEST_F_TIMEOUT(device, regions, 120)
{
	void *(*work[])(void *) = {
		race_map_regions, race_replace, race_replace, race_move_regions,
		race_fork_regions, race_own_region, race_own_region
	};
	static const struct goal goals[] = {
		{ &race.mapped, RACE_RARELY }, { &race.punched, RACE_RARELY },
		{ &race.filled, RACE_RARELY }, { &race.moved, RACE_RARELY },
		{ &race.forked, RACE_RARELY }, { &race.checked, RACE_RARELY }, {}
	};
	char *p = exmem_map(self->fd, RACE_REGIONS * REGION_PAGES, 0);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(pmds_mapped(), RACE_REGIONS);
	munmap(p, RACE_REGIONS * PMD);
	race.fd = self->fd;
	ASSERT_TRUE(run_race(work, ARRAY_SIZE(work), goals));
	EXPECT_EQ(race.wrong, 0);
	EXPECT_GT(race.mapped, RACE_RARELY);
	EXPECT_GT(race.punched, RACE_RARELY);
	EXPECT_GT(race.filled, RACE_RARELY);
	EXPECT_GT(race.moved, RACE_RARELY);
	EXPECT_GT(race.forked, RACE_RARELY);
	EXPECT_GT(race.checked, RACE_RARELY);
	EXPECT_EQ(exmem_punch_hole(self->fd, 0, RACE_REGIONS * REGION_PAGES), 0);
	EXPECT_EQ(used(), 0);
}

/* One process sets the size of files that others are mapping. */
struct sizes {
	pthread_barrier_t begin, end;	/* of a round */
	int fd;				/* in the first process */
	bool stop;
	long early, late;		/* mappings before and after the size was set */
};

#define MAPPERS	3

static struct sizes *new_sizes(void)
{
	struct sizes *sizes = mmap(NULL, sizeof(*sizes), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t attr;

	if (sizes == MAP_FAILED)
		return NULL;
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&sizes->begin, &attr, MAPPERS + 1);
	pthread_barrier_init(&sizes->end, &attr, MAPPERS + 1);
	return sizes;
}

/* Map @fd and touch all of it. Returns whether it has a size. */
static bool map_and_touch(int fd)
{
	char *p = exmem_map(fd, RACE_PAGES, 0);
	bool has_size;
	int i;

	if (p == MAP_FAILED)
		return false;
	has_size = !touch(p, 0x5a);
	for (i = 1; has_size && i < RACE_PAGES; i++)
		touch(p + i * PAGE, 0x5a);
	munmap(p, RACE_PAGES * PAGE);
	return has_size;
}

/* In a process of its own: threads would wait for each other in mmap(). */
static void map_until_it_has_a_size(struct sizes *sizes)
{
	int fd, first = syscall(SYS_pidfd_open, getppid(), 0);

	for (;;) {
		pthread_barrier_wait(&sizes->begin);
		if (sizes->stop)
			_exit(0);
		fd = syscall(SYS_pidfd_getfd, first, sizes->fd, 0);
		if (fd < 0)
			_exit(1);
		while (!map_and_touch(fd))
			__atomic_add_fetch(&sizes->early, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&sizes->late, 1, __ATOMIC_RELAXED);
		close(fd);
		pthread_barrier_wait(&sizes->end);
	}
}

/* The number of things that are wrong with a file of @size pages after a round. */
static int wrong_size(int fd, char *p, int size)
{
	int i, wrong = object_info(fd, "pages") != size;

	for (i = 0; i < RACE_PAGES; i++)
		wrong += touch(p + i * PAGE, -1) != (i < size ? 0 : SIGBUS);
	return wrong;
}

/* Set the size of a file while others map it and touch it. */
static bool size_round(struct sizes *sizes)
{
	int size = 1 + rand() % RACE_PAGES, wrong;
	char *p;

	sizes->fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	p = exmem_map(sizes->fd, RACE_PAGES, 0);
	if (p == MAP_FAILED)
		return false;
	pthread_barrier_wait(&sizes->begin);
	usleep(rand() % 5000);
	wrong = ftruncate(sizes->fd, size * PAGE);
	pthread_barrier_wait(&sizes->end);
	wrong += wrong_size(sizes->fd, p, size);
	munmap(p, RACE_PAGES * PAGE);
	close(sizes->fd);
	return !wrong;
}

TEST_F_TIMEOUT(device, memfd_secret, 120)
{
	time_t begin = time(NULL);
	struct sizes *sizes = new_sizes();
	int i, status, rounds, good = 0;

	ASSERT_NE(sizes, NULL);
	for (i = 0; i < MAPPERS; i++)
		if (!fork())
			map_until_it_has_a_size(sizes);
	for (rounds = 0; time(NULL) < begin + RACE_SECONDS ||
	     (rounds <= 10 && time(NULL) < begin + RACE_MAX_SECONDS); rounds++)
		good += size_round(sizes);
	sizes->stop = true;
	pthread_barrier_wait(&sizes->begin);
	for (i = 0; i < MAPPERS; i++) {
		wait(&status);
		EXPECT_EQ(status, 0);
	}
	EXPECT_EQ(good, rounds);
	EXPECT_GT(rounds, 10);
	EXPECT_GT(sizes->early, 10);
	EXPECT_EQ(sizes->late, rounds * MAPPERS);
	EXPECT_EQ(used(), 0);
}

TEST_HARNESS_MAIN
