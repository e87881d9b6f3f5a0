/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exclusive memory: pages that the kernel's direct map does not hold.
 *
 * See Documentation/mm/exmem.rst.
 */
#ifndef _LINUX_EXMEM_H
#define _LINUX_EXMEM_H

#include <linux/init.h>
#include <linux/types.h>

struct list_head;
struct page;

#ifdef CONFIG_EXMEM

void __init exmem_reserve(void);

/* The pool, for front ends */
int exmem_alloc_pages(unsigned long nr, struct list_head *runs);
void exmem_free_pages(struct page *page, unsigned long nr);
void exmem_free_runs(struct list_head *runs);
bool page_is_exmem(const struct page *page);

/**
 * struct exmem_splits - direct map leaves that a pool opened
 * @pmd: number of PMD-sized leaves that became base pages
 * @pud: number of PUD-sized leaves that became PMD-sized ones
 */
struct exmem_splits {
	unsigned long pmd;
	unsigned long pud;
};

/* What an architecture provides */
unsigned long __init exmem_arch_leaf_size(phys_addr_t addr);
int __init exmem_arch_init(void);
int __init exmem_arch_unmap(struct page *page, unsigned long nr,
			    struct exmem_splits *splits);
void exmem_arch_clear(struct page *page, unsigned long nr);

#else /* !CONFIG_EXMEM */

static inline void exmem_reserve(void)
{
}

static inline bool page_is_exmem(const struct page *page)
{
	return false;
}

#endif /* CONFIG_EXMEM */

#endif /* _LINUX_EXMEM_H */
