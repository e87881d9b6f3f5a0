// SPDX-License-Identifier: GPL-2.0-only
/*
 * RLIMIT_MEMLOCK: the creator of an object pays for all its pages, whoever maps them, until
 * they are freed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include "actor.h"
#include "../kselftest_harness.h"

/* Two users, and their limit: 8 MiB, as it is by default. */
#define USER	4711
#define OTHER	4712
#define LIMIT	2048

FIXTURE(charge)
{
	struct actor user, other, root;
	long usable;
};

FIXTURE_VARIANT(charge)
{
	enum exmem_front front;
};

FIXTURE_VARIANT_ADD(charge, device) { .front = EXMEM_FRONT_DEVICE };
FIXTURE_VARIANT_ADD(charge, map_exclusive) { .front = EXMEM_FRONT_MMAP };
FIXTURE_VARIANT_ADD(charge, memfd_secret) { .front = EXMEM_FRONT_SECRETMEM };

/* Lock a new segment in memory: pages. Returns its ID. */
static long act_shm_lock(const long *arg)
{
	int id = shmget(IPC_PRIVATE, arg[0] * PAGE, IPC_CREAT | 0600), error;

	if (id < 0)
		return -errno;
	if (!shmctl(id, SHM_LOCK, NULL))
		return id;
	error = -errno;
	shmctl(id, IPC_RMID, NULL);
	return error;
}

static bool can_lock(long pages)
{
	long id = act_shm_lock(&pages);

	return id >= 0 && !shmctl(id, IPC_RMID, NULL);
}

/*
 * Find the number of pages charged to the caller: the limit less what it can lock. SHM_LOCK is
 * charged to the same counter, and allocates no pages.
 */
static long probe_charged(void)
{
	long low = 0, high = LIMIT + 1, mid;

	while (high - low > 1) {
		mid = (low + high) / 2;
		if (can_lock(mid))
			low = mid;
		else
			high = mid;
	}
	return LIMIT - low;
}

/* The pages charged to the caller: 0 to LIMIT, or -1 if they are below 0. */
static long act_probe(const long *arg)
{
	(void)arg;
	return can_lock(LIMIT + 1) ? -1 : probe_charged();
}

/* Start an actor that is the user and has the limit. */
static bool user_start(struct actor *actor, uid_t user)
{
	return actor_start(actor) > 0 && set_memlock(actor->pid, LIMIT * PAGE) &&
	       !ask(actor, act_become, user);
}

static long charged_to(uid_t user)
{
	struct actor probe;
	long charged = -2;

	if (user_start(&probe, user))
		charged = ask(&probe, act_probe);
	actor_stop(&probe);
	return charged;
}

static long charged(void)
{
	return charged_to(USER);
}

FIXTURE_SETUP(charge)
{
	const char *missing = exmem_front_missing(variant->front, 5 * LIMIT);

	if (!missing && access("/proc/sysvipc/shm", F_OK))
		missing = "needs CONFIG_SYSVIPC";
	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_EQ(charged_to(USER), 0);
	ASSERT_EQ(charged_to(OTHER), 0);
	chmod(EXMEM_DEV, 0666);
	ASSERT_TRUE(user_start(&self->user, USER));
	ASSERT_TRUE(user_start(&self->other, OTHER));
	ASSERT_GT(actor_start(&self->root), 0);
}

FIXTURE_TEARDOWN(charge)
{
	actor_stop(&self->user);
	actor_stop(&self->other);
	actor_stop(&self->root);
	chmod(EXMEM_DEV, 0600);
}

/* Everything is freed once the actors are gone. */
static void expect_nothing_left(struct __test_metadata *_metadata, FIXTURE_DATA(charge) * self)
{
	actor_stop(&self->user);
	actor_stop(&self->other);
	actor_stop(&self->root);
	EXPECT_EQ(charged_to(USER), 0);
	EXPECT_EQ(charged_to(OTHER), 0);
	EXPECT_EQ(used(), 0);
}

TEST_F(charge, limit)
{
	struct actor *user = &self->user;

	EXPECT_EQ(ask(user, act_open_and_map, variant->front, LIMIT + 1), -EAGAIN);
	EXPECT_EQ(used(), 0);
	EXPECT_EQ(ask(user, act_open_and_map, variant->front, LIMIT), 0);
	EXPECT_EQ(used(), LIMIT);
	EXPECT_EQ(charged(), LIMIT);
	/* The limit is the user's, not one object's. */
	EXPECT_EQ(ask(user, act_open_and_map, variant->front, 1), -EAGAIN);
	EXPECT_EQ(used(), LIMIT);
	EXPECT_EQ(charged_to(OTHER), 0);
	expect_nothing_left(_metadata, self);
}

