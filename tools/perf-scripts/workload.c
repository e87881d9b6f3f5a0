// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads that live on the direct map: most of the memory that the kernel touches
 * for them is there, spread widely.
 *
 * workload list                    print the names of those that can run here
 * workload prepare DIR NAME SEED   create the files of NAME in DIR, a tmpfs
 * workload run DIR NAME SEED       run steps to warm up, then as many again
 *
 * Each step picks pages, sockets or files at random, from SEED. If the environment has
 * TLB_MODEL_PORT, the name of a virtio port, write the page tables there, and have
 * the TLB model count the second half of the steps.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tlb-model/model.h"

#define PAGE		4096UL
#define FILE_PAGES	(384UL << 20 >> 12)
#define RECORD		256
#define PIPES		2000
#define PIPE_MESSAGE	1024
#define SOCKETS		1000
#define QUEUED		8
#define SOCKET_MESSAGE	1024
#define DIRECTORIES	64
#define FILES		40000

static uint64_t random_state;
static char buffer[PAGE];

/* xorshift64: the same numbers from any C library */
static unsigned long random_below(unsigned long n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static void check(bool ok, const char *what)
{
	if (!ok)
		err(1, "%s", what);
}

/* Page cache: read records of one file, copy its pages to another */
static int files[2];

static void prepare_file(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT, 0600);
	struct stat st;

	check(fd >= 0 && !fstat(fd, &st), name);
	for (unsigned long i = st.st_size / PAGE; i < FILE_PAGES; i++)
		check(pwrite(fd, buffer, PAGE, i * PAGE) == PAGE, name);
	close(fd);
}

static void prepare_read(void)
{
	prepare_file("from");
}

static void prepare_copy(void)
{
	prepare_file("from");
	prepare_file("to");
}

static void open_files(void)
{
	files[0] = open("from", O_RDONLY);
	files[1] = open("to", O_RDWR);
	check(files[0] >= 0, "from");
}

static void read_record(void)
{
	unsigned long at = random_below(FILE_PAGES * PAGE / RECORD) * RECORD;

	check(pread(files[0], buffer, RECORD, at) == RECORD, "pread");
}

static void copy_page(void)
{
	check(pread(files[0], buffer, PAGE, random_below(FILE_PAGES) * PAGE) == PAGE, "pread");
	check(pwrite(files[1], buffer, PAGE, random_below(FILE_PAGES) * PAGE) == PAGE, "pwrite");
}

/* Messages: to one of many queues, whose length stays the same */
static int ends[PIPES][2];

static void open_pipes(void)
{
	for (int i = 0; i < PIPES; i++) {
		check(!pipe(ends[i]), "pipe");
		check(write(ends[i][1], buffer, PIPE_MESSAGE) == PIPE_MESSAGE, "write");
	}
}

static void pass_message(int nr, ssize_t size)
{
	int *pair = ends[random_below(nr)];

	check(write(pair[1], buffer, size) == size, "write");
	check(read(pair[0], buffer, size) == size, "read");
}

static void pass_through_pipe(void)
{
	pass_message(PIPES, PIPE_MESSAGE);
}

static void open_sockets(void)
{
	for (int i = 0; i < SOCKETS; i++) {
		check(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends[i]), "socketpair");
		for (int m = 0; m < QUEUED; m++)
			check(write(ends[i][1], buffer, SOCKET_MESSAGE) == SOCKET_MESSAGE,
			      "write");
	}
}

static void pass_through_socket(void)
{
	pass_message(SOCKETS, SOCKET_MESSAGE);
}

/* Slab: look up a name; remove and create an inode and its name */
static const char *name_of(unsigned long i)
{
	static char name[32];

	snprintf(name, sizeof(name), "d%lu/f%lu", i % DIRECTORIES, i);
	return name;
}

static void prepare_tree(void)
{
	char name[16];

	for (int i = 0; i < DIRECTORIES; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		if (mkdir(name, 0700))
			return;	/* prepared before */
	}
	for (int i = 0; i < FILES; i++)
		check(!mknod(name_of(i), S_IFREG | 0600, 0), "mknod");
}

static void look_up(void)
{
	unsigned long i = random_below(FILES);
	struct stat st;

	check(!stat(name_of(random_below(FILES)), &st), "stat");
	check(!unlink(name_of(i)), "unlink");
	check(!mknod(name_of(i), S_IFREG | 0600, 0), "mknod");
}

