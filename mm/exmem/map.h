/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: page tables of processes, for memory objects. */
#ifndef _MM_EXMEM_MAP_H
#define _MM_EXMEM_MAP_H

#include <linux/mm_types.h>

int exmem_map_pages(struct vm_area_struct *vma, unsigned long addr, struct page *page,
		    unsigned long nr);
vm_fault_t exmem_map_fault(struct vm_fault *vmf, struct page *page, bool whole_region);
unsigned long exmem_nr_regions_mapped(struct vm_area_struct *vma);

#endif /* _MM_EXMEM_MAP_H */
