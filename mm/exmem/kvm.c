// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: guest_memfd with memory from the pool.
 *
 * The inode of a guest_memfd owns a memory object, through a file without a descriptor. All
 * pages are allocated when the guest_memfd is created, so that a guest never exits for lack
 * of memory. Only the guest and write() can reach them, unless the creator has asked for a
 * guest_memfd that can be mapped.
 *
 * KVM looks up a page without a reference to it. Before pages are freed, KVM invalidates its
 * page tables, and a vCPU that has looked up a page meanwhile looks again.
 */
#include <linux/err.h>
#include <linux/exmem_kvm.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kvm_types.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/uio.h>

#include "front.h"

static const struct file_operations exmem_gmem_fops = {
	.show_fdinfo	= exmem_object_show_fdinfo,
	.release	= exmem_object_release,
};

static bool exmem_gmem_allowed __read_mostly = true;

static struct exmem_front exmem_gmem_front __ro_after_init = {
	.name		= "kvm",
	.can_punch_hole	= true,
	.class		= "[exclusive_memory]",
	.file_name	= "guest_memfd",
	.fops		= &exmem_gmem_fops,
	.magic		= GUEST_MEMFD_MAGIC,
	.sysctl		= {{
		.procname	= "exmem_kvm",
		.data		= &exmem_gmem_allowed,
		.maxlen		= sizeof(exmem_gmem_allowed),
		.mode		= 0644,
		.proc_handler	= proc_dobool,
	}},
};

/**
 * __exmem_gmem_enabled - can the memory of a guest_memfd be from the pool?
 *
 * Context: Any context.
 * Return: true if there is a pool, and vm.exmem_kvm is not 0.
 */
bool __exmem_gmem_enabled(void)
{
	return exmem_enabled() && READ_ONCE(exmem_gmem_allowed);
}
EXPORT_SYMBOL_FOR_KVM(__exmem_gmem_enabled);

/**
 * __exmem_gmem_create - allocate all the memory of a guest_memfd
 * @inode: its inode, with the size set
 *
 * The pages are charged to the current task's user and cgroup.
 *
 * Context: Process context. May sleep.
 * Return: 0, -ENOMEM, -EAGAIN over a limit of the current task, -EINTR if it is being
 * killed, -ENFILE, or the error of a security module.
 */
int __exmem_gmem_create(struct inode *inode)
{
	struct file *file = exmem_front_file(&exmem_gmem_front);
	int ret;

	if (IS_ERR(file))
		return PTR_ERR(file);
	ret = exmem_object_alloc(file, 0, (i_size_read(inode) - 1) >> PAGE_SHIFT);
	if (ret)
		fput(file);
	else
		inode->i_private = file;
	return ret;
}
EXPORT_SYMBOL_FOR_KVM(__exmem_gmem_create);

/**
 * __exmem_gmem_destroy - free the memory of a guest_memfd
 * @inode: its inode
 *
 * No process maps the memory any more: each mapping has a reference to the guest_memfd.
 *
 * Context: ->destroy_inode(): no guest can reach the memory any more.
 */
void __exmem_gmem_destroy(struct inode *inode)
{
	fput(inode->i_private);
}
EXPORT_SYMBOL_FOR_KVM(__exmem_gmem_destroy);

/**
 * exmem_gmem_alloc - fill the holes of a range
 * @inode: inode of the guest_memfd
 * @offset: offset of the range in bytes, aligned to a page
 * @len: length of the range in bytes, aligned to a page
 *
 * Context: Process context. May sleep.
 * Return: As exmem_object_alloc().
 */
int exmem_gmem_alloc(struct inode *inode, loff_t offset, loff_t len)
{
	int ret;

	/* Punching a hole waits here, before it lets faults in the range wait for its end. */
	filemap_invalidate_lock_shared(inode->i_mapping);
	ret = exmem_object_alloc(inode->i_private, offset >> PAGE_SHIFT,
				 (offset + len - 1) >> PAGE_SHIFT);
	filemap_invalidate_unlock_shared(inode->i_mapping);
	return ret;
}
EXPORT_SYMBOL_FOR_KVM(exmem_gmem_alloc);

/**
 * __exmem_gmem_punch_hole - free the pages of a range
 * @inode: inode of the guest_memfd
 * @offset: offset of the range in bytes, aligned to a page
 * @len: length of the range in bytes, aligned to a page
 *
 * The pages are unmapped now, and free when the task returns to user mode.
 *
 * Context: Process context, between the start and the end of KVM's invalidation. May sleep.
 * Return: 0; or, with nothing changed, -ENOMEM, or -EINTR if the task is being killed.
 */
