// SPDX-License-Identifier: GPL-2.0-only
/*
 * What exclusive memory charges to whom: the user who takes the pages, for as
 * long as they are taken, whoever gives them back. Needs root and a pool that
 * nobody else uses: exmem=64M.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define USER	4711
#define LIMIT	1000

FIXTURE(accounts)
{
	long total;
};

FIXTURE_VARIANT(accounts)
{
	enum exmem_front front;
};

FIXTURE_VARIANT_ADD(accounts, device) { .front = EXMEM_FRONT_DEVICE };
FIXTURE_VARIANT_ADD(accounts, map_exclusive) { .front = EXMEM_FRONT_MMAP };
FIXTURE_VARIANT_ADD(accounts, memfd_secret) { .front = EXMEM_FRONT_SECRETMEM };

/* With 0 as @saved it is possible to come back. */
static void become(uid_t user, uid_t saved)
{
	struct rlimit limit = { LIMIT * PAGE, LIMIT * PAGE };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(user, user, saved))
		_exit(99);
}

static void become_user(void)
{
	become(USER, USER);
}

static bool can_take(long pages)
{
	void *p = exmem_front_map(EXMEM_FRONT_MMAP, -1, NULL, pages * PAGE, PROT_READ);

	return p != MAP_FAILED && !munmap(p, pages * PAGE);
}

/* What is charged to the user: what is missing of the limit. For a child to call. */
static long ask_charged(void)
{
	long low = 0, high = LIMIT + 1, mid;

	while (high - low > 1) {
		mid = (low + high) / 2;
		if (can_take(mid))
			low = mid;
		else
			high = mid;
	}
	return LIMIT - low;
}

/* What is charged to a user, or -1. Never more than the limit, nor less than nothing. */
static long charged_to(uid_t user)
{
	long value = -1;
	int fds[2];
	pid_t pid;

	if (pipe(fds))
		return -1;
	pid = fork();
	if (!pid) {
		become(user, user);
		/* Less than nothing is charged if more can be had than the limit. */
		value = can_take(LIMIT + 1) ? -2 : ask_charged();
		_exit(write(fds[1], &value, sizeof(value)) < 0);
	}
	close(fds[1]);
	if (read(fds[0], &value, sizeof(value)) != sizeof(value))
		value = -1;
	close(fds[0]);
	waitpid(pid, NULL, 0);
	return value;
}

static long charged(void)
{
	return charged_to(USER);
}

FIXTURE_SETUP(accounts)
{
	self->total = exmem_total();
	ASSERT_GE(self->total, 2 * LIMIT);
	ASSERT_EQ(exmem_free(), self->total);
	ASSERT_EQ(charged(), 0);
	chmod(EXMEM_DEV, 0666);
}

FIXTURE_TEARDOWN(accounts)
{
	chmod(EXMEM_DEV, 0600);
}

/* How a process of the user comes by pages, and goes. */
enum way {
	WAY_UNMAP_CLOSE,
	WAY_CLOSE_UNMAP,
	WAY_EXIT,
	WAY_KILL,
	WAY_EXEC,
	WAY_REPLACED,
	WAY_NEW_USER,
	WAY_FAILED,
	WAYS,
};