/* Holes on both sides of pages, and too much in all: nothing is kept. */
TEST_F(charge, failing_request_keeps_nothing)
{
	struct actor *user = &self->user;

	if (!has_fd()) {
		EXPECT_EQ(ask(user, act_map, variant->front, LIMIT), 0);
		EXPECT_EQ(ask(user, act_map, variant->front, LIMIT), -EAGAIN);
		EXPECT_EQ(charged(), LIMIT);
		return;
	}
	ASSERT_EQ(ask(user, act_open, variant->front, LIMIT + 1), 0);
	ASSERT_EQ(ask(user, act_map_part, 200, 100), 0);
	EXPECT_EQ(ask(user, act_map, variant->front, LIMIT + 1), -EAGAIN);
	EXPECT_EQ(used(), 100);
	EXPECT_EQ(charged(), 100);
	/* Pages that the object already has are not charged again. */
	EXPECT_EQ(ask(user, act_map, variant->front, LIMIT), 0);
	EXPECT_EQ(charged(), LIMIT);
	EXPECT_EQ(ask(user, act_map, variant->front, LIMIT), 0);
	EXPECT_EQ(charged(), LIMIT);
	expect_nothing_left(_metadata, self);
}

/* CAP_IPC_LOCK of the creator exempts it from the limit, but its pages count. */
TEST_F(charge, capability)
{
	struct actor capable;

	ASSERT_GT(actor_start(&capable), 0);
	ASSERT_TRUE(set_memlock(capable.pid, 16 * PAGE));
	ASSERT_EQ(ask(&capable, act_become_capable, USER, CAP_IPC_LOCK), 0);
	ASSERT_EQ(ask(&capable, act_open_and_map, variant->front, 600), 0);
	EXPECT_EQ(charged(), 600);
	EXPECT_EQ(ask(&capable, act_open_and_map, variant->front, LIMIT), 0);
	EXPECT_EQ(used(), LIMIT + 600);
	EXPECT_EQ(charged(), LIMIT);
	EXPECT_EQ(ask(&self->user, act_open_and_map, variant->front, 1), -EAGAIN);

	/* The object stays exempt, also without the capability. A new one is not. */
	ASSERT_EQ(ask(&capable, act_drop_caps), 0);
	if (variant->front == EXMEM_FRONT_DEVICE)
		EXPECT_EQ(ask(&capable, act_map_part, LIMIT, 10), 0);
	EXPECT_EQ(ask(&capable, act_open_and_map, variant->front, 1), -EAGAIN);
	EXPECT_EQ(used(), LIMIT + 600 + (variant->front == EXMEM_FRONT_DEVICE ? 10 : 0));
	actor_stop(&capable);
	expect_nothing_left(_metadata, self);
}

TEST_F(charge, capability_of_others)
{
	struct actor *user = &self->user, again;

	/* No other capability exempts. */
	ASSERT_GT(actor_start(&again), 0);
	ASSERT_TRUE(set_memlock(again.pid, LIMIT * PAGE));
	ASSERT_EQ(ask(&again, act_become_capable, USER, CAP_SYS_RESOURCE), 0);
	EXPECT_EQ(ask(&again, act_open_and_map, variant->front, LIMIT + 1), -EAGAIN);
	actor_stop(&again);
	if (!has_fd())
		return;

	/* Neither who maps an object exempts it, nor what its creator becomes. */
	ASSERT_EQ(ask(user, act_open, variant->front, LIMIT + 1), 0);
	ASSERT_TRUE(pass_object(user, &self->root));
	EXPECT_EQ(ask(&self->root, act_map, variant->front, LIMIT + 1), -EAGAIN);
	ASSERT_GT(actor_start(&again), 0);
	ASSERT_TRUE(set_memlock(again.pid, LIMIT * PAGE));
	ASSERT_EQ(ask(&again, act_become_for_now, USER), 0);
	ASSERT_EQ(ask(&again, act_open, variant->front, LIMIT + 1), 0);
	ASSERT_EQ(ask(&again, act_become_root_again), 0);
	EXPECT_EQ(ask(&again, act_map, variant->front, LIMIT + 1), -EAGAIN);
	EXPECT_EQ(used(), 0);
	EXPECT_EQ(ask(&again, act_map, variant->front, LIMIT), 0);
	actor_stop(&again);

	/* An object of root's stays exempt, whoever maps it. */
	ASSERT_EQ(ask(&self->root, act_open, variant->front, LIMIT + 1), 0);
	ASSERT_TRUE(pass_object(&self->root, user));
	EXPECT_EQ(ask(user, act_map, variant->front, LIMIT + 1), 0);
	EXPECT_EQ(charged(), 0);
	expect_nothing_left(_metadata, self);
}

