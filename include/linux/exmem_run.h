/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: the descriptor of contiguous pages. */
#ifndef _LINUX_EXMEM_RUN_H
#define _LINUX_EXMEM_RUN_H

#include <linux/build_bug.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/pgtable.h>

struct exmem_region;

/* Pages in a region: as many as a PMD maps. */
#define EXMEM_REGION_PAGES	(PMD_SIZE / PAGE_SIZE)

/**
 * struct exmem_run - contiguous pages of one region, described in their first page
 * @__page_flags: the page's flags, not used here
 * @list: links the runs of a request, or of a per-CPU cache
 * @__page_mapping: the page's mapping, not used here
 * @region: the region of the page; set at boot, in every page of the pool
 * @nr: number of pages
 * @__page_type: the page's type, not used here
 * @__page_refcount: the page's reference count, not used here
 *
 * Overlays struct page. @list and @nr are valid until the owner of the pages reuses these
 * fields.
 */
struct exmem_run {
	memdesc_flags_t __page_flags;
	struct list_head list;
	unsigned long __page_mapping;
	struct exmem_region *region;
	unsigned long nr;
	unsigned int __page_type;
	atomic_t __page_refcount;
};

#define EXMEM_RUN_MATCH(pg, run) \
	static_assert(offsetof(struct page, pg) == offsetof(struct exmem_run, run))
EXMEM_RUN_MATCH(flags, __page_flags);
EXMEM_RUN_MATCH(lru, list);
EXMEM_RUN_MATCH(mapping, __page_mapping);
EXMEM_RUN_MATCH(__folio_index, region);
EXMEM_RUN_MATCH(private, nr);
EXMEM_RUN_MATCH(page_type, __page_type);
EXMEM_RUN_MATCH(_refcount, __page_refcount);
#undef EXMEM_RUN_MATCH
static_assert(sizeof(struct exmem_run) <= sizeof(struct page));

/**
 * page_exmem_run - the descriptor in a page of the pool
 * @page: the page
 *
 * Return: the descriptor; its @nr is valid in the first page of a run only.
 */
static inline struct exmem_run *page_exmem_run(struct page *page)
{
	return (struct exmem_run *)page;
}

/**
 * exmem_run_page - first page of a run
 * @run: the run
 *
 * Return: the page.
 */
static inline struct page *exmem_run_page(struct exmem_run *run)
{
	return (struct page *)run;
}

unsigned long exmem_unpoisoned_prefix(const struct page *page, unsigned long nr);

#endif /* _LINUX_EXMEM_RUN_H */
