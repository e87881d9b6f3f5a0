// SPDX-License-Identifier: GPL-2.0-only
/*
 * guest_memfd with memory from the pool: the guest and write() reach it, and nothing else does,
 * unless it can be mapped. The VMM's address of the memory is a reservation without access.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/wait.h>

#include "actor.h"
#include "cgroup.h"
#include "chain.h"
#include "core.h"
#include "gmem.h"
#include "kcore.h"
#include "poison.h"
#include "../kselftest_harness.h"

#define MEM_PAGES	1024L
#define MEM_SIZE	(MEM_PAGES * PAGE)
#define MAX_POOL	262144L		/* pages */
#define BUFFER_SIZE	GPA(SMM_PAGE - BUFFER_PAGE)

#define GUEST_MOVE	"\xf3\xa4\xf4"			/* rep movsb; hlt */
/* 1: incq (%rsi); incq (%rdi); jmp 1b */
#define GUEST_COUNT_TWICE "\x48\xff\x06\x48\xff\x07\xeb\xf8"

/* A counter in the guest's ordinary memory. */
#define COUNTER		GPA(BUFFER_PAGE)

/* Addresses with the same offset in a PMD as MEM, without access. */
static void *reserve(void)
{
	char *p = mmap(NULL, MEM_SIZE + 2 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? p : (char *)(((uintptr_t)p + PMD - 1) & -PMD);
}

static int bind_all(struct vm *vm)
{
	return gmem_bind(vm, MEM_SLOT, MEM, vm->mem, 0, MEM_SIZE);
}

static int unbind(struct vm *vm)
{
	return set_slot(vm, MEM_SLOT, MEM, vm->mem, 0, 0);
}

/* A VM with a guest_memfd as its memory. */
static bool create_all(struct vm *vm, uint64_t flags)
{
	vm->mem = reserve();
	if (vm->mem == MAP_FAILED || !vm_create(vm))
		return false;
	vm->fd = gmem_create(vm, MEM_SIZE, flags);
	return vm->fd >= 0 && !bind_all(vm);
}

static void destroy_all(struct vm *vm)
{
	vm_destroy(vm);
	close(vm->fd);
	vm->fd = -1;
}

/* Fill the holes among some pages. */
static int fill(int fd, long page, long pages)
{
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, page * PAGE, pages * PAGE);
}

static int punch(int fd, long page, long pages)
{
	return fallocate(fd, HOLE, page * PAGE, pages * PAGE);
}

struct memory_fault {
	__u64 flags, gpa, size;
};

/* KVM can't map the page at @addr, and tells the VMM. */
#define EXPECT_EXIT(call, error, addr)						\
do {										\
	struct memory_fault *_fault = (void *)vm->run->padding;			\
										\
	EXPECT_EQ(call, -(error));						\
	EXPECT_EQ(vm->run->exit_reason, KVM_EXIT_MEMORY_FAULT);			\
	EXPECT_EQ(_fault->flags, 0);						\
	EXPECT_EQ(_fault->gpa, (addr) & -PAGE);					\
	EXPECT_EQ(_fault->size, PAGE);						\
} while (0)

#define EXPECT_HOLE(addr)							\
do {										\
	uint64_t _addr = addr, _value;						\
										\
	EXPECT_EXIT(guest_read(vm, _addr, &_value), EFAULT, _addr);		\
	EXPECT_EXIT(guest_write(vm, _addr, MARK), EFAULT, _addr);		\
} while (0)

/* Without nested paging, KVM reads the guest's page tables. */
static bool nested_paging(const struct vm *vm)
{
	int fd = open(vm->svm ? "/sys/module/kvm_amd/parameters/npt" :
				"/sys/module/kvm_intel/parameters/ept", O_RDONLY);
	char value = 'N';

	return read(fd, &value, 1) == 1 && !close(fd) && value == 'Y';
}

/* Let the guest copy bytes. */
static int guest_move(struct vm *vm, uint64_t to, uint64_t from, size_t size)
{
	return RUN_CODE(vm, GUEST_MOVE, .rdi = to, .rsi = from, .rcx = size);
}

/* Does the guest find @data at an offset in its memory? */
static bool guest_finds(struct vm *vm, size_t offset, const void *data, size_t size)
{
	size_t done, n;

	for (done = 0; done < size; done += n) {
		n = size - done < BUFFER_SIZE ? size - done : BUFFER_SIZE;
		if (guest_move(vm, GPA(BUFFER_PAGE), MEM + offset + done, n) != KVM_EXIT_HLT ||
		    memcmp(at(vm, GPA(BUFFER_PAGE)), data + done, n))
			return false;
	}
	return true;
}

static void randomize(char *p, size_t size)
{
	while (size--)
		*p++ = random();
}

TEST(absent_without_a_pool)
{
	if (exmem_total() > 0)
		SKIP(return, "there is a pool");
	if (access("/dev/kvm", R_OK | W_OK))
		SKIP(return, "needs /dev/kvm");
	EXPECT_FALSE(gmem_has_exclusive());
}

FIXTURE(gmem)
{
	struct vm vm;
	long usable;
};

FIXTURE_VARIANT(gmem)
{
	uint64_t flags;
};

FIXTURE_VARIANT_ADD(gmem, plain) { .flags = 0 };
FIXTURE_VARIANT_ADD(gmem, mappable) { .flags = GMEM_MAPPABLE };

FIXTURE_SETUP(gmem)
{
	const char *missing = gmem_missing(2 * MEM_PAGES);

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	if (self->usable > MAX_POOL)
		SKIP(return, "needs a pool of at most 1 GiB: some tests use all of it");
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_TRUE(create_all(&self->vm, variant->flags));
	ASSERT_EQ(used(), MEM_PAGES);
}

FIXTURE_TEARDOWN(gmem)
{
	destroy_all(&self->vm);
	EXPECT_EQ(used(), 0);
}

TEST_F(gmem, all_or_nothing)
{
	static const size_t bad[] = { 0, 1, PAGE - 1, PAGE + 1, 1UL << 63, -PAGE };
	long left = self->usable - MEM_PAGES;
	struct vm *vm = &self->vm;
	unsigned int i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_ERROR(gmem_create(vm, bad[i], variant->flags), EINVAL);
	EXPECT_ERROR(gmem_create(vm, PAGE, GUEST_MEMFD_FLAG_EXCLUSIVE << 1), EINVAL);
	EXPECT_ERROR(gmem_create(vm, (1UL << 63) - PAGE, variant->flags), ENOMEM);
	EXPECT_ERROR(gmem_create(vm, (self->usable + 1) * PAGE, variant->flags), ENOMEM);
	EXPECT_ERROR(gmem_create(vm, (left + 1) * PAGE, variant->flags), ENOMEM);
	EXPECT_EQ(used(), MEM_PAGES);
	fd = gmem_create(vm, left * PAGE, variant->flags);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(exmem_free(), 0);
	EXPECT_ERROR(gmem_create(vm, PAGE, variant->flags), ENOMEM);
	close(fd);
	EXPECT_EQ(used(), MEM_PAGES);
}

TEST_F(gmem, disabled)
{
	struct vm *vm = &self->vm;

	ASSERT_TRUE(put(SYSCTL_KVM, "0"));
	EXPECT_FALSE(gmem_has_exclusive());
	EXPECT_ERROR(gmem_create(vm, PAGE, variant->flags), EINVAL);
	EXPECT_GUEST_SEES(MEM, 0);
	EXPECT_EQ(punch(vm->fd, 0, 1), 0);
	EXPECT_EQ(fill(vm->fd, 0, 1), 0);
	ASSERT_TRUE(put(SYSCTL_KVM, "1"));
	EXPECT_TRUE(gmem_has_exclusive());
}

