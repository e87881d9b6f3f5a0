// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests for the gap that the pool leaves in the direct map: whole leaves, not present.
 *
 * They read the entry for every region of the pool, and change nothing.
 */
#include <linux/exmem.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/pfn.h>
#include <linux/pgtable.h>
#include <linux/set_memory.h>
#include <linux/uaccess.h>

#include "../pool.h"
#include "exmem-kunit.h"

/* The direct map's entry for a page, as the CPU sees it. */
struct exmem_test_entry {
	unsigned long raw;
	unsigned int level;
};

static struct exmem_test_entry exmem_test_entry(const struct page *page)
{
	struct exmem_test_entry entry = {};
	pte_t *pte = lookup_address((unsigned long)page_address(page), &entry.level);

	entry.raw = READ_ONCE(*(unsigned long *)pte);
	return entry;
}

static bool exmem_test_present(struct exmem_test_entry entry)
{
	switch (entry.level) {
	case PG_LEVEL_2M:
		return pmd_present(__pmd(entry.raw)) || pmd_leaf(__pmd(entry.raw));
	case PG_LEVEL_1G:
		return pud_present(__pud(entry.raw)) || pud_leaf(__pud(entry.raw));
	default:
		return pte_present(__pte(entry.raw));
	}
}

/* Returns the first page of the next region from *@pfn on, and moves *@pfn past the region. */
static struct page *exmem_test_next_region(unsigned long *pfn)
{
	struct page *page;

	cond_resched();
	for (; *pfn < max_pfn; *pfn += PTRS_PER_PTE) {
		page = pfn_to_online_page(*pfn);
		if (page && page_is_exmem(page)) {
			*pfn += PTRS_PER_PTE;
			return page;
		}
	}
	return NULL;
}

static void exmem_test_whole_leaves(struct kunit *test)
{
	unsigned long pfn = 0, pages[PG_LEVEL_NUM] = {};
	struct exmem_stats stats;
	struct page *page;

	if (!cpu_feature_enabled(X86_FEATURE_PSE) || debug_pagealloc_enabled())
		kunit_skip(test, "needs a direct map with large leaves");

	while ((page = exmem_test_next_region(&pfn)))
		pages[exmem_test_entry(page).level] += PTRS_PER_PTE;

	exmem_read_stats(exmem_pool_nodemask(), &stats);
	KUNIT_EXPECT_EQ(test, pages[PG_LEVEL_4K], 0);
	KUNIT_EXPECT_EQ(test, pages[PG_LEVEL_2M], stats.removed_pmd * PTRS_PER_PTE);
	KUNIT_EXPECT_EQ(test, pages[PG_LEVEL_1G],
			stats.removed_pud * PTRS_PER_PMD * PTRS_PER_PTE);
	KUNIT_EXPECT_EQ(test, pages[PG_LEVEL_2M] + pages[PG_LEVEL_1G], stats.total);
	kunit_info(test, "%lu pages in 2M leaves, %lu in 1G leaves", pages[PG_LEVEL_2M],
		   pages[PG_LEVEL_1G]);
}

/*
 * A CPU with the L1TF bug speculates with the address bits of an entry that is not present. They
 * must point to where there is no memory.
 */
static void exmem_test_l1tf(struct kunit *test)
{
	struct exmem_test_entry entry;
	unsigned long phys, pfn = 0;
	struct page *page;

	while ((page = exmem_test_next_region(&pfn))) {
		entry = exmem_test_entry(page);
		phys = PFN_PHYS(page_to_pfn(page)) & page_level_mask(entry.level);
		if (exmem_test_present(entry) || entry.raw & (_PAGE_PSE | _PAGE_GLOBAL) ||
		    (~entry.raw & PTE_PFN_MASK) != phys) {
			KUNIT_FAIL(test, "entry %#lx of level %u, pfn %#lx", entry.raw,
				   entry.level, page_to_pfn(page));
			return;
		}
	}
}

/* Hibernation asks kernel_page_present(). /proc/kcore, kprobes and BPF try, and may fail. */
static void exmem_test_no_access(struct kunit *test)
{
	unsigned long i, pfn = 0;
	struct page *page;
	char byte = 1;
	void *addr;

	while ((page = exmem_test_next_region(&pfn))) {
		for (i = 0; i < PTRS_PER_PTE; i++)
			KUNIT_ASSERT_FALSE(test, kernel_page_present(page + i));
		addr = page_address(page);
		KUNIT_ASSERT_EQ(test, copy_from_kernel_nofault(&byte, addr, 1), -EFAULT);
		KUNIT_ASSERT_EQ(test, copy_to_kernel_nofault(addr, &byte, 1), -EFAULT);
	}
}

/* The machine-check handler unmaps the page with the error. This must not split the leaf. */
static void exmem_test_unmap_one_page(struct kunit *test)
{
	struct exmem_test_entry before, after;
	unsigned long pfn = 0;
	struct page *page;

	while ((page = exmem_test_next_region(&pfn))) {
		page += 5;
		before = exmem_test_entry(page);
		KUNIT_ASSERT_EQ(test, set_memory_np((unsigned long)page_address(page), 1), 0);
		KUNIT_ASSERT_EQ(test, set_mce_nospec(page_to_pfn(page)), 0);
		after = exmem_test_entry(page);
		KUNIT_ASSERT_EQ(test, after.level, before.level);
		KUNIT_ASSERT_EQ(test, after.raw, before.raw);
	}
}

static int exmem_test_direct_map_init(struct kunit *test)
{
	if (!exmem_enabled())
		kunit_skip(test, "needs exmem=");
	return 0;
}

static struct kunit_case exmem_test_direct_map_cases[] = {
	KUNIT_CASE(exmem_test_whole_leaves),
	KUNIT_CASE(exmem_test_l1tf),
	KUNIT_CASE(exmem_test_no_access),
	KUNIT_CASE(exmem_test_unmap_one_page),
	{}
};

static struct kunit_suite exmem_test_direct_map_suite = {
	.name = "exmem_direct_map",
	.init = exmem_test_direct_map_init,
	.test_cases = exmem_test_direct_map_cases,
};

kunit_test_suite(exmem_test_direct_map_suite);
