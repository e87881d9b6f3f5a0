// SPDX-License-Identifier: GPL-2.0-only
/* The part of tiny-vmm that looks for the memory of its guest. */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tiny-vmm.h"

/* This program's own data: a byte of it, a word, and the number of words */
#define WITNESS		0x77
#define WITNESS_WORD	0x7777777777777777ULL
#define WITNESS_WORDS	512

#define DEBUGGED	0x10

/* Data in ordinary memory, which the searches must find. */
static char witness[WITNESS_WORDS * sizeof(uint64_t)];
int failures;

void expect(const char *what, long got, long want)
{
	bool ok = got == want;

	printf("[%s] %s: %ld\n", ok ? "ok" : "FAIL", what, got);
	failures += !ok;
}

/* Passes on what a call returns, unless that is -1. */
int checked(int ret, const char *what)
{
	if (ret == -1)
		err(EXIT_FAILURE, "%s", what);
	return ret;
}

static FILE *open_text(const char *path)
{
	FILE *f = fopen(path, "re");

	if (!f)
		err(EXIT_FAILURE, "%s", path);
	return f;
}

/* KiB that are resident at these addresses, or -1 if nothing is there. */
static long resident(char *at, size_t size)
{
	uintptr_t start, end, first = (uintptr_t)at, last = first + size;
	FILE *f = open_text("/proc/self/smaps");
	long kib, sum = 0, ranges = 0;
	bool ours = false;
	char line[512];

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			ours = start < last && end > first;
			ranges += ours;
		} else if (ours && sscanf(line, "Rss: %ld", &kib) == 1) {
			sum += kib;
		}
	}
	fclose(f);
	return ranges ? sum : -1;
}

/* Lines of /proc/self/maps that contain @text. */
static long mappings(const char *text)
{
	FILE *f = open_text("/proc/self/maps");
	char line[512];
	long n = 0;

	while (fgets(line, sizeof(line), f))
		n += !!strstr(line, text);
	fclose(f);
	return n;
}

/* Leaves of the kernel's direct map that were split since boot. */
long splits(void)
{
	FILE *f = open_text("/proc/vmstat");
	char line[128];
	long n, sum = 0, found = 0;

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "direct_map_level2_splits %ld", &n) == 1 ||
		    sscanf(line, "direct_map_level3_splits %ld", &n) == 1) {
			sum += n;
			found++;
		}
	}
	fclose(f);
	if (found != 2)
		errx(EXIT_FAILURE, "/proc/vmstat has no direct_map_level2_splits, or no level3");
	return sum;
}

/* KiB of the direct map that the kernel maps by pages of 4 KiB, or -1. */
long small_pages(void)
{
	FILE *f = fopen(PAGE_TABLES, "re");
	bool direct_map = false;
	unsigned long from, to;
	char line[256];
	long kib = 0;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "---["))
			direct_map = strstr(line, "Low Kernel Mapping");
		else if (direct_map && strstr(line, " pte") &&
			 sscanf(line, "0x%lx-0x%lx", &from, &to) == 2)
			kib += (to - from) / 1024;
	}
	fclose(f);
	/* At least the first MiB is always mapped so. */
	if (!kib)
		errx(EXIT_FAILURE, PAGE_TABLES " does not show the direct map");
	return kib;
}

/*
 * Three ways for a debugger to read a word of the process @pid. Two of them ignore the
 * protection of the reserved addresses, and get zeroes.
 */

static uint64_t read_remotely(pid_t pid, char *at)
{
	struct iovec ours, theirs = { at, sizeof(uint64_t) };
	uint64_t word;

	ours = (struct iovec) { &word, sizeof(word) };
	return process_vm_readv(pid, &ours, 1, &theirs, 1, 0) == sizeof(word) ? word : 0;
}

static uint64_t read_proc_mem(pid_t pid, char *at)
{
	char path[64];
	uint64_t word;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = checked(open(path, O_RDONLY | O_CLOEXEC), path);
	n = pread(fd, &word, sizeof(word), (off_t)(uintptr_t)at);
	close(fd);
	return n == sizeof(word) ? word : 0;
}

static uint64_t peek(pid_t pid, char *at)
{
	uint64_t word;

	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, at, NULL);
	return errno ? 0 : word;
}

