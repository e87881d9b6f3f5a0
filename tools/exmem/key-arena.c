// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keys of a few bytes that share pages of exclusive memory: an arena of jemalloc. On
 * systems without exclusive memory, memfd_secret(2) or locked memory takes its place.
 *
 * usage: key-arena [--hold] [COUNT [SIZE]]
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <jemalloc/jemalloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../include/uapi/linux/exclusive_memory.h"

#define RW	(PROT_READ | PROT_WRITE)

static bool map_exclusive(void *addr, size_t size)
{
	return mmap(addr, size, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_EXCLUSIVE | MAP_FIXED,
		    -1, 0) != MAP_FAILED;
}

/*
 * Without a pool, memfd_secret() allocates a page at the first access. If that fails in a
 * system call, the call returns an error, and no SIGBUS is raised.
 */
static bool touch(char *start, size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *p;

	for (p = start; p < start + size; p += page) {
		if (getrandom(p, 1, 0) != 1) {
			errno = ENOMEM;
			return false;
		}
		*p = 0;
	}
	return true;
}

/* A file for each extent: when the extent is unmapped, nothing keeps its pages. */
static bool map_secretmem(void *addr, size_t size)
{
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	bool mapped;

	if (fd == -1)
		return false;
	mapped = !ftruncate(fd, size) &&
		 mmap(addr, size, RW, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED &&
		 !madvise(addr, size, MADV_DONTFORK) && touch(addr, size);
	close(fd);
	return mapped;
}

/* The kernel maps this memory like all other memory. */
static bool map_locked(void *addr, size_t size)
{
	return mmap(addr, size, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED &&
	       !mlock(addr, size) && !madvise(addr, size, MADV_DONTDUMP) &&
	       !madvise(addr, size, MADV_DONTFORK);
}

/* The best protection comes first. */
static const struct memory {
	const char *name;
	bool (*map)(void *addr, size_t size);
} memories[] = {
	{ "exclusive", map_exclusive },
	{ "secret", map_secretmem },
	{ "locked", map_locked },
};

static const struct memory *memory;
static atomic_size_t bytes_in_use;

/* Address space takes no page of the pool. */
static void *reserve(void *addr, size_t size)
{
	return mmap(addr, size, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (addr ? MAP_FIXED : 0), -1, 0);
}

/*
 * jemalloc asks for 2 MiB and more at a time, and commits what it uses of that. An extent that
 * has been decommitted takes no memory, so there is no need to give back address space.
 */
static bool commit(extent_hooks_t *hooks, void *addr, size_t size, size_t offset, size_t length,
		   unsigned int arena)
{
	char *start = (char *)addr + offset;

	if (memory->map(start, length)) {
		bytes_in_use += length;
		return false;
	}
	/* The failed attempt may have removed the reservation. */
	if (reserve(start, length) == MAP_FAILED)
		err(EXIT_FAILURE, "can't restore a reservation");
	return true;
}

static bool decommit(extent_hooks_t *hooks, void *addr, size_t size, size_t offset, size_t length,
		     unsigned int arena)
{
	if (reserve((char *)addr + offset, length) == MAP_FAILED)
		return true;
	bytes_in_use -= length;
	return false;
}

static void *alloc(extent_hooks_t *hooks, void *new_addr, size_t size, size_t alignment,
		   bool *zero, bool *committed, unsigned int arena)
{
	char *p, *start;

	if (new_addr)
		return NULL;
	p = reserve(NULL, size + alignment);
	if (p == MAP_FAILED)
		return NULL;
	start = (char *)(((uintptr_t)p + alignment - 1) & -alignment);
	if (start > p)
		munmap(p, start - p);
	munmap(start + size, p + alignment - start);

	if (*committed && commit(hooks, start, size, 0, size, arena)) {
		munmap(start, size);
		return NULL;
	}
	*zero = true;
	return start;
}

static void destroy(extent_hooks_t *hooks, void *addr, size_t size, bool committed,
		    unsigned int arena)
{
	if (!munmap(addr, size) && committed)
		bytes_in_use -= size;
}

/* Mappings can be split anywhere, and used together where they are adjacent. */
static bool split(extent_hooks_t *hooks, void *addr, size_t size, size_t size_a, size_t size_b,
		  bool committed, unsigned int arena)
{
	return false;
}

static bool merge(extent_hooks_t *hooks, void *addr_a, size_t size_a, void *addr_b, size_t size_b,
		  bool committed, unsigned int arena)
{
	return false;
}

static extent_hooks_t key_hooks = {
	.alloc = alloc,
	.destroy = destroy,
	.commit = commit,
	.decommit = decommit,
	.split = split,
	.merge = merge,
};

/* Explain why there is no exclusive memory. */
static const char *reason(int error)
{
	switch (error) {
	case EINVAL:
		return "there is no pool, or the kernel does not know it";
	case EPERM:
		return "not permitted";
	case ENOMEM:
		return "not enough of it, or over RLIMIT_MEMLOCK";
	case EAGAIN:
		return "over RLIMIT_MEMLOCK or the limit of the cgroup";
	default:
		return strerror(error);
	}
}

/*
 * Choose the memory once, so that all keys have the same protection. If there is too little of
 * it later, an allocation fails.
 */
static bool choose_memory(void)
{
	size_t size = sysconf(_SC_PAGESIZE), i;
	void *probe = reserve(NULL, size);

	if (probe == MAP_FAILED)
		return false;
	for (i = 0; i < sizeof(memories) / sizeof(*memories) && !memory; i++) {
		if (memories[i].map(probe, size))
			memory = &memories[i];
		else
			warnx("no %s memory: %s", memories[i].name, reason(errno));
	}
	munmap(probe, size);
	return memory;
}

static bool set(unsigned int arena, const char *name, void *value, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "arena.%u.%s", arena, name);
	return !mallctl(path, NULL, NULL, value, size);
}

/*
 * Install the hooks after the arena has been created. Otherwise jemalloc would allocate 2 MiB
 * of metadata through them. The metadata is addresses and sizes, and no part of a key.
 */
static bool arena_open(unsigned int *arena)
{
	extent_hooks_t *hooks = &key_hooks;
	size_t len = sizeof(*arena);
	ssize_t at_once = 0;

	return choose_memory() && !mallctl("arenas.create", arena, &len, NULL, 0) &&
	       set(*arena, "dirty_decay_ms", &at_once, sizeof(at_once)) &&
	       set(*arena, "muzzy_decay_ms", &at_once, sizeof(at_once)) &&
	       set(*arena, "extent_hooks", &hooks, sizeof(hooks));
}

/* The thread's cache would keep freed keys, and their pages. */
static int arena_flags(unsigned int arena)
{
	return MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE;
}

/* Generate the key in place, so that no other copy exists. */
static void *key_generate(unsigned int arena, size_t size)
{
	unsigned char *key = mallocx(size, arena_flags(arena));
	size_t done = 0;
	ssize_t n;

	while (key && done < size) {
		n = getrandom(key + done, size - done, 0);
		if (n == -1 && errno != EINTR)
			err(EXIT_FAILURE, "getrandom");
		done += n > 0 ? n : 0;
	}
	return key;
}

static void key_free(unsigned int arena, void *key)
{
	if (!key)
		return;
	explicit_bzero(key, sallocx(key, 0));
	dallocx(key, arena_flags(arena));
}

/* Does a child have the page of @key? mincore() fails if nothing is mapped there. */
static bool child_has(const void *key)
{
	size_t size = sysconf(_SC_PAGESIZE);
	void *page = (void *)((uintptr_t)key & -size);
	unsigned char vec;
	int status;
	pid_t pid = fork();

	if (pid == -1)
		err(EXIT_FAILURE, "fork");
	if (!pid)
		_exit(mincore(page, size, &vec) == -1 && errno == ENOMEM ? 0 : 1);
	if (waitpid(pid, &status, 0) != pid)
		err(EXIT_FAILURE, "waitpid");
	return status != 0;
}

/* Is nothing left of a key that was freed while @keys[0] still needs their page? */
static bool wiped(unsigned int arena, void **keys, size_t size)
{
	const unsigned char *freed = keys[1];
	size_t page = sysconf(_SC_PAGESIZE), i;

	key_free(arena, keys[1]);
	keys[1] = NULL;
	if ((uintptr_t)keys[0] / page != (uintptr_t)freed / page)
		return true;
	for (i = 0; i < size; i++)
		if (freed[i])
			return false;
	return true;
}

static bool number(const char *arg, size_t max, size_t *n)
{
	char *end;

	if (*arg < '0' || *arg > '9')
		return false;
	*n = strtoul(arg, &end, 10);
	return !*end && *n && *n <= max;
}

/* Wait, so that someone can look at the process. */
static void hold(const void *key)
{
	printf("a key is at %p\n", key);
	fflush(stdout);
	while (getchar() != EOF)
		;
}

static void generate_all(unsigned int arena, void **keys, size_t count, size_t size)
{
	size_t i, pages;

	for (i = 0; i < count; i++) {
		keys[i] = key_generate(arena, size);
		if (!keys[i])
			errx(EXIT_FAILURE, "no memory for key %zu of %zu", i + 1, count);
	}
	pages = bytes_in_use / sysconf(_SC_PAGESIZE);
	printf("%zu keys of %zu bytes take %zu pages of %s memory\n", count, size, pages,
	       memory->name);
}

int main(int argc, char **argv)
{
	bool holds = argc > 1 && !strcmp(argv[1], "--hold");
	size_t count = 1000, size = 32, i;
	unsigned int arena;
	void **keys;

	argc -= holds;
	argv += holds;
	if (argc > 3 || (argc > 1 && !number(argv[1], 1000000, &count)) ||
	    (argc > 2 && !number(argv[2], 1 << 20, &size)))
		errx(2, "usage: key-arena [--hold] [COUNT [SIZE]]");

	keys = calloc(count, sizeof(*keys));
	if (!keys || !arena_open(&arena))
		errx(EXIT_FAILURE, "can't make an arena");
	generate_all(arena, keys, count, size);

	if (child_has(keys[0]))
		errx(EXIT_FAILURE, "a child has the keys");
	printf("a child does not have them\n");
	if (holds)
		hold(keys[0]);

	if (count > 1 && !wiped(arena, keys, size))
		errx(EXIT_FAILURE, "a freed key is not wiped");
	for (i = 0; i < count; i++)
		key_free(arena, keys[i]);
	free(keys);
	if (bytes_in_use)
		errx(EXIT_FAILURE, "%zu bytes are not freed", bytes_in_use);
	printf("all pages are freed\n");
	return 0;
}
