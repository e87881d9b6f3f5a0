// SPDX-License-Identifier: GPL-2.0-only
/*
 * A virtual machine monitor without a mapping of its guest's memory: guest_memfd with
 * GUEST_MEMFD_FLAG_EXCLUSIVE. The guest prints a line and fills its memory with a secret. Then
 * the program looks for the guest's memory wherever an attacker would: see tiny-vmm-search.c.
 *
 * usage: tiny-vmm [MIB]
 *
 * KVM cannot access the memory of such a guest, so it cannot emulate instructions, and there is
 * no kvmclock. The guest writes to I/O ports, for which KVM needs no emulation. It does not even
 * halt: on a CPU without "nrip_save", KVM reads the HLT instruction to skip it.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* <linux/kvm.h>, with the definitions that an older one lacks */
#include "../testing/selftests/exmem/guest_memfd.h"
#include "tiny-vmm.h"

#define POOL		"/sys/kernel/mm/exmem/"

#define LARGE_PAGE	(512 * PAGE)

/* Guest physical addresses */
#define PAYLOAD		0UL
#define TEXT		PAGE
#define SECRET_START	(2 * PAGE)

#define PORT_TEXT	0x10
#define PORT_DONE	0x11

/*
 * What the guest runs, in 32-bit mode: print the text at %esi, fill %ecx words from %edi on with
 * the complement of %edx, forget it, and tell the VMM.
 */
static const char payload[] =
	"\xac"		/* 1:	lodsb			*/
	"\x84\xc0"	/*	test	%al, %al	*/
	"\x74\x04"	/*	jz	2f		*/
	"\xe6\x10"	/*	out	%al, $PORT_TEXT	*/
	"\xeb\xf7"	/*	jmp	1b		*/
	"\x89\xd0"	/* 2:	mov	%edx, %eax	*/
	"\xf7\xd0"	/*	not	%eax		*/
	"\xf3\xab"	/*	rep stosl		*/
	"\x31\xc0"	/*	xor	%eax, %eax	*/
	"\xe6\x11";	/*	out	%al, $PORT_DONE	*/

static const char text[] = "nobody but me can read my memory\n";

struct vm {
	int kvm, fd, vcpu, memory;
	struct kvm_run *run;
	size_t size;		/* of the guest's memory */
	char *reserved;		/* no memory is here */
};

/* The complement of the secret, which only the guest computes. */
static uint32_t not_secret;

#define checked_ioctl(fd, request, arg)	checked(ioctl(fd, request, arg), #request)

/* The number in a file, or -1. */
static long number_in(const char *path)
{
	FILE *f = fopen(path, "re");
	long value = -1;

	if (f && fscanf(f, "%ld", &value) != 1)
		value = -1;
	if (f)
		fclose(f);
	return value;
}

/* Creating the guest */

static void check_kvm(struct vm *vm)
{
	int flags;

	if (number_in(POOL "total_pages") <= 0)
		errx(EXIT_FAILURE, "there is no pool: boot with exmem=SIZE, such as exmem=64M");
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm == -1 && errno == ENOENT)
		err(EXIT_FAILURE, "/dev/kvm: type modprobe kvm_intel or modprobe kvm_amd");
	if (vm->kvm == -1 && errno == EACCES)
		err(EXIT_FAILURE, "/dev/kvm: as root, type adduser USER kvm");
	checked(vm->kvm, "/dev/kvm");
	flags = checked_ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);
	if (!(flags & GUEST_MEMFD_FLAG_EXCLUSIVE))
		errx(EXIT_FAILURE, "KVM has no GUEST_MEMFD_FLAG_EXCLUSIVE: it needs Linux 7.3");
}

/* This takes all pages from the pool. */
static int create_memory(int vm, size_t size)
{
	struct kvm_create_guest_memfd create = {
		.size = size,
		.flags = GUEST_MEMFD_FLAG_EXCLUSIVE,
	};
	int fd = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &create);

	if (fd == -1 && errno == ENOMEM)
		err(EXIT_FAILURE, "the pool has %ld free pages, not %zu: boot with a larger exmem=",
		    number_in(POOL "free_pages"), size / PAGE);
	if (fd == -1 && errno == EAGAIN)
		err(EXIT_FAILURE, "over ulimit -l, or over exmem in misc.max of the cgroup");
	return checked(fd, "KVM_CREATE_GUEST_MEMFD");
}

/*
 * Each slot has an address. KVM would look there if it had to access the guest's memory itself.
 * Reserve the addresses, so that nothing else gets them. They must equal guest physical
 * addresses modulo 2 MiB, or KVM maps no large page.
 */
