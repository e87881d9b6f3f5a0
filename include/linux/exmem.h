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
#include <linux/types.h>
#include <uapi/linux/exclusive_memory.h>

struct file;

#ifdef CONFIG_EXMEM

void __init exmem_reserve(void);
bool exmem_enabled(void);
bool exmem_active(void);
struct file *exmem_mmap_file(unsigned long len, unsigned long *flags, unsigned long fd,
			     unsigned long pgoff);
bool exmem_secretmem_enabled(void);
int exmem_memfd_secret(unsigned int flags);

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

#endif /* CONFIG_EXMEM */

#endif /* _LINUX_EXMEM_H */
