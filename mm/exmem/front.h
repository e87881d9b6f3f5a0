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
 * @sysctl: name of its sysctl in /proc/sys/vm, which sets @enabled
 * @enabled: set and cleared by the administrator
 * @fs: its pseudo file system; private to front.c, like the rest below
 * @ctl: the sysctl
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
	const char *sysctl;
	bool *enabled;

	struct file_system_type fs;
	struct ctl_table ctl[1];
	struct vfsmount *mnt;
};

int __init exmem_front_register(struct exmem_front *front);
struct file *exmem_front_file(const struct exmem_front *front);

#endif /* _MM_EXMEM_FRONT_H */
