// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory as the memory of a virtual machine: the guest can use it, a page that is taken
 * away is gone for the guest, too, and an access that KVM cannot map fails cleanly. Every test
 * but those of large leaves also runs on ordinary memory, to show that the guest does what it is
 * meant to do.
 *
 * KVM tries to map nested state only if it is booted with kvm.allow_unsafe_mappings=1.
 */
#define _GNU_SOURCE
#include <asm/svm.h>
#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/wait.h>
#include <time.h>

#include "bench.h"
#include "exmem.h"
#include "kvm_pfns.h"
#include "vm.h"
#include "../kselftest_harness.h"

#define MEM_PAGES	64
#define MEM_SIZE	(MEM_PAGES * PAGE)

/* Nothing is here. */
#define MEM_MOVED	0x400000UL
#define NOTHING		0x800000UL

#define SMM_SLOT	0x10000		/* in the address space of system management mode */

#define PORT		0x80

#define MSR_TSC			0x10
#define MSR_HSAVE_PA		0xc0010117
#define MSR_OLD_WALL_CLOCK	0x11
#define MSR_OLD_SYSTEM_TIME	0x12
#define MSR_WALL_CLOCK		0x4b564d00
#define MSR_SYSTEM_TIME		0x4b564d01
#define MSR_ASYNC_PF		0x4b564d02
#define MSR_STEAL_TIME		0x4b564d03
#define MSR_PV_EOI		0x4b564d04

/* What the guest runs. */
#define GUEST_COPY	"\x48\xa5\xf4"			/* movsq; hlt */
#define GUEST_WRMSR	"\x0f\x30\xf4"			/* wrmsr; hlt */
#define GUEST_VMRUN	"\x0f\x01\xd8\xf4"		/* vmrun; hlt */
#define GUEST_VMLOAD	"\x0f\x01\xda\xf4"		/* vmload; hlt */
#define GUEST_VMSAVE	"\x0f\x01\xdb\xf4"		/* vmsave; hlt */
#define GUEST_HLT	"\xf4"				/* hlt */
#define GUEST_OUT	"\xe6\x80\xf4"			/* out %al,$PORT; hlt */
#define GUEST_RDMSR	"\xb9\x10\x00\x00\x00\x0f\x32\xf4"	/* rdmsr of MSR_TSC; hlt */
#define GUEST_OUT_RSM	"\xe6\x80\x0f\xaa"		/* out %al,$PORT; rsm */

#define CLOCK_STOPPED	2

/* As the guest sees it. */
struct guest_clock {
	uint32_t version, pad;
	uint64_t tsc, system_time;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, pad2[2];
};

static bool guest_create(struct vm *vm, int front, size_t pages)
{
	vm->front = front;
	vm->mem_size = pages * PAGE;
	vm->mem = new_memory(front, NULL, pages, &vm->fd);
	return vm->mem != MAP_FAILED && vm_create(vm) &&
	       !set_slot(vm, MEM_SLOT, MEM, vm->mem, vm->mem_size, 0);
}

static void guest_destroy(struct vm *vm)
{
	vm_destroy(vm);
	munmap(vm->mem, vm->mem_size);
	close(vm->fd);
}

static int guest_wrmsr(struct vm *vm, uint32_t msr, uint64_t value)
{
	return RUN_CODE(vm, GUEST_WRMSR, .rcx = msr, .rax = (uint32_t)value, .rdx = value >> 32);
}

/* The VMM sets an MSR, or reads it. */
static bool vmm_msr(struct vm *vm, unsigned long ioctl_nr, uint32_t msr, uint64_t *value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = { { .nmsrs = 1 }, { .index = msr, .data = *value } };
	int ret = ioctl(vm->vcpu, ioctl_nr, &msrs);

	*value = msrs.entry.data;
	return ret == 1;
}

static bool vmm_wrmsr(struct vm *vm, uint32_t msr, uint64_t value)
{
	return vmm_msr(vm, KVM_SET_MSRS, msr, &value);
}

FIXTURE(guest)
{
	struct vm vm;
	long usable;
};

FIXTURE_VARIANT(guest)
{
	int front;	/* enum exmem_front, or ORDINARY */
};

FIXTURE_VARIANT_ADD(guest, ordinary) { .front = ORDINARY };
FIXTURE_VARIANT_ADD(guest, device) { .front = EXMEM_FRONT_DEVICE };
FIXTURE_VARIANT_ADD(guest, map_exclusive) { .front = EXMEM_FRONT_MMAP };
FIXTURE_VARIANT_ADD(guest, memfd_secret) { .front = EXMEM_FRONT_SECRETMEM };

FIXTURE_SETUP(guest)
{
	const char *missing = vm_missing(variant->front == ORDINARY ? exmem_missing(2048) :
					 exmem_front_missing(variant->front, 2048));
	uint64_t value;

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_TRUE(guest_create(&self->vm, variant->front, MEM_PAGES));
	if (variant->front != ORDINARY && !kvm_maps_raw_pfns(self->vm.kvm))
		SKIP(return, "n/a: this KVM maps no page without a reference");
	ASSERT_EQ(guest_read(&self->vm, MEM, &value), KVM_EXIT_HLT);
}

FIXTURE_TEARDOWN(guest)
{
	guest_destroy(&self->vm);
	EXPECT_EQ(used(), 0);
}

