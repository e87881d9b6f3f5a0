// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: the memory object, a file that owns pages.
 *
 * mmap(), fallocate() or KVM_CREATE_GUEST_MEMFD allocates the pages. They are freed with the
 * last reference to the file (each mapping holds one), or earlier: when a hole is punched, the
 * object is truncated, or a mapping with MAP_EXCLUSIVE is removed. Clearing them takes a long
 * time, so their extents are first detached from the object, and freed once neither mmap_lock
 * nor the object's lock is held.
 */
#include <linux/exmem.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/interval_tree.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <linux/uio.h>

#include "account.h"
#include "map.h"
#include "object.h"
#include "pool.h"

#define CREATE_TRACE_POINTS
#include <trace/events/exmem.h>

/* Count no more than this where rescheduling is not possible. */
#define EXMEM_SMAP_EXTENTS	16384

/**
 * struct exmem_extent - contiguous pages at contiguous offsets of an object
 * @offsets: first and last offset, in pages; its tree node is not in use once the extent
 *	has been detached
 * @list: links the extents that a request has added, or that have been detached; stale
 *	otherwise
 * @page: first page; NULL in an embedded extent that is not in use
 * @work: frees the list of detached extents that begins with this one
 * @file: the object's file, referenced until @work has run
 */
struct exmem_extent {
	union {
		struct interval_tree_node offsets;
		struct {
			struct callback_head work;
			struct file *file;
		};
	};
	struct list_head list;
	struct page *page;
};

static_assert(offsetofend(struct exmem_extent, file) <=
	      offsetof(struct exmem_extent, offsets.start));

/**
 * struct exmem_mapper - a process that has called mmap() since the last hole was punched
 * @list: links all mappers of the object
 * @mm: its address space; NULL in an embedded mapper that is not in use
 */
struct exmem_mapper {
	struct list_head list;
	struct mm_struct *mm;
};

/**
 * struct exmem_object - pages by their offset in a file
 * @lock: protects all but @mapping, @account, and @can_punch_hole, which never changes;
 *	nests inside mmap_lock, so user memory must not be accessed under it
 * @extents: tree of &struct exmem_extent
 * @first_extent: embedded, so that most objects need no other
 * @nr_pages: number of pages in all extents
 * @account: the creator, to whom the pages are charged
 * @can_punch_hole: exmem_object_punch_hole() may be called, and needs @mappers
 * @mappers: list of &struct exmem_mapper, which may still be inside mmap()
 * @first_mapper: embedded, so that most objects need no other
 * @mapping: finds all VMAs of the object. Its invalidate_lock is held while a hole is
 *	punched, and is taken before mmap_lock.
 */
struct exmem_object {
	struct mutex lock;	/* see above */
	struct rb_root_cached extents;
	struct exmem_extent first_extent;
	unsigned long nr_pages;
	struct exmem_account account;
	bool can_punch_hole;
	struct list_head mappers;
	struct exmem_mapper first_mapper;
	struct address_space mapping;
};

/* Tells objects from other files. */
static const struct address_space_operations exmem_aops = {
};

static struct exmem_extent *exmem_extent_first(struct exmem_object *obj, unsigned long first,
					       unsigned long last)
{
	struct interval_tree_node *node = interval_tree_iter_first(&obj->extents, first, last);

	return node ? container_of(node, struct exmem_extent, offsets) : NULL;
}

static struct exmem_extent *exmem_extent_next(struct exmem_extent *extent, unsigned long first,
					      unsigned long last)
{
	struct interval_tree_node *node = interval_tree_iter_next(&extent->offsets, first, last);

	return node ? container_of(node, struct exmem_extent, offsets) : NULL;
}

static unsigned long exmem_extent_pages(const struct exmem_extent *extent)
{
	return extent->offsets.last - extent->offsets.start + 1;
}

static struct page *exmem_page_at(const struct exmem_extent *extent, unsigned long offset)
{
	return extent->page + (offset - extent->offsets.start);
}

static unsigned long exmem_overlap(const struct exmem_extent *extent, unsigned long first,
				   unsigned long last)
{
	return min(extent->offsets.last, last) - max(extent->offsets.start, first) + 1;
}

static unsigned long exmem_nr_pages_in(struct exmem_object *obj, unsigned long first,
				       unsigned long last)
{
	struct exmem_extent *extent;
	unsigned long nr = 0;

	for (extent = exmem_extent_first(obj, first, last); extent;
	     extent = exmem_extent_next(extent, first, last)) {
		nr += exmem_overlap(extent, first, last);
		cond_resched();
	}
	return nr;
}

