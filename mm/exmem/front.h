/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: files of front ends that have no device node. */
#ifndef _MM_EXMEM_FRONT_H
#define _MM_EXMEM_FRONT_H

#include <linux/fs.h>
#include <linux/sysctl.h>

#include "object.h"

/**
 * struct exmem_front - a front end
 * @name: the front end in traces
 * @can_punch_hole: it calls exmem_object_punch_hole()
 * @class: security modules know its files by this
 * @file_name: name of its files in /proc
 * @fops: operations of its files, exmem_object_release() among them
 * @magic: type of its file system, reported by statfs(2)
 * @sysctl: enables or disables it; in /proc/sys/vm
 * @fs: its pseudo file system; private to front.c, as is @mnt
 * @mnt: its mount, once it is registered
 *
 * A front end with a device node has a @name and @can_punch_hole only.
 */
struct exmem_front {
	const char *name;
	bool can_punch_hole;

	const char *class;
	const char *file_name;
	const struct file_operations *fops;
	unsigned long magic;
	const struct ctl_table sysctl[1];

	struct file_system_type fs;
	struct vfsmount *mnt;
};

int __init exmem_front_register(struct exmem_front *front);
struct file *exmem_front_file(const struct exmem_front *front);

#endif /* _MM_EXMEM_FRONT_H */
