// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a mapping of exclusive memory can do: mmap(), munmap(), mremap(), mprotect() and
 * madvise(), for each front end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#define NEED_FRONT_FIXTURE
#include "fixtures.h"

/* Mapping flags, other than the sharing type. */
#define front_flags()	(has_fd() ? 0 : MAP_ANONYMOUS | MAP_EXCLUSIVE)

TEST_F(front, zeroed_and_outlives_fd)
{
	int fd = open_front(100);
	char *p = map_front(fd, 100);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(used(), 100);
	EXPECT_TRUE(all_bytes(p, 0, 100 * PAGE));
	memset(p, 0x5a, 100 * PAGE);
	EXPECT_TRUE(all_bytes(p, 0x5a, 100 * PAGE));
	/* The mapping keeps the pages. */
	close(fd);
	EXPECT_EQ(used(), 100);
	EXPECT_TRUE(all_bytes(p, 0x5a, 100 * PAGE));
	ASSERT_EQ(munmap(p, 100 * PAGE), 0);
	EXPECT_EQ(used(), 0);
}

TEST_F(front, private_refused)
{
	int fd = open_front(1);

	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | front_flags(), fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | front_flags(), fd, 0),
		  MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(used(), 0);
}

TEST_F(front, sharing_type)
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

TEST_F(front, exec_refused)
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
	EXPECT_EQ(mprotect(p, PAGE, PROT_NONE), 0);
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ), 0);
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ | PROT_WRITE), 0);
	*p = 1;
}

/* READ_IMPLIES_EXEC does not affect files on a file system mounted noexec. */
TEST_F(front, read_implies_exec)
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

