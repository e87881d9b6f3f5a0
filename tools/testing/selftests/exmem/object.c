// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory objects: what happens to mappings when a range is dropped, what fdinfo
 * shows, and races. Needs root and a pool: exmem=64M.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "exmem.h"
#include "../kselftest_harness.h"

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
	EXPECT_EQ(exmem_drop(self->fd, 10, 20), 0);
	EXPECT_EQ(used(), 80);
	for (i = 0; i < 100; i++) {
		EXPECT_EQ(touch(p + i * PAGE, -1), i >= 10 && i < 30 ? SIGBUS : 0);
		EXPECT_EQ(touch(p + i * PAGE, 0x5a), i >= 10 && i < 30 ? SIGBUS : 0);
	}
	EXPECT_TRUE(all_bytes(p, 0x5a, 10 * PAGE));
	EXPECT_TRUE(all_bytes(p + 30 * PAGE, 0x5a, 70 * PAGE));

	/* There is nothing left to drop. */
	EXPECT_EQ(exmem_drop(self->fd, 10, 20), 0);
	EXPECT_EQ(exmem_drop(self->fd, 100, 1UL << 40), 0);
	EXPECT_EQ(used(), 80);
	EXPECT_EQ(exmem_drop(self->fd, 0, 1UL << 51), 0);
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
		ASSERT_EQ(exmem_drop(self->fd, steps[j].at, steps[j].nr), 0);
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
	ASSERT_EQ(exmem_drop(self->fd, 3, 4), 0);
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
	EXPECT_EQ(exmem_drop(self->fd, 1, 1), 0);
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
	EXPECT_EQ(exmem_drop(ro, 0, 1), -1);
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
		    exmem_drop(self->fd, 5, 7) || exmem_map(self->fd, 8, 50) != MAP_FAILED ||
		    exmem_map(self->fd, 7, 50) == MAP_FAILED ||
		    exmem_map(self->fd, 1, 60) != MAP_FAILED || exmem_drop(self->fd, 0, 100) ||
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
	ASSERT_EQ(exmem_drop(self->fd, 102, 1), 0);
	EXPECT_EQ(info(self->fd, "size"), 102 * (long)PAGE);
	EXPECT_EQ(info(self->fd, "pages"), 4);
}

/* Offsets go as far as mmap() can say: 2^52 pages, but for the last. */
TEST_F(object, far_offsets)
{
	uint64_t top = (1UL << 52) - 5;
	char *p = exmem_map(self->fd, 4, top);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 1, 4 * PAGE);
	EXPECT_EQ(info(self->fd, "pages"), 4);
	EXPECT_EQ(exmem_drop(self->fd, top + 1, 1), 0);
	EXPECT_EQ(touch(p + PAGE, -1), SIGBUS);
	EXPECT_EQ(touch(p + 2 * PAGE, -1), 0);
	EXPECT_EQ(used(), 3);
	EXPECT_EQ(exmem_map(self->fd, 4, top + 2), MAP_FAILED);
	EXPECT_EQ(errno, EOVERFLOW);
	EXPECT_EQ(exmem_map(self->fd, 1, top + 4), MAP_FAILED);
	EXPECT_EQ(errno, EOVERFLOW);
	EXPECT_EQ(used(), 3);
	EXPECT_EQ(exmem_drop(self->fd, top, 5), 0);
	EXPECT_EQ(used(), 0);
}

