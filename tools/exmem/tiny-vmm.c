// SPDX-License-Identifier: GPL-2.0-only
/*
 * A virtual machine monitor without a mapping of its guest's memory: guest_memfd with
 * GUEST_MEMFD_FLAG_EXCLUSIVE. The guest prints a line and fills its memory with a secret. Then
 * the program looks for the guest's memory wherever an attacker would.
 *
 * usage: tiny-vmm [MIB]
 *
 * Such a guest must not need KVM to access its memory: no emulated instructions, no kvmclock.
 * This one writes to I/O ports, which KVM does not emulate. It does not even halt: on a CPU
 * without "nrip_save", KVM reads the HLT instruction to skip it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* What <linux/kvm.h> of an older system lacks. */
#ifndef KVM_CREATE_GUEST_MEMFD
struct kvm_userspace_memory_region2 {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
	__u64 guest_memfd_offset;
	__u32 guest_memfd;
	__u32 pad1;
	__u64 pad2[14];
};

struct kvm_create_guest_memfd {
	__u64 size;
	__u64 flags;
	__u64 reserved[6];
};

#define KVM_MEM_GUEST_MEMFD		4
#define KVM_SET_USER_MEMORY_REGION2	_IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
#define KVM_CREATE_GUEST_MEMFD		_IOWR(KVMIO, 0xd4, struct kvm_create_guest_memfd)
#endif
#ifndef KVM_CAP_GUEST_MEMFD_FLAGS
#define KVM_CAP_GUEST_MEMFD_FLAGS	244
#endif
#ifndef GUEST_MEMFD_FLAG_EXCLUSIVE
#define GUEST_MEMFD_FLAG_EXCLUSIVE	0x10000
#endif

#define POOL		"/sys/kernel/mm/exmem/"
#define PAGE_TABLES	"/sys/kernel/debug/page_tables/kernel"

#define PAGE		4096UL
#define LARGE_PAGE	(512 * PAGE)

/* Guest physical addresses */
#define PAYLOAD		0UL
#define TEXT		PAGE
#define SECRET_START	(2 * PAGE)

#define PORT_TEXT	0x10
#define PORT_DONE	0x11

#define WITNESS		0x77697468206d6521ULL

#define DEBUGGED	0x10

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

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

/* The guest computes its secret from this, the complement. Nobody else has the secret. */
static uint32_t not_secret;

/* What a search in ordinary memory finds. */
static uint64_t witness[PAGE / sizeof(uint64_t)];
static int failures;

static void expect(const char *what, long got, long want)
{
	bool ok = got == want;

	printf("[%s] %s: %ld\n", ok ? "ok" : "FAIL", what, got);
	failures += !ok;
}

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
	if (vm->kvm == -1)
		err(EXIT_FAILURE, "/dev/kvm");
	flags = ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);
	if (flags == -1)
		err(EXIT_FAILURE, "KVM_CHECK_EXTENSION");
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
	if (fd == -1)
		err(EXIT_FAILURE, "KVM_CREATE_GUEST_MEMFD");
	return fd;
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
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->fd == -1)
		err(EXIT_FAILURE, "KVM_CREATE_VM");
	vm->memory = create_memory(vm->fd, size);
	vm->reserved = reserve_addresses(size);
	region.guest_memfd = vm->memory;
	region.userspace_addr = (uintptr_t)vm->reserved;
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region))
		err(EXIT_FAILURE, "KVM_SET_USER_MEMORY_REGION2");

	vm->vcpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	if (vm->vcpu == -1)
		err(EXIT_FAILURE, "KVM_CREATE_VCPU");
	run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_size == -1)
		err(EXIT_FAILURE, "KVM_GET_VCPU_MMAP_SIZE");
	vm->run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	if (vm->run == MAP_FAILED)
		err(EXIT_FAILURE, "can't map the vCPU");
}

