/* SPDX-License-Identifier: GPL-2.0-only */
/* Helpers that the tests of exclusive memory share. */
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../../../include/uapi/linux/exclusive_memory.h"

#define EXMEM_DEV	"/dev/exclusive_memory"
#define EXMEM_SYSFS	"/sys/kernel/mm/exmem/"
#define TRACING		"/sys/kernel/tracing/"
#define SYSCTL_KVM	"/proc/sys/vm/exmem_kvm"
#define SYSCTL_MMAP	"/proc/sys/vm/exmem_mmap"
#define SYSCTL_SECRETMEM	"/proc/sys/vm/exmem_secretmem"
#define PAGE_TABLES	"/sys/kernel/debug/page_tables/kernel"

/* The tracepoints in events/exmem. */
#define EVENT_ALLOC		"exmem_alloc"
#define EVENT_FREE		"exmem_free"
#define EVENT_ALLOC_FAIL	"exmem_alloc_fail"

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

/* The pages that can be allocated: all but the poisoned ones. */
static inline long exmem_usable(void)
{
	return exmem_total() - exmem_value("poisoned_pages");
}

/* For tests of a fixture that has noted exmem_usable() as .usable. */
#define used()	(self->usable - exmem_free())

/* The reason why a test that needs root and so many pages can't run here, or NULL. */
static inline const char *exmem_missing(long pages)
{
	if (geteuid())
		return "needs root";
	if (exmem_total() <= 0)
		return "needs a pool: boot with exmem=64M";
	if (exmem_usable() < pages)
		return "needs a larger pool: boot with exmem=64M";
	return NULL;
}

/* One value of one node's part of the pool, or -1. */
static inline long exmem_node_value(int nid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "node%d/%s", nid, name);
	return exmem_value(path);
}

/* The number after a name in a file of "name number" lines, or -1. */
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

/* A field of the descriptor's fdinfo, or -1. */
static inline long object_info(int fd, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return named_value(path, name);
}

#define REGION_PAGES	512
#define PMD		(REGION_PAGES * PAGE)

/* The number of PMDs that map exclusive memory in this process. */
static inline long pmds_mapped(void)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	long kib, pmds = 0;
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "ExclusivePmdMapped: %ld", &kib) == 1)
			pmds += kib * 1024 / PMD;
	if (f)
		fclose(f);
	return pmds;
}

/* For fallocate(): punch a hole. */
#define HOLE		(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

/* The page faults of this process so far. */
static inline long page_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/* Splits of direct-map leaves since boot. */
static inline long direct_map_splits(void)
{
	return named_value("/proc/vmstat", "direct_map_level2_splits") +
	       named_value("/proc/vmstat", "direct_map_level3_splits");
}

struct exmem_range {
	unsigned long start, end;
};

/* The physical ranges of the pool, from the boot log. Returns their number. */
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

/*
 * For a physical range, add to @seen the bytes that the dump of the direct map covers, and to
 * @mapped those that are mapped. Returns false if the dump can't be read.
 */
static inline bool direct_map_has(const struct exmem_range *range, unsigned long *seen,
				  unsigned long *mapped)
{
	unsigned long from, to, base = 0;
	FILE *f = fopen(PAGE_TABLES, "r");
	bool direct_map = false;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, "---["))
			direct_map = strstr(line, "Low Kernel Mapping");
		if (!direct_map || sscanf(line, "0x%lx-0x%lx", &from, &to) != 2)
			continue;
		if (!base)
			base = from;
		from = from - base > range->start ? from - base : range->start;
		to = to - base < range->end ? to - base : range->end;
		if (from >= to)
			continue;
		*seen += to - from;
		if (strstr(line, " RW ") || strstr(line, " ro "))
			*mapped += to - from;
	}
	return f && !fclose(f);
}

/* Write @text to a file. */
static inline bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return ok;
}

/* Can the pool's events be traced? */
static inline bool exmem_can_trace(void)
{
	return !access(TRACING "events/exmem/enable", W_OK);
}

/* Clear the trace and enable the pool's events. */
static inline bool exmem_trace_on(void)
{
	return put(TRACING "trace", "\n") && put(TRACING "events/exmem/enable", "1");
}

static inline bool exmem_trace_off(void)
{
	return put(TRACING "events/exmem/enable", "0");
}

/* The number of lines of the trace that have both texts, or -1. */
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

