// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: the memory object, a struct file that owns pages.
 *
 * Pages are taken from the pool and mapped when the file is mapped, and go back
 * when the last reference to the file dies; a mapping holds one. They are
 * mapped as raw pfns: nothing can take a reference to them, so
 * get_user_pages() and all that is built on it fail, by construction.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/interval_tree.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "internal.h"

/* Contiguous pages at contiguous offsets, charged to one user. */
struct exmem_run {
	struct interval_tree_node offset;	/* in pages */
	struct list_head list;		/* while the request that grew it may fail */
	struct page *page;		/* NULL: this is not in use */
	struct user_struct *user;	/* NULL if exempt from RLIMIT_MEMLOCK */
};

/* A process that has mapped an object, and may not be done with it yet. */
struct exmem_mapper {
	struct list_head list;
	struct mm_struct *mm;
};

struct exmem_object {
	/* Protects the rest. Nests inside mmap_lock: do not touch user memory. */
	struct mutex lock;
	struct rb_root_cached runs;	/* of struct exmem_run */
	struct exmem_run first_run;	/* most objects need one, and no more */
	unsigned long nr_pages;
	struct list_head mappers;	/* of struct exmem_mapper, since the last drop */
	struct exmem_mapper first_mapper;
	/* One range is dropped at a time, under its invalidate_lock, outside mmap_lock. */
	struct address_space mapping;
};

static unsigned long exmem_run_pages(const struct exmem_run *run)
{
	return run->offset.last - run->offset.start + 1;
}

/* Charge @nr pages to the current user, in the counter that memfd_secret charges. */
static int exmem_charge(unsigned long nr, struct user_struct **userp)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	struct user_struct *user = current_user();
	unsigned long locked;

	*userp = NULL;
	if (capable(CAP_IPC_LOCK))
		return 0;

	locked = atomic_long_read(&user->locked_vm);
	do {
		if (locked > limit || nr > limit - locked)
			return -EAGAIN;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &locked, locked + nr));

	*userp = get_uid(user);
	return 0;
}

static void exmem_uncharge(struct user_struct *user, unsigned long nr)
{
	if (user)
		atomic_long_sub(nr, &user->locked_vm);
}

static struct exmem_run *exmem_run_new(struct exmem_object *obj)
{
	if (!obj->first_run.page)
		return &obj->first_run;
	return kmalloc(sizeof(struct exmem_run), GFP_KERNEL_ACCOUNT);
}

static void exmem_run_free(struct exmem_object *obj, struct exmem_run *run)
{
	unsigned long nr = exmem_run_pages(run);

	interval_tree_remove(&run->offset, &obj->runs);
	exmem_free_pages(run->page, nr, EXMEM_CALLER_DEVICE);
	obj->nr_pages -= nr;
	exmem_uncharge(run->user, nr);
	free_uid(run->user);
	run->page = NULL;
	if (run != &obj->first_run)
		kfree(run);
}

/* Put the run that starts with @page at @start, with a reference to @user. */
static int exmem_run_add(struct exmem_object *obj, unsigned long start, struct page *page,
			 struct user_struct *user, struct list_head *grown)
{
	struct exmem_run *run = exmem_run_new(obj);

	if (!run)
		return -ENOMEM;

	run->offset.start = start;
	run->offset.last = start + page_private(page) - 1;
	run->page = page;
	run->user = user ? get_uid(user) : NULL;
	interval_tree_insert(&run->offset, &obj->runs);
	obj->nr_pages += exmem_run_pages(run);
	list_add_tail(&run->list, grown);
	return 0;
}

/* Fill the hole from @start to @last; what was filled is in @grown even on failure. */
static int exmem_fill_hole(struct exmem_object *obj, unsigned long start, unsigned long last,
			   struct list_head *grown)
{
	struct user_struct *user;
	struct page *page, *next;
	LIST_HEAD(pages);
	int ret;

	ret = exmem_charge(last - start + 1, &user);
	if (ret)
		return ret;