TEST_F(front, partial_munmap)
{
	char *p = map_front(open_front(100), 100);
	long kept = has_fd() ? 100 : 0;
	int i;

	ASSERT_NE(p, MAP_FAILED);
	for (i = 0; i < 100; i++)
		p[i * PAGE] = i + 1;
	/* The middle, the beginning, the end, and across a hole. */
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

TEST_F(front, mremap_moves)
{
	char *to = mmap(NULL, 10 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *p = map_front(open_front(10), 10);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 10 * PAGE);
	ASSERT_EQ(mremap(p, 10 * PAGE, 10 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_TRUE(all_bytes(to, 0x5a, 10 * PAGE));
	EXPECT_EQ(used(), 10);
	/* A part of it moves back. */
	ASSERT_EQ(mremap(to + 3 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p), p);
	EXPECT_TRUE(all_bytes(p, 0x5a, 4 * PAGE));
	EXPECT_EQ(used(), 10);
	ASSERT_EQ(munmap(p, 4 * PAGE), 0);
	EXPECT_TRUE(all_bytes(to, 0x5a, 3 * PAGE));
	EXPECT_TRUE(all_bytes(to + 7 * PAGE, 0x5a, 3 * PAGE));
	EXPECT_EQ(used(), has_fd() ? 10 : 6);
}

TEST_F(front, mremap_shrinks)
{
	char *to = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *p = map_front(open_front(10), 10);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 10 * PAGE);
	ASSERT_EQ(mremap(p, 10 * PAGE, 4 * PAGE, 0), p);
	EXPECT_TRUE(all_bytes(p, 0x5a, 4 * PAGE));
	EXPECT_EQ(used(), has_fd() ? 10 : 4);
	/* After a move, too. */
	ASSERT_EQ(mremap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	ASSERT_EQ(mremap(to, 4 * PAGE, 2 * PAGE, 0), to);
	EXPECT_TRUE(all_bytes(to, 0x5a, 2 * PAGE));
	EXPECT_EQ(used(), has_fd() ? 10 : 2);
}

TEST_F(front, mremap_never_grows)
{
	char *p = map_front(open_front(10), 5);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(mremap(p, 5 * PAGE, 6 * PAGE, 0), MAP_FAILED);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(mremap(p, 5 * PAGE, 6 * PAGE, MREMAP_MAYMOVE), MAP_FAILED);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(mremap(p, 5 * PAGE, 10 * PAGE, MREMAP_MAYMOVE), MAP_FAILED);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(mremap(p, 5 * PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mremap(p, 0, 5 * PAGE, MREMAP_MAYMOVE), MAP_FAILED);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(used(), 5);
}

TEST_F(front, mprotect)
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

/* Exclusive memory replaces ordinary memory, and the reverse; neither turns into the other. */
TEST_F(front, replaced_never_converted)
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

	/* remap_file_pages() of the whole mapping replaces its pages by new ones. */
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

/* A part of a mapping is remapped, and its surroundings keep their pages. */
TEST_F(front, remap_file_pages)
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
		/* remap_file_pages() unmaps before it fails. */
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

/*
 * MAP_EXCLUSIVE fails before it unmaps the range it was to replace. A file's mmap() is only
 * called afterwards: if that fails, the range is unmapped, as with any file.
 */
static void failed_replacement_by_file(struct __test_metadata *_metadata, enum exmem_front front,
				       char *p)
{
	struct rlimit limit = { 16 * PAGE, 16 * PAGE };
	int fd;

	chmod(EXMEM_DEV, 0666);
	setrlimit(RLIMIT_MEMLOCK, &limit);
	ASSERT_EQ(setresuid(4711, 4711, 0), 0);
	fd = exmem_front_open(front, 17 * PAGE);
	ASSERT_EQ(setresuid(0, 0, 0), 0);
	EXPECT_EQ(mmap(p, 17 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(touch(p, -1), SIGSEGV);
	EXPECT_EQ(touch(p + 16 * PAGE, -1), SIGSEGV);
	EXPECT_TRUE(all_bytes(p + 17 * PAGE, 0x5a, 83 * PAGE));
}

TEST_F(front, failed_replacement)
{
	static const struct { size_t pages; int prot, error; } bad[] = {
		{ 17, PROT_READ, EAGAIN }, { 16, PROT_READ | PROT_EXEC, EPERM }, { 0, 0, EINVAL },
		{ 1UL << 46, PROT_READ, ENOMEM }, { -1UL >> 12, PROT_READ, ENOMEM },
	};
	struct rlimit limit = { 16 * PAGE, 16 * PAGE };
	size_t i;
	char *p;

	p = mmap(NULL, 100 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	memset(p, 0x5a, 100 * PAGE);
	if (has_fd()) {
		failed_replacement_by_file(_metadata, variant->front, p);
		EXPECT_EQ(used(), 0);
		return;
	}
	EXPECT_EQ(exmem_front_map(variant->front, -1, p, (self->usable + 1) * PAGE, PROT_READ),
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
	/* A request that failed after its allocation is not charged any more. */
	EXPECT_EQ(exmem_front_map(variant->front, -1, p, 16 * PAGE, PROT_READ), p);
	EXPECT_EQ(used(), 16);
	/* The replacement is allocated, and charged, before the old pages are freed. */
	EXPECT_EQ(exmem_front_map(variant->front, -1, p, 16 * PAGE, PROT_READ), MAP_FAILED);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(used(), 16);
}

TEST_F(front, exhausted)
{
	long failed = exmem_value("failed_requests");
	int fd = open_front(self->usable + 1);
	char *p;

	EXPECT_EQ(map_front(fd, self->usable + 1), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(used(), 0);
	EXPECT_EQ(exmem_value("failed_requests"), failed + 1);
	p = map_front(fd, self->usable);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(exmem_free(), 0);
	EXPECT_EQ(map_front(open_front(1), 1), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(exmem_value("failed_requests"), failed + 2);
	/* The pages are allocated: no access can fail. */
	memset(p, 1, self->usable * PAGE);
}

#define SECRET	"what the kernel must not know"

/* The owner's own read() and write() copy to and from it. */
TEST_F(front, file_io)
{
	char tmpl[] = "/tmp/exmem-XXXXXX", back[sizeof(SECRET)] = "";
	char *p = map_front(open_front(1), 1);
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

/* Does the field @name of smaps contain @text, for the mapping at @p? */
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

/* Is @name the name of the mapping at @p? */
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

TEST_F(front, name_in_maps)
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

TEST_F(front, never_dumped_merged_moved_or_swapped)
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
	EXPECT_EQ(register_uffd(p), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(*p, 42);
	/* Frees the page, as fallocate() does. */
	EXPECT_EQ(madvise(p, PAGE, MADV_REMOVE), variant->front == EXMEM_FRONT_DEVICE ? 0 : -1);
	EXPECT_EQ(used(), variant->front == EXMEM_FRONT_DEVICE ? 0 : 1);
}

TEST_HARNESS_MAIN
