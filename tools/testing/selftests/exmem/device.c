// SPDX-License-Identifier: GPL-2.0-only
/*
 * What /dev/exclusive_memory promises. Needs root and a kernel booted with
 * exmem=8M or more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define SECRET	"what the kernel must not know"

FIXTURE(device)
{
	int fd;
	long total;
};

FIXTURE_SETUP(device)
{
	self->total = exmem_total();
	ASSERT_GE(self->total, 2048);
	/* Whatever the test before this one did, all of it came back. */
	ASSERT_EQ(exmem_free(), self->total);
	self->fd = open(EXMEM_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(device)
{
}

TEST_F(device, node_mode)
{
	struct stat st;

	ASSERT_EQ(stat(EXMEM_DEV, &st), 0);
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(st.st_mode & 07777, 0600);
	EXPECT_EQ(st.st_uid, 0);
}

TEST_F(device, map_is_zero_and_holds)
{
	char *p = exmem_map(self->fd, 100, 0);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_free(), self->total - 100);
	EXPECT_TRUE(all_bytes(p, 0, 100 * PAGE));
	memset(p, 0x5a, 100 * PAGE);
	EXPECT_TRUE(all_bytes(p, 0x5a, 100 * PAGE));

	/* The fd goes, the mapping keeps the pages. */
	ASSERT_EQ(close(self->fd), 0);
	EXPECT_EQ(exmem_free(), self->total - 100);
	EXPECT_TRUE(all_bytes(p, 0x5a, 100 * PAGE));
	ASSERT_EQ(munmap(p, 100 * PAGE), 0);
	EXPECT_EQ(exmem_free(), self->total);
}

TEST_F(device, object_keeps_pages_unmapped)
{
	char *p = exmem_map(self->fd, 4, 0);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 4 * PAGE);
	ASSERT_EQ(munmap(p + PAGE, PAGE), 0);
	EXPECT_EQ(exmem_free(), self->total - 4);
	ASSERT_EQ(munmap(p, 4 * PAGE), 0);
	EXPECT_EQ(exmem_free(), self->total - 4);

	p = exmem_map(self->fd, 4, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(all_bytes(p, 0x5a, 4 * PAGE));
	EXPECT_EQ(exmem_free(), self->total - 4);
}

TEST_F(device, grows_by_mapping_further)
{
	char *low = exmem_map(self->fd, 2, 4);
	char *all;

	ASSERT_NE(low, MAP_FAILED);
	memset(low, 0x11, 2 * PAGE);
	all = exmem_map(self->fd, 10, 0);
	ASSERT_NE(all, MAP_FAILED);
	EXPECT_EQ(exmem_free(), self->total - 10);
	EXPECT_TRUE(all_bytes(all, 0, 4 * PAGE));
	EXPECT_TRUE(all_bytes(all + 4 * PAGE, 0x11, 2 * PAGE));
	EXPECT_TRUE(all_bytes(all + 6 * PAGE, 0, 4 * PAGE));
	/* The same pages, seen twice. */
	all[5 * PAGE] = 0x22;
	EXPECT_EQ(low[PAGE], 0x22);
}

TEST_F(device, sparse_offsets)
{
	size_t far = (1UL << 51) - 1;
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, far * PAGE);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_free(), self->total - 1);
	memcpy(p, SECRET, sizeof(SECRET));
}

TEST_F(device, each_open_is_its_own)
{
	int other = open(EXMEM_DEV, O_RDWR);
	char path[64];
	char *p, *q, *r;
	int again;

	ASSERT_GE(other, 0);
	p = exmem_map(self->fd, 1, 0);
	q = exmem_map(other, 1, 0);
	ASSERT_NE(p, MAP_FAILED);
	ASSERT_NE(q, MAP_FAILED);
	memcpy(p, SECRET, sizeof(SECRET));
	EXPECT_TRUE(all_bytes(q, 0, PAGE));

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	again = open(path, O_RDWR);
	ASSERT_GE(again, 0);
	r = exmem_map(again, 1, 0);
	ASSERT_NE(r, MAP_FAILED);
	EXPECT_TRUE(all_bytes(r, 0, PAGE));
}

TEST_F(device, private_refused)
{
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, self->fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(exmem_free(), self->total);
}

