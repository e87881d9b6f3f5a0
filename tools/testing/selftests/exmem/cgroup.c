// SPDX-License-Identifier: GPL-2.0-only
/*
 * The resource "exmem" of the misc cgroup controller: the cgroup of an object's creator pays for
 * its pages, whoever maps them, until they are freed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <time.h>

#include "actor.h"
#include "cgroup.h"
#include "objects.h"
#include "../kselftest_harness.h"

#define USER	4711

#define MINE	CGROUP_TOP "/exmem-selftest"

/* A cgroup for the test, and two in it. */
static const char * const groups[] = { MINE, MINE "/a", MINE "/b" };

#define PARENT	groups[0]
#define A	groups[1]
#define B	groups[2]

#define MAX	1000

static long group_value(const char *group, const char *file, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	return named_value(path, name);
}

/* In pages; -1 if there is a part of a page. */
static long group_pages(const char *group, const char *file)
{
	long bytes = group_value(group, file, "exmem");

	return bytes % (long)PAGE ? -1 : bytes / (long)PAGE;
}

static long charged(const char *group)
{
	return group_pages(group, "misc.current");
}

/* How often a request failed because of the limit of the cgroup. */
static long refusals(const char *group)
{
	return group_value(group, "misc.events.local", "exmem.max");
}

static bool set_max(const char *group, long pages)
{
	char text[64];

	snprintf(text, sizeof(text), "exmem %ld", pages * PAGE);
	return cgroup_put(group, "misc.max", text);
}

static bool move_to(const char *group, const struct actor *actor)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", actor->pid);
	return cgroup_put(group, "cgroup.procs", text);
}

static bool start_in(const char *group, struct actor *actor)
{
	return actor_start(actor) > 0 && move_to(group, actor);
}

static void remove_groups(void)
{
	int i;

	for (i = ARRAY_SIZE(groups) - 1; i >= 0; i--)
		rmdir(groups[i]);
}

static bool make_groups(void)
{
	remove_groups();
	return !mkdir(PARENT, 0755) && cgroup_put(PARENT, "cgroup.subtree_control", "+misc") &&
	       !mkdir(A, 0755) && !mkdir(B, 0755);
}

TEST(absent_without_a_pool)
{
	const char *missing;

	if (exmem_total() > 0)
		SKIP(return, "there is a pool");
	if (geteuid())
		SKIP(return, "needs root");
	missing = cgroup_mount();
	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_TRUE(make_groups());
	EXPECT_FALSE(file_contains(CGROUP_TOP "/misc.capacity", "exmem"));
	EXPECT_FALSE(file_contains(MINE "/misc.max", "exmem"));
	EXPECT_FALSE(file_contains(MINE "/misc.current", "exmem"));
	EXPECT_FALSE(set_max(A, 1));
	remove_groups();
	cgroup_unmount();
}

FIXTURE(cgroup)
{
	struct actor a, b;	/* in the cgroups */
	long usable;
};

FIXTURE_VARIANT(cgroup)
{
	enum exmem_front front;
};

FIXTURE_VARIANT_ADD(cgroup, device) { .front = EXMEM_FRONT_DEVICE };
FIXTURE_VARIANT_ADD(cgroup, map_exclusive) { .front = EXMEM_FRONT_MMAP };
FIXTURE_VARIANT_ADD(cgroup, memfd_secret) { .front = EXMEM_FRONT_SECRETMEM };

FIXTURE_SETUP(cgroup)
{
	const char *missing = exmem_front_missing(variant->front, 8 * MAX);

	if (!missing)
		missing = cgroup_mount();
	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_TRUE(make_groups());
	ASSERT_TRUE(start_in(A, &self->a));
	ASSERT_TRUE(start_in(B, &self->b));
}

FIXTURE_TEARDOWN(cgroup)
{
	actor_kill(&self->a);
	actor_kill(&self->b);
	remove_groups();
	cgroup_unmount();
	chmod(EXMEM_DEV, 0600);
}

