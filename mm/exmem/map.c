// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: the page tables of processes.
 *
 * A PMD maps a region where the mapping covers all of it, at an aligned address. PTEs map
 * other pages. A region never moves and is never reclaimed, so the settings of transparent
 * huge pages have no effect on it.
 *
 * The pages are mapped as raw pfns. Nothing can take a reference to them, so
 * get_user_pages() and all its users fail by construction.
 */
#include <linux/exmem_run.h>
#include <linux/mm.h>
#include <linux/pgtable.h>

#include "../internal.h"
#include "map.h"

static bool exmem_region_fits(struct vm_area_struct *vma, unsigned long addr, struct page *page)
{
	/* Xen PV has no large leaves. */
	return IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && has_transparent_hugepage() &&
	       IS_ALIGNED(addr, PMD_SIZE) && range_in_vma(vma, addr, addr + PMD_SIZE) &&
	       exmem_unpoisoned_prefix(page, EXMEM_REGION_PAGES) == EXMEM_REGION_PAGES;
}

static pmd_t *exmem_alloc_pmd(struct mm_struct *mm, unsigned long addr)
{
	p4d_t *p4d = p4d_alloc(mm, pgd_offset(mm, addr), addr);
	pud_t *pud = p4d ? pud_alloc(mm, p4d, addr) : NULL;

	return pud ? pmd_alloc(mm, pud, addr) : NULL;
}

static bool exmem_map_region(struct vm_area_struct *vma, unsigned long addr, struct page *page)
{
	struct vm_fault vmf = { .vma = vma, .address = addr };

	vmf.pmd = exmem_alloc_pmd(vma->vm_mm, addr);
	/* An earlier mapping may have left a page table. */
	if (!vmf.pmd || !pmd_none(*vmf.pmd))
		return false;
	return vmf_insert_pfn_pmd(&vmf, page_to_pfn(page), vma->vm_flags & VM_WRITE) ==
	       VM_FAULT_NOPAGE;
}

static int exmem_map_base_pages(struct vm_area_struct *vma, unsigned long addr,
				struct page *page, unsigned long nr)
{
	unsigned long clean;
	int ret = 0;

	for (; nr && !ret; nr -= clean, page += clean, addr += clean * PAGE_SIZE) {
		clean = exmem_unpoisoned_prefix(page, nr);
		/* This is RAM, mapped write-back: there is no memory type to look up. */
		if (clean)
			ret = remap_pfn_range_notrack(vma, addr, page_to_pfn(page),
						      clean * PAGE_SIZE, vma->vm_page_prot);
		else
			clean = 1;
	}
	return ret;
}

/**
 * exmem_map_pages - map contiguous pages
 * @vma: mapping that is being set up
 * @addr: address in @vma of the first page
 * @page: first page
 * @nr: number of pages, all of one region
 *
 * Poisoned pages are left out: exmem_map_fault() reports them.
 *
 * Context: ->mmap(), mmap_lock held for writing.
 * Return: 0, or -ENOMEM with some of the pages mapped.
 */
int exmem_map_pages(struct vm_area_struct *vma, unsigned long addr, struct page *page,
		    unsigned long nr)
{
	if (nr == EXMEM_REGION_PAGES && exmem_region_fits(vma, addr, page) &&
	    exmem_map_region(vma, addr, page))
		return 0;
	return exmem_map_base_pages(vma, addr, page, nr);
}

/**
 * exmem_map_fault - map a page, or its whole region
 * @vmf: the fault
 * @page: page of the address that was accessed
 * @whole_region: the offsets around the page have all other pages of its region, too
 *
 * Context: ->fault(). The caller excludes other calls for the same pages.
 * Return: VM_FAULT_NOPAGE, VM_FAULT_HWPOISON if the page is poisoned, or VM_FAULT_OOM.
 */
vm_fault_t exmem_map_fault(struct vm_fault *vmf, struct page *page, bool whole_region)
{
	unsigned long pfn = page_to_pfn(page), index = pfn % EXMEM_REGION_PAGES;
	unsigned long addr = vmf->address - index * PAGE_SIZE;
	pmd_t pmd = pmdp_get_lockless(vmf->pmd);

	/* Another fault has mapped the region meanwhile. */
	if (pmd_leaf(pmd))
		return VM_FAULT_NOPAGE;
	if (PageHWPoison(page))
		return VM_FAULT_HWPOISON;
	if (whole_region && pmd_none(pmd) && exmem_region_fits(vmf->vma, addr, page - index))
		return vmf_insert_pfn_pmd(vmf, pfn - index, vmf->flags & FAULT_FLAG_WRITE);
	return vmf_insert_pfn(vmf->vma, vmf->address, pfn);
}

/**
 * exmem_nr_regions_mapped - count the PMDs that map a region
 * @vma: mapping of exclusive memory
 *
 * Context: the mmap_lock, or the lock of @vma, is held. Does not sleep.
 * Return: number of regions; in a mapping of more than 1 TiB, those in the first 1 TiB.
 */
unsigned long exmem_nr_regions_mapped(struct vm_area_struct *vma)
{
	unsigned long nr = 0, addr = ALIGN(vma->vm_start, PMD_SIZE);
	/* Rescheduling is not possible here, and 1 TiB takes 5 ms. */
	unsigned long end = min(vma->vm_end, addr + SZ_1T);
	pmd_t *pmd;

	for (; addr < end; addr += PMD_SIZE) {
		pmd = mm_find_pmd(vma->vm_mm, addr);
		nr += pmd && pmd_leaf(pmdp_get_lockless(pmd));
	}
	return nr;
}