/* RLIMIT_MEMLOCK counts as it was when the object was created. */
TEST_F(charge, limit_at_creation)
{
	struct actor *user = &self->user, *other = &self->other;

	if (!has_fd())
		SKIP(return, "n/a: the object is created and mapped by one call");
	ASSERT_EQ(ask(user, act_open, variant->front, LIMIT + 1), 0);
	ASSERT_TRUE(set_memlock(user->pid, RLIM_INFINITY));
	EXPECT_EQ(ask(user, act_map, variant->front, LIMIT + 1), -EAGAIN);
	EXPECT_EQ(used(), 0);
	ASSERT_TRUE(set_memlock(user->pid, PAGE));
	EXPECT_EQ(ask(user, act_map, variant->front, LIMIT), 0);
	EXPECT_EQ(ask(user, act_open_and_map, variant->front, 1), -EAGAIN);

	/* Nor does the limit of who maps the object count. */
	ASSERT_TRUE(set_memlock(other->pid, PAGE));
	ASSERT_TRUE(set_memlock(self->root.pid, PAGE));
	ASSERT_TRUE(set_memlock(user->pid, 3 * LIMIT * PAGE));
	ASSERT_EQ(ask(user, act_open, variant->front, LIMIT), 0);
	ASSERT_TRUE(pass_object(user, other));
	EXPECT_EQ(ask(other, act_map, variant->front, LIMIT), 0);
	EXPECT_EQ(used(), 2 * LIMIT);
	expect_nothing_left(_metadata, self);
}

TEST_F(charge, no_limit)
{
	ASSERT_TRUE(set_memlock(self->user.pid, RLIM_INFINITY));
	EXPECT_EQ(ask(&self->user, act_open_and_map, variant->front, 2 * LIMIT), 0);
	EXPECT_EQ(charged(), LIMIT);
	expect_nothing_left(_metadata, self);
}

TEST_F(charge, limit_of_no_page)
{
	ASSERT_TRUE(set_memlock(self->user.pid, PAGE - 1));
	EXPECT_EQ(ask(&self->user, act_open_and_map, variant->front, 1), -EAGAIN);
	EXPECT_EQ(used(), 0);
}

/* The ways in which a process of the user stops using its pages. */
enum way {
	WAY_UNMAP_CLOSE,
	WAY_CLOSE_UNMAP,
	WAY_REPLACED,
	WAY_EXIT,
	WAY_KILL,
	WAY_EXEC,
	WAY_NEW_USER,
	WAYS,
};

/* Returns true if the actor is still there, but its pages are not. */
static bool end_by(enum way way, struct actor *user, long pages)
{
	if (way == WAY_UNMAP_CLOSE)
		ask(user, act_unmap, 0, pages);
	if (way == WAY_REPLACED)
		ask(user, act_replace, pages);
	if (way == WAY_NEW_USER) {
		ask(user, act_become_root_again);
		ask(user, act_become, OTHER);
	}
	if (way == WAY_EXEC)
		ask(user, act_exec);
	if (way <= WAY_REPLACED)
		ask(user, act_close);
	if (way == WAY_CLOSE_UNMAP)
		ask(user, act_unmap, 0, pages);
	return way <= WAY_REPLACED;
}

/* A user, or for the way that needs it, a process that is going to be another user. */
static bool start_for(enum way way, struct actor *user)
{
	if (way != WAY_NEW_USER)
		return user_start(user, USER);
	return actor_start(user) > 0 && set_memlock(user->pid, LIMIT * PAGE) &&
	       !ask(user, act_become_for_now, USER);
}

TEST_F(charge, freed_in_every_way)
{
	struct actor *user = &self->user;
	int way, i;

	actor_stop(user);
	for (way = 0; way < WAYS; way++) {
		TH_LOG("way %d", way);
		ASSERT_TRUE(start_for(way, user));
		ASSERT_EQ(ask(user, act_open_and_map, variant->front, 100), 0);
		EXPECT_EQ(charged(), 100);
		if (end_by(way, user, 100))
			EXPECT_EQ(charged(), 0);
		if (way == WAY_NEW_USER)
			EXPECT_EQ(charged(), 100);
		/* exec() has closed the socket, and not yet unmapped its memory. */
		for (i = 0; way == WAY_EXEC && used() && i < 3000; i++)
			usleep(10000);
		if (way == WAY_EXEC)
			EXPECT_EQ(charged(), 0);
		actor_end(user, way == WAY_KILL || way == WAY_EXEC);
		EXPECT_EQ(charged_to(USER), 0);
		EXPECT_EQ(charged_to(OTHER), 0);
		EXPECT_EQ(used(), 0);
	}
}

