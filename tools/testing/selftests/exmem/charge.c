// SPDX-License-Identifier: GPL-2.0-only
/*
 * RLIMIT_MEMLOCK: exclusive memory is charged to the user who allocates it, until it is freed,
 * even by another user.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define NEED_DEVICE_FIXTURE
#include "fixtures.h"

#define USER	4711
#define LIMIT	1000

FIXTURE(charge)
{
	long usable;
};

FIXTURE_VARIANT(charge)
{
	enum exmem_front front;
};

FIXTURE_VARIANT_ADD(charge, device) { .front = EXMEM_FRONT_DEVICE };
FIXTURE_VARIANT_ADD(charge, map_exclusive) { .front = EXMEM_FRONT_MMAP };
FIXTURE_VARIANT_ADD(charge, memfd_secret) { .front = EXMEM_FRONT_SECRETMEM };

/* With 0 as @saved the process can become root again. */
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

static bool can_allocate(long pages)
{
	void *p = exmem_front_map(EXMEM_FRONT_MMAP, -1, NULL, pages * PAGE, PROT_READ);

	return p != MAP_FAILED && !munmap(p, pages * PAGE);
}

/* Find the number of pages charged to the caller: the limit less what it can allocate. */
static long probe_charged(void)
{
	long low = 0, high = LIMIT + 1, mid;

	while (high - low > 1) {
		mid = (low + high) / 2;
		if (can_allocate(mid))
			low = mid;
		else
			high = mid;
	}
	return LIMIT - low;
}

/* The pages charged to a user: 0 to LIMIT, or -1, or -2 if they are below 0. */
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
		value = can_allocate(LIMIT + 1) ? -2 : probe_charged();
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

FIXTURE_SETUP(charge)
{
	const char *missing = exmem_front_missing(variant->front, 2 * LIMIT);

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_EQ(charged(), 0);
	chmod(EXMEM_DEV, 0666);
}

FIXTURE_TEARDOWN(charge)
{
	chmod(EXMEM_DEV, 0600);
}

TEST_F(charge, limit)
{
	struct rlimit limit = { 16 * PAGE, 16 * PAGE };
	int fd = open_front(17), status;
	pid_t pid = fork();

	if (!pid) {
		/* CAP_IPC_LOCK exempts from the limit. */
		setrlimit(RLIMIT_MEMLOCK, &limit);
		if (map_front(fd, 17) == MAP_FAILED)
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	close(fd);

	fd = open_front(17);
	pid = fork();
	if (!pid) {
		setrlimit(RLIMIT_MEMLOCK, &limit);
		if (setresuid(4711, 4711, 4711) || map_front(fd, 17) != MAP_FAILED ||
		    errno != EAGAIN || used())
			_exit(1);
		if (map_front(fd, 16) == MAP_FAILED)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

/* The ways in which a process of the user stops using its pages. */
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

TEST_F(charge, freed_in_every_way)
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
			if (p == MAP_FAILED || probe_charged() != 100)
				_exit(1);
			if (way == WAY_FAILED && map_front(fd, LIMIT + 1) != MAP_FAILED)
				_exit(2);
			end_by(way, p, 100, fd);
			/* These ways uncharge the pages before the process ends. */
			if ((way <= WAY_CLOSE_UNMAP || way == WAY_REPLACED) && probe_charged())
				_exit(3);
			_exit(0);
		}
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, way == WAY_KILL ? SIGKILL : 0);
		EXPECT_EQ(charged(), 0);
		EXPECT_EQ(charged_to(USER + 1), 0);
		EXPECT_EQ(exmem_free(), self->usable);
	}
}

/* Pages that are freed are uncharged; the others are not. */
TEST_F(charge, partly_freed)
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
		if (probe_charged() != (has_fd() ? 100 : 93))
			_exit(2);
		if (variant->front == EXMEM_FRONT_DEVICE &&
		    (exmem_punch_hole(fd, 10, 30) || probe_charged() != 70))
			_exit(3);
		/* Mapping pages again charges nothing. */
		if (has_fd() && map_front(fd, 10) == MAP_FAILED)
			_exit(4);
		_exit(has_fd() &&
		      probe_charged() != (variant->front == EXMEM_FRONT_DEVICE ? 70 : 100));
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(charged(), 0);
}

