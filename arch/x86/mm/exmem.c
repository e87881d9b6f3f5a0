// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory on x86: take memory out of the direct map, and clear pages without a
 * mapping, and write to them.
 */
#include <linux/cache.h>
#include <linux/exmem_arch.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/vmalloc.h>

#include <asm/page.h>
#include <asm/set_memory.h>
#include <asm/tlbflush.h>

/**
 * struct exmem_window - kernel addresses through which one CPU reaches pages
 * @addr: where the first of several base pages is mapped
 * @pte: page table entry of @addr; the page table exists from boot
 * @region_addr: where a whole region is mapped
 * @pmd: page table entry of @region_addr; NULL if the CPU has no large leaves
 */
struct exmem_window {
	unsigned long addr;
	pte_t *pte;
	unsigned long region_addr;
	pmd_t *pmd;
};

static DEFINE_PER_CPU_READ_MOSTLY(struct exmem_window, exmem_window);

/* The PTEs of a window fill whole cache lines, which no other CPU uses. */
#define EXMEM_WINDOW_PAGES	(2 * SMP_CACHE_BYTES / sizeof(pte_t))
#define EXMEM_WINDOW_SIZE	(EXMEM_WINDOW_PAGES * PAGE_SIZE)

/* A gap between windows: a prefetch beyond the end of one must not reach the next. */
#define EXMEM_WINDOW_STRIDE	(2 * EXMEM_WINDOW_SIZE)
#define EXMEM_REGION_STRIDE	(2 * PMD_SIZE)

/* Pages of a region to clear before the CPU may reschedule. */
#define EXMEM_CLEAR_BATCH	64

static int __init exmem_init_window(pte_t *pte, unsigned long addr, void *data)
{
	struct exmem_window *window = data;

	/* apply_to_page_range() calls this for each page, from the first on. */
	if (window->pte)
		return 0;
	window->addr = addr;
	window->pte = pte;
	return 0;
}

/**
 * exmem_arch_leaf_size - size of a leaf of the direct map
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

static pmd_t * __init exmem_alloc_pmd(unsigned long addr)
{
	pgd_t *pgd = pgd_offset_k(addr);
	p4d_t *p4d = p4d_alloc(&init_mm, pgd, addr);
	pud_t *pud = p4d ? pud_alloc(&init_mm, p4d, addr) : NULL;

	return pud ? pmd_alloc(&init_mm, pud, addr) : NULL;
}

static int __init exmem_init_cpu(int cpu, unsigned long addr, unsigned long region_addr)
{
	struct exmem_window *window = per_cpu_ptr(&exmem_window, cpu);

	/* Xen PV has no large leaves. */
	if (cpu_feature_enabled(X86_FEATURE_PSE)) {
		window->region_addr = region_addr;
		window->pmd = exmem_alloc_pmd(region_addr);
		if (!window->pmd)
			return -ENOMEM;
	}
	return apply_to_page_range(&init_mm, addr, EXMEM_WINDOW_SIZE, exmem_init_window, window);
}

/**
 * exmem_arch_init - prepare to clear pages that have no mapping
 *
 * Context: Boot, once, before the first exmem_arch_clear().
 * Return: 0, or -ENOMEM.
 */
int __init exmem_arch_init(void)
{
	unsigned long addr, regions_size = nr_cpu_ids * EXMEM_REGION_STRIDE;
	unsigned long pages_size = nr_cpu_ids * EXMEM_WINDOW_STRIDE;
	struct vm_struct *area;
	int cpu, ret;

	/* VM_SPARSE: pages in it come and go, and /proc/kcore reads it as zeroes. */
	area = get_vm_area(PMD_SIZE + regions_size + pages_size, VM_SPARSE);
	if (!area)
		return -ENOMEM;

	/* The alignment also keeps the base pages of each window within one page table. */
	addr = ALIGN((unsigned long)area->addr, PMD_SIZE);
	for_each_possible_cpu(cpu) {
		ret = exmem_init_cpu(cpu, addr + regions_size + cpu * EXMEM_WINDOW_STRIDE,
				     addr + cpu * EXMEM_REGION_STRIDE);
		if (ret) {
			free_vm_area(area);
			return ret;
		}
	}
	return 0;
}

static int __init exmem_count_leaves(unsigned long addr, unsigned long end,
				     struct exmem_leaves *leaves)
{
	unsigned long size, next;
	unsigned int level;

	for (; addr < end; addr = next) {
		if (!lookup_address(addr, &level))
			return -EFAULT;
		size = max(page_level_size(level), PMD_SIZE);
		next = min(ALIGN_DOWN(addr, size) + size, end);
		if (level == PG_LEVEL_1G && next - addr == size) {
			leaves->removed_pud++;
		} else if (level >= PG_LEVEL_2M) {
			leaves->split_pud += level == PG_LEVEL_1G;
			leaves->removed_pmd += (next - addr) / PMD_SIZE;
		}
	}
	return 0;
}

