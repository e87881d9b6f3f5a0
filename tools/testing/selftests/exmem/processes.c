// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory and several processes: fork(), exec(), exit and passing descriptors, and the
 * references that keep pages allocated.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NEED_DEVICE_FIXTURE
#define NEED_FRONT_FIXTURE
#include "fixtures.h"

/* The byte that a child reads at @p, or 256 if it can't. */
static int child_sees(char *p)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(__atomic_load_n(p, __ATOMIC_RELAXED));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

TEST_F(front, fork)
{
	char *p = map_front(open_front(2), 2);
	int status;
	pid_t pid;

	ASSERT_NE(p, MAP_FAILED);
	*p = 42;
	EXPECT_EQ(child_sees(p), has_fd() ? 42 : 256);

	pid = fork();
	if (!pid) {
		if (has_fd())
			*p = 43;
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(*p, has_fd() ? 43 : 42);

	ASSERT_EQ(madvise(p, PAGE, MADV_DONTFORK), 0);
	EXPECT_EQ(child_sees(p), 256);
	EXPECT_EQ(child_sees(p + PAGE), has_fd() ? 0 : 256);
	/* No advice makes a child inherit exclusive memory. */
	EXPECT_EQ(madvise(p, 2 * PAGE, MADV_DOFORK), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(child_sees(p), 256);
	EXPECT_EQ(used(), 2);
}

/* Open the mapping at @p by name, which could give others its memory. */
static int open_map_file(const char *p)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (long)p, (long)p + PAGE);
	return open(path, O_RDWR);
}

TEST_F(front, scm_rights)
{
	int fd, got, sock[2];
	char *p;

	if (!has_fd()) {
		p = map_front(-1, 1);
		ASSERT_NE(p, MAP_FAILED);
		EXPECT_EQ(open_map_file(p), -1);
		EXPECT_EQ(errno, ENXIO);
		return;
	}
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), 0);
	fd = open_front(1);
	p = map_front(fd, 1);
	ASSERT_NE(p, MAP_FAILED);
	*p = 42;
	ASSERT_TRUE(send_fd(sock[0], fd));
	/* The descriptor in flight is the last reference. */
	close(fd);
	munmap(p, PAGE);
	EXPECT_EQ(used(), 1);
	got = receive_fd(sock[1]);
	p = map_front(got, 1);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(*p, 42);
	EXPECT_EQ(used(), 1);
	/* Never received: it is closed with the socket. */
	ASSERT_TRUE(send_fd(sock[0], got));
	munmap(p, PAGE);
	close(got);
	EXPECT_EQ(used(), 1);
	close(sock[0]);
	close(sock[1]);
	EXPECT_EQ(used(), 0);
}

static int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

TEST_F(front, pidfd_getfd)
{
	int fd, got, pidfd, status, ready[2], files = open_files();
	char *p, c;
	pid_t pid;

	if (!has_fd()) {
		ASSERT_NE(map_front(-1, 1), MAP_FAILED);
		EXPECT_EQ(open_files(), files);
		return;
	}
	ASSERT_EQ(pipe(ready), 0);
	fd = open_front(1);
	p = map_front(fd, 1);
	ASSERT_NE(p, MAP_FAILED);
	*p = 42;
	pid = fork();
	if (!pid) {
		c = write(ready[1], "!", 1);
		pause();
	}
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	munmap(p, PAGE);
	close(fd);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	got = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	ASSERT_GE(got, 0);
	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	p = map_front(got, 1);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(*p, 42);
	EXPECT_EQ(used(), 1);
}

/* An object lives as long as any descriptor or mapping of it. */
TEST_F(device, last_reference)
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

/* Start a child that maps @fd, and then executes another program. */
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

TEST_F(device, exec)
{
	int status, fd = open(EXMEM_DEV, O_RDWR);
	pid_t keeps, loses;

	/* A descriptor that exec leaves open keeps the pages; a mapping does not. */
	keeps = exec_with(fd);
	close(fd);
	EXPECT_TRUE(used_becomes(self->usable, 10));
	loses = exec_with(self->fd);
	close(self->fd);
	usleep(100000);
	EXPECT_TRUE(used_becomes(self->usable, 10));
	EXPECT_EQ(waitpid(loses, &status, WNOHANG), 0);
	kill(keeps, SIGKILL);
	ASSERT_EQ(waitpid(keeps, &status, 0), keeps);
	EXPECT_EQ(used(), 0);
	kill(loses, SIGKILL);
	ASSERT_EQ(waitpid(loses, &status, 0), loses);
}

TEST_F(device, kill_frees_zeroed_pages)
{
	int ready[2], fd, status;
	char *p, c;
	pid_t pid;

	ASSERT_EQ(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		fd = open(EXMEM_DEV, O_RDWR);
		p = exmem_map(fd, self->usable, 0);
		if (p == MAP_FAILED)
			_exit(1);
		memset(p, 0xa5, self->usable * PAGE);
		c = write(ready[1], "!", 1);
		for (;;)
			pause();
	}
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	EXPECT_EQ(exmem_free(), 0);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, SIGKILL);
	EXPECT_EQ(exmem_free(), self->usable);

	p = exmem_map(self->fd, self->usable, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(all_bytes(p, 0, self->usable * PAGE));
}

TEST_HARNESS_MAIN