	ret = exmem_alloc_pages(last - start + 1, EXMEM_CALLER_DEVICE, &pages);
	if (ret)
		goto out;

	list_for_each_entry_safe(page, next, &pages, lru) {
		ret = exmem_run_add(obj, start, page, user, grown);
		if (ret)
			break;
		list_del(&page->lru);
		start += page_private(page);
	}
	if (ret)
		exmem_free_runs(&pages, EXMEM_CALLER_DEVICE);
out:
	/* Each run holds what it was charged; this is the rest. */
	exmem_uncharge(user, last - start + 1);
	free_uid(user);
	return ret;
}

/* Give @obj pages wherever it has none from @start to @last. */
static int exmem_grow(struct exmem_object *obj, unsigned long start, unsigned long last,
		      struct list_head *grown)
{
	struct interval_tree_span_iter span;
	int ret;

	if (RB_EMPTY_ROOT(&obj->runs.rb_root))
		return exmem_fill_hole(obj, start, last, grown);

	/* Filling a hole changes the tree: look for the next one anew. */
	for (;; start = span.last_used + 1) {
		interval_tree_span_iter_first(&span, &obj->runs, start, last);
		if (span.is_hole) {
			ret = exmem_fill_hole(obj, span.start_hole, span.last_hole, grown);
			if (ret)
				return ret;
		}
		if (span.last_used == last)
			return 0;
	}
}

/* Map what @run holds of @vma. */
static int exmem_map_run(struct exmem_run *run, struct vm_area_struct *vma)
{
	unsigned long start = max(run->offset.start, vma->vm_pgoff);
	unsigned long end = min(run->offset.last + 1, vma->vm_pgoff + vma_pages(vma));
	unsigned long addr = vma->vm_start + (start - vma->vm_pgoff) * PAGE_SIZE;
	unsigned long pfn = page_to_pfn(run->page) + (start - run->offset.start);
	int ret;

	/*
	 * The pages are RAM, and write-back: there is no memory type to look up
	 * for each, and none to keep track of.
	 */
	ret = remap_pfn_range_notrack(vma, addr, pfn, (end - start) * PAGE_SIZE,
				      vma->vm_page_prot);
	/*
	 * The caller gives pages back before mmap() would clean up what the
	 * runs before this one mapped, and other threads could reach them.
	 */
	if (ret && addr > vma->vm_start)
		zap_vma_ptes(vma, vma->vm_start, addr - vma->vm_start);
	return ret;
}

/* Map all of @vma, or nothing. */
static int exmem_map(struct exmem_object *obj, struct vm_area_struct *vma)
{
	unsigned long first = vma->vm_pgoff, last = first + vma_pages(vma) - 1;
	struct interval_tree_node *node;
	int ret;

	for (node = interval_tree_iter_first(&obj->runs, first, last); node;
	     node = interval_tree_iter_next(node, first, last)) {
		ret = exmem_map_run(container_of(node, struct exmem_run, offset), vma);
		if (ret)
			return ret;
	}
	return 0;
}

/* Everything is mapped by mmap(): what is not there now was dropped, SIGBUS. */
static const struct vm_operations_struct exmem_vm_ops = {
};

static void exmem_mapper_free(struct exmem_object *obj, struct exmem_mapper *mapper)
{
	list_del(&mapper->list);
	mmdrop(mapper->mm);
	mapper->mm = NULL;
	if (mapper != &obj->first_mapper)
		kfree(mapper);
}

/*
 * Note that @mm maps @obj. The mapping becomes known to unmap_mapping_pages()
 * only after ->mmap() has returned, but before mmap_lock is released.
 */
static int exmem_mapper_add(struct exmem_object *obj, struct mm_struct *mm)
{
	struct exmem_mapper *mapper, *next;

	list_for_each_entry_safe(mapper, next, &obj->mappers, list) {
		if (mapper->mm == mm)
			return 0;
		/* An address space that nobody has is not being mapped into. */
		if (!atomic_read(&mapper->mm->mm_users))
			exmem_mapper_free(obj, mapper);
	}

	mapper = &obj->first_mapper;
	if (mapper->mm)
		mapper = kmalloc(sizeof(*mapper), GFP_KERNEL_ACCOUNT);
	if (!mapper)
		return -ENOMEM;
	mmgrab(mm);
	mapper->mm = mm;
	list_add(&mapper->list, &obj->mappers);
	return 0;
}

