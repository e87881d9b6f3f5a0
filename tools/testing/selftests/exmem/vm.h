/* SPDX-License-Identifier: GPL-2.0-only */
/* Virtual machines that run a few instructions at a time. */
#ifndef _SELFTESTS_EXMEM_VM_H
#define _SELFTESTS_EXMEM_VM_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "exmem.h"

#define ORDINARY	-1

/* The guest's first pages, ordinary memory. */
enum low_page {
	PAGE_TABLES_PAGE = 1,		/* three pages */
	CODE_PAGE = 4,
	NESTED_CODE_PAGE,
	VMCB_PAGE,
	HSAVE_PAGE,
	IOPM_PAGE,			/* three pages */
	MSRPM_PAGE = IOPM_PAGE + 3,	/* two pages */
	CLOCK_PAGE = MSRPM_PAGE + 2,
	STACK_PAGE,
	BUFFER_PAGE,			/* all up to the next one */
	SMM_PAGE = 0x38,
	LOW_PAGES = 0x40,
};

#define GPA(page)	((page) * PAGE)

/* Then the memory to be tested. The VMM has it at vm->mem, if at all. */
#define MEM		0x200000UL

#define LOW_SLOT	0
#define MEM_SLOT	1

#define MARK		0x5ec2e75ec2e75ec2UL

#define EFER_LME	0x100
#define EFER_LMA	0x400
#define EFER_SVME	0x1000

/* What the guest runs. */
#define GUEST_READ	"\x48\x8b\x06\xf4"		/* mov (%rsi),%rax; hlt */
#define GUEST_WRITE	"\x48\x89\x06\xf4"		/* mov %rax,(%rsi); hlt */
#define GUEST_COUNT	"\x48\xff\x06\xeb\xfb"		/* 1: incq (%rsi); jmp 1b */

struct vm {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	size_t run_size;
	char *low, *mem;
	size_t mem_size;
	int front, fd;	/* of the memory at MEM */
	bool svm;
};

/* @missing, or the reason why there can be no VM here, or NULL. */
static inline const char *vm_missing(const char *missing)
{
	return missing ?: access("/dev/kvm", R_OK | W_OK) ? "needs /dev/kvm" : NULL;
}

/* Map @pages new pages of a kind of memory, at @at unless that is NULL. */
static inline void *new_memory(int front, void *at, size_t pages, int *fd)
{
	if (front != ORDINARY) {
		*fd = exmem_front_open(front, pages * PAGE);
		return exmem_front_map(front, *fd, at, pages * PAGE, PROT_READ | PROT_WRITE);
	}
	*fd = -1;
	return mmap(at, pages * PAGE, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);
}

static inline int set_slot(struct vm *vm, int slot, uint64_t gpa, void *p, size_t size, int flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)p,
	};

	return ioctl(vm->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* The VMM's address of the guest's memory. */
static inline void *at(struct vm *vm, uint64_t gpa)
{
	return gpa < MEM ? vm->low + gpa : vm->mem + gpa - MEM;
}

/* The guest's first GiB, 1:1, in three pages at @gpa. */
static inline void make_page_tables(struct vm *vm, uint64_t gpa)
{
	uint64_t *pgd = at(vm, gpa), *pud = at(vm, gpa + PAGE), *pmd = at(vm, gpa + 2 * PAGE);
	uint64_t i;

	*pgd = (gpa + PAGE) | 7;
	*pud = (gpa + 2 * PAGE) | 7;
	for (i = 0; i < 512; i++)
		pmd[i] = i << 21 | 0x87;
}

/* Give the vCPU all features that KVM has. */
static inline bool set_cpuid(struct vm *vm)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	bool ok;
	__u32 i;

	cpuid->nent = 256;
	ok = !ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) &&
	     !ioctl(vm->vcpu, KVM_SET_CPUID2, cpuid);
	for (i = 0; ok && i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 0x80000001)
			vm->svm = cpuid->entries[i].ecx & 4;
	free(cpuid);
	return ok;
}

/* 64-bit mode, with the page tables at @page_tables. */
static inline bool set_long_mode(struct vm *vm, uint64_t page_tables)
{
	struct kvm_segment data = { .limit = -1, .selector = 16, .type = 3, .present = 1, .db = 1,
				    .s = 1, .g = 1 };
	struct kvm_segment code = { .limit = -1, .selector = 8, .type = 11, .present = 1, .l = 1,
				    .s = 1, .g = 1 };
	struct kvm_sregs sregs;

	if (ioctl(vm->vcpu, KVM_GET_SREGS, &sregs))
		return false;
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.ss = data;
	sregs.cr0 = 0x80000011;	/* PG, ET, PE */
	sregs.cr3 = page_tables;
	sregs.cr4 = 0x20;	/* PAE */
	sregs.efer = EFER_LME | EFER_LMA | (vm->svm ? EFER_SVME : 0);
	return !ioctl(vm->vcpu, KVM_SET_SREGS, &sregs);
}