/* The user allocates pages of root's object, and root closes it last. */
TEST_F(charge, last_closed_by_another)
{
	int fd = open_front(100), status;
	pid_t pid;
	char *p;

	pid = fork();
	if (!pid) {
		become_user();
		_exit(map_front(fd, 50) == MAP_FAILED || probe_charged() != 50);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(charged(), has_fd() ? 50 : 0);
	/* Root allocates more, and the user is not charged for that. */
	p = map_front(fd, 100);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(charged(), has_fd() ? 50 : 0);
	close(fd);
	EXPECT_EQ(charged(), has_fd() ? 50 : 0);
	munmap(p, 100 * PAGE);
	EXPECT_EQ(charged(), 0);
	EXPECT_EQ(exmem_free(), self->usable);
}

/* A process that changes its user leaves the charge with the old one. */
TEST_F(charge, stays_with_the_user)
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

/* Two processes of one user share one limit. */
TEST_F(charge, one_limit_for_a_user)
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

static void become_nobody(void)
{
	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		_exit(99);
}

static int wait_status(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

TEST_F(device, limit_spans_objects)
{
	struct rlimit limit = { 16 * PAGE, 16 * PAGE };
	int other;
	char *p;
	pid_t pid = fork();

	if (pid) {
		ASSERT_EQ(wait_status(pid), 0);
		close(self->fd);
		EXPECT_EQ(exmem_free(), self->usable);
		return;
	}

	other = open(EXMEM_DEV, O_RDWR);
	setrlimit(RLIMIT_MEMLOCK, &limit);
	become_nobody();
	if (exmem_map(self->fd, 17, 0) != MAP_FAILED || errno != EAGAIN)
		_exit(1);
	if (exmem_free() != self->usable)
		_exit(2);
	p = exmem_map(self->fd, 10, 0);
	if (p == MAP_FAILED)
		_exit(3);
	/* The limit is the user's, not one object's. */
	if (exmem_map(other, 7, 0) != MAP_FAILED || errno != EAGAIN)
		_exit(4);
	if (exmem_free() != self->usable - 10)
		_exit(5);
	/* Mapping pages again charges nothing. */
	if (exmem_map(self->fd, 10, 0) == MAP_FAILED)
		_exit(6);
	/* Holes on both sides, and too much in all: nothing is kept. */
	if (exmem_map(other, 2, 2) == MAP_FAILED)
		_exit(7);
	if (exmem_map(other, 9, 0) != MAP_FAILED || errno != EAGAIN)
		_exit(8);
	if (exmem_free() != self->usable - 12)
		_exit(9);
	close(other);
	_exit(0);
}

/* Pages are uncharged when the last descriptor or mapping goes, every time. */
TEST_F(device, uncharged_every_time)
{
	struct rlimit limit = { 16 * PAGE, 16 * PAGE };
	pid_t pid = fork();
	int i, fd;
	char *p;

	if (pid) {
		EXPECT_EQ(wait_status(pid), 0);
		ASSERT_EQ(fchmod(self->fd, 0600), 0);
		return;
	}

	if (fchmod(self->fd, 0666))
		_exit(9);
	setrlimit(RLIMIT_MEMLOCK, &limit);
	become_nobody();
	for (i = 0; i < 100; i++) {
		fd = open(EXMEM_DEV, O_RDWR);
		p = exmem_map(fd, 16, 0);
		if (fd < 0 || p == MAP_FAILED)
			_exit(1);
		close(fd);
		if (exmem_map(self->fd, 1, 0) != MAP_FAILED)
			_exit(2);
		munmap(p, 16 * PAGE);
	}
	if (exmem_map(self->fd, 16, 0) == MAP_FAILED)
		_exit(3);
	_exit(0);
}

/* Pages are uncharged when the hole is punched, and only once. */
TEST_F(device, punch_hole_uncharges)
{
	struct rlimit limit = { 50 * PAGE, 50 * PAGE };
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		setrlimit(RLIMIT_MEMLOCK, &limit);
		if (setuid(12345) || exmem_map(self->fd, 50, 0) == MAP_FAILED ||
		    exmem_map(self->fd, 1, 50) != MAP_FAILED || errno != EAGAIN ||
		    exmem_punch_hole(self->fd, 5, 7) || exmem_map(self->fd, 8, 50) != MAP_FAILED ||
		    exmem_map(self->fd, 7, 50) == MAP_FAILED ||
		    exmem_map(self->fd, 1, 60) != MAP_FAILED ||
		    exmem_punch_hole(self->fd, 0, 100) ||
		    exmem_map(self->fd, 50, 100) == MAP_FAILED)
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

TEST_HARNESS_MAIN
