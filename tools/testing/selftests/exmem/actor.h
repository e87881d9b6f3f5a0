/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Actors: processes that do one act after the other, as the test asks them to. Each may have a
 * user, a user namespace, limits and a cgroup of its own, and has one object.
 */
#ifndef _SELFTESTS_EXMEM_ACTOR_H
#define _SELFTESTS_EXMEM_ACTOR_H

#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "exmem.h"

#define ACT_ARGS	8
#define MOST_FDS	64
#define MOST_CHILDREN	8

/* Something that an actor does. Returns a number, or a negative errno. */
typedef long act_fn(const long *arg);

struct order {
	act_fn *act;
	long arg[ACT_ARGS];
};

struct actor {
	pid_t pid;
	int sock;
};

/* The actor that this process is. */
static struct {
	int sock, fd;
	char *p;
	struct actor children[MOST_CHILDREN];
	int nr_children;
} me = { .sock = -1, .fd = -1 };

/* Returns the answer, or -EPIPE if the actor is gone. */
static inline long actor_ask(const struct actor *actor, act_fn *act, const long *arg)
{
	struct order order = { .act = act };
	long answer;

	memcpy(order.arg, arg, sizeof(order.arg));
	if (send(actor->sock, &order, sizeof(order), MSG_NOSIGNAL) != sizeof(order) ||
	    recv(actor->sock, &answer, sizeof(answer), 0) != sizeof(answer))
		return -EPIPE;
	return answer;
}

#define ask(actor, act, ...)	actor_ask(actor, act, (const long [ACT_ARGS]) { __VA_ARGS__ })

/* Let the actor exit, in its own time or at once, unless it has ended already. */
static inline int actor_end(struct actor *actor, bool killed)
{
	int status = -1;

	if (actor->pid <= 0)
		return -1;
	if (killed)
		kill(actor->pid, SIGKILL);
	close(actor->sock);
	waitpid(actor->pid, &status, 0);
	actor->pid = 0;
	return status;
}

static inline int actor_stop(struct actor *actor)
{
	return actor_end(actor, false);
}

static inline int actor_kill(struct actor *actor)
{
	return actor_end(actor, true);
}

/* Do as asked until the other side closes the socket. */
static inline void be_actor(int sock)
{
	struct order order;
	long answer;
	int i;

	/* The sockets of other actors, above all. */
	for (i = 3; i < MOST_FDS; i++)
		if (i != sock && i != me.fd)
			close(i);
	me.nr_children = 0;
	me.sock = sock;
	while (recv(sock, &order, sizeof(order), 0) == sizeof(order)) {
		answer = order.act(order.arg);
		if (send(sock, &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer))
			break;
	}
	for (i = 0; i < me.nr_children; i++)
		actor_stop(&me.children[i]);
	_exit(0);
}

/* A new actor, which inherits the caller's object. Returns its pid, or a negative errno. */
static inline long actor_start(struct actor *actor)
{
	int socks[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		return -errno;
	actor->pid = fork();
	if (!actor->pid)
		be_actor(socks[1]);
	close(socks[1]);
	actor->sock = socks[0];
	return actor->pid;
}

static inline long act_result(long ret)
{
	return ret < 0 ? -errno : ret;
}

/* Start a child of the actor. The first one has the number 0. Returns its pid. */
static inline long act_start_child(const long *arg)
{
	(void)arg;
	if (me.nr_children == MOST_CHILDREN)
		return -EAGAIN;
	return actor_start(&me.children[me.nr_children++]);
}

/* Pass an order on: number of the child, act, its arguments. */
static inline long act_by_child(const long *arg)
{
	long rest[ACT_ARGS] = {};

	memcpy(rest, arg + 2, (ACT_ARGS - 2) * sizeof(*arg));
	return actor_ask(&me.children[arg[0]], (act_fn *)arg[1], rest);
}

#define ask_child(actor, nr, act, ...) ask(actor, act_by_child, nr, (long)(act), ##__VA_ARGS__)

/* Set RLIMIT_MEMLOCK of a process. */
static inline bool set_memlock(pid_t pid, rlim_t bytes)
{
	struct rlimit limit = { bytes, bytes };

	return !prlimit(pid, RLIMIT_MEMLOCK, &limit, NULL);
}

/* Become a user for good: uid. */
static inline long act_become(const long *arg)
{
	if (setresgid(arg[0], arg[0], arg[0]) || setresuid(arg[0], arg[0], arg[0]))
		return -errno;
	/* Otherwise the files in /proc would belong to root: no parent could write uid_map. */
	return act_result(prctl(PR_SET_DUMPABLE, 1));
}

/* Become a user who can become root again: uid. */
static inline long act_become_for_now(const long *arg)
{
	return act_result(setresuid(arg[0], arg[0], 0));
}

static inline long act_become_root_again(const long *arg)
{
	(void)arg;
	return act_result(setresuid(0, 0, 0));
}

static inline bool set_caps(__u32 caps)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { .effective = caps, .permitted = caps } };

	return !syscall(SYS_capset, &head, data);
}

