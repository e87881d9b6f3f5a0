// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: charging.
 *
 * All pages of an object are charged to its creator, no matter which process maps them: to
 * the creator's user, by RLIMIT_MEMLOCK, and to the creator's cgroup, by the resource
 * "exmem" of the misc controller. Pages are charged before they are allocated, and uncharged
 * after they have been freed, so that nobody holds more than the limits allow.
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
 * @accounts: the accounts, and cursors of readers
 * @nr_opened: number of accounts opened since boot
 */
struct exmem_account_list {
	spinlock_t lock;	/* see above */
	struct list_head accounts;
	u64 nr_opened;
};

static DEFINE_PER_CPU(struct exmem_account_list, exmem_account_lists);

/* Size of the pool, in pages. A larger request always fails. */
static unsigned long exmem_capacity __ro_after_init;

/* Held from the comparison with RLIMIT_MEMLOCK until the pages are counted. */
static DEFINE_SPINLOCK(exmem_memlock_lock);

static struct ucounts *exmem_account_ucounts(const struct exmem_account *account)
{
	return account->file->f_cred->ucounts;
}

static bool exmem_exceeds_memlock(const struct exmem_account *account, unsigned long nr)
{
	unsigned long max = account->limit;
	struct ucounts *ucounts;

	/*
	 * The count is in pages. The maximum of a user namespace is the RLIMIT_MEMLOCK of its
	 * creator, in bytes. inc_rlimit_ucounts() compares the two as they are.
	 */
	for (ucounts = exmem_account_ucounts(account); ucounts; ucounts = ucounts->ns->ucounts) {
		if (get_rlimit_value(ucounts, UCOUNT_RLIMIT_MEMLOCK) + nr > max)
			return true;
		max = get_userns_rlimit_max(ucounts->ns, UCOUNT_RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	}
	return false;
}

static bool exmem_try_charge_user(struct exmem_account *account, unsigned long nr, bool exempt)
{
	bool charged;

	spin_lock(&exmem_memlock_lock);
	charged = exempt || !exmem_exceeds_memlock(account, nr);
	if (charged)
		inc_rlimit_ucounts(exmem_account_ucounts(account), UCOUNT_RLIMIT_MEMLOCK, nr);
	spin_unlock(&exmem_memlock_lock);
	return charged;
}

/* Security modules log a denial: do not ask unless a limit is exceeded. */
static bool exmem_exempt(const struct exmem_account *account)
{
	return file_ns_capable(account->file, &init_user_ns, CAP_IPC_LOCK);
}

static bool exmem_charge_user(struct exmem_account *account, unsigned long nr)
{
	return exmem_try_charge_user(account, nr, false) ||
	       (exmem_exempt(account) && exmem_try_charge_user(account, nr, true));
}

static void exmem_uncharge_user(struct exmem_account *account, unsigned long nr)
{
	dec_rlimit_ucounts(exmem_account_ucounts(account), UCOUNT_RLIMIT_MEMLOCK, nr);
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
	if (nr > exmem_capacity)
		return exmem_exceeds_memlock(account, nr) && !exmem_exempt(account) ? -EAGAIN :
										      -ENOMEM;
	if (!exmem_charge_user(account, nr))
		return -EAGAIN;
	if (misc_cg_try_charge(MISC_CG_RES_EXMEM, account->cgroup, nr << PAGE_SHIFT)) {
		exmem_uncharge_user(account, nr);
		return -EAGAIN;
	}
	atomic_long_add(nr, &account->nr_pages);
	return 0;
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
	exmem_uncharge_user(account, nr);
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
 * struct exmem_cursor - place of a reader in the lists
 * @place: follows the account that was read last, in the list of @place.cpu; @place.file is
 *	NULL; @place.list is empty until an account of this CPU has been read
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

	/* seq_file resumes where it stopped: at the account that was read last. */
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
