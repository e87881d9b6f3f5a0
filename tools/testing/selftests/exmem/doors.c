// SPDX-License-Identifier: GPL-2.0-only
/*
 * The doors: every way in which others could reach memory. Each is tried on the exclusive memory
 * of each front end, where it must fail, and on ordinary memory, to show that it is a door.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/elf.h>
#include <linux/futex.h>
#include <linux/hw_breakpoint.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/mempolicy.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "../../../../mm/gup_test.h"
#include "core.h"
#include "exmem.h"
#include "kvm_pfns.h"
#include "../kselftest_harness.h"

#define SECRET	"what the kernel must not know"

FIXTURE(door)
{
	unsigned long pfn;
	char *secret;
	long usable;
	int fd;		/* of the secret, or -1 if it has none */
};

#define ORDINARY	-1

FIXTURE_VARIANT(door)
{
	bool open;	/* ordinary memory: the doors are open */
	int front;	/* enum exmem_front, or ORDINARY */
	const char *caller;
	bool pmd;	/* a PMD maps the secret */
};

FIXTURE_VARIANT_ADD(door, ordinary) { .open = true, .front = ORDINARY };
FIXTURE_VARIANT_ADD(door, device) { .front = EXMEM_FRONT_DEVICE, .caller = "device" };
FIXTURE_VARIANT_ADD(door, map_exclusive) { .front = EXMEM_FRONT_MMAP, .caller = "mmap" };
FIXTURE_VARIANT_ADD(door, memfd_secret) { .front = EXMEM_FRONT_SECRETMEM, .caller = "secretmem" };
FIXTURE_VARIANT_ADD(door, device_pmd) { false, EXMEM_FRONT_DEVICE, "device", .pmd = true };
FIXTURE_VARIANT_ADD(door, map_exclusive_pmd) { false, EXMEM_FRONT_MMAP, "mmap", .pmd = true };

static size_t secret_size(const struct _fixture_variant_door *variant)
{
	return variant->pmd ? PMD : PAGE;
}

/* Memory with the secret in its first page. */
static char *new_secret(const struct _fixture_variant_door *variant, int *fd)
{
	size_t size = secret_size(variant);
	int front = variant->front;
	char *p;

	if (front == ORDINARY) {
		*fd = memfd_create("ordinary", MFD_CLOEXEC);
		if (ftruncate(*fd, PAGE))
			return MAP_FAILED;
		p = exmem_map(*fd, 1, 0);
	} else {
		*fd = exmem_front_open(front, size);
		p = exmem_front_map(front, *fd, NULL, size, PROT_READ | PROT_WRITE);
	}
	if (p != MAP_FAILED)
		memcpy(p, SECRET, sizeof(SECRET));
	return p;
}

#define PAGEMAP_PFN	0x007fffffffffffff
#define PAGEMAP_PRESENT	0xc000000000000000	/* in memory, or swapped out */

static uint64_t pagemap_entry(pid_t pid, const void *p)
{
	uint64_t entry = -1;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY);
	if (pread(fd, &entry, sizeof(entry), (uintptr_t)p / PAGE * sizeof(entry)) != sizeof(entry))
		entry = -1;
	close(fd);
	return entry;
}

/* The first page that this process allocated through @caller, if there were exactly @pages. */
static unsigned long pfn_allocated(const char *caller, unsigned long pages)
{
	FILE *f = fopen(TRACING "trace", "r");
	unsigned long pfn = 0, nr = 0;
	struct exmem_alloc alloc;
	char me[16];

	snprintf(me, sizeof(me), "-%d ", getpid());
	while (next_alloc(f, me, &alloc)) {
		pfn = alloc.pfn;
		nr += strcmp(alloc.caller, caller) ? 2 : alloc.count;
	}
	if (f)
		fclose(f);
	return nr == pages ? pfn : 0;
}

static bool in_pool(unsigned long pfn)
{
	struct exmem_range ranges[16];
	int nr = exmem_ranges(ranges, ARRAY_SIZE(ranges));

	while (nr--)
		if (pfn * PAGE >= ranges[nr].start && pfn * PAGE < ranges[nr].end)
			return true;
	return false;
}

FIXTURE_SETUP(door)
{
	const char *missing = variant->open ? exmem_missing(2048) :
					      exmem_front_missing(variant->front, 2048);

	if (missing)
		SKIP(return, "%s", missing);
	if (!exmem_can_trace())
		SKIP(return, "needs tracefs");
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_TRUE(exmem_trace_on());
	self->secret = new_secret(variant, &self->fd);
	ASSERT_TRUE(exmem_trace_off());
	ASSERT_NE(self->secret, MAP_FAILED);
	if (variant->open)
		self->pfn = pagemap_entry(getpid(), self->secret) & PAGEMAP_PFN;
	else
		self->pfn = pfn_allocated(variant->caller, secret_size(variant) / PAGE);
	ASSERT_NE(self->pfn, 0);
	ASSERT_EQ(in_pool(self->pfn), !variant->open);
	ASSERT_EQ(pmds_mapped(), variant->pmd);
}

FIXTURE_TEARDOWN(door)
{
	EXPECT_STREQ(self->secret, SECRET);
}