/* Become a user with a single capability: uid, capability. */
static inline long act_become_capable(const long *arg)
{
	if (prctl(PR_SET_KEEPCAPS, 1) || setresuid(arg[0], arg[0], arg[0]) ||
	    !set_caps(1U << arg[1]))
		return -errno;
	return 0;
}

static inline long act_drop_caps(const long *arg)
{
	(void)arg;
	return set_caps(0) ? 0 : -errno;
}

static inline long act_unshare_user(const long *arg)
{
	(void)arg;
	return act_result(unshare(CLONE_NEWUSER));
}

/* Fill one map of a user namespace. */
static inline bool put_id_map(pid_t pid, const char *name, int first, int count)
{
	char path[64], text[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	snprintf(text, sizeof(text), "0 %d %d", first, count);
	return put(path, text);
}

/* Map the IDs from 0 on of a process's user namespace: pid, first ID of the parent, number. */
static inline long act_map_ids(const long *arg)
{
	return put_id_map(arg[0], "uid_map", arg[1], arg[2]) &&
	       put_id_map(arg[0], "gid_map", arg[1], arg[2]) ? 0 : -EPERM;
}

/* Make a new object the actor's: front end, pages. */
static inline long act_open(const long *arg)
{
	me.fd = exmem_front_open(arg[0], arg[1] * PAGE);
	return me.fd < 0 && arg[0] != EXMEM_FRONT_MMAP ? -errno : 0;
}

/* Map the object: front end, pages. */
static inline long act_map(const long *arg)
{
	void *p = exmem_front_map(arg[0], me.fd, NULL, arg[1] * PAGE, PROT_READ | PROT_WRITE);

	if (p == MAP_FAILED)
		return -errno;
	me.p = p;
	return 0;
}

/* A new object, mapped: front end, pages. */
static inline long act_open_and_map(const long *arg)
{
	return act_open(arg) ?: act_map(arg);
}

/* Map a part of the object: page, pages. */
static inline long act_map_part(const long *arg)
{
	char *p = exmem_map(me.fd, arg[1], arg[0]);

	if (p == MAP_FAILED)
		return -errno;
	me.p = p;
	return 0;
}

/* Unmap a part of the last mapping: page, pages. */
static inline long act_unmap(const long *arg)
{
	return act_result(munmap(me.p + arg[0] * PAGE, arg[1] * PAGE));
}

static inline long act_close(const long *arg)
{
	(void)arg;
	return act_result(close(me.fd));
}

/* Punch a hole into the object: page, pages. */
static inline long act_punch_hole(const long *arg)
{
	return act_result(exmem_punch_hole(me.fd, arg[0], arg[1]));
}

/* Set the size of the object: pages. */
static inline long act_truncate(const long *arg)
{
	return act_result(ftruncate(me.fd, arg[0] * PAGE));
}

/* Replace the last mapping by ordinary memory: pages. */
static inline long act_replace(const long *arg)
{
	void *p = mmap(me.p, arg[0] * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		       0);

	return p == MAP_FAILED ? -errno : 0;
}

static inline long act_exec(const long *arg)
{
	(void)arg;
	execl("/bin/sleep", "sleep", "1000", NULL);
	return -errno;
}

static inline long act_send_object(const long *arg)
{
	(void)arg;
	return send_fd(me.sock, me.fd) ? 0 : -errno;
}

static inline long act_receive_object(const long *arg)
{
	(void)arg;
	me.fd = receive_fd(me.sock);
	return me.fd < 0 ? -EBADF : 0;
}

/* The actor's object, as a descriptor of the caller, or -1. */
static inline int object_of(const struct actor *actor)
{
	struct order order = { .act = act_send_object };
	long answer = -1;
	int fd;

	if (send(actor->sock, &order, sizeof(order), MSG_NOSIGNAL) != sizeof(order))
		return -1;
	fd = receive_fd(actor->sock);
	if (recv(actor->sock, &answer, sizeof(answer), 0) != sizeof(answer) || answer)
		return -1;
	return fd;
}

/* Give the caller's descriptor to an actor, as its object. */
static inline bool give_object(const struct actor *actor, int fd)
{
	struct order order = { .act = act_receive_object };
	long answer = -1;

	return send(actor->sock, &order, sizeof(order), MSG_NOSIGNAL) == sizeof(order) &&
	       send_fd(actor->sock, fd) &&
	       recv(actor->sock, &answer, sizeof(answer), 0) == sizeof(answer) && !answer;
}

/* One actor sends its object to another. Nobody else keeps a descriptor. */
static inline bool pass_object(const struct actor *from, const struct actor *to)
{
	int fd = object_of(from);
	bool passed = fd >= 0 && give_object(to, fd);

	close(fd);
	return passed;
}

#endif /* _SELFTESTS_EXMEM_ACTOR_H */
