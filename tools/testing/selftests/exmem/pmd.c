// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings by PMDs: where they exist, and that they behave as mappings by PTEs do. The contract
 * of those is in mapping.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NEED_DEVICE_FIXTURE
#define NEED_FRONT_FIXTURE
#include "fixtures.h"

/* Reserve addresses that begin @offset bytes after an aligned one. */
static char *reserve(size_t size, size_t offset)
{
	char *p = mmap(NULL, size + 2 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return (char *)(((uintptr_t)p + PMD - 1) / PMD * PMD) + offset;
}

/* A number in each page. */
static void number_pages(char *p, long nr)
{
	for (long i = 0; i < nr; i++)
		*(long *)(p + i * PAGE) = i + 1;
}

/* Do the pages from @first to before @end have their numbers? */
static bool numbered(const char *p, long first, long end)
{
	while (first < end && *(const long *)(p + first * PAGE) == first + 1)
		first++;
	return first == end;
}

static long faults(void)
{
	static bool locked;

	/* Code must not fault. Exclusive memory is not locked: it is VM_PFNMAP. */
	if (!locked)
		locked = !mlockall(MCL_CURRENT);
	return page_faults();
}

TEST_F(front, whole_regions)
{
	char *p = map_front(open_front(4 * REGION_PAGES), 4 * REGION_PAGES);
	long before;

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ((uintptr_t)p % PMD, 0);
	EXPECT_EQ(pmds_mapped(), 4);
	before = faults();
	number_pages(p, 4 * REGION_PAGES);
	EXPECT_EQ(faults(), before);
	EXPECT_TRUE(numbered(p, 0, 4 * REGION_PAGES));
	munmap(p, 4 * REGION_PAGES * PAGE);
	EXPECT_EQ(pmds_mapped(), 0);
}

/* PTEs map the pages after the last whole region, and all pages if the address does not fit. */
TEST_F(front, other_pages)
{
	char *p = map_front(open_front(REGION_PAGES + 7), REGION_PAGES + 7), *q;
	int fd = open_front(REGION_PAGES);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(pmds_mapped(), 1);
	q = exmem_front_map(variant->front, fd, reserve(PMD, PAGE), PMD, PROT_READ | PROT_WRITE);
	ASSERT_NE(q, MAP_FAILED);
	EXPECT_EQ(pmds_mapped(), 1);
	number_pages(p, REGION_PAGES + 7);
	EXPECT_TRUE(all_bytes(q, 0, PMD));
	number_pages(q, REGION_PAGES);
	EXPECT_TRUE(numbered(p, 0, REGION_PAGES + 7));
	EXPECT_TRUE(numbered(q, 0, REGION_PAGES));
}

TEST_F(front, partial_munmap)
{
	char *p = map_front(open_front(3 * REGION_PAGES), 3 * REGION_PAGES);
	long kept = has_fd() ? 3 * REGION_PAGES : 0;

	ASSERT_NE(p, MAP_FAILED);
	number_pages(p, 3 * REGION_PAGES);
	ASSERT_EQ(munmap(p + 700 * PAGE, 10 * PAGE), 0);
	EXPECT_EQ(pmds_mapped(), 2);
	EXPECT_EQ(used(), kept ?: 3 * REGION_PAGES - 10);
	EXPECT_TRUE(numbered(p, 0, 700));
	EXPECT_TRUE(numbered(p, 710, 3 * REGION_PAGES));
	EXPECT_EQ(touch(p + 700 * PAGE, -1), SIGSEGV);
	ASSERT_EQ(munmap(p, 300 * PAGE), 0);
	EXPECT_EQ(pmds_mapped(), 1);
	EXPECT_TRUE(numbered(p, 300, 700));
	ASSERT_EQ(munmap(p + 300 * PAGE, 3 * PMD - 300 * PAGE), 0);
	EXPECT_EQ(used(), kept);
}

TEST_F(front, mprotect)
{
	char *p = map_front(open_front(2 * REGION_PAGES), 2 * REGION_PAGES);

	ASSERT_NE(p, MAP_FAILED);
	number_pages(p, 2 * REGION_PAGES);
	/* All of a PMD */
	ASSERT_EQ(mprotect(p, PMD, PROT_NONE), 0);
	EXPECT_EQ(touch(p, -1), SIGSEGV);
	ASSERT_EQ(mprotect(p, PMD, PROT_READ), 0);
	EXPECT_EQ(touch(p + PMD - 1, 1), SIGSEGV);
	EXPECT_TRUE(numbered(p, 0, 2 * REGION_PAGES));
	ASSERT_EQ(mprotect(p, PMD, PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(pmds_mapped(), 2);
	/* A part of it */
	ASSERT_EQ(mprotect(p + PMD, 5 * PAGE, PROT_READ), 0);
	EXPECT_EQ(touch(p + PMD, 1), SIGSEGV);
	EXPECT_EQ(touch(p + PMD + 5 * PAGE - 1, 1), SIGSEGV);
	EXPECT_EQ(touch(p + PMD + 5 * PAGE, -1), 0);
	EXPECT_EQ(pmds_mapped(), 1);
	ASSERT_EQ(mprotect(p + PMD, 5 * PAGE, PROT_READ | PROT_WRITE), 0);
	number_pages(p, 2 * REGION_PAGES);
	EXPECT_TRUE(numbered(p, 0, 2 * REGION_PAGES));
	EXPECT_EQ(used(), 2 * REGION_PAGES);
}

TEST_F(front, mremap)
{
	char *p = map_front(open_front(2 * REGION_PAGES), 2 * REGION_PAGES);
	char *to = reserve(2 * PMD, 0), *odd = reserve(2 * PMD, 3 * PAGE);
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	ASSERT_NE(p, MAP_FAILED);
	number_pages(p, 2 * REGION_PAGES);
	ASSERT_EQ(mremap(p, 2 * PMD, 2 * PMD, flags, to), to);
	EXPECT_EQ(pmds_mapped(), 2);
	EXPECT_TRUE(numbered(to, 0, 2 * REGION_PAGES));
	ASSERT_EQ(mremap(to, 2 * PMD, 2 * PMD, flags, odd), odd);
	EXPECT_EQ(pmds_mapped(), 0);
	EXPECT_TRUE(numbered(odd, 0, 2 * REGION_PAGES));
	ASSERT_EQ(mremap(odd, 2 * PMD, 2 * PMD, flags, p), p);
	EXPECT_TRUE(numbered(p, 0, 2 * REGION_PAGES));
	ASSERT_EQ(mremap(p, 2 * PMD, 100 * PAGE, 0), p);
	EXPECT_TRUE(numbered(p, 0, 100));
	EXPECT_EQ(used(), has_fd() ? 2 * REGION_PAGES : 100);
}

TEST_F(front, fork)
{
	char *p = map_front(open_front(REGION_PAGES), REGION_PAGES);
	int status;
	pid_t pid;

	ASSERT_NE(p, MAP_FAILED);
	number_pages(p, REGION_PAGES);
	pid = fork();
	if (!pid) {
		if (!has_fd())
			_exit(touch(p, -1) != SIGSEGV);
		_exit(!numbered(p, 0, REGION_PAGES) || touch(p + PAGE, 42) ||
		      munmap(p, PAGE) || touch(p + PAGE, -1));
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(p[PAGE], has_fd() ? 42 : 2);
	EXPECT_TRUE(numbered(p, 2, REGION_PAGES));
	EXPECT_EQ(pmds_mapped(), 1);
}

/* Even if the first offset is not aligned, regions are placed at aligned offsets. */
TEST_F(device, any_offset)
{
	char *p = exmem_map(self->fd, 3 * REGION_PAGES, 5);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ((uintptr_t)p % PMD, 5 * PAGE);
	EXPECT_EQ(pmds_mapped(), 2);
	number_pages(p, 3 * REGION_PAGES);
	EXPECT_TRUE(numbered(p, 0, 3 * REGION_PAGES));
	EXPECT_EQ(used(), 3 * REGION_PAGES);
}

TEST_F(device, punched_hole)
{
	char *p = exmem_map(self->fd, 2 * REGION_PAGES, 0), *q, *odd = reserve(2 * PMD, PAGE);

	ASSERT_NE(p, MAP_FAILED);
	q = exmem_map(self->fd, 2 * REGION_PAGES, 0);
	ASSERT_NE(q, MAP_FAILED);
	ASSERT_EQ(mmap(odd, 2 * PMD, PROT_READ, MAP_SHARED | MAP_FIXED, self->fd, 0), odd);
	EXPECT_EQ(pmds_mapped(), 4);
	number_pages(p, 2 * REGION_PAGES);
	ASSERT_EQ(exmem_punch_hole(self->fd, 10, 1), 0);
	EXPECT_EQ(pmds_mapped(), 2);
	EXPECT_EQ(touch(p + 10 * PAGE, -1), SIGBUS);
	EXPECT_EQ(touch(q + 10 * PAGE, -1), SIGBUS);
	EXPECT_EQ(touch(odd + 10 * PAGE, -1), SIGBUS);
	EXPECT_TRUE(numbered(q, 0, 10));
	EXPECT_TRUE(numbered(q, 11, 2 * REGION_PAGES));
	EXPECT_TRUE(numbered(odd, 11, 2 * REGION_PAGES));
	ASSERT_EQ(fallocate(self->fd, 0, 0, PMD), 0);
	EXPECT_EQ(touch(p + 10 * PAGE, 77), 0);
	EXPECT_EQ(q[10 * PAGE], 77);
	EXPECT_EQ(odd[10 * PAGE], 77);
	EXPECT_EQ(used(), 2 * REGION_PAGES);
}

/* Punch a whole region: a PMD maps its replacement at the first access. */
TEST_F(device, punched_region)
{
	char *p = exmem_map(self->fd, 2 * REGION_PAGES, 0);
	long before;

	ASSERT_NE(p, MAP_FAILED);
	number_pages(p, 2 * REGION_PAGES);
	ASSERT_EQ(fallocate(self->fd, HOLE, PMD, PMD), 0);
	EXPECT_EQ(used(), REGION_PAGES);
	EXPECT_EQ(pmds_mapped(), 1);
	EXPECT_EQ(touch(p + PMD, -1), SIGBUS);
	ASSERT_EQ(fallocate(self->fd, 0, PMD, PMD), 0);
	before = faults();
	EXPECT_TRUE(all_bytes(p + PMD, 0, PMD));
	EXPECT_EQ(faults(), before + 1);
	EXPECT_EQ(pmds_mapped(), 2);
	number_pages(p, 2 * REGION_PAGES);
	EXPECT_TRUE(numbered(p, 0, 2 * REGION_PAGES));
}

/* A page of each region is in use: no region is left to be mapped by a PMD. */
TEST_F(device, fragmented_pool)
{
	char *all = exmem_map(self->fd, self->usable, 0), *p;
	long i;
	int fd;

	ASSERT_NE(all, MAP_FAILED);
	/* Wherever regions begin, every run of 512 pages now has one that is kept. */
	for (i = 0; i + 100 < self->usable; i += 100)
		ASSERT_EQ(exmem_punch_hole(self->fd, i, 99), 0);
	fd = open(EXMEM_DEV, O_RDWR | O_CLOEXEC);
	munmap(all, self->usable * PAGE);
	p = exmem_map(fd, 2 * REGION_PAGES, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(pmds_mapped(), 0);
	EXPECT_TRUE(all_bytes(p, 0, 2 * PMD));
	number_pages(p, 2 * REGION_PAGES);
	EXPECT_TRUE(numbered(p, 0, 2 * REGION_PAGES));
}

/* CPUs cache a page of each region. Whole regions come first all the same. */
TEST_F(device, cached_pages)
{
	char *p = exmem_map(self->fd, self->usable, 0);
	long i;

	ASSERT_NE(p, MAP_FAILED);
	for (i = 5; i < self->usable; i += REGION_PAGES)
		ASSERT_EQ(exmem_punch_hole(self->fd, i, 1), 0);
	munmap(p, self->usable * PAGE);
	close(self->fd);
	self->fd = open(EXMEM_DEV, O_RDWR | O_CLOEXEC);
	p = exmem_map(self->fd, 4 * REGION_PAGES, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(pmds_mapped(), 4);
}

struct toucher {
	char *p;
	bool stop;
	long tried, touched;
};

static void *touch_until_stopped(void *arg)
{
	struct toucher *t = arg;
	long i;

	for (i = 0; !__atomic_load_n(&t->stop, __ATOMIC_RELAXED); i++) {
		t->touched += !touch(t->p + i % REGION_PAGES * PAGE, 1);
		__atomic_store_n(&t->tried, i + 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Faults race with each other, and with PMDs that are split and mapped. */
TEST_F_TIMEOUT(device, races, 120)
{
	char *p = exmem_map(self->fd, REGION_PAGES, 0);
	struct toucher t[2] = { { .p = p }, { .p = p } };
	pthread_t threads[2];
	int i;

	ASSERT_NE(p, MAP_FAILED);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, touch_until_stopped, &t[i]), 0);
	for (i = 0; i < 300; i++) {
		ASSERT_EQ(mprotect(p + i * PAGE, PAGE, PROT_READ), 0);
		ASSERT_EQ(mprotect(p, PMD, PROT_READ | PROT_WRITE), 0);
		ASSERT_EQ(fallocate(self->fd, HOLE, 0, i % 3 ? PAGE : PMD), 0);
		ASSERT_EQ(fallocate(self->fd, 0, 0, PMD), 0);
	}
	for (i = 0; i < 2; i++) {
		__atomic_store_n(&t[i].stop, true, __ATOMIC_RELAXED);
		ASSERT_EQ(pthread_join(threads[i], NULL), 0);
		EXPECT_GT(t[i].touched, 0);
	}
	EXPECT_EQ(used(), REGION_PAGES);
}

struct puncher {
	int fd, go;
	char *new;	/* pages of another object, which may be those that were freed */
};

/* Punch out a region. Then another object may get it. */
static void *punch_and_reuse(void *arg)
{
	struct puncher *p = arg;
	int fd;

	while (!__atomic_load_n(&p->go, __ATOMIC_RELAXED))
		;
	if (exmem_punch_hole(p->fd, 0, REGION_PAGES))
		return NULL;
	fd = open(EXMEM_DEV, O_RDWR | O_CLOEXEC);
	p->new = exmem_map(fd, REGION_PAGES, 0);
	close(fd);
	return NULL;
}

/* The region goes away while fork() copies its PMD. */
TEST_F_TIMEOUT(device, fork_while_punching, 300)
{
	char *p = exmem_map(self->fd, REGION_PAGES, 0);
	struct puncher puncher = { .fd = self->fd };
	int i, status, ready[2];
	pthread_t thread;
	pid_t pid;
	char c;

	ASSERT_NE(p, MAP_FAILED);
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(fallocate(self->fd, 0, 0, PMD), 0);
		ASSERT_EQ(touch(p, 1), 0);
		ASSERT_EQ(pipe(ready), 0);
		puncher.go = 0;
		ASSERT_EQ(pthread_create(&thread, NULL, punch_and_reuse, &puncher), 0);
		__atomic_store_n(&puncher.go, 1, __ATOMIC_RELAXED);
		pid = fork();
		if (!pid) {
			close(ready[1]);
			/* The parent has closed its end: the hole is there. */
			_exit(read(ready[0], &c, 1) || touch(p, -1) != SIGBUS ||
			      touch(p + PMD - 1, -1) != SIGBUS);
		}
		ASSERT_EQ(pthread_join(thread, NULL), 0);
		close(ready[0]);
		close(ready[1]);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
		ASSERT_NE(puncher.new, MAP_FAILED);
		munmap(puncher.new, PMD);
	}
}

/* Set the size of a file in the middle of a region while another thread waits for it. */
TEST_F_TIMEOUT(device, size_set_while_faulting, 120)
{
	struct toucher t = {};
	pthread_t thread;
	int i, fd;

	if (exmem_front_missing(EXMEM_FRONT_SECRETMEM, 2048))
		SKIP(return, "needs vm.exmem_secretmem=1");
	for (i = 0; i < 300; i++) {
		fd = syscall(SYS_memfd_secret, O_CLOEXEC);
		t.p = exmem_map(fd, REGION_PAGES, 0);
		ASSERT_NE(t.p, MAP_FAILED);
		t.stop = false;
		t.tried = 0;
		ASSERT_EQ(pthread_create(&thread, NULL, touch_until_stopped, &t), 0);
		while (!__atomic_load_n(&t.tried, __ATOMIC_RELAXED))
			sched_yield();
		ASSERT_EQ(ftruncate(fd, 100 * PAGE), 0);
		EXPECT_EQ(touch(t.p + 99 * PAGE, -1), 0);
		EXPECT_EQ(touch(t.p + 100 * PAGE, -1), SIGBUS);
		EXPECT_EQ(touch(t.p + (REGION_PAGES - 1) * PAGE, -1), SIGBUS);
		EXPECT_EQ(used(), 100);
		__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
		ASSERT_EQ(pthread_join(thread, NULL), 0);
		munmap(t.p, PMD);
		close(fd);
	}
}

TEST_HARNESS_MAIN
