/* SPDX-License-Identifier: GPL-2.0-only */
/* Small things that the tests of exclusive memory share. */
#ifndef _SELFTESTS_EXMEM_H
#define _SELFTESTS_EXMEM_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../../../include/uapi/linux/exclusive_memory.h"

#define EXMEM_DEV	"/dev/exclusive_memory"
#define EXMEM_SYSFS	"/sys/kernel/mm/exmem/"
#define TRACING		"/sys/kernel/tracing/"

#define PAGE		4096UL

/* The number in a file, or -1. */
static inline long number_in(const char *path)
{
	FILE *f = fopen(path, "r");
	long value = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%ld", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

/* One value of the pool, or -1. */
static inline long exmem_value(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), EXMEM_SYSFS "%s", name);
	return number_in(path);
}

static inline long exmem_total(void)
{
	return exmem_value("total_pages");
}

static inline long exmem_free(void)
{
	return exmem_value("free_pages");
}

/* One value of one node's part of the pool, or -1. */
static inline long exmem_node_value(int nid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "node%d/%s", nid, name);
	return exmem_value(path);
}

/* The number behind a name in a file of "name number" lines, or -1. */
static inline long named_value(const char *path, const char *name)
{
	size_t len = strlen(name);
	char line[256];
	long value = -1;
	FILE *f = fopen(path, "r");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, len) && strspn(line + len, ": \t")) {
			value = strtol(line + len + strspn(line + len, ": \t"), NULL, 10);
			break;
		}
	}
	fclose(f);
	return value;
}

struct exmem_range {
	unsigned long start, end;
};

/* The ranges that the boot lines name. Returns how many. */
static inline int exmem_ranges(struct exmem_range *ranges, int max)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK), nr = 0;
	char line[2048], *mem;
	ssize_t n;

	while ((n = read(kmsg, line, sizeof(line) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		line[n > 0 ? n : 0] = 0;
		mem = strstr(line, ";exmem: ");
		mem = mem ? strstr(mem, "[mem ") : NULL;
		if (!mem || nr == max ||
		    sscanf(mem, "[mem %lx-%lx]", &ranges[nr].start, &ranges[nr].end) != 2)
			continue;
		ranges[nr++].end++;
	}
	close(kmsg);
	return nr;
}

static inline bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return ok;
}

/* Empty the trace, and let the pool's events begin or end. */
static inline bool exmem_trace_on(void)
{
	return put(TRACING "trace", "\n") && put(TRACING "events/exmem/enable", "1");
}

static inline bool exmem_trace_off(void)
{
	return put(TRACING "events/exmem/enable", "0");
}

/* How many lines of the trace have both texts, or -1. */
static inline int traced(const char *one, const char *other)
{
	FILE *f = fopen(TRACING "trace", "r");
	char line[512];
	int n = 0;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		n += strstr(line, one) && strstr(line, other);
	fclose(f);
	return n;
}

static inline void *exmem_map(int fd, size_t pages, size_t pgoff)
{
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, pgoff * PAGE);
}

/* The ways to get exclusive memory. */
enum exmem_front {
	EXMEM_FRONT_DEVICE,
	EXMEM_FRONT_MMAP,
	EXMEM_FRONT_SECRETMEM,
};

/* An object of @size bytes, where one is opened; -1 where not. */
static inline int exmem_front_open(enum exmem_front front, size_t size)
{
	int fd;

	switch (front) {
	case EXMEM_FRONT_DEVICE:
		return open(EXMEM_DEV, O_RDWR | O_CLOEXEC);
	case EXMEM_FRONT_SECRETMEM:
		fd = syscall(SYS_memfd_secret, O_CLOEXEC);
		return fd >= 0 && ftruncate(fd, size) ? -1 : fd;
	default:
		return -1;
	}
}

/* The first @size bytes of it, at @at unless that is NULL. */
static inline void *exmem_front_map(enum exmem_front front, int fd, void *at, size_t size, int prot)
{
	int flags = MAP_SHARED_VALIDATE | (at ? MAP_FIXED : 0);

	if (front == EXMEM_FRONT_MMAP)
		flags |= MAP_ANONYMOUS | MAP_EXCLUSIVE;
	return mmap(at, size, prot, flags, fd, 0);
}

/* For tests of a fixture whose variants are these ways, as .front. */
#define has_fd()	(variant->front != EXMEM_FRONT_MMAP)
#define open_front(n)	exmem_front_open(variant->front, (n) * PAGE)
#define map_front(fd, n) \
	exmem_front_map(variant->front, fd, NULL, (n) * PAGE, PROT_READ | PROT_WRITE)

/* Where memfd_secret() takes its memory, if there is a choice. */
static inline void memfd_secret_from_pool(bool from_the_pool)
{
	put("/proc/sys/vm/exmem_secretmem", from_the_pool ? "1" : "0");
}

/* Give back @pages pages of an object of the device, from page @page on. */
static inline int exmem_drop(int fd, unsigned long page, unsigned long pages)
{
	struct exclusive_memory_range range = { page * PAGE, pages * PAGE };

	return ioctl(fd, EXCLUSIVE_MEMORY_DROP, &range);
}

/* A message of one byte, with room for one descriptor. */
struct fd_message {
	struct msghdr head;
	struct iovec part;
	char byte;
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
};

static inline void fd_message_init(struct fd_message *m)
{
	memset(m, 0, sizeof(*m));
	m->part = (struct iovec) { &m->byte, 1 };
	m->head.msg_iov = &m->part;
	m->head.msg_iovlen = 1;
	m->head.msg_control = &m->control;
	m->head.msg_controllen = sizeof(m->control);
}

static inline bool send_fd(int sock, int fd)
{
	struct fd_message m;

	fd_message_init(&m);
	m.control.head.cmsg_level = SOL_SOCKET;
	m.control.head.cmsg_type = SCM_RIGHTS;
	m.control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&m.control.head), &fd, sizeof(fd));
	return sendmsg(sock, &m.head, 0) == 1;
}

/* The descriptor that comes with the next message, or -1. */
static inline int receive_fd(int sock)
{
	struct fd_message m;
	int fd;

	fd_message_init(&m);
	if (recvmsg(sock, &m.head, 0) != 1 || m.head.msg_controllen != sizeof(m.control))
		return -1;
	memcpy(&fd, CMSG_DATA(&m.control.head), sizeof(fd));
	return fd;
}

static __thread sigjmp_buf exmem_on_fault;

static inline void exmem_fault(int sig)
{
	siglongjmp(exmem_on_fault, sig);
}

/* The signal that reading, or writing @value to, @p raises, or 0. */
static inline int touch(char *p, int value)
{
	static bool caught;
	int sig;

	if (!caught) {
		signal(SIGBUS, exmem_fault);
		signal(SIGSEGV, exmem_fault);
		caught = true;
	}
	sig = sigsetjmp(exmem_on_fault, 1);
	if (sig)
		return sig;
	if (value < 0)
		__atomic_load_n(p, __ATOMIC_RELAXED);
	else
		__atomic_store_n(p, value, __ATOMIC_RELAXED);
	return 0;
}

/* Does the first line of the file hold @text? */
static inline bool file_has(const char *path, const char *text)
{
	char line[256] = "";
	FILE *f = fopen(path, "r");
	bool found = f && fgets(line, sizeof(line), f) && strstr(line, text);

	if (f)
		fclose(f);
	return found;
}

static inline bool all_bytes(const void *p, unsigned char value, size_t size)
{
	const unsigned char *c = p;

	return !size || (c[0] == value && !memcmp(c, c + 1, size - 1));
}

#endif /* _SELFTESTS_EXMEM_H */