TEST_F(guest, reads_and_writes)
{
	struct vm *vm = &self->vm;
	int i;

	for (i = 0; i < MEM_PAGES; i++) {
		*(uint64_t *)(vm->mem + i * PAGE) = MARK + i;
		EXPECT_GUEST_SEES(MEM + i * PAGE, MARK + i);
		EXPECT_EQ(guest_write(vm, MEM + i * PAGE + 8, MARK - i), KVM_EXIT_HLT);
		EXPECT_EQ(*(uint64_t *)(vm->mem + i * PAGE + 8), MARK - i);
	}
}

TEST_F(guest, runs_from_it)
{
	struct kvm_regs regs = { .rip = MEM, .rsi = MEM + PAGE, .rax = MARK };
	struct vm *vm = &self->vm;

	make_page_tables(vm, MEM + 2 * PAGE);
	ASSERT_TRUE(set_long_mode(vm, MEM + 2 * PAGE));
	SET_CODE(vm, MEM, GUEST_WRITE);
	EXPECT_EQ(run_at(vm, &regs), KVM_EXIT_HLT);
	EXPECT_EQ(*(uint64_t *)(vm->mem + PAGE), MARK);
}

/* KVM finds the instruction by the guest's page tables, reads it, and stores its result. */
TEST_F(guest, emulation)
{
	struct kvm_regs regs = { .rip = MEM, .rsi = NOTHING, .rdi = MEM + PAGE };
	struct vm *vm = &self->vm;
	uint64_t data = MARK;

	make_page_tables(vm, MEM + 2 * PAGE);
	ASSERT_TRUE(set_long_mode(vm, MEM + 2 * PAGE));
	SET_CODE(vm, MEM, GUEST_COPY);
	ASSERT_EQ(run_at(vm, &regs), KVM_EXIT_MMIO);
	EXPECT_EQ(vm->run->mmio.phys_addr, NOTHING);
	ASSERT_EQ(vm->run->mmio.len, sizeof(data));
	memcpy(vm->run->mmio.data, &data, sizeof(data));
	EXPECT_EQ(vm_run(vm), KVM_EXIT_HLT);
	EXPECT_EQ(*(uint64_t *)(vm->mem + PAGE), MARK);
}

TEST_F(guest, dirty_log)
{
	struct kvm_dirty_log log = { .slot = MEM_SLOT };
	struct vm *vm = &self->vm;
	uint64_t bitmap;

	log.dirty_bitmap = &bitmap;
	ASSERT_EQ(set_slot(vm, MEM_SLOT, MEM, vm->mem, MEM_SIZE, KVM_MEM_LOG_DIRTY_PAGES), 0);
	EXPECT_EQ(guest_write(vm, MEM + 3 * PAGE, MARK), KVM_EXIT_HLT);
	EXPECT_EQ(ioctl(vm->vm, KVM_GET_DIRTY_LOG, &log), 0);
	EXPECT_EQ(bitmap, 1 << 3);
	EXPECT_EQ(guest_write(vm, MEM + 3 * PAGE, MARK), KVM_EXIT_HLT);
	EXPECT_EQ(guest_write(vm, MEM + 5 * PAGE, MARK), KVM_EXIT_HLT);
	EXPECT_EQ(ioctl(vm->vm, KVM_GET_DIRTY_LOG, &log), 0);
	EXPECT_EQ(bitmap, 1 << 3 | 1 << 5);
	EXPECT_EQ(ioctl(vm->vm, KVM_GET_DIRTY_LOG, &log), 0);
	EXPECT_EQ(bitmap, 0);
}

/* The guest's memory goes away, and nothing else takes its place in the VMM. */
static bool take_memory_away(struct vm *vm)
{
	if (vm->front == EXMEM_FRONT_DEVICE)
		return !exmem_punch_hole(vm->fd, 0, MEM_PAGES);
	return mmap(vm->mem, MEM_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		    0) != MAP_FAILED && (vm->fd < 0 || !close(vm->fd));
}

/* New memory in the same place. */
static bool give_memory_back(struct vm *vm)
{
	if (vm->front == EXMEM_FRONT_DEVICE)
		return exmem_front_map(vm->front, vm->fd, vm->mem, MEM_SIZE,
				       PROT_READ | PROT_WRITE) != MAP_FAILED;
	return new_memory(vm->front, vm->mem, MEM_PAGES, &vm->fd) != MAP_FAILED;
}

TEST_F(guest, memory_taken_away)
{
	struct vm *vm = &self->vm;
	uint64_t value;

	memset(vm->mem, 0x5a, MEM_SIZE);
	EXPECT_GUEST_SEES(MEM + PAGE, 0x5a5a5a5a5a5a5a5aUL);
	ASSERT_TRUE(take_memory_away(vm));
	EXPECT_EQ(used(), 0);
	EXPECT_EQ(guest_read(vm, MEM + PAGE, &value), -EFAULT);
	EXPECT_EQ(guest_write(vm, MEM + PAGE, MARK), -EFAULT);
	EXPECT_EQ(used(), 0);
	ASSERT_TRUE(give_memory_back(vm));
	EXPECT_GUEST_SEES(MEM + PAGE, 0);
	EXPECT_EQ(guest_write(vm, MEM + PAGE, MARK), KVM_EXIT_HLT);
	EXPECT_EQ(*(uint64_t *)(vm->mem + PAGE), MARK);
}

static void *count(void *arg)
{
	return (void *)(long)RUN_CODE(arg, GUEST_COUNT, .rsi = MEM + PAGE);
}

