// SPDX-License-Identifier: GPL-2.0-only
/*
 * The NUMA policy of the caller: which node's part of the pool pages come from.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#define NODES	2

static int set_policy(int mode, unsigned long nodes)
{
	return syscall(SYS_set_mempolicy, mode, mode == MPOL_DEFAULT ? NULL : &nodes, 64);
}

FIXTURE(numa)
{
	int fd;
	long usable[NODES];
};

FIXTURE_SETUP(numa)
{
	const char *missing = exmem_missing(1);
	int nid;

	if (missing)
		SKIP(return, "%s", missing);
	for (nid = 0; nid < NODES; nid++) {
		if (exmem_node_value(nid, "total_pages") <= 0)
			SKIP(return, "needs two nodes, and a pool on both");
		self->usable[nid] = exmem_node_value(nid, "total_pages") -
				    exmem_node_value(nid, "poisoned_pages");
		if (self->usable[nid] < 2048)
			SKIP(return, "needs a larger pool: boot with exmem=64M");
		ASSERT_EQ(exmem_node_value(nid, "free_pages"), self->usable[nid]);
	}
	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(numa)
{
}

/* Pages of a node that are in use. */
static long used_of(const long *usable, int nid)
{
	return usable[nid] - exmem_node_value(nid, "free_pages");
}

#define node_used(nid)	used_of(self->usable, nid)

#define map(pages)	(exmem_map(self->fd, pages, 0) == MAP_FAILED ? -errno : 0)

TEST_F(numa, figures_add_up)
{
	EXPECT_EQ(self->usable[0] + self->usable[1], exmem_usable());
	EXPECT_EQ(exmem_node_value(0, "total_pages") + exmem_node_value(1, "total_pages"),
		  exmem_total());
	ASSERT_EQ(map(300), 0);
	EXPECT_EQ(node_used(0) + node_used(1), 300);
	EXPECT_EQ(exmem_free(), exmem_usable() - 300);
	EXPECT_EQ(exmem_value("peak_pages"),
		  exmem_node_value(0, "peak_pages") + exmem_node_value(1, "peak_pages"));
}

/* The node that counts a request for more pages than there are, or -1. */
static int failing_node(int fd)
{
	long before[NODES], counted[NODES];
	int nid;

	for (nid = 0; nid < NODES; nid++)
		before[nid] = exmem_node_value(nid, "failed_requests");
	if (exmem_map(fd, exmem_total() + 1, 0) != MAP_FAILED)
		return -1;
	for (nid = 0; nid < NODES; nid++)
		counted[nid] = exmem_node_value(nid, "failed_requests") - before[nid];
	return counted[0] + counted[1] == 1 ? counted[1] : -1;
}

/* The event names the node that counts the failure. */
TEST_F(numa, failure_of_interleaved_request)
{
	char text[32];
	int i, node;

	if (!exmem_can_trace())
		SKIP(return, "needs tracefs");
	ASSERT_EQ(set_policy(MPOL_INTERLEAVE, 3), 0);
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(exmem_trace_on());
		node = failing_node(self->fd);
		ASSERT_TRUE(exmem_trace_off());
		ASSERT_GE(node, 0);
		snprintf(text, sizeof(text), ": node=%d ", node);
		EXPECT_EQ(traced(EVENT_ALLOC_FAIL, text), 1);
	}
	ASSERT_EQ(set_policy(MPOL_DEFAULT, 0), 0);
}

/* Move to a CPU of @nid. */
static bool run_on(unsigned int nid)
{
	unsigned int cpu, on;
	cpu_set_t set;
	int i;

	for (i = 0; i < CPU_SETSIZE; i++) {
		CPU_ZERO(&set);
		CPU_SET(i, &set);
		if (!sched_setaffinity(0, sizeof(set), &set) &&
		    !syscall(SYS_getcpu, &cpu, &on, NULL) && on == nid)
			return true;
	}
	return false;
}

/* Fill the cache of a CPU on node @nid. */
static bool fill_cache(unsigned int nid)
{
	int fd = open(EXMEM_DEV, O_RDWR);
	void *page = run_on(nid) ? exmem_map(fd, 1, 0) : MAP_FAILED;

	if (page != MAP_FAILED)
		munmap(page, PAGE);
	close(fd);
	return page != MAP_FAILED;
}

/* Without a policy pages come from the CPU's node. */
TEST_F(numa, local_first)
{
	unsigned int cpu, nid;
	cpu_set_t set;
	long before;
	int i;

	for (i = 0; i < CPU_SETSIZE; i++) {
		CPU_ZERO(&set);
		CPU_SET(i, &set);
		if (sched_setaffinity(0, sizeof(set), &set))
			continue;
		ASSERT_EQ(syscall(SYS_getcpu, &cpu, &nid, NULL), 0);
		before = node_used(nid);
		ASSERT_NE(exmem_map(self->fd, 1, i * 200), MAP_FAILED);
		ASSERT_NE(exmem_map(self->fd, 100, i * 200 + 100), MAP_FAILED);
		EXPECT_EQ(node_used(nid), before + 101);
	}
	EXPECT_GT(node_used(0), 0);
	EXPECT_GT(node_used(1), 0);
}

TEST_F(numa, whole_pool_from_both_nodes)
{
	ASSERT_EQ(map(exmem_usable()), 0);
	EXPECT_EQ(exmem_free(), 0);
}