TEST_F(gmem, file_closed_before_the_vm)
{
	struct vm *vm = &self->vm;

	EXPECT_EQ(guest_write(vm, MEM, MARK), KVM_EXIT_HLT);
	close(vm->fd);
	EXPECT_EQ(used(), 0);
	EXPECT_HOLE(MEM);
	ASSERT_EQ(unbind(vm), 0);
	vm->fd = gmem_create(vm, MEM_SIZE, variant->flags);
	ASSERT_GE(vm->fd, 0);
	ASSERT_EQ(bind_all(vm), 0);
	EXPECT_GUEST_SEES(MEM, 0);
}

TEST_F(gmem, vm_closed_before_the_file)
{
	struct vm *vm = &self->vm;

	EXPECT_EQ(guest_write(vm, MEM, MARK), KVM_EXIT_HLT);
	vm_destroy(vm);
	EXPECT_EQ(used(), MEM_PAGES);
	EXPECT_EQ(pwrite(vm->fd, "x", 1, 0), 1);
	EXPECT_EQ(punch(vm->fd, 0, 1), 0);
	EXPECT_EQ(used(), MEM_PAGES - 1);
	EXPECT_EQ(fill(vm->fd, 0, 1), 0);
	EXPECT_EQ(used(), MEM_PAGES);
}

TEST_F(gmem, bound_once)
{
	struct vm *vm = &self->vm, other = { .mem = vm->mem };

	EXPECT_ERROR(gmem_bind(vm, 2, MEM + 2 * MEM_SIZE, vm->mem, 0, PAGE), EEXIST);
	ASSERT_EQ(guest_write(vm, MEM + PAGE, MARK), KVM_EXIT_HLT);
	ASSERT_EQ(unbind(vm), 0);
	EXPECT_EQ(used(), MEM_PAGES);
	EXPECT_ERROR(gmem_bind(vm, MEM_SLOT, MEM, vm->mem, PAGE, MEM_SIZE), EINVAL);
	EXPECT_ERROR(gmem_bind(vm, MEM_SLOT, MEM, vm->mem, 1, PAGE), EINVAL);
	EXPECT_EQ(gmem_bind(vm, MEM_SLOT, MEM, vm->mem, PAGE, PAGE), 0);
	EXPECT_EQ(gmem_bind(vm, 2, MEM + PAGE, vm->mem + PAGE, 0, PAGE), 0);
	EXPECT_GUEST_SEES(MEM, MARK);
	EXPECT_GUEST_SEES(MEM + PAGE, 0);

	ASSERT_TRUE(vm_create(&other));
	other.fd = vm->fd;
	EXPECT_ERROR(gmem_bind(&other, 2, MEM, vm->mem, 2 * PAGE, PAGE), EINVAL);
	vm_destroy(&other);
}

#define SW_PROTECTED_VM	1

/* A software-protected VM stands for VMs whose memory the hardware protects. */
TEST_F(gmem, not_for_private_memory)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct vm other = { .vm = ioctl(kvm, KVM_CREATE_VM, SW_PROTECTED_VM) };

	close(kvm);
	if (other.vm < 0)
		SKIP(return, "needs CONFIG_KVM_SW_PROTECTED_VM and nested paging");
	EXPECT_EQ(ioctl(other.vm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS) &
		  GUEST_MEMFD_FLAG_EXCLUSIVE, 0);
	EXPECT_ERROR(gmem_create(&other, PAGE, variant->flags), EINVAL);
	EXPECT_EQ(used(), MEM_PAGES);
	close(other.vm);
}

/* Count at MEM and in ordinary memory, until KVM can't map MEM. */
static void *count(void *vm)
{
	return (void *)(long)RUN_CODE(vm, GUEST_COUNT_TWICE, .rsi = MEM, .rdi = COUNTER);
}

static void wait_for_count(struct vm *vm)
{
	uint64_t *counter = at(vm, COUNTER);
	uint64_t before = __atomic_load_n(counter, __ATOMIC_RELAXED);

	while (__atomic_load_n(counter, __ATOMIC_RELAXED) == before)
		sched_yield();
}

TEST_F(gmem, killed)
{
	struct vm other = {};
	int ready[2], status;
	pthread_t thread;
	pid_t pid;
	char c;

	ASSERT_EQ(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		if (!create_all(&other, variant->flags) ||
		    pthread_create(&thread, NULL, count, &other))
			_exit(1);
		wait_for_count(&other);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	EXPECT_EQ(used(), 2 * MEM_PAGES);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(used(), MEM_PAGES);
}

/* A VM of the actor, which can create a guest_memfd. */
static long act_create_vm(const long *arg)
{
	struct vm vm = { .kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC) };

	(void)arg;
	return act_result(ioctl(vm.kvm, KVM_CREATE_VM, 0));
}

/* VM, pages, flags. Returns the descriptor. */
static long act_create(const long *arg)
{
	struct vm vm = { .vm = arg[0] };

	return act_result(gmem_create(&vm, arg[1] * PAGE, arg[2]));
}

/* Descriptor, page, pages. */
static long act_fill(const long *arg)
{
	return act_result(fill(arg[0], arg[1], arg[2]));
}

static long act_punch(const long *arg)
{
	return act_result(punch(arg[0], arg[1], arg[2]));
}

static long act_close_fd(const long *arg)
{
	return act_result(close(arg[0]));
}

/* The actor may have 100 pages. */
static void expect_limit(struct __test_metadata *_metadata, const struct actor *actor, long vm,
			 long flags)
{
	long before = exmem_free(), first, second;

	EXPECT_EQ(ask(actor, act_create, vm, 101, flags), -EAGAIN);
	first = ask(actor, act_create, vm, 60, flags);
	EXPECT_GE(first, 0);
	EXPECT_EQ(ask(actor, act_create, vm, 41, flags), -EAGAIN);
	EXPECT_EQ(exmem_free(), before - 60);
	EXPECT_EQ(ask(actor, act_punch, first, 10, 20), 0);
	second = ask(actor, act_create, vm, 60, flags);
	EXPECT_GE(second, 0);
	EXPECT_EQ(ask(actor, act_fill, first, 0, 60), -EAGAIN);
	EXPECT_EQ(exmem_free(), before - 100);
	EXPECT_EQ(ask(actor, act_close_fd, second), 0);
	EXPECT_EQ(ask(actor, act_fill, first, 0, 60), 0);
	EXPECT_EQ(exmem_free(), before - 60);
	EXPECT_EQ(ask(actor, act_close_fd, first), 0);
	EXPECT_EQ(exmem_free(), before);
	first = ask(actor, act_create, vm, 100, flags);
	EXPECT_GE(first, 0);
	EXPECT_EQ(ask(actor, act_close_fd, first), 0);
}

TEST_F(gmem, limit_of_the_user)
{
	struct actor actor;
	long vm;

	ASSERT_GT(actor_start(&actor), 0);
	vm = ask(&actor, act_create_vm);
	ASSERT_GE(vm, 0);
	ASSERT_TRUE(set_memlock(actor.pid, 100 * PAGE));
	ASSERT_EQ(ask(&actor, act_become, 4711), 0);
	expect_limit(_metadata, &actor, vm, variant->flags);
	actor_stop(&actor);
}

TEST_F(gmem, limit_of_the_cgroup)
{
	const char *missing = cgroup_make_dir();
	char group[128], text[64], path[192];
	struct actor actor;
	long vm;

	if (missing)
		SKIP(return, "%s", missing);
	snprintf(group, sizeof(group), "%s/vmm", cgroup_dir);
	ASSERT_EQ(mkdir(group, 0755), 0);
	snprintf(text, sizeof(text), "exmem %lu", 100 * PAGE);
	ASSERT_TRUE(cgroup_put(group, "misc.max", text));
	ASSERT_GT(actor_start(&actor), 0);
	snprintf(text, sizeof(text), "%d", actor.pid);
	ASSERT_TRUE(cgroup_put(group, "cgroup.procs", text));
	vm = ask(&actor, act_create_vm);
	ASSERT_GE(vm, 0);
	expect_limit(_metadata, &actor, vm, variant->flags);
	actor_stop(&actor);
	snprintf(path, sizeof(path), "%s/misc.current", group);
	EXPECT_EQ(named_value(path, "exmem"), 0);
	EXPECT_EQ(rmdir(group), 0);
	cgroup_remove_dir();
}