static int exmem_resched_killable(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

static struct exmem_extent *exmem_new_extent(struct exmem_object *obj)
{
	/* Pairs with exmem_free_extent(), which does not hold obj->lock. */
	if (!smp_load_acquire(&obj->first_extent.page))
		return &obj->first_extent;
	return kmalloc_obj(struct exmem_extent, GFP_KERNEL_ACCOUNT);
}

static int exmem_split_extent(struct exmem_object *obj, unsigned long offset)
{
	struct exmem_extent *extent = exmem_extent_first(obj, offset, offset), *rest;

	if (!extent || extent->offsets.start == offset)
		return 0;

	rest = exmem_new_extent(obj);
	if (!rest)
		return -ENOMEM;

	interval_tree_remove(&extent->offsets, &obj->extents);
	*rest = *extent;
	rest->page += offset - extent->offsets.start;
	rest->offsets.start = offset;
	extent->offsets.last = offset - 1;
	interval_tree_insert(&extent->offsets, &obj->extents);
	interval_tree_insert(&rest->offsets, &obj->extents);
	return 0;
}

static void exmem_detach_extent(struct exmem_object *obj, struct exmem_extent *extent,
				struct list_head *detached)
{
	interval_tree_remove(&extent->offsets, &obj->extents);
	WRITE_ONCE(obj->nr_pages, obj->nr_pages - exmem_extent_pages(extent));
	list_add_tail(&extent->list, detached);
}

static void exmem_detach_range(struct exmem_object *obj, unsigned long first, unsigned long last,
			       struct list_head *detached)
{
	struct exmem_extent *extent;

	/* Detach whole extents: the caller has split them at the ends of the range. */
	while ((extent = exmem_extent_first(obj, first, last))) {
		exmem_detach_extent(obj, extent, detached);
		cond_resched();
	}
}

static void exmem_detach_added(struct exmem_object *obj, struct list_head *added,
			       struct list_head *detached)
{
	struct exmem_extent *extent, *next;

	list_for_each_entry_safe(extent, next, added, list) {
		list_del(&extent->list);
		exmem_detach_extent(obj, extent, detached);
		cond_resched();
	}
}

static void exmem_free_extent(struct exmem_object *obj, struct exmem_extent *extent,
			      void (*free_pages)(struct page *page, unsigned long nr))
{
	unsigned long nr = exmem_extent_pages(extent);

	trace_exmem_free(extent->page, nr, obj->account.caller);
	free_pages(extent->page, nr);
	exmem_uncharge(&obj->account, nr);
	if (extent == &obj->first_extent)
		/* From here on, exmem_new_extent() may use it. */
		smp_store_release(&extent->page, NULL);
	else
		kfree(extent);
}

static void exmem_free_detached(struct exmem_object *obj, struct list_head *detached,
				void (*free_pages)(struct page *page, unsigned long nr))
{
	struct exmem_extent *extent, *next;

	list_for_each_entry_safe(extent, next, detached, list) {
		exmem_free_extent(obj, extent, free_pages);
		cond_resched();
	}
}

static void exmem_clear_and_free(struct exmem_object *obj, struct list_head *detached)
{
	/* mmap() waits for this lock while it holds mmap_lock. */
	lockdep_assert_not_held(&obj->lock);
	exmem_free_detached(obj, detached, exmem_free_pages);
}

static void exmem_clear_and_free_work(struct callback_head *work)
{
	struct exmem_extent *first = container_of(work, struct exmem_extent, work);
	struct file *file = first->file;
	LIST_HEAD(detached);

	/* exmem_clear_and_free_later() has removed the head of the list. */
	list_add_tail(&detached, &first->list);
	exmem_clear_and_free(file->private_data, &detached);
	fput(file);
}

/* For callers that hold mmap_lock. Runs before the task returns to user mode, or exits. */
static void exmem_clear_and_free_later(struct file *file, struct list_head *detached)
{
	struct exmem_extent *first = list_first_entry_or_null(detached, struct exmem_extent, list);

	if (!first)
		return;
	list_del(detached);
	first->file = get_file(file);
	init_task_work(&first->work, exmem_clear_and_free_work);
	/* Fails only if the task has almost exited. */
	if (task_work_add(current, &first->work, TWA_RESUME))
		exmem_clear_and_free_work(&first->work);
}

static void exmem_move_whole_regions_first(struct list_head *runs)
{
	struct exmem_run *run, *next;
	LIST_HEAD(others);

	list_for_each_entry_safe(run, next, runs, list) {
		if (run->nr < EXMEM_REGION_PAGES)
			list_move_tail(&run->list, &others);
		cond_resched();
	}
	list_splice_tail(&others, runs);
}

static struct exmem_run *exmem_take_run(struct list_head *runs, unsigned long offset)
{
	unsigned long to_border = EXMEM_REGION_PAGES - offset % EXMEM_REGION_PAGES;
	struct exmem_run *run = list_first_entry(runs, struct exmem_run, list), *end;

	/* A PMD can map a whole region at an aligned offset only: first fill the gap before it. */
	if (run->nr == EXMEM_REGION_PAGES && to_border < EXMEM_REGION_PAGES)
		run = list_last_entry(runs, struct exmem_run, list);
	if (run->nr <= to_border) {
		list_del(&run->list);
		return run;
	}
	run->nr -= to_border;
	end = page_exmem_run(exmem_run_page(run) + run->nr);
	end->nr = to_border;
	return end;
}

static int exmem_add_extent(struct exmem_object *obj, unsigned long offset,
			    struct exmem_run *run, struct list_head *added)
{
	struct exmem_extent *extent = exmem_new_extent(obj);

	if (!extent)
		return -ENOMEM;

	extent->offsets.start = offset;
	extent->offsets.last = offset + run->nr - 1;
	extent->page = exmem_run_page(run);
	interval_tree_insert(&extent->offsets, &obj->extents);
	WRITE_ONCE(obj->nr_pages, obj->nr_pages + run->nr);
	list_add_tail(&extent->list, added);
	trace_exmem_alloc(extent->page, run->nr, obj->account.caller);
	return 0;
}

static void exmem_free_untouched_runs(struct list_head *runs)
{
	struct exmem_run *run, *next;

	list_for_each_entry_safe(run, next, runs, list) {
		list_del(&run->list);
		exmem_free_untouched_pages(exmem_run_page(run), run->nr);
		cond_resched();
	}
}

static int exmem_alloc_in_hole(struct exmem_object *obj, unsigned long first, unsigned long last,
			       struct list_head *added)
{
	struct exmem_run *run;
	LIST_HEAD(runs);
	int ret;

	ret = exmem_alloc_pages(last - first + 1, &runs);
	exmem_move_whole_regions_first(&runs);
	while (!list_empty(&runs) && !ret) {
		run = exmem_take_run(&runs, first);
		ret = exmem_add_extent(obj, first, run, added);
		first += run->nr;
		if (ret)
			list_add(&run->list, &runs);
		else if (!list_empty(&runs))
			ret = exmem_resched_killable();
	}
	exmem_free_untouched_runs(&runs);
	return ret;
}

static int exmem_alloc_in_holes(struct exmem_object *obj, unsigned long first,
				unsigned long last, struct list_head *added)
{
	struct interval_tree_span_iter span;
	int ret = 0;

	if (RB_EMPTY_ROOT(&obj->extents.rb_root))
		return exmem_alloc_in_hole(obj, first, last, added);

	for (; !ret; first = span.last_used + 1) {
		/* Filling the hole has changed the tree: search after it, from the root. */
		interval_tree_span_iter_first(&span, &obj->extents, first, last);
		if (span.is_hole) {
			ret = exmem_alloc_in_hole(obj, span.start_hole, span.last_hole, added);
			if (ret)
				return ret;
		}
		if (span.last_used == last)
			return 0;
		ret = exmem_resched_killable();
	}
	return ret;
}

static int exmem_charge_missing(struct exmem_object *obj, unsigned long nr)
{
	int ret = exmem_charge(&obj->account, nr);

	if (ret == -ENOMEM)
		exmem_count_failed_request();
	return ret;
}

static int exmem_alloc_range(struct exmem_object *obj, unsigned long first, unsigned long last,
			     struct list_head *added)
{
	unsigned long had = obj->nr_pages, missing = last - first + 1;
	LIST_HEAD(untouched);
	int ret;

	if (had)
		missing -= exmem_nr_pages_in(obj, first, last);
	if (!missing)
		return 0;
	/* All at once: a request that exceeds a limit allocates nothing, not even for a moment. */
	ret = exmem_charge_missing(obj, missing);
	if (!ret) {
		ret = exmem_alloc_in_holes(obj, first, last, added);
		/* Each extent keeps its share of the charge: this is the rest. */
		exmem_uncharge(&obj->account, missing - (obj->nr_pages - had));
	}
	if (ret == -ENOMEM && trace_exmem_alloc_fail_enabled())
		trace_exmem_alloc_fail(exmem_failed_node(), missing, obj->account.caller);
	if (ret) {
		/* Nobody could map these pages yet: that takes obj->lock. */
		exmem_detach_added(obj, added, &untouched);
		exmem_free_detached(obj, &untouched, exmem_free_untouched_pages);
	}
	return ret;
}

static int exmem_map_extent(struct exmem_extent *extent, struct vm_area_struct *vma,
			    unsigned long nr)
{
	unsigned long first = vma_start_pgoff(vma);
	unsigned long start = max(extent->offsets.start, first);
	unsigned long end = min(extent->offsets.last + 1, first + nr);

	return exmem_map_pages(vma, vma->vm_start + (start - first) * PAGE_SIZE,
			       exmem_page_at(extent, start), end - start);
}

static int exmem_map(struct exmem_object *obj, struct vm_area_struct *vma, unsigned long nr)
{
	unsigned long first = vma_start_pgoff(vma), last = first + nr - 1;
	struct exmem_extent *extent;
	int ret = 0;

	extent = exmem_extent_first(obj, first, last);
	while (extent && !ret) {
		ret = exmem_map_extent(extent, vma, nr);
		extent = exmem_extent_next(extent, first, last);
		if (extent && !ret)
			ret = exmem_resched_killable();
	}
	/*
	 * The caller is going to free pages that this request has allocated. mmap()
	 * would unmap them only later, and other threads could reach them until then.
	 */
	if (ret)
		zap_special_vma_range(vma, vma->vm_start, nr * PAGE_SIZE);
	return ret;
}

static void exmem_free_mapper(struct exmem_object *obj, struct exmem_mapper *mapper)
{
	list_del(&mapper->list);
	mmdrop(mapper->mm);
	mapper->mm = NULL;
	if (mapper != &obj->first_mapper)
		kfree(mapper);
}

static int exmem_add_mapper(struct exmem_object *obj, struct mm_struct *mm)
{
	struct exmem_mapper *mapper, *next;

	if (!obj->can_punch_hole)
		return 0;

	list_for_each_entry_safe(mapper, next, &obj->mappers, list) {
		if (mapper->mm == mm)
			return 0;
		/* Without users, nobody is inside mmap(). */
		if (!atomic_read(&mapper->mm->mm_users))
			exmem_free_mapper(obj, mapper);
		cond_resched();
	}

	mapper = &obj->first_mapper;
	if (mapper->mm)
		mapper = kmalloc_obj(*mapper, GFP_KERNEL_ACCOUNT);
	if (!mapper)
		return -ENOMEM;
	mmgrab(mm);
	mapper->mm = mm;
	list_add(&mapper->list, &obj->mappers);
	return 0;
}

static int exmem_wait_for_mappers(struct exmem_object *obj)
{
	struct exmem_mapper *mapper;
	int ret;

	lockdep_assert_held_write(&obj->mapping.invalidate_lock);

	/*
	 * unmap_mapping_pages() finds a mapping only after ->mmap() has returned, but
	 * before mmap_lock is released. So take each mapper's mmap_lock once, without
	 * obj->lock, which nests inside it. New mappers may come meanwhile and have to
	 * be waited for, too: processes that keep mapping the object can delay this
	 * for a long time.
	 */
	while (!list_empty(&obj->mappers)) {
		mapper = list_first_entry(&obj->mappers, struct exmem_mapper, list);
		list_del_init(&mapper->list);
		mutex_unlock(&obj->lock);
		ret = mmap_read_lock_killable(mapper->mm);
		if (!ret)
			mmap_read_unlock(mapper->mm);
		mutex_lock(&obj->lock);
		if (ret) {
			list_add(&mapper->list, &obj->mappers);
			return ret;
		}
		exmem_free_mapper(obj, mapper);
	}
	return 0;
}

static int exmem_alloc_and_map(struct exmem_object *obj, struct vm_area_struct *vma,
			       unsigned long nr_alloc, unsigned long nr_map,
			       struct list_head *detached)
{
	unsigned long first = vma_start_pgoff(vma);
	LIST_HEAD(added);
	int ret;

	ret = exmem_add_mapper(obj, vma->vm_mm);
	if (!ret)
		ret = exmem_alloc_range(obj, first, first + nr_alloc - 1, &added);
	if (!ret && nr_map)
		ret = exmem_map(obj, vma, nr_map);
	if (ret)
		exmem_detach_added(obj, &added, detached);
	return ret;
}

/**
 * exmem_object_alloc - allocate the missing pages of a range
 * @file: file of a memory object
 * @first: offset of the first page
 * @last: offset of the last page
 *
 * Mappings of the range see the new pages.
 *
 * Context: Process context, mmap_lock not held. May sleep.
 * Return: 0; or with nothing allocated, -EAGAIN over a limit of the creator, -ENOMEM, -EINTR
 * if the task is being killed.
 */
int exmem_object_alloc(struct file *file, unsigned long first, unsigned long last)
{
	struct exmem_object *obj = file->private_data;
	LIST_HEAD(added);
	int ret;

	ret = mutex_lock_killable(&obj->lock);
	if (ret)
		return ret;
	ret = exmem_alloc_range(obj, first, last, &added);
	mutex_unlock(&obj->lock);
	return ret;
}

/**
 * exmem_object_mmap - map an object, allocating missing pages
 * @file: file of a memory object
 * @vma: the mapping; the caller sets its vm_ops
 * @nr_alloc: pages from the start of @vma; allocate those that are missing
 * @nr_map: number of these pages to map
 *
 * On failure the object is unchanged.
 *
 * Context: ->mmap(), mmap_lock held for writing.
 * Return: 0, -EINVAL for a private mapping, -EPERM for an executable one, -EAGAIN
 * over a limit of the creator, -ENOMEM, -EINTR if the task is being killed.
 */
int exmem_object_mmap(struct file *file, struct vm_area_struct *vma, unsigned long nr_alloc,
		      unsigned long nr_map)
{
	struct exmem_object *obj = file->private_data;
	LIST_HEAD(detached);
	int ret;

	if (!vma_test(vma, VMA_MAYSHARE_BIT))
		return -EINVAL;
	if (vma_test(vma, VMA_EXEC_BIT))
		return -EPERM;

	vma_set_flags(vma, VMA_IO_BIT, VMA_PFNMAP_BIT, VMA_DONTEXPAND_BIT, VMA_DONTDUMP_BIT);
	vma_clear_flags(vma, VMA_MAYEXEC_BIT);
	if (!nr_alloc)
		return 0;

	/* Killable: unmapping a large hole, or allocating many pages, takes a while. */
	ret = mutex_lock_killable(&obj->lock);
	if (ret)
		return ret;
	ret = exmem_alloc_and_map(obj, vma, nr_alloc, nr_map, &detached);
	mutex_unlock(&obj->lock);
	/* Other threads may have written to the pages that were mapped first. */
	exmem_clear_and_free_later(file, &detached);
	return ret;
}

/**
 * exmem_object_fault - map a page that the object has, but the mapping does not
 * @vmf: the fault
 *
 * mmap() has not mapped the page, another mapping has filled a hole, or the kernel has
 * split a PMD.
 *
 * Context: ->fault().
 * Return: VM_FAULT_NOPAGE; VM_FAULT_SIGBUS if the object has no page there, or if the
 * task is being killed; VM_FAULT_HWPOISON if the page is poisoned; VM_FAULT_OOM if there
 * is no memory for a page table.
 */
vm_fault_t exmem_object_fault(struct vm_fault *vmf)
{
	struct exmem_object *obj = vmf->vma->vm_file->private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct exmem_extent *extent;

	if (mutex_lock_killable(&obj->lock))
		return VM_FAULT_SIGBUS;
	extent = exmem_extent_first(obj, vmf->pgoff, vmf->pgoff);
	if (extent)
		ret = exmem_map_fault(vmf, exmem_page_at(extent, vmf->pgoff),
				      exmem_extent_pages(extent) == EXMEM_REGION_PAGES);
	mutex_unlock(&obj->lock);
	return ret;
}

static int exmem_extent_order(const struct exmem_extent *extent, unsigned long pfn,
			      unsigned long gfn)
{
	if (exmem_extent_pages(extent) == EXMEM_REGION_PAGES &&
	    pfn % EXMEM_REGION_PAGES == gfn % EXMEM_REGION_PAGES &&
	    exmem_unpoisoned_prefix(extent->page, EXMEM_REGION_PAGES) == EXMEM_REGION_PAGES)
		return PMD_ORDER;
	return 0;
}

/**
 * exmem_object_get_pfn - look up a page for a guest's page tables
 * @file: file of a memory object
 * @offset: offset of the page
 * @gfn: guest frame number that maps it
 * @pfn: filled in with its page frame number
 * @max_order: filled in with PMD_ORDER if one leaf can map the whole region, with the page
 *	at @gfn; otherwise with 0
 *
 * A hole may be punched in the region as soon as this returns. The caller has to look again
 * if any page of the region has been invalidated meanwhile.
 *
 * Context: Process context. May sleep.
 * Return: 0, -EFAULT in a hole, -EHWPOISON if the page is poisoned, -EINTR after a signal.
 */
int exmem_object_get_pfn(struct file *file, unsigned long offset, unsigned long gfn,
			 unsigned long *pfn, int *max_order)
{
	struct exmem_object *obj = file->private_data;
	struct exmem_extent *extent;
	int ret = -EFAULT;

	/* Filling a hole takes a while, and the VMM may want to stop this vCPU. */
	if (mutex_lock_interruptible(&obj->lock))
		return -EINTR;
	extent = exmem_extent_first(obj, offset, offset);
	if (extent && PageHWPoison(exmem_page_at(extent, offset))) {
		ret = -EHWPOISON;
	} else if (extent) {
		*pfn = page_to_pfn(exmem_page_at(extent, offset));
		*max_order = exmem_extent_order(extent, *pfn, gfn);
		ret = 0;
	}
	mutex_unlock(&obj->lock);
	return ret;
}

static ssize_t exmem_write_at(struct exmem_object *obj, loff_t pos, size_t bytes,
			      struct iov_iter *from)
{
	unsigned long offset = pos >> PAGE_SHIFT;
	struct exmem_extent *extent;
	ssize_t ret = -ENXIO;

	if (mutex_lock_killable(&obj->lock))
		return -EINTR;
	extent = exmem_extent_first(obj, offset, offset);
	if (extent)
		ret = exmem_write_page(exmem_page_at(extent, offset), offset_in_page(pos), bytes,
				       from);
	mutex_unlock(&obj->lock);
	return ret;
}

/**
 * exmem_object_write - write to the pages of an object
 * @file: file of a memory object
 * @pos: offset in bytes; moved to the end of the data that was written
 * @from: the data
 *
 * Context: Process context. May sleep.
 * Return: number of bytes written, or, if this is 0, -ENXIO in a hole, -EHWPOISON if the page
 * is poisoned, -EFAULT if the data can't be read, -EINTR if the task is being killed.
 */
ssize_t exmem_object_write(struct file *file, loff_t *pos, struct iov_iter *from)
{
	ssize_t copied = 0, written = 0;
	size_t bytes;

	while (iov_iter_count(from)) {
		bytes = min(PAGE_SIZE - offset_in_page(*pos), iov_iter_count(from));
		/* Not under the object's lock, which nests inside mmap_lock. */
		if (fault_in_iov_iter_readable(from, bytes) == bytes)
			copied = -EFAULT;
		else
			copied = exmem_write_at(file->private_data, *pos, bytes, from);
		if (copied < 0)
			break;
		*pos += copied;
		written += copied;
		copied = exmem_resched_killable();
		if (copied)
			break;
	}
	return written ?: copied;
}

/**
 * exmem_object_may_split - split the extent where its mapping is going to be split
 * @vma: mapping whose ->close() is exmem_object_close()
 * @addr: address of the split
 *
 * Context: ->may_split(), mmap_lock held for writing.
 * Return: 0, -ENOMEM, -EINTR if the task is being killed.
 */
int exmem_object_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	struct exmem_object *obj = vma->vm_file->private_data;
	int ret;

	ret = mutex_lock_killable(&obj->lock);
	if (ret)
		return ret;
	ret = exmem_split_extent(obj, linear_page_index(vma, addr));
	mutex_unlock(&obj->lock);
	return ret;
}

