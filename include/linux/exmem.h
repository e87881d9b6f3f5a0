/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exclusive memory: hooks for files outside of mm/exmem.
 *
 * The pool's interface is <linux/exmem_pool.h>. See Documentation/mm/exmem.rst.
 */
#ifndef _LINUX_EXMEM_H
#define _LINUX_EXMEM_H

#include <linux/err.h>
#include <linux/init.h>
#include <linux/page-flags.h>
#include <linux/types.h>
#include <uapi/linux/exclusive_memory.h>

struct file;
struct resource;
struct seq_file;
struct vm_area_struct;

#ifdef CONFIG_EXMEM

void __init exmem_reserve(void);
bool exmem_enabled(void);
bool exmem_active(void);
bool __page_is_exmem(const struct page *page);
bool resource_is_exmem(const struct resource *res);
struct file *exmem_mmap_file(unsigned long len, unsigned long *flags, unsigned long fd,
			     unsigned long pgoff);
bool exmem_secretmem_enabled(void);
int exmem_memfd_secret(unsigned int flags);
void exmem_show_smap(struct seq_file *m, struct vm_area_struct *vma);

/**
 * page_is_exmem - is this a page of the pool?
 * @page: any page of memory that is online
 *
 * A page of the pool never moves, but does not look unmovable: it has no references,
 * and is not reserved. Otherwise VFIO would use it like ordinary memory.
 *
 * Context: Any context.
 * Return: true if the pool has the page, free, in use or poisoned.
 */
static inline bool page_is_exmem(const struct page *page)
{
	/* Few pages are offline: spare the others the lookup. */
	return PageOffline(page) && __page_is_exmem(page);
}

#else /* !CONFIG_EXMEM */

static inline void exmem_reserve(void)
{
}

static inline bool exmem_enabled(void)
{
	return false;
}

static inline bool exmem_active(void)
{
	return false;
}

static inline bool page_is_exmem(const struct page *page)
{
	return false;
}

static inline bool resource_is_exmem(const struct resource *res)
{
	return false;
}

static inline struct file *exmem_mmap_file(unsigned long len, unsigned long *flags,
					   unsigned long fd, unsigned long pgoff)
{
	return ERR_PTR(-EINVAL);
}

static inline bool exmem_secretmem_enabled(void)
{
	return false;
}

static inline int exmem_memfd_secret(unsigned int flags)
{
	return -EOPNOTSUPP;
}

static inline void exmem_show_smap(struct seq_file *m, struct vm_area_struct *vma)
{
}

#endif /* CONFIG_EXMEM */

#endif /* _LINUX_EXMEM_H */