static inline bool vm_add_vcpu(struct vm *vm)
{
	vm->vcpu = ioctl(vm->vm, KVM_CREATE_VCPU, 0);
	vm->run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	if (vm->run == MAP_FAILED)
		return false;
	make_page_tables(vm, GPA(PAGE_TABLES_PAGE));
	return set_cpuid(vm) && set_long_mode(vm, GPA(PAGE_TABLES_PAGE));
}

/* A VM with one vCPU, and with nothing at MEM. */
static inline bool vm_create(struct vm *vm)
{
	int fd;

	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm->vm = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	vm->low = new_memory(ORDINARY, NULL, LOW_PAGES, &fd);
	return vm->vm >= 0 && vm->low != MAP_FAILED &&
	       !set_slot(vm, LOW_SLOT, 0, vm->low, GPA(LOW_PAGES), 0) && vm_add_vcpu(vm);
}

/* All but the memory at MEM. Another call does nothing. */
static inline void vm_destroy(struct vm *vm)
{
	if (!vm->low)
		return;
	munmap(vm->run, vm->run_size);
	close(vm->vcpu);
	close(vm->vm);
	close(vm->kvm);
	munmap(vm->low, GPA(LOW_PAGES));
	vm->low = NULL;
}

/* The number of leaves of one size, "2m" or "4k", by which KVM maps memory for the guest. */
static inline long leaves(struct vm *vm, const char *size)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/pages_%s", getpid(), vm->vm,
		 size);
	return number_in(path);
}

/* Returns the reason for the exit, or a negative error. */
static inline int vm_run(struct vm *vm)
{
	return ioctl(vm->vcpu, KVM_RUN, 0) ? -errno : (int)vm->run->exit_reason;
}

static inline void set_code(struct vm *vm, uint64_t gpa, const char *code, size_t size)
{
	memcpy(at(vm, gpa), code, size);
}

#define SET_CODE(vm, gpa, code) set_code(vm, gpa, code, sizeof(code) - 1)

/* Run the code at regs->rip with *@regs. Afterwards, *@regs has the guest's registers. */
static inline int run_at(struct vm *vm, struct kvm_regs *regs)
{
	int exit;

	regs->rflags = 2;
	regs->rsp = GPA(STACK_PAGE + 1);
	if (ioctl(vm->vcpu, KVM_SET_REGS, regs))
		return -errno;
	exit = vm_run(vm);
	return ioctl(vm->vcpu, KVM_GET_REGS, regs) ? -errno : exit;
}

static inline int run_code(struct vm *vm, const char *code, size_t size, struct kvm_regs *regs)
{
	set_code(vm, GPA(CODE_PAGE), code, size);
	regs->rip = GPA(CODE_PAGE);
	return run_at(vm, regs);
}

#define RUN_CODE(vm, code, ...) \
	run_code(vm, code, sizeof(code) - 1, &(struct kvm_regs) { __VA_ARGS__ })

static inline int guest_write(struct vm *vm, uint64_t gpa, uint64_t value)
{
	return RUN_CODE(vm, GUEST_WRITE, .rsi = gpa, .rax = value);
}

/* Let the guest read at @gpa into *@value. */
static inline int guest_read(struct vm *vm, uint64_t gpa, uint64_t *value)
{
	struct kvm_regs regs = { .rsi = gpa };
	int exit = run_code(vm, GUEST_READ, sizeof(GUEST_READ) - 1, &regs);

	*value = regs.rax;
	return exit;
}

/* Run a guest again and again, in a thread. */
struct repeated {
	struct vm *vm;
	int (*run)(struct vm *vm);	/* returns the reason for the exit */
	bool stop;
	int runs, failures;
};

static inline void *repeat_until_stopped(void *arg)
{
	struct repeated *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		r->failures += r->run(r->vm) != KVM_EXIT_HLT;
		__atomic_add_fetch(&r->runs, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* The guest reads @value at @gpa. */
#define EXPECT_GUEST_SEES(gpa, value)						\
do {										\
	uint64_t _value;							\
										\
	EXPECT_EQ(guest_read(vm, gpa, &_value), KVM_EXIT_HLT);			\
	EXPECT_EQ(_value, value);						\
} while (0)

#endif /* _SELFTESTS_EXMEM_VM_H */