TEST_F_TIMEOUT(gmem, write, 120)
{
	static const struct { size_t offset, size; } writes[] = {
		{ 0, 1 }, { 0, 8 }, { 3, 5 }, { PAGE, PAGE }, { PAGE - 1, 2 }, { 5 * PAGE - 1, 1 },
		{ 7 * PAGE - 1, PAGE + 2 }, { 9 * PAGE + 17, 20 * PAGE }, { PMD - 1, 2 },
		{ PMD - PAGE - 7, 3 * PAGE + 14 }, { MEM_SIZE - 1, 1 }, { 100, 100 },
		{ MEM_SIZE - PAGE, PAGE }, { PMD / 2, PMD },
	};
	char *model = calloc(1, MEM_SIZE), *from;
	struct vm *vm = &self->vm;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(writes); i++) {
		from = model + writes[i].offset;
		randomize(from, writes[i].size);
		EXPECT_EQ(pwrite(vm->fd, from, writes[i].size, writes[i].offset), writes[i].size);
		EXPECT_TRUE(guest_finds(vm, writes[i].offset, from, writes[i].size));
	}
	EXPECT_TRUE(guest_finds(vm, 0, model, MEM_SIZE));
	EXPECT_EQ(pwrite(vm->fd, model, MEM_SIZE, 0), MEM_SIZE);
	EXPECT_TRUE(guest_finds(vm, 0, model, MEM_SIZE));
	EXPECT_EQ(used(), MEM_PAGES);
}

TEST_F(gmem, write_in_sequence)
{
	struct iovec parts[] = { { "one", 3 }, { "", 0 }, { "two", 3 } };
	struct vm *vm = &self->vm;

	EXPECT_EQ(write(vm->fd, "a", 1), 1);
	EXPECT_EQ(writev(vm->fd, parts, ARRAY_SIZE(parts)), 6);
	EXPECT_EQ(write(vm->fd, "b", 2), 2);
	EXPECT_TRUE(guest_finds(vm, 0, "aonetwob", 9));
	EXPECT_EQ(pwritev(vm->fd, parts, ARRAY_SIZE(parts), PMD - 2), 6);
	EXPECT_TRUE(guest_finds(vm, PMD - 3, "\0onetwo", 8));
	EXPECT_ERROR(lseek(vm->fd, 0, SEEK_SET), ESPIPE);
}

TEST_F(gmem, write_at_the_end)
{
	char data[2 * PAGE];
	struct vm *vm = &self->vm;

	randomize(data, sizeof(data));
	EXPECT_ERROR(pwrite(vm->fd, data, 1, MEM_SIZE), EFBIG);
	EXPECT_ERROR(pwrite(vm->fd, data, 1, (1UL << 63) - 2), EFBIG);
	EXPECT_ERROR(pwrite(vm->fd, data, 1, -1), EINVAL);
	EXPECT_EQ(pwrite(vm->fd, data, 0, 0), 0);
	EXPECT_EQ(pwrite(vm->fd, data, 0, MEM_SIZE), 0);
	EXPECT_EQ(pwrite(vm->fd, data, sizeof(data), MEM_SIZE - PAGE - 9), PAGE + 9);
	EXPECT_TRUE(guest_finds(vm, MEM_SIZE - PAGE - 9, data, PAGE + 9));
	EXPECT_GUEST_SEES(MEM, 0);
	/* Nothing is appended, and no file grows. */
	ASSERT_EQ(fcntl(vm->fd, F_SETFL, O_APPEND), 0);
	ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &(struct rlimit) { PAGE, RLIM_INFINITY }), 0);
	EXPECT_EQ(pwrite(vm->fd, "x", 1, PAGE), 1);
	EXPECT_GUEST_SEES(MEM + PAGE, 'x');
	EXPECT_EQ(used(), MEM_PAGES);
}

TEST_F(gmem, write_of_bad_data)
{
	char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec parts[] = { { p, PAGE }, { p + 2 * PAGE, PAGE }, { p, PAGE } };
	struct vm *vm = &self->vm;
	char zeroes[PAGE] = {};

	ASSERT_NE(p, MAP_FAILED);
	randomize(p, 3 * PAGE);
	ASSERT_EQ(mprotect(p + 2 * PAGE, PAGE, PROT_NONE), 0);
	EXPECT_ERROR(pwrite(vm->fd, p + 2 * PAGE, PAGE, 0), EFAULT);
	EXPECT_ERROR(pwrite(vm->fd, (void *)-PAGE, 1, 0), EFAULT);
	EXPECT_ERROR(pwrite(vm->fd, vm->mem, 1, 0), EFAULT);
	EXPECT_TRUE(guest_finds(vm, 0, zeroes, PAGE));
	/* All readable data is written, also across pages of the destination. */
	EXPECT_EQ(pwrite(vm->fd, p, 3 * PAGE, PMD - 100), 2 * PAGE);
	EXPECT_TRUE(guest_finds(vm, PMD - 100, p, 2 * PAGE));
	EXPECT_TRUE(guest_finds(vm, PMD - 100 + 2 * PAGE, zeroes, PAGE));
	EXPECT_EQ(pwritev(vm->fd, parts, ARRAY_SIZE(parts), 33), PAGE);
	EXPECT_TRUE(guest_finds(vm, 33, p, PAGE));
	EXPECT_TRUE(guest_finds(vm, 33 + PAGE, zeroes, PAGE));
}

/* The source is like the destination: the kernel can't pin it, and has no mapping of it. */
TEST_F(gmem, write_of_exclusive_memory)
{
	struct vm *vm = &self->vm;
	int fd, front;
	char *p;

	for (front = EXMEM_FRONT_DEVICE; front <= EXMEM_FRONT_MMAP; front++) {
		p = new_memory(front, NULL, 3, &fd);
		ASSERT_NE(p, MAP_FAILED);
		randomize(p, 3 * PAGE);
		EXPECT_EQ(pwrite(vm->fd, p + 5, 2 * PAGE, 77), 2 * PAGE);
		EXPECT_TRUE(guest_finds(vm, 77, p + 5, 2 * PAGE));
		munmap(p, 3 * PAGE);
		close(fd);
	}
}

TEST_F(gmem, write_to_a_hole)
{
	struct vm *vm = &self->vm;
	char data[3 * PAGE];

	randomize(data, sizeof(data));
	ASSERT_EQ(punch(vm->fd, 5, 2), 0);
	EXPECT_ERROR(pwrite(vm->fd, data, 1, 5 * PAGE), ENXIO);
	EXPECT_ERROR(pwrite(vm->fd, data, 3 * PAGE, 7 * PAGE - 1), ENXIO);
	EXPECT_EQ(pwrite(vm->fd, data, 3 * PAGE, 4 * PAGE + 1), PAGE - 1);
	EXPECT_TRUE(guest_finds(vm, 4 * PAGE + 1, data, PAGE - 1));
	EXPECT_EQ(pwrite(vm->fd, data, PAGE, 7 * PAGE), PAGE);
	EXPECT_TRUE(guest_finds(vm, 7 * PAGE, data, PAGE));
	EXPECT_EQ(used(), MEM_PAGES - 2);
	EXPECT_HOLE(MEM + 5 * PAGE);
	EXPECT_HOLE(MEM + 7 * PAGE - 8);
}