static void end_by(enum way way, char *p, long pages, int fd)
{
	switch (way) {
	case WAY_UNMAP_CLOSE:
		munmap(p, pages * PAGE);
		close(fd);
		break;
	case WAY_CLOSE_UNMAP:
		close(fd);
		munmap(p, pages * PAGE);
		break;
	case WAY_KILL:
		kill(getpid(), SIGKILL);
		break;
	case WAY_EXEC:
		execl("/bin/true", "true", NULL);
		_exit(1);
	case WAY_NEW_USER:
		if (seteuid(0) || setresuid(USER + 1, USER + 1, USER + 1))
			_exit(4);
		munmap(p, pages * PAGE);
		close(fd);
		break;
	case WAY_REPLACED:
		mmap(p, pages * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		close(fd);
		break;
	default:
		break;
	}
}

TEST_F(accounts, every_way_out)
{
	int status, way;
	pid_t pid;

	for (way = 0; way < WAYS; way++) {
		pid = fork();
		if (!pid) {
			int fd = open_front(LIMIT + 1);
			char *p;

			become(USER, way == WAY_NEW_USER ? 0 : USER);
			p = map_front(fd, 100);
			if (p == MAP_FAILED || ask_charged() != 100)
				_exit(1);
			if (way == WAY_FAILED && map_front(fd, LIMIT + 1) != MAP_FAILED)
				_exit(2);
			end_by(way, p, 100, fd);
			/* While the process is still there, too. */
			if ((way <= WAY_CLOSE_UNMAP || way == WAY_REPLACED) && ask_charged())
				_exit(3);
			_exit(0);
		}
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, way == WAY_KILL ? SIGKILL : 0);
		EXPECT_EQ(charged(), 0);
		EXPECT_EQ(charged_to(USER + 1), 0);
		EXPECT_EQ(exmem_free(), self->total);
	}
}

/* Parts that go back take their part of the charge with them. */
TEST_F(accounts, parts)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int fd = open_front(100);
		char *p;

		become_user();
		p = map_front(fd, 100);
		if (p == MAP_FAILED || munmap(p + 30 * PAGE, 7 * PAGE))
			_exit(1);
		if (ask_charged() != (has_fd() ? 100 : 93))
			_exit(2);
		if (variant->front == EXMEM_FRONT_DEVICE &&
		    (exmem_drop(fd, 10, 30) || ask_charged() != 70))
			_exit(3);
		/* What is mapped again was paid for already. */
		if (has_fd() && map_front(fd, 10) == MAP_FAILED)
			_exit(4);
		_exit(has_fd() && variant->front != EXMEM_FRONT_DEVICE && ask_charged() != 100);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(charged(), 0);
}

/* Root has the object when its pages are taken, and is the last to let it go. */
TEST_F(accounts, whoever_closes_last)
{
	int fd = open_front(100), status;
	pid_t pid;
	char *p;

	pid = fork();
	if (!pid) {
		become_user();
		_exit(map_front(fd, 50) == MAP_FAILED || ask_charged() != 50);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(charged(), has_fd() ? 50 : 0);
	/* Root takes more, and it is not charged to the user. */
	p = map_front(fd, 100);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(charged(), has_fd() ? 50 : 0);
	close(fd);
	EXPECT_EQ(charged(), has_fd() ? 50 : 0);
	munmap(p, 100 * PAGE);
	EXPECT_EQ(charged(), 0);
	EXPECT_EQ(exmem_free(), self->total);
}

/* Who has taken pages and becomes somebody else still owes them. */
TEST_F(accounts, stays_with_who_took)
{
	int fd = open_front(100), go[2], ready[2], status;
	pid_t pid;
	char c;

	ASSERT_EQ(pipe(go), 0);
	ASSERT_EQ(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		close(go[1]);
		if (setresuid(USER, USER, 0) || map_front(fd, 60) == MAP_FAILED || seteuid(0) ||
		    setresuid(USER + 1, USER + 1, USER + 1))
			_exit(1);
		_exit(write(ready[1], "!", 1) != 1 || read(go[0], &c, 1) < 0);
	}
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	EXPECT_EQ(charged(), 60);
	close(go[1]);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	close(fd);
	EXPECT_EQ(charged(), 0);
}

/* Two processes of one user share one limit, and neither can go beyond it. */
TEST_F(accounts, one_limit_for_a_user)
{
	int ready[2], status;
	pid_t pid;
	char c;

	ASSERT_EQ(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		become_user();
		if (map_front(open_front(LIMIT), 600) == MAP_FAILED)
			_exit(1);
		c = write(ready[1], "!", 1);
		pause();
	}
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	EXPECT_EQ(charged(), 600);
	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(charged(), 0);
}

TEST_HARNESS_MAIN
