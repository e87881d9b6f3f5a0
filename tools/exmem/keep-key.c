// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keep a key in exclusive memory: read it directly from a file into exclusive
 * memory, let a helper process use it, and wipe it from both processes.
 *
 * usage: keep-key KEYFILE MESSAGE
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../include/uapi/linux/exclusive_memory.h"

#define DEVICE		"/dev/exclusive_memory"
#define KEY_AREA	4096

/* Messages between the two processes. USE_KEY carries the file descriptor. */
struct message {
	enum { USE_KEY, KEY_USED, KEY_WIPED, KEY_GONE, KEY_STILL_THERE } type;
	uint32_t key_length;
	uint64_t tag;
	char text[256];
};

union fd_control {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* Send @m, and @fd unless it is -1. */
static void send_message(int sock, const struct message *m, int fd)
{
	struct iovec iov = { (void *)m, sizeof(*m) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union fd_control control = {};
	struct cmsghdr *cmsg;

	if (fd != -1) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	if (sendmsg(sock, &msg, MSG_NOSIGNAL) != sizeof(*m))
		err(EXIT_FAILURE, "can't send to the other process");
}

/* Receive a message of type @type. Returns the descriptor that came with it, or -1. */
static int receive_message(int sock, struct message *m, int type)
{
	union fd_control control;
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg;
	ssize_t n;
	int fd = -1;

	n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	if (n == -1)
		err(EXIT_FAILURE, "can't receive from the other process");
	if (n != sizeof(*m) || (int)m->type != type)
		errx(EXIT_FAILURE, "unexpected answer from the other process");

	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

static unsigned char *map_key(int fd, int prot)
{
	void *p = mmap(NULL, KEY_AREA, prot, MAP_SHARED, fd, 0);

	if (p != MAP_FAILED)
		return p;
	switch (errno) {
	case EAGAIN:
		err(EXIT_FAILURE, "over RLIMIT_MEMLOCK or the limit of the cgroup");
	case ENOMEM:
		err(EXIT_FAILURE, "the pool of exclusive memory has no free page");
	default:
		err(EXIT_FAILURE, "can't map " DEVICE);
	}
}

/* The helper */

static sigjmp_buf on_sigbus;

static void sigbus(int sig)
{
	siglongjmp(on_sigbus, sig);
}

static int key_is_gone(const unsigned char *key)
{
	struct sigaction action = { .sa_handler = sigbus };

	if (sigaction(SIGBUS, &action, NULL))
		err(EXIT_FAILURE, "sigaction");
	if (sigsetjmp(on_sigbus, 1))
		return 1;
	__atomic_load_n(key, __ATOMIC_RELAXED);
	return 0;
}

/* A checksum that proves access to the key. Do not use it as a MAC. */
static uint64_t tag(const unsigned char *key, size_t length, const char *text)
{
	uint64_t hash = 0xcbf29ce484222325;
	size_t i;

	for (i = 0; text[i]; i++)
		hash = (hash ^ (unsigned char)text[i] ^ key[i % length]) * 0x100000001b3;
	return hash;
}

static int run_helper(int sock)
{
	struct message m;
	unsigned char *key;
	int fd = receive_message(sock, &m, USE_KEY);

	if (fd == -1 || !m.key_length || m.key_length >= KEY_AREA)
		errx(EXIT_FAILURE, "got no key");
	key = map_key(fd, PROT_READ);
	/* The mapping is enough to use the key. */
	close(fd);

	m.text[sizeof(m.text) - 1] = 0;
	m.tag = tag(key, m.key_length, m.text);
	m.type = KEY_USED;
	send_message(sock, &m, -1);

	receive_message(sock, &m, KEY_WIPED);
	m.type = key_is_gone(key) ? KEY_GONE : KEY_STILL_THERE;
	send_message(sock, &m, -1);
	return 0;
}

/* The keeper. On an error, exit() closes and unmaps everything, which wipes the key. */

static int new_object(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd == -1 && errno == ENOENT)
		err(EXIT_FAILURE, DEVICE ": there is no pool, boot with exmem=SIZE");
	if (fd == -1)
		err(EXIT_FAILURE, DEVICE);
	return fd;
}

/* Read a file directly into @key: no other buffer of this process has it. Returns its length. */
static size_t read_key(const char *path, unsigned char *key)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t n;

	if (fd == -1)
		err(EXIT_FAILURE, "%s", path);
	while ((n = read(fd, key + length, KEY_AREA - length)) > 0)
		length += n;
	if (n == -1)
		err(EXIT_FAILURE, "%s", path);
	close(fd);
	/* A key that fills the whole page may have been truncated. */
	if (!length || length == KEY_AREA)
		errx(EXIT_FAILURE, "%s: not a key of 1 to %d bytes", path, KEY_AREA - 1);
	return length;
}

/* Start the helper, with a socket as its standard input. Returns the other end. */
static int start_helper(pid_t *pid)
{
	char *const argv[] = { "keep-key", "--helper", NULL };
	posix_spawn_file_actions_t actions;
	int sock[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		err(EXIT_FAILURE, "socketpair");
	errno = posix_spawn_file_actions_init(&actions);
	if (!errno)
		errno = posix_spawn_file_actions_adddup2(&actions, sock[1], STDIN_FILENO);
	if (!errno)
		errno = posix_spawn(pid, "/proc/self/exe", &actions, NULL, argv, environ);
	if (errno)
		err(EXIT_FAILURE, "can't start the helper");
	posix_spawn_file_actions_destroy(&actions);
	close(sock[1]);
	return sock[0];
}

static void use_key(int sock, int fd, size_t key_length, const char *text)
{
	struct message m = { .type = USE_KEY, .key_length = key_length };

	snprintf(m.text, sizeof(m.text), "%s", text);
	send_message(sock, &m, fd);
	receive_message(sock, &m, KEY_USED);
	printf("the helper's tag of \"%s\" is %016llx\n", m.text, (unsigned long long)m.tag);
}

static void wipe_key(int sock, int fd)
{
	struct exclusive_memory_range range = { .offset = 0, .length = KEY_AREA };
	struct message m = { .type = KEY_WIPED };

	if (ioctl(fd, EXCLUSIVE_MEMORY_DROP, &range))
		err(EXIT_FAILURE, "EXCLUSIVE_MEMORY_DROP");
	send_message(sock, &m, -1);
	receive_message(sock, &m, KEY_GONE);
	printf("the key is wiped: the helper gets SIGBUS when it reads it\n");
}

int main(int argc, char **argv)
{
	unsigned char *key;
	int fd, sock, status;
	size_t length;
	pid_t pid;

	if (argc == 2 && !strcmp(argv[1], "--helper"))
		return run_helper(STDIN_FILENO);
	if (argc != 3 || strlen(argv[2]) >= sizeof(((struct message *)0)->text))
		errx(2, "usage: keep-key KEYFILE MESSAGE (of less than 256 bytes)");

	fd = new_object();
	key = map_key(fd, PROT_READ | PROT_WRITE);
	length = read_key(argv[1], key);
	printf("a key of %zu bytes is in exclusive memory\n", length);

	sock = start_helper(&pid);
	use_key(sock, fd, length, argv[2]);
	wipe_key(sock, fd);

	munmap(key, KEY_AREA);
	close(fd);
	close(sock);
	if (waitpid(pid, &status, 0) != pid || status)
		errx(EXIT_FAILURE, "the helper failed");
	return 0;
}
