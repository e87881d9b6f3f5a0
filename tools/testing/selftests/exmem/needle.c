// SPDX-License-Identifier: GPL-2.0-only
/*
 * Needles in the memory of a machine: "needle hold" keeps secrets in exclusive memory of each kind,
 * and in ordinary memory. "needle search FILE..." counts what is left of them in images of RAM.
 * In between, lab/needles kills the holder or takes the machine down. So the kselftest runner must
 * not start this program.
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>

#include "chain.h"
#include "exmem.h"
#include "gmem.h"
#include "guest_memfd.h"
#include "vm.h"

#define SIZE	(512 * PAGE)
/* Large, because the next kernel may use a part of this memory. */
#define ORDINARY_SIZE	(32 * SIZE)
#define CHUNK	(1024 * 1024)

static const char *const names[CHAINS] = {
	[CHAIN_ORDINARY] = "ordinary",
	[CHAIN_DEVICE] = "device",
	[CHAIN_MMAP] = "MAP_EXCLUSIVE",
	[CHAIN_SECRETMEM] = "memfd_secret",
	[CHAIN_GUEST] = "guest",
	[CHAIN_GUEST_MEMFD] = "guest_memfd",
};

static const int fronts[] = {
	[CHAIN_ORDINARY] = ORDINARY,
	[CHAIN_DEVICE] = EXMEM_FRONT_DEVICE,
	[CHAIN_MMAP] = EXMEM_FRONT_MMAP,
	[CHAIN_SECRETMEM] = EXMEM_FRONT_SECRETMEM,
	[CHAIN_GUEST] = EXMEM_FRONT_DEVICE,
};

/* The memory held for each kind: a mapping, or a guest. */
static void *held[CHAINS];
static struct vm guests[CHAINS];

static size_t size_of(enum chain kind)
{
	return kind == CHAIN_ORDINARY ? ORDINARY_SIZE : SIZE;
}

static void hold_mapping(enum chain kind)
{
	int fd;

	held[kind] = new_memory(fronts[kind], NULL, size_of(kind) / PAGE, &fd);
	if (held[kind] == MAP_FAILED)
		err(EXIT_FAILURE, "%s", names[kind]);
}

static void hold_guest(enum chain kind)
{
	struct vm *vm = &guests[kind];

	if (!vm_create(vm))
		err(EXIT_FAILURE, "cannot create a VM");
	if (kind == CHAIN_GUEST) {
		hold_mapping(kind);
		if (set_slot(vm, MEM_SLOT, MEM, held[kind], SIZE, 0))
			err(EXIT_FAILURE, "%s", names[kind]);
		return;
	}
	vm->mem = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vm->fd = gmem_create(vm, SIZE, 0);
	if (vm->mem == MAP_FAILED || vm->fd < 0 || gmem_bind(vm, MEM_SLOT, MEM, vm->mem, 0, SIZE))
		err(EXIT_FAILURE, "%s", names[kind]);
}

static bool write_needle(enum chain kind)
{
	struct vm *vm = &guests[kind];

	if (vm->low)
		return RUN_CODE(vm, GUEST_CHAIN, GUEST_CHAIN_REGS(MEM, SIZE, kind)) ==
		       KVM_EXIT_HLT;
	chain_fill(held[kind], size_of(kind), kind, random());
	return true;
}

/* At shutdown, guests stop before everything else does. */
static void *write_for_ever(void *kind)
{
	while (write_needle((enum chain)(uintptr_t)kind))
		;
	return NULL;
}

/* Until the OOM killer comes */
static void eat_memory(void)
{
	const size_t bite = 16 * CHUNK;
	char *p;

	for (;;) {
		p = malloc(bite);
		if (p)
			memset(p, 1, bite);
	}
}

static void hold(bool eat)
{
	enum chain kind, kinds = gmem_has_exclusive() ? CHAINS : CHAIN_GUEST;
	pthread_t thread;

	for (kind = 0; kind < kinds; kind++) {
		if (kind < CHAIN_GUEST)
			hold_mapping(kind);
		else
			hold_guest(kind);
		if (!write_needle(kind))
			errx(EXIT_FAILURE, "%s: the guest does not run", names[kind]);
	}
	for (kind = 0; kind < kinds; kind++)
		if (pthread_create(&thread, NULL, write_for_ever, (void *)(uintptr_t)kind))
			errx(EXIT_FAILURE, "no thread");
	printf("%d kinds held\n", kinds);
	fflush(stdout);
	if (eat)
		eat_memory();
	pause();
}

static void search(const char *path, struct chains *found)
{
	FILE *f = fopen(path, "re");
	char *buf = malloc(CHUNK);
	size_t n;
	int i;

	if (!f || !buf)
		err(EXIT_FAILURE, "%s", path);
	while ((n = fread(buf, 1, CHUNK, f))) {
		/* makedumpfile does not align pages. */
		for (i = 0; i < 8; i++) {
			chain_count(buf, n - i, found);
			memmove(buf, buf + 1, n - 1);
		}
	}
	if (ferror(f))
		err(EXIT_FAILURE, "%s", path);
	fclose(f);
	free(buf);
}

int main(int argc, char **argv)
{
	struct chains found = {};
	enum chain kind;
	int i;

	if (argc > 1 && !strcmp(argv[1], "hold")) {
		hold(argc > 2 && !strcmp(argv[2], "eat"));
	} else if (argc > 2 && !strcmp(argv[1], "search")) {
		for (i = 2; i < argc; i++)
			search(argv[i], &found);
		for (kind = 0; kind < CHAINS; kind++)
			printf("%s %ld\n", names[kind], found.of[kind]);
		return 0;
	}
	errx(EXIT_FAILURE, "usage: needle hold [eat] | search FILE...");
}