TEST_F(charge, freed_many_times)
{
	struct actor *user = &self->user;
	int i;

	ASSERT_TRUE(set_memlock(user->pid, 16 * PAGE));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(ask(user, act_open_and_map, variant->front, 16), 0);
		if (has_fd())
			ASSERT_EQ(ask(user, act_close), 0);
		ASSERT_EQ(ask(user, act_open_and_map, variant->front, 1), -EAGAIN);
		if (has_fd())
			ASSERT_EQ(ask(user, act_close), 0);
		ASSERT_EQ(ask(user, act_unmap, 0, 16), 0);
		ASSERT_EQ(used(), 0);
	}
	EXPECT_EQ(charged(), 0);
}

/* Pages that are freed are uncharged; the others are not. */
TEST_F(charge, partly_freed)
{
	struct actor *user = &self->user;

	ASSERT_EQ(ask(user, act_open_and_map, variant->front, 100), 0);
	ASSERT_EQ(ask(user, act_unmap, 30, 7), 0);
	EXPECT_EQ(charged(), has_fd() ? 100 : 93);
	/* Mapping pages again charges nothing. */
	if (has_fd())
		EXPECT_EQ(ask(user, act_map, variant->front, 100), 0);
	EXPECT_EQ(charged(), has_fd() ? 100 : 93);
	if (has_fd())
		ASSERT_EQ(ask(user, act_close), 0);
	EXPECT_EQ(charged(), has_fd() ? 100 : 93);
	expect_nothing_left(_metadata, self);
}

/* A hole is uncharged once, at once, also if it is another process that punches it. */
TEST_F(charge, punch_hole)
{
	struct actor *user = &self->user;

	if (variant->front != EXMEM_FRONT_DEVICE)
		SKIP(return, "n/a: no holes");
	ASSERT_EQ(ask(user, act_open_and_map, variant->front, LIMIT), 0);
	ASSERT_EQ(ask(user, act_map_part, LIMIT, 1), -EAGAIN);
	ASSERT_EQ(ask(user, act_punch_hole, 5, 7), 0);
	EXPECT_EQ(charged(), LIMIT - 7);
	ASSERT_EQ(ask(user, act_punch_hole, 5, 7), 0);
	EXPECT_EQ(charged(), LIMIT - 7);
	EXPECT_EQ(ask(user, act_map_part, LIMIT, 8), -EAGAIN);
	EXPECT_EQ(ask(user, act_map_part, LIMIT, 7), 0);
	EXPECT_EQ(ask(user, act_map_part, 5, 1), -EAGAIN);
	ASSERT_TRUE(pass_object(user, &self->root));
	ASSERT_EQ(ask(&self->root, act_punch_hole, 0, LIMIT), 0);
	EXPECT_EQ(charged(), 7);
	ASSERT_TRUE(pass_object(user, &self->other));
	ASSERT_EQ(ask(&self->other, act_punch_hole, 0, 2 * LIMIT), 0);
	EXPECT_EQ(charged(), 0);
	EXPECT_EQ(charged_to(OTHER), 0);
	EXPECT_EQ(ask(&self->other, act_map_part, 0, LIMIT), 0);
	EXPECT_EQ(charged(), LIMIT);
	expect_nothing_left(_metadata, self);
}

/* Pages beyond the end of a file are uncharged when its size is set. */
TEST_F(charge, truncate)
{
	struct actor *user = &self->user;

	if (variant->front != EXMEM_FRONT_SECRETMEM)
		SKIP(return, "n/a: no size to set");
	ASSERT_EQ(ask(user, act_open, variant->front, 0), 0);
	ASSERT_EQ(ask(user, act_map, variant->front, LIMIT + 1), -EAGAIN);
	ASSERT_EQ(ask(user, act_map, variant->front, LIMIT), 0);
	EXPECT_EQ(charged(), LIMIT);
	ASSERT_TRUE(pass_object(user, &self->other));
	ASSERT_EQ(ask(&self->other, act_truncate, 3), 0);
	EXPECT_EQ(charged(), 3);
	EXPECT_EQ(charged_to(OTHER), 0);
	expect_nothing_left(_metadata, self);
}

/* Others map, free and close the user's object. The user pays to the end. */
TEST_F(charge, creator_pays_for_others)
{
	if (!has_fd())
		SKIP(return, "n/a: no descriptor to pass");
	ASSERT_EQ(ask(&self->user, act_open, variant->front, 200), 0);
	ASSERT_TRUE(pass_object(&self->user, &self->root));
	ASSERT_TRUE(pass_object(&self->user, &self->other));
	EXPECT_EQ(ask(&self->root, act_map, variant->front, 50), 0);
	EXPECT_EQ(charged(), 50);
	EXPECT_EQ(ask(&self->other, act_map, variant->front, 100), 0);
	EXPECT_EQ(charged(), 100);
	EXPECT_EQ(charged_to(OTHER), 0);
	ASSERT_EQ(ask(&self->user, act_close), 0);
	EXPECT_EQ(charged(), 100);
	EXPECT_EQ(ask(&self->other, act_map, variant->front, 120), 0);
	EXPECT_EQ(charged(), 120);
	actor_stop(&self->other);
	EXPECT_EQ(charged(), 120);
	ASSERT_EQ(ask(&self->root, act_close), 0);
	EXPECT_EQ(charged(), 120);
	ASSERT_EQ(ask(&self->root, act_unmap, 0, 50), 0);
	EXPECT_EQ(charged(), 0);
	EXPECT_EQ(charged_to(OTHER), 0);
	EXPECT_EQ(used(), 0);
}