/* Processes */
static void spawn(char *const argv[])
{
	pid_t pid = fork();
	int status;

	check(pid >= 0, "fork");
	if (!pid) {
		if (freopen("/dev/null", "w", stdout))
			execvp(argv[0], argv);
		_exit(127);
	}
	check(waitpid(pid, &status, 0) == pid, "waitpid");
	if (status)
		errx(1, "%s %s: status %#x", argv[0], argv[1], status);
}

static void fork_exec(void)
{
	spawn((char *[]){ "/proc/self/exe", "nothing", NULL });
}

static void bench_messaging(void)
{
	spawn((char *[]){ "perf", "bench", "sched", "messaging", "-g", "2", "-l", "20", NULL });
}

static void bench_memcpy(void)
{
	spawn((char *[]){ "perf", "bench", "mem", "memcpy", "-s", "8MB", "-f", "default", NULL });
}

static void bench_syscall(void)
{
	spawn((char *[]){ "perf", "bench", "syscall", "basic", "-l", "20000", NULL });
}

static void nothing(void)
{
}

/* For their working sets see Documentation/admin-guide/mm/exclusive_memory_perf.rst. */
static const struct workload {
	const char *name;
	void (*prepare)(void);		/* files, which stay */
	void (*begin)(void);		/* state of the process */
	void (*step)(void);
	int steps;
} workloads[] = {
	{ "page-cache-read", prepare_read, open_files, read_record, 20000 },
	{ "page-cache-copy", prepare_copy, open_files, copy_page, 5000 },
	{ "pipe", nothing, open_pipes, pass_through_pipe, 10000 },
	{ "unix-socket", nothing, open_sockets, pass_through_socket, 10000 },
	{ "fork-exec", nothing, nothing, fork_exec, 60 },
	{ "metadata", prepare_tree, nothing, look_up, 5000 },
	{ "perf-messaging", nothing, nothing, bench_messaging, 1 },
	{ "perf-memcpy", nothing, nothing, bench_memcpy, 1 },
	{ "perf-syscall", nothing, nothing, bench_syscall, 1 },
};

#define NR_WORKLOADS (sizeof(workloads) / sizeof(*workloads))

static void run(const struct workload *w)
{
	w->begin();
	model_start();
	for (int i = 0; i < w->steps; i++)
		w->step();
	model_count();
	for (int i = 0; i < w->steps; i++)
		w->step();
	model_stop();
}

static bool is_perf(const struct workload *w)
{
	return !strncmp(w->name, "perf-", strlen("perf-"));
}

/* perf may be installed and not run: some distributions have one per kernel. */
static void list(void)
{
	bool perf = !system("perf bench syscall basic -l 1 >/dev/null 2>&1");

	if (!perf)
		warnx("perf bench does not run: skipping its workloads");
	for (size_t i = 0; i < NR_WORKLOADS; i++)
		if (perf || !is_perf(&workloads[i]))
			puts(workloads[i].name);
}

static const struct workload *find(const char *name)
{
	for (size_t i = 0; i < NR_WORKLOADS; i++)
		if (!strcmp(workloads[i].name, name))
			return &workloads[i];
	errx(2, "no such workload: %s", name);
}

static void more_files(void)
{
	struct rlimit limit = { 3 * PIPES, 3 * PIPES };

	check(!setrlimit(RLIMIT_NOFILE, &limit), "RLIMIT_NOFILE");
}

int main(int argc, char **argv)
{
	const struct workload *w;

	if (argc == 2 && !strcmp(argv[1], "nothing"))
		return 0;
	if (argc == 2 && !strcmp(argv[1], "list")) {
		list();
		return 0;
	}
	if (argc != 5 || (strcmp(argv[1], "prepare") && strcmp(argv[1], "run")))
		errx(2, "usage: workload list | prepare DIR NAME SEED | run DIR NAME SEED");

	w = find(argv[3]);
	check(!chdir(argv[2]), argv[2]);
	random_state = strtoul(argv[4], NULL, 0) * 0x9e3779b97f4a7c15 + 1;
	if (!strcmp(argv[1], "prepare")) {
		w->prepare();
		return 0;
	}
	more_files();
	run(w);
	return 0;
}
