/* SPDX-License-Identifier: GPL-2.0-only */
/* The search for the guest's memory, as tiny-vmm uses it. */
#ifndef _EXMEM_TINY_VMM_H
#define _EXMEM_TINY_VMM_H

#include <stddef.h>
#include <stdint.h>

#define PAGE		4096UL
#define PAGE_TABLES	"/sys/kernel/debug/page_tables/kernel"

/* The number of figures that were not as expected */
extern int failures;

void expect(const char *what, long got, long want);
int checked(int ret, const char *what);
long splits(void);
long small_pages(void);
void search(int memory, char *slot, size_t size, size_t offset, uint32_t not_secret);

#endif /* _EXMEM_TINY_VMM_H */