/*
 * Wait for those who are in the middle of mapping @obj. obj->lock is held before
 * and after, but not all the time: it nests inside mmap_lock. Those who begin
 * meanwhile have to be waited for, too; who shares an object with processes that
 * map it all the time may have to wait long.
 */
static int exmem_wait_for_mappers(struct exmem_object *obj)
{
	struct exmem_mapper *mapper;
	int ret;

	lockdep_assert_held_write(&obj->mapping.invalidate_lock);

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
		exmem_mapper_free(obj, mapper);
	}
	return 0;
}

/**
 * exmem_file_mmap - map exclusive memory, taking what it takes from the pool
 * @file: file that exmem_file_open() made a memory object
 * @vma: where to map it
 *
 * Offsets of the object that have no page yet get one. If that fails, or
 * mapping them does, the object is as it was before.
 *
 * Context: ->mmap(), mmap_lock held for writing.
 * Return: 0, -EINVAL for a private mapping, -EPERM for an executable one,
 * -EAGAIN over RLIMIT_MEMLOCK, -ENOMEM, -EINTR if the task is being killed.
 */
int exmem_file_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long last = vma->vm_pgoff + vma_pages(vma) - 1;
	struct exmem_object *obj = file->private_data;
	struct exmem_run *run, *next;
	LIST_HEAD(grown);
	int ret;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;

	vm_flags_mod(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	vma->vm_ops = &exmem_vm_ops;

	/* A drop may have much to clear. */
	ret = mutex_lock_killable(&obj->lock);
	if (ret)
		return ret;
	ret = exmem_mapper_add(obj, vma->vm_mm);
	if (!ret)
		ret = exmem_grow(obj, vma->vm_pgoff, last, &grown);
	if (!ret)
		ret = exmem_map(obj, vma);
	list_for_each_entry_safe(run, next, &grown, list) {
		list_del(&run->list);
		if (ret)
			exmem_run_free(obj, run);
	}
	mutex_unlock(&obj->lock);
	return ret;
}

/* Take the pages from @first to @last out of @run; @spare becomes what is behind them. */
static void exmem_run_cut(struct exmem_object *obj, struct exmem_run *run, unsigned long first,
			  unsigned long last, struct exmem_run **spare)
{
	unsigned long nr, start = run->offset.start;
	struct page *page;

	first = max(first, start);
	last = min(last, run->offset.last);
	if (first == start && last == run->offset.last) {
		exmem_run_free(obj, run);
		return;
	}

	nr = last - first + 1;
	page = run->page + (first - start);
	interval_tree_remove(&run->offset, &obj->runs);
	if (first == start) {
		run->offset.start = last + 1;
		run->page = page + nr;
	} else {
		if (last < run->offset.last) {
			**spare = *run;
			(*spare)->offset.start = last + 1;
			(*spare)->page = page + nr;
			if (run->user)
				get_uid(run->user);
			interval_tree_insert(&(*spare)->offset, &obj->runs);
			*spare = NULL;
		}
		run->offset.last = first - 1;
	}
	interval_tree_insert(&run->offset, &obj->runs);
	exmem_free_pages(page, nr, EXMEM_CALLER_DEVICE);
	obj->nr_pages -= nr;
	exmem_uncharge(run->user, nr);
}

static void exmem_drop(struct exmem_object *obj, unsigned long first, unsigned long last,
		       struct exmem_run **spare)
{
	struct interval_tree_node *node;

	unmap_mapping_pages(&obj->mapping, first, last - first + 1, true);
	while ((node = interval_tree_iter_first(&obj->runs, first, last)))
		exmem_run_cut(obj, container_of(node, struct exmem_run, offset), first, last,
			      spare);
}

