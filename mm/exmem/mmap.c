// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: MAP_EXCLUSIVE. Each such mapping is an object of its own,
 * without a file descriptor, for one process alone.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/sysctl.h>

#include "internal.h"

/* What can be honoured. Whatever else there is, or is going to be, cannot. */
#define EXMEM_MMAP_FLAGS \
	(MAP_TYPE | MAP_ANONYMOUS | MAP_EXCLUSIVE | MAP_FIXED | MAP_FIXED_NOREPLACE | \
	 MAP_POPULATE | MAP_NONBLOCK | MAP_LOCKED | MAP_STACK | MAP_32BIT | MAP_ABOVE4G)

static_assert(!(MAP_EXCLUSIVE & (LEGACY_MAP_MASK | MAP_SYNC | MAP_FIXED_NOREPLACE |
				 MAP_UNINITIALIZED | MAP_HUGE_MASK << MAP_HUGE_SHIFT)));

static bool exmem_mmap_enabled __read_mostly = true;

static const struct vm_operations_struct exmem_mmap_vm_ops = {
	.may_split	= exmem_file_split,
	.close		= exmem_file_unmapped,
};

/*
 * The pages are there. remap_file_pages() comes here, too: with all of a mapping,
 * whose pages have just gone back, or with a part of one, which it can't have.
 */
static int exmem_mmap_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (mapping_mapped(file->f_mapping))
		return -EINVAL;

	vm_flags_set(vma, VM_DONTCOPY);
	vma->vm_ops = &exmem_mmap_vm_ops;
	return exmem_file_mmap(file, vma, vma_pages(vma), vma_pages(vma));
}

static const struct file_operations exmem_mmap_fops = {
	.mmap		= exmem_mmap_mmap,
	.release	= exmem_file_release,
};

static bool exmem_mmap_form(unsigned long len, unsigned long flags, unsigned long fd,
			    unsigned long pgoff)
{
	return len && (flags & MAP_TYPE) == MAP_SHARED_VALIDATE && flags & MAP_ANONYMOUS &&
	       !(flags & ~EXMEM_MMAP_FLAGS) && (int)fd == -1 && !pgoff;
}

/**
 * exmem_mmap_file - what a mapping with MAP_EXCLUSIVE maps
 * @len: length of the mapping
 * @flags: flags of the mapping; those of one of a file when this returns
 * @fd: file descriptor that mmap() got, in vain
 * @pgoff: offset that mmap() got, in pages, in vain
 *
 * The file has its pages when this returns: if there are too few, the address
 * space is as it was.
 *
 * Context: Process context. May sleep.
 * Return: a file, which the mapping is going to hold; -EINVAL unless this is a
 * mapping as it has to be, -EPERM if the administrator does not want it, -ENOMEM
 * if there is no pool, or not enough memory, -EAGAIN over RLIMIT_MEMLOCK, -ENFILE.
 */
struct file *exmem_mmap_file(unsigned long len, unsigned long *flags, unsigned long fd,
			     unsigned long pgoff)
{
	struct file *file;
	int ret;

	if (!exmem_mmap_form(len, *flags, fd, pgoff))
		return ERR_PTR(-EINVAL);
	if (!READ_ONCE(exmem_mmap_enabled))
		return ERR_PTR(-EPERM);
	if (nodes_empty(exmem_pool_nodes) || len > TASK_SIZE)
		return ERR_PTR(-ENOMEM);

	file = exmem_file_new("[exclusive_memory]", "exclusive_memory", &exmem_mmap_fops,
			      EXMEM_CALLER_MMAP);
	if (IS_ERR(file))
		return file;
	ret = exmem_file_take(file, PAGE_ALIGN(len) >> PAGE_SHIFT);
	if (ret) {
		fput(file);
		return ERR_PTR(ret);
	}

	/* All others are known here, and MAP_SHARED_VALIDATE does not know all of them. */
	*flags = (*flags & ~(MAP_TYPE | MAP_EXCLUSIVE)) | MAP_SHARED;
	return file;
}

static struct ctl_table exmem_mmap_sysctls[] = {
	{
		.procname	= "exmem_mmap",
		.data		= &exmem_mmap_enabled,
		.maxlen		= sizeof(exmem_mmap_enabled),
		.mode		= 0644,
		.proc_handler	= proc_dobool,
	},
};

static int __init exmem_mmap_init(void)
{
	if (!nodes_empty(exmem_pool_nodes))
		register_sysctl_init("vm", exmem_mmap_sysctls);
	return 0;
}
device_initcall(exmem_mmap_init);
