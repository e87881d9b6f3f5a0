// SPDX-License-Identifier: GPL-2.0-only
/*
 * Benchmark the first touch of a guest's memory: what it costs the host that a guest writes a word
 * to each page. The guest does so twice. The second time only takes its own instructions, so
 * the difference is the host's part. KVM refuses some kinds of memory, so the VMM's own first
 * touch is measured, too, and what it costs to fill the memory. Not a test: it asserts no figure.
 *
 * first_touch cost PAGES ROUNDS KIND...  ns per page: for each kind, a line for the guest and
 *                                        one for the VMM; the sum of the steps, its spread,
 *                                        and the steps: map the memory, touch it, unmap and
 *                                        close it. "refused" if KVM refuses the memory.
 *                                        Under lab/vm --icount, 1 ns is one instruction.
 * first_touch fill PAGES ROUNDS KIND...  the same for a VMM that fills the memory: "copy" through
 *                                        its mapping, and "pwrite". Includes the copying.
 * first_touch traced PAGES KIND [BY]     the steps once, with tracing enabled while they run;
 *                                        who touched, which is the guest, or the VMM if KVM
 *                                        refuses the memory, and leaves of the direct map
 *                                        split. BY is "copy" or "pwrite". "refused" if the
 *                                        memory refuses pwrite().
 *
 * Kinds are exmem (the device), memfd, memfd_huge (in transparent huge pages, if shmem_enabled
 * is "advise"), memfd_secret (never from the pool), anonymous (in transparent huge pages),
 * guest_memfd and gmem_exclusive (guest_memfd from the pool), which the VMM also maps.
 * Needs root, /dev/kvm, and a pool.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

#include "../kselftest.h"
#include "bench.h"
#include "exmem.h"
#include "guest_memfd.h"

/* The guest's code, a page to try it on, and its memory. */
#define CODE		0UL
#define SCRATCH		PAGE
#define LOW_SIZE	(2 * PAGE)
#define MEM		PMD

#define LOW_SLOT	0
#define MEM_SLOT	1

#define CR0_PE		1

#define WARM_UP_PAGES	1024

/* 1: mov %ecx,(%edi); add $PAGE,%edi; dec %ecx; jnz 1b; hlt */
static const char code[] = "\x89\x0f\x81\xc7\x00\x10\x00\x00\x49\x75\xf5\xf4";

/* Fill memory by pieces of this size. */
#define PIECE		PMD

enum step { MAP, TOUCH, FREE, STEPS };

/* Who touches the memory, or how the VMM fills it */
enum toucher { GUEST, VMM, COPY, PWRITE };

static const char * const toucher_names[] = { "guest", "VMM", "copy", "pwrite" };

struct memory {
	size_t size;
	int fd;
	char *p;
	void *mapped;		/* with room to align it */
	size_t mapped_size;
};

struct vm {
	int kvm, fd, vcpu;
	struct kvm_run *run;
	size_t run_size;
	char *low;
};

static char source[PIECE];
static bool traced_round;

static void set_tracing(bool on)
{
	if (traced_round && !put(TRACING_ON, on ? "1" : "0"))
		die(TRACING_ON);
}

static bool is_guest_memfd(const char *kind)
{
	return !strcmp(kind, "guest_memfd") || !strcmp(kind, "gmem_exclusive");
}

static int create_guest_memfd(struct vm *vm, size_t size, bool exclusive)
{
	struct kvm_create_guest_memfd create = {
		.size = size,
		.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED |
			 (exclusive ? GUEST_MEMFD_FLAG_EXCLUSIVE : 0),
	};

	return ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &create);
}

static int open_memory(struct vm *vm, const char *kind, size_t size)
{
	int fd;

	if (is_guest_memfd(kind))
		return create_guest_memfd(vm, size, !strcmp(kind, "gmem_exclusive"));
	if (!strcmp(kind, "exmem"))
		return exmem_front_open(EXMEM_FRONT_DEVICE, size);
	if (!strcmp(kind, "memfd_secret"))
		return exmem_front_open(EXMEM_FRONT_SECRETMEM, size);
	if (strcmp(kind, "memfd") && strcmp(kind, "memfd_huge")) {
		fprintf(stderr, "no such kind of memory: %s\n", kind);
		exit(1);
	}
	fd = memfd_create("first_touch", MFD_CLOEXEC);
	return fd >= 0 && ftruncate(fd, size) ? -1 : fd;
}

/* The guest's memory starts with a huge page, so the VMM's has to, too. */
static void map_anonymous(struct memory *mem)
{
	mem->fd = -1;
	mem->mapped_size = mem->size + PMD;
	mem->mapped = mmap(NULL, mem->mapped_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem->mapped == MAP_FAILED || madvise(mem->mapped, mem->mapped_size, MADV_HUGEPAGE))
		die("anonymous memory");
	mem->p = (char *)(((uintptr_t)mem->mapped + PMD - 1) & ~(PMD - 1));
}