static bool exmem_extent_mapped(struct exmem_object *obj, const struct exmem_extent *extent)
{
	bool mapped;

	i_mmap_lock_read(&obj->mapping);
	mapped = mapping_rmap_tree_iter_first(&obj->mapping, extent->offsets.start,
					      extent->offsets.last);
	i_mmap_unlock_read(&obj->mapping);
	return mapped;
}

/**
 * exmem_object_close - free the pages that are no longer mapped
 * @vma: mapping that has been removed
 *
 * For objects without a descriptor, which cannot be mapped again. Even so, mremap()
 * maps the same pages twice for a moment, or for longer if it fails to remove the old
 * mapping. exmem_object_may_split() has seen to it that no extent crosses the border
 * of a mapping.
 *
 * The pages are free when the task returns to user mode.
 *
 * Context: ->close(), mmap_lock held: @vma has left i_mmap, its pages are not mapped, and
 * no CPU has a TLB entry for one.
 */
void exmem_object_close(struct vm_area_struct *vma)
{
	unsigned long first = vma_start_pgoff(vma), last = vma_last_pgoff(vma);
	struct exmem_object *obj = vma->vm_file->private_data;
	struct exmem_extent *extent, *next;
	LIST_HEAD(unmapped);

	/*
	 * If this is the last reference, exmem_object_release() is going to free all pages.
	 * So it is if a kernel thread removes the mappings of a dead process.
	 */
	if (file_count(vma->vm_file) == 1 || current->flags & PF_KTHREAD)
		return;

	mutex_lock(&obj->lock);
	for (extent = exmem_extent_first(obj, first, last); extent; extent = next) {
		next = exmem_extent_next(extent, first, last);
		if (!exmem_extent_mapped(obj, extent))
			exmem_detach_extent(obj, extent, &unmapped);
		cond_resched();
	}
	mutex_unlock(&obj->lock);
	exmem_clear_and_free_later(vma->vm_file, &unmapped);
}

