/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: memory objects, for front ends. */
#ifndef _MM_EXMEM_OBJECT_H
#define _MM_EXMEM_OBJECT_H

#include <linux/mm_types.h>

struct exmem_object;
struct file;
struct inode;
struct iov_iter;
struct seq_file;
struct vm_fault;

struct exmem_object *exmem_object_create(bool can_punch_hole);
void exmem_object_destroy(struct exmem_object *obj);
void exmem_object_attach(struct exmem_object *obj, struct file *file, const char *front_name);
int exmem_object_alloc(struct file *file, unsigned long first, unsigned long last);
int exmem_object_get_pfn(struct file *file, unsigned long offset, unsigned long gfn,
			 unsigned long *pfn, int *max_order);
ssize_t exmem_object_write(struct file *file, loff_t *pos, struct iov_iter *from);
void exmem_object_truncate(struct exmem_object *obj, unsigned long nr);
void exmem_object_truncate_in_mmap(struct file *file, unsigned long nr);

/* File operations, and parts of them */
int exmem_object_mmap(struct file *file, struct vm_area_struct *vma, unsigned long nr_alloc,
		      unsigned long nr_map);
int exmem_object_punch_hole(struct file *file, unsigned long first, unsigned long last);
int exmem_object_punch_hole_later(struct file *file, unsigned long first, unsigned long last);
void exmem_object_show_fdinfo(struct seq_file *m, struct file *file);
int exmem_object_release(struct inode *inode, struct file *file);

/* Operations of mappings */
vm_fault_t exmem_object_fault(struct vm_fault *vmf);
int exmem_object_may_split(struct vm_area_struct *vma, unsigned long addr);
void exmem_object_close(struct vm_area_struct *vma);

#endif /* _MM_EXMEM_OBJECT_H */
