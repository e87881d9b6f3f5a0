// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: files on a pseudo file system, and a sysctl, for each front end
 * without a device node.
 */
#include <linux/err.h>
#include <linux/exmem.h>
#include <linux/file.h>
#include <linux/fs_context.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>

#include "front.h"

static int exmem_init_fs_context(struct fs_context *fc)
{
	struct exmem_front *front = container_of(fc->fs_type, struct exmem_front, fs);

	/*
	 * Pseudo file systems are noexec: so mmap() refuses PROT_EXEC before it unmaps
	 * anything, and READ_IMPLIES_EXEC does not add it.
	 */
	return init_pseudo(fc, front->magic) ? 0 : -ENOMEM;
}

static struct file *exmem_pseudo_file(const struct exmem_front *front)
{
	struct inode *inode;
	struct file *file;

	/* Not the shared anonymous inode: security modules and statfs(2) need this one. */
	inode = anon_inode_make_secure_inode(front->mnt->mnt_sb, front->class, NULL);
	if (IS_ERR(inode))
		return ERR_CAST(inode);
	file = alloc_file_pseudo(inode, front->mnt, front->file_name, O_RDWR, front->fops);
	if (IS_ERR(file))
		iput(inode);
	return file;
}

/**
 * exmem_front_file - create a file that is a memory object
 * @front: the front end
 *
 * Context: Process context. May sleep.
 * Return: the file; -ENOMEM, also if @front could not be registered; -ENFILE, or the
 * error of a security module.
 */
struct file *exmem_front_file(const struct exmem_front *front)
{
	struct exmem_object *obj;
	struct file *file;

	if (!front->mnt)
		return ERR_PTR(-ENOMEM);
	obj = exmem_object_create(front->can_punch_hole);
	if (!obj)
		return ERR_PTR(-ENOMEM);
	file = exmem_pseudo_file(front);
	if (IS_ERR(file))
		exmem_object_destroy(obj);
	else
		exmem_object_attach(obj, file, front->name);
	return file;
}

/**
 * exmem_front_register - make a front end ready for use, if there is a pool
 * @front: the front end
 *
 * Context: Boot.
 * Return: 0 or a negative errno.
 */
int __init exmem_front_register(struct exmem_front *front)
{
	struct vfsmount *mnt;

	if (!exmem_enabled())
		return 0;

	front->fs.name = "exmem";
	front->fs.init_fs_context = exmem_init_fs_context;
	front->fs.kill_sb = kill_anon_super;
	mnt = kern_mount(&front->fs);
	if (IS_ERR(mnt))
		return PTR_ERR(mnt);
	front->mnt = mnt;

	register_sysctl_init("vm", front->sysctl);
	return 0;
}
