/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Secrets that a search can recognise without a copy of them: chains of words. Each word is
 * computed from the one before. Each kind of memory has chains of its own.
 */
#ifndef _SELFTESTS_EXMEM_CHAIN_H
#define _SELFTESTS_EXMEM_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chain {
	CHAIN_ORDINARY,
	CHAIN_DEVICE,
	CHAIN_MMAP,
	CHAIN_SECRETMEM,
	CHAIN_GUEST,		/* memory of a guest, from the device */
	CHAIN_GUEST_MEMFD,
	CHAINS,
};

/* Number of places at which a chain of each kind was found. */
struct chains {
	long of[CHAINS];
};

/* Every CHAIN_STRIDE-th word is checked. */
#define CHAIN_STRIDE	8
#define CHAIN_FACTOR	0x5851f42d4c957f2dUL
#define CHAIN_STEP_0	0x14057b7ef767814fUL
#define CHAIN_STEP(kind) (CHAIN_STEP_0 + 2UL * (kind))

/* 1: mov %rax,(%rsi); imul %rdx,%rax; add %rdi,%rax; add $8,%rsi; dec %rcx; jnz 1b; hlt */
#define GUEST_CHAIN	"\x48\x89\x06\x48\x0f\xaf\xc2\x48\x01\xf8\x48\x83\xc6\x08" \
			"\x48\xff\xc9\x75\xed\xf4"

/* The registers with which a guest runs GUEST_CHAIN. */
#define GUEST_CHAIN_REGS(gpa, size, kind) \
	.rsi = (gpa), .rcx = (size) / 8, .rax = random(), .rdx = CHAIN_FACTOR, \
	.rdi = CHAIN_STEP(kind)

static inline void chain_fill(uint64_t *p, size_t size, enum chain kind, uint64_t word)
{
	for (; size >= 8; size -= 8) {
		*p++ = word;
		word = word * CHAIN_FACTOR + CHAIN_STEP(kind);
	}
}

/* Count, for each kind, the places in memory at which four consecutive words form a chain. */
static inline void chain_count(const void *mem, size_t size, struct chains *found)
{
	const uint64_t *p = mem, *end = p + size / 8;
	uint64_t step;

	for (; p + 4 <= end; p += CHAIN_STRIDE) {
		step = p[1] - p[0] * CHAIN_FACTOR;
		if (step - CHAIN_STEP_0 < 2UL * CHAINS && (step - CHAIN_STEP_0) % 2 == 0 &&
		    p[2] == p[1] * CHAIN_FACTOR + step && p[3] == p[2] * CHAIN_FACTOR + step)
			found->of[(step - CHAIN_STEP_0) / 2]++;
	}
}

#endif /* _SELFTESTS_EXMEM_CHAIN_H */