TEST_F(cgroup, files)
{
	char text[64] = "";
	int fd = open(MINE "/a/misc.max", O_RDONLY);

	EXPECT_EQ(group_pages(CGROUP_TOP, "misc.capacity"), exmem_total());
	EXPECT_EQ(access(MINE "/misc.capacity", F_OK), -1);
	EXPECT_GT(read(fd, text, sizeof(text) - 1), 0);
	EXPECT_NE(strstr(text, "exmem max\n"), NULL);
	close(fd);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(group_pages(A, "misc.peak"), 0);
	EXPECT_EQ(group_value(A, "misc.events", "exmem.max"), 0);
	EXPECT_EQ(refusals(A), 0);
	ASSERT_TRUE(set_max(A, MAX));
	EXPECT_EQ(group_pages(A, "misc.max"), MAX);
	EXPECT_FALSE(cgroup_put(A, "misc.max", "exmem -1"));
	EXPECT_TRUE(cgroup_put(A, "misc.max", "exmem max"));
}

/* Over the limit: EAGAIN, one event, and nothing kept, also for root. */
TEST_F(cgroup, limit)
{
	struct actor *a = &self->a;

	ASSERT_TRUE(set_max(A, MAX));
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, MAX + 1), -EAGAIN);
	EXPECT_EQ(used(), 0);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(group_pages(A, "misc.peak"), 0);
	EXPECT_EQ(refusals(A), 1);
	EXPECT_EQ(group_value(A, "misc.events", "exmem.max"), 1);
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, MAX), 0);
	EXPECT_EQ(used(), MAX);
	EXPECT_EQ(charged(A), MAX);
	EXPECT_EQ(group_pages(A, "misc.peak"), MAX);
	EXPECT_EQ(refusals(A), 1);
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, 1), -EAGAIN);
	EXPECT_EQ(refusals(A), 2);
	EXPECT_EQ(used(), MAX);
	EXPECT_EQ(charged(A), MAX);
	/* Another cgroup is not affected, and all count for the parent. */
	EXPECT_EQ(ask(&self->b, act_open_and_map, variant->front, MAX + 1), 0);
	EXPECT_EQ(charged(B), MAX + 1);
	EXPECT_EQ(charged(PARENT), 2 * MAX + 1);
	EXPECT_EQ(refusals(B), 0);
	actor_stop(a);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(group_pages(A, "misc.peak"), MAX);
	EXPECT_EQ(charged(PARENT), MAX + 1);
}

/* None at all, or less than is in use: what there is stays. */
TEST_F(cgroup, limit_below)
{
	struct actor *a = &self->a;

	ASSERT_TRUE(set_max(A, 0));
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, 1), -EAGAIN);
	ASSERT_TRUE(cgroup_put(A, "misc.max", "exmem 4095"));
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, 1), -EAGAIN);
	EXPECT_EQ(used(), 0);
	ASSERT_TRUE(set_max(A, MAX));
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, MAX), 0);
	ASSERT_TRUE(set_max(A, 10));
	EXPECT_EQ(charged(A), MAX);
	EXPECT_EQ(used(), MAX);
	if (has_fd())
		EXPECT_EQ(ask(a, act_map, variant->front, MAX), 0);
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, 1), -EAGAIN);
	actor_stop(a);
	ASSERT_TRUE(start_in(A, a));
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, 11), -EAGAIN);
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, 10), 0);
}

/* The limit of a parent binds its children together. */
TEST_F(cgroup, hierarchy)
{
	ASSERT_TRUE(set_max(PARENT, MAX));
	EXPECT_EQ(ask(&self->a, act_open_and_map, variant->front, MAX + 1), -EAGAIN);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(charged(PARENT), 0);
	EXPECT_EQ(refusals(PARENT), 1);
	EXPECT_EQ(ask(&self->a, act_open_and_map, variant->front, MAX - 100), 0);
	EXPECT_EQ(ask(&self->b, act_open_and_map, variant->front, 101), -EAGAIN);
	EXPECT_EQ(refusals(PARENT), 2);
	EXPECT_EQ(refusals(A), 0);
	EXPECT_EQ(charged(B), 0);
	EXPECT_EQ(charged(PARENT), MAX - 100);
	EXPECT_EQ(ask(&self->b, act_open_and_map, variant->front, 100), 0);
	EXPECT_EQ(charged(PARENT), MAX);
	/* A child's own limit is asked first, and its parent knows nothing of that. */
	ASSERT_TRUE(set_max(B, 100));
	EXPECT_EQ(ask(&self->b, act_open_and_map, variant->front, 1), -EAGAIN);
	EXPECT_EQ(refusals(B), 1);
	EXPECT_EQ(refusals(PARENT), 2);
	EXPECT_EQ(charged(PARENT), MAX);
}