/* @call returns @value if the door is open, and fails with @error if not. */
#define EXPECT_DOOR(call, value, error)			\
do {							\
	ssize_t _ret;					\
							\
	errno = 0;					\
	_ret = (call);					\
	EXPECT_EQ(_ret, variant->open ? (ssize_t)(value) : -1);	\
	EXPECT_EQ(errno, variant->open ? 0 : (error));	\
} while (0)

/* Another process, with a secret of its own. */
struct owner {
	pid_t pid;
	char *secret;
	int go;
};

static bool owner_start(const struct _fixture_variant_door *variant, struct owner *owner)
{
	int ready[2], go[2], fd;
	char *p, c;

	if (pipe(ready) || pipe(go))
		return false;
	owner->pid = fork();
	if (!owner->pid) {
		close(go[1]);
		p = new_secret(variant, &fd);
		if (write(ready[1], &p, sizeof(p)) != sizeof(p) || p == MAP_FAILED)
			_exit(1);
		if (read(go[0], &c, 1) < 0)
			_exit(2);
		_exit(strcmp(p, SECRET) ? 3 : 0);
	}
	close(ready[1]);
	close(go[0]);
	owner->go = go[1];
	return read(ready[0], &owner->secret, sizeof(p)) == sizeof(p) &&
	       owner->secret != MAP_FAILED;
}

/* Let the owner exit. Returns 0 if its secret has not changed. */
static int owner_end(struct owner *owner)
{
	int status;

	close(owner->go);
	return waitpid(owner->pid, &status, 0) == owner->pid ? status : -1;
}

TEST_F(door, vmsplice)
{
	struct iovec iov = { self->secret, sizeof(SECRET) };
	int fds[2];

	ASSERT_EQ(pipe(fds), 0);
	EXPECT_DOOR(vmsplice(fds[1], &iov, 1, 0), sizeof(SECRET), EFAULT);
	EXPECT_DOOR(vmsplice(fds[1], &iov, 1, SPLICE_F_GIFT), sizeof(SECRET), EFAULT);
}

TEST_F(door, process_vm)
{
	char buf[sizeof(SECRET)] = "x";
	struct iovec local = { buf, sizeof(buf) }, remote = { NULL, sizeof(SECRET) };
	struct owner owner;

	ASSERT_TRUE(owner_start(variant, &owner));
	remote.iov_base = owner.secret;
	EXPECT_DOOR(process_vm_readv(owner.pid, &local, 1, &remote, 1, 0), sizeof(SECRET), EFAULT);
	EXPECT_DOOR(process_vm_writev(owner.pid, &local, 1, &remote, 1, 0), sizeof(SECRET), EFAULT);
	EXPECT_STREQ(buf, variant->open ? SECRET : "x");
	EXPECT_EQ(owner_end(&owner), 0);

	/* The process itself can't do it, either: the remote side has to be pinned. */
	remote.iov_base = self->secret;
	EXPECT_DOOR(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), sizeof(SECRET), EFAULT);
}

TEST_F(door, proc_mem)
{
	char buf[sizeof(SECRET)] = "x", path[64];
	struct owner owner;
	off_t at;
	int mem;

	ASSERT_TRUE(owner_start(variant, &owner));
	at = (uintptr_t)owner.secret;
	snprintf(path, sizeof(path), "/proc/%d/mem", owner.pid);
	mem = open(path, O_RDWR);
	ASSERT_GE(mem, 0);
	EXPECT_DOOR(pread(mem, buf, sizeof(buf), at), sizeof(buf), EIO);
	EXPECT_DOOR(pwrite(mem, buf, sizeof(buf), at), sizeof(buf), EIO);
	EXPECT_STREQ(buf, variant->open ? SECRET : "x");
	EXPECT_EQ(owner_end(&owner), 0);

	mem = open("/proc/self/mem", O_RDWR);
	EXPECT_DOOR(pread(mem, buf, sizeof(buf), (uintptr_t)self->secret), sizeof(buf), EIO);
}

TEST_F(door, ptrace)
{
	struct owner owner;
	long word;

	ASSERT_TRUE(owner_start(variant, &owner));
	memcpy(&word, SECRET, sizeof(word));
	ASSERT_EQ(ptrace(PTRACE_ATTACH, owner.pid, NULL, NULL), 0);
	ASSERT_EQ(waitpid(owner.pid, NULL, 0), owner.pid);
	EXPECT_DOOR(ptrace(PTRACE_PEEKDATA, owner.pid, owner.secret, NULL), word, EIO);
	EXPECT_DOOR(ptrace(PTRACE_PEEKTEXT, owner.pid, owner.secret, NULL), word, EIO);
	if (!variant->open)
		word = 0;
	EXPECT_DOOR(ptrace(PTRACE_POKEDATA, owner.pid, owner.secret, word), 0, EIO);
	ASSERT_EQ(ptrace(PTRACE_DETACH, owner.pid, NULL, NULL), 0);
	EXPECT_EQ(owner_end(&owner), 0);
}

/* The number of file descriptors of this process whose file has @name in its name. */
static int files_called(const char *name)
{
	char path[64], link[64];
	int fd, n = 0;
	ssize_t len;

	for (fd = 0; fd < 100; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		len = readlink(path, link, sizeof(link) - 1);
		link[len < 0 ? 0 : len] = 0;
		n += !!strstr(link, name);
	}
	return n;
}

