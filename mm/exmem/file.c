// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: the memory object, a struct file that owns pages.
 *
 * Pages are taken from the pool when the file is mapped, and go back when the
 * last reference to the file dies; a mapping holds one. They are mapped as raw
 * pfns: nothing can take a reference to them, so get_user_pages() and all that
 * is built on it fail, by construction.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/init.h>
#include <linux/interval_tree.h>
#include <linux/list.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
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
	enum exmem_caller caller;	/* never changes */
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

/* See to it that no run reaches across @offset. */
static int exmem_split_runs(struct exmem_object *obj, unsigned long offset)
{
	struct interval_tree_node *node;
	struct exmem_run *run, *rest;

	node = interval_tree_iter_first(&obj->runs, offset, offset);
	if (!node || node->start == offset)
		return 0;

	rest = exmem_run_new(obj);
	if (!rest)
		return -ENOMEM;

	run = container_of(node, struct exmem_run, offset);
	interval_tree_remove(node, &obj->runs);
	*rest = *run;
	rest->page += offset - node->start;
	rest->offset.start = offset;
	node->last = offset - 1;
	if (rest->user)
		get_uid(rest->user);
	interval_tree_insert(node, &obj->runs);
	interval_tree_insert(&rest->offset, &obj->runs);
	return 0;
}

static void exmem_run_free(struct exmem_object *obj, struct exmem_run *run)
{
	unsigned long nr = exmem_run_pages(run);

	interval_tree_remove(&run->offset, &obj->runs);
	exmem_free_pages(run->page, nr, obj->caller);
	obj->nr_pages -= nr;
	exmem_uncharge(run->user, nr);
	free_uid(run->user);
	run->page = NULL;
	if (run != &obj->first_run)
		kfree(run);
}