/* Copy to the guest's memory. The kernel maps each page for as long as it copies. */
static void load(struct vm *vm, uint64_t gpa, const void *from, size_t size)
{
	ssize_t n;

	while (size) {
		n = pwrite(vm->memory, from, size, gpa);
		if (n == -1)
			err(EXIT_FAILURE, "can't write to the guest's memory");
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

	if (ioctl(vm->vcpu, KVM_GET_SREGS, &sregs))
		err(EXIT_FAILURE, "KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.ss = data;
	sregs.cr0 |= 1;	/* PE */
	if (ioctl(vm->vcpu, KVM_SET_SREGS, &sregs))
		err(EXIT_FAILURE, "KVM_SET_SREGS");
	if (ioctl(vm->vcpu, KVM_SET_REGS, &regs))
		err(EXIT_FAILURE, "KVM_SET_REGS");
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
	char c;

	for (;;) {
		if (ioctl(vm->vcpu, KVM_RUN, 0) && errno != EINTR)
			err(EXIT_FAILURE, "KVM_RUN");
		if (run->exit_reason != KVM_EXIT_IO)
			errx(EXIT_FAILURE, "the guest ended with KVM exit %u", run->exit_reason);
		if (run->io.port == PORT_DONE)
			return;
		c = *((char *)run + run->io.data_offset);
		printf("%s%c", new_line ? "the guest: " : "", c);
		new_line = c == '\n';
	}
}

/* Looking for the guest's memory */

/* KiB that are resident at the reserved addresses. */
static long resident(struct vm *vm)
{
	uintptr_t start, end, first = (uintptr_t)vm->reserved, last = first + vm->size;
	FILE *f = fopen("/proc/self/smaps", "re");
	long kib, sum = 0, ranges = 0;
	bool ours = false;
	char line[512];

	if (!f)
		err(EXIT_FAILURE, "/proc/self/smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			ours = start < last && end > first;
			ranges += ours;
		} else if (ours && sscanf(line, "Rss: %ld", &kib) == 1) {
			sum += kib;
		}
	}
	fclose(f);
	return ranges ? sum : -1;
}

/* Lines of /proc/self/maps that contain @text. */
static long mappings(const char *text)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	long n = 0;

	if (!f)
		err(EXIT_FAILURE, "/proc/self/maps");
	while (fgets(line, sizeof(line), f))
		n += !!strstr(line, text);
	fclose(f);
	return n;
}

/* Leaves of the kernel's direct map that were split since boot. */
static long splits(void)
{
	FILE *f = fopen("/proc/vmstat", "re");
	char line[128];
	long n, sum = 0;

	if (!f)
		err(EXIT_FAILURE, "/proc/vmstat");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "direct_map_level2_splits %ld", &n) == 1 ||
		    sscanf(line, "direct_map_level3_splits %ld", &n) == 1)
			sum += n;
	fclose(f);
	return sum;
}

/* KiB of the direct map that the kernel maps by pages of 4 KiB, or -1. */
static long small_pages(void)
{
	FILE *f = fopen(PAGE_TABLES, "re");
	bool direct_map = false;
	unsigned long from, to;
	char line[256];
	long kib = 0;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "---["))
			direct_map = strstr(line, "Low Kernel Mapping");
		else if (direct_map && strstr(line, " pte") &&
			 sscanf(line, "0x%lx-0x%lx", &from, &to) == 2)
			kib += (to - from) / 1024;
	}
	fclose(f);
	return kib;
}

/*
 * A debugger reads a word of the process @pid, in each way that there is. Two of them ignore the
 * protection of the reserved addresses, and get zeroes.
 */

static uint64_t read_remotely(pid_t pid, char *at)
{
	struct iovec ours, theirs = { at, sizeof(uint64_t) };
	uint64_t word;

	ours = (struct iovec) { &word, sizeof(word) };
	return process_vm_readv(pid, &ours, 1, &theirs, 1, 0) == sizeof(word) ? word : 0;
}

static uint64_t read_proc_mem(pid_t pid, char *at)
{
	char path[64];
	uint64_t word;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		err(EXIT_FAILURE, "%s", path);
	n = pread(fd, &word, sizeof(word), (off_t)(uintptr_t)at);
	close(fd);
	return n == sizeof(word) ? word : 0;
}

static uint64_t peek(pid_t pid, char *at)
{
	uint64_t word;

	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, at, NULL);
	return errno ? 0 : word;
}

/* Exits with DEBUGGED and the number of ways in which it could read data at @at. */
static void debug(pid_t pid, char *at)
{
	int ways;

	if (ptrace(PTRACE_ATTACH, pid, NULL, NULL))
		err(EXIT_FAILURE, "PTRACE_ATTACH");
	if (waitpid(pid, NULL, __WALL) != pid)
		err(EXIT_FAILURE, "waitpid");
	ways = !!read_remotely(pid, at) + !!read_proc_mem(pid, at) + !!peek(pid, at);
	if (ptrace(PTRACE_DETACH, pid, NULL, NULL))
		err(EXIT_FAILURE, "PTRACE_DETACH");
	_exit(DEBUGGED + ways);
}

static pid_t start_child(void)
{
	pid_t pid;

	/* Or the child prints what is left in the buffer, too. */
	fflush(stdout);
	pid = fork();
	if (pid == -1)
		err(EXIT_FAILURE, "fork");
	return pid;
}