/* Another cgroup's process maps an object: its creator's cgroup pays, and its limit binds. */
TEST_F(cgroup, creator_pays)
{
	struct actor *a = &self->a, *b = &self->b;

	if (!has_fd())
		SKIP(return, "n/a: no descriptor to pass");
	ASSERT_TRUE(set_max(A, MAX));
	ASSERT_TRUE(set_max(B, 10));
	ASSERT_EQ(ask(a, act_open, variant->front, 2 * MAX), 0);
	ASSERT_TRUE(pass_object(a, b));
	EXPECT_EQ(ask(b, act_map_part, 0, MAX + 1), -EAGAIN);
	EXPECT_EQ(refusals(A), 1);
	EXPECT_EQ(refusals(B), 0);
	EXPECT_EQ(used(), 0);
	EXPECT_EQ(ask(b, act_map_part, 0, MAX), 0);
	EXPECT_EQ(charged(A), MAX);
	EXPECT_EQ(charged(B), 0);
	/* Until it is freed, whoever does that. */
	ASSERT_EQ(ask(a, act_close), 0);
	actor_stop(a);
	EXPECT_EQ(charged(A), MAX);
	EXPECT_EQ(ask(b, act_open_and_map, variant->front, 11), -EAGAIN);
	EXPECT_EQ(ask(b, act_open_and_map, variant->front, 10), 0);
	EXPECT_EQ(charged(A), MAX);
	EXPECT_EQ(charged(B), 10);
	actor_kill(b);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(charged(B), 0);
	EXPECT_EQ(charged(PARENT), 0);
}

/* A service that maps and closes what another cgroup sent is never charged for it. */
TEST_F(cgroup, deputy_pays_nothing)
{
	if (!has_fd())
		SKIP(return, "n/a: no descriptor to pass");
	ASSERT_TRUE(set_max(B, MAX));
	ASSERT_EQ(ask(&self->a, act_open, variant->front, MAX), 0);
	ASSERT_TRUE(pass_object(&self->a, &self->b));
	EXPECT_EQ(ask(&self->b, act_map, variant->front, MAX), 0);
	EXPECT_EQ(charged(B), 0);
	EXPECT_EQ(charged(A), MAX);
	EXPECT_EQ(ask(&self->b, act_unmap, 0, MAX), 0);
	EXPECT_EQ(ask(&self->b, act_close), 0);
	EXPECT_EQ(charged(B), 0);
	EXPECT_EQ(charged(A), MAX);
	EXPECT_EQ(ask(&self->b, act_open_and_map, variant->front, MAX), 0);
	EXPECT_EQ(charged(B), MAX);
	EXPECT_EQ(charged(A), MAX);
}

TEST_F(cgroup, fork)
{
	struct actor *a = &self->a;
	struct actor child;

	ASSERT_EQ(ask(a, act_open_and_map, variant->front, MAX), 0);
	child.pid = ask(a, act_start_child);
	ASSERT_GT(child.pid, 0);
	ASSERT_TRUE(move_to(B, &child));
	EXPECT_EQ(charged(A), MAX);
	if (has_fd())
		EXPECT_EQ(ask_child(a, 0, act_map, variant->front, MAX), 0);
	EXPECT_EQ(charged(A), MAX);
	EXPECT_EQ(charged(B), 0);
	EXPECT_EQ(ask_child(a, 0, act_open_and_map, variant->front, 10), 0);
	EXPECT_EQ(charged(A), MAX);
	EXPECT_EQ(charged(B), 10);
	actor_stop(a);
	EXPECT_EQ(charged(PARENT), 0);
}

