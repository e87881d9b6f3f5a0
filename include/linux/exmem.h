/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exclusive memory: pages that the kernel's direct map does not hold.
 *
 * See Documentation/mm/exmem.rst.
 */
#ifndef _LINUX_EXMEM_H
#define _LINUX_EXMEM_H

#include <linux/init.h>
#include <linux/nodemask_types.h>
#include <linux/types.h>
#include <uapi/linux/exclusive_memory.h>

struct file;
struct list_head;
struct page;

/**
 * enum exmem_caller - on whose behalf pages are taken, for those who watch
 * @EXMEM_CALLER_KERNEL: the kernel itself
 * @EXMEM_CALLER_DEVICE: a mapping of /dev/exclusive_memory
 * @EXMEM_CALLER_MMAP: a mapping with MAP_EXCLUSIVE
 * @EXMEM_CALLER_SECRETMEM: a mapping of what memfd_secret() made
 */
enum exmem_caller {
	EXMEM_CALLER_KERNEL,
	EXMEM_CALLER_DEVICE,
	EXMEM_CALLER_MMAP,
	EXMEM_CALLER_SECRETMEM,
};

/* Front ends, called from where the system calls are, if there is exclusive memory */
struct file *exmem_mmap_file(unsigned long len, unsigned long *flags, unsigned long fd,
			     unsigned long pgoff);
int exmem_memfd_secret(unsigned int flags);

#ifdef CONFIG_EXMEM

void __init exmem_reserve(void);

/* The pool, for front ends */
int exmem_alloc_pages(unsigned long nr, enum exmem_caller caller, struct list_head *runs);
int exmem_alloc_pages_node(int nid, const nodemask_t *nodes, unsigned long nr,
			   enum exmem_caller caller, struct list_head *runs);
struct page *exmem_alloc_page(enum exmem_caller caller);
struct page *exmem_alloc_page_node(int nid, const nodemask_t *nodes, enum exmem_caller caller);
void exmem_free_pages(struct page *page, unsigned long nr, enum exmem_caller caller);
void exmem_free_page(struct page *page, enum exmem_caller caller);
void exmem_free_runs(struct list_head *runs, enum exmem_caller caller);
bool page_is_exmem(const struct page *page);

bool exmem_secretmem_enabled(void);

bool exmem_active(void);

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

static inline bool exmem_secretmem_enabled(void)
{
	return false;
}

static inline bool exmem_active(void)
{
	return false;
}

#endif /* CONFIG_EXMEM */

#endif /* _LINUX_EXMEM_H */
