/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Markers that start and stop the TLB model: instructions that do nothing on any
 * x86-64 CPU and in any mode, and that the model recognizes.
 */
#ifndef TLB_MODEL_MARKER_H
#define TLB_MODEL_MARKER_H

#define TLB_MODEL_START	0x50584501
#define TLB_MODEL_COUNT	0x50584502
#define TLB_MODEL_STOP	0x50584500

/*
 * nopl IMM32(%rax,%rax,1), and a pause, where QEMU can switch to instrumented code
 * and back: see plugin.c.
 */
#define TLB_MODEL_MARKER ".byte 0x0f, 0x1f, 0x84, 0x00\n\t.long %c0\n\tpause"

static inline void tlb_model_start(void)
{
	asm volatile(TLB_MODEL_MARKER : : "i"(TLB_MODEL_START) : "memory");
}

/* The TLBs are warm: reset the counts. */
static inline void tlb_model_count(void)
{
	asm volatile(TLB_MODEL_MARKER : : "i"(TLB_MODEL_COUNT) : "memory");
}

static inline void tlb_model_stop(void)
{
	asm volatile(TLB_MODEL_MARKER : : "i"(TLB_MODEL_STOP) : "memory");
}

#endif