/* The creator moves to another cgroup: what it has created stays with the old one. */
TEST_F(cgroup, moved)
{
	struct actor *a = &self->a;
	bool device = variant->front == EXMEM_FRONT_DEVICE;

	ASSERT_TRUE(set_max(A, MAX));
	ASSERT_EQ(ask(a, act_open_and_map, variant->front, MAX - 100), 0);
	ASSERT_TRUE(move_to(B, a));
	EXPECT_EQ(charged(A), MAX - 100);
	EXPECT_EQ(charged(B), 0);
	if (device) {
		EXPECT_EQ(ask(a, act_map_part, MAX, 101), -EAGAIN);
		EXPECT_EQ(ask(a, act_map_part, MAX, 100), 0);
		EXPECT_EQ(ask(a, act_punch_hole, MAX + 10, 90), 0);
		EXPECT_EQ(charged(A), MAX - 90);
	} else if (!has_fd()) {
		EXPECT_EQ(ask(a, act_unmap, 0, 200), 0);
		EXPECT_EQ(charged(A), MAX - 300);
	}
	EXPECT_EQ(charged(B), 0);
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, MAX + 1), 0);
	EXPECT_EQ(charged(B), MAX + 1);
	actor_stop(a);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(charged(B), 0);
}

/* Each page is uncharged when it is freed. */
TEST_F(cgroup, partly_freed)
{
	struct actor *a = &self->a;
	long left = 100;

	ASSERT_EQ(ask(a, act_open_and_map, variant->front, left), 0);
	ASSERT_EQ(ask(a, act_unmap, 30, 7), 0);
	left -= has_fd() ? 0 : 7;
	EXPECT_EQ(charged(A), left);
	if (variant->front == EXMEM_FRONT_DEVICE) {
		ASSERT_EQ(ask(a, act_punch_hole, 10, 25), 0);
		ASSERT_EQ(ask(a, act_punch_hole, 0, 12), 0);
		left -= 35;
		EXPECT_EQ(charged(A), left);
		ASSERT_EQ(ask(a, act_map_part, 0, 5), 0);
		left += 5;
		EXPECT_EQ(charged(A), left);
	}
	EXPECT_EQ(used(), left);
	if (has_fd())
		ASSERT_EQ(ask(a, act_close), 0);
	EXPECT_EQ(charged(A), left);
	actor_kill(a);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(charged(PARENT), 0);
}

TEST_F(cgroup, truncate)
{
	if (variant->front != EXMEM_FRONT_SECRETMEM)
		SKIP(return, "n/a: no size to set");
	ASSERT_EQ(ask(&self->a, act_open, variant->front, 0), 0);
	ASSERT_EQ(ask(&self->a, act_map, variant->front, 100), 0);
	ASSERT_TRUE(pass_object(&self->a, &self->b));
	ASSERT_EQ(ask(&self->b, act_truncate, 3), 0);
	EXPECT_EQ(charged(A), 3);
	EXPECT_EQ(charged(B), 0);
}

enum way { WAY_UNMAP_CLOSE, WAY_CLOSE_UNMAP, WAY_REPLACED, WAY_EXIT, WAY_KILL, WAY_EXEC, WAYS };

static void end_by(enum way way, struct actor *a, long pages)
{
	if (way == WAY_UNMAP_CLOSE)
		ask(a, act_unmap, 0, pages);
	if (way == WAY_REPLACED)
		ask(a, act_replace, pages);
	if (way == WAY_EXEC)
		ask(a, act_exec);
	if (way <= WAY_REPLACED)
		ask(a, act_close);
	if (way == WAY_CLOSE_UNMAP)
		ask(a, act_unmap, 0, pages);
}

TEST_F(cgroup, freed_in_every_way)
{
	struct actor *a = &self->a;
	int way, i;

	for (way = 0; way < WAYS; way++) {
		TH_LOG("way %d", way);
		ASSERT_EQ(ask(a, act_open_and_map, variant->front, 100), 0);
		EXPECT_EQ(charged(A), 100);
		end_by(way, a, 100);
		/* exec() has closed the socket, and not yet unmapped its memory. */
		for (i = 0; way == WAY_EXEC && used() && i < 3000; i++)
			usleep(10000);
		if (way == WAY_EXIT || way == WAY_KILL)
			actor_end(a, way == WAY_KILL);
		EXPECT_EQ(charged(A), 0);
		EXPECT_EQ(charged(PARENT), 0);
		EXPECT_EQ(used(), 0);
		if (way == WAY_EXEC)
			actor_kill(a);
		if (way >= WAY_EXIT)
			ASSERT_TRUE(start_in(A, a));
	}
	EXPECT_EQ(group_pages(A, "misc.peak"), 100);
	EXPECT_EQ(refusals(A), 0);
}

