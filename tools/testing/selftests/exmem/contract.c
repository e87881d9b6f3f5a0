// SPDX-License-Identifier: GPL-2.0-only
/*
 * The contract of exclusive memory, row by row, for each way to get some: the
 * device, MAP_EXCLUSIVE, and memfd_secret(2) with memory from the pool. Needs
 * root and a pool that nobody else uses: exmem=64M.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <linux/suspend_ioctls.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

FIXTURE(contract)
{
	long total;
};

FIXTURE_VARIANT(contract)
{
	enum exmem_front front;
};

FIXTURE_VARIANT_ADD(contract, device) { .front = EXMEM_FRONT_DEVICE };
FIXTURE_VARIANT_ADD(contract, map_exclusive) { .front = EXMEM_FRONT_MMAP };
FIXTURE_VARIANT_ADD(contract, memfd_secret) { .front = EXMEM_FRONT_SECRETMEM };

FIXTURE_SETUP(contract)
{
	self->total = exmem_total();
	ASSERT_GE(self->total, 2048);
	ASSERT_EQ(exmem_free(), self->total);
}

FIXTURE_TEARDOWN(contract)
{
}

#define used()		(self->total - exmem_free())
/* Mapping flags, other than the sort of sharing. */
#define front_flags()	(has_fd() ? 0 : MAP_ANONYMOUS | MAP_EXCLUSIVE)

TEST_F(contract, how)
{
	int fd = open_front(100);
	char *p = map_front(fd, 100);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(used(), 100);
	EXPECT_TRUE(all_bytes(p, 0, 100 * PAGE));
	memset(p, 0x5a, 100 * PAGE);
	EXPECT_TRUE(all_bytes(p, 0x5a, 100 * PAGE));
	/* The file descriptor goes, the mapping keeps the pages. */
	close(fd);
	EXPECT_EQ(used(), 100);
	EXPECT_TRUE(all_bytes(p, 0x5a, 100 * PAGE));
	ASSERT_EQ(munmap(p, 100 * PAGE), 0);
	EXPECT_EQ(used(), 0);
}

TEST_F(contract, map_private)
{
	int fd = open_front(1);

	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | front_flags(), fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | front_flags(), fd, 0),
		  MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(used(), 0);
}

TEST_F(contract, plain_map_shared)
{
	int fd = open_front(1);
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | front_flags(), fd, 0);

	if (has_fd()) {
		EXPECT_NE(p, MAP_FAILED);
		EXPECT_NE(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE, fd, 0), MAP_FAILED);
	} else {
		EXPECT_EQ(p, MAP_FAILED);
		EXPECT_EQ(errno, EINVAL);
	}
	EXPECT_EQ(used(), has_fd());
}

TEST_F(contract, prot_exec)
{
	int fd = open_front(1);
	char *p;

	EXPECT_EQ(exmem_front_map(variant->front, fd, NULL, PAGE, PROT_READ | PROT_EXEC),
		  MAP_FAILED);
	EXPECT_EQ(errno, EPERM);
	EXPECT_EQ(used(), 0);
	p = map_front(fd, 1);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ | PROT_EXEC), -1);
	EXPECT_EQ(errno, EACCES);
}

/* Who has PROT_READ imply PROT_EXEC gets what can be read, where it can't be executed. */
TEST_F(contract, read_implies_exec)
{
	bool noexec = variant->front != EXMEM_FRONT_DEVICE;
	int fd = open_front(1);
	struct statvfs st;
	char *p;

	if (!noexec) {
		ASSERT_EQ(statvfs("/dev", &st), 0);
		noexec = st.f_flag & ST_NOEXEC;
	}
	ASSERT_NE(personality(READ_IMPLIES_EXEC), -1);
	p = map_front(fd, 1);
	if (!noexec) {
		EXPECT_EQ(p, MAP_FAILED);
		EXPECT_EQ(errno, EPERM);
		return;
	}
	ASSERT_NE(p, MAP_FAILED);
	*p = 42;
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ), 0);
	EXPECT_EQ(*p, 42);
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ | PROT_EXEC), -1);
	EXPECT_EQ(errno, EACCES);
}

