// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: memfd_secret(2) with memory from the pool, so that programs
 * gain without a change. A file is what it was before, a size that is set once
 * and memory to be mapped, but what memory it takes is taken by mmap().
 */
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/sysctl.h>

#include "internal.h"

static bool exmem_secretmem __read_mostly = true;

static unsigned long exmem_secretmem_pages(const struct inode *inode)
{
	return DIV_ROUND_UP_ULL(i_size_read(inode), PAGE_SIZE);
}

static vm_fault_t exmem_secretmem_fault(struct vm_fault *vmf)
{
	if (vmf->pgoff >= exmem_secretmem_pages(file_inode(vmf->vma->vm_file)))
		return VM_FAULT_SIGBUS;
	return exmem_file_fault(vmf);
}

static const struct vm_operations_struct exmem_secretmem_vm_ops = {
	.fault		= exmem_secretmem_fault,
};

/* A file without a size, all of which may come within its end. */
static int exmem_secretmem_mmap_all(struct file *file, struct vm_area_struct *vma)
{
	int ret = exmem_file_mmap(file, vma, vma_pages(vma), 0);
	unsigned long size = exmem_secretmem_pages(file_inode(file));

	/* It got one meanwhile: either here or there, what was taken is seen. */
	if (size)
		exmem_object_trim(file->private_data, size);
	return ret;
}

/*
 * What lies beyond the end of a file that has a size stays there, and needs no
 * pages. While it has none, all that is mapped may come within its end, and must
 * not fault for lack of a page then.
 */
static int exmem_secretmem_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long size = exmem_secretmem_pages(file_inode(file)), nr = vma_pages(vma);

	vma->vm_ops = &exmem_secretmem_vm_ops;
	if (!size)
		return exmem_secretmem_mmap_all(file, vma);
	nr = size > vma->vm_pgoff ? min(nr, size - vma->vm_pgoff) : 0;
	return exmem_file_mmap(file, vma, nr, nr);
}

/* Who has the file by its name may be about to give it a size. */
static int exmem_secretmem_release(struct inode *inode, struct file *file)
{
	inode_lock(inode);
	inode->i_private = NULL;
	inode_unlock(inode);
	return exmem_file_release(inode, file);
}

static const struct file_operations exmem_secretmem_fops = {
	.mmap		= exmem_secretmem_mmap,
	.show_fdinfo	= exmem_file_show_fdinfo,
	.release	= exmem_secretmem_release,
};

/* A size is set once. Then nobody can reach what was taken for beyond the end. */
static int exmem_secretmem_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
				   struct iattr *iattr)
{
	struct inode *inode = d_inode(dentry);
	int ret;

	if (iattr->ia_valid & ATTR_SIZE && i_size_read(inode))
		return -EINVAL;
	ret = simple_setattr(idmap, dentry, iattr);
	if (!ret && iattr->ia_valid & ATTR_SIZE && iattr->ia_size && inode->i_private)
		exmem_object_trim(inode->i_private, exmem_secretmem_pages(inode));
	return ret;
}

static const struct inode_operations exmem_secretmem_iops = {
	.setattr	= exmem_secretmem_setattr,
};

static struct file *exmem_secretmem_file(void)
{
	struct file *file = exmem_file_new("[secretmem]", "secretmem", &exmem_secretmem_fops,
					   EXMEM_CALLER_SECRETMEM);
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
 * exmem_secretmem_enabled - does memfd_secret() take its memory from the pool
 *
 * Return: true if there is a pool, and the administrator wants it.
 */
bool exmem_secretmem_enabled(void)
{
	return !nodes_empty(exmem_pool_nodes) && READ_ONCE(exmem_secretmem);
}

/**
 * exmem_memfd_secret - memfd_secret() with memory from the pool
 * @flags: what memfd_secret() got, and found good
 *
 * Context: Process context. May sleep.
 * Return: a file descriptor, -EMFILE, -ENFILE, -ENOMEM, or what a security module
 * has to say.
 */
int exmem_memfd_secret(unsigned int flags)
{
	struct file *file;
	int fd;

	fd = get_unused_fd_flags(flags & O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = exmem_secretmem_file();
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}

static struct ctl_table exmem_secretmem_sysctls[] = {
	{
		.procname	= "exmem_secretmem",
		.data		= &exmem_secretmem,
		.maxlen		= sizeof(exmem_secretmem),
		.mode		= 0644,
		.proc_handler	= proc_dobool,
	},
};

static int __init exmem_secretmem_init(void)
{
	if (!nodes_empty(exmem_pool_nodes))
		register_sysctl_init("vm", exmem_secretmem_sysctls);
	return 0;
}
device_initcall(exmem_secretmem_init);
