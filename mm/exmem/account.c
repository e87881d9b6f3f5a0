// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: who pays for an object's pages.
 *
 * The creator of an object pays for all its pages, no matter who maps them: its user, by
 * RLIMIT_MEMLOCK, and its cgroup, by the resource "exmem" of the misc controller. Pages are
 * charged before they are allocated, and uncharged after they have been freed, so that
 * nobody holds more than the limits allow.
 *
 * All accounts are listed in debugfs.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/debugfs.h>
#include <linux/exmem.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/misc_cgroup.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/user_namespace.h>

#include "account.h"
#include "pool.h"

/**
 * struct exmem_account_list - accounts that were opened on one CPU
 * @lock: protects the list and @nr_opened
 * @accounts: the accounts, and cursors of those who read the list
 * @nr_opened: accounts ever opened
 */
struct exmem_account_list {
	spinlock_t lock;	/* see above */
	struct list_head accounts;
	u64 nr_opened;
};

static DEFINE_PER_CPU(struct exmem_account_list, exmem_account_lists);

/* In pages. No request can be larger. */
static unsigned long exmem_capacity __ro_after_init;

static struct ucounts *exmem_account_ucounts(const struct exmem_account *account)
{
	return account->file->f_cred->ucounts;
}

static bool exmem_exceeds_memlock(const struct exmem_account *account, unsigned long nr)
{
	unsigned long max = account->limit;
	struct ucounts *ucounts;

	/*
	 * The count is in pages, but the maximum of a user namespace, which is the
	 * RLIMIT_MEMLOCK of its creator, is in bytes: inc_rlimit_ucounts() compares the two.
	 */
	for (ucounts = exmem_account_ucounts(account); ucounts; ucounts = ucounts->ns->ucounts) {
		if (get_rlimit_value(ucounts, UCOUNT_RLIMIT_MEMLOCK) + nr > max)
			return true;
		max = get_userns_rlimit_max(ucounts->ns, UCOUNT_RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	}
	return false;
}

static bool exmem_over_memlock(const struct exmem_account *account, unsigned long nr)
{
	return exmem_exceeds_memlock(account, nr) &&
	       !file_ns_capable(account->file, &init_user_ns, CAP_IPC_LOCK);
}

static int exmem_charge_user(struct exmem_account *account, unsigned long nr)
{
	struct ucounts *ucounts = exmem_account_ucounts(account);

	inc_rlimit_ucounts(ucounts, UCOUNT_RLIMIT_MEMLOCK, nr);
	if (!exmem_over_memlock(account, 0))
		return 0;
	dec_rlimit_ucounts(ucounts, UCOUNT_RLIMIT_MEMLOCK, nr);
	return -EAGAIN;
}

/**
 * exmem_charge - charge pages to the creator of an object
 * @account: the object's account
 * @nr: number of pages, not 0
 *
 * Context: Process context.
 * Return: 0; -EAGAIN over RLIMIT_MEMLOCK of the creator or of the owner of a user namespace
 * above, unless the creator had CAP_IPC_LOCK, or over a limit of the misc controller;
 * -ENOMEM if the pool can never have so many pages.
 */
int exmem_charge(struct exmem_account *account, unsigned long nr)
{
	int ret;

	/* Otherwise others would meanwhile fail because of a charge that can't succeed. */
	if (exmem_over_memlock(account, nr))
		return -EAGAIN;
	if (nr > exmem_capacity) {
		exmem_count_failed_request();
		return -ENOMEM;
	}
	if (misc_cg_try_charge(MISC_CG_RES_EXMEM, account->cgroup, nr << PAGE_SHIFT))
		return -EAGAIN;
	ret = exmem_charge_user(account, nr);
	if (ret)
		misc_cg_uncharge(MISC_CG_RES_EXMEM, account->cgroup, nr << PAGE_SHIFT);
	else
		atomic_long_add(nr, &account->nr_pages);
	return ret;
}

/**
 * exmem_uncharge - undo exmem_charge() for some or all pages
 * @account: the object's account
 * @nr: number of pages
 *
 * Context: Any context.
 */
void exmem_uncharge(struct exmem_account *account, unsigned long nr)
{
	if (!nr)
		return;
	atomic_long_sub(nr, &account->nr_pages);
	dec_rlimit_ucounts(exmem_account_ucounts(account), UCOUNT_RLIMIT_MEMLOCK, nr);
	misc_cg_uncharge(MISC_CG_RES_EXMEM, account->cgroup, nr << PAGE_SHIFT);
}

/**
 * exmem_account_open - make the current task the one that pays for an object
 * @account: the object's account
 * @file: the object's file, which the current task has just opened; it has to stay until
 *	exmem_account_close()
 * @caller: the front end
 *
 * Context: Process context.
 */
void exmem_account_open(struct exmem_account *account, struct file *file, const char *caller)
{
	struct exmem_account_list *list;

	account->file = file;
	account->cgroup = get_current_misc_cg();
	account->limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	atomic_long_set(&account->nr_pages, 0);
	account->caller = caller;
	account->cpu = raw_smp_processor_id();

	list = per_cpu_ptr(&exmem_account_lists, account->cpu);
	spin_lock(&list->lock);
	account->id = ++list->nr_opened * nr_cpu_ids + account->cpu;
	list_add_tail(&account->list, &list->accounts);
	spin_unlock(&list->lock);
}

/**
 * exmem_account_close - undo exmem_account_open()
 * @account: the object's account, to which no page is charged
 *
 * Context: Process context.
 */
void exmem_account_close(struct exmem_account *account)
{
	struct exmem_account_list *list = per_cpu_ptr(&exmem_account_lists, account->cpu);

	WARN_ON_ONCE(atomic_long_read(&account->nr_pages));
	spin_lock(&list->lock);
	list_del(&account->list);
	spin_unlock(&list->lock);
	put_misc_cg(account->cgroup);
}

/**
 * struct exmem_cursor - how far a reader of the list has come
 * @place: in the list of @place.cpu, behind the accounts that have been read; @place.file is
 *	NULL, and @place.list is empty before the first account of the CPU
 * @id: of the account that was read last
 * @caller: its front end
 * @uid: the user that its pages are charged to
 * @cgroup: the ID of its cgroup
 * @nr_pages: its pages
 */
struct exmem_cursor {
	struct exmem_account place;
	u64 id;
	const char *caller;
	kuid_t uid;
	u64 cgroup;
	unsigned long nr_pages;
};

static u64 exmem_cgroup_id(const struct exmem_account *account)
{
#ifdef CONFIG_CGROUP_MISC
	return cgroup_id(account->cgroup->css.cgroup);
#else
	return 0;
#endif
}

static void exmem_cursor_read(struct exmem_cursor *cursor, const struct exmem_account *account)
{
	cursor->id = account->id;
	cursor->caller = account->caller;
	cursor->uid = exmem_account_ucounts(account)->uid;
	cursor->cgroup = exmem_cgroup_id(account);
	cursor->nr_pages = atomic_long_read(&account->nr_pages);
}

static bool exmem_cursor_next_in(struct exmem_cursor *cursor, struct exmem_account_list *list)
{
	struct exmem_account *account = &cursor->place;

	lockdep_assert_held(&list->lock);

	if (list_empty(&account->list))
		list_add(&account->list, &list->accounts);
	list_for_each_entry_continue(account, &list->accounts, list) {
		/* The cursors of other readers. */
		if (!account->file)
			continue;
		exmem_cursor_read(cursor, account);
		list_move(&cursor->place.list, &account->list);
		return true;
	}
	list_del_init(&cursor->place.list);
	return false;
}

static struct exmem_cursor *exmem_cursor_next(struct exmem_cursor *cursor)
{
	struct exmem_account_list *list;
	bool found = false;

	while (!found && cursor->place.cpu < nr_cpu_ids) {
		list = per_cpu_ptr(&exmem_account_lists, cursor->place.cpu);
		spin_lock(&list->lock);
		found = exmem_cursor_next_in(cursor, list);
		spin_unlock(&list->lock);
		if (!found)
			cursor->place.cpu = cpumask_next(cursor->place.cpu, cpu_possible_mask);
	}
	return found ? cursor : NULL;
}

static void exmem_cursor_reset(struct exmem_cursor *cursor)
{
	struct exmem_account_list *list;

	if (cursor->place.cpu < nr_cpu_ids) {
		list = per_cpu_ptr(&exmem_account_lists, cursor->place.cpu);
		spin_lock(&list->lock);
		list_del_init(&cursor->place.list);
		spin_unlock(&list->lock);
	}
	cursor->place.cpu = cpumask_first(cpu_possible_mask);
}

static void *exmem_accounts_start(struct seq_file *m, loff_t *pos)
{
	struct exmem_cursor *cursor = m->private;

	/* Reads are sequential: any other position is that of the last account. */
	if (*pos)
		return cursor->place.cpu < nr_cpu_ids ? cursor : NULL;
	exmem_cursor_reset(cursor);
	return SEQ_START_TOKEN;
}

static void *exmem_accounts_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return exmem_cursor_next(m->private);
}

