// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: memfd_secret(2) with memory from the pool.
 *
 * Programs need no change: a file has a size that can be set once, and can only be
 * mapped. But mmap() allocates the pages, not the first access.
 */
#include <linux/err.h>
#include <linux/exmem.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/magic.h>
#include <linux/mm.h>

#include "front.h"

static unsigned long exmem_secretmem_pages(const struct inode *inode)
{
	return DIV_ROUND_UP_ULL(i_size_read(inode), PAGE_SIZE);
}

static vm_fault_t exmem_secretmem_fault(struct vm_fault *vmf)
{
	if (vmf->pgoff >= exmem_secretmem_pages(file_inode(vmf->vma->vm_file)))
		return VM_FAULT_SIGBUS;
	return exmem_object_fault(vmf);
}

static const struct vm_operations_struct exmem_secretmem_vm_ops = {
	.fault		= exmem_secretmem_fault,
};

static int exmem_secretmem_mmap_unsized(struct file *file, struct vm_area_struct *vma)
{
	int ret = exmem_object_mmap(file, vma, vma_pages(vma), 0);
	unsigned long size = exmem_secretmem_pages(file_inode(file));

	/*
	 * The file may have got its size meanwhile. ->setattr() sets it first and
	 * then truncates the object: the later side frees the pages beyond the end.
	 */
	if (size)
		exmem_object_truncate_in_mmap(file, size);
	return ret;
}

static int exmem_secretmem_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long size = exmem_secretmem_pages(file_inode(file));
	unsigned long first = vma_start_pgoff(vma), nr = vma_pages(vma);

	vma->vm_ops = &exmem_secretmem_vm_ops;
	/*
	 * A size does not change once it is set: no pages are needed beyond it.
	 * Before that, any page mapped may end up inside the file, and then must
	 * not be missing.
	 */
	if (!size)
		return exmem_secretmem_mmap_unsized(file, vma);
	nr = size > first ? min(nr, size - first) : 0;
	return exmem_object_mmap(file, vma, nr, nr);
}

static int exmem_secretmem_release(struct inode *inode, struct file *file)
{
	/* truncate() through /proc/PID/fd holds only the inode, and uses i_private. */
	inode_lock(inode);
	inode->i_private = NULL;
	inode_unlock(inode);
	return exmem_object_release(inode, file);
}

static const struct file_operations exmem_secretmem_fops = {
	.mmap		= exmem_secretmem_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.show_fdinfo	= exmem_object_show_fdinfo,
	.release	= exmem_secretmem_release,
};

static int exmem_secretmem_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
				   struct iattr *iattr)
{
	struct inode *inode = d_inode(dentry);
	int ret;

	if (iattr->ia_valid & ATTR_SIZE && i_size_read(inode))
		return -EINVAL;
	ret = simple_setattr(idmap, dentry, iattr);
	if (!ret && iattr->ia_valid & ATTR_SIZE && iattr->ia_size && inode->i_private)
		exmem_object_truncate(inode->i_private, exmem_secretmem_pages(inode));
	return ret;
}

static const struct inode_operations exmem_secretmem_iops = {
	.setattr	= exmem_secretmem_setattr,
};

/* Off by default: errors, allocation and charging differ from the manual page. */
static bool exmem_secretmem __read_mostly;

static int __init exmem_secretmem_param(char *arg)
{
	return kstrtobool(arg, &exmem_secretmem);
}
early_param("exmem_secretmem", exmem_secretmem_param);

static struct exmem_front exmem_secretmem_front __ro_after_init = {
	.name		= "secretmem",
	.class		= "[secretmem]",
	.file_name	= "secretmem",
	.fops		= &exmem_secretmem_fops,
	.magic		= SECRETMEM_MAGIC,
	.sysctl		= {{
		.procname	= "exmem_secretmem",
		.data		= &exmem_secretmem,
		.maxlen		= sizeof(exmem_secretmem),
		.mode		= 0644,
		.proc_handler	= proc_dobool,
	}},
};

static struct file *exmem_secretmem_file(void)
{
	struct file *file = exmem_front_file(&exmem_secretmem_front);
	struct inode *inode;

	if (IS_ERR(file))
		return file;

	file->f_flags |= O_LARGEFILE;
	inode = file_inode(file);
	inode->i_op = &exmem_secretmem_iops;
	inode->i_mode |= S_IFREG;
	inode->i_private = file->private_data;
	return file;
}

/**
 * exmem_secretmem_enabled - does memfd_secret() use the pool?
 *
 * Context: Any context.
 * Return: true if there is a pool, and the administrator has enabled this.
 */
bool exmem_secretmem_enabled(void)
{
	return exmem_enabled() && READ_ONCE(exmem_secretmem);
}

/**
 * exmem_memfd_secret - memfd_secret() with memory from the pool
 * @flags: flags of the system call, already validated
 *
 * Context: Process context. May sleep.
 * Return: a file descriptor, -EMFILE, -ENFILE, -ENOMEM, or the error of a security
 * module.
 */
int exmem_memfd_secret(unsigned int flags)
{
	return FD_ADD(flags & O_CLOEXEC, exmem_secretmem_file());
}

static int __init exmem_secretmem_init(void)
{
	return exmem_front_register(&exmem_secretmem_front);
}
device_initcall(exmem_secretmem_init);