static int exmem_punch_hole(struct exmem_object *obj, unsigned long first, unsigned long last,
			    struct list_head *detached)
{
	int ret = exmem_split_extent(obj, first);

	if (!ret)
		ret = exmem_split_extent(obj, last + 1);
	if (ret)
		return ret;

	unmap_mapping_pages(&obj->mapping, first, last - first + 1, true);
	exmem_detach_range(obj, first, last, detached);
	return 0;
}

static void exmem_detach_tail(struct exmem_object *obj, unsigned long nr,
			      struct list_head *detached)
{
	if (mutex_lock_killable(&obj->lock))
		return;
	/* A fault may have mapped all of a region that the end is in. */
	exmem_punch_hole(obj, nr, ULONG_MAX, detached);
	mutex_unlock(&obj->lock);
}

/**
 * exmem_object_truncate - free the pages beyond the end of an object
 * @obj: a memory object
 * @nr: number of pages to keep, from offset 0 on
 *
 * Faults must not ask for the pages beyond any more. If there is no memory to split an
 * extent, or if the task is being killed, they stay until the object is released.
 *
 * Context: Process context, mmap_lock not held. May sleep.
 */
void exmem_object_truncate(struct exmem_object *obj, unsigned long nr)
{
	LIST_HEAD(detached);

	exmem_detach_tail(obj, nr, &detached);
	exmem_clear_and_free(obj, &detached);
}