static void exmem_accounts_stop(struct seq_file *m, void *v)
{
}

static int exmem_accounts_show(struct seq_file *m, void *v)
{
	struct exmem_cursor *cursor = v;

	if (v == SEQ_START_TOKEN)
		seq_puts(m, "object caller user cgroup pages\n");
	else
		seq_printf(m, "%llu %s %u %llu %lu\n", cursor->id, cursor->caller,
			   from_kuid_munged(seq_user_ns(m), cursor->uid), cursor->cgroup,
			   cursor->nr_pages);
	return 0;
}

static const struct seq_operations exmem_accounts_seq_ops = {
	.start	= exmem_accounts_start,
	.next	= exmem_accounts_next,
	.stop	= exmem_accounts_stop,
	.show	= exmem_accounts_show,
};

static int exmem_accounts_open(struct inode *inode, struct file *file)
{
	struct exmem_cursor *cursor = __seq_open_private(file, &exmem_accounts_seq_ops,
							 sizeof(*cursor));

	if (!cursor)
		return -ENOMEM;
	INIT_LIST_HEAD(&cursor->place.list);
	return 0;
}

static int exmem_accounts_release(struct inode *inode, struct file *file)
{
	struct seq_file *m = file->private_data;

	exmem_cursor_reset(m->private);
	return seq_release_private(inode, file);
}

static const struct file_operations exmem_accounts_fops = {
	.open		= exmem_accounts_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= exmem_accounts_release,
};

static int __init exmem_account_init(void)
{
	struct exmem_account_list *list;
	struct exmem_stats stats;
	int cpu;

	if (!exmem_enabled())
		return 0;

	for_each_possible_cpu(cpu) {
		list = per_cpu_ptr(&exmem_account_lists, cpu);
		spin_lock_init(&list->lock);
		INIT_LIST_HEAD(&list->accounts);
	}
	exmem_read_stats(exmem_pool_nodemask(), &stats);
	exmem_capacity = stats.total;
	misc_cg_set_capacity(MISC_CG_RES_EXMEM, (u64)exmem_capacity << PAGE_SHIFT);
	debugfs_create_file("objects", 0400, debugfs_create_dir("exmem", NULL), NULL,
			    &exmem_accounts_fops);
	return 0;
}
subsys_initcall(exmem_account_init);

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/account-kunit.h"
#endif