/* Once the call returns, a guest that keeps writing must not reach the old pages. */
TEST_F_TIMEOUT(guest, memory_taken_away_from_running_guest, 300)
{
	size_t pages = variant->front == ORDINARY ? MEM_PAGES : self->usable;
	struct vm *vm = &self->vm;
	pthread_t thread;
	void *exit;
	char *p;
	int i, fd;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(pthread_create(&thread, NULL, count, vm), 0);
		while (!__atomic_load_n((uint64_t *)(vm->mem + PAGE), __ATOMIC_RELAXED))
			sched_yield();
		ASSERT_TRUE(take_memory_away(vm));
		/* All pages of the pool: the guest's old ones are among them. */
		p = new_memory(vm->front, NULL, pages, &fd);
		ASSERT_NE(p, MAP_FAILED);
		EXPECT_TRUE(all_bytes(p, 0, pages * PAGE));
		ASSERT_EQ(pthread_join(thread, &exit), 0);
		EXPECT_EQ((long)exit, -EFAULT);
		EXPECT_TRUE(all_bytes(p, 0, pages * PAGE));
		munmap(p, pages * PAGE);
		close(fd);
		ASSERT_TRUE(give_memory_back(vm));
		EXPECT_GUEST_SEES(MEM + PAGE, 0);
	}
}

/* The guest reads where nothing is, and the VMM lets it go on. */
#define EXPECT_NOTHING_AT(gpa)							\
do {										\
	uint64_t _gpa = gpa, _value;						\
										\
	EXPECT_EQ(guest_read(vm, _gpa, &_value), KVM_EXIT_MMIO);		\
	EXPECT_EQ(vm->run->mmio.phys_addr, _gpa);				\
	EXPECT_EQ(vm_run(vm), KVM_EXIT_HLT);					\
} while (0)

TEST_F(guest, slot_deleted_and_moved)
{
	struct vm *vm = &self->vm;

	EXPECT_EQ(guest_write(vm, MEM + PAGE, MARK), KVM_EXIT_HLT);
	ASSERT_EQ(set_slot(vm, MEM_SLOT, MEM_MOVED, vm->mem, MEM_SIZE, 0), 0);
	EXPECT_GUEST_SEES(MEM_MOVED + PAGE, MARK);
	EXPECT_NOTHING_AT(MEM + PAGE);
	ASSERT_EQ(set_slot(vm, MEM_SLOT, MEM_MOVED, vm->mem, 0, 0), 0);
	EXPECT_NOTHING_AT(MEM_MOVED + PAGE);
	ASSERT_EQ(set_slot(vm, MEM_SLOT, MEM, vm->mem, MEM_SIZE, 0), 0);
	EXPECT_GUEST_SEES(MEM + PAGE, MARK);
}

TEST_F(guest, killed)
{
	struct vm *vm = &self->vm, other;
	int ready[2], status;
	pthread_t thread;
	pid_t pid;
	char c;

	ASSERT_EQ(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		if (!guest_create(&other, vm->front, MEM_PAGES) ||
		    pthread_create(&thread, NULL, count, &other))
			_exit(1);
		while (!__atomic_load_n((uint64_t *)(other.mem + PAGE), __ATOMIC_RELAXED))
			sched_yield();
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	EXPECT_EQ(used(), vm->front == ORDINARY ? 0 : 2 * MEM_PAGES);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(used(), vm->front == ORDINARY ? 0 : MEM_PAGES);
}

/* KVM has written the clock, and is not writing it now. */
#define EXPECT_CLOCK(gpa)						\
do {									\
	struct guest_clock *_clock = at(vm, gpa);			\
									\
	EXPECT_NE(_clock->version, 0);					\
	EXPECT_EQ(_clock->version & 1, 0);				\
	EXPECT_NE(_clock->mul, 0);					\
} while (0)

/* Have KVM update the guest's clock. */
static int update_clock(struct vm *vm)
{
	uint64_t value;

	return ioctl(vm->vcpu, KVM_KVMCLOCK_CTRL) ? -errno : guest_read(vm, 0, &value);
}

TEST_F(guest, clock)
{
	static const uint32_t msrs[] = { MSR_SYSTEM_TIME, MSR_OLD_SYSTEM_TIME };
	struct guest_clock before, after;
	struct vm *vm = &self->vm;
	uint64_t gpa = MEM;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++, gpa += PAGE) {
		EXPECT_EQ(guest_wrmsr(vm, msrs[i], gpa | 1), KVM_EXIT_HLT);
		EXPECT_CLOCK(gpa);
		before = *(struct guest_clock *)at(vm, gpa);
		EXPECT_EQ(before.flags & CLOCK_STOPPED, 0);
		EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
		EXPECT_CLOCK(gpa);
		after = *(struct guest_clock *)at(vm, gpa);
		EXPECT_GT(after.version, before.version);
		EXPECT_GE(after.system_time, before.system_time);
		EXPECT_NE(after.flags & CLOCK_STOPPED, 0);
		/* The flag stays until the guest clears it. */
		EXPECT_EQ(guest_wrmsr(vm, msrs[i], gpa | 1), KVM_EXIT_HLT);
		after = *(struct guest_clock *)at(vm, gpa);
		EXPECT_NE(after.flags & CLOCK_STOPPED, 0);
		EXPECT_EQ(guest_wrmsr(vm, msrs[i], 0), KVM_EXIT_HLT);
		EXPECT_EQ(guest_write(vm, gpa + 64, MARK), KVM_EXIT_HLT);
		EXPECT_GUEST_SEES(gpa + 64, MARK);
	}
}