/* Without the flag, guest_memfd is as it was. */
TEST_F(gmem, write_to_an_ordinary_one)
{
	struct kvm_create_guest_memfd create = { .size = PAGE, .flags = variant->flags };
	int fd = ioctl(self->vm.vm, KVM_CREATE_GUEST_MEMFD, &create);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(used(), MEM_PAGES);
	EXPECT_ERROR(write(fd, "x", 1), EINVAL);
	EXPECT_ERROR(pwrite(fd, "x", 1, 0), ESPIPE);
	EXPECT_EQ(fill(fd, 0, 1), 0);
	EXPECT_EQ(used(), MEM_PAGES);
	close(fd);
}

TEST_F(gmem, no_read)
{
	int fd = self->vm.fd, other = memfd_create("other", 0), fds[2];
	char buf[16], path[64], *const args[] = { "guest", NULL };
	off_t from = 0, to = 0;

	ASSERT_EQ(pipe(fds), 0);
	EXPECT_ERROR(read(fd, buf, sizeof(buf)), EINVAL);
	EXPECT_ERROR(pread(fd, buf, sizeof(buf), 0), ESPIPE);
	EXPECT_ERROR(sendfile(other, fd, NULL, 16), EINVAL);
	EXPECT_ERROR(splice(fd, NULL, fds[1], NULL, 16, 0), EINVAL);
	EXPECT_ERROR(copy_file_range(fd, &from, other, &to, 16, 0), EXDEV);
	EXPECT_ERROR(ftruncate(fd, 0), EINVAL);
	EXPECT_ERROR(ftruncate(fd, 2 * MEM_SIZE), EINVAL);
	EXPECT_ERROR(execveat(fd, "", args, NULL, AT_EMPTY_PATH), EACCES);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	EXPECT_ERROR(open(path, O_RDWR), ENXIO);
	/* Nor does it take data from the kernel's own buffers. */
	ASSERT_EQ(write(fds[1], "x", 1), 1);
	EXPECT_ERROR(splice(fds[0], NULL, fd, NULL, 1, 0), EINVAL);
	ASSERT_EQ(pwrite(other, "x", 1, 0), 1);
	EXPECT_ERROR(sendfile(fd, other, &from, 1), EINVAL);
}

TEST_F(gmem, no_access_by_the_vmm)
{
	struct iovec local = { &(uint64_t) { 0 }, 8 }, remote = { self->vm.mem, 8 };
	struct vm *vm = &self->vm;

	EXPECT_EQ(guest_write(vm, MEM, MARK), KVM_EXIT_HLT);
	EXPECT_EQ(touch(vm->mem, -1), SIGSEGV);
	EXPECT_ERROR(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), EFAULT);
	EXPECT_EQ(pmds_mapped(), 0);
	if (variant->flags)
		return;
	EXPECT_EQ(exmem_map(vm->fd, 1, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENODEV);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, vm->fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, ENODEV);
}

TEST_F(gmem, guest_to_guest)
{
	struct vm *vm = &self->vm;
	char data[5 * PAGE];

	randomize(data, sizeof(data));
	memcpy(at(vm, GPA(BUFFER_PAGE)), data, sizeof(data));
	EXPECT_EQ(guest_move(vm, MEM + PMD - PAGE - 1, GPA(BUFFER_PAGE), sizeof(data)),
		  KVM_EXIT_HLT);
	EXPECT_EQ(guest_move(vm, MEM + 10 * PAGE + 3, MEM + PMD - PAGE - 1, sizeof(data)),
		  KVM_EXIT_HLT);
	ASSERT_EQ(unbind(vm), 0);
	ASSERT_EQ(bind_all(vm), 0);
	EXPECT_TRUE(guest_finds(vm, PMD - PAGE - 1, data, sizeof(data)));
	EXPECT_TRUE(guest_finds(vm, 10 * PAGE + 3, data, sizeof(data)));
}

/* The guest_memfd also has the guest's page tables and code. The guest ends at a hole. */
TEST_F(gmem, nothing_but_its_memory)
{
	const uint64_t tables = 16 * PAGE, code = 20 * PAGE, data = 21 * PAGE, hole = 22 * PAGE;
	struct kvm_regs regs = {
		.rip = MEM + code, .rsi = MEM + data, .rdi = MEM + hole, .rcx = 16,
	};
	struct vm *vm = &self->vm;

	if (!nested_paging(vm))
		SKIP(return, "needs nested paging");
	make_page_tables(vm, GPA(BUFFER_PAGE));
	*(uint64_t *)at(vm, GPA(BUFFER_PAGE)) = (MEM + tables + PAGE) | 7;
	*(uint64_t *)at(vm, GPA(BUFFER_PAGE + 1)) = (MEM + tables + 2 * PAGE) | 7;
	EXPECT_EQ(pwrite(vm->fd, at(vm, GPA(BUFFER_PAGE)), 3 * PAGE, tables), 3 * PAGE);
	EXPECT_EQ(pwrite(vm->fd, GUEST_MOVE, sizeof(GUEST_MOVE), code), sizeof(GUEST_MOVE));
	EXPECT_EQ(punch(vm->fd, hole / PAGE, 1), 0);
	ASSERT_EQ(set_slot(vm, LOW_SLOT, 0, vm->low, 0, 0), 0);
	ASSERT_TRUE(set_long_mode(vm, MEM + tables));
	EXPECT_EXIT(run_at(vm, &regs), EFAULT, MEM + hole);
	EXPECT_EQ(regs.rip, MEM + code);
	EXPECT_EQ(regs.rcx, 16);
}

TEST_F(gmem, hole)
{
	struct vm *vm = &self->vm;
	uint64_t value;
	int i;

	for (i = 0; i < 10; i++) {
		EXPECT_GUEST_SEES(MEM + i * PAGE, 0);
		EXPECT_EQ(guest_write(vm, MEM + i * PAGE, MARK + i), KVM_EXIT_HLT);
	}
	EXPECT_EQ(punch(vm->fd, 3, 4), 0);
	EXPECT_EQ(used(), MEM_PAGES - 4);
	EXPECT_EQ(punch(vm->fd, 4, 2), 0);
	EXPECT_EQ(used(), MEM_PAGES - 4);
	for (i = 3; i < 7; i++)
		EXPECT_HOLE(MEM + i * PAGE);
	EXPECT_GUEST_SEES(MEM + 2 * PAGE, MARK + 2);
	EXPECT_GUEST_SEES(MEM + 7 * PAGE, MARK + 7);

	/* The guest goes on where it was. */
	EXPECT_EXIT(guest_read(vm, MEM + 5 * PAGE, &value), EFAULT, MEM + 5 * PAGE);
	EXPECT_EQ(fill(vm->fd, 5, 1), 0);
	EXPECT_EQ(used(), MEM_PAGES - 3);
	EXPECT_EQ(vm_run(vm), KVM_EXIT_HLT);
	EXPECT_EQ(fill(vm->fd, 0, MEM_PAGES), 0);
	EXPECT_EQ(used(), MEM_PAGES);
	for (i = 0; i < 10; i++)
		EXPECT_GUEST_SEES(MEM + i * PAGE, i < 3 || i > 6 ? MARK + i : 0);
}

