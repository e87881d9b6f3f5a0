/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the TLB model starts and stops to count: instructions that do nothing, on
 * any x86-64 CPU and in any mode, but that the model knows.
 */
#ifndef TLB_MODEL_MARKER_H
#define TLB_MODEL_MARKER_H

#define TLB_MODEL_START	0x50584501
#define TLB_MODEL_COUNT	0x50584502
#define TLB_MODEL_STOP	0x50584500

/*
 * nopl IMM32(%rax,%rax,1), and a pause, where QEMU can change over to instrumented
 * code and back: see plugin.c.
 */
#define TLB_MODEL_MARKER ".byte 0x0f, 0x1f, 0x84, 0x00\n\t.long %c0\n\tpause"

static inline void tlb_model_start(void)
{
	asm volatile(TLB_MODEL_MARKER : : "i"(TLB_MODEL_START) : "memory");
}

/* TLBs are warm: forget what was counted since the start. */
static inline void tlb_model_count(void)
{
	asm volatile(TLB_MODEL_MARKER : : "i"(TLB_MODEL_COUNT) : "memory");
}

static inline void tlb_model_stop(void)
{
	asm volatile(TLB_MODEL_MARKER : : "i"(TLB_MODEL_STOP) : "memory");
}

#endif