TEST_F(object, bad_mappings)
{
	EXPECT_EQ(exmem_map(self->fd, 0, 0), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap((void *)1, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, self->fd, 0),
		  MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 1), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, self->fd, 0),
		  MAP_FAILED);
	EXPECT_EQ(errno, EOPNOTSUPP);
	EXPECT_EQ(exmem_map(self->fd, 1UL << 40, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(used(), 0);
	/* A length is rounded up, as everywhere. */
	EXPECT_NE(mmap(NULL, PAGE + 1, PROT_READ, MAP_SHARED, self->fd, 0), MAP_FAILED);
	EXPECT_EQ(used(), 2);
}

/* The object lives for as long as any descriptor or mapping does. */
TEST_F(object, last_reference)
{
	int other = dup(self->fd), go[2], status;
	char *p = exmem_map(self->fd, 1, 0), c;
	pid_t pid;

	ASSERT_NE(p, MAP_FAILED);
	*p = 42;
	close(self->fd);
	munmap(p, PAGE);
	p = exmem_map(other, 1, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(*p, 42);

	ASSERT_EQ(pipe(go), 0);
	pid = fork();
	if (!pid) {
		close(go[1]);
		close(other);
		_exit(read(go[0], &c, 1) < 0 || *p != 42);
	}
	close(other);
	munmap(p, PAGE);
	/* Only the child's mapping is left. */
	EXPECT_EQ(used(), 1);
	close(go[1]);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(used(), 0);
}

/* In a child that maps @fd, and then is another program. */
static pid_t exec_with(int fd)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (exmem_map(fd, 10, 0) != MAP_FAILED)
		execl("/bin/sleep", "sleep", "1000", NULL);
	_exit(1);
}

static bool used_becomes(long total, long pages)
{
	int i;

	for (i = 0; i < 3000 && total - exmem_free() != pages; i++)
		usleep(10000);
	return total - exmem_free() == pages;
}

TEST_F(object, exec)
{
	int status, fd = open(EXMEM_DEV, O_RDWR);
	pid_t keeps, loses;

	/* The pages stay with a descriptor that exec leaves open, and only with that. */
	keeps = exec_with(fd);
	close(fd);
	EXPECT_TRUE(used_becomes(self->total, 10));
	loses = exec_with(self->fd);
	close(self->fd);
	usleep(100000);
	EXPECT_TRUE(used_becomes(self->total, 10));
	EXPECT_EQ(kill(loses, 0), 0);
	kill(keeps, SIGKILL);
	ASSERT_EQ(waitpid(keeps, &status, 0), keeps);
	EXPECT_EQ(used(), 0);
	kill(loses, SIGKILL);
	ASSERT_EQ(waitpid(loses, &status, 0), loses);
}

#define RACE_PAGES	64
#define RACE_SECONDS	5

static struct {
	int fd;
	bool stop;
	long mapped, dropped, looked, forked, wrong;
	long unmapped, moved, remapped;
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
		race.dropped += !exmem_drop(race.fd, rand() % RACE_PAGES, 1 + rand() % RACE_PAGES);
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

/* Children that have the object mapped while it changes, and go. */
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
		waitpid(pid, NULL, 0);
		munmap(p, RACE_PAGES * PAGE);
		race.forked++;
	}
	return NULL;
}

#define MOST_THREADS	8

/* All of @work at the same time, for a while. */
static bool run_race(void *(*work[])(void *), size_t nr)
{
	pthread_t threads[MOST_THREADS];
	size_t i, started = 0;

	while (started < nr && started < MOST_THREADS &&
	       !pthread_create(&threads[started], NULL, work[started], NULL))
		started++;
	sleep(RACE_SECONDS);
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	return started == nr;
}

/* A mapping that is being made when its pages are dropped must lose them. */
TEST_F(object, races)
{
	void *(*work[])(void *) = {
		race_map, race_map, race_drop, race_drop, race_look, race_fork
	};

	race.fd = self->fd;
	ASSERT_TRUE(run_race(work, ARRAY_SIZE(work)));
	EXPECT_EQ(race.wrong, 0);
	EXPECT_GT(race.mapped, 10);
	EXPECT_GT(race.dropped, 10);
	EXPECT_GT(race.looked, 10);
	EXPECT_GT(race.forked, 2);
	EXPECT_EQ(exmem_drop(self->fd, 0, RACE_PAGES + 1), 0);
	EXPECT_EQ(used(), 0);
}

/* Where mmap() puts nothing by itself. */
#define ARENA_PAGES	64
#define ARENA		0x200000000000UL

/* A part of the arena. */
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

/* Whoever maps, unmaps and moves parts at the same time: no page is left to two. */
TEST_F(object, races_of_map_exclusive)
{
	void *(*work[])(void *) = {
		race_exclusive, race_exclusive, race_unmap, race_move, race_move, race_remap,
		race_look
	};

	ASSERT_TRUE(run_race(work, ARRAY_SIZE(work)));
	EXPECT_EQ(race.wrong, 0);
	EXPECT_GT(race.mapped, 10);
	EXPECT_GT(race.unmapped, 10);
	EXPECT_GT(race.moved, 10);
	EXPECT_GT(race.remapped, 2);
	EXPECT_GT(race.looked, 10);
	munmap((void *)ARENA, ARENA_PAGES * PAGE);
	EXPECT_EQ(used(), 0);
}

/* One process that gives files a size, and others that map them meanwhile. */
struct sizes {
	pthread_barrier_t begin, end;	/* of a round */
	int fd;				/* in the first process */
	bool stop;
	long early, late;		/* mappings, by whether there was a size */
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

/* Map @fd and touch all of it. Does it have a size? */
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

/* In a process of its own: mmap()s of one would wait for each other. */
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

/* What is wrong with a file of so many pages after the others had to do with it. */
static int wrong_size(int fd, char *p, int size)
{
	int i, wrong = info(fd, "pages") != size;

	for (i = 0; i < RACE_PAGES; i++)
		wrong += touch(p + i * PAGE, -1) != (i < size ? 0 : SIGBUS);
	return wrong;
}

/* A file gets a size while others map it and touch it. */
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

TEST_F(object, races_of_memfd_secret)
{
	time_t end = time(NULL) + RACE_SECONDS;
	struct sizes *sizes = new_sizes();
	int i, status, rounds, good = 0;

	ASSERT_NE(sizes, NULL);
	for (i = 0; i < MAPPERS; i++)
		if (!fork())
			map_until_it_has_a_size(sizes);
	for (rounds = 0; time(NULL) < end; rounds++)
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