TEST_F(door, file_read_and_write)
{
	int at_error = variant->front == EXMEM_FRONT_SECRETMEM ? ESPIPE : EINVAL;
	char buf[sizeof(SECRET)] = "x";
	struct iovec iov = { buf, sizeof(buf) };

	if (self->fd < 0) {
		EXPECT_EQ(files_called("exclusive_memory"), 0);
		return;
	}
	EXPECT_DOOR(read(self->fd, buf, sizeof(buf)), sizeof(buf), EINVAL);
	EXPECT_DOOR(pread(self->fd, buf, sizeof(buf), 0), sizeof(buf), at_error);
	EXPECT_DOOR(preadv(self->fd, &iov, 1, 0), sizeof(buf), at_error);
	EXPECT_STREQ(buf, variant->open ? SECRET : "x");
	EXPECT_DOOR(write(self->fd, buf, sizeof(buf)), sizeof(buf), EINVAL);
	EXPECT_DOOR(pwrite(self->fd, buf, sizeof(buf), 0), sizeof(buf), at_error);
	EXPECT_DOOR(pwritev(self->fd, &iov, 1, 0), sizeof(buf), at_error);
}

TEST_F(door, file_splice)
{
	int other = memfd_create("other", 0), fds[2];
	off_t from = 0, to = 0;

	if (self->fd < 0) {
		EXPECT_EQ(files_called("exclusive_memory"), 0);
		return;
	}
	ASSERT_EQ(pipe(fds), 0);
	EXPECT_DOOR(splice(self->fd, NULL, fds[1], NULL, sizeof(SECRET), 0), sizeof(SECRET),
		    EINVAL);
	ASSERT_EQ(write(fds[1], SECRET, sizeof(SECRET)), sizeof(SECRET));
	EXPECT_DOOR(splice(fds[0], NULL, self->fd, NULL, sizeof(SECRET), 0), sizeof(SECRET),
		    EINVAL);

	ASSERT_EQ(lseek(self->fd, 0, SEEK_SET), variant->front == EXMEM_FRONT_SECRETMEM ? -1 : 0);
	EXPECT_DOOR(sendfile(other, self->fd, NULL, sizeof(SECRET)), sizeof(SECRET), EINVAL);
	ASSERT_EQ(pwrite(other, SECRET, sizeof(SECRET), 0), sizeof(SECRET));
	EXPECT_DOOR(sendfile(self->fd, other, &from, sizeof(SECRET)), sizeof(SECRET), EINVAL);
	from = 0;
	EXPECT_DOOR(copy_file_range(self->fd, &from, other, &to, sizeof(SECRET), 0),
		    sizeof(SECRET), variant->front == EXMEM_FRONT_DEVICE ? EINVAL : EXDEV);
}

/* The first byte of a file opened by name and mapped, or -1 if that fails. */
static int reopened(const char *path)
{
	int fd = open(path, O_RDWR), c = -1;
	char *p;

	if (fd < 0)
		return -1;
	p = exmem_map(fd, 1, 0);
	if (p != MAP_FAILED)
		c = *p;
	close(fd);
	return c;
}

TEST_F(door, file_by_name)
{
	int want = variant->front == EXMEM_FRONT_DEVICE ? 0 : -1;
	struct stat st;
	char path[64];

	if (variant->open)
		want = *SECRET;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)self->secret,
		 (unsigned long)self->secret + secret_size(variant));
	ASSERT_EQ(lstat(path, &st), 0);
	errno = 0;
	EXPECT_EQ(reopened(path), want);
	EXPECT_EQ(errno, want < 0 ? ENXIO : 0);
	if (self->fd < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	errno = 0;
	EXPECT_EQ(reopened(path), want);
	EXPECT_EQ(errno, want < 0 ? ENXIO : 0);
}

/* The kernel itself reads files that are executed. */
TEST_F(door, file_exec)
{
	char *const args[] = { "secret", NULL };

	if (self->fd < 0) {
		EXPECT_EQ(files_called("exclusive_memory"), 0);
		return;
	}
	/* The device node's mode stays as it is. */
	if (variant->front != EXMEM_FRONT_DEVICE)
		ASSERT_EQ(fchmod(self->fd, 0700), 0);
	EXPECT_ERROR(execveat(self->fd, "", args, NULL, AT_EMPTY_PATH),
		     variant->open ? ENOEXEC : EACCES);
}

#define DISK	"/dev/ram0"

TEST_F(door, direct_io)
{
	int disk = open(DISK, O_RDWR | O_DIRECT);

	if (disk < 0)
		SKIP(return, "needs " DISK);
	EXPECT_DOOR(pwrite(disk, self->secret, PAGE, 0), PAGE, EFAULT);
	EXPECT_DOOR(pread(disk, self->secret, PAGE, 0), PAGE, EFAULT);
}

/* The result of an AIO request: bytes, or a negative error. */
static long aio(int fd, int opcode, void *p)
{
	struct iocb cb = {
		.aio_fildes = fd,
		.aio_lio_opcode = opcode,
		.aio_buf = (uintptr_t)p,
		.aio_nbytes = PAGE,
	};
	struct iocb *cbs = &cb;
	struct io_event event = {};
	aio_context_t ctx = 0;
	long ret = -1;

	if (syscall(SYS_io_setup, 1, &ctx))
		return -1000;
	if (syscall(SYS_io_submit, ctx, 1, &cbs) == 1 &&
	    syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL) == 1)
		ret = event.res;
	syscall(SYS_io_destroy, ctx);
	return ret;
}