/* In a child: what it sees at @p, 256 for nothing. */
static int child_sees(char *p)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(__atomic_load_n(p, __ATOMIC_RELAXED));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

TEST_F(contract, fork)
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
	/* There is no way to have a child inherit what it must not. */
	EXPECT_EQ(madvise(p, 2 * PAGE, MADV_DOFORK), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(child_sees(p), 256);
	EXPECT_EQ(used(), 2);
}

/* Does opening it anew give somebody else's memory? It must not be possible. */
static int open_map_file(const char *p)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (long)p, (long)p + PAGE);
	return open(path, O_RDWR);
}

TEST_F(contract, pass_by_scm_rights)
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
	/* In flight is the last reference. */
	close(fd);
	munmap(p, PAGE);
	EXPECT_EQ(used(), 1);
	got = receive_fd(sock[1]);
	p = map_front(got, 1);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(*p, 42);
	EXPECT_EQ(used(), 1);
	/* Never received: it goes with the socket. */
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

TEST_F(contract, pass_by_pidfd_getfd)
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

TEST_F(contract, partial_munmap)
{
	char *p = map_front(open_front(100), 100);
	long kept = has_fd() ? 100 : 0;
	int i;

	ASSERT_NE(p, MAP_FAILED);
	for (i = 0; i < 100; i++)
		p[i * PAGE] = i + 1;
	/* From the middle, the beginning, the end, and across a hole. */
	ASSERT_EQ(munmap(p + 40 * PAGE, 20 * PAGE), 0);
	EXPECT_EQ(used(), kept ?: 80);
	ASSERT_EQ(munmap(p, PAGE), 0);
	EXPECT_EQ(used(), kept ?: 79);
	ASSERT_EQ(munmap(p + 99 * PAGE, PAGE), 0);
	EXPECT_EQ(used(), kept ?: 78);
	ASSERT_EQ(munmap(p + 30 * PAGE, 31 * PAGE), 0);
	EXPECT_EQ(used(), kept ?: 67);
	for (i = 1; i < 99; i++)
		if (i < 30 || i > 60)
			EXPECT_EQ(p[i * PAGE], i + 1);
	ASSERT_EQ(munmap(p, 100 * PAGE), 0);
	EXPECT_EQ(used(), kept);
}