/* In how many ways can a debugger read data at @at? */
static int debugger_reads(char *at)
{
	pid_t parent = getpid(), pid = start_child();
	int status;

	if (!pid)
		debug(parent, at);
	/* Yama lets a child attach only if it is told to. Without Yama, this fails. */
	prctl(PR_SET_PTRACER, pid, 0, 0, 0);
	if (waitpid(pid, &status, 0) != pid)
		err(EXIT_FAILURE, "waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) < DEBUGGED)
		errx(EXIT_FAILURE, "the debugger failed");
	return WEXITSTATUS(status) - DEBUGGED;
}

/* How often a file has the 64-bit word that is the complement of @complement. */
static long words_in(int dir, const char *name, uint64_t complement)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	FILE *f = fd == -1 ? NULL : fdopen(fd, "r");
	uint64_t word;
	long n = 0;

	if (!f)
		err(EXIT_FAILURE, "%s", name);
	while (fread(&word, sizeof(word), 1, f) == 1)
		n += ~word == complement;
	fclose(f);
	return n;
}

/* The only file of a directory, or NULL. */
static char *file_in(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char *name = NULL;

	if (!dir)
		err(EXIT_FAILURE, "%s", path);
	while (!name && (entry = readdir(dir)))
		if (entry->d_type == DT_REG)
			name = strdup(entry->d_name);
	closedir(dir);
	return name;
}

/* A copy of this process aborts in the directory @path. */
static void dump_core(const char *path)
{
	struct rlimit limit;
	pid_t pid = start_child();
	int status;

	if (!pid) {
		if (chdir(path) || getrlimit(RLIMIT_CORE, &limit))
			err(EXIT_FAILURE, "%s", path);
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_CORE, &limit))
			err(EXIT_FAILURE, "RLIMIT_CORE");
		abort();
	}
	if (waitpid(pid, &status, 0) != pid)
		err(EXIT_FAILURE, "waitpid");
	if (!WIFSIGNALED(status))
		errx(EXIT_FAILURE, "the copy of this process did not abort");
}

static void search_core_dump(void)
{
	char path[] = "/tmp/tiny-vmm.XXXXXX", *name;
	int dir;

	if (!mkdtemp(path))
		err(EXIT_FAILURE, "%s", path);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir == -1)
		err(EXIT_FAILURE, "%s", path);
	dump_core(path);
	name = file_in(path);
	if (name) {
		expect("core dumps with this program's data",
		       words_in(dir, name, ~WITNESS) >= (long)ARRAY_SIZE(witness), 1);
		expect("words of the guest's secret in it",
		       words_in(dir, name, (uint64_t)not_secret << 32 | not_secret), 0);
		unlinkat(dir, name, 0);
	} else {
		printf("[skip] no core dump: type sysctl kernel.core_pattern=core\n");
	}
	free(name);
	close(dir);
	if (rmdir(path))
		err(EXIT_FAILURE, "%s", path);
}

static void search(struct vm *vm)
{
	char *secret = vm->reserved + SECRET_START;
	char byte;

	expect("mappings of a guest_memfd in /proc/self/maps", mappings("guest_memfd"), 0);
	expect("mappings of exclusive memory there", mappings("exclusive_memory"), 0);
	expect("KiB at the address of the slot in /proc/self/smaps", resident(vm), 0);
	expect("mappings of the guest_memfd that mmap() makes",
	       mmap(NULL, PAGE, PROT_READ, MAP_SHARED, vm->memory, 0) != MAP_FAILED, 0);
	expect("bytes of it that read() gets", pread(vm->memory, &byte, 1, SECRET_START) == 1, 0);
	expect("ways in which a debugger reads this program's data",
	       debugger_reads((char *)witness), 3);
	expect("ways in which it reads the guest's, at the address of the slot",
	       debugger_reads(secret), 0);
	search_core_dump();
}

/* Until the program ends: closing the last descriptor of the VM frees its memory. */
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
	search(vm);
	expect("leaves of the host's direct map split meanwhile", splits() - split, 0);
	if (small == -1)
		printf("[skip] " PAGE_TABLES ": needs root and CONFIG_PTDUMP_DEBUGFS\n");
	else
		expect("KiB of it mapped by small pages since then", small_pages() - small, 0);
}

int main(int argc, char **argv)
{
	unsigned long mib = 4;
	struct vm vm = {};
	char *end = "";
	size_t i;

	if (argc == 2)
		mib = strtoul(argv[1], &end, 10);
	if (argc > 2 || *end || !mib || mib > 1024)
		errx(2, "usage: tiny-vmm [MIB] (of memory for the guest: 1 to 1024)");
	if (getrandom(&not_secret, sizeof(not_secret), 0) != sizeof(not_secret))
		err(EXIT_FAILURE, "getrandom");
	for (i = 0; i < ARRAY_SIZE(witness); i++)
		witness[i] = WITNESS;
	check_kvm(&vm);
	show(&vm, mib << 20);
	if (failures)
		errx(EXIT_FAILURE, "something is not as it should be, see above");
	printf("none of this has found the guest's memory\n");
	return 0;
}