TEST_F(door, aio)
{
	int direct = open(DISK, O_RDWR | O_DIRECT), plain = memfd_create("plain", 0);
	long want = variant->open ? PAGE : -EFAULT;

	if (direct < 0)
		SKIP(return, "needs " DISK);
	EXPECT_EQ(aio(direct, IOCB_CMD_PWRITE, self->secret), want);
	EXPECT_EQ(aio(direct, IOCB_CMD_PREAD, self->secret), want);

	/* Without O_DIRECT the kernel copies, which the owner may ask for. */
	EXPECT_EQ(aio(plain, IOCB_CMD_PWRITE, self->secret), PAGE);
	memset(self->secret, 0, PAGE);
	EXPECT_EQ(aio(plain, IOCB_CMD_PREAD, self->secret), PAGE);
}

#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP	0x4000
#endif

static int uring(struct io_uring_params *params)
{
	return syscall(SYS_io_uring_setup, 4, params);
}

static int uring_register(int ring, int opcode, void *arg)
{
	return syscall(SYS_io_uring_register, ring, opcode, arg, 1);
}

TEST_F(door, io_uring_buffers)
{
	struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)self->secret, .ring_entries = 4 };
	struct iovec iov = { self->secret, PAGE };
	struct io_uring_params params = {};
	int ring = uring(&params);

	ASSERT_GE(ring, 0);
	EXPECT_DOOR(uring_register(ring, IORING_REGISTER_BUFFERS, &iov), 0, EFAULT);
	EXPECT_DOOR(uring_register(ring, IORING_REGISTER_PBUF_RING, &reg), 0, EFAULT);
}

/* The rings themselves, in the user's memory. */
TEST_F(door, io_uring_rings)
{
	struct io_uring_params params = { .flags = IORING_SETUP_NO_MMAP };
	__u64 *sq_addr = (__u64 *)(&params.sq_off + 1) - 1;
	__u64 *cq_addr = (__u64 *)(&params.cq_off + 1) - 1;
	int fds[2];

	/* The rings overwrite memory: not self->secret. */
	*sq_addr = (uintptr_t)new_secret(variant, &fds[0]);
	*cq_addr = (uintptr_t)new_secret(variant, &fds[1]);
	errno = 0;
	EXPECT_EQ(uring(&params) >= 0, variant->open);
	EXPECT_EQ(errno, variant->open ? 0 : EFAULT);
}

/* The key of a shared futex is its page, or the page's file. */
static int futex(void *p, int op, int value)
{
	struct timespec soon = { 0, 1000000 };

	return syscall(SYS_futex, p, op, value, &soon, NULL, 0);
}

TEST_F(door, futex)
{
	int *word = (int *)(self->secret + 64);

	EXPECT_DOOR(futex(word, FUTEX_WAKE, 1), 0, EFAULT);
	EXPECT_ERROR(futex(word, FUTEX_WAIT, 0), variant->open ? ETIMEDOUT : EFAULT);
	EXPECT_ERROR(futex(word, FUTEX_WAIT, 1), variant->open ? EAGAIN : EFAULT);
	EXPECT_DOOR(futex(word, FUTEX_LOCK_PI, 0), 0, EFAULT);
	*word = getpid();
	EXPECT_DOOR(futex(word, FUTEX_UNLOCK_PI, 0), 0, EFAULT);
	*word = 0;

	/* The key of a private futex is its address. */
	EXPECT_EQ(futex(word, FUTEX_WAKE_PRIVATE, 1), 0);
	EXPECT_ERROR(futex(word, FUTEX_WAIT_PRIVATE, 0), ETIMEDOUT);
	EXPECT_ERROR(futex(word, FUTEX_WAIT_PRIVATE, 1), EAGAIN);
	EXPECT_EQ(futex(word, FUTEX_LOCK_PI_PRIVATE, 0), 0);
	EXPECT_EQ(*word, getpid());
	EXPECT_EQ(futex(word, FUTEX_UNLOCK_PI_PRIVATE, 0), 0);
}

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC	0x8000
#endif

static int uffd_register(__u64 features, __u64 mode, char *p)
{
	struct uffdio_register reg = { { (uintptr_t)p, PAGE }, mode };
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC), ret;

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return -2;
	ret = ioctl(fd, UFFDIO_REGISTER, &reg);
	close(fd);
	return ret;
}

TEST_F(door, userfaultfd)
{
	EXPECT_DOOR(uffd_register(0, UFFDIO_REGISTER_MODE_MISSING, self->secret), 0, EINVAL);
	EXPECT_DOOR(uffd_register(UFFD_FEATURE_MINOR_SHMEM, UFFDIO_REGISTER_MODE_MINOR,
				  self->secret), 0, EINVAL);
	EXPECT_DOOR(uffd_register(UFFD_FEATURE_PAGEFAULT_FLAG_WP, UFFDIO_REGISTER_MODE_WP,
				  self->secret), 0, EINVAL);
	/* Asynchronous write-protection accepts any other memory. */
	EXPECT_DOOR(uffd_register(UFFD_FEATURE_WP_ASYNC, UFFDIO_REGISTER_MODE_WP, self->secret),
		    0, EINVAL);
}

#define KSM	"/sys/kernel/mm/ksm/"

