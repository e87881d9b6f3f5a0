// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run a command on a system in a known state.
 *
 * scenario [--age SEED] [--secrets KIND:COUNT] -- COMMAND [ARG...]
 *
 * --age      age memory first, see age.h
 * --secrets  hold COUNT secrets, an object of one page each; KIND is memfd_secret
 *            (never from the pool) or exmem
 *
 * Another process holds the memory until the command has ended, so that it does not
 * affect the command's own figures. Exits with the command's status. Needs root.
 */
#define _GNU_SOURCE
#include <err.h>
#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../testing/selftests/exmem/exmem.h"
#include "age.h"

#define SECRETMEM_SYSCTL "/proc/sys/vm/exmem_secretmem"

static unsigned int seed;
static bool aged;
static long secrets;
static enum exmem_front front;

static void hold_secret(void)
{
	int fd = exmem_front_open(front, PAGE);
	char *p;

	if (fd < 0)
		err(1, "open");
	p = exmem_front_map(front, fd, NULL, PAGE, PROT_READ | PROT_WRITE);
	if (p == MAP_FAILED)
		err(1, "mmap");
	*p = 1;
	close(fd);
}

/* memfd_secret enforces RLIMIT_MEMLOCK even where mlock(2) does not, by SIGBUS. */
static void lift_limits(void)
{
	long most = number_in("/proc/sys/fs/nr_open");
	struct rlimit files = { most, most };
	struct rlimit locked = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_NOFILE, &files) || setrlimit(RLIMIT_MEMLOCK, &locked))
		err(1, "setrlimit");
}

/* Create the state, notify the parent through @ready, and hold the state. */
static void hold(int ready)
{
	lift_limits();
	if (aged && !age_memory(seed))
		err(1, "pipe");
	for (long i = 0; i < secrets; i++)
		hold_secret();
	if (write(ready, "", 1) != 1)
		err(1, "pipe");
	pause();
}

/* As in a shell: the exit status, or 128 plus the signal */
static int status_of(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static pid_t start_holder(void)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC))
		err(1, "pipe");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		close(ready[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		hold(ready[1]);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		errx(1, "the state could not be created: status %d", status_of(pid));
	close(ready[0]);
	return pid;
}

static int run(char **argv)
{
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		execvp(argv[0], argv);
		err(127, "%s", argv[0]);
	}
	return status_of(pid);
}

static void parse_secrets(const char *arg)
{
	char kind[16];

	if (sscanf(arg, "%15[^:]:%ld", kind, &secrets) != 2 || secrets < 0)
		errx(2, "not KIND:COUNT: %s", arg);
	if (!strcmp(kind, "memfd_secret"))
		front = EXMEM_FRONT_SECRETMEM;
	else if (strcmp(kind, "exmem"))
		errx(2, "unknown kind of secrets: %s", kind);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "age", required_argument, NULL, 'a' },
		{ "secrets", required_argument, NULL, 's' },
		{ }
	};
	long from_pool;
	pid_t holder;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		switch (opt) {
		case 'a':
			aged = true;
			seed = strtoul(optarg, NULL, 0);
			break;
		case 's':
			parse_secrets(optarg);
			break;
		default:
			return 2;
		}
	}
	if (optind == argc)
		errx(2, "usage: scenario [--age SEED] [--secrets KIND:COUNT] -- COMMAND...");

	from_pool = number_in(SECRETMEM_SYSCTL);
	if (front == EXMEM_FRONT_SECRETMEM)
		memfd_secret_from_pool(false);
	holder = start_holder();
	if (from_pool == 1)
		memfd_secret_from_pool(true);
	rc = run(argv + optind);
	kill(holder, SIGKILL);
	status_of(holder);
	return rc;
}