/* Free all from @first to @last; no run reaches out of that. */
static void exmem_free_range(struct exmem_object *obj, unsigned long first, unsigned long last)
{
	struct interval_tree_node *node;

	while ((node = interval_tree_iter_first(&obj->runs, first, last)))
		exmem_run_free(obj, container_of(node, struct exmem_run, offset));
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

	ret = exmem_alloc_pages(last - start + 1, obj->caller, &pages);
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
		exmem_free_runs(&pages, obj->caller);
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

/* Map what @run holds of @vma's first @nr pages. */
static int exmem_map_run(struct exmem_run *run, struct vm_area_struct *vma, unsigned long nr)
{
	unsigned long start = max(run->offset.start, vma->vm_pgoff);
	unsigned long end = min(run->offset.last + 1, vma->vm_pgoff + nr);
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

/* Map the first @nr pages of @vma, or nothing. */
static int exmem_map(struct exmem_object *obj, struct vm_area_struct *vma, unsigned long nr)
{
	unsigned long first = vma->vm_pgoff, last = first + nr - 1;
	struct interval_tree_node *node;
	int ret;

	for (node = interval_tree_iter_first(&obj->runs, first, last); node;
	     node = interval_tree_iter_next(node, first, last)) {
		ret = exmem_map_run(container_of(node, struct exmem_run, offset), vma, nr);
		if (ret)
			return ret;
	}
	return 0;
}

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
 * only after ->mmap() has returned, but before mmap_lock is released. A drop
 * wants to know that, and only the device has one.
 */
static int exmem_mapper_add(struct exmem_object *obj, struct mm_struct *mm)
{
	struct exmem_mapper *mapper, *next;

	if (obj->caller != EXMEM_CALLER_DEVICE)
		return 0;

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

/* The request that added the runs in @grown is over: they stay, or go if @failed. */
static void exmem_grow_end(struct exmem_object *obj, struct list_head *grown, bool failed)
{
	struct exmem_run *run, *next;

	list_for_each_entry_safe(run, next, grown, list) {
		list_del(&run->list);
		if (failed)
			exmem_run_free(obj, run);
	}
}

/* Take what is missing of @vma's first @take pages, and map the first @map of them. */
static int exmem_populate(struct exmem_object *obj, struct vm_area_struct *vma,
			  unsigned long take, unsigned long map)
{
	LIST_HEAD(grown);
	int ret;

	ret = exmem_mapper_add(obj, vma->vm_mm);
	if (!ret)
		ret = exmem_grow(obj, vma->vm_pgoff, vma->vm_pgoff + take - 1, &grown);
	if (!ret && map)
		ret = exmem_map(obj, vma, map);
	exmem_grow_end(obj, &grown, ret);
	return ret;
}

/**
 * exmem_file_take - take pages from the pool before the file is mapped
 * @file: a memory object, empty
 * @nr: how many, from offset 0 on
 *
 * Context: Process context. May sleep.
 * Return: 0, -EAGAIN over RLIMIT_MEMLOCK, -ENOMEM; the object is empty then.
 */
int exmem_file_take(struct file *file, unsigned long nr)
{
	struct exmem_object *obj = file->private_data;
	LIST_HEAD(grown);
	int ret;

	mutex_lock(&obj->lock);
	ret = exmem_grow(obj, 0, nr - 1, &grown);
	exmem_grow_end(obj, &grown, ret);
	mutex_unlock(&obj->lock);
	return ret;
}

/**
 * exmem_file_mmap - map exclusive memory, taking what it takes from the pool
 * @file: a memory object
 * @vma: where to map it; its vm_ops are up to the caller
 * @take: how many of its pages to take, from its beginning, where the object has
 *	none yet
 * @map: how many of those to map now
 *
 * If this fails, the object is as it was before.
 *
 * Context: ->mmap(), mmap_lock held for writing.
 * Return: 0, -EINVAL for a private mapping, -EPERM for an executable one,
 * -EAGAIN over RLIMIT_MEMLOCK, -ENOMEM, -EINTR if the task is being killed.
 */
int exmem_file_mmap(struct file *file, struct vm_area_struct *vma, unsigned long take,
		    unsigned long map)
{
	struct exmem_object *obj = file->private_data;
	int ret;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;

	vm_flags_mod(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	if (!take)
		return 0;

	/* A drop may have much to clear. */
	ret = mutex_lock_killable(&obj->lock);
	if (ret)
		return ret;
	ret = exmem_populate(obj, vma, take, map);
	mutex_unlock(&obj->lock);
	return ret;
}

/**
 * exmem_file_fault - map a page that was taken by mmap(), but not mapped
 * @vmf: what is to be mapped
 *
 * Context: ->fault().
 * Return: VM_FAULT_NOPAGE; VM_FAULT_SIGBUS if the object has no such page;
 * VM_FAULT_OOM if there is no memory for a page table.
 */
vm_fault_t exmem_file_fault(struct vm_fault *vmf)
{
	struct exmem_object *obj = vmf->vma->vm_file->private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct interval_tree_node *node;
	struct page *page;

	mutex_lock(&obj->lock);
	node = interval_tree_iter_first(&obj->runs, vmf->pgoff, vmf->pgoff);
	if (node) {
		page = container_of(node, struct exmem_run, offset)->page;
		ret = vmf_insert_pfn(vmf->vma, vmf->address,
				     page_to_pfn(page) + (vmf->pgoff - node->start));
	}
	mutex_unlock(&obj->lock);
	return ret;
}

/**
 * exmem_file_split - get ready for a mapping that ends inside of another
 * @vma: mapping of an object that exmem_file_unmapped() looks after
 * @addr: where @vma is going to be split
 *
 * Context: ->may_split(), mmap_lock held for writing.
 * Return: 0, or -ENOMEM.
 */
int exmem_file_split(struct vm_area_struct *vma, unsigned long addr)
{
	struct exmem_object *obj = vma->vm_file->private_data;
	int ret;

	mutex_lock(&obj->lock);
	ret = exmem_split_runs(obj, linear_page_index(vma, addr));
	mutex_unlock(&obj->lock);
	return ret;
}

/* Does any mapping show a part of @run? */
static bool exmem_run_mapped(struct exmem_object *obj, const struct exmem_run *run)
{
	bool mapped;

	i_mmap_lock_read(&obj->mapping);
	mapped = vma_interval_tree_iter_first(&obj->mapping.i_mmap, run->offset.start,
					      run->offset.last);
	i_mmap_unlock_read(&obj->mapping);
	return mapped;
}

/**
 * exmem_file_unmapped - give back the pages that no mapping shows any more
 * @vma: mapping that is gone
 *
 * For objects that nobody can map anew. The mappings of such an object overlap
 * for as long as mremap() takes, which makes the new one before it removes the
 * old; and for longer if it can't remove the old one. No run reaches across the
 * border of a mapping: exmem_file_split() has seen to that.
 *
 * Context: ->close(): @vma is not in i_mmap any more, its pages are not mapped,
 * and no CPU can use a TLB entry for one.
 */
void exmem_file_unmapped(struct vm_area_struct *vma)
{
	unsigned long first = vma->vm_pgoff, last = first + vma_pages(vma) - 1;
	struct exmem_object *obj = vma->vm_file->private_data;
	struct interval_tree_node *node, *next;

	mutex_lock(&obj->lock);
	for (node = interval_tree_iter_first(&obj->runs, first, last); node; node = next) {
		struct exmem_run *run = container_of(node, struct exmem_run, offset);

		next = interval_tree_iter_next(node, first, last);
		if (!exmem_run_mapped(obj, run))
			exmem_run_free(obj, run);
	}
	mutex_unlock(&obj->lock);
}

/**
 * exmem_object_trim - give back the pages behind the end
 * @obj: a memory object
 * @nr: how many pages it keeps, from offset 0 on
 *
 * For pages that are mapped nowhere. If there is no memory to cut a run in two,
 * they all stay, until the object goes.
 *
 * Context: Process context. May sleep.
 */
void exmem_object_trim(struct exmem_object *obj, unsigned long nr)
{
	mutex_lock(&obj->lock);
	if (!exmem_split_runs(obj, nr))
		exmem_free_range(obj, nr, ULONG_MAX);
	mutex_unlock(&obj->lock);
}

/* @first and @last: whole runs can be freed, or else nothing has changed. */
static int exmem_drop(struct exmem_object *obj, unsigned long first, unsigned long last)
{
	int ret = exmem_split_runs(obj, first);

	if (!ret)
		ret = exmem_split_runs(obj, last + 1);
	if (ret)
		return ret;

	unmap_mapping_pages(&obj->mapping, first, last - first + 1, true);
	exmem_free_range(obj, first, last);
	return 0;
}

/**
 * exmem_file_drop - give back the pages of a range
 * @file: a memory object
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
	int ret;

	ret = down_write_killable(&obj->mapping.invalidate_lock);
	if (ret)
		return ret;
	mutex_lock(&obj->lock);
	ret = exmem_wait_for_mappers(obj);
	if (!ret)
		ret = exmem_drop(obj, first, last);
	mutex_unlock(&obj->lock);
	up_write(&obj->mapping.invalidate_lock);
	return ret;
}

/**
 * exmem_file_show_fdinfo - what /proc/PID/fdinfo/N tells of an object
 * @m: where to
 * @file: a memory object
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
 * exmem_object_new - make a memory object, empty
 * @caller: the front end that its pages are taken for
 *
 * Context: Process context. May sleep.
 * Return: the object, for exmem_object_attach() or kfree(), or NULL.
 */
struct exmem_object *exmem_object_new(enum exmem_caller caller)
{
	struct exmem_object *obj = kmalloc(sizeof(*obj), GFP_KERNEL_ACCOUNT);

	if (!obj)
		return NULL;

	mutex_init(&obj->lock);
	obj->runs = RB_ROOT_CACHED;
	obj->first_run.page = NULL;
	obj->nr_pages = 0;
	obj->caller = caller;
	INIT_LIST_HEAD(&obj->mappers);
	obj->first_mapper.mm = NULL;
	address_space_init_once(&obj->mapping);
	init_rwsem(&obj->mapping.invalidate_lock);
	obj->mapping.a_ops = &empty_aops;
	obj->mapping.gfp_mask = GFP_USER;
	return obj;
}

/**
 * exmem_object_attach - make a file a memory object
 * @obj: what exmem_object_new() made, and exmem_file_release() is going to free
 * @file: the file
 *
 * Each object has its own address_space, so that unmapping a range of one
 * never reaches the mappings of another.
 */
void exmem_object_attach(struct exmem_object *obj, struct file *file)
{
	obj->mapping.host = file_inode(file);
	file->f_mapping = &obj->mapping;
	file->private_data = obj;
}

/* Where files are that no device node stands for. */
static struct vfsmount *exmem_mnt __ro_after_init;

static struct file *exmem_file_make(const char *class, const char *name,
				    const struct file_operations *fops)
{
	struct inode *inode;
	struct file *file;

	if (IS_ERR(exmem_mnt))
		return ERR_CAST(exmem_mnt);
	inode = anon_inode_make_secure_inode(exmem_mnt->mnt_sb, class, NULL);
	if (IS_ERR(inode))
		return ERR_CAST(inode);
	file = alloc_file_pseudo(inode, exmem_mnt, name, O_RDWR, fops);
	if (IS_ERR(file))
		iput(inode);
	return file;
}

/**
 * exmem_file_new - make a file that is a memory object, with an inode of its own
 * @class: what security modules know such files by
 * @name: what /proc calls it
 * @fops: its operations, exmem_file_release() among them
 * @caller: the front end that its pages are taken for
 *
 * What is not executable here is refused by mmap() itself, before it unmaps
 * anything. Nor does PROT_READ imply PROT_EXEC for those who had it so.
 *
 * Context: Process context. May sleep.
 * Return: the file, -ENFILE, -ENOMEM, or what a security module has to say.
 */
struct file *exmem_file_new(const char *class, const char *name,
			    const struct file_operations *fops, enum exmem_caller caller)
{
	struct exmem_object *obj = exmem_object_new(caller);
	struct file *file;

	if (!obj)
		return ERR_PTR(-ENOMEM);
	file = exmem_file_make(class, name, fops);
	if (IS_ERR(file))
		kfree(obj);
	else
		exmem_object_attach(obj, file);
	return file;
}

/**
 * exmem_file_release - give back all that a memory object owns
 * @inode: what the file was opened on
 * @file: a memory object
 *
 * Context: ->release(): no file descriptor and no mapping is left, and no CPU
 * can use a TLB entry for one any more.
 * Return: 0.
 */
int exmem_file_release(struct inode *inode, struct file *file)
{
	struct exmem_object *obj = file->private_data;
	struct exmem_mapper *mapper, *next;

	list_for_each_entry_safe(mapper, next, &obj->mappers, list)
		exmem_mapper_free(obj, mapper);
	exmem_free_range(obj, 0, ULONG_MAX);

	file->f_mapping = inode->i_mapping;
	kfree(obj);
	return 0;
}

/* One superblock for all: it says what memfd_secret() has always said. */
static int exmem_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, SECRETMEM_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type exmem_fs = {
	.name			= "exmem",
	.init_fs_context	= exmem_init_fs_context,
	.kill_sb		= kill_anon_super,
};

static int __init exmem_file_init(void)
{
	if (nodes_empty(exmem_pool_nodes))
		return 0;
	exmem_mnt = kern_mount(&exmem_fs);
	if (IS_ERR(exmem_mnt))
		return PTR_ERR(exmem_mnt);
	exmem_mnt->mnt_flags |= MNT_NOEXEC;
	return 0;
}
fs_initcall(exmem_file_init);