TEST_F(numa, bind_never_leaves)
{
	long failed;
	char *p;
	int nid;

	for (nid = 0; nid < NODES; nid++) {
		ASSERT_EQ(set_policy(MPOL_BIND, 1UL << nid), 0);
		failed = exmem_node_value(nid, "failed_requests");
		EXPECT_EQ(map(self->usable[nid] + 1), -ENOMEM);
		EXPECT_EQ(node_used(nid), 0);
		EXPECT_EQ(exmem_node_value(nid, "failed_requests"), failed + 1);
		p = exmem_map(self->fd, self->usable[nid], 0);
		ASSERT_NE(p, MAP_FAILED);
		EXPECT_EQ(node_used(nid), self->usable[nid]);
		EXPECT_EQ(node_used(!nid), 0);
		EXPECT_EQ(exmem_map(self->fd, 1, self->usable[nid]), MAP_FAILED);
		EXPECT_EQ(node_used(!nid), 0);

		munmap(p, self->usable[nid] * PAGE);
		close(self->fd);
		self->fd = open(EXMEM_DEV, O_RDWR);
		ASSERT_GE(self->fd, 0);
	}
}

/* Small requests, too, even if this CPU caches pages of the other node. */
TEST_F(numa, bind_one_by_one)
{
	int i, nid;

	for (nid = 0; nid < NODES; nid++) {
		ASSERT_EQ(set_policy(MPOL_BIND, 1UL << nid), 0);
		for (i = 0; i < 200; i++)
			ASSERT_NE(exmem_map(self->fd, 1, nid * 1000 + i), MAP_FAILED);
		EXPECT_EQ(node_used(nid), 200);
	}
}

TEST_F(numa, preferred_falls_back)
{
	int nid;

	ASSERT_TRUE(fill_cache(1));
	ASSERT_TRUE(run_on(0));
	for (nid = 0; nid < NODES; nid++) {
		ASSERT_EQ(set_policy(MPOL_PREFERRED, 1UL << nid), 0);
		ASSERT_NE(exmem_map(self->fd, 100, nid * 100), MAP_FAILED);
		EXPECT_EQ(node_used(nid), 100);
	}
	/* All of the preferred node, and the rest from the other. */
	ASSERT_NE(exmem_map(self->fd, self->usable[1], 1000), MAP_FAILED);
	EXPECT_EQ(node_used(1), self->usable[1]);
	EXPECT_EQ(node_used(0), 200);
}

TEST_F(numa, preferred_many)
{
	ASSERT_TRUE(fill_cache(1));
	ASSERT_TRUE(run_on(0));
	ASSERT_EQ(set_policy(MPOL_PREFERRED_MANY, 2), 0);
	ASSERT_NE(exmem_map(self->fd, 100, 0), MAP_FAILED);
	EXPECT_EQ(node_used(1), 100);
	ASSERT_NE(exmem_map(self->fd, self->usable[1], 100), MAP_FAILED);
	EXPECT_EQ(node_used(1), self->usable[1]);
	EXPECT_EQ(node_used(0), 100);
}

TEST_F(numa, interleave)
{
	int i;

	ASSERT_EQ(set_policy(MPOL_INTERLEAVE, 3), 0);
	ASSERT_NE(exmem_map(self->fd, 64, 0), MAP_FAILED);
	EXPECT_EQ(node_used(0), 32);
	EXPECT_EQ(node_used(1), 32);
	ASSERT_NE(exmem_map(self->fd, 2048, 1000), MAP_FAILED);
	EXPECT_EQ(node_used(0), 32 + 1024);
	EXPECT_EQ(node_used(1), 32 + 1024);
	/* Other allocations of this process take their turns, too: the split is not exact. */
	for (i = 0; i < 100; i++)
		ASSERT_NE(exmem_map(self->fd, 1, 100 + i), MAP_FAILED);
	EXPECT_GT(node_used(0), 32 + 1024 + 30);
	EXPECT_GT(node_used(1), 32 + 1024 + 30);
	/* More than there is: all of it is freed again. */
	EXPECT_EQ(exmem_map(self->fd, exmem_free() + 1, 10000), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(node_used(0) + node_used(1), 64 + 2048 + 100);
	/* When one node is empty, the other serves. */
	EXPECT_NE(exmem_map(self->fd, exmem_free(), 10000), MAP_FAILED);
}

TEST_F(numa, interleave_on_one)
{
	ASSERT_EQ(set_policy(MPOL_INTERLEAVE, 2), 0);
	ASSERT_NE(exmem_map(self->fd, 700, 0), MAP_FAILED);
	EXPECT_EQ(node_used(1), 700);
}

#define CGROUP	"/tmp/cg"

/* A cpuset binds, too. */
TEST_F(numa, cpuset)
{
	pid_t pid = fork();
	int status;

	ASSERT_GE(pid, 0);
	if (!pid) {
		if (mkdir(CGROUP, 0700) || mount("cg", CGROUP, "cgroup2", 0, NULL) ||
		    !put(CGROUP "/cgroup.subtree_control", "+cpuset") ||
		    mkdir(CGROUP "/exmem", 0700) || !put(CGROUP "/exmem/cpuset.mems", "1") ||
		    !put(CGROUP "/exmem/cgroup.procs", "0"))
			_exit(1);
		if (exmem_map(self->fd, 100, 0) == MAP_FAILED || node_used(1) != 100 ||
		    exmem_map(self->fd, self->usable[1], 100) != MAP_FAILED || errno != ENOMEM ||
		    node_used(0))
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	rmdir(CGROUP "/exmem");
	umount(CGROUP);
	rmdir(CGROUP);
}

TEST_HARNESS_MAIN