/* A removed cgroup's objects stay charged to its parents, until they are freed. */
TEST_F(cgroup, removed)
{
	struct actor *a = &self->a;

	ASSERT_TRUE(set_max(A, 700));
	ASSERT_EQ(ask(a, act_open_and_map, variant->front, 600), 0);
	ASSERT_TRUE(move_to(B, a));
	ASSERT_EQ(rmdir(A), 0);
	EXPECT_EQ(charged(PARENT), 600);
	EXPECT_EQ(charged(B), 0);
	EXPECT_EQ(used(), 600);
	if (variant->front == EXMEM_FRONT_DEVICE) {
		/* Its limit still binds. */
		EXPECT_EQ(ask(a, act_map_part, 600, 101), -EAGAIN);
		EXPECT_EQ(ask(a, act_map_part, 600, 100), 0);
		EXPECT_EQ(charged(PARENT), 700);
		EXPECT_EQ(ask(a, act_punch_hole, 100, 600), 0);
	} else if (variant->front == EXMEM_FRONT_MMAP) {
		EXPECT_EQ(ask(a, act_unmap, 100, 500), 0);
	}
	EXPECT_EQ(charged(PARENT), variant->front == EXMEM_FRONT_SECRETMEM ? 600 : 100);
	/* A new one with the same name has nothing to do with it. */
	ASSERT_EQ(mkdir(A, 0755), 0);
	EXPECT_EQ(charged(A), 0);
	actor_kill(a);
	EXPECT_EQ(charged(PARENT), 0);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(used(), 0);
}

/* Too few pages in the pool are not a limit: ENOMEM, and no event. */
TEST_F(cgroup, exhausted_pool)
{
	struct actor *a = &self->a, *b = &self->b;
	long failed = exmem_value("failed_requests");

	ASSERT_EQ(ask(b, act_open_and_map, variant->front, 50), 0);
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, self->usable - 49), -ENOMEM);
	EXPECT_EQ(ask(a, act_open_and_map, variant->front, self->usable + 1), -ENOMEM);
	EXPECT_EQ(exmem_value("failed_requests"), failed + 2);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(used(), 50);
	ASSERT_EQ(ask(a, act_open_and_map, variant->front, self->usable - 50), 0);
	EXPECT_EQ(exmem_free(), 0);
	EXPECT_EQ(charged(PARENT), self->usable);
	EXPECT_EQ(ask(b, act_open_and_map, variant->front, 1), -ENOMEM);
	EXPECT_EQ(charged(A), self->usable - 50);
	EXPECT_EQ(charged(B), 50);
	EXPECT_EQ(refusals(A), 0);
	EXPECT_EQ(refusals(B), 0);
	EXPECT_EQ(refusals(PARENT), 0);
	/* A limit is asked before the pool. */
	ASSERT_TRUE(set_max(B, 50));
	EXPECT_EQ(ask(b, act_open_and_map, variant->front, 1), -EAGAIN);
	EXPECT_EQ(refusals(B), 1);
	EXPECT_EQ(exmem_value("failed_requests"), failed + 3);
}

/* Map with too little room in the address space: front end, pages. */
static long act_map_without_room(const long *arg)
{
	struct rlimit old, none = { PAGE, RLIM_INFINITY };
	long ret;

	if (getrlimit(RLIMIT_AS, &old) || setrlimit(RLIMIT_AS, &none))
		return -errno;
	ret = act_map(arg);
	setrlimit(RLIMIT_AS, &old);
	return ret;
}

/* Map with PROT_EXEC, or another address that can't be: front end, pages. */
static long act_map_in_vain(const long *arg)
{
	int prot = PROT_READ | PROT_EXEC;

	return exmem_front_map(arg[0], me.fd, NULL, arg[1] * PAGE, prot) == MAP_FAILED ? -errno : 0;
}