/* Have KSM scan everything several times: pages are merged once they are stable. */
static bool ksm_scan(void)
{
	long end = number_in(KSM "full_scans") + 3;
	int i;

	if (!put(KSM "pages_to_scan", "1000") || !put(KSM "sleep_millisecs", "10") ||
	    !put(KSM "run", "1"))
		return false;
	for (i = 0; i < 600 && number_in(KSM "full_scans") < end; i++)
		usleep(100000);
	return number_in(KSM "full_scans") >= end;
}

/*
 * Two pages with the same contents as a third one that can be merged for sure. Ordinary
 * memory must be private for that.
 */
TEST_F_TIMEOUT(door, ksm, 120)
{
	int i, fd;
	char *p;

	if (access(KSM "run", W_OK))
		SKIP(return, "needs " KSM);
	for (i = 0; i < 3; i++) {
		if (!i || variant->open)
			p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 -1, 0);
		else
			p = new_secret(variant, &fd);
		ASSERT_NE(p, MAP_FAILED);
		memcpy(p, SECRET, sizeof(SECRET));
		/* Advice never fails, but it does not make memory mergeable. */
		EXPECT_EQ(madvise(p, PAGE, MADV_MERGEABLE), 0);
	}
	ASSERT_TRUE(ksm_scan());
	EXPECT_EQ(number_in("/proc/self/ksm_merging_pages"), variant->open ? 3 : 0);
	EXPECT_TRUE(put(KSM "run", "2"));
}

static long locked_kb(void)
{
	return named_value("/proc/self/status", "VmLck");
}

TEST_F(door, mlock)
{
	long kb = variant->open ? 4 : 0;
	int fd;

	EXPECT_EQ(locked_kb(), 0);
	EXPECT_EQ(mlock(self->secret, PAGE), 0);
	EXPECT_EQ(locked_kb(), kb);
	EXPECT_EQ(munlock(self->secret, PAGE), 0);
	EXPECT_EQ(locked_kb(), 0);
	EXPECT_EQ(mlock2(self->secret, PAGE, MLOCK_ONFAULT), 0);
	EXPECT_EQ(locked_kb(), kb);
	EXPECT_EQ(munlock(self->secret, PAGE), 0);
	EXPECT_EQ(locked_kb(), 0);
	/* The other memory of this process is locked, too. */
	EXPECT_EQ(mlockall(MCL_CURRENT), 0);
	EXPECT_GT(locked_kb(), 0);
	kb += locked_kb();
	EXPECT_EQ(mlockall(MCL_FUTURE), 0);
	EXPECT_NE(new_secret(variant, &fd), MAP_FAILED);
	EXPECT_EQ(locked_kb(), kb);
	EXPECT_EQ(munlockall(), 0);
	EXPECT_EQ(locked_kb(), 0);
	/* Locking and unlocking neither allocate nor free pages. */
	EXPECT_EQ(used(), variant->open ? 0 : 2 * secret_size(variant) / PAGE);
	EXPECT_STREQ(self->secret, SECRET);
}

static int nr_nodes(void)
{
	char path[64];
	int n = 0;

	do
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", n);
	while (!access(path, F_OK) && ++n);
	return n;
}

/* Move the page at @p to node @nid, or return its node if @nid is negative. */
static int move_page(pid_t pid, void *p, int nid)
{
	int status = -1000;

	if (syscall(SYS_move_pages, pid, 1UL, &p, nid < 0 ? NULL : &nid, &status,
		    nid < 0 ? 0 : MPOL_MF_MOVE_ALL) < 0)
		return -errno;
	return status;
}

/* The pool's events in the trace: a page can't move without an allocation. */
static int pool_events(void)
{
	return traced(": exmem_", "");
}

TEST_F(door, move_pages)
{
	int n = nr_nodes(), nid;
	unsigned long mask;

	ASSERT_GT(n, 0);
	ASSERT_TRUE(exmem_trace_on());
	for (nid = n - 1; nid >= 0; nid--) {
		EXPECT_EQ(move_page(0, self->secret, nid), variant->open ? nid : -EFAULT);
		EXPECT_EQ(move_page(0, self->secret, -1), variant->open ? nid : -ENOENT);
	}
	for (nid = n - 1; nid >= 0; nid--) {
		mask = 1UL << nid;
		EXPECT_EQ(syscall(SYS_mbind, self->secret, PAGE, MPOL_BIND, &mask, 64,
				  MPOL_MF_MOVE | MPOL_MF_STRICT), 0);
		EXPECT_EQ(move_page(0, self->secret, -1), variant->open ? nid : -ENOENT);
		EXPECT_EQ(syscall(SYS_mbind, self->secret, PAGE, MPOL_BIND, &mask, 64,
				  MPOL_MF_MOVE_ALL), 0);
	}
	EXPECT_DOOR(syscall(SYS_get_mempolicy, &nid, NULL, 0, self->secret,
			    MPOL_F_NODE | MPOL_F_ADDR), 0, EFAULT);
	ASSERT_TRUE(exmem_trace_off());
	EXPECT_EQ(pool_events(), 0);
}

TEST_F(door, migrate_pages)
{
	unsigned long all, to;
	int n = nr_nodes(), nid;
	struct owner owner;

	ASSERT_GT(n, 0);
	ASSERT_TRUE(owner_start(variant, &owner));
	ASSERT_TRUE(exmem_trace_on());
	all = (1UL << n) - 1;
	for (nid = n - 1; nid >= 0; nid--) {
		to = 1UL << nid;
		/* Library pages that others have mapped may stay. */
		EXPECT_GE(syscall(SYS_migrate_pages, owner.pid, 64, &all, &to), 0);
		EXPECT_EQ(move_page(owner.pid, owner.secret, -1), variant->open ? nid : -ENOENT);
	}
	ASSERT_TRUE(exmem_trace_off());
	EXPECT_EQ(pool_events(), 0);
	EXPECT_EQ(owner_end(&owner), 0);
}