TEST_F(guest, clock_set_by_the_vmm)
{
	struct kvm_clock_data clock = {};
	struct vm *vm = &self->vm;
	uint64_t value = 0;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(vmm_wrmsr(vm, MSR_SYSTEM_TIME, MEM | 1));
		EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
		EXPECT_EQ(ioctl(vm->vm, KVM_GET_CLOCK, &clock), 0);
		clock.flags = 0;
		EXPECT_EQ(ioctl(vm->vm, KVM_SET_CLOCK, &clock), 0);
		EXPECT_EQ(guest_read(vm, MEM + PAGE, &value), KVM_EXIT_HLT);
		EXPECT_TRUE(vmm_msr(vm, KVM_GET_MSRS, MSR_SYSTEM_TIME, &value));
		EXPECT_EQ(value, MEM | 1);
		EXPECT_CLOCK(MEM);

		ASSERT_TRUE(vmm_wrmsr(vm, MSR_SYSTEM_TIME, GPA(CLOCK_PAGE) | 1));
		EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
		EXPECT_CLOCK(GPA(CLOCK_PAGE));
		ASSERT_TRUE(vmm_wrmsr(vm, MSR_SYSTEM_TIME, 0));
		EXPECT_EQ(guest_read(vm, MEM + PAGE, &value), KVM_EXIT_HLT);
	}
}

/* KVM has mapped the clock's page, and another page takes its place. */
TEST_F(guest, clock_replaced)
{
	uint64_t gpa = GPA(CLOCK_PAGE);
	struct vm *vm = &self->vm;
	int i, fd, ordinary_fd;

	ASSERT_EQ(guest_wrmsr(vm, MSR_SYSTEM_TIME, gpa | 1), KVM_EXIT_HLT);
	for (i = 0; i < 10; i++) {
		EXPECT_CLOCK(gpa);
		ASSERT_NE(new_memory(vm->front, at(vm, gpa), 1, &fd), MAP_FAILED);
		close(fd);
		EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
		EXPECT_CLOCK(gpa);
		EXPECT_GUEST_SEES(gpa + 64, 0);
		ASSERT_NE(new_memory(ORDINARY, at(vm, gpa), 1, &ordinary_fd), MAP_FAILED);
		EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
	}
}

/* KVM maps the page while it is replaced. */
TEST_F_TIMEOUT(guest, clock_replaced_all_the_time, 300)
{
	struct repeated updater = { .vm = &self->vm, .run = update_clock };
	uint64_t gpa = GPA(CLOCK_PAGE);
	struct vm *vm = &self->vm;
	pthread_t thread;
	int fd;

	ASSERT_EQ(guest_wrmsr(vm, MSR_SYSTEM_TIME, gpa | 1), KVM_EXIT_HLT);
	ASSERT_EQ(pthread_create(&thread, NULL, repeat_until_stopped, &updater), 0);
	while (__atomic_load_n(&updater.runs, __ATOMIC_RELAXED) < 1000) {
		ASSERT_NE(new_memory(vm->front, at(vm, gpa), 1, &fd), MAP_FAILED);
		close(fd);
		ASSERT_NE(new_memory(ORDINARY, at(vm, gpa), 1, &fd), MAP_FAILED);
	}
	__atomic_store_n(&updater.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(pthread_join(thread, NULL), 0);
	EXPECT_EQ(updater.failures, 0);
	EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
	EXPECT_CLOCK(gpa);
}

TEST_F(guest, clock_taken_away)
{
	struct vm *vm = &self->vm;
	uint64_t value;
	int i;

	ASSERT_EQ(guest_wrmsr(vm, MSR_SYSTEM_TIME, MEM | 1), KVM_EXIT_HLT);
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(take_memory_away(vm));
		EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
		EXPECT_EQ(used(), 0);
		EXPECT_EQ(guest_read(vm, MEM, &value), -EFAULT);
		ASSERT_TRUE(give_memory_back(vm));
		EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
		EXPECT_CLOCK(MEM);
	}
	ASSERT_EQ(set_slot(vm, MEM_SLOT, MEM_MOVED, vm->mem, MEM_SIZE, 0), 0);
	EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
	ASSERT_EQ(set_slot(vm, MEM_SLOT, MEM_MOVED, vm->mem, 0, 0), 0);
	EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
	ASSERT_EQ(set_slot(vm, MEM_SLOT, MEM, vm->mem, MEM_SIZE, 0), 0);
	EXPECT_EQ(update_clock(vm), KVM_EXIT_HLT);
	EXPECT_CLOCK(MEM);
}

static bool on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/* The clock is updated on each new CPU. */
TEST_F(guest, clock_on_other_cpus)
{
	struct vm *vm = &self->vm;
	uint64_t value;
	int i;

	if (!on_cpu(0) || !on_cpu(1))
		SKIP(return, "needs two CPUs");
	ASSERT_EQ(guest_wrmsr(vm, MSR_SYSTEM_TIME, MEM | 1), KVM_EXIT_HLT);
	for (i = 0; i < 20; i++) {
		ASSERT_TRUE(on_cpu(i % 2));
		EXPECT_EQ(guest_read(vm, MEM + PAGE, &value), KVM_EXIT_HLT);
		EXPECT_CLOCK(MEM);
	}
}

/* KVM writes these through the VMM's mapping, and needs no mapping of its own. */
TEST_F(guest, other_paravirtual_msrs)
{
	static const uint32_t msrs[] = { MSR_ASYNC_PF, MSR_STEAL_TIME, MSR_PV_EOI };
	struct vm *vm = &self->vm;
	uint64_t value;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		/* Whether there is one depends on the kernel. */
		vmm_wrmsr(vm, msrs[i], (MEM + PAGE) | 1);
		EXPECT_EQ(guest_read(vm, MEM, &value), KVM_EXIT_HLT);
		vmm_wrmsr(vm, msrs[i], 0);
	}
	EXPECT_EQ(guest_wrmsr(vm, MSR_WALL_CLOCK, MEM), KVM_EXIT_HLT);
	EXPECT_NE(*(uint32_t *)vm->mem, 0);
	EXPECT_EQ(guest_wrmsr(vm, MSR_OLD_WALL_CLOCK, MEM + PAGE), KVM_EXIT_HLT);
	EXPECT_NE(*(uint32_t *)(vm->mem + PAGE), 0);
}