/* Whatever else makes a request fail, nothing stays charged, and it is no event. */
TEST_F(cgroup, failing_requests)
{
	struct actor *a = &self->a;

	chmod(EXMEM_DEV, 0666);
	ASSERT_TRUE(set_memlock(a->pid, 100 * PAGE));
	ASSERT_EQ(ask(a, act_become, USER), 0);
	ASSERT_EQ(ask(a, act_open, variant->front, MAX), 0);
	EXPECT_EQ(ask(a, act_map, variant->front, 101), -EAGAIN);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(ask(a, act_map_without_room, variant->front, 50), -ENOMEM);
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(ask(a, act_map_in_vain, variant->front, 50), -EPERM);
	EXPECT_EQ(charged(A), 0);
	if (has_fd()) {
		/* The second hole is too large: the pages for the first one are uncharged. */
		EXPECT_EQ(ask(a, act_map_part, 40, 20), 0);
		EXPECT_EQ(ask(a, act_map_part, 0, 200), -EAGAIN);
		EXPECT_EQ(charged(A), 20);
		EXPECT_EQ(refusals(A), 0);
		ASSERT_TRUE(set_max(A, 70));
		EXPECT_EQ(ask(a, act_map_part, 0, 71), -EAGAIN);
		EXPECT_EQ(charged(A), 20);
		EXPECT_EQ(ask(a, act_map_part, 0, 70), 0);
	} else {
		EXPECT_EQ(refusals(A), 0);
	}
	EXPECT_EQ(group_value(CGROUP_TOP, "misc.current", "exmem"), used() * (long)PAGE);
	EXPECT_EQ(charged(A), used());
}

/* The list of objects names the cgroup by its inode, also after it has been removed. */
TEST_F(cgroup, named_in_the_list_of_objects)
{
	struct object_line object;
	struct stat st;
	long id;

	if (!has_fd())
		SKIP(return, "n/a: no descriptor, and so no fdinfo");
	ASSERT_EQ(stat(A, &st), 0);
	ASSERT_EQ(ask(&self->a, act_open_and_map, variant->front, 77), 0);
	me.fd = object_of(&self->a);
	id = object_info(me.fd, "object");
	close(me.fd);
	ASSERT_TRUE(find_object(id, &object));
	EXPECT_EQ(object.cgroup, st.st_ino);
	EXPECT_EQ(object.pages, 77);
	ASSERT_TRUE(move_to(B, &self->a));
	ASSERT_EQ(rmdir(A), 0);
	ASSERT_TRUE(find_object(id, &object));
	EXPECT_EQ(object.cgroup, st.st_ino);
}

#define LOOPERS		3
#define SECONDS		5

/* Two cgroups that compete, and how many pages each has at least, in shared memory. */
static struct contest {
	bool stop;
	long held[2], peak[2], got[2], refused[2], wrong;
} *contest;

static bool contest_is_over(void)
{
	return __atomic_load_n(&contest->stop, __ATOMIC_RELAXED);
}

