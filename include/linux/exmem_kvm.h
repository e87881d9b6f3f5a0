/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: hooks for guest_memfd. */
#ifndef _LINUX_EXMEM_KVM_H
#define _LINUX_EXMEM_KVM_H

#include <linux/align.h>
#include <linux/exmem.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/kvm_types.h>
#include <linux/pgtable.h>

/* Documented where they are defined, see mm/exmem/kvm.c. */
bool __exmem_gmem_enabled(void);
int __exmem_gmem_create(struct inode *inode);
void __exmem_gmem_destroy(struct inode *inode);
int __exmem_gmem_punch_hole(struct inode *inode, loff_t offset, loff_t len);
int exmem_gmem_alloc(struct inode *inode, loff_t offset, loff_t len);
int exmem_gmem_get_pfn(struct inode *inode, pgoff_t index, gfn_t gfn, kvm_pfn_t *pfn,
		       struct page **page, int *max_order);
int exmem_gmem_mmap(struct file *file, struct vm_area_struct *vma);
void exmem_gmem_show_fdinfo(struct seq_file *m, struct file *file);
ssize_t exmem_gmem_write_iter(struct kiocb *iocb, struct iov_iter *from);

/**
 * exmem_is_gmem - is the memory of a guest_memfd from the pool?
 * @inode: inode of any guest_memfd
 *
 * Context: Any context.
 * Return: true after exmem_gmem_create() with GUEST_MEMFD_FLAG_EXCLUSIVE.
 */
static inline bool exmem_is_gmem(const struct inode *inode)
{
	return IS_ENABLED(CONFIG_EXMEM) && inode->i_private;
}

/**
 * exmem_gmem_flags - the flags that the pool adds to those of guest_memfd
 *
 * Context: Any context.
 * Return: GUEST_MEMFD_FLAG_EXCLUSIVE, or 0.
 */
static inline u64 exmem_gmem_flags(void)
{
	return IS_ENABLED(CONFIG_EXMEM) && __exmem_gmem_enabled() ? GUEST_MEMFD_FLAG_EXCLUSIVE : 0;
}

/**
 * exmem_gmem_create - allocate all the memory of a guest_memfd, if its flags say so
 * @inode: its inode, with the size set
 * @flags: flags of guest_memfd
 *
 * Context: Process context. May sleep.
 * Return: As __exmem_gmem_create().
 */
static inline int exmem_gmem_create(struct inode *inode, u64 flags)
{
	if (!IS_ENABLED(CONFIG_EXMEM) || !(flags & GUEST_MEMFD_FLAG_EXCLUSIVE))
		return 0;
	return __exmem_gmem_create(inode);
}

/**
 * exmem_gmem_destroy - free the memory of a guest_memfd, if it is from the pool
 * @inode: its inode
 *
 * Context: ->destroy_inode(): no guest can reach the memory any more.
 */
static inline void exmem_gmem_destroy(struct inode *inode)
{
	if (exmem_is_gmem(inode))
		__exmem_gmem_destroy(inode);
}

/**
 * exmem_gmem_fmode - f_mode of a guest_memfd, besides read and write
 * @inode: its inode
 *
 * Context: Any context.
 * Return: the flags of f_mode that write() and pwrite() need.
 */
static inline fmode_t exmem_gmem_fmode(const struct inode *inode)
{
	return exmem_is_gmem(inode) ? FMODE_PWRITE | FMODE_ATOMIC_POS : 0;
}

/**
 * exmem_gmem_round - the range to invalidate before a hole is punched
 * @inode: inode of the guest_memfd
 * @start: first page of the hole; set to the first page of its region
 * @end: the page after the hole; set to the page after its last region
 *
 * A fault beside the hole may be about to map a whole region that overlaps the hole.
 *
 * Context: Any context.
 */
static inline void exmem_gmem_round(const struct inode *inode, pgoff_t *start, pgoff_t *end)
{
	if (!exmem_is_gmem(inode))
		return;
	*start = ALIGN_DOWN(*start, PMD_SIZE / PAGE_SIZE);
	*end = ALIGN(*end, PMD_SIZE / PAGE_SIZE);
}

/**
 * exmem_gmem_punch_hole - free the pages of a range, if they are from the pool
 * @inode: inode of the guest_memfd
 * @offset: offset of the range in bytes, aligned to a page
 * @len: length of the range in bytes, aligned to a page
 *
 * Context: Process context, between the start and the end of KVM's invalidation of the
 * range of exmem_gmem_round().
 * Return: As __exmem_gmem_punch_hole().
 */
static inline int exmem_gmem_punch_hole(struct inode *inode, loff_t offset, loff_t len)
{
	return exmem_is_gmem(inode) ? __exmem_gmem_punch_hole(inode, offset, len) : 0;
}

#endif /* _LINUX_EXMEM_KVM_H */