/* An event of the trace: pages that were allocated. */
struct exmem_alloc {
	unsigned long pfn, count;
	char caller[16];
};

/* Read the next alloc event whose line has @text, too. */
static inline bool next_alloc(FILE *trace, const char *text, struct exmem_alloc *alloc)
{
	char line[512], *event;

	while (trace && fgets(line, sizeof(line), trace)) {
		event = strstr(line, ": " EVENT_ALLOC ": ");
		if (event && strstr(line, text))
			return sscanf(event, ": " EVENT_ALLOC
				      ": pfn=%lx node=%*d count=%lu caller=%15s", &alloc->pfn,
				      &alloc->count, alloc->caller) == 3;
	}
	return false;
}

static inline void *exmem_map(int fd, size_t pages, size_t pgoff)
{
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, pgoff * PAGE);
}

/* The front ends. */
enum exmem_front {
	EXMEM_FRONT_DEVICE,
	EXMEM_FRONT_MMAP,
	EXMEM_FRONT_SECRETMEM,
};

/* A descriptor of a new object of @size bytes, or -1 from a front end without descriptors. */
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

/* Map the first @size bytes of the object, at @at unless that is NULL. */
static inline void *exmem_front_map(enum exmem_front front, int fd, void *at, size_t size, int prot)
{
	int flags = MAP_SHARED_VALIDATE | (at ? MAP_FIXED : 0);

	if (front == EXMEM_FRONT_MMAP)
		flags |= MAP_ANONYMOUS | MAP_EXCLUSIVE;
	return mmap(at, size, prot, flags, fd, 0);
}

/* As exmem_missing(), for a front end that the administrator may have turned off. */
static inline const char *exmem_front_missing(enum exmem_front front, long pages)
{
	const char *missing = exmem_missing(pages);

	if (missing)
		return missing;
	if (front == EXMEM_FRONT_MMAP && number_in(SYSCTL_MMAP) != 1)
		return "needs vm.exmem_mmap=1";
	if (front == EXMEM_FRONT_SECRETMEM && number_in(SYSCTL_SECRETMEM) != 1)
		return "needs vm.exmem_secretmem=1";
	return NULL;
}

/* For tests of a fixture whose variants name their front end as .front. */
#define has_fd()	(variant->front != EXMEM_FRONT_MMAP)
#define open_front(n)	exmem_front_open(variant->front, (n) * PAGE)
#define map_front(fd, n) \
	exmem_front_map(variant->front, fd, NULL, (n) * PAGE, PROT_READ | PROT_WRITE)

/* Choose where new memfd_secret() files allocate, if there is a choice. */
static inline void memfd_secret_from_pool(bool from_the_pool)
{
	put(SYSCTL_SECRETMEM, from_the_pool ? "1" : "0");
}

/* The administrator's choice: the tests use the pool, and restore it when they end. */
static bool exmem_secretmem_chosen;

__attribute__((constructor)) static void use_pool_for_memfd_secret(void)
{
	exmem_secretmem_chosen = number_in(SYSCTL_SECRETMEM) == 1;
	memfd_secret_from_pool(true);
}

__attribute__((destructor)) static void restore_memfd_secret(void)
{
	memfd_secret_from_pool(exmem_secretmem_chosen);
}

/* Punch a hole of @pages pages into an object of the device, from page @page on. */
static inline int exmem_punch_hole(int fd, unsigned long page, unsigned long pages)
{
	struct exclusive_memory_range range = { page * PAGE, pages * PAGE };

	return ioctl(fd, EXCLUSIVE_MEMORY_DROP, &range);
}

/* A message of one byte with room for one descriptor. */
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

/* Receive the descriptor of the next message, or -1. */
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

/* Write @value to @p, or read it if @value is negative. Returns the signal raised, or 0. */
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

/* Does a line of the file contain @text? */
static inline bool file_contains(const char *path, const char *text)
{
	char line[256];
	FILE *f = fopen(path, "r");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, text);
	if (f)
		fclose(f);
	return found;
}

/* For tests: @call fails with @error. */
#define EXPECT_ERROR(call, error)			\
do {							\
	EXPECT_EQ(call, -1);				\
	EXPECT_EQ(errno, error);			\
} while (0)

static inline bool all_bytes(const void *p, unsigned char value, size_t size)
{
	const unsigned char *c = p;

	return !size || (c[0] == value && !memcmp(c, c + 1, size - 1));
}

#endif /* _SELFTESTS_EXMEM_H */