static void map_memory(struct vm *vm, struct memory *mem, const char *kind)
{
	if (!strcmp(kind, "anonymous")) {
		map_anonymous(mem);
		return;
	}
	mem->fd = open_memory(vm, kind, mem->size);
	if (mem->fd < 0)
		die(kind);
	mem->mapped_size = mem->size;
	mem->mapped = mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED, mem->fd, 0);
	if (mem->mapped == MAP_FAILED)
		die(kind);
	if (!strcmp(kind, "memfd_huge") && madvise(mem->mapped, mem->size, MADV_HUGEPAGE))
		die(kind);
	mem->p = mem->mapped;
}

static void free_memory(struct memory *mem)
{
	munmap(mem->mapped, mem->mapped_size);
	if (mem->fd >= 0)
		close(mem->fd);
}

/* @fd is a guest_memfd, or -1. */
static void set_slot(struct vm *vm, int slot, uint64_t gpa, void *p, size_t size, int fd)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = fd >= 0 ? KVM_MEM_GUEST_MEMFD : 0,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)p,
		.guest_memfd = fd,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region))
		die("KVM_SET_USER_MEMORY_REGION2");
}

/* Protected mode without paging: addresses are physical ones. */
static void set_flat_mode(struct vm *vm)
{
	struct kvm_segment data = { .limit = -1, .selector = 16, .type = 3, .present = 1, .db = 1,
				    .s = 1, .g = 1 };
	struct kvm_segment text = { .limit = -1, .selector = 8, .type = 11, .present = 1, .db = 1,
				    .s = 1, .g = 1 };
	struct kvm_sregs sregs;

	if (ioctl(vm->vcpu, KVM_GET_SREGS, &sregs))
		die("KVM_GET_SREGS");
	sregs.cs = text;
	sregs.ds = data;
	sregs.es = data;
	sregs.ss = data;
	sregs.cr0 |= CR0_PE;
	if (ioctl(vm->vcpu, KVM_SET_SREGS, &sregs))
		die("KVM_SET_SREGS");
}

/* Let the guest write to each page from @gpa on. Returns false if KVM refuses the memory. */
static bool guest_touches(struct vm *vm, uint64_t gpa, size_t pages)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2, .rdi = gpa, .rcx = pages };

	if (ioctl(vm->vcpu, KVM_SET_REGS, &regs))
		die("KVM_SET_REGS");
	if (ioctl(vm->vcpu, KVM_RUN, 0)) {
		if (errno == EFAULT)
			return false;
		die("KVM_RUN");
	}
	if (vm->run->exit_reason != KVM_EXIT_HLT) {
		fprintf(stderr, "first_touch: the guest ended with %d\n", vm->run->exit_reason);
		exit(1);
	}
	return true;
}

/* A VM that has run once: KVM starts a thread for it at that time. */
static void create_vm(struct vm *vm)
{
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		die("/dev/kvm");
	vm->low = mmap(NULL, LOW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm->low == MAP_FAILED)
		die("mmap");
	memcpy(vm->low + CODE, code, sizeof(code));
	set_slot(vm, LOW_SLOT, 0, vm->low, LOW_SIZE, -1);

	vm->vcpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	vm->run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	if (vm->run == MAP_FAILED)
		die("KVM_CREATE_VCPU");
	set_flat_mode(vm);
	if (!guest_touches(vm, SCRATCH, 1))
		die("KVM_RUN");
}

static void destroy_vm(struct vm *vm)
{
	munmap(vm->run, vm->run_size);
	close(vm->vcpu);
	close(vm->fd);
	close(vm->kvm);
	munmap(vm->low, LOW_SIZE);
}

/* Returns false if KVM refuses the memory, or the memory refuses pwrite(). */
static bool touch_all(struct vm *vm, enum toucher by, struct memory *mem)
{
	size_t piece = by == VMM ? PAGE : mem->size < PIECE ? mem->size : PIECE, i;

	if (by == GUEST)
		return guest_touches(vm, MEM, mem->size / PAGE);
	for (i = 0; i < mem->size; i += piece) {
		if (by == VMM)
			__atomic_store_n(mem->p + i, 1, __ATOMIC_RELAXED);
		else if (by == COPY)
			memcpy(mem->p + i, source, piece);
		else if (pwrite(mem->fd, source, piece, i) != (ssize_t)piece)
			return false;
	}
	return true;
}

/*
 * Map, touch twice, and free. The VM is still there in the end, so that KVM's part in freeing the
 * memory counts. It is destroyed later: that would sleep, and the clock goes on meanwhile.
 * Returns false if touch_all() does.
 */