TEST_F(contract, mremap_moves)
{
	char *to = mmap(NULL, 10 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *p = map_front(open_front(10), 10);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 10 * PAGE);
	ASSERT_EQ(mremap(p, 10 * PAGE, 10 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_TRUE(all_bytes(to, 0x5a, 10 * PAGE));
	EXPECT_EQ(used(), 10);
	/* A part of it, and back. */
	ASSERT_EQ(mremap(to + 3 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p), p);
	EXPECT_TRUE(all_bytes(p, 0x5a, 4 * PAGE));
	EXPECT_EQ(used(), 10);
	ASSERT_EQ(munmap(p, 4 * PAGE), 0);
	EXPECT_TRUE(all_bytes(to, 0x5a, 3 * PAGE));
	EXPECT_TRUE(all_bytes(to + 7 * PAGE, 0x5a, 3 * PAGE));
	EXPECT_EQ(used(), has_fd() ? 10 : 6);
}

TEST_F(contract, mremap_shrinks)
{
	char *p = map_front(open_front(10), 10);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 10 * PAGE);
	ASSERT_EQ(mremap(p, 10 * PAGE, 4 * PAGE, 0), p);
	EXPECT_TRUE(all_bytes(p, 0x5a, 4 * PAGE));
	EXPECT_EQ(used(), has_fd() ? 10 : 4);
}

TEST_F(contract, mremap_does_not_grow)
{
	char *p = map_front(open_front(10), 5);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(mremap(p, 5 * PAGE, 6 * PAGE, 0), MAP_FAILED);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(mremap(p, 5 * PAGE, 6 * PAGE, MREMAP_MAYMOVE), MAP_FAILED);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(mremap(p, 5 * PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mremap(p, 0, 5 * PAGE, MREMAP_MAYMOVE), MAP_FAILED);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(used(), 5);
}

TEST_F(contract, mprotect)
{
	char *p = map_front(open_front(3), 3);

	ASSERT_NE(p, MAP_FAILED);
	p[PAGE] = 42;
	EXPECT_EQ(mprotect(p + PAGE, PAGE, PROT_NONE), 0);
	EXPECT_EQ(touch(p + PAGE, -1), SIGSEGV);
	EXPECT_EQ(mprotect(p + PAGE, PAGE, PROT_READ), 0);
	EXPECT_EQ(touch(p + PAGE, 1), SIGSEGV);
	EXPECT_EQ(p[PAGE], 42);
	EXPECT_EQ(mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(touch(p + PAGE, 43), 0);
	EXPECT_EQ(used(), 3);
}

/* Ordinary memory is replaced by exclusive memory, or the other way round; never changed. */
TEST_F(contract, no_change_of_sort)
{
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = open_front(2);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x11, 2 * PAGE);
	EXPECT_EQ(mmap(p, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE |
		       front_flags(), fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EEXIST);
	EXPECT_EQ(used(), 0);
	munmap(p + PAGE, PAGE);
	if (!has_fd()) {
		EXPECT_EQ(mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE |
			       MAP_FIXED_NOREPLACE | front_flags(), fd, 0), p + PAGE);
		EXPECT_EQ(used(), 1);
		munmap(p + PAGE, PAGE);
	}
	p = mmap(p, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0);
	memset(p, 0x11, 2 * PAGE);
	ASSERT_EQ(exmem_front_map(variant->front, fd, p, PAGE, PROT_READ | PROT_WRITE), p);
	EXPECT_TRUE(all_bytes(p, 0, PAGE));
	EXPECT_TRUE(all_bytes(p + PAGE, 0x11, PAGE));
	memset(p, 0x22, PAGE);

	/* Not even into other pages of the same object. */
	if (!has_fd()) {
		EXPECT_EQ(remap_file_pages(p, PAGE, 0, 7, 0), 0);
		EXPECT_TRUE(all_bytes(p, 0, PAGE));
		EXPECT_EQ(used(), 1);
	}
	ASSERT_EQ(mmap(p, 2 * PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), p);
	EXPECT_TRUE(all_bytes(p, 0, 2 * PAGE));
	close(fd);
	EXPECT_EQ(used(), 0);
}

/* Nor into a part of it: what is around keeps what it has. */
TEST_F(contract, remap_file_pages)
{
	int i, fd = open_front(5);
	char *p = map_front(fd, 5);

	ASSERT_NE(p, MAP_FAILED);
	for (i = 0; i < 5; i++)
		p[i * PAGE] = i + 1;
	if (has_fd()) {
		EXPECT_EQ(remap_file_pages(p + PAGE, 2 * PAGE, 0, 0, 0), 0);
		EXPECT_EQ(p[PAGE], 1);
		EXPECT_EQ(p[2 * PAGE], 2);
		EXPECT_EQ(used(), 5);
	} else {
		EXPECT_EQ(remap_file_pages(p + PAGE, 2 * PAGE, 0, 0, 0), -1);
		EXPECT_EQ(errno, EINVAL);
		/* remap_file_pages() has unmapped them by then. */
		EXPECT_EQ(touch(p + PAGE, -1), SIGSEGV);
		EXPECT_EQ(touch(p + 2 * PAGE, -1), SIGSEGV);
		EXPECT_EQ(used(), 3);
	}
	EXPECT_EQ(p[0], 1);
	EXPECT_EQ(p[3 * PAGE], 4);
	EXPECT_EQ(p[4 * PAGE], 5);
	munmap(p, 5 * PAGE);
	close(fd);
	EXPECT_EQ(used(), 0);
}

/* What a request for too much was to replace is still there. */
TEST_F(contract, failed_replacement)
{
	static const struct { size_t pages; int prot, error; } bad[] = {
		{ 17, PROT_READ, EAGAIN }, { 16, PROT_READ | PROT_EXEC, EPERM }, { 0, 0, EINVAL },
		{ 1UL << 46, PROT_READ, ENOMEM }, { -1UL >> 12, PROT_READ, ENOMEM },
	};
	struct rlimit limit = { 16 * PAGE, 16 * PAGE };
	size_t i;
	char *p;

	if (has_fd())
		return;
	p = mmap(NULL, 100 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 100 * PAGE);
	EXPECT_EQ(exmem_front_map(variant->front, -1, p, (self->total + 1) * PAGE, PROT_READ),
		  MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_TRUE(all_bytes(p, 0x5a, 100 * PAGE));

	setrlimit(RLIMIT_MEMLOCK, &limit);
	ASSERT_EQ(setresuid(4711, 4711, 4711), 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(exmem_front_map(variant->front, -1, p, bad[i].pages * PAGE, bad[i].prot),
			  MAP_FAILED);
		EXPECT_EQ(errno, bad[i].error);
		EXPECT_TRUE(all_bytes(p, 0x5a, 100 * PAGE));
		EXPECT_EQ(used(), 0);
	}
	/* Nothing is charged any more for what failed after its pages were taken. */
	EXPECT_EQ(exmem_front_map(variant->front, -1, p, 16 * PAGE, PROT_READ), p);
	EXPECT_EQ(used(), 16);
	/* Its replacement is taken before it goes. */
	EXPECT_EQ(exmem_front_map(variant->front, -1, p, 16 * PAGE, PROT_READ), MAP_FAILED);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(used(), 16);
}

TEST_F(contract, memlock)
{
	struct rlimit limit = { 16 * PAGE, 16 * PAGE };
	int fd = open_front(17), status;
	pid_t pid = fork();

	if (!pid) {
		/* Who may lock memory may have exclusive memory. */
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

TEST_F(contract, exhausted)
{
	long failed = exmem_value("failed_requests");
	int fd = open_front(self->total + 1);
	char *p;

	EXPECT_EQ(map_front(fd, self->total + 1), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(used(), 0);
	EXPECT_EQ(exmem_value("failed_requests"), failed + 1);
	p = map_front(fd, self->total);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_free(), 0);
	EXPECT_EQ(map_front(open_front(1), 1), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(exmem_value("failed_requests"), failed + 2);
	/* It was taken: there is nothing to fail when it is used. */
	memset(p, 1, self->total * PAGE);
}

/* Does @text stand behind @name in what smaps says of the mapping at @p? */
static bool smaps_has(const void *p, const char *name, const char *text)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool here = false, found = false;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)p && (uintptr_t)p < end;
		else if (here && !strncmp(line, name, strlen(name)))
			found = strstr(line, text);
	}
	fclose(f);
	return found;
}

/* Is the mapping at @p called @name? */
static bool maps_has(const void *p, const char *name)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long start;
	bool found = false;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%lx-", &start) == 1 && start == (uintptr_t)p &&
			strstr(line, name);
	fclose(f);
	return found;
}

TEST_F(contract, name)
{
	static const char *const names[] = {
		[EXMEM_FRONT_DEVICE] = " /dev/exclusive_memory\n",
		[EXMEM_FRONT_MMAP] = " /exclusive_memory (deleted)\n",
		[EXMEM_FRONT_SECRETMEM] = " /secretmem (deleted)\n",
	};
	char *p = map_front(open_front(1), 1);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(maps_has(p, names[variant->front]));
}

static int register_uffd(void *p)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int ret;

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return 0;
	ret = ioctl(fd, UFFDIO_REGISTER, &reg);
	close(fd);
	return ret;
}

TEST_F(contract, never_dumped_merged_moved_or_swapped)
{
	char *p = map_front(open_front(1), 1);

	ASSERT_NE(p, MAP_FAILED);
	*p = 42;
	EXPECT_TRUE(smaps_has(p, "VmFlags:", " dd"));
	EXPECT_EQ(madvise(p, PAGE, MADV_DODUMP), -1);
	EXPECT_TRUE(smaps_has(p, "VmFlags:", " dd"));
	madvise(p, PAGE, MADV_MERGEABLE);
	EXPECT_FALSE(smaps_has(p, "VmFlags:", " mg"));
	madvise(p, PAGE, MADV_HUGEPAGE);
	EXPECT_TRUE(smaps_has(p, "THPeligible:", " 0"));
	EXPECT_EQ(madvise(p, PAGE, MADV_PAGEOUT), -1);
	EXPECT_EQ(madvise(p, PAGE, MADV_DONTNEED), -1);
	EXPECT_EQ(madvise(p, PAGE, MADV_FREE), -1);
	EXPECT_EQ(madvise(p, PAGE, MADV_REMOVE), -1);
	EXPECT_EQ(register_uffd(p), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(*p, 42);
}

TEST_F(contract, who_may)
{
	struct rlimit limit = { PAGE, PAGE };
	struct stat st;
	int status;
	pid_t pid;

	if (variant->front == EXMEM_FRONT_DEVICE) {
		ASSERT_EQ(stat(EXMEM_DEV, &st), 0);
		EXPECT_EQ(st.st_mode, S_IFCHR | 0600);
		EXPECT_EQ(st.st_uid, 0);
	}
	/* Those without privileges: not the device, and the rest within their limit. */
	pid = fork();
	if (!pid) {
		setrlimit(RLIMIT_MEMLOCK, &limit);
		if (setresuid(4711, 4711, 4711))
			_exit(1);
		if (variant->front == EXMEM_FRONT_DEVICE)
			_exit(open(EXMEM_DEV, O_RDWR) != -1 || errno != EACCES);
		_exit(map_front(open_front(1), 1) == MAP_FAILED ||
		      map_front(open_front(1), 1) != MAP_FAILED || errno != EAGAIN);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

TEST_F(contract, turned_off)
{
	int fd = open_front(1), other;

	if (variant->front == EXMEM_FRONT_MMAP) {
		ASSERT_TRUE(put("/proc/sys/vm/exmem_mmap", "0"));
		EXPECT_EQ(map_front(-1, 1), MAP_FAILED);
		EXPECT_EQ(errno, EPERM);
		ASSERT_TRUE(put("/proc/sys/vm/exmem_mmap", "1"));
		EXPECT_NE(map_front(-1, 1), MAP_FAILED);
	} else if (variant->front == EXMEM_FRONT_SECRETMEM) {
		ASSERT_TRUE(put("/proc/sys/vm/exmem_secretmem", "0"));
		other = open_front(1);
		/* As it was without a pool; what there is stays what it is. */
		EXPECT_NE(map_front(other, 1), MAP_FAILED);
		EXPECT_EQ(used(), 0);
		EXPECT_NE(map_front(fd, 1), MAP_FAILED);
		EXPECT_EQ(used(), 1);
		ASSERT_TRUE(put("/proc/sys/vm/exmem_secretmem", "1"));
	} else {
		ASSERT_EQ(chmod(EXMEM_DEV, 0), 0);
		EXPECT_NE(map_front(fd, 1), MAP_FAILED);
		ASSERT_EQ(chmod(EXMEM_DEV, 0600), 0);
	}
}

/* Its contents would be lost. */
TEST_F(contract, no_hibernation)
{
	char *p;

	ASSERT_FALSE(file_has("/sys/power/disk", "[disabled]"));
	p = map_front(open_front(1), 1);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(file_has("/sys/power/disk", "[disabled]"));
	EXPECT_FALSE(put("/sys/power/state", "disk"));
	EXPECT_EQ(errno, EPERM);
}

/* Nor if it is taken when it has been asked already whether the system may hibernate. */
TEST_F(contract, no_image_of_pages_in_use)
{
	int in_suspend, snapshot = open("/dev/snapshot", O_RDONLY), fd = open_front(1);
	char *p;

	ASSERT_GE(snapshot, 0);
	p = map_front(fd, 1);
	ASSERT_NE(p, MAP_FAILED);
	*p = 42;
	ASSERT_EQ(ioctl(snapshot, SNAPSHOT_FREEZE, 0), 0);
	EXPECT_EQ(ioctl(snapshot, SNAPSHOT_CREATE_IMAGE, &in_suspend), -1);
	EXPECT_EQ(errno, EBUSY);
	EXPECT_EQ(ioctl(snapshot, SNAPSHOT_UNFREEZE, 0), 0);
	EXPECT_EQ(*p, 42);
	close(snapshot);
}

TEST_HARNESS_MAIN