TEST_F(gmem, fallocate)
{
	struct vm *vm = &self->vm;
	int fd;

	EXPECT_ERROR(fallocate(vm->fd, 0, 0, PAGE), EOPNOTSUPP);
	EXPECT_ERROR(fallocate(vm->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE, 0, PAGE),
		     EOPNOTSUPP);
	EXPECT_ERROR(fallocate(vm->fd, FALLOC_FL_KEEP_SIZE, 0, 1), EINVAL);
	EXPECT_ERROR(fallocate(vm->fd, HOLE, 1, PAGE), EINVAL);
	EXPECT_ERROR(fill(vm->fd, MEM_PAGES - 1, 2), EINVAL);
	EXPECT_EQ(punch(vm->fd, MEM_PAGES - 1, 2), 0);
	EXPECT_EQ(used(), MEM_PAGES - 1);
	EXPECT_EQ(punch(vm->fd, 0, MEM_PAGES), 0);
	EXPECT_EQ(used(), 0);

	/* fallocate() fills all holes, or none. */
	EXPECT_EQ(fill(vm->fd, 7, 1), 0);
	fd = gmem_create(vm, (self->usable - 6) * PAGE, variant->flags);
	ASSERT_GE(fd, 0);
	EXPECT_ERROR(fill(vm->fd, 0, 8), ENOMEM);
	EXPECT_EQ(exmem_free(), 5);
	EXPECT_HOLE(MEM);
	EXPECT_EQ(fill(vm->fd, 0, 5), 0);
	EXPECT_EQ(fill(vm->fd, 7, 1), 0);
	EXPECT_EQ(exmem_free(), 0);
	EXPECT_GUEST_SEES(MEM + 4 * PAGE, 0);
	EXPECT_HOLE(MEM + 5 * PAGE);
	close(fd);
}

/* Once the call returns, a guest that keeps writing must not reach the old pages. */
TEST_F_TIMEOUT(gmem, hole_under_a_running_guest, 300)
{
	struct vm *vm = &self->vm;
	pthread_t thread;
	long pages;
	void *exit;
	int i, fd;
	char *p;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(pthread_create(&thread, NULL, count, vm), 0);
		wait_for_count(vm);
		EXPECT_EQ(punch(vm->fd, 0, i % 2 ? 1 : MEM_PAGES), 0);
		/* All pages of the pool: the guest's old ones are among them. */
		pages = exmem_free();
		p = new_memory(EXMEM_FRONT_DEVICE, NULL, pages, &fd);
		ASSERT_NE(p, MAP_FAILED);
		EXPECT_TRUE(all_bytes(p, 0, pages * PAGE));
		ASSERT_EQ(pthread_join(thread, &exit), 0);
		EXPECT_EXIT((long)exit, EFAULT, MEM);
		EXPECT_TRUE(all_bytes(p, 0, pages * PAGE));
		munmap(p, pages * PAGE);
		close(fd);
		ASSERT_EQ(fill(vm->fd, 0, MEM_PAGES), 0);
		EXPECT_GUEST_SEES(MEM, 0);
	}
}

static int read_second_page(struct vm *vm)
{
	uint64_t value;

	return guest_read(vm, MEM + PAGE, &value);
}

/* A fault beside the hole must not map all of the region again. */
TEST_F_TIMEOUT(gmem, hole_beside_a_running_guest, 300)
{
	struct vm *vm = &self->vm;
	struct repeated reader;
	pthread_t thread;
	int i;

	for (i = 0; i < 50; i++) {
		reader = (struct repeated) { .vm = vm, .run = read_second_page };
		ASSERT_EQ(pthread_create(&thread, NULL, repeat_until_stopped, &reader), 0);
		while (!__atomic_load_n(&reader.runs, __ATOMIC_RELAXED))
			sched_yield();
		EXPECT_EQ(leaves(vm, "2m"), 1);
		EXPECT_EQ(punch(vm->fd, 0, 1), 0);
		__atomic_store_n(&reader.stop, true, __ATOMIC_RELAXED);
		ASSERT_EQ(pthread_join(thread, NULL), 0);
		EXPECT_EQ(reader.failures, 0);
		EXPECT_EQ(leaves(vm, "2m"), 0);
		EXPECT_HOLE(MEM);
		/* A whole region again */
		ASSERT_EQ(punch(vm->fd, 0, REGION_PAGES), 0);
		ASSERT_EQ(fill(vm->fd, 0, REGION_PAGES), 0);
	}
}

struct writer {
	int fd;
	bool stop;
	long written, refused;
};