/**
 * exmem_object_truncate_in_mmap - exmem_object_truncate() for ->mmap()
 * @file: file of a memory object
 * @nr: number of pages to keep, from offset 0 on
 *
 * The pages are free when the task returns to user mode.
 *
 * Context: ->mmap(), mmap_lock held.
 */
void exmem_object_truncate_in_mmap(struct file *file, unsigned long nr)
{
	LIST_HEAD(detached);

	exmem_detach_tail(file->private_data, nr, &detached);
	exmem_clear_and_free_later(file, &detached);
}

static int exmem_detach_hole(struct exmem_object *obj, unsigned long first, unsigned long last,
			     struct list_head *detached)
{
	int ret;

	ret = down_write_killable(&obj->mapping.invalidate_lock);
	if (ret)
		return ret;
	ret = mutex_lock_killable(&obj->lock);
	if (!ret) {
		ret = exmem_wait_for_mappers(obj);
		if (!ret)
			ret = exmem_punch_hole(obj, first, last, detached);
		mutex_unlock(&obj->lock);
	}
	up_write(&obj->mapping.invalidate_lock);
	return ret;
}

/**
 * exmem_object_punch_hole - free the pages of a range
 * @file: file of a memory object that can have holes
 * @first: offset of the first page
 * @last: offset of the last page
 *
 * Mappings of the range stay; an access to them raises SIGBUS until the hole is filled.
 *
 * Context: Process context, mmap_lock not held. May sleep.
 * Return: 0; or, with nothing changed, -ENOMEM, or -EINTR if the task is being killed.
 */
