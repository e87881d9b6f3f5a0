// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory for libraries that know nothing of it:
 *
 *	LD_PRELOAD=DIR/mlock-exclusive.so PROGRAM
 *
 * A library that keeps keys maps anonymous memory, often with guard pages, and then passes
 * the part for the keys to mlock(), as libsodium and libgcrypt do, or to
 * madvise(MADV_DONTDUMP), as OpenSSL does. OpenSSL locks with a bare system call, which a
 * preloaded library cannot intercept. Here, exclusive memory replaces this part, and only
 * this part: guard pages stay ordinary memory, and take no page of the pool. Other memory is
 * locked as before: from malloc(), of files, by mlockall(), or mapped earlier than the last
 * mapping of the thread.
 *
 * If there is no exclusive memory, the library gets the locked memory it asked for, and a
 * message tells why. After fork(), the child does not have the exclusive memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../include/uapi/linux/exclusive_memory.h"

#define RW	(PROT_READ | PROT_WRITE)

/* The last mapping of this thread, if it may be replaced; or the part that has been. */
static __thread struct {
	uintptr_t start, end;
	bool exclusive;
} last __attribute__((tls_model("initial-exec")));

static void complain(void)
{
	static atomic_flag done = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&done))
		fprintf(stderr, "mlock-exclusive: no exclusive memory: %s\n", strerror(errno));
}

/* The contents are kept. If the pool has too few pages, the memory is not replaced. */
static bool replace(void *start, size_t size)
{
	void *p = (void *)syscall(SYS_mmap, NULL, size, RW,
				  MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_EXCLUSIVE, -1, 0);

	if (p == MAP_FAILED) {
		complain();
		return false;
	}
	memcpy(p, start, size);
	if (mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, start) == start)
		return true;
	complain();
	syscall(SYS_munmap, p, size);
	return false;
}

static uintptr_t page_align(uintptr_t addr)
{
	uintptr_t page = sysconf(_SC_PAGESIZE);

	return (addr + page - 1) & -page;
}

/* mlock() locks whole pages. */
static bool make_exclusive(const void *addr, size_t size)
{
	uintptr_t start = (uintptr_t)addr & -sysconf(_SC_PAGESIZE);
	uintptr_t end = page_align((uintptr_t)addr + size);

	if (start >= end || start < last.start || end > last.end)
		return false;
	if (!last.exclusive && !replace((void *)start, end - start))
		return false;
	last.start = start;
	last.end = end;
	last.exclusive = true;
	return true;
}

void *mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	void *p = (void *)syscall(SYS_mmap, addr, size, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return p;
	last.start = (uintptr_t)p;
	last.end = last.start;
	last.exclusive = false;
	if ((flags & MAP_TYPE) == MAP_PRIVATE && flags & MAP_ANONYMOUS && prot == RW)
		last.end += page_align(size);
	return p;
}

void *mmap64(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	return mmap(addr, size, prot, flags, fd, offset);
}

int munmap(void *addr, size_t size)
{
	if ((uintptr_t)addr < last.end && last.start < (uintptr_t)addr + size)
		last.end = last.start;
	return syscall(SYS_munmap, addr, size);
}

/* Guard pages, as a rule, which can't be copied. The keys are in the larger part beside them. */
static void exclude(uintptr_t start, uintptr_t end)
{
	uintptr_t before = start > last.start ? start - last.start : 0;
	uintptr_t after = end < last.end ? last.end - end : 0;

	if (last.exclusive || start >= last.end || end <= last.start)
		return;
	if (after > before)
		last.start = last.end - after;
	else
		last.end = last.start + before;
}

int mprotect(void *addr, size_t size, int prot)
{
	if (prot != RW)
		exclude((uintptr_t)addr, page_align((uintptr_t)addr + size));
	return syscall(SYS_mprotect, addr, size, prot);
}

int mlock(const void *addr, size_t size)
{
	return make_exclusive(addr, size) ? 0 : syscall(SYS_mlock, addr, size);
}

int madvise(void *addr, size_t size, int advice)
{
	if (advice == MADV_DONTDUMP && make_exclusive(addr, size))
		return 0;
	return syscall(SYS_madvise, addr, size, advice);
}