static void *write_until_stopped(void *arg)
{
	struct writer *w = arg;
	char data[PAGE];

	memset(data, 0x5a, sizeof(data));
	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		if (pwrite(w->fd, data, sizeof(data), 0) == sizeof(data))
			__atomic_add_fetch(&w->written, 1, __ATOMIC_RELAXED);
		else
			__atomic_add_fetch(&w->refused, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Nothing is written to a page that has been freed. */
TEST_F_TIMEOUT(gmem, hole_under_a_write, 300)
{
	struct writer writer = { .fd = self->vm.fd };
	struct vm *vm = &self->vm;
	pthread_t thread;
	long bad = 0;
	char *p;
	int fd;

	ASSERT_EQ(pthread_create(&thread, NULL, write_until_stopped, &writer), 0);
	while (__atomic_load_n(&writer.written, __ATOMIC_RELAXED) < 3000 ||
	       __atomic_load_n(&writer.refused, __ATOMIC_RELAXED) < 100) {
		ASSERT_EQ(punch(vm->fd, 0, 1), 0);
		p = new_memory(EXMEM_FRONT_DEVICE, NULL, 4, &fd);
		ASSERT_NE(p, MAP_FAILED);
		sched_yield();
		bad += !all_bytes(p, 0, 4 * PAGE);
		munmap(p, 4 * PAGE);
		close(fd);
		ASSERT_EQ(fill(vm->fd, 0, 1), 0);
		sched_yield();
	}
	__atomic_store_n(&writer.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(pthread_join(thread, NULL), 0);
	EXPECT_EQ(bad, 0);
}

/* Have KVM map a range, and go on until that fails or is done. */
static int pre_fault(struct vm *vm, uint64_t gpa, uint64_t size)
{
	struct kvm_pre_fault_memory range = { .gpa = gpa, .size = size };

	while (range.size)
		if (ioctl(vm->vcpu, KVM_PRE_FAULT_MEMORY, &range))
			return -1;
	return 0;
}

TEST_F(gmem, pre_fault)
{
	struct vm *vm = &self->vm;

	if (!nested_paging(vm))
		SKIP(return, "needs nested paging");
	EXPECT_EQ(pre_fault(vm, MEM, MEM_SIZE), 0);
	EXPECT_EQ(leaves(vm, "2m"), MEM_PAGES / REGION_PAGES);
	EXPECT_GUEST_SEES(MEM + 5 * PAGE, 0);
	ASSERT_EQ(punch(vm->fd, 5, 1), 0);
	EXPECT_EQ(leaves(vm, "2m"), MEM_PAGES / REGION_PAGES - 1);
	EXPECT_EQ(pre_fault(vm, MEM, 5 * PAGE), 0);
	EXPECT_ERROR(pre_fault(vm, MEM, MEM_SIZE), EFAULT);
	EXPECT_EQ(pre_fault(vm, MEM + 6 * PAGE, MEM_SIZE - 6 * PAGE), 0);
	EXPECT_GUEST_SEES(MEM + 6 * PAGE, 0);
	EXPECT_HOLE(MEM + 5 * PAGE);
	ASSERT_EQ(fill(vm->fd, 5, 1), 0);
	EXPECT_EQ(pre_fault(vm, MEM, MEM_SIZE), 0);
	EXPECT_EQ(leaves(vm, "2m"), MEM_PAGES / REGION_PAGES - 1);
}

/* The guest touches all regions. */
static long guest_regions(struct vm *vm, uint64_t gpa, size_t size)
{
	uint64_t end = gpa + size;

	for (; gpa < end; gpa = (gpa + PMD) & -PMD)
		if (guest_write(vm, gpa, MARK) != KVM_EXIT_HLT)
			return -1;
	return leaves(vm, "2m");
}

TEST_F(gmem, large_pages)
{
	struct vm *vm = &self->vm;
	static const struct { long gpa, addr, offset, pages; } places[] = {
		{ 0, 0, 0, MEM_PAGES / REGION_PAGES },
		{ REGION_PAGES, 0, 0, MEM_PAGES / REGION_PAGES },
		{ 1, 0, 0, 0 }, { 0, 1, 0, 0 }, { 0, 0, 1, 0 }, { 1, 1, 0, 0 },
		{ 1, 1, 1, MEM_PAGES / REGION_PAGES - 1 },
	};
	unsigned int i;
	size_t size;

	EXPECT_EQ(leaves(vm, "2m"), 0);
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		size = MEM_SIZE - places[i].offset * PAGE;
		ASSERT_EQ(unbind(vm), 0);
		EXPECT_EQ(leaves(vm, "2m"), 0);
		ASSERT_EQ(gmem_bind(vm, MEM_SLOT, MEM + places[i].gpa * PAGE,
				    vm->mem + places[i].addr * PAGE, places[i].offset * PAGE,
				    size), 0);
		EXPECT_EQ(guest_regions(vm, MEM + places[i].gpa * PAGE, size), places[i].pages);
		/* All pages are where they have to be. */
		ASSERT_EQ(pwrite(vm->fd, "pages", 5, PMD - 2), 5);
		EXPECT_EQ(guest_move(vm, GPA(BUFFER_PAGE), MEM + PMD - 2 +
				     (places[i].gpa - places[i].offset) * PAGE, 5), KVM_EXIT_HLT);
		EXPECT_EQ(memcmp(at(vm, GPA(BUFFER_PAGE)), "pages", 5), 0);
	}
	EXPECT_EQ(used(), MEM_PAGES);
}

/* Without nested paging, KVM's leaves must not be larger than those of the guest. */
TEST_F(gmem, small_pages_of_the_guest)
{
	struct vm *vm = &self->vm;
	uint64_t *table = at(vm, GPA(BUFFER_PAGE)), mark;
	long i, last = REGION_PAGES - 1;

	for (i = 0; i <= last; i++) {
		mark = MARK + i;
		ASSERT_EQ(pwrite(vm->fd, &mark, sizeof(mark), i * PAGE), sizeof(mark));
		/* Accessed: only such entries are prefetched. */
		table[last - i] = (MEM + i * PAGE) | 0x27;
	}
	/* KVM must not look for the guest's memory here. */
	ASSERT_EQ(mprotect(vm->mem, MEM_SIZE, PROT_READ | PROT_WRITE), 0);
	memset(vm->mem, 0x77, MEM_SIZE);
	((uint64_t *)at(vm, GPA(PAGE_TABLES_PAGE + 2)))[1] = GPA(BUFFER_PAGE) | 7;
	ASSERT_TRUE(set_long_mode(vm, GPA(PAGE_TABLES_PAGE)));
	for (i = 0; i <= last; i++)
		EXPECT_GUEST_SEES(MEM + i * PAGE, MARK + last - i);
	EXPECT_EQ(guest_write(vm, MEM, 1), KVM_EXIT_HLT);
	EXPECT_GUEST_SEES(MEM + PAGE, MARK + last - 1);
}

/* A region that is not whole any more is mapped page by page. */
TEST_F(gmem, large_pages_and_holes)
{
	struct vm *vm = &self->vm;

	EXPECT_EQ(guest_regions(vm, MEM, MEM_SIZE), MEM_PAGES / REGION_PAGES);
	EXPECT_EQ(punch(vm->fd, 100, 1), 0);
	EXPECT_EQ(leaves(vm, "2m"), MEM_PAGES / REGION_PAGES - 1);
	EXPECT_EQ(guest_regions(vm, MEM, MEM_SIZE), MEM_PAGES / REGION_PAGES - 1);
	EXPECT_GUEST_SEES(MEM + 99 * PAGE, 0);
	EXPECT_GUEST_SEES(MEM + 101 * PAGE, 0);
	EXPECT_HOLE(MEM + 100 * PAGE);
	EXPECT_EQ(fill(vm->fd, 100, 1), 0);
	EXPECT_GUEST_SEES(MEM + 100 * PAGE, 0);
	EXPECT_EQ(guest_regions(vm, MEM, MEM_SIZE), MEM_PAGES / REGION_PAGES - 1);
	/* Both go, and the pool has whole regions again. */
	EXPECT_EQ(punch(vm->fd, 0, MEM_PAGES), 0);
	EXPECT_EQ(leaves(vm, "2m"), 0);
	EXPECT_EQ(fill(vm->fd, 0, MEM_PAGES), 0);
	EXPECT_EQ(guest_regions(vm, MEM, MEM_SIZE), MEM_PAGES / REGION_PAGES);
}

#define POISONED	100L

TEST_F(gmem, poison)
{
	const char *missing = poison_missing();
	struct vm *vm = &self->vm;
	char data[3 * PAGE] = "x";
	uint64_t value;

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(punch(vm->fd, 0, REGION_PAGES), 0);
	ASSERT_TRUE(exmem_trace_on());
	ASSERT_EQ(fill(vm->fd, 0, REGION_PAGES), 0);
	ASSERT_TRUE(exmem_trace_off());
	EXPECT_EQ(traced(EVENT_ALLOC ": ", " count=512 caller=kvm"), 1);
	EXPECT_EQ(guest_regions(vm, MEM, MEM_SIZE), MEM_PAGES / REGION_PAGES);

	poison(first_pfn() + POISONED);
	/* Nobody tells KVM: it finds out when it maps the memory again. */
	ASSERT_EQ(unbind(vm), 0);
	ASSERT_EQ(bind_all(vm), 0);
	EXPECT_EQ(guest_regions(vm, MEM, MEM_SIZE), MEM_PAGES / REGION_PAGES - 1);
	EXPECT_GUEST_SEES(MEM + (POISONED - 1) * PAGE, 0);
	EXPECT_GUEST_SEES(MEM + (POISONED + 1) * PAGE, 0);
	EXPECT_EXIT(guest_read(vm, MEM + POISONED * PAGE, &value), EHWPOISON,
		    MEM + POISONED * PAGE);
	EXPECT_ERROR(pwrite(vm->fd, data, 1, POISONED * PAGE), EHWPOISON);
	EXPECT_EQ(pwrite(vm->fd, data, 3 * PAGE, (POISONED - 1) * PAGE), PAGE);
	EXPECT_EQ(used(), MEM_PAGES);

	/* Another page takes its place. */
	EXPECT_EQ(punch(vm->fd, POISONED, 1), 0);
	self->usable--;
	EXPECT_EQ(exmem_usable(), self->usable);
	EXPECT_EQ(used(), MEM_PAGES - 1);
	EXPECT_EQ(fill(vm->fd, POISONED, 1), 0);
	EXPECT_GUEST_SEES(MEM + POISONED * PAGE, 0);
}

/* A guest_memfd that the VMM has mapped. */
FIXTURE(mapped)
{
	struct vm vm;
	long usable;
	char *p;
};

FIXTURE_SETUP(mapped)
{
	const char *missing = gmem_missing(2 * MEM_PAGES);

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_TRUE(create_all(&self->vm, GMEM_MAPPABLE));
	self->p = exmem_map(self->vm.fd, MEM_PAGES, 0);
	ASSERT_NE(self->p, MAP_FAILED);
}

FIXTURE_TEARDOWN(mapped)
{
	destroy_all(&self->vm);
	if (self->p)
		munmap(self->p, MEM_SIZE);
	EXPECT_EQ(used(), 0);
}

static uint64_t *word(char *p, long page)
{
	return (uint64_t *)(p + page * PAGE);
}

TEST_F(mapped, guest_and_vmm_see_the_same)
{
	char *p = self->p, *q = exmem_map(self->vm.fd, 1, 3);
	struct vm *vm = &self->vm;
	long i;

	EXPECT_EQ(used(), MEM_PAGES);
	ASSERT_NE(q, MAP_FAILED);
	for (i = 1; i < MEM_PAGES; i += 63) {
		*word(p, i) = MARK + i;
		EXPECT_GUEST_SEES(MEM + i * PAGE, MARK + i);
		EXPECT_EQ(guest_write(vm, MEM + i * PAGE + 8, MARK - i), KVM_EXIT_HLT);
		EXPECT_EQ(word(p, i)[1], MARK - i);
	}
	EXPECT_EQ(pmds_mapped(), MEM_PAGES / REGION_PAGES);
	EXPECT_EQ(guest_write(vm, MEM + 3 * PAGE, MARK), KVM_EXIT_HLT);
	EXPECT_EQ(*word(q, 0), MARK);
	EXPECT_EQ(pwrite(vm->fd, "abc", 4, 3 * PAGE), 4);
	EXPECT_STREQ(q, "abc");
	EXPECT_STREQ(p + 3 * PAGE, "abc");
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ), 0);
	EXPECT_EQ(touch(p, 1), SIGSEGV);
	EXPECT_EQ(touch(p, -1), 0);
	EXPECT_EQ(used(), MEM_PAGES);
	munmap(q, PAGE);
}

