/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unit tests for accounts; included by account.c.
 *
 * They run at boot, while there are no other accounts. The creator is a user in a user
 * namespace.
 */
#include "exmem-kunit.h"

#define EXMEM_TEST_PAGES	8

/**
 * struct exmem_test_creator - an account, and all that its creator consists of
 * @account: the account
 * @file: the object's file
 * @cred: the creator's credentials
 * @ucounts: the creator's counts in @ns
 * @ns: the user namespace
 * @owner: the counts of its owner
 */
struct exmem_test_creator {
	struct exmem_account account;
	struct file file;
	struct cred cred;
	struct ucounts ucounts;
	struct user_namespace ns;
	struct ucounts owner;
};

static void exmem_test_open(struct exmem_test_creator *creator)
{
	creator->owner.ns = &init_user_ns;
	creator->ns.ucounts = &creator->owner;
	creator->ns.level = 1;
	creator->ns.parent = &init_user_ns;
	creator->ucounts.ns = &creator->ns;
	/* Security modules need the rest. */
	creator->cred = *current_cred();
	cap_clear(creator->cred.cap_effective);
	creator->cred.ucounts = &creator->ucounts;
	creator->cred.user_ns = &creator->ns;
	creator->file.f_cred = &creator->cred;
	set_userns_rlimit_max(&creator->ns, UCOUNT_RLIMIT_MEMLOCK, RLIM_INFINITY);
	exmem_account_open(&creator->account, &creator->file, "kunit");
	creator->account.limit = EXMEM_TEST_PAGES;
}

static void exmem_test_expect_charged(struct kunit *test, struct exmem_test_creator *creator,
				      long nr)
{
	KUNIT_EXPECT_EQ(test, atomic_long_read(&creator->account.nr_pages), nr);
	KUNIT_EXPECT_EQ(test, get_rlimit_value(&creator->ucounts, UCOUNT_RLIMIT_MEMLOCK), nr);
	KUNIT_EXPECT_EQ(test, get_rlimit_value(&creator->owner, UCOUNT_RLIMIT_MEMLOCK), nr);
#ifdef CONFIG_CGROUP_MISC
	KUNIT_EXPECT_EQ(test, atomic64_read(&creator->account.cgroup->res[MISC_CG_RES_EXMEM].usage),
			nr << PAGE_SHIFT);
#endif
}

static void exmem_test_creators_limit(struct kunit *test)
{
	struct exmem_test_creator *creator = test->priv;
	struct exmem_account *account = &creator->account;

	KUNIT_EXPECT_EQ(test, exmem_charge(account, EXMEM_TEST_PAGES + 1), -EAGAIN);
	exmem_test_expect_charged(test, creator, 0);
	KUNIT_EXPECT_EQ(test, exmem_charge(account, EXMEM_TEST_PAGES), 0);
	exmem_test_expect_charged(test, creator, EXMEM_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, exmem_charge(account, 1), -EAGAIN);
	exmem_uncharge(account, 3);
	KUNIT_EXPECT_EQ(test, exmem_charge(account, 4), -EAGAIN);
	exmem_test_expect_charged(test, creator, EXMEM_TEST_PAGES - 3);
	KUNIT_EXPECT_EQ(test, exmem_charge(account, 3), 0);
	exmem_uncharge(account, EXMEM_TEST_PAGES);
	exmem_test_expect_charged(test, creator, 0);
}

/* The owner of a user namespace pays, too. Its limit is in bytes. */
static void exmem_test_owners_limit(struct kunit *test)
{
	struct exmem_test_creator *creator = test->priv;
	struct exmem_account *account = &creator->account;

	account->limit = ULONG_MAX >> PAGE_SHIFT;
	set_userns_rlimit_max(&creator->ns, UCOUNT_RLIMIT_MEMLOCK, EXMEM_TEST_PAGES * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, exmem_charge(account, EXMEM_TEST_PAGES + 1), -EAGAIN);
	exmem_test_expect_charged(test, creator, 0);
	KUNIT_EXPECT_EQ(test, exmem_charge(account, EXMEM_TEST_PAGES), 0);
	exmem_test_expect_charged(test, creator, EXMEM_TEST_PAGES);
	exmem_uncharge(account, EXMEM_TEST_PAGES);

	/* Other users of the owner. */
	inc_rlimit_ucounts(&creator->owner, UCOUNT_RLIMIT_MEMLOCK, 5);
	KUNIT_EXPECT_EQ(test, exmem_charge(account, EXMEM_TEST_PAGES - 4), -EAGAIN);
	KUNIT_EXPECT_EQ(test, exmem_charge(account, EXMEM_TEST_PAGES - 5), 0);
	exmem_uncharge(account, EXMEM_TEST_PAGES - 5);
	dec_rlimit_ucounts(&creator->owner, UCOUNT_RLIMIT_MEMLOCK, 5);
	exmem_test_expect_charged(test, creator, 0);
}