/* The creator's process ends, in every way: the object is with others, and is charged. */
TEST_F(charge, creator_is_gone)
{
	struct actor *user = &self->user;
	int way;

	if (!has_fd())
		SKIP(return, "n/a: no descriptor to pass");
	actor_stop(user);
	for (way = 0; way < WAYS; way++) {
		TH_LOG("way %d", way);
		if (way == WAY_NEW_USER)
			continue;
		ASSERT_TRUE(user_start(user, USER));
		ASSERT_EQ(ask(user, act_open_and_map, variant->front, 100), 0);
		ASSERT_TRUE(pass_object(user, &self->other));
		end_by(way, user, 100);
		actor_end(user, way == WAY_KILL || way == WAY_EXEC);
		EXPECT_EQ(charged(), 100);
		EXPECT_EQ(ask(&self->other, act_map, variant->front, 100), 0);
		EXPECT_EQ(ask(&self->other, act_close), 0);
		EXPECT_EQ(charged(), 100);
		EXPECT_EQ(charged_to(OTHER), 0);
		EXPECT_EQ(ask(&self->other, act_unmap, 0, 100), 0);
		EXPECT_EQ(charged(), 0);
		EXPECT_EQ(used(), 0);
	}
}

/* A descriptor in a message that nobody has received yet. */
TEST_F(charge, in_flight)
{
	int socks[2], fd;

	if (!has_fd())
		SKIP(return, "n/a: no descriptor to pass");
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	ASSERT_EQ(ask(&self->user, act_open_and_map, variant->front, 100), 0);
	fd = object_of(&self->user);
	ASSERT_TRUE(send_fd(socks[0], fd));
	close(fd);
	actor_kill(&self->user);
	EXPECT_EQ(used(), 100);
	EXPECT_EQ(charged(), 100);
	close(socks[0]);
	EXPECT_EQ(charged(), 100);
	close(socks[1]);
	EXPECT_EQ(charged(), 0);
	EXPECT_EQ(used(), 0);
}

/* A user sends more than its limit to root's service, which maps and closes it. */
TEST_F(charge, deputy_gives_no_more)
{
	struct actor *user = &self->user, *service = &self->root;
	long page;

	if (!has_fd())
		SKIP(return, "n/a: no descriptor to pass");
	ASSERT_EQ(ask(user, act_open, variant->front, 4 * LIMIT), 0);
	ASSERT_TRUE(pass_object(user, service));
	EXPECT_EQ(ask(service, act_map, variant->front, 4 * LIMIT), -EAGAIN);
	EXPECT_EQ(used(), 0);
	for (page = 0; page < 4 * LIMIT; page += 256)
		EXPECT_EQ(ask(service, act_map_part, page, 256), page < LIMIT ? 0 : -EAGAIN);
	EXPECT_EQ(used(), LIMIT);
	ASSERT_EQ(ask(service, act_close), 0);
	actor_stop(service);

	EXPECT_EQ(used(), LIMIT);
	EXPECT_EQ(charged(), LIMIT);
	EXPECT_EQ(ask(user, act_map, variant->front, LIMIT), 0);
	EXPECT_EQ(ask(user, act_map, variant->front, LIMIT + 1), -EAGAIN);
	EXPECT_EQ(ask(user, act_open_and_map, variant->front, 1), -EAGAIN);
	EXPECT_EQ(used(), LIMIT);
	actor_stop(user);
	EXPECT_EQ(charged(), 0);
	EXPECT_EQ(used(), 0);
}