/* The slot has the address of the mapping. */
TEST_F(mapped, bound_with_its_address)
{
	struct vm *vm = &self->vm;

	ASSERT_EQ(unbind(vm), 0);
	ASSERT_EQ(gmem_bind(vm, MEM_SLOT, MEM, self->p, 0, MEM_SIZE), 0);
	EXPECT_EQ(guest_regions(vm, MEM, MEM_SIZE), MEM_PAGES / REGION_PAGES);
	EXPECT_EQ(*word(self->p, 0), MARK);
	EXPECT_EQ(*word(self->p, REGION_PAGES), MARK);
}

TEST_F(mapped, refused)
{
	int fd = self->vm.fd;
	char *p;

	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EPERM);
	EXPECT_ERROR(mprotect(self->p, PAGE, PROT_READ | PROT_EXEC), EACCES);
	EXPECT_ERROR(madvise(self->p, PAGE, MADV_REMOVE), ENODEV);
	p = exmem_map(fd, 2, MEM_PAGES - 1);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(touch(p, 1), 0);
	EXPECT_EQ(touch(p + PAGE, 1), SIGBUS);
	EXPECT_ERROR((long)mremap(p, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE), EFAULT);
	munmap(p, 2 * PAGE);
}

/* The VMM can access shared memory only. Without INIT_SHARED, none is shared. */
TEST_F(mapped, not_shared)
{
	struct vm *vm = &self->vm;
	int fd = gmem_create(vm, PAGE, GUEST_MEMFD_FLAG_MMAP);
	char *p = exmem_map(fd, 1, 0);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(touch(p, -1), SIGBUS);
	EXPECT_EQ(touch(p, 1), SIGBUS);
	EXPECT_EQ(pwrite(fd, "x", 1, 0), 1);
	munmap(p, PAGE);
	close(fd);
	EXPECT_EQ(used(), MEM_PAGES);
}

TEST_F(mapped, hole)
{
	char *p = self->p, *q = exmem_map(self->vm.fd, 1, 3);
	struct vm *vm = &self->vm;

	ASSERT_NE(q, MAP_FAILED);
	memset(p, 0x5a, MEM_SIZE);
	EXPECT_EQ(touch(q, 1), 0);
	EXPECT_EQ(punch(vm->fd, 3, 1), 0);
	EXPECT_EQ(used(), MEM_PAGES - 1);
	EXPECT_EQ(touch(p + 3 * PAGE, -1), SIGBUS);
	EXPECT_EQ(touch(q, 1), SIGBUS);
	EXPECT_HOLE(MEM + 3 * PAGE);
	EXPECT_ERROR(pwrite(vm->fd, q, 1, 0), EFAULT);
	EXPECT_TRUE(all_bytes(p, 0x5a, 3 * PAGE));
	EXPECT_TRUE(all_bytes(p + 4 * PAGE, 0x5a, MEM_SIZE - 4 * PAGE));
	EXPECT_EQ(pmds_mapped(), MEM_PAGES / REGION_PAGES - 1);

	EXPECT_EQ(fill(vm->fd, 3, 1), 0);
	EXPECT_TRUE(all_bytes(q, 0, PAGE));
	EXPECT_EQ(guest_write(vm, MEM + 3 * PAGE, MARK), KVM_EXIT_HLT);
	EXPECT_EQ(*word(q, 0), MARK);
	EXPECT_EQ(*word(p, 3), MARK);
	munmap(q, PAGE);
}

TEST_F(mapped, write_of_its_own_memory)
{
	struct vm *vm = &self->vm;
	char *p = self->p, *copy = malloc(PMD);

	randomize(p, PAGE);
	/* These pages are not mapped yet, and the kernel has to fault them in. */
	EXPECT_EQ(pwrite(vm->fd, p, PAGE, PMD - 100), PAGE);
	EXPECT_TRUE(guest_finds(vm, PMD - 100, p, PAGE));
	EXPECT_EQ(pwrite(vm->fd, p + PMD - 100, PAGE, 9), PAGE);
	EXPECT_EQ(memcmp(p + 9, p + PMD - 100, PAGE), 0);
	randomize(p, PMD);
	memcpy(copy, p, PMD);
	EXPECT_EQ(pwrite(vm->fd, p, PMD, 0), PMD);
	EXPECT_EQ(memcmp(p, copy, PMD), 0);
	EXPECT_EQ(pwrite(vm->fd, p, PMD, PMD), PMD);
	EXPECT_EQ(memcmp(p + PMD, copy, PMD), 0);
	free(copy);
}

TEST_F(mapped, outlives_the_vm)
{
	struct vm *vm = &self->vm;

	EXPECT_EQ(guest_write(vm, MEM + 7 * PAGE, MARK), KVM_EXIT_HLT);
	destroy_all(vm);
	EXPECT_EQ(used(), MEM_PAGES);
	EXPECT_EQ(*word(self->p, 7), MARK);
	memset(self->p, 0x5a, MEM_SIZE);
	EXPECT_EQ(munmap(self->p, PAGE), 0);
	EXPECT_EQ(used(), MEM_PAGES);
	EXPECT_EQ(munmap(self->p + PAGE, MEM_SIZE - PAGE), 0);
	self->p = NULL;
	EXPECT_EQ(used(), 0);
}

TEST_F(mapped, keeps_the_memory_of_the_guest)
{
	struct vm *vm = &self->vm;

	close(vm->fd);
	vm->fd = -1;
	EXPECT_EQ(guest_write(vm, MEM + 7 * PAGE, MARK), KVM_EXIT_HLT);
	EXPECT_EQ(*word(self->p, 7), MARK);
	EXPECT_EQ(munmap(self->p, 7 * PAGE), 0);
	EXPECT_GUEST_SEES(MEM + 7 * PAGE, MARK);
	EXPECT_EQ(munmap(self->p + 7 * PAGE, MEM_SIZE - 7 * PAGE), 0);
	self->p = NULL;
	EXPECT_EQ(used(), 0);
	EXPECT_HOLE(MEM + 7 * PAGE);
}