/* AMD64 Architecture Programmer's Manual, volume 2, appendix B. */
struct vmcb_segment {
	uint16_t selector, attributes;
	uint32_t limit;
	uint64_t base;
};

struct vmcb {
	uint32_t intercepts[16];
	uint64_t iopm, msrpm, tsc_offset;
	uint32_t asid, tlb;
	uint64_t unused_60[2];
	uint64_t exit_code;
	uint64_t unused_78[3];
	uint64_t nested_control;
	uint64_t unused_98[3];
	uint64_t nested_cr3;
	uint64_t unused_b8[105];
	struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	uint64_t unused_4a0[6];
	uint64_t efer;
	uint64_t unused_4d8[14];
	uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
	uint64_t unused_580[11];
	uint64_t rsp;
	uint64_t unused_5e0[17];
	uint64_t pat;
};

static_assert(offsetof(struct vmcb, exit_code) == 0x70);
static_assert(offsetof(struct vmcb, nested_cr3) == 0xb0);
static_assert(offsetof(struct vmcb, es) == 0x400);
static_assert(offsetof(struct vmcb, efer) == 0x4d0);
static_assert(offsetof(struct vmcb, rip) == 0x578);
static_assert(offsetof(struct vmcb, pat) == 0x668);

#define INTERCEPT_3_HLT		0x01000000
#define INTERCEPT_3_IOIO	0x08000000
#define INTERCEPT_3_MSR		0x10000000
#define INTERCEPT_4_VMRUN	0x00000001

/* Where the guest has what it needs to run a guest of its own. */
struct nested {
	uint64_t vmcb, hsave, iopm, msrpm, page_tables, code;
};

static const struct nested nested_low = {
	.vmcb = GPA(VMCB_PAGE),
	.hsave = GPA(HSAVE_PAGE),
	.iopm = GPA(IOPM_PAGE),
	.msrpm = GPA(MSRPM_PAGE),
	.page_tables = GPA(PAGE_TABLES_PAGE),
	.code = GPA(NESTED_CODE_PAGE),
};

static const struct nested nested_mem = {
	.vmcb = MEM,
	.hsave = MEM + PAGE,
	.iopm = MEM + 2 * PAGE,
	.msrpm = MEM + 5 * PAGE,
	.page_tables = MEM + 7 * PAGE,
	.code = MEM + 10 * PAGE,
};

/* 64-bit mode, with nested paging. */
static void make_vmcb(struct vmcb *vmcb, const struct nested *nested)
{
	struct vmcb_segment data = { .selector = 16, .attributes = 0xc93, .limit = -1 };
	struct vmcb_segment code = { .selector = 8, .attributes = 0xa9b, .limit = -1 };

	*vmcb = (struct vmcb) {
		.intercepts = { [3] = INTERCEPT_3_HLT, [4] = INTERCEPT_4_VMRUN },
		.iopm = nested->iopm,
		.msrpm = nested->msrpm,
		.asid = 1,
		.nested_control = 1,
		.nested_cr3 = nested->page_tables,
		.es = data,
		.cs = code,
		.ss = data,
		.ds = data,
		.efer = EFER_LME | EFER_LMA | EFER_SVME,
		.cr4 = 0x20,
		.cr3 = nested->page_tables,
		.cr0 = 0x80000011,
		.dr7 = 0x400,
		.dr6 = 0xffff0ff0,
		.rflags = 2,
		.rip = nested->code,
		.rsp = GPA(STACK_PAGE + 1),
		.pat = 0x0007040600070406,
	};
}

/* Returns false if KVM refuses MSR_HSAVE_PA. */
static bool make_nested(struct vm *vm, const struct nested *nested)
{
	memset(at(vm, nested->iopm), 0, 3 * PAGE);
	memset(at(vm, nested->msrpm), 0, 2 * PAGE);
	make_page_tables(vm, nested->page_tables);
	SET_CODE(vm, nested->code, GUEST_HLT);
	make_vmcb(at(vm, nested->vmcb), nested);
	return vmm_wrmsr(vm, MSR_HSAVE_PA, nested->hsave);
}

#define RUN_NESTED(vm, vmcb) RUN_CODE(vm, GUEST_VMRUN, .rax = vmcb)

/* The reason why the guest can't use SVM, or NULL. */
static const char *svm_missing(struct vm *vm)
{
	return vm->svm ? NULL : "needs nested SVM: kvm_amd.nested=1";
}

/* As svm_missing(), but also for system management mode, which has memory of its own. */
static const char *smm_missing(struct vm *vm, const char *handler, size_t size)
{
	if (ioctl(vm->vm, KVM_CHECK_EXTENSION, KVM_CAP_X86_SMM) <= 0 ||
	    set_slot(vm, SMM_SLOT, 0, vm->low, GPA(LOW_PAGES), 0))
		return "needs CONFIG_KVM_SMM";
	set_code(vm, GPA(SMM_PAGE), handler, size);
	return svm_missing(vm);
}

#define SMM_MISSING(vm, handler) smm_missing(vm, handler, sizeof(handler) - 1)

