// SPDX-License-Identifier: GPL-2.0-only
/*
 * An arena for the secrets of one process: MAP_EXCLUSIVE, with a fallback for
 * systems without exclusive memory.
 *
 * usage: map-exclusive [--or-mlock]
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../include/uapi/linux/exclusive_memory.h"

#define PAGES	16

struct arena {
	char *start;
	size_t size, used;
	bool exclusive;
};

/* Explain why there is no exclusive memory, and how to fix it. */
static const char *reason(int error)
{
	switch (error) {
	case EINVAL:
		return "there is no pool, boot with exmem=SIZE; or the kernel is too old";
	case EPERM:
		return "it is turned off, see the sysctl vm.exmem_mmap";
	case ENOMEM:
		return "too little of the pool is free";
	case EAGAIN:
		return "over RLIMIT_MEMLOCK or the limit of the cgroup";
	default:
		return "mmap() failed";
	}
}

/*
 * The fallback: memory that is not written to disk and that children do not
 * inherit. The kernel maps it like all other memory.
 */
static bool arena_locked(struct arena *arena)
{
	char *p = mmap(NULL, arena->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	arena->start = p;
	if (p == MAP_FAILED) {
		warn("can't map ordinary memory");
		return false;
	}
	if (!mlock(p, arena->size) && !madvise(p, arena->size, MADV_DONTDUMP) &&
	    !madvise(p, arena->size, MADV_DONTFORK))
		return true;
	warn("can't lock memory");
	munmap(p, arena->size);
	return false;
}

/* Use the fallback only if @or_mlock is set: it protects less. */
static bool arena_open(struct arena *arena, size_t size, bool or_mlock)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_EXCLUSIVE, -1, 0);

	arena->start = p;
	arena->size = size;
	arena->used = 0;
	arena->exclusive = p != MAP_FAILED;
	if (arena->exclusive)
		return true;

	warn("no exclusive memory: %s", reason(errno));
	if (or_mlock)
		return arena_locked(arena);
	warnx("pass --or-mlock to use locked memory instead");
	return false;
}

static void *arena_alloc(struct arena *arena, size_t size)
{
	void *p = arena->start + arena->used;

	size = (size + 15) & ~(size_t)15;
	if (size > arena->size - arena->used)
		return NULL;
	arena->used += size;
	return p;
}

/* The kernel clears exclusive memory when it is unmapped, but not locked memory. */
static void arena_close(struct arena *arena)
{
	if (!arena->exclusive)
		explicit_bzero(arena->start, arena->size);
	munmap(arena->start, arena->size);
}

/* Does a child inherit the arena? mincore() fails if nothing is mapped there. */
static bool child_inherits(const struct arena *arena)
{
	unsigned char vec[PAGES];
	int status;
	pid_t pid = fork();

	if (pid == -1)
		err(EXIT_FAILURE, "fork");
	if (!pid)
		_exit(mincore(arena->start, arena->size, vec) == -1 && errno == ENOMEM ? 0 : 1);
	if (waitpid(pid, &status, 0) != pid)
		err(EXIT_FAILURE, "waitpid");
	return status != 0;
}

int main(int argc, char **argv)
{
	bool or_mlock = argc == 2 && !strcmp(argv[1], "--or-mlock");
	struct arena arena;
	char *key;

	if (argc > 1 && !or_mlock)
		errx(2, "usage: map-exclusive [--or-mlock]");
	if (!arena_open(&arena, PAGES * sysconf(_SC_PAGESIZE), or_mlock))
		return EXIT_FAILURE;
	printf("%d pages of %s memory\n", PAGES, arena.exclusive ? "exclusive" : "locked");

	/* Generate the key in place, so that no other copy exists. */
	key = arena_alloc(&arena, 32);
	if (!key || getrandom(key, 32, 0) != 32)
		err(EXIT_FAILURE, "can't make a key");
	printf("a key of 32 bytes is in it\n");

	if (child_inherits(&arena))
		errx(EXIT_FAILURE, "a child inherited it");
	printf("a child does not have it\n");

	arena_close(&arena);
	printf("all pages are freed\n");
	return 0;
}