/**
 * exmem_arch_unmap - take regions out of the direct map
 * @page: first page; aligned to PMD_SIZE
 * @nr: number of contiguous pages; a multiple of PTRS_PER_PTE
 * @leaves: counts the leaves that are removed, and those that have to be split
 *
 * A leaf that lies wholly in the range becomes a not-present entry of its level. Only
 * a larger leaf at an end of the range is split. The entry keeps the page frame
 * number, inverted against L1TF.
 *
 * Context: Boot, while this is the only CPU: the TLB flush stays local.
 * Return: 0 or a negative errno. On failure some of the pages may be unmapped, and
 * nobody may use any of them.
 */
int __init exmem_arch_unmap(struct page *page, unsigned long nr, struct exmem_leaves *leaves)
{
	unsigned long next, addr = (unsigned long)page_address(page);
	unsigned long end = addr + nr * PAGE_SIZE;
	int ret = exmem_count_leaves(addr, end, leaves);

	/* set_memory_np() counts pages in an int. No leaf crosses a boundary of 1 TiB. */
	for (; !ret && addr < end; addr = next) {
		next = min(ALIGN(addr + 1, SZ_1T), end);
		ret = set_memory_np(addr, (next - addr) / PAGE_SIZE);
	}
	return ret;
}

static unsigned long exmem_clear_in_window(struct page *page, unsigned long nr)
{
	struct exmem_window *window = get_cpu_ptr(&exmem_window);
	unsigned long i, addr = window->addr;
	pte_t *pte = window->pte;

	nr = min(nr, EXMEM_WINDOW_PAGES);
	set_ptes(&init_mm, addr, pte, mk_pte(page, PAGE_KERNEL), nr);
	clear_pages((void *)addr, nr);
	for (i = 0; i < nr; i++, addr += PAGE_SIZE) {
		set_pte(pte + i, __pte(0));
		/* No other CPU uses this address: a local flush is enough. */
		flush_tlb_one_kernel(addr);
	}
	put_cpu_ptr(&exmem_window);
	return nr;
}

static void exmem_clear_part_of_region(struct page *page, unsigned long first)
{
	struct exmem_window *window = get_cpu_ptr(&exmem_window);
	unsigned long addr = window->region_addr + first * PAGE_SIZE;

	set_pmd(window->pmd, pfn_pmd(page_to_pfn(page), PAGE_KERNEL_LARGE));
	clear_pages((void *)addr, EXMEM_CLEAR_BATCH);
	pmd_clear(window->pmd);
	flush_tlb_one_kernel(addr);
	put_cpu_ptr(&exmem_window);
}

static bool exmem_starts_region(struct page *page, unsigned long nr)
{
	return nr >= PTRS_PER_PTE && IS_ALIGNED(page_to_pfn(page), PTRS_PER_PTE);
}

static unsigned long exmem_clear_region(struct page *page)
{
	unsigned long first;

	for (first = 0; first < PTRS_PER_PTE; first += EXMEM_CLEAR_BATCH) {
		exmem_clear_part_of_region(page, first);
		cond_resched();
	}
	return PTRS_PER_PTE;
}

/**
 * exmem_arch_clear - clear pages that the direct map does not map
 * @page: first page
 * @nr: number of contiguous pages, or 0
 *
 * This CPU's window maps the pages while they are cleared: a few at a time, or a whole
 * region. Another CPU may speculate through the window, as with
 * kmap_local_page(), and keep the translation until its TLB evicts the entry: that CPU
 * is never told to flush the addresses.
 *
 * Context: Process context. May sleep. Preemption is off for up to EXMEM_CLEAR_BATCH
 * pages.
 */
void exmem_arch_clear(struct page *page, unsigned long nr)
{
	unsigned long done;

	while (nr) {
		if (cpu_feature_enabled(X86_FEATURE_PSE) && exmem_starts_region(page, nr))
			done = exmem_clear_region(page);
		else
			done = exmem_clear_in_window(page, nr);
		page += done;
		nr -= done;
		if (nr)
			cond_resched();
	}
}

/**
 * exmem_arch_write_back - write the caches of all CPUs to memory
 *
 * Context: Process context, with the other CPUs running.
 */
void exmem_arch_write_back(void)
{
	/* A reset of a guest does not lose the host's caches, and TDX forbids WBINVD. */
	if (!cpu_feature_enabled(X86_FEATURE_HYPERVISOR))
		wbinvd_on_all_cpus();
}

/**
 * exmem_arch_copy_from_iter - write to a page that the direct map does not map
 * @page: the page
 * @offset: where to begin, in bytes
 * @bytes: number of bytes, up to the end of the page
 * @from: the data
 *
 * This CPU's window maps the page meanwhile, as in exmem_arch_clear(). User memory is not
 * faulted in.
 *
 * Context: Process context. Preemption is off while it copies.
 * Return: number of bytes copied; fewer than @bytes if the rest of the data is not present.
 */
size_t exmem_arch_copy_from_iter(struct page *page, size_t offset, size_t bytes,
				 struct iov_iter *from)
{
	struct exmem_window *window = get_cpu_ptr(&exmem_window);
	size_t copied;

	set_pte(window->pte, mk_pte(page, PAGE_KERNEL));
	pagefault_disable();
	copied = copy_from_iter((void *)(window->addr + offset), bytes, from);
	pagefault_enable();
	set_pte(window->pte, __pte(0));
	flush_tlb_one_kernel(window->addr);
	put_cpu_ptr(&exmem_window);
	return copied;
}
