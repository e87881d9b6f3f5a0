// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory, the x86 half: take a region out of the direct map, and
 * clear pages that have no mapping.
 */
#include <linux/cache.h>
#include <linux/exmem.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>

#include <asm/page.h>
#include <asm/set_memory.h>
#include <asm/tlbflush.h>

/*
 * A few pages of kernel address space for each CPU, through which it reaches the
 * pages it is clearing. The page tables behind them exist from boot.
 */
struct exmem_slot {
	unsigned long addr;
	pte_t *pte;
};

static DEFINE_PER_CPU_READ_MOSTLY(struct exmem_slot, exmem_slot);

/* The PTEs of a slot fill cache lines, which no other CPU has a use for. */
#define EXMEM_SLOT_PAGES	(2 * SMP_CACHE_BYTES / sizeof(pte_t))
#define EXMEM_SLOT_SIZE		(EXMEM_SLOT_PAGES * PAGE_SIZE)

/* What prefetches beyond the end of a slot is not to reach the next one. */
#define EXMEM_SLOT_STRIDE	(2 * EXMEM_SLOT_SIZE)

static int __init exmem_slot_init(pte_t *pte, unsigned long addr, void *data)
{
	struct exmem_slot *slot = data;

	/* Called for each page: the first is where the slot begins. */
	if (slot->pte)
		return 0;
	slot->addr = addr;
	slot->pte = pte;
	return 0;
}

/**
 * exmem_arch_leaf_size - how much of the direct map one leaf holds
 * @addr: physical address of RAM
 *
 * Context: Boot, once the direct map is complete.
 * Return: size in bytes of the leaf that maps @addr.
 */
unsigned long __init exmem_arch_leaf_size(phys_addr_t addr)
{
	unsigned int level;

	lookup_address((unsigned long)__va(addr), &level);
	return page_level_size(level);
}

/**
 * exmem_arch_init - prepare for clearing pages that have no mapping
 *
 * Context: Boot, once, before the first exmem_arch_clear().
 * Return: 0, or -ENOMEM.
 */
int __init exmem_arch_init(void)
{
	unsigned long addr;
	struct vm_struct *area;
	int cpu, ret;

	/*
	 * VM_SPARSE, because the pages in the area come and go: /proc/kcore
	 * reads it as zeroes.
	 */
	area = get_vm_area((nr_cpu_ids + 1) * EXMEM_SLOT_STRIDE, VM_SPARSE);
	if (!area)
		return -ENOMEM;

	/* So aligned, no slot lies in two page tables. */
	addr = ALIGN((unsigned long)area->addr, EXMEM_SLOT_SIZE);
	for_each_possible_cpu(cpu) {
		ret = apply_to_page_range(&init_mm, addr + cpu * EXMEM_SLOT_STRIDE,
					  EXMEM_SLOT_SIZE, exmem_slot_init,
					  per_cpu_ptr(&exmem_slot, cpu));
		if (ret) {
			free_vm_area(area);
			return ret;
		}
	}
	return 0;
}

/**
 * exmem_arch_unmap - take a region out of the direct map
 * @page: first page of the region
 * @nr: number of pages; both are aligned to PMD_SIZE
 * @splits: counts the leaves that had to be split
 *
 * The region is mapped by base pages before it is unmapped, so that nothing
 * that later touches a neighbour, or one page of it, has a leaf left to split.
 *
 * Context: Boot, while this is the only CPU: the TLB flush stays local.
 * Return: 0, or a negative errno. The region may then be partly unmapped, and
 * nobody may use it.
 */
int __init exmem_arch_unmap(struct page *page, unsigned long nr,
			    struct exmem_splits *splits)
{
	unsigned long addr = (unsigned long)page_address(page);
	unsigned long end = addr + nr * PAGE_SIZE;
	unsigned int level;
	int ret;

	for (; addr < end; addr += PMD_SIZE) {
		if (!lookup_address(addr, &level))
			return -EFAULT;
		ret = set_memory_4k(addr, PTRS_PER_PTE);
		if (!ret)
			ret = set_memory_np(addr, PTRS_PER_PTE);
		if (ret)
			return ret;
		splits->pud += level == PG_LEVEL_1G;
		splits->pmd += level >= PG_LEVEL_2M;
		cond_resched();
	}
	return 0;
}

/* Clear as many pages as fit in the slot, or @nr. Return how many. */
static unsigned long exmem_clear_some(struct page *page, unsigned long nr)
{
	struct exmem_slot *slot = get_cpu_ptr(&exmem_slot);
	unsigned long i, addr = slot->addr;
	pte_t *pte = slot->pte;

	nr = min(nr, EXMEM_SLOT_PAGES);
	set_ptes(&init_mm, addr, pte, mk_pte(page, PAGE_KERNEL), nr);
	for (i = 0; i < nr; i++, addr += PAGE_SIZE) {
		clear_page((void *)addr);
		set_pte(pte + i, __pte(0));
		/* No other CPU has a use for this address: the flush is local. */
		flush_tlb_one_kernel(addr);
	}
	put_cpu_ptr(&exmem_slot);
	return nr;
}

/**
 * exmem_arch_clear - fill pages that the direct map does not hold with zeroes
 * @page: first page
 * @nr: number of contiguous pages
 *
 * The pages are mapped in this CPU's slot while they are being cleared, a few
 * at a time. Another CPU may speculate through the slot meanwhile, as it may
 * through any kmap_local_page(). What it finds, its TLB may keep until it needs
 * the room: it has no use for these addresses, and is not told to forget them.
 *
 * Context: Process context. Does not sleep; preemption is off for a few pages
 * at a time.
 */
void exmem_arch_clear(struct page *page, unsigned long nr)
{
	unsigned long done;

	for (; nr; page += done, nr -= done)
		done = exmem_clear_some(page, nr);
}