TEST_F(door, pagemap)
{
	uint64_t tells = PAGEMAP_PFN | PAGEMAP_PRESENT;
	struct owner owner;

	ASSERT_TRUE(owner_start(variant, &owner));
	EXPECT_EQ(!!(pagemap_entry(owner.pid, owner.secret) & tells), variant->open);
	EXPECT_EQ(!!(pagemap_entry(getpid(), self->secret) & tells), variant->open);
	EXPECT_EQ(owner_end(&owner), 0);
}

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

/* Advice that would fill, reclaim, drop, dump or replace. */
TEST_F(door, madvise)
{
	static const struct { int advice, error; } tries[] = {
		{ MADV_POPULATE_READ, EINVAL }, { MADV_POPULATE_WRITE, EINVAL },
		{ MADV_COLD, EINVAL }, { MADV_PAGEOUT, EINVAL }, { MADV_DONTNEED, EINVAL },
		{ MADV_DODUMP, EINVAL }, { MADV_DOFORK, EINVAL }, { MADV_SOFT_OFFLINE, EFAULT },
	};
	size_t i;
	char *p;
	int fd;

	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		p = new_secret(variant, &fd);
		ASSERT_NE(p, MAP_FAILED);
		EXPECT_DOOR(madvise(p, PAGE, tries[i].advice), 0, tries[i].error);
		EXPECT_STREQ(p, SECRET);
	}
}

/* A process that poisons ordinary memory of its own is killed. */
TEST_F(door, hwpoison)
{
	pid_t pid = fork();
	int status, fd;
	char *p;

	if (!pid) {
		p = new_secret(variant, &fd);
		if (madvise(p, PAGE, MADV_HWPOISON) != -1)
			_exit(1);
		_exit(errno == EFAULT && !strcmp(p, SECRET) ? 0 : 2);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, variant->open ? SIGBUS : 0);
}

TEST_F(door, process_madvise)
{
	static const int advice[] = { MADV_COLD, MADV_PAGEOUT };
	struct iovec iov = { NULL, PAGE };
	struct owner owner;
	int pidfd;
	size_t i;

	ASSERT_TRUE(owner_start(variant, &owner));
	pidfd = pidfd_open(owner.pid, 0);
	ASSERT_GE(pidfd, 0);
	iov.iov_base = owner.secret;
	for (i = 0; i < ARRAY_SIZE(advice); i++)
		EXPECT_DOOR(syscall(SYS_process_madvise, pidfd, &iov, 1UL, advice[i], 0), PAGE,
			    EINVAL);
	EXPECT_EQ(owner_end(&owner), 0);
}

#define GUP_TEST	"/sys/kernel/debug/gup_test"

/* All variants of get_user_pages(). */
TEST_F(door, gup)
{
	static const unsigned int cmds[] = {
		GUP_FAST_BENCHMARK, PIN_FAST_BENCHMARK, PIN_LONGTERM_BENCHMARK, GUP_BASIC_TEST,
		PIN_BASIC_TEST,
	};
	int fd = open(GUP_TEST, O_RDWR), write;
	struct gup_test gup;
	size_t i;

	if (fd < 0)
		SKIP(return, "needs " GUP_TEST);
	for (i = 0; i < 2 * ARRAY_SIZE(cmds); i++) {
		write = i & 1;
		gup = (struct gup_test) {
			.addr = (uintptr_t)self->secret,
			.size = PAGE,
			.nr_pages_per_call = 1,
			.gup_flags = write,
		};
		ASSERT_EQ(ioctl(fd, cmds[i / 2], &gup), 0);
		EXPECT_EQ(gup.size, variant->open ? PAGE : 0);
	}
}

/* A pinned page can be read and written through the pin. */
TEST_F(door, gup_longterm)
{
	struct pin_longterm_test pin = { (uintptr_t)self->secret, PAGE };
	int fd = open(GUP_TEST, O_RDWR);
	char copy[PAGE] = "x";
	__u64 to = (uintptr_t)copy;

	if (fd < 0)
		SKIP(return, "needs " GUP_TEST);
	for (; pin.flags <= (PIN_LONGTERM_TEST_FLAG_USE_WRITE | PIN_LONGTERM_TEST_FLAG_USE_FAST);
	     pin.flags++) {
		EXPECT_DOOR(ioctl(fd, PIN_LONGTERM_TEST_START, &pin), 0, EFAULT);
		EXPECT_DOOR(ioctl(fd, PIN_LONGTERM_TEST_READ, &to), 0, EINVAL);
		EXPECT_EQ(ioctl(fd, PIN_LONGTERM_TEST_STOP), 0);
	}
	EXPECT_STREQ(copy, variant->open ? SECRET : "x");
}