/* A service that maps and closes what an attacker sent is left with nothing to pay for. */
TEST_F(charge, deputy_pays_nothing)
{
	struct actor *attacker = &self->user, *service = &self->other;
	bool mapped;
	int i;

	if (!has_fd())
		SKIP(return, "n/a: no descriptor to pass");
	for (i = 0; i < 2; i++) {
		mapped = i;
		ASSERT_EQ(ask(attacker, act_open, variant->front, LIMIT), 0);
		if (mapped)
			ASSERT_EQ(ask(attacker, act_map, variant->front, LIMIT), 0);
		ASSERT_TRUE(pass_object(attacker, service));
		EXPECT_EQ(charged_to(OTHER), 0);
		EXPECT_EQ(ask(service, act_map, variant->front, LIMIT), 0);
		EXPECT_EQ(charged_to(OTHER), 0);
		EXPECT_EQ(charged_to(USER), LIMIT);
		/* The attacker holds the pages; the service has its whole limit. */
		EXPECT_EQ(ask(service, act_unmap, 0, LIMIT), 0);
		EXPECT_EQ(charged_to(OTHER), 0);
		EXPECT_EQ(ask(service, act_close), 0);
		EXPECT_EQ(used(), LIMIT);
		EXPECT_EQ(charged_to(OTHER), 0);
		EXPECT_EQ(charged_to(USER), LIMIT);
		EXPECT_EQ(ask(service, act_open_and_map, variant->front, LIMIT), 0);
		EXPECT_EQ(ask(service, act_close), 0);
		EXPECT_EQ(ask(service, act_unmap, 0, LIMIT), 0);
		ASSERT_EQ(ask(attacker, act_close), 0);
		if (mapped)
			ASSERT_EQ(ask(attacker, act_unmap, 0, LIMIT), 0);
		EXPECT_EQ(charged_to(USER), 0);
	}
	expect_nothing_left(_metadata, self);
}

TEST_F(charge, fork)
{
	struct actor *user = &self->user;

	ASSERT_EQ(ask(user, act_open_and_map, variant->front, 100), 0);
	ASSERT_GT(ask(user, act_start_child), 0);
	/* Both have it, or only the parent; in either case it is charged once. */
	EXPECT_EQ(charged(), 100);
	if (has_fd()) {
		EXPECT_EQ(ask_child(user, 0, act_map, variant->front, 100), 0);
		EXPECT_EQ(charged(), 100);
		ASSERT_EQ(ask(user, act_close), 0);
	}
	ASSERT_EQ(ask(user, act_unmap, 0, 100), 0);
	EXPECT_EQ(charged(), has_fd() ? 100 : 0);
	/* One limit for both. */
	EXPECT_EQ(ask_child(user, 0, act_open_and_map, variant->front, LIMIT - 100), 0);
	EXPECT_EQ(ask(user, act_open_and_map, variant->front, 101), -EAGAIN);
	EXPECT_EQ(ask(user, act_open_and_map, variant->front, 100), has_fd() ? -EAGAIN : 0);
	expect_nothing_left(_metadata, self);
}

/* A child of another user maps an object that its parent created. */
TEST_F(charge, child_of_another_user)
{
	struct actor parent;

	if (!has_fd())
		SKIP(return, "n/a: no descriptor to inherit");
	ASSERT_GT(actor_start(&parent), 0);
	ASSERT_TRUE(set_memlock(parent.pid, LIMIT * PAGE));
	ASSERT_EQ(ask(&parent, act_become_for_now, USER), 0);
	ASSERT_EQ(ask(&parent, act_open, variant->front, 2 * LIMIT), 0);
	ASSERT_EQ(ask(&parent, act_become_root_again), 0);
	ASSERT_GT(ask(&parent, act_start_child), 0);
	ASSERT_EQ(ask_child(&parent, 0, act_become, OTHER), 0);
	EXPECT_EQ(ask_child(&parent, 0, act_map_part, 0, LIMIT + 1), -EAGAIN);
	EXPECT_EQ(ask_child(&parent, 0, act_map_part, 0, 300), 0);
	EXPECT_EQ(charged(), 300);
	EXPECT_EQ(charged_to(OTHER), 0);
	actor_stop(&parent);
	expect_nothing_left(_metadata, self);
}

/* A process that changes its user after open() leaves the charge with the old one. */
TEST_F(charge, setuid_after_open)
{
	struct actor process;

	ASSERT_GT(actor_start(&process), 0);
	ASSERT_TRUE(set_memlock(process.pid, LIMIT * PAGE));
	ASSERT_EQ(ask(&process, act_become_for_now, USER), 0);
	ASSERT_EQ(ask(&process, has_fd() ? act_open : act_open_and_map, variant->front, 60), 0);
	ASSERT_EQ(ask(&process, act_become_root_again), 0);
	ASSERT_EQ(ask(&process, act_become, OTHER), 0);
	if (has_fd())
		EXPECT_EQ(ask(&process, act_map, variant->front, 60), 0);
	EXPECT_EQ(charged_to(USER), 60);
	EXPECT_EQ(charged_to(OTHER), 0);
	/* Also for what it allocates from now on. */
	if (variant->front == EXMEM_FRONT_DEVICE) {
		EXPECT_EQ(ask(&process, act_map_part, 60, LIMIT), -EAGAIN);
		EXPECT_EQ(ask(&process, act_map_part, 60, LIMIT - 60), 0);
		EXPECT_EQ(charged_to(USER), LIMIT);
		EXPECT_EQ(charged_to(OTHER), 0);
	}
	/* Its new objects are the new user's. */
	EXPECT_EQ(ask(&process, act_open_and_map, variant->front, 70), 0);
	EXPECT_EQ(charged_to(OTHER), 70);
	actor_stop(&process);
	expect_nothing_left(_metadata, self);
}