/* CAP_IPC_LOCK counts in the initial namespace only. The pages are charged all the same. */
static void exmem_test_exempt(struct kunit *test)
{
	struct exmem_test_creator *creator = test->priv;
	struct exmem_account *account = &creator->account;

	cap_raise(creator->cred.cap_effective, CAP_IPC_LOCK);
	KUNIT_EXPECT_EQ(test, exmem_charge(account, EXMEM_TEST_PAGES + 1), -EAGAIN);
	creator->cred.user_ns = &init_user_ns;
	KUNIT_EXPECT_EQ(test, exmem_charge(account, EXMEM_TEST_PAGES + 1), 0);
	exmem_test_expect_charged(test, creator, EXMEM_TEST_PAGES + 1);
	exmem_uncharge(account, EXMEM_TEST_PAGES + 1);

	KUNIT_EXPECT_EQ(test, exmem_charge(account, exmem_capacity + 1), -ENOMEM);
	exmem_test_expect_charged(test, creator, 0);
}

static struct exmem_test_creator *exmem_test_opened(struct kunit *test)
{
	struct exmem_test_creator *creator = kunit_kzalloc(test, sizeof(*creator), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, creator);
	exmem_test_open(creator);
	return creator;
}

static void exmem_test_expect_next(struct kunit *test, struct exmem_cursor *cursor,
				   struct exmem_test_creator *creator)
{
	KUNIT_ASSERT_NOT_NULL(test, exmem_cursor_next(cursor));
	KUNIT_EXPECT_EQ(test, cursor->id, creator->account.id);
	KUNIT_EXPECT_EQ(test, cursor->nr_pages, atomic_long_read(&creator->account.nr_pages));
}

/* A reader sees each account once, even if the one it has just read is closed. */
static void exmem_test_list(struct kunit *test)
{
	struct exmem_test_creator *first = test->priv, *second, *third;
	struct exmem_cursor cursor = {}, other = {};

	/* Accounts that are opened on different CPUs are in different lists. */
	migrate_disable();
	exmem_account_close(&first->account);
	exmem_test_open(first);
	second = exmem_test_opened(test);
	third = exmem_test_opened(test);
	migrate_enable();
	KUNIT_EXPECT_NE(test, first->account.id, second->account.id);
	KUNIT_EXPECT_EQ(test, exmem_charge(&second->account, 3), 0);

	INIT_LIST_HEAD(&cursor.place.list);
	INIT_LIST_HEAD(&other.place.list);
	exmem_cursor_reset(&cursor);
	exmem_cursor_reset(&other);
	exmem_test_expect_next(test, &cursor, first);
	exmem_test_expect_next(test, &other, first);
	exmem_test_expect_next(test, &cursor, second);
	exmem_uncharge(&second->account, 3);
	exmem_account_close(&second->account);
	exmem_test_expect_next(test, &other, third);
	exmem_test_expect_next(test, &cursor, third);
	KUNIT_EXPECT_NULL(test, exmem_cursor_next(&cursor));
	exmem_cursor_reset(&other);
	exmem_test_expect_next(test, &other, first);
	exmem_cursor_reset(&other);
	exmem_account_close(&third->account);
}

static int exmem_test_account_init(struct kunit *test)
{
	if (!exmem_enabled())
		kunit_skip(test, "needs a pool");
	test->priv = exmem_test_opened(test);
	return 0;
}

static void exmem_test_account_exit(struct kunit *test)
{
	struct exmem_test_creator *creator = test->priv;

	if (creator)
		exmem_account_close(&creator->account);
}

static struct kunit_case exmem_test_account_cases[] = {
	KUNIT_CASE(exmem_test_creators_limit),
	KUNIT_CASE(exmem_test_owners_limit),
	KUNIT_CASE(exmem_test_exempt),
	KUNIT_CASE(exmem_test_list),
	{}
};

static struct kunit_suite exmem_test_account_suite = {
	.name = "exmem_account",
	.init = exmem_test_account_init,
	.exit = exmem_test_account_exit,
	.test_cases = exmem_test_account_cases,
};

kunit_test_suite(exmem_test_account_suite);