TEST_F(device, exec_refused)
{
	char *p;

	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, self->fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EPERM);
	EXPECT_EQ(exmem_free(), self->total);

	p = exmem_map(self->fd, 1, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ | PROT_EXEC), -1);
	EXPECT_EQ(errno, EACCES);
	EXPECT_EQ(mprotect(p, PAGE, PROT_NONE), 0);
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ), 0);
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ | PROT_WRITE), 0);
	*p = 1;
}

TEST_F(device, read_only_open)
{
	int fd = open(EXMEM_DEV, O_RDONLY);
	char *p;

	ASSERT_GE(fd, 0);
	EXPECT_EQ(exmem_map(fd, 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, EACCES);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ | PROT_WRITE), -1);
	EXPECT_EQ(errno, EACCES);
}

TEST_F(device, mremap_moves_and_shrinks_only)
{
	char *p = exmem_map(self->fd, 4, 0);
	char *to = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 4 * PAGE);
	EXPECT_EQ(mremap(p, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE), MAP_FAILED);
	EXPECT_EQ(errno, EFAULT);
	ASSERT_EQ(mremap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_TRUE(all_bytes(to, 0x5a, 4 * PAGE));
	ASSERT_EQ(mremap(to, 4 * PAGE, 2 * PAGE, 0), to);
	EXPECT_TRUE(all_bytes(to, 0x5a, 2 * PAGE));
	EXPECT_EQ(exmem_free(), self->total - 4);
}