/* Two processes of one user share one limit, and a killed one leaves its part. */
TEST_F(charge, one_limit_for_a_user)
{
	struct actor second;

	ASSERT_TRUE(user_start(&second, USER));
	ASSERT_EQ(ask(&self->user, act_open_and_map, variant->front, 1500), 0);
	EXPECT_EQ(ask(&second, act_open_and_map, variant->front, 549), -EAGAIN);
	EXPECT_EQ(ask(&second, act_open_and_map, variant->front, 548), 0);
	EXPECT_EQ(charged(), LIMIT);
	actor_kill(&self->user);
	EXPECT_EQ(charged(), 548);
	EXPECT_EQ(ask(&second, act_open_and_map, variant->front, 1500), 0);
	actor_kill(&second);
	EXPECT_EQ(charged(), 0);
	EXPECT_EQ(used(), 0);
}

static long act_shm_remove(const long *arg)
{
	return act_result(shmctl(arg[0], IPC_RMID, NULL));
}

/* SHM_LOCK counts against the same limit. */
TEST_F(charge, shared_with_shm_lock)
{
	struct actor *user = &self->user;
	long id = ask(user, act_shm_lock, 100);

	ASSERT_GE(id, 0);
	EXPECT_EQ(charged(), 100);
	EXPECT_EQ(ask(user, act_open_and_map, variant->front, LIMIT - 99), -EAGAIN);
	EXPECT_EQ(ask(user, act_open_and_map, variant->front, LIMIT - 100), 0);
	EXPECT_EQ(ask(user, act_shm_lock, 1), -ENOMEM);
	ASSERT_EQ(ask(user, act_shm_remove, id), 0);
	EXPECT_EQ(charged(), LIMIT - 100);
	EXPECT_EQ(ask(user, act_shm_lock, 101), -ENOMEM);
	id = ask(user, act_shm_lock, 100);
	EXPECT_GE(id, 0);
	ask(user, act_shm_remove, id);
	expect_nothing_left(_metadata, self);
}

/* Subordinate user IDs, as in /etc/subuid. */
#define SUBUIDS		65536
#define FIRST_SUBUID	100000

/*
 * Let the user's actor make a user namespace, in which its children can be any of 65536 users.
 * Without a limit of its own on those: what binds is the limit of who made the namespace.
 */
static bool enter_namespace(const struct actor *user)
{
	const long map[ACT_ARGS] = { user->pid, FIRST_SUBUID, SUBUIDS };

	return !ask(user, act_unshare_user) && !act_map_ids(map) &&
	       set_memlock(user->pid, RLIM_INFINITY);
}

static bool have_namespaces(void)
{
	return !access("/proc/self/ns/user", F_OK);
}

/* All the user IDs in a user's namespace together have no more than the user. */
TEST_F(charge, namespace)
{
	static const int subuids[] = { 0, 1, 4711, 65535, 2, 1000, 30000, 65534 };
	struct actor *user = &self->user;
	int i;

	if (!have_namespaces())
		SKIP(return, "needs CONFIG_USER_NS");
	ASSERT_TRUE(enter_namespace(user));
	for (i = 0; i < (int)ARRAY_SIZE(subuids); i++) {
		ASSERT_GT(ask(user, act_start_child), 0);
		ASSERT_EQ(ask_child(user, i, act_become, subuids[i]), 0);
		EXPECT_EQ(ask_child(user, i, act_open_and_map, variant->front, LIMIT + 1), -EAGAIN);
	}
	for (i = 0; i < (int)ARRAY_SIZE(subuids); i++)
		EXPECT_EQ(ask_child(user, i, act_open_and_map, variant->front, LIMIT / 4),
			  i < 4 ? 0 : -EAGAIN);
	EXPECT_EQ(ask_child(user, 7, act_open_and_map, variant->front, 1), -EAGAIN);
	EXPECT_EQ(used(), LIMIT);
	/* To the outside, all of it is the user's. */
	EXPECT_EQ(charged(), LIMIT);
	EXPECT_EQ(charged_to(FIRST_SUBUID), 0);

	/* What one frees, another can get. */
	if (has_fd())
		ASSERT_EQ(ask_child(user, 1, act_close), 0);
	ASSERT_EQ(ask_child(user, 1, act_unmap, 0, LIMIT / 4), 0);
	EXPECT_EQ(charged(), LIMIT / 4 * 3);
	EXPECT_EQ(ask_child(user, 6, act_open_and_map, variant->front, LIMIT / 4 + 1), -EAGAIN);
	EXPECT_EQ(ask_child(user, 6, act_open_and_map, variant->front, LIMIT / 4), 0);
	EXPECT_EQ(charged(), LIMIT);
	expect_nothing_left(_metadata, self);
}