static char *reserve_addresses(size_t size)
{
	char *p = mmap(NULL, size + LARGE_PAGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		err(EXIT_FAILURE, "can't reserve addresses");
	return (char *)(((uintptr_t)p + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1));
}

static void create_vm(struct vm *vm, size_t size)
{
	struct kvm_userspace_memory_region2 region = {
		.flags = KVM_MEM_GUEST_MEMFD,
		.memory_size = size,
	};
	int run_size;

	vm->size = size;
	vm->fd = checked_ioctl(vm->kvm, KVM_CREATE_VM, 0);
	vm->memory = create_memory(vm->fd, size);
	vm->reserved = reserve_addresses(size);
	region.guest_memfd = vm->memory;
	region.userspace_addr = (uintptr_t)vm->reserved;
	checked_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region);

	vm->vcpu = checked_ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	run_size = checked_ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	if (vm->run == MAP_FAILED)
		err(EXIT_FAILURE, "can't map the vCPU");
}

/* Copy to the guest's memory. The kernel maps each page for as long as it copies. */
static void load(struct vm *vm, uint64_t gpa, const void *from, size_t size)
{
	ssize_t n;

	while (size) {
		n = checked(pwrite(vm->memory, from, size, gpa), "pwrite to the guest's memory");
		from = (const char *)from + n;
		gpa += n;
		size -= n;
	}
}

/* Protected mode without paging: addresses are guest physical ones. */
static void set_registers(struct vm *vm)
{
	struct kvm_segment data = { .limit = -1, .selector = 16, .type = 3, .present = 1, .db = 1,
				    .s = 1, .g = 1 };
	struct kvm_segment code = { .limit = -1, .selector = 8, .type = 11, .present = 1, .db = 1,
				    .s = 1, .g = 1 };
	struct kvm_regs regs = {
		.rip = PAYLOAD,
		.rflags = 2,
		.rsi = TEXT,
		.rdi = SECRET_START,
		.rcx = (vm->size - SECRET_START) / sizeof(uint32_t),
		.rdx = not_secret,
	};
	struct kvm_sregs sregs;

	checked_ioctl(vm->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.ss = data;
	sregs.cr0 |= 1;	/* PE */
	checked_ioctl(vm->vcpu, KVM_SET_SREGS, &sregs);
	checked_ioctl(vm->vcpu, KVM_SET_REGS, &regs);
}

/*
 * Print what the guest writes to one port, until it writes to the other. If it touched a page
 * that is not there, KVM_RUN would fail with EFAULT and KVM_EXIT_MEMORY_FAULT. This VMM has not
 * punched a hole, so it does not call fallocate() to allocate the page and try again.
 */
static void run(struct vm *vm)
{
	struct kvm_run *run = vm->run;
	bool new_line = true;
	int ret;
	char c;

	for (;;) {
		ret = ioctl(vm->vcpu, KVM_RUN, 0);
		if (ret == -1 && errno == EINTR)
			continue;
		checked(ret, "KVM_RUN");
		if (run->exit_reason != KVM_EXIT_IO)
			errx(EXIT_FAILURE, "the guest ended with KVM exit %u", run->exit_reason);
		if (run->io.port == PORT_DONE)
			return;
		c = *((char *)run + run->io.data_offset);
		printf("%s%c", new_line ? "the guest: " : "", c);
		new_line = c == '\n';
	}
}

/* Closes nothing: the memory is freed with its last descriptor, when the program ends. */
static void show(struct vm *vm, size_t size)
{
	long split = splits(), small = small_pages();

	create_vm(vm, size);
	load(vm, PAYLOAD, payload, sizeof(payload));
	load(vm, TEXT, text, sizeof(text));
	set_registers(vm);
	printf("a guest has %zu pages of the pool\n", size / PAGE);
	run(vm);
	printf("the guest has written a secret to %zu of them\n", (size - SECRET_START) / PAGE);
	search(vm->memory, vm->reserved, size, SECRET_START, not_secret);
	expect("leaves of the host's direct map split meanwhile", splits() - split, 0);
	if (small == -1)
		printf("[skip] " PAGE_TABLES ": needs root and CONFIG_PTDUMP_DEBUGFS\n");
	else
		expect("KiB of it newly mapped by small pages", small_pages() - small, 0);
}

int main(int argc, char **argv)
{
	unsigned long mib = 4;
	struct vm vm = {};
	char *end = "";

	if (argc == 2)
		mib = strtoul(argv[1], &end, 10);
	if (argc > 2 || *end || !mib || mib > 1024)
		errx(2, "usage: tiny-vmm [MIB] (of memory for the guest: 1 to 1024)");
	if (getrandom(&not_secret, sizeof(not_secret), 0) != sizeof(not_secret))
		err(EXIT_FAILURE, "getrandom");
	check_kvm(&vm);
	show(&vm, mib << 20);
	if (failures)
		errx(EXIT_FAILURE, "a check has failed, see above");
	printf("none of this has found the guest's memory\n");
	return 0;
}
