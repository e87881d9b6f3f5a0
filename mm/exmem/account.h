/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: charging. */
#ifndef _MM_EXMEM_ACCOUNT_H
#define _MM_EXMEM_ACCOUNT_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/types.h>

struct file;
struct misc_cg;

/**
 * struct exmem_account - the creator of an object, to whom its pages are charged
 * @file: the object's file, opened with the creator's credentials
 * @cgroup: the creator's cgroup, for the misc controller
 * @limit: RLIMIT_MEMLOCK of the creator, in pages
 * @nr_pages: pages charged
 * @caller: the front end
 * @id: unique until the next boot
 * @cpu: the CPU whose list has this account
 * @list: links the accounts that were opened on @cpu
 *
 * Only @nr_pages and @list change until the account is closed.
 */
struct exmem_account {
	struct file *file;
	struct misc_cg *cgroup;
	unsigned long limit;
	atomic_long_t nr_pages;
	const char *caller;
	u64 id;
	int cpu;
	struct list_head list;
};

void exmem_account_open(struct exmem_account *account, struct file *file, const char *caller);
void exmem_account_close(struct exmem_account *account);
int exmem_charge(struct exmem_account *account, unsigned long nr);
void exmem_uncharge(struct exmem_account *account, unsigned long nr);

#endif /* _MM_EXMEM_ACCOUNT_H */
