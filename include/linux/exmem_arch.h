/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: the interface that an architecture provides. */
#ifndef _LINUX_EXMEM_ARCH_H
#define _LINUX_EXMEM_ARCH_H

#include <linux/init.h>
#include <linux/types.h>

struct iov_iter;
struct page;

/**
 * struct exmem_leaves - changes to the direct map at boot
 * @removed_pmd: number of PMD-sized leaves that were removed whole, including parts of
 *	split PUD-sized ones
 * @removed_pud: number of PUD-sized leaves that were removed whole
 * @split_pmd: number of PMD-sized leaves that became base pages
 * @split_pud: number of PUD-sized leaves that became PMD-sized ones
 */
struct exmem_leaves {
	unsigned long removed_pmd;
	unsigned long removed_pud;
	unsigned long split_pmd;
	unsigned long split_pud;
};

/* Documented where they are defined, see arch/x86/mm/exmem.c. */
unsigned long __init exmem_arch_leaf_size(phys_addr_t addr);
int __init exmem_arch_init(void);
int __init exmem_arch_unmap(struct page *page, unsigned long nr, struct exmem_leaves *leaves);
void exmem_arch_clear(struct page *page, unsigned long nr);
void exmem_arch_write_back(void);
size_t exmem_arch_copy_from_iter(struct page *page, size_t offset, size_t bytes,
				 struct iov_iter *from);

#endif /* _LINUX_EXMEM_ARCH_H */