/* KVM cannot map the VMCB: it tells the VMM, and does not execute the instruction. */
TEST_F(guest, nested_vmcb)
{
	int exit = variant->front == ORDINARY ? KVM_EXIT_HLT : KVM_EXIT_INTERNAL_ERROR;
	struct nested nested = nested_low;
	struct vm *vm = &self->vm;
	struct vmcb *vmcb;
	int i;

	if (svm_missing(vm))
		SKIP(return, "%s", svm_missing(vm));
	nested.vmcb = MEM;
	vmcb = at(vm, nested.vmcb);
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(make_nested(vm, &nested));
		EXPECT_EQ(RUN_CODE(vm, GUEST_VMLOAD, .rax = nested.vmcb), exit);
		EXPECT_EQ(RUN_CODE(vm, GUEST_VMSAVE, .rax = nested.vmcb), exit);
		EXPECT_EQ(vmcb->exit_code, 0);
		EXPECT_EQ(RUN_NESTED(vm, nested.vmcb), exit);
		EXPECT_EQ(vmcb->exit_code, variant->front == ORDINARY ? SVM_EXIT_HLT : 0);
		EXPECT_GUEST_SEES(MEM + PAGE, 0);
	}
}

/* KVM reads all but the VMCB through the VMM's mapping, or leaves it to the processor. */
TEST_F(guest, nested_all_but_the_vmcb)
{
	struct nested nested = nested_mem;
	struct vm *vm = &self->vm;
	struct vmcb *vmcb;

	if (svm_missing(vm))
		SKIP(return, "%s", svm_missing(vm));
	nested.vmcb = GPA(VMCB_PAGE);
	vmcb = at(vm, nested.vmcb);
	ASSERT_TRUE(make_nested(vm, &nested));
	EXPECT_EQ(RUN_NESTED(vm, nested.vmcb), KVM_EXIT_HLT);
	EXPECT_EQ(vmcb->exit_code, SVM_EXIT_HLT);

	ASSERT_TRUE(make_nested(vm, &nested));
	SET_CODE(vm, nested.code, GUEST_OUT);
	*(char *)at(vm, nested.iopm + PORT / 8) = 1;
	vmcb->intercepts[3] |= INTERCEPT_3_IOIO;
	EXPECT_EQ(RUN_NESTED(vm, nested.vmcb), KVM_EXIT_HLT);
	EXPECT_EQ(vmcb->exit_code, SVM_EXIT_IOIO);

	ASSERT_TRUE(make_nested(vm, &nested));
	SET_CODE(vm, nested.code, GUEST_RDMSR);
	*(char *)at(vm, nested.msrpm + MSR_TSC / 4) = 1;
	vmcb->intercepts[3] |= INTERCEPT_3_MSR;
	EXPECT_EQ(RUN_NESTED(vm, nested.vmcb), KVM_EXIT_HLT);
	EXPECT_EQ(vmcb->exit_code, SVM_EXIT_MSR);
}

/* Start a nested guest, and stop in it. */
static bool stop_in_nested(struct vm *vm, const struct nested *nested)
{
	if (!make_nested(vm, nested))
		return false;
	SET_CODE(vm, nested->code, GUEST_OUT);
	return RUN_NESTED(vm, nested->vmcb) == KVM_EXIT_IO && vm->run->io.port == PORT;
}

/* KVM cannot map the VMCB to write the exit code of the nested guest there. */
TEST_F(guest, nested_vmcb_replaced)
{
	struct vm *vm = &self->vm;
	int fd;

	if (svm_missing(vm))
		SKIP(return, "%s", svm_missing(vm));
	ASSERT_TRUE(stop_in_nested(vm, &nested_low));
	ASSERT_NE(new_memory(vm->front, at(vm, nested_low.vmcb), 1, &fd), MAP_FAILED);
	close(fd);
	EXPECT_EQ(vm_run(vm), variant->front == ORDINARY ? KVM_EXIT_HLT : KVM_EXIT_SHUTDOWN);
}

/* KVM saves the guest's state before it enters system management mode. */
TEST_F(guest, nested_smi)
{
	const char *missing = SMM_MISSING(&self->vm, GUEST_HLT);
	struct nested nested = nested_low;
	struct vm *vm = &self->vm;

	if (missing)
		SKIP(return, "%s", missing);
	nested.hsave = MEM;
	ASSERT_TRUE(stop_in_nested(vm, &nested));
	ASSERT_EQ(ioctl(vm->vcpu, KVM_SMI), 0);
	EXPECT_EQ(vm_run(vm), variant->front == ORDINARY ? KVM_EXIT_HLT : -EIO);
}

/* Here the guest is in that mode when its VMCB goes away. */
TEST_F(guest, nested_rsm)
{
	const char *missing = SMM_MISSING(&self->vm, GUEST_OUT_RSM);
	struct vm *vm = &self->vm;
	int fd;

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_TRUE(stop_in_nested(vm, &nested_low));
	ASSERT_EQ(ioctl(vm->vcpu, KVM_SMI), 0);
	ASSERT_EQ(vm_run(vm), KVM_EXIT_IO);
	EXPECT_TRUE(vm->run->flags & KVM_RUN_X86_SMM);
	if (variant->front != ORDINARY) {
		ASSERT_NE(new_memory(vm->front, at(vm, nested_low.vmcb), 1, &fd), MAP_FAILED);
		close(fd);
	}
	EXPECT_EQ(vm_run(vm), variant->front == ORDINARY ? KVM_EXIT_HLT : KVM_EXIT_SHUTDOWN);
}

#define REGIONS		8

/* KVM maps regions of the device by large leaves, as PMDs map them in the VMM. */
FIXTURE(regions)
{
	struct vm vm;
	long usable;
};