/* The user itself, outside and with other objects, is bound by the same sum. */
TEST_F(charge, namespace_and_outside)
{
	struct actor *user = &self->user, outside;

	if (!have_namespaces())
		SKIP(return, "needs CONFIG_USER_NS");
	ASSERT_TRUE(user_start(&outside, USER));
	ASSERT_EQ(ask(&outside, act_open_and_map, variant->front, 1000), 0);
	ASSERT_TRUE(enter_namespace(user));
	ASSERT_GT(ask(user, act_start_child), 0);
	ASSERT_EQ(ask_child(user, 0, act_become, 5), 0);
	EXPECT_EQ(ask_child(user, 0, act_open_and_map, variant->front, LIMIT - 999), -EAGAIN);
	EXPECT_EQ(ask_child(user, 0, act_open_and_map, variant->front, LIMIT - 1000), 0);
	EXPECT_EQ(ask(&outside, act_open_and_map, variant->front, 1), -EAGAIN);
	EXPECT_EQ(charged(), LIMIT);
	actor_stop(&outside);
	EXPECT_EQ(charged(), LIMIT - 1000);
	expect_nothing_left(_metadata, self);
}

/* Each user ID in the namespace has its own limit, too; root of the namespace is not exempt. */
TEST_F(charge, namespace_limits)
{
	struct actor *user = &self->user;
	long pid;

	if (!have_namespaces())
		SKIP(return, "needs CONFIG_USER_NS");
	ASSERT_TRUE(enter_namespace(user));
	pid = ask(user, act_start_child);
	ASSERT_GT(pid, 0);
	ASSERT_EQ(ask_child(user, 0, act_become, 0), 0);
	ASSERT_TRUE(set_memlock(pid, 100 * PAGE));
	EXPECT_EQ(ask_child(user, 0, act_open_and_map, variant->front, 101), -EAGAIN);
	EXPECT_EQ(ask_child(user, 0, act_open_and_map, variant->front, 100), 0);
	EXPECT_EQ(charged(), 100);
	expect_nothing_left(_metadata, self);
}

/* In the user's namespace, a user with a lower limit makes another. */
TEST_F(charge, nested_namespaces)
{
	struct actor *user = &self->user;
	long pid;

	if (!have_namespaces())
		SKIP(return, "needs CONFIG_USER_NS");
	ASSERT_TRUE(enter_namespace(user));
	/* Child 0 makes the inner namespace, and child 1 stays in the outer one. */
	pid = ask(user, act_start_child);
	ASSERT_GT(pid, 0);
	ASSERT_EQ(ask_child(user, 0, act_become, 0), 0);
	ASSERT_TRUE(set_memlock(pid, 400 * PAGE));
	ASSERT_EQ(ask_child(user, 0, act_unshare_user), 0);
	ASSERT_EQ(ask(user, act_map_ids, pid, 1000, 1000), 0);
	ASSERT_TRUE(set_memlock(pid, RLIM_INFINITY));
	ASSERT_GT(ask_child(user, 0, act_start_child), 0);
	ASSERT_GT(ask_child(user, 0, act_start_child), 0);
	ASSERT_EQ(ask_child(user, 0, act_by_child, 0, (long)act_become, 0), 0);
	ASSERT_EQ(ask_child(user, 0, act_by_child, 1, (long)act_become, 999), 0);
	ASSERT_GT(ask(user, act_start_child), 0);
	ASSERT_EQ(ask_child(user, 1, act_become, 7), 0);

#define ask_inner(nr, pages)								\
	ask_child(user, 0, act_by_child, nr, (long)act_open_and_map, variant->front, pages)
	/* The sum of the inner one's users is bounded by who made it. */
	EXPECT_EQ(ask_inner(0, 401), -EAGAIN);
	EXPECT_EQ(ask_inner(0, 300), 0);
	EXPECT_EQ(ask_inner(1, 101), -EAGAIN);
	EXPECT_EQ(ask_inner(1, 60), 0);
	EXPECT_EQ(charged(), 360);
	/* And the sum of all by who made the outer one. */
	EXPECT_EQ(ask_child(user, 1, act_open_and_map, variant->front, LIMIT - 359), -EAGAIN);
	EXPECT_EQ(ask_child(user, 1, act_open_and_map, variant->front, LIMIT - 360), 0);
	EXPECT_EQ(ask_inner(1, 1), -EAGAIN);
	EXPECT_EQ(used(), LIMIT);
	EXPECT_EQ(charged(), LIMIT);
	expect_nothing_left(_metadata, self);
}

TEST_HARNESS_MAIN
