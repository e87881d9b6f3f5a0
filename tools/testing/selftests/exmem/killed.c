// SPDX-License-Identifier: GPL-2.0-only
/*
 * A process is killed in the middle of a long call. The call is undone or completed:
 * no page is lost, and none stays charged.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define ROUNDS		20
#define USER		65534

/* How far the victim has got, in shared memory. */
struct progress {
	bool mapped, done;
};

FIXTURE(killed)
{
	long usable;
	struct progress *progress;
};

FIXTURE_SETUP(killed)
{
	const char *missing = exmem_front_missing(EXMEM_FRONT_MMAP, 8192);

	if (missing)
		SKIP(return, "%s", missing);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	self->progress = mmap(NULL, sizeof(*self->progress), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->progress, MAP_FAILED);
}

FIXTURE_TEARDOWN(killed)
{
}

/* A request for this many pages is slow if no two of them are contiguous. */
#define SINGLES		4096

static bool leave_single_pages(long usable)
{
	int i, fd = open(EXMEM_DEV, O_RDWR | O_CLOEXEC);

	if (exmem_map(fd, usable, 0) == MAP_FAILED)
		return false;
	for (i = 0; i < SINGLES; i++)
		if (exmem_punch_hole(fd, 2 * i, 1))
			return false;
	return true;
}

/*
 * Open the device as the user, who is going to pay. The limit is exact: if any page of an
 * earlier victim is still charged, mmap() fails.
 */
static int open_as_user(long pages)
{
	struct rlimit limit = { pages * PAGE, pages * PAGE };
	int fd;

	if (chmod(EXMEM_DEV, 0666) || setrlimit(RLIMIT_MEMLOCK, &limit) ||
	    setresuid(USER, USER, 0))
		return -1;
	fd = open(EXMEM_DEV, O_RDWR);
	if (setresuid(0, 0, 0) || chmod(EXMEM_DEV, 0600))
		return -1;
	return fd;
}

/*
 * Map @pages of @fd, or with MAP_EXCLUSIVE if @fd is -1. Then free all but two. This limit is
 * exact, too.
 */
static void be_victim(struct progress *progress, int fd, long pages)
{
	struct rlimit limit = { pages * PAGE, pages * PAGE };
	char *p;

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(USER, USER, USER) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(1);
	p = fd < 0 ? exmem_front_map(EXMEM_FRONT_MMAP, -1, NULL, pages * PAGE, PROT_READ) :
		     exmem_map(fd, pages, 0);
	if (p == MAP_FAILED)
		_exit(2);
	progress->mapped = true;
	if (fd < 0 ? munmap(p + PAGE, (pages - 2) * PAGE) :
		     exmem_punch_hole(fd, 1, pages - 2))
		_exit(3);
	progress->done = true;
	pause();
}

static pid_t start_victim(struct progress *progress, int fd, long pages)
{
	pid_t pid;

	*progress = (struct progress) {};
	pid = fork();
	if (!pid)
		be_victim(progress, fd, pages);
	return pid;
}

/* Wait until the number of free pages is no longer @from, and a little longer. */
static void wait_for_change(long from)
{
	int i;

	for (i = 0; i < 100000 && exmem_free() == from; i++)
		;
	usleep(rand() % 1000);
}

/* Returns false if the victim had already exited. */
static bool kill_victim(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGKILL;
}

TEST_F_TIMEOUT(killed, mmap_device, 300)
{
	int i, fd, undone = 0;
	long pages;
	pid_t pid;

	ASSERT_TRUE(leave_single_pages(self->usable));
	for (i = 0; i < ROUNDS; i++) {
		fd = open_as_user(SINGLES);
		ASSERT_GE(fd, 0);
		pid = start_victim(self->progress, fd, SINGLES);
		wait_for_change(SINGLES);
		ASSERT_TRUE(kill_victim(pid));
		pages = object_info(fd, "pages");
		/* None, all, or those around the hole. */
		EXPECT_TRUE(pages == 0 || pages == SINGLES || pages == 2);
		EXPECT_EQ(exmem_free(), SINGLES - pages);
		undone += !pages;
		close(fd);
		ASSERT_EQ(exmem_free(), SINGLES);
	}
	EXPECT_GT(undone, 0);
}

TEST_F_TIMEOUT(killed, mmap_exclusive, 300)
{
	int i, undone = 0;
	pid_t pid;

	ASSERT_TRUE(leave_single_pages(self->usable));
	for (i = 0; i < ROUNDS; i++) {
		pid = start_victim(self->progress, -1, SINGLES);
		wait_for_change(SINGLES);
		ASSERT_TRUE(kill_victim(pid));
		undone += !self->progress->mapped;
		ASSERT_EQ(exmem_free(), SINGLES);
	}
	EXPECT_GT(undone, 0);
}

/* Start a victim that maps the whole pool, and kill it while it frees the pages. */
static bool kill_while_freeing(struct progress *progress, int fd, long pages)
{
	pid_t pid = start_victim(progress, fd, pages);
	int i;

	for (i = 0; i < 100000 && !__atomic_load_n(&progress->mapped, __ATOMIC_RELAXED); i++)
		usleep(100);
	wait_for_change(0);
	return kill_victim(pid);
}

TEST_F_TIMEOUT(killed, punch_hole, 300)
{
	int i, fd, halfway = 0;

	for (i = 0; i < ROUNDS; i++) {
		fd = open_as_user(self->usable);
		ASSERT_GE(fd, 0);
		ASSERT_TRUE(kill_while_freeing(self->progress, fd, self->usable));
		halfway += self->progress->mapped && !self->progress->done;
		EXPECT_EQ(object_info(fd, "pages"), 2);
		EXPECT_EQ(used(), 2);
		close(fd);
		ASSERT_EQ(used(), 0);
	}
	EXPECT_GT(halfway, 0);
}

TEST_F_TIMEOUT(killed, munmap_part, 300)
{
	int i, halfway = 0;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(kill_while_freeing(self->progress, -1, self->usable));
		halfway += self->progress->mapped && !self->progress->done;
		ASSERT_EQ(used(), 0);
	}
	EXPECT_GT(halfway, 0);
}

TEST_HARNESS_MAIN
