// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: /dev/exclusive_memory.
 *
 * Each open creates an object, for shared mappings. It does what a VMM expects of the file
 * behind its guest's memory: fallocate() allocates pages and punches holes. An ioctl punches
 * holes, too.
 */
#include <linux/exmem.h>
#include <linux/fadvise.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/uaccess.h>

#include "front.h"

static const struct exmem_front exmem_dev_front = {
	.name		= "device",
	.can_punch_hole	= true,
};

static long exmem_dev_punch_hole(struct file *file, const void __user *arg)
{
	struct exclusive_memory_range range;
	u64 last;

	if (!(file->f_mode & FMODE_WRITE))
		return -EBADF;
	if (copy_from_user(&range, arg, sizeof(range)))
		return -EFAULT;
	if (!range.length || !PAGE_ALIGNED(range.offset | range.length) ||
	    check_add_overflow(range.offset, range.length - 1, &last))
		return -EINVAL;
	return exmem_object_punch_hole(file, range.offset >> PAGE_SHIFT, last >> PAGE_SHIFT);
}

static long exmem_dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case EXCLUSIVE_MEMORY_DROP:
		return exmem_dev_punch_hole(file, (void __user *)arg);
	default:
		return -ENOTTY;
	}
}

static long exmem_dev_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	unsigned long first = offset >> PAGE_SHIFT, last = (offset + len - 1) >> PAGE_SHIFT;

	if (!PAGE_ALIGNED(offset | len))
		return -EINVAL;
	switch (mode) {
	case FALLOC_FL_ALLOCATE_RANGE:
	case FALLOC_FL_KEEP_SIZE:
		return exmem_object_alloc(file, first, last);
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
		return exmem_object_punch_hole(file, first, last);
	default:
		return -EOPNOTSUPP;
	}
}

static int exmem_dev_fadvise(struct file *file, loff_t offset, loff_t len, int advice)
{
	loff_t last;

	if (advice != POSIX_FADV_WILLNEED || !(file->f_mode & FMODE_WRITE) || offset < 0 ||
	    len <= 0 || check_add_overflow(offset, len - 1, &last))
		return generic_fadvise(file, offset, len, advice);
	/* VMMs do this for pages that the guest takes back from the balloon. */
	return exmem_object_alloc(file, offset >> PAGE_SHIFT, last >> PAGE_SHIFT);
}

static int exmem_dev_open(struct inode *inode, struct file *file)
{
	struct exmem_object *obj = exmem_object_create(exmem_dev_front.can_punch_hole);

	if (!obj)
		return -ENOMEM;
	exmem_object_attach(obj, file, exmem_dev_front.name);
	return 0;
}

/* Without ->close(), pages stay with the object when they are unmapped. */
static const struct vm_operations_struct exmem_dev_vm_ops = {
	.fault		= exmem_object_fault,
};

static int exmem_dev_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &exmem_dev_vm_ops;
	return exmem_object_mmap(file, vma, vma_pages(vma), vma_pages(vma));
}

static const struct file_operations exmem_dev_fops = {
	.open		= exmem_dev_open,
	.mmap		= exmem_dev_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.unlocked_ioctl	= exmem_dev_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.fallocate	= exmem_dev_fallocate,
	.fadvise	= exmem_dev_fadvise,
	.show_fdinfo	= exmem_object_show_fdinfo,
	.release	= exmem_object_release,
	.llseek		= noop_llseek,
};

static struct miscdevice exmem_dev = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "exclusive_memory",
	.fops	= &exmem_dev_fops,
	.mode	= 0600,
};

static int __init exmem_dev_init(void)
{
	return exmem_enabled() ? misc_register(&exmem_dev) : 0;
}
device_initcall(exmem_dev_init);