FIXTURE_SETUP(regions)
{
	const char *missing = vm_missing(exmem_missing(REGIONS * REGION_PAGES));

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_TRUE(guest_create(&self->vm, EXMEM_FRONT_DEVICE, REGIONS * REGION_PAGES));
	if (!kvm_maps_raw_pfns(self->vm.kvm))
		SKIP(return, "n/a: this KVM maps no page without a reference");
	ASSERT_EQ(pmds_mapped(), REGIONS);
}

FIXTURE_TEARDOWN(regions)
{
	guest_destroy(&self->vm);
	EXPECT_EQ(used(), 0);
}

/* The mark of a page in the first region: its second word. The guest may count in the first. */
static uint64_t *mark_in(struct vm *vm, long page)
{
	return (uint64_t *)(vm->mem + page * PAGE + 8);
}

static void mark_pages(struct vm *vm)
{
	for (long i = 0; i < REGION_PAGES; i++)
		*mark_in(vm, i) = MARK + i;
}

/* Does each page have its mark, except page @new, which has none? */
static bool marked_but(struct vm *vm, long new)
{
	for (long i = 0; i < REGION_PAGES; i++)
		if (*mark_in(vm, i) != (i == new ? 0 : MARK + i))
			return false;
	return true;
}

static void *resume(void *vm)
{
	return (void *)(long)vm_run(vm);
}

static bool prepare_count(struct vm *vm, uint64_t gpa)
{
	struct kvm_regs regs = { .rflags = 2, .rip = GPA(CODE_PAGE), .rsi = gpa };

	SET_CODE(vm, GPA(CODE_PAGE), GUEST_COUNT);
	return !ioctl(vm->vcpu, KVM_SET_REGS, &regs);
}

static void wait_for_count(struct vm *vm, long page)
{
	while (!__atomic_load_n((uint64_t *)(vm->mem + page * PAGE), __ATOMIC_RELAXED))
		sched_yield();
}

/* Are all free pages zero, and do they stay so until @thread has ended, with -EFAULT? */
static bool free_pages_are_zero(pthread_t thread)
{
	size_t size = exmem_free() * PAGE;
	int fd = exmem_front_open(EXMEM_FRONT_DEVICE, size);
	char *p = exmem_front_map(EXMEM_FRONT_DEVICE, fd, NULL, size, PROT_READ);
	bool zero = p != MAP_FAILED && all_bytes(p, 0, size);
	void *exit;

	zero &= !pthread_join(thread, &exit) && (long)exit == -EFAULT;
	zero &= p != MAP_FAILED && all_bytes(p, 0, size) && !munmap(p, size);
	close(fd);
	return zero;
}

TEST_F_TIMEOUT(regions, page_taken_away_from_running_guest, 300)
{
	const long page = 10;
	struct vm *vm = &self->vm;
	pthread_t thread;
	int i;

	mark_pages(vm);
	ASSERT_TRUE(prepare_count(vm, MEM + page * PAGE));
	for (i = 0; i < 3; i++) {
		/* From the second round on, the guest repeats the write that failed. */
		ASSERT_EQ(pthread_create(&thread, NULL, resume, vm), 0);
		wait_for_count(vm, page);
		EXPECT_EQ(leaves(vm, "2m"), i ? 0 : 1);
		ASSERT_EQ(exmem_punch_hole(vm->fd, page, 1), 0);
		EXPECT_TRUE(free_pages_are_zero(thread));
		EXPECT_EQ(leaves(vm, "2m"), 0);
		EXPECT_EQ(touch(vm->mem + page * PAGE, -1), SIGBUS);
		ASSERT_EQ(fallocate(vm->fd, 0, 0, PMD), 0);
		EXPECT_TRUE(marked_but(vm, page));
	}
	EXPECT_GUEST_SEES(MEM + page * PAGE, 0);
	EXPECT_GUEST_SEES(MEM + (page - 1) * PAGE + 8, MARK + page - 1);
	EXPECT_GUEST_SEES(MEM + (page + 1) * PAGE + 8, MARK + page + 1);
}

/* The guest writes to a page of the first region. Returns whether the log has just this page. */
static bool logs_write(struct vm *vm, long page)
{
	uint64_t bitmap[REGIONS * REGION_PAGES / 64];
	struct kvm_dirty_log log = { .slot = MEM_SLOT, .dirty_bitmap = bitmap };
	uint64_t others = 0;
	size_t i;

	if (guest_write(vm, MEM + page * PAGE, MARK) != KVM_EXIT_HLT ||
	    ioctl(vm->vm, KVM_GET_DIRTY_LOG, &log))
		return false;
	for (i = 1; i < ARRAY_SIZE(bitmap); i++)
		others |= bitmap[i];
	return bitmap[0] == 1UL << page && !others;
}

static int log_writes(struct vm *vm, bool on)
{
	return set_slot(vm, MEM_SLOT, MEM, vm->mem, vm->mem_size,
			on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
}

TEST_F(regions, dirty_log)
{
	struct vm *vm = &self->vm;
	long small;
	int i;

	mark_pages(vm);
	EXPECT_GUEST_SEES(MEM + 8, MARK);
	if (leaves(vm, "2m") < 0)
		SKIP(return, "needs debugfs");
	small = leaves(vm, "4k");
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(leaves(vm, "2m"), 1);
		ASSERT_EQ(log_writes(vm, true), 0);
		EXPECT_TRUE(logs_write(vm, 3 + i));
		EXPECT_EQ(leaves(vm, "2m"), 0);
		EXPECT_GT(leaves(vm, "4k"), small);
		ASSERT_EQ(log_writes(vm, false), 0);
		EXPECT_GUEST_SEES(MEM + 8, MARK);
		EXPECT_EQ(leaves(vm, "4k"), small);
	}
	EXPECT_EQ(leaves(vm, "2m"), 1);
	EXPECT_TRUE(marked_but(vm, -1));
	EXPECT_EQ(pmds_mapped(), REGIONS);
}