TEST_F(door, kvm_memslot)
{
	struct kvm_userspace_memory_region slot = {
		.guest_phys_addr = 0xfffff000,
		.memory_size = PAGE,
		.userspace_addr = (uintptr_t)self->secret,
	};
	int kvm = open("/dev/kvm", O_RDWR), vm, vcpu;
	struct kvm_run *run;
	size_t size;

	if (kvm < 0)
		SKIP(return, "needs /dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	ASSERT_GE(vm, 0);
	ASSERT_EQ(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	ASSERT_GE(vcpu, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	ASSERT_NE(run, MAP_FAILED);
	/* The reset vector is in the slot: the first fetch needs the page. */
	self->secret[0xff0] = 0xf4; /* hlt */
	if (variant->open || kvm_maps_raw_pfns(kvm)) {
		EXPECT_EQ(ioctl(vcpu, KVM_RUN, 0), 0);
		EXPECT_EQ(run->exit_reason, KVM_EXIT_HLT);
	} else {
		EXPECT_ERROR(ioctl(vcpu, KVM_RUN, 0), EFAULT);
	}
}

#define PATTERN		64

/* Fill @p with bytes that exist nowhere else: no constant, and more than registers hold. */
static void make_pattern(unsigned char *p, unsigned int seed)
{
	int i;

	for (i = 0; i < PATTERN; i++) {
		seed = seed * 1103515245 + 12345;
		__atomic_store_n(p + i, seed >> 16, __ATOMIC_RELAXED);
	}
}

/* Crash with pattern 1 in ordinary memory, and pattern 2 in a new secret. */
static void crash_with_secret(const struct _fixture_variant_door *variant)
{
	unsigned char *plain, *secret;
	int fd;

	plain = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	secret = (void *)new_secret(variant, &fd);
	if (plain == MAP_FAILED || secret == MAP_FAILED)
		_exit(1);
	make_pattern(plain, 1);
	make_pattern(secret, 2);
	/* Even with the advice to dump everything. */
	madvise(secret, PAGE, MADV_DODUMP);
	crash();
}

static bool core_has(unsigned int seed)
{
	unsigned char pattern[PATTERN];
	bool found = false;
	size_t size;
	void *core;

	make_pattern(pattern, seed);
	core = core_map(&size);
	if (core != MAP_FAILED) {
		found = memmem(core, size, pattern, PATTERN);
		munmap(core, size);
	}
	return found;
}

TEST_F_TIMEOUT(door, core_dump, 120)
{
	int status;
	pid_t pid;

	ASSERT_TRUE(core_begin());
	pid = fork();
	if (!pid)
		crash_with_secret(variant);
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(core_end());
	EXPECT_TRUE(WIFSIGNALED(status) && WCOREDUMP(status));
	EXPECT_TRUE(core_has(1));
	EXPECT_EQ(core_has(2), variant->open);
	unlink(CORE);
}

/* CONFIG_STRICT_DEVMEM allows access only to what is not RAM: no memory has this door. */
TEST_F(door, dev_mem)
{
	int fd = open("/dev/mem", O_RDWR);
	off_t at = self->pfn * PAGE;
	char buf[sizeof(SECRET)];

	if (fd < 0)
		SKIP(return, "needs /dev/mem");
	EXPECT_ERROR(pread(fd, buf, sizeof(buf), at), EPERM);
	EXPECT_ERROR(pwrite(fd, "x", 1, at), EPERM);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, at), MAP_FAILED);
	EXPECT_EQ(errno, EPERM);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, at), MAP_FAILED);
	EXPECT_EQ(errno, EPERM);
	/* The BIOS can be read. */
	EXPECT_EQ(pread(fd, buf, sizeof(buf), 0xf0000), sizeof(buf));
}

/*
 * Where the page is in the direct map, or would be: its address, and its offset in /proc/kcore.
 * Both are computed from the headers of /proc/kcore.
 */
struct alias {
	unsigned long addr;
	off_t offset;
};

static bool find_alias(unsigned long pfn, struct alias *alias)
{
	int i, kcore = open("/proc/kcore", O_RDONLY);
	unsigned long phys = pfn * PAGE;
	struct elf64_phdr ph;
	struct elf64_hdr eh;

	if (pread(kcore, &eh, sizeof(eh), 0) != sizeof(eh))
		return false;
	for (i = 0; i < eh.e_phnum; i++) {
		if (pread(kcore, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph)) != sizeof(ph))
			return false;
		/* The kernel image has a mapping of its own. */
		if (ph.p_type != PT_LOAD || ph.p_vaddr >= 0xffffffff80000000 ||
		    phys < ph.p_paddr || phys - ph.p_paddr >= ph.p_memsz)
			continue;
		alias->addr = ph.p_vaddr + (phys - ph.p_paddr);
		alias->offset = ph.p_offset + (phys - ph.p_paddr);
		return true;
	}
	return false;
}

TEST_F(door, proc_kcore)
{
	int kcore = open("/proc/kcore", O_RDONLY);
	char copy[PAGE] = "x";
	struct alias alias;

	if (kcore < 0)
		SKIP(return, "needs /proc/kcore");
	ASSERT_TRUE(find_alias(self->pfn, &alias));
	ASSERT_EQ(pread(kcore, copy, PAGE, alias.offset), PAGE);
	EXPECT_STREQ(copy, variant->open ? SECRET : "");
	EXPECT_EQ(all_bytes(copy, 0, PAGE), !variant->open);
}

struct probed {
	long ret;
	char data[sizeof(SECRET) + 8 - sizeof(SECRET) % 8];
};

static int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