TEST_F(device, exhaustion)
{
	char *p, *q;

	EXPECT_EQ(exmem_map(self->fd, self->total + 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(exmem_free(), self->total);

	p = exmem_map(self->fd, self->total, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_free(), 0);
	memset(p, 0x5a, self->total * PAGE);
	EXPECT_EQ(exmem_map(self->fd, 1, self->total), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	/* What the object has can still be mapped again. */
	q = exmem_map(self->fd, self->total, 0);
	ASSERT_NE(q, MAP_FAILED);
	EXPECT_TRUE(all_bytes(q, 0x5a, self->total * PAGE));
}

/* A request fills several holes, and fails at a later one. */
TEST_F(device, failed_growth_keeps_nothing)
{
	char *p = exmem_map(self->fd, 1, 100);
	char *q;

	ASSERT_NE(p, MAP_FAILED);
	memcpy(p, SECRET, sizeof(SECRET));
	EXPECT_EQ(exmem_map(self->fd, self->total + 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(exmem_free(), self->total - 1);
	EXPECT_STREQ(p, SECRET);

	/* Nor was anything left in the holes. */
	q = exmem_map(self->fd, self->total - 1, 0);
	ASSERT_NE(q, MAP_FAILED);
	EXPECT_EQ(exmem_free(), 1);
	EXPECT_STREQ(q + 100 * PAGE, SECRET);
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

TEST_F(device, memlock_limit)
{
	struct rlimit limit = { 16 * PAGE, 16 * PAGE };
	int other;
	char *p;
	pid_t pid = fork();

	if (pid) {
		ASSERT_EQ(wait_status(pid), 0);
		close(self->fd);
		EXPECT_EQ(exmem_free(), self->total);
		return;
	}

	other = open(EXMEM_DEV, O_RDWR);
	setrlimit(RLIMIT_MEMLOCK, &limit);
	become_nobody();
	if (exmem_map(self->fd, 17, 0) != MAP_FAILED || errno != EAGAIN)
		_exit(1);
	if (exmem_free() != self->total)
		_exit(2);
	p = exmem_map(self->fd, 10, 0);
	if (p == MAP_FAILED)
		_exit(3);
	/* The limit is the user's, not one object's. */
	if (exmem_map(other, 7, 0) != MAP_FAILED || errno != EAGAIN)
		_exit(4);
	if (exmem_free() != self->total - 10)
		_exit(5);
	/* Mapping what is there already costs nothing. */
	if (exmem_map(self->fd, 10, 0) == MAP_FAILED)
		_exit(6);
	/* A hole before and a hole behind, and too much in all: nothing is kept. */
	if (exmem_map(other, 2, 2) == MAP_FAILED)
		_exit(7);
	if (exmem_map(other, 9, 0) != MAP_FAILED || errno != EAGAIN)
		_exit(8);
	if (exmem_free() != self->total - 12)
		_exit(9);
	/* What an object gives back can be had again, as often as one likes. */
	close(other);
	_exit(0);
}

/* The charge comes back with the pages, however often. */
TEST_F(device, memlock_returns)
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

TEST_F(device, fork_shares)
{
	char *p = exmem_map(self->fd, 1, 0);
	pid_t pid;

	ASSERT_NE(p, MAP_FAILED);
	pid = fork();
	if (!pid) {
		memcpy(p, SECRET, sizeof(SECRET));
		_exit(0);
	}
	ASSERT_EQ(wait_status(pid), 0);
	EXPECT_STREQ(p, SECRET);
	EXPECT_EQ(exmem_free(), self->total - 1);
}

TEST_F(device, kill_returns_cleared)
{
	int ready[2], fd;
	char *p, c;
	pid_t pid;

	ASSERT_EQ(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		fd = open(EXMEM_DEV, O_RDWR);
		p = exmem_map(fd, self->total, 0);
		if (p == MAP_FAILED)
			_exit(1);
		memset(p, 0xa5, self->total * PAGE);
		c = write(ready[1], "!", 1);
		for (;;)
			pause();
	}
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	EXPECT_EQ(exmem_free(), 0);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(wait_status(pid), 256 + SIGKILL);
	EXPECT_EQ(exmem_free(), self->total);

	p = exmem_map(self->fd, self->total, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(all_bytes(p, 0, self->total * PAGE));
}

TEST_F(device, ordinary_io_works)
{
	char tmpl[] = "/tmp/exmem-XXXXXX", back[sizeof(SECRET)] = "";
	char *p = exmem_map(self->fd, 1, 0);
	int file = mkstemp(tmpl);

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_GE(file, 0);
	unlink(tmpl);
	ASSERT_EQ(write(file, SECRET, sizeof(SECRET)), sizeof(SECRET));
	ASSERT_EQ(pread(file, p, sizeof(SECRET), 0), sizeof(SECRET));
	EXPECT_STREQ(p, SECRET);
	ASSERT_EQ(pwrite(file, p, sizeof(SECRET), PAGE), sizeof(SECRET));
	ASSERT_EQ(pread(file, back, sizeof(back), PAGE), sizeof(back));
	EXPECT_STREQ(back, SECRET);
}

#define STEADY_PAGES	100000
#define STEADY_HOLDERS	256

static long splits(const char *level)
{
	char name[64];

	snprintf(name, sizeof(name), "direct_map_%s_splits", level);
	return named_value("/proc/vmstat", name);
}

/* Nothing that is done with the pool after boot touches the direct map. */
TEST_F_TIMEOUT(device, no_splits_in_steady_state, 600)
{
	long level2 = splits("level2"), level3 = splits("level3");
	long map4k = named_value("/proc/meminfo", "DirectMap4k");
	long map2m = named_value("/proc/meminfo", "DirectMap2M");
	long held = 0, out = 0, n;
	struct { char *p; long n; } holder[STEADY_HOLDERS] = {};
	int i, fd;

	ASSERT_GE(level2, 0);
	ASSERT_GE(map4k, self->total * 4);
	srand(1);
	while (out < STEADY_PAGES) {
		i = rand() % STEADY_HOLDERS;
		if (holder[i].p) {
			munmap(holder[i].p, holder[i].n * PAGE);
			holder[i].p = NULL;
			held -= holder[i].n;
			continue;
		}
		n = 1 + rand() % 100;
		if (held + n > self->total)
			continue;
		fd = open(EXMEM_DEV, O_RDWR);
		holder[i].p = exmem_map(fd, n, 0);
		ASSERT_NE(holder[i].p, MAP_FAILED);
		close(fd);
		holder[i].p[0] = 1;
		holder[i].p[n * PAGE - 1] = 1;
		holder[i].n = n;
		held += n;
		out += n;
	}
	EXPECT_EQ(exmem_free(), self->total - held);
	for (i = 0; i < STEADY_HOLDERS; i++)
		if (holder[i].p)
			munmap(holder[i].p, holder[i].n * PAGE);
	EXPECT_EQ(exmem_free(), self->total);
	EXPECT_EQ(splits("level2"), level2);
	EXPECT_EQ(splits("level3"), level3);
	EXPECT_EQ(named_value("/proc/meminfo", "DirectMap4k"), map4k);
	EXPECT_EQ(named_value("/proc/meminfo", "DirectMap2M"), map2m);
}

TEST_HARNESS_MAIN