int exmem_object_punch_hole(struct file *file, unsigned long first, unsigned long last)
{
	struct exmem_object *obj = file->private_data;
	LIST_HEAD(detached);
	int ret;

	ret = exmem_detach_hole(obj, first, last, &detached);
	exmem_clear_and_free(obj, &detached);
	return ret;
}

/**
 * exmem_object_punch_hole_later - exmem_object_punch_hole() under locks of the caller
 * @file: file of a memory object that can have holes
 * @first: offset of the first page
 * @last: offset of the last page
 *
 * Clearing the pages takes a long time, and others may wait for these locks. So the pages are
 * cleared and freed when the task returns to user mode.
 *
 * Context: Process context of a user task, mmap_lock not held. May sleep.
 * Return: 0; or, with nothing changed, -ENOMEM, or -EINTR if the task is being killed.
 */
int exmem_object_punch_hole_later(struct file *file, unsigned long first, unsigned long last)
{
	LIST_HEAD(detached);
	int ret;

	ret = exmem_detach_hole(file->private_data, first, last, &detached);
	exmem_clear_and_free_later(file, &detached);
	return ret;
}

/**
 * exmem_object_show_fdinfo - show an object in /proc/PID/fdinfo/N
 * @m: file to print to
 * @file: file of a memory object
 *
 * Context: ->show_fdinfo().
 */