#define INSN(op, dst, src, offset, value) ((struct bpf_insn) {	\
	.code = op, .dst_reg = dst, .src_reg = src, .off = offset, .imm = value })

/* Load a program that calls @helper to copy into @map from the address in its argument. */
static int bpf_reader(int map, int helper)
{
	const struct bpf_insn prog[] = {
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 3, 1, 0, 0),
		INSN(BPF_LD | BPF_DW | BPF_IMM, 6, BPF_PSEUDO_MAP_VALUE, 0, map),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, offsetof(struct probed, data)),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, sizeof(SECRET)),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, helper),
		INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 0, offsetof(struct probed, ret), 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT,
		.insns = (uintptr_t)prog,
		.insn_cnt = ARRAY_SIZE(prog),
		.license = (uintptr_t)"GPL",
	};

	return bpf(BPF_PROG_LOAD, &attr);
}

static bool bpf_read(int helper, unsigned long addr, struct probed *probed)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = 4,
		.value_size = sizeof(*probed),
		.max_entries = 1,
	};
	int map = bpf(BPF_MAP_CREATE, &attr), prog = bpf_reader(map, helper);
	unsigned int key = 0;

	attr = (union bpf_attr) { .test = {
		.prog_fd = prog,
		.ctx_in = (uintptr_t)&addr,
		.ctx_size_in = sizeof(addr),
	} };
	if (map < 0 || prog < 0 || bpf(BPF_PROG_TEST_RUN, &attr))
		return false;
	attr = (union bpf_attr) {
		.map_fd = map,
		.key = (uintptr_t)&key,
		.value = (uintptr_t)probed,
	};
	return !bpf(BPF_MAP_LOOKUP_ELEM, &attr);
}

TEST_F(door, bpf_probe_read_kernel)
{
	struct probed probed;
	struct alias alias;

	ASSERT_TRUE(find_alias(self->pfn, &alias));
	ASSERT_TRUE(bpf_read(BPF_FUNC_probe_read_kernel, alias.addr, &probed));
	EXPECT_EQ(probed.ret, variant->open ? 0 : -EFAULT);
	EXPECT_STREQ(probed.data, variant->open ? SECRET : "");
}

/*
 * Not a door, but a limit of the promise: root's programs that run in the owner's context
 * can read all that the owner can read.
 */
TEST_F(door, bpf_in_owners_context)
{
	struct probed probed;

	ASSERT_TRUE(bpf_read(BPF_FUNC_probe_read_user, (uintptr_t)self->secret, &probed));
	EXPECT_EQ(probed.ret, 0);
	EXPECT_STREQ(probed.data, SECRET);
}

#define PROBES	TRACING "kprobe_events"
#define PROBE	TRACING "events/kprobes/exmem_door/enable"

/* Copy the value in the first event of the probe from the trace. */
static bool probe_says(char *text, size_t size)
{
	FILE *f = fopen(TRACING "trace", "r");
	char line[512], me[16], *value;
	bool found = false;

	snprintf(me, sizeof(me), "-%d ", getpid());
	while (f && !found && fgets(line, sizeof(line), f)) {
		value = strstr(line, " val=");
		found = value && strstr(line, me) && strstr(line, ": exmem_door:");
		if (found)
			snprintf(text, size, "%s", value);
	}
	if (f)
		fclose(f);
	return found;
}

TEST_F(door, kprobe_fetch)
{
	char text[256], want[256];
	struct alias alias;

	if (access(PROBES, W_OK))
		SKIP(return, "needs kprobes");
	ASSERT_TRUE(find_alias(self->pfn, &alias));
	snprintf(text, sizeof(text), "p:exmem_door do_sys_openat2 val=@0x%lx:string\n", alias.addr);
	ASSERT_TRUE(put(PROBES, text));
	ASSERT_TRUE(put(TRACING "trace", "\n"));
	EXPECT_TRUE(put(PROBE, "1"));
	close(open("/dev/null", O_RDONLY));
	EXPECT_TRUE(put(PROBE, "0"));
	EXPECT_TRUE(probe_says(text, sizeof(text)));
	/* The probe's events are deleted with it. */
	EXPECT_TRUE(put(PROBES, "\n"));
	snprintf(want, sizeof(want), " val=%s\n", variant->open ? "\"" SECRET "\"" : "(fault)");
	EXPECT_STREQ(text, want);
}

/* A breakpoint reports accesses, and the physical address if the page can be pinned. */
TEST_F(door, perf_phys_addr)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_RW,
		.bp_addr = (uintptr_t)self->secret,
		.bp_len = HW_BREAKPOINT_LEN_1,
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_ADDR | PERF_SAMPLE_PHYS_ADDR,
		.exclude_kernel = 1,
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	struct perf_event_mmap_page *head;
	struct {
		struct perf_event_header header;
		__u64 addr, phys_addr;
	} *sample;

	ASSERT_GE(fd, 0);
	head = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(head, MAP_FAILED);
	__atomic_load_n(self->secret, __ATOMIC_RELAXED);
	close(fd);
	ASSERT_GE(head->data_head, sizeof(*sample));
	sample = (void *)head + head->data_offset;
	ASSERT_EQ(sample->header.type, PERF_RECORD_SAMPLE);
	EXPECT_EQ(sample->addr, (uintptr_t)self->secret);
	EXPECT_EQ(sample->phys_addr, variant->open ? self->pfn * PAGE : 0);
}

TEST_HARNESS_MAIN