/* Note the pages that were allocated, and the most that were held at the same time. */
static void note_held(int nr, long pages)
{
	long held = __atomic_add_fetch(&contest->held[nr], pages, __ATOMIC_SEQ_CST);
	long peak = __atomic_load_n(&contest->peak[nr], __ATOMIC_SEQ_CST);

	while (held > peak && !__atomic_compare_exchange_n(&contest->peak[nr], &peak, held, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

/* Alloc and free: front end, number of the cgroup, most pages of a request. */
static void compete(const long *arg)
{
	long pages = 1 + rand() % arg[2];
	int fd = exmem_front_open(arg[0], pages * PAGE);
	char *p = exmem_front_map(arg[0], fd, NULL, pages * PAGE, PROT_READ | PROT_WRITE);

	if (p == MAP_FAILED) {
		__atomic_add_fetch(errno == EAGAIN ? &contest->refused[arg[1]] : &contest->wrong, 1,
				   __ATOMIC_SEQ_CST);
	} else {
		note_held(arg[1], pages);
		__atomic_add_fetch(&contest->got[arg[1]], 1, __ATOMIC_SEQ_CST);
		if (rand() % 4 == 0)
			usleep(rand() % 1000);
		note_held(arg[1], -pages);
		munmap(p, pages * PAGE);
	}
	if (fd >= 0)
		close(fd);
}

/* Start children that compete: front end, number of the cgroup, most pages of a request. */
static long act_start_competing(const long *arg)
{
	int i;

	for (i = 0; i < LOOPERS; i++)
		if (!fork()) {
			srand(getpid());
			while (!contest_is_over())
				compete(arg);
			_exit(0);
		}
	return 0;
}

static long act_wait_for_children(const long *arg)
{
	(void)arg;
	while (wait(NULL) > 0)
		;
	return 0;
}

static bool start_contest(void)
{
	contest = mmap(NULL, sizeof(*contest), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	return contest != MAP_FAILED;
}

static bool contested(int nr)
{
	return contest->got[nr] > 10 && contest->refused[nr] > 10;
}

/*
 * Both loop at their limits, in several processes. A cgroup may show more than its limit for a
 * moment, while it refuses a request; its allocated pages never exceed the limit.
 */
TEST_F_TIMEOUT(cgroup, compete, 120)
{
	long most_used = 0, samples = 0, now;
	time_t end;

	actor_stop(&self->a);
	actor_stop(&self->b);
	ASSERT_TRUE(start_contest());
	ASSERT_TRUE(start_in(A, &self->a) && start_in(B, &self->b));
	ASSERT_TRUE(set_max(A, MAX) && set_max(B, 2 * MAX));
	ask(&self->a, act_start_competing, variant->front, 0, MAX);
	ask(&self->b, act_start_competing, variant->front, 1, 2 * MAX);
	end = time(NULL) + SECONDS;
	for (; time(NULL) < end || !contested(0) || !contested(1); samples++) {
		now = used();
		most_used = now > most_used ? now : most_used;
		EXPECT_LE(group_pages(A, "misc.peak"), MAX);
		EXPECT_LE(group_pages(B, "misc.peak"), 2 * MAX);
		EXPECT_LE(group_pages(A, "misc.current"), (1 + LOOPERS) * MAX);
	}
	contest->stop = true;
	ask(&self->a, act_wait_for_children);
	ask(&self->b, act_wait_for_children);
	EXPECT_EQ(contest->wrong, 0);
	EXPECT_GT(samples, 0);
	EXPECT_GT(most_used, 0);
	EXPECT_LE(most_used, 3 * MAX);
	for (now = 0; now < 2; now++) {
		EXPECT_GT(contest->peak[now], 0);
		EXPECT_LE(contest->peak[now], (now + 1) * MAX);
		EXPECT_EQ(contest->held[now], 0);
		EXPECT_GE(refusals(now ? B : A), contest->refused[now]);
	}
	EXPECT_EQ(charged(A), 0);
	EXPECT_EQ(charged(B), 0);
	EXPECT_EQ(used(), 0);
}

/* One cgroup loops at its limit. The other gets all of its own limit, every time. */
TEST_F_TIMEOUT(cgroup, not_starved, 120)
{
	struct actor *b = &self->b;
	long room = self->usable - MAX;
	int i;

	actor_stop(&self->a);
	ASSERT_TRUE(start_contest());
	ASSERT_TRUE(start_in(A, &self->a));
	ASSERT_TRUE(set_max(A, MAX) && set_max(B, room));
	ask(&self->a, act_start_competing, variant->front, 0, 2 * MAX);
	for (i = 0; i < 8 || !contest->refused[0]; i++) {
		ASSERT_EQ(ask(b, act_open_and_map, variant->front, room), 0);
		EXPECT_EQ(charged(B), room);
		EXPECT_EQ(ask(b, act_open_and_map, variant->front, 1), -EAGAIN);
		actor_stop(b);
		ASSERT_TRUE(start_in(B, b));
	}
	contest->stop = true;
	ask(&self->a, act_wait_for_children);
	EXPECT_EQ(contest->wrong, 0);
	EXPECT_GT(contest->got[0], 0);
	EXPECT_GT(contest->refused[0], 0);
	EXPECT_EQ(charged(PARENT), 0);
	EXPECT_EQ(used(), 0);
}

TEST_HARNESS_MAIN