/* Exits with DEBUGGED and the number of ways in which it could read data at @at. */
static void debug(pid_t pid, char *at)
{
	int ways;

	checked(ptrace(PTRACE_ATTACH, pid, NULL, NULL), "PTRACE_ATTACH");
	checked(waitpid(pid, NULL, __WALL), "waitpid");
	ways = !!read_remotely(pid, at) + !!read_proc_mem(pid, at) + !!peek(pid, at);
	checked(ptrace(PTRACE_DETACH, pid, NULL, NULL), "PTRACE_DETACH");
	_exit(DEBUGGED + ways);
}

static pid_t start_child(void)
{
	/* Otherwise the child prints the contents of the buffer, too. */
	fflush(stdout);
	return checked(fork(), "fork");
}

/* In how many ways can a debugger read data at @at? */
static int debugger_reads(char *at)
{
	pid_t parent = getpid(), pid = start_child();
	int status;

	if (!pid)
		debug(parent, at);
	/* Yama lets the child attach only after this call. Without Yama, the call fails. */
	prctl(PR_SET_PTRACER, pid, 0, 0, 0);
	checked(waitpid(pid, &status, 0), "waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) < DEBUGGED)
		errx(EXIT_FAILURE, "the debugger failed");
	return WEXITSTATUS(status) - DEBUGGED;
}

/* The number of 64-bit words in a file that are the complement of @complement. */
static long words_in(int dir, const char *name, uint64_t complement)
{
	FILE *f = fdopen(checked(openat(dir, name, O_RDONLY | O_CLOEXEC), name), "r");
	uint64_t word;
	long n = 0;

	if (!f)
		err(EXIT_FAILURE, "%s", name);
	while (fread(&word, sizeof(word), 1, f) == 1)
		n += ~word == complement;
	fclose(f);
	return n;
}

/* The only file of a directory, or NULL. */
static char *file_in(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char *name = NULL;

	if (!dir)
		err(EXIT_FAILURE, "%s", path);
	while (!name && (entry = readdir(dir)))
		if (entry->d_type == DT_REG)
			name = strdup(entry->d_name);
	closedir(dir);
	return name;
}

/* A copy of this process aborts in the directory @path. */
static void dump_core(const char *path)
{
	struct rlimit limit;
	pid_t pid = start_child();
	int status;

	if (!pid) {
		checked(chdir(path), path);
		checked(getrlimit(RLIMIT_CORE, &limit), "getrlimit");
		limit.rlim_cur = limit.rlim_max;
		checked(setrlimit(RLIMIT_CORE, &limit), "setrlimit");
		abort();
	}
	checked(waitpid(pid, &status, 0), "waitpid");
	if (!WIFSIGNALED(status))
		errx(EXIT_FAILURE, "the copy of this process did not abort");
}

static void search_core_dump(uint32_t not_secret)
{
	char path[] = "/tmp/tiny-vmm.XXXXXX", *name;
	int dir;

	if (!mkdtemp(path))
		err(EXIT_FAILURE, "%s", path);
	dir = checked(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), path);
	dump_core(path);
	name = file_in(path);
	if (name) {
		expect("core dumps with this program's data",
		       words_in(dir, name, ~WITNESS_WORD) >= WITNESS_WORDS, 1);
		expect("words of the guest's secret in it",
		       words_in(dir, name, (uint64_t)not_secret << 32 | not_secret), 0);
		checked(unlinkat(dir, name, 0), name);
	} else {
		printf("[skip] no core dump: type sysctl kernel.core_pattern=core\n");
	}
	free(name);
	close(dir);
	checked(rmdir(path), path);
}

/*
 * Look for the memory of a guest: @memory is its guest_memfd, @slot is the address of its slot,
 * and its secret is at @offset.
 */
void search(int memory, char *slot, size_t size, size_t offset, uint32_t not_secret)
{
	char byte;

	memset(witness, WITNESS, sizeof(witness));
	expect("mappings of a guest_memfd in /proc/self/maps", mappings("guest_memfd"), 0);
	expect("mappings of exclusive memory there", mappings("exclusive_memory"), 0);
	expect("KiB at the address of the slot in /proc/self/smaps", resident(slot, size), 0);
	expect("mappings of the guest_memfd that mmap() makes",
	       mmap(NULL, PAGE, PROT_READ, MAP_SHARED, memory, 0) != MAP_FAILED, 0);
	expect("bytes of it that read() gets", pread(memory, &byte, 1, offset) == 1, 0);
	expect("ways in which a debugger reads this program's data", debugger_reads(witness), 3);
	expect("ways in which it reads the guest's, at the address of the slot",
	       debugger_reads(slot + offset), 0);
	search_core_dump(not_secret);
}
