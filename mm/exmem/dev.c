// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: /dev/exclusive_memory. Each open is an object of its own;
 * mmap() with MAP_SHARED is what there is to do with it.
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/miscdevice.h>

#include "internal.h"

static const struct file_operations exmem_dev_fops = {
	.open		= exmem_file_open,
	.mmap		= exmem_file_mmap,
	.release	= exmem_file_release,
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
	return nodes_empty(exmem_pool_nodes) ? 0 : misc_register(&exmem_dev);
}
device_initcall(exmem_dev_init);
