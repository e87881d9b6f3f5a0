/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: hooks for guest_memfd. */
#ifndef _LINUX_EXMEM_KVM_H
#define _LINUX_EXMEM_KVM_H

#include <linux/exmem.h>
#include <linux/fs.h>
#include <linux/kvm_types.h>

bool __exmem_gmem_enabled(void);

/**
 * exmem_gmem_enabled - can guest_memfd have memory from the pool?
 *
 * Context: Any context.
 * Return: true if there is a pool.
 */
static inline bool exmem_gmem_enabled(void)
{
	return IS_ENABLED(CONFIG_EXMEM) && __exmem_gmem_enabled();
}

/**
 * exmem_is_gmem - does a guest_memfd have its memory from the pool?
 * @inode: inode of any guest_memfd
 *
 * The other functions are for such inodes only.
 *
 * Context: Any context.
 * Return: true after exmem_gmem_create().
 */
static inline bool exmem_is_gmem(const struct inode *inode)
{
	return IS_ENABLED(CONFIG_EXMEM) && inode->i_private;
}

int exmem_gmem_create(struct inode *inode);
void exmem_gmem_destroy(struct inode *inode);
int exmem_gmem_alloc(struct inode *inode, loff_t offset, loff_t len);
int exmem_gmem_punch_hole(struct inode *inode, loff_t offset, loff_t len);
int exmem_gmem_get_pfn(struct inode *inode, pgoff_t index, gfn_t gfn, kvm_pfn_t *pfn,
		       struct page **page, int *max_order);
int exmem_gmem_mmap(struct inode *inode, struct vm_area_struct *vma);
void exmem_gmem_show_fdinfo(struct seq_file *m, struct file *file);
ssize_t exmem_gmem_write_iter(struct kiocb *iocb, struct iov_iter *from);

#endif /* _LINUX_EXMEM_KVM_H */
