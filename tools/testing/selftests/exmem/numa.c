// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory and the caller's NUMA policy. Needs root, two nodes with CPUs
 * and memory, and a pool on both: exmem=64M.
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
	long total[NODES];
};

FIXTURE_SETUP(numa)
{
	int nid;

	for (nid = 0; nid < NODES; nid++) {
		self->total[nid] = exmem_node_value(nid, "total_pages");
		ASSERT_GE(self->total[nid], 2048);
		ASSERT_EQ(exmem_node_value(nid, "free_pages"), self->total[nid]);
	}
	self->fd = open(EXMEM_DEV, O_RDWR);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(numa)
{
}

/* Pages of a node that are in use. */
static long used_of(const long *total, int nid)
{
	return total[nid] - exmem_node_value(nid, "free_pages");
}

#define used(nid)	used_of(self->total, nid)

#define map(pages)	(exmem_map(self->fd, pages, 0) == MAP_FAILED ? -errno : 0)

TEST_F(numa, figures_add_up)
{
	EXPECT_EQ(self->total[0] + self->total[1], exmem_total());
	ASSERT_EQ(map(300), 0);
	EXPECT_EQ(used(0) + used(1), 300);
	EXPECT_EQ(exmem_free(), exmem_total() - 300);
	EXPECT_EQ(exmem_value("peak_pages"),
		  exmem_node_value(0, "peak_pages") + exmem_node_value(1, "peak_pages"));
}

/* Continue on some CPU of @nid. */
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

/* Have a CPU of @nid keep some pages at hand. */
static void fill_cache(unsigned int nid)
{
	int fd = open(EXMEM_DEV, O_RDWR);
	void *page;

	if (!run_on(nid))
		return;
	page = exmem_map(fd, 1, 0);
	if (page != MAP_FAILED)
		munmap(page, PAGE);
	close(fd);
}

/* Without a policy pages come from the node that the CPU is on. */
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
		before = used(nid);
		ASSERT_NE(exmem_map(self->fd, 1, i * 200), MAP_FAILED);
		ASSERT_NE(exmem_map(self->fd, 100, i * 200 + 100), MAP_FAILED);
		EXPECT_EQ(used(nid), before + 101);
	}
	EXPECT_GT(used(0), 0);
	EXPECT_GT(used(1), 0);
}

TEST_F(numa, all_of_it_from_both)
{
	ASSERT_EQ(map(exmem_total()), 0);
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
		EXPECT_EQ(map(self->total[nid] + 1), -ENOMEM);
		EXPECT_EQ(used(nid), 0);
		EXPECT_EQ(exmem_node_value(nid, "failed_requests"), failed + 1);
		p = exmem_map(self->fd, self->total[nid], 0);
		ASSERT_NE(p, MAP_FAILED);
		EXPECT_EQ(used(nid), self->total[nid]);
		EXPECT_EQ(used(!nid), 0);
		EXPECT_EQ(exmem_map(self->fd, 1, self->total[nid]), MAP_FAILED);
		EXPECT_EQ(used(!nid), 0);

		munmap(p, self->total[nid] * PAGE);
		close(self->fd);
		self->fd = open(EXMEM_DEV, O_RDWR);
		ASSERT_GE(self->fd, 0);
	}
}

/* Small requests, too, whatever the caches of this CPU hold. */
TEST_F(numa, bind_one_by_one)
{
	int i, nid;

	for (nid = 0; nid < NODES; nid++) {
		ASSERT_EQ(set_policy(MPOL_BIND, 1UL << nid), 0);
		for (i = 0; i < 200; i++)
			ASSERT_NE(exmem_map(self->fd, 1, nid * 1000 + i), MAP_FAILED);
		EXPECT_EQ(used(nid), 200);
	}
}

TEST_F(numa, preferred_falls_back)
{
	int nid;

	fill_cache(1);
	ASSERT_TRUE(run_on(0));
	for (nid = 0; nid < NODES; nid++) {
		ASSERT_EQ(set_policy(MPOL_PREFERRED, 1UL << nid), 0);
		ASSERT_NE(exmem_map(self->fd, 100, nid * 100), MAP_FAILED);
		EXPECT_EQ(used(nid), 100);
	}
	/* All that the preferred node has, and the rest from the other. */
	ASSERT_NE(exmem_map(self->fd, self->total[1], 1000), MAP_FAILED);
	EXPECT_EQ(used(1), self->total[1]);
	EXPECT_EQ(used(0), 200);
}

TEST_F(numa, preferred_many)
{
	fill_cache(1);
	ASSERT_TRUE(run_on(0));
	ASSERT_EQ(set_policy(MPOL_PREFERRED_MANY, 2), 0);
	ASSERT_NE(exmem_map(self->fd, 100, 0), MAP_FAILED);
	EXPECT_EQ(used(1), 100);
	ASSERT_NE(exmem_map(self->fd, self->total[1], 100), MAP_FAILED);
	EXPECT_EQ(used(1), self->total[1]);
	EXPECT_EQ(used(0), 100);
}

TEST_F(numa, interleave)
{
	int i;

	ASSERT_EQ(set_policy(MPOL_INTERLEAVE, 3), 0);
	ASSERT_NE(exmem_map(self->fd, 64, 0), MAP_FAILED);
	EXPECT_EQ(used(0), 32);
	EXPECT_EQ(used(1), 32);
	ASSERT_NE(exmem_map(self->fd, 2048, 1000), MAP_FAILED);
	EXPECT_EQ(used(0), 32 + 1024);
	EXPECT_EQ(used(1), 32 + 1024);
	/* One by one they take turns, but with all else that this process allocates. */
	for (i = 0; i < 100; i++)
		ASSERT_NE(exmem_map(self->fd, 1, 100 + i), MAP_FAILED);
	EXPECT_GT(used(0), 32 + 1024 + 30);
	EXPECT_GT(used(1), 32 + 1024 + 30);
	/* More than there is: all that was dealt out goes back. */
	EXPECT_EQ(exmem_map(self->fd, exmem_free() + 1, 10000), MAP_FAILED);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(used(0) + used(1), 64 + 2048 + 100);
	/* When one node is empty, the other has to do. */
	EXPECT_NE(exmem_map(self->fd, exmem_free(), 10000), MAP_FAILED);
}

TEST_F(numa, interleave_on_one)
{
	ASSERT_EQ(set_policy(MPOL_INTERLEAVE, 2), 0);
	ASSERT_NE(exmem_map(self->fd, 700, 0), MAP_FAILED);
	EXPECT_EQ(used(1), 700);
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
		if (exmem_map(self->fd, 100, 0) == MAP_FAILED || used(1) != 100 ||
		    exmem_map(self->fd, self->total[1], 100) != MAP_FAILED || errno != ENOMEM ||
		    used(0))
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