void exmem_object_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct exmem_object *obj = file->private_data;
	unsigned long pages, size = 0;
	struct rb_node *last;

	/* The task is being killed: it is not going to read this. */
	if (mutex_lock_killable(&obj->lock))
		return;
	last = rb_last(&obj->extents.rb_root);
	if (last)
		size = rb_entry(last, struct exmem_extent, offsets.rb)->offsets.last + 1;
	pages = obj->nr_pages;
	mutex_unlock(&obj->lock);

	seq_printf(m, "object:\t%llu\nsize:\t%llu\npages:\t%lu\n", obj->account.id,
		   (u64)size << PAGE_SHIFT, pages);
}

static struct exmem_object *exmem_vma_object(struct vm_area_struct *vma)
{
	struct address_space *mapping = vma->vm_file ? vma->vm_file->f_mapping : NULL;

	if (!mapping || mapping->a_ops != &exmem_aops)
		return NULL;
	return container_of(mapping, struct exmem_object, mapping);
}

static unsigned long exmem_count_or_guess(struct exmem_object *obj, unsigned long first,
					  unsigned long last)
{
	struct exmem_extent *extent = exmem_extent_first(obj, first, last);
	unsigned long nr = 0;
	unsigned int i;

	for (i = 0; extent && i < EXMEM_SMAP_EXTENTS; i++) {
		nr += exmem_overlap(extent, first, last);
		extent = exmem_extent_next(extent, first, last);
	}
	return extent ? min(last - first + 1, obj->nr_pages) : nr;
}