/* PTEs map the pages around one that was replaced. KVM must not make a large leaf of them. */
TEST_F(regions, dirty_log_with_replaced_page)
{
	struct vm *vm = &self->vm;
	const long page = 10;

	mark_pages(vm);
	EXPECT_GUEST_SEES(MEM + 8, MARK);
	if (leaves(vm, "2m") < 0)
		SKIP(return, "needs debugfs");
	ASSERT_EQ(log_writes(vm, true), 0);
	EXPECT_TRUE(logs_write(vm, 3));
	ASSERT_EQ(exmem_punch_hole(vm->fd, page, 1), 0);
	ASSERT_EQ(fallocate(vm->fd, 0, 0, PMD), 0);
	EXPECT_TRUE(logs_write(vm, page));
	ASSERT_EQ(log_writes(vm, false), 0);
	EXPECT_GUEST_SEES(MEM + page * PAGE, MARK);
	EXPECT_GUEST_SEES(MEM + page * PAGE + 8, 0);
	EXPECT_GUEST_SEES(MEM + (page + 1) * PAGE + 8, MARK + page + 1);
	EXPECT_EQ(leaves(vm, "2m"), 0);
	EXPECT_TRUE(marked_but(vm, page));
}

/* Two threads: the guest writes to a page, while a hole is punched in the same region. */
struct neighbour {
	struct vm *vm;
	int writes, holes;	/* writes that have begun, and holes that are done */
	int punched;
	int early, late;	/* holes before and after KVM had the region mapped */
	long took;		/* the last write, in ns */
	long delay;		/* from a write to the next hole; negative if that comes first */
};

static void wait_ns(long ns)
{
	uint64_t begin = now();

	while ((long)(now() - begin) < ns)
		;
}

static bool is_mapped(char *p)
{
	long before = page_faults();

	return !touch(p, -1) && page_faults() == before;
}

static void *punch_next_to_writes(void *arg)
{
	struct neighbour *n = arg;
	int i;

	for (i = 0; i < REGIONS; i++) {
		while (__atomic_load_n(&n->writes, __ATOMIC_ACQUIRE) <= i)
			sched_yield();
		wait_ns(n->delay);
		n->punched += !exmem_punch_hole(n->vm->fd, i * REGION_PAGES, 1);
		__atomic_store_n(&n->holes, i + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/*
 * Each hole should be punched just after KVM has had the region mapped in the VMM. If the hole
 * comes too late, it unmaps the page. If it comes too early, a PTE maps the page afterwards.
 */
static void steer(struct neighbour *n, bool mapped)
{
	n->early += mapped;
	n->late += !mapped;
	n->delay += mapped ? n->took / 32 : -n->took / 32;
	/* Either thread may have lost its CPU. */
	n->delay = MAX(MIN(n->delay, n->took), -n->took);
}

/* The guest writes to each region for the first time. Returns the number of failures. */
static int write_to_regions(struct neighbour *n)
{
	int i, failures = 0;
	uint64_t begin;

	for (i = 0; i < REGIONS; i++) {
		__atomic_store_n(&n->writes, i + 1, __ATOMIC_RELEASE);
		wait_ns(-n->delay);
		begin = now();
		failures += guest_write(n->vm, MEM + i * PMD + PAGE, MARK) != KVM_EXIT_HLT;
		n->took = now() - begin;
		while (__atomic_load_n(&n->holes, __ATOMIC_ACQUIRE) <= i)
			sched_yield();
		steer(n, is_mapped(n->vm->mem + i * PMD + PAGE));
	}
	return failures;
}

/* All of the memory consists of whole regions again, and the VMM's PMDs are empty. */
static bool renew_regions(struct vm *vm)
{
	return !fallocate(vm->fd, HOLE, 0, vm->mem_size) &&
	       exmem_front_map(vm->front, vm->fd, vm->mem, vm->mem_size,
			       PROT_READ | PROT_WRITE) == vm->mem &&
	       !fallocate(vm->fd, HOLE, 0, vm->mem_size) &&
	       !fallocate(vm->fd, 0, 0, vm->mem_size);
}

/*
 * Punching a hole removes the whole PMD from the VMM's page table. KVM may just have had it
 * inserted, to look up another page of the region.
 */
TEST_F_TIMEOUT(regions, hole_next_to_page_that_faults, 300)
{
	struct vm *vm = &self->vm;
	struct neighbour n = { .vm = vm };
	time_t begin = time(NULL), took = 0;
	pthread_t thread;

	/* A slow machine needs longer. */
	while (took < 20 || (took < 200 && (!n.early || !n.late))) {
		ASSERT_TRUE(renew_regions(vm));
		n.writes = 0;
		n.holes = 0;
		n.punched = 0;
		ASSERT_EQ(pthread_create(&thread, NULL, punch_next_to_writes, &n), 0);
		EXPECT_EQ(write_to_regions(&n), 0);
		ASSERT_EQ(pthread_join(thread, NULL), 0);
		EXPECT_EQ(n.punched, REGIONS);
		took = time(NULL) - begin;
	}
	EXPECT_GT(n.early, 0);
	EXPECT_GT(n.late, 0);
}

TEST_HARNESS_MAIN