/* The VMM changes its mappings while the guest counts. */
TEST_F_TIMEOUT(mapped, changed_while_the_guest_runs, 300)
{
	struct vm *vm = &self->vm;
	int i, status;
	pthread_t thread;
	void *exit;
	char *p;
	pid_t pid;

	ASSERT_EQ(pthread_create(&thread, NULL, count, vm), 0);
	for (i = 0; i < 30; i++) {
		wait_for_count(vm);
		p = exmem_map(vm->fd, MEM_PAGES, 0);
		ASSERT_NE(p, MAP_FAILED);
		EXPECT_NE(*word(p, 0), 0);
		pid = fork();
		if (!pid) {
			wait_for_count(vm);
			*word(p, 1 + i) = MARK;
			_exit(!*word(p, 0));
		}
		EXPECT_EQ(munmap(p + PMD, PMD), 0);
		ASSERT_EQ(mremap(p, PMD, PMD, MREMAP_MAYMOVE | MREMAP_FIXED, p + PMD), p + PMD);
		EXPECT_EQ(touch(p, -1), SIGSEGV);
		EXPECT_NE(*word(p + PMD, 0), 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
		EXPECT_EQ(*word(p + PMD, 1 + i), MARK);
		EXPECT_EQ(munmap(p + PMD, PMD), 0);
	}
	EXPECT_EQ(used(), MEM_PAGES);
	EXPECT_EQ(punch(vm->fd, 0, 1), 0);
	ASSERT_EQ(pthread_join(thread, &exit), 0);
	EXPECT_EXIT((long)exit, EFAULT, MEM);
}

TEST_F(mapped, doors)
{
	int mem = open("/proc/self/mem", O_RDWR), disk = open("/dev/ram0", O_RDWR | O_DIRECT);
	struct iovec local = { &(uint64_t) { 0 }, 8 }, remote = { self->p, 8 };
	pid_t pid;

	*word(self->p, 0) = MARK;
	EXPECT_ERROR(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), EFAULT);
	EXPECT_ERROR(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), EFAULT);
	EXPECT_ERROR(pread(mem, local.iov_base, 8, (uintptr_t)self->p), EIO);
	EXPECT_ERROR(pwrite(mem, local.iov_base, 8, (uintptr_t)self->p), EIO);
	if (disk >= 0)
		EXPECT_ERROR(pwrite(disk, self->p, PAGE, 0), EFAULT);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_EQ(ptrace(PTRACE_ATTACH, pid, NULL, NULL), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	EXPECT_ERROR(ptrace(PTRACE_PEEKDATA, pid, self->p, NULL), EIO);
	EXPECT_ERROR(ptrace(PTRACE_POKEDATA, pid, self->p, NULL), EIO);
	EXPECT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	EXPECT_EQ(*word(self->p, 0), MARK);
}

/* Size of the guest's secret, and of a chain in its ordinary memory that the searches must find. */
#define CHAIN_SIZE	(4 * PAGE)

static bool guest_chain(struct vm *vm, uint64_t gpa, enum chain kind)
{
	return RUN_CODE(vm, GUEST_CHAIN, GUEST_CHAIN_REGS(gpa, CHAIN_SIZE, kind)) ==
	       KVM_EXIT_HLT;
}

static void search(const void *mem, size_t size, void *found)
{
	chain_count(mem, size, found);
}

static bool search_mappings(struct chains *found)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	char line[512], mode[5];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %4s", &start, &end, mode) != 3 || *mode != 'r' ||
		    strstr(line, "[v") || touch((char *)start, -1))
			continue;
		search((void *)start, end - start, found);
	}
	return f && !fclose(f);
}

static bool search_core(struct chains *found)
{
	size_t size;
	void *core = core_map(&size);

	if (core == MAP_FAILED)
		return false;
	search(core, size, found);
	munmap(core, size);
	return true;
}

struct vmm {
	pid_t pid;
	int go;
	struct chains mapped;	/* what it finds in its own mappings */
};

static void be_vmm(uint64_t flags, int ready, int go)
{
	struct chains found = {};
	struct vm vm = {};
	char c;

	if (!create_all(&vm, flags) || !guest_chain(&vm, GPA(BUFFER_PAGE), CHAIN_ORDINARY) ||
	    !guest_chain(&vm, MEM + PAGE, CHAIN_GUEST_MEMFD))
		_exit(1);
	if (flags && exmem_map(vm.fd, MEM_PAGES, 0) == MAP_FAILED)
		_exit(2);
	if (!search_mappings(&found) || write(ready, &found, sizeof(found)) != sizeof(found) ||
	    read(go, &c, 1) < 0)
		_exit(3);
	crash();
}

static bool vmm_start(struct vmm *vmm, uint64_t flags)
{
	int ready[2], go[2];
	bool ok;

	if (pipe(ready) || pipe(go))
		return false;
	vmm->pid = fork();
	if (!vmm->pid) {
		close(go[1]);
		be_vmm(flags, ready[1], go[0]);
	}
	close(ready[1]);
	close(go[0]);
	vmm->go = go[1];
	ok = read(ready[0], &vmm->mapped, sizeof(vmm->mapped)) == sizeof(vmm->mapped);
	close(ready[0]);
	return ok;
}

/* Let it crash, and search its core dump. */
static bool vmm_crash(struct vmm *vmm, struct chains *found)
{
	bool ok = core_begin() && write(vmm->go, "x", 1) == 1;
	int status;

	close(vmm->go);
	ok = ok && waitpid(vmm->pid, &status, 0) == vmm->pid;
	ok = core_end() && ok && WIFSIGNALED(status) && WCOREDUMP(status) && search_core(found);
	unlink(CORE);
	return ok;
}

#define MAX_PAGES	(2L << 30 >> 12)

FIXTURE(secret)
{
	struct vmm gone, plain, mapping;
	long usable;
};

FIXTURE_SETUP(secret)
{
	const char *missing = gmem_missing(4 * MEM_PAGES);

	if (!missing && access("/proc/kcore", R_OK))
		missing = "needs /proc/kcore";
	if (!missing && sysconf(_SC_PHYS_PAGES) > MAX_PAGES)
		missing = "needs a machine with at most 2 GiB: searching more takes minutes";
	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_TRUE(vmm_start(&self->gone, 0));
	ASSERT_TRUE(vmm_start(&self->plain, 0));
	ASSERT_TRUE(vmm_start(&self->mapping, GMEM_MAPPABLE));
	ASSERT_EQ(used(), 3 * MEM_PAGES);
}

FIXTURE_TEARDOWN(secret)
{
	EXPECT_EQ(used(), 0);
}

/*
 * There is no copy of the guest's secret, neither while the guest exists nor later. Searching all
 * memory takes long, so the test does it once, when one VMM is gone and two are not.
 */
TEST_F_TIMEOUT(secret, no_copy, 900)
{
	struct chains ram = {}, core = {}, pool = {};
	char *p;
	int fd;

	EXPECT_GT(self->plain.mapped.of[CHAIN_ORDINARY], 0);
	EXPECT_EQ(self->plain.mapped.of[CHAIN_GUEST_MEMFD], 0);
	EXPECT_GT(self->mapping.mapped.of[CHAIN_GUEST_MEMFD], 0);

	EXPECT_TRUE(vmm_crash(&self->gone, &core));
	EXPECT_EQ(used(), 2 * MEM_PAGES);
	EXPECT_TRUE(kcore_search(search, &ram));
	EXPECT_GT(ram.of[CHAIN_ORDINARY], 0);
	EXPECT_EQ(ram.of[CHAIN_GUEST_MEMFD], 0);

	EXPECT_TRUE(vmm_crash(&self->plain, &core));
	EXPECT_TRUE(vmm_crash(&self->mapping, &core));
	EXPECT_GT(core.of[CHAIN_ORDINARY], 0);
	EXPECT_EQ(core.of[CHAIN_GUEST_MEMFD], 0);

	/* The kernel can't read the rest of RAM, but the next owner can. */
	p = new_memory(EXMEM_FRONT_DEVICE, NULL, self->usable, &fd);
	ASSERT_NE(p, MAP_FAILED);
	search(p, self->usable * PAGE, &pool);
	EXPECT_EQ(pool.of[CHAIN_GUEST_MEMFD], 0);
	EXPECT_TRUE(all_bytes(p, 0, self->usable * PAGE));
	munmap(p, self->usable * PAGE);
	close(fd);
}

TEST_HARNESS_MAIN