/**
 * exmem_show_smap - show a mapping of an object in /proc/PID/smaps
 * @m: file to print to
 * @vma: any mapping
 *
 * The number of pages may be too high if the mapping has very many extents, or while another
 * task allocates or frees pages of the object.
 *
 * Context: the mmap_lock, or the lock of @vma, is held. Does not sleep: it may be called under
 * RCU.
 */
void exmem_show_smap(struct seq_file *m, struct vm_area_struct *vma)
{
	unsigned long first = vma_start_pgoff(vma), last = vma_last_pgoff(vma), nr;
	struct exmem_object *obj = exmem_vma_object(vma);

	if (!obj)
		return;
	/* Other processes may hold this for a long time, while they allocate. */
	if (mutex_trylock(&obj->lock)) {
		nr = exmem_count_or_guess(obj, first, last);
		mutex_unlock(&obj->lock);
	} else {
		nr = min(vma_pages(vma), READ_ONCE(obj->nr_pages));
	}

	seq_printf(m, "Exclusive:      %8lu kB\nExclusivePmdMapped: %4lu kB\nExclusiveObject: %7llu\n",
		   nr << (PAGE_SHIFT - 10), exmem_nr_regions_mapped(vma) << (PMD_SHIFT - 10),
		   obj->account.id);
}

/**
 * exmem_object_create - create a memory object without pages
 * @can_punch_hole: exmem_object_punch_hole() may be called
 *
 * Context: Process context. May sleep.
 * Return: the object, for exmem_object_attach() or exmem_object_destroy(); or NULL.
 */
struct exmem_object *exmem_object_create(bool can_punch_hole)
{
	struct exmem_object *obj = kmalloc_obj(*obj, GFP_KERNEL_ACCOUNT);

	if (!obj)
		return NULL;

	mutex_init(&obj->lock);
	obj->extents = RB_ROOT_CACHED;
	obj->first_extent.page = NULL;
	obj->nr_pages = 0;
	obj->account.file = NULL;
	obj->can_punch_hole = can_punch_hole;
	INIT_LIST_HEAD(&obj->mappers);
	obj->first_mapper.mm = NULL;
	address_space_init_once(&obj->mapping);
	init_rwsem(&obj->mapping.invalidate_lock);
	obj->mapping.a_ops = &exmem_aops;
	obj->mapping.gfp_mask = GFP_USER;
	return obj;
}

/**
 * exmem_object_destroy - free an object, and all its pages
 * @obj: an object without mappings, and without a file that others can use
 *
 * Context: Process context, mmap_lock not held. May sleep.
 */
void exmem_object_destroy(struct exmem_object *obj)
{
	struct exmem_mapper *mapper, *next_mapper;
	struct exmem_extent *extent, *next;

	list_for_each_entry_safe(mapper, next_mapper, &obj->mappers, list) {
		exmem_free_mapper(obj, mapper);
		cond_resched();
	}
	/* Nobody else can reach the tree: it need not be kept in order. */
	rbtree_postorder_for_each_entry_safe(extent, next, &obj->extents.rb_root, offsets.rb) {
		exmem_free_extent(obj, extent, exmem_free_pages);
		cond_resched();
	}
	if (obj->account.file)
		exmem_account_close(&obj->account);
	kfree(obj);
}

/**
 * exmem_object_attach - make a file a memory object
 * @obj: the object; exmem_object_release() is going to destroy it
 * @file: the file, just opened by the current task; pages are charged to this task's user
 *	and cgroup
 * @front_name: the front end, as traces and debugfs show it
 *
 * Context: Process context, before anyone else can use the file.
 */
void exmem_object_attach(struct exmem_object *obj, struct file *file, const char *front_name)
{
	/*
	 * Its own address_space, not the inode's: unmapping a range of one object must
	 * not reach the mappings of another.
	 */
	obj->mapping.host = file_inode(file);
	file->f_mapping = &obj->mapping;
	file->private_data = obj;
	exmem_account_open(&obj->account, file, front_name);
}

/**
 * exmem_object_release - destroy a file's object
 * @inode: the file's inode
 * @file: file of a memory object
 *
 * Context: ->release(): no descriptor and no mapping is left, and no CPU has a TLB
 * entry for any of the pages.
 * Return: 0.
 */
int exmem_object_release(struct inode *inode, struct file *file)
{
	struct exmem_object *obj = file->private_data;

	file->f_mapping = inode->i_mapping;
	exmem_object_destroy(obj);
	return 0;
}

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/object-kunit.h"
#endif
