/* SPDX-License-Identifier: GPL-2.0-only */
/* What the layers of exclusive memory say to each other. */
#ifndef _MM_EXMEM_INTERNAL_H
#define _MM_EXMEM_INTERNAL_H

#include <linux/exmem.h>
#include <linux/mm_types.h>

struct file;

/* Pages in a region: what one PMD maps. */
#define EXMEM_REGION_PAGES	(PMD_SIZE / PAGE_SIZE)

/**
 * struct exmem_stats - the pool in figures
 * @total: pages in the pool
 * @free: pages that nobody owns
 * @splits: direct map leaves that were split at boot
 */
struct exmem_stats {
	unsigned long total;
	unsigned long free;
	struct exmem_splits splits;
};

int __init exmem_pool_add(struct page *page, unsigned long nr, struct exmem_splits *splits);
void exmem_read_stats(struct exmem_stats *stats);

int exmem_file_open(struct inode *inode, struct file *file);
int exmem_file_mmap(struct file *file, struct vm_area_struct *vma);
int exmem_file_release(struct inode *inode, struct file *file);

#endif /* _MM_EXMEM_INTERNAL_H */