/**
 * exmem_file_drop - give back the pages of a range
 * @file: file that exmem_file_open() made a memory object
 * @first: offset of the first page
 * @last: offset of the last page
 *
 * Mappings of the range stay, but there is nothing behind them any more.
 *
 * Context: Process context, mmap_lock not held. May sleep.
 * Return: 0, -ENOMEM, or -EINTR if the task is being killed; nothing has changed
 * then.
 */
int exmem_file_drop(struct file *file, unsigned long first, unsigned long last)
{
	struct exmem_object *obj = file->private_data;
	/* Only a range inside of one run leaves more runs than there were. */
	struct exmem_run *spare = kmalloc(sizeof(*spare), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!spare)
		return -ENOMEM;

	ret = down_write_killable(&obj->mapping.invalidate_lock);
	if (ret)
		goto out;
	mutex_lock(&obj->lock);
	ret = exmem_wait_for_mappers(obj);
	if (!ret)
		exmem_drop(obj, first, last, &spare);
	mutex_unlock(&obj->lock);
	up_write(&obj->mapping.invalidate_lock);
out:
	kfree(spare);
	return ret;
}

/**
 * exmem_file_show_fdinfo - what /proc/PID/fdinfo/N tells of an object
 * @m: where to
 * @file: file that exmem_file_open() made a memory object
 *
 * Context: ->show_fdinfo().
 */
void exmem_file_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct exmem_object *obj = file->private_data;
	unsigned long pages, size = 0;
	struct rb_node *last;

	mutex_lock(&obj->lock);
	last = rb_last(&obj->runs.rb_root);
	if (last)
		size = rb_entry(last, struct exmem_run, offset.rb)->offset.last + 1;
	pages = obj->nr_pages;
	mutex_unlock(&obj->lock);

	seq_printf(m, "size:\t%llu\npages:\t%lu\n", (u64)size << PAGE_SHIFT, pages);
}

/**
 * exmem_file_open - make an open file a memory object of its own, empty
 * @inode: what was opened
 * @file: the file
 *
 * Each object has its own address_space, so that unmapping a range of one
 * never reaches the mappings of another.
 *
 * Context: ->open().
 * Return: 0, or -ENOMEM.
 */
int exmem_file_open(struct inode *inode, struct file *file)
{
	struct exmem_object *obj = kmalloc(sizeof(*obj), GFP_KERNEL_ACCOUNT);

	if (!obj)
		return -ENOMEM;

	mutex_init(&obj->lock);
	obj->runs = RB_ROOT_CACHED;
	obj->first_run.page = NULL;
	obj->nr_pages = 0;
	INIT_LIST_HEAD(&obj->mappers);
	obj->first_mapper.mm = NULL;
	address_space_init_once(&obj->mapping);
	init_rwsem(&obj->mapping.invalidate_lock);
	obj->mapping.host = inode;
	obj->mapping.a_ops = &empty_aops;
	obj->mapping.gfp_mask = GFP_USER;
	file->f_mapping = &obj->mapping;
	file->private_data = obj;
	return 0;
}

/**
 * exmem_file_release - give back all that a memory object owns
 * @inode: unused
 * @file: file that exmem_file_open() made a memory object
 *
 * Context: ->release(): no file descriptor and no mapping is left, and no CPU
 * can use a TLB entry for one any more.
 * Return: 0.
 */
int exmem_file_release(struct inode *inode, struct file *file)
{
	struct exmem_object *obj = file->private_data;
	struct exmem_mapper *mapper, *next;
	struct interval_tree_node *node;

	list_for_each_entry_safe(mapper, next, &obj->mappers, list)
		exmem_mapper_free(obj, mapper);
	while ((node = interval_tree_iter_first(&obj->runs, 0, ULONG_MAX)))
		exmem_run_free(obj, container_of(node, struct exmem_run, offset));

	file->f_mapping = inode->i_mapping;
	kfree(obj);
	return 0;
}