static bool run_round(struct vm *vm, enum toucher by, const char *kind, size_t pages,
		      uint64_t *steps)
{
	struct memory mem = { .size = pages * PAGE };
	uint64_t start, own = 0;
	bool ok;

	set_tracing(true);
	start = now();
	map_memory(vm, &mem, kind);
	steps[MAP] = now() - start;
	if (vm)
		set_slot(vm, MEM_SLOT, MEM, mem.p, mem.size, is_guest_memfd(kind) ? mem.fd : -1);

	start = now();
	ok = touch_all(vm, by, &mem);
	steps[TOUCH] = now() - start;
	if (by == GUEST || by == VMM) {
		start = now();
		ok = ok && touch_all(vm, by, &mem);
		own = now() - start;
	}
	steps[TOUCH] -= own < steps[TOUCH] ? own : steps[TOUCH];

	start = now();
	free_memory(&mem);
	steps[FREE] = now() - start;
	set_tracing(false);
	return ok;
}

static bool measure(enum toucher by, const char *kind, size_t pages, uint64_t *steps)
{
	struct vm vm;
	bool ok;

	if (by != GUEST && !is_guest_memfd(kind))
		return run_round(NULL, by, kind, pages, steps);
	create_vm(&vm);
	ok = run_round(&vm, by, kind, pages, steps);
	destroy_vm(&vm);
	return ok;
}

static void print_steps(const uint64_t *steps, double n, uint64_t min, uint64_t max)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < STEPS; i++)
		sum += steps[i];
	printf("%9.0f %7.2f", sum / n, 100.0 * (max - min) / min);
	for (i = 0; i < STEPS; i++)
		printf(" %7.0f", steps[i] / n);
	putchar('\n');
}

static void print_cost(enum toucher by, const char *kind, size_t pages, int rounds)
{
	uint64_t steps[STEPS] = {}, round[STEPS], sum, min = UINT64_MAX, max = 0;
	bool ok = measure(by, kind, pages < WARM_UP_PAGES ? pages : WARM_UP_PAGES, round);
	int i, j;

	printf("%-14s %6zu %-6s ", kind, pages, toucher_names[by]);
	for (i = 0; ok && i < rounds; i++) {
		ok = measure(by, kind, pages, round);
		for (j = 0, sum = 0; j < STEPS; j++) {
			steps[j] += round[j];
			sum += round[j];
		}
		min = sum < min ? sum : min;
		max = sum > max ? sum : max;
	}
	if (ok)
		print_steps(steps, (double)rounds * pages, min, max);
	else
		puts("refused");
	fflush(stdout);
}

/* Measure each kind of memory with two touchers. */
static int cost(enum toucher one, enum toucher other, size_t pages, int rounds, char **kinds)
{
	printf("%-14s %6s %-6s %9s %7s %7s %7s %7s\n", "kind", "pages", "by", "ns/page",
	       "spread%", "map", "touch", "free");
	for (; *kinds; kinds++) {
		print_cost(one, *kinds, pages, rounds);
		print_cost(other, *kinds, pages, rounds);
	}
	return 0;
}

static int traced_touch(enum toucher by, size_t pages, const char *kind)
{
	uint64_t steps[STEPS];
	long splits = direct_map_splits();
	bool ok;

	traced_round = true;
	ok = measure(by, kind, pages, steps);
	printf("%s %ld\n", ok ? toucher_names[by] : "refused", direct_map_splits() - splits);
	return 0;
}

/* GUEST if KVM maps such memory, otherwise VMM. Trying one page is enough. */
static enum toucher who_touches(const char *kind)
{
	uint64_t steps[STEPS];

	return measure(GUEST, kind, 1, steps) ? GUEST : VMM;
}

int main(int argc, char **argv)
{
	struct rlimit locked = { RLIM_INFINITY, RLIM_INFINITY };
	size_t pages = argc >= 4 ? atol(argv[2]) : 0;
	int rounds = argc >= 5 ? atoi(argv[3]) : 0;

	setrlimit(RLIMIT_MEMLOCK, &locked);
	memfd_secret_from_pool(false);
	memset(source, 1, sizeof(source));
	if (pages && rounds && !strcmp(argv[1], "cost"))
		return cost(GUEST, VMM, pages, rounds, argv + 4);
	if (pages && rounds && !strcmp(argv[1], "fill"))
		return cost(COPY, PWRITE, pages, rounds, argv + 4);
	if (pages && argc == 4 && !strcmp(argv[1], "traced"))
		return traced_touch(who_touches(argv[3]), pages, argv[3]);
	if (pages && argc == 5 && !strcmp(argv[1], "traced"))
		return traced_touch(strcmp(argv[4], "copy") ? PWRITE : COPY, pages, argv[3]);
	fprintf(stderr, "usage: first_touch cost|fill PAGES ROUNDS KIND... |\n"
			"       traced PAGES KIND [BY]\n");
	return 1;
}