int __exmem_gmem_punch_hole(struct inode *inode, loff_t offset, loff_t len)
{
	return exmem_object_punch_hole_later(inode->i_private, offset >> PAGE_SHIFT,
					     (offset + len - 1) >> PAGE_SHIFT);
}
EXPORT_SYMBOL_FOR_KVM(__exmem_gmem_punch_hole);

/**
 * exmem_gmem_get_pfn - look up a page for a guest
 * @inode: inode of the guest_memfd
 * @index: offset of the page, in pages
 * @gfn: guest frame number that @index is bound to
 * @pfn: filled in with the page frame number
 * @page: filled in with NULL: there is no reference to drop
 * @max_order: filled in with the order of the largest mapping around @gfn
 *
 * Context: Process context. May sleep.
 * Return: 0, -EFAULT in a hole, -EHWPOISON if the page is poisoned, -EINTR after a signal.
 */
int exmem_gmem_get_pfn(struct inode *inode, pgoff_t index, gfn_t gfn, kvm_pfn_t *pfn,
		       struct page **page, int *max_order)
{
	unsigned long found;
	int ret;

	ret = exmem_object_get_pfn(inode->i_private, index, gfn, &found, max_order);
	if (ret)
		return ret;
	*pfn = found;
	*page = NULL;
	return 0;
}
EXPORT_SYMBOL_FOR_KVM(exmem_gmem_get_pfn);

static void exmem_gmem_open(struct vm_area_struct *vma)
{
	get_file(vma->vm_private_data);
}

static void exmem_gmem_close(struct vm_area_struct *vma)
{
	fput(vma->vm_private_data);
}

static const struct vm_operations_struct exmem_gmem_vm_ops = {
	.open		= exmem_gmem_open,
	.close		= exmem_gmem_close,
	.fault		= exmem_object_fault,
};

/**
 * exmem_gmem_mmap - map a guest_memfd
 * @file: the guest_memfd
 * @vma: the mapping
 *
 * The first access to a page maps it. An access to a hole raises SIGBUS.
 *
 * Context: ->mmap(), mmap_lock held for writing.
 * Return: 0, -EINVAL for a private mapping, or -EPERM for an executable one.
 */
int exmem_gmem_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct file *object = file_inode(file)->i_private;
	int ret = exmem_object_mmap(object, vma, 0, 0);

	if (ret)
		return ret;
	vma->vm_ops = &exmem_gmem_vm_ops;
	/* The VM keeps its memory as long as this is mapped, even if the descriptor is closed. */
	vma->vm_private_data = get_file(file);
	/* Punching a hole unmaps the pages from the mappings of the object's file only. */
	vma_set_file(vma, object);
	return 0;
}
EXPORT_SYMBOL_FOR_KVM(exmem_gmem_mmap);

/**
 * exmem_gmem_show_fdinfo - show a guest_memfd in /proc/PID/fdinfo/N
 * @m: file to print to
 * @file: any guest_memfd
 *
 * Context: ->show_fdinfo().
 */
void exmem_gmem_show_fdinfo(struct seq_file *m, struct file *file)
{
	if (exmem_is_gmem(file_inode(file)))
		exmem_object_show_fdinfo(m, file_inode(file)->i_private);
}
EXPORT_SYMBOL_FOR_KVM(exmem_gmem_show_fdinfo);

/**
 * exmem_gmem_write_iter - write to a guest_memfd
 * @iocb: the file, any guest_memfd, and the position
 * @from: the data
 *
 * The kernel maps the page only while it writes to it, on one CPU, and makes no other copy
 * of the data. The size never changes, so RLIMIT_FSIZE and O_APPEND have no effect.
 *
 * Context: ->write_iter(). May sleep.
 * Return: number of bytes written; -EINVAL if the memory is not from the pool, -EFBIG at the
 * end of the memory, -ENXIO in a hole, -EHWPOISON if the page is poisoned, -EFAULT, -EINTR
 * if the task is being killed.
 */
ssize_t exmem_gmem_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	loff_t size = i_size_read(inode);

	if (!exmem_is_gmem(inode))
		return -EINVAL;
	if (!iov_iter_count(from))
		return 0;
	if (iocb->ki_pos >= size)
		return -EFBIG;
	iov_iter_truncate(from, size - iocb->ki_pos);
	return exmem_object_write(inode->i_private, &iocb->ki_pos, from);
}
EXPORT_SYMBOL_FOR_KVM(exmem_gmem_write_iter);

static int __init exmem_gmem_init(void)
{
	return exmem_front_register(&exmem_gmem_front);
}
device_initcall(exmem_gmem_init);
