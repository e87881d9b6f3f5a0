// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: MAP_EXCLUSIVE.
 *
 * Each such mapping is an object without a file descriptor, for one process.
 */
#include <linux/err.h>
#include <linux/exmem.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched.h>

#include "front.h"

/* Any other flag, known today or not, is refused. */
#define EXMEM_MMAP_FLAGS \
	(MAP_TYPE | MAP_ANONYMOUS | MAP_EXCLUSIVE | MAP_FIXED | MAP_FIXED_NOREPLACE | \
	 MAP_POPULATE | MAP_NONBLOCK | MAP_LOCKED | MAP_STACK | MAP_32BIT | MAP_ABOVE4G)

static_assert(!(MAP_EXCLUSIVE & (LEGACY_MAP_MASK | MAP_SYNC | MAP_FIXED_NOREPLACE |
				 MAP_UNINITIALIZED | MAP_HUGE_MASK << MAP_HUGE_SHIFT)));

static const struct vm_operations_struct exmem_mmap_vm_ops = {
	.fault		= exmem_object_fault,
	.may_split	= exmem_object_may_split,
	.close		= exmem_object_close,
};

static int exmem_mmap_mmap(struct file *file, struct vm_area_struct *vma)
{
	/*
	 * remap_file_pages() maps the file again, after it has unmapped the old range.
	 * If that was the whole mapping, its pages are going to be free, and new ones are
	 * allocated below. If a part of it is still mapped, refuse.
	 */
	if (mapping_mapped(file->f_mapping))
		return -EINVAL;

	vma_set_flags(vma, VMA_DONTCOPY_BIT);
	vma->vm_ops = &exmem_mmap_vm_ops;
	return exmem_object_mmap(file, vma, vma_pages(vma), vma_pages(vma));
}

static const struct file_operations exmem_mmap_fops = {
	.mmap		= exmem_mmap_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.release	= exmem_object_release,
};

static bool exmem_mmap_enabled __read_mostly = true;

static struct exmem_front exmem_mmap_front __ro_after_init = {
	.name		= "mmap",
	.class		= "[exclusive_memory]",
	.file_name	= "exclusive_memory",
	.fops		= &exmem_mmap_fops,
	.magic		= SECRETMEM_MAGIC,	/* as memfd_secret(); seen in map_files only */
	.sysctl		= {{
		.procname	= "exmem_mmap",
		.data		= &exmem_mmap_enabled,
		.maxlen		= sizeof(exmem_mmap_enabled),
		.mode		= 0644,
		.proc_handler	= proc_dobool,
	}},
};

static bool exmem_mmap_form_valid(unsigned long len, unsigned long flags, unsigned long fd,
				  unsigned long pgoff)
{
	return len && (flags & MAP_TYPE) == MAP_SHARED_VALIDATE && flags & MAP_ANONYMOUS &&
	       !(flags & ~EXMEM_MMAP_FLAGS) && (int)fd == -1 && !pgoff;
}

/**
 * exmem_mmap_file - create the file behind a mapping with MAP_EXCLUSIVE
 * @len: length of the mapping in bytes
 * @flags: flags of the mapping; replaced by those of a shared file mapping
 * @fd: file descriptor given to mmap(), which has to be -1
 * @pgoff: offset given to mmap(), which has to be 0
 *
 * All pages are allocated here, before mmap() changes the address space: if there
 * are too few, nothing has been unmapped.
 *
 * Context: Process context, with a pool. May sleep.
 * Return: the file, with a reference for the mapping; -EINVAL for any other form
 * of mapping, -EPERM if the administrator has disabled it, -ENOMEM without enough
 * memory, -EAGAIN over a limit of the caller, -EINTR if the task is being killed,
 * -ENFILE, or the error of a security module.
 */
struct file *exmem_mmap_file(unsigned long len, unsigned long *flags, unsigned long fd,
			     unsigned long pgoff)
{
	struct file *file;
	int ret;

	if (!exmem_mmap_form_valid(len, *flags, fd, pgoff))
		return ERR_PTR(-EINVAL);
	if (!READ_ONCE(exmem_mmap_enabled))
		return ERR_PTR(-EPERM);
	if (len > TASK_SIZE)
		return ERR_PTR(-ENOMEM);

	file = exmem_front_file(&exmem_mmap_front);
	if (IS_ERR(file))
		return file;
	ret = exmem_object_alloc(file, 0, (len - 1) >> PAGE_SHIFT);
	if (ret) {
		fput(file);
		return ERR_PTR(ret);
	}

	/* MAP_SHARED_VALIDATE would refuse some of the flags that are valid here. */
	*flags = (*flags & ~(MAP_TYPE | MAP_EXCLUSIVE)) | MAP_SHARED;
	return file;
}

static int __init exmem_mmap_init(void)
{
	return exmem_front_register(&exmem_mmap_front);
}
device_initcall(exmem_mmap_init);
