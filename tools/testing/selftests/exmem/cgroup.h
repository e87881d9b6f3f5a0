/* SPDX-License-Identifier: GPL-2.0-only */
/* Cgroups with the misc controller, for tests of exclusive memory. */
#ifndef _SELFTESTS_EXMEM_CGROUP_H
#define _SELFTESTS_EXMEM_CGROUP_H

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "exmem.h"

#define CGROUP_TOP	"/sys/fs/cgroup"

/* The parent of all cgroups of the test, if there are any. */
static char cgroup_dir[64];

/* The administrator does not use the misc controller. */
static bool cgroup_misc_off;

static inline bool cgroup_put(const char *dir, const char *file, const char *text)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return put(path, text);
}

/*
 * Mount cgroup2 in a mount namespace of this process alone. Returns the reason why that can't
 * be done, or NULL.
 */
static inline const char *cgroup_mount(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return "needs a mount namespace";
	if (mount("exmem", CGROUP_TOP, "cgroup2", 0, NULL))
		return "needs cgroup2";
	if (!file_contains(CGROUP_TOP "/cgroup.controllers", "misc"))
		return "needs CONFIG_CGROUP_MISC, and the misc controller in cgroup2";
	cgroup_misc_off = !file_contains(CGROUP_TOP "/cgroup.subtree_control", "misc");
	if (!cgroup_put(CGROUP_TOP, "cgroup.subtree_control", "+misc"))
		return "needs +misc in cgroup.subtree_control";
	return NULL;
}

/* Leave the controller as it was. */
static inline void cgroup_unmount(void)
{
	if (cgroup_misc_off)
		cgroup_put(CGROUP_TOP, "cgroup.subtree_control", "-misc");
	umount(CGROUP_TOP);
}

/* Mount cgroup2, and create cgroup_dir. Returns the reason why that can't be done, or NULL. */
static inline const char *cgroup_make_dir(void)
{
	const char *missing = cgroup_mount();

	if (missing)
		return missing;
	snprintf(cgroup_dir, sizeof(cgroup_dir), CGROUP_TOP "/exmem-%d", getpid());
	if (!mkdir(cgroup_dir, 0755) && cgroup_put(cgroup_dir, "cgroup.subtree_control", "+misc"))
		return NULL;
	rmdir(cgroup_dir);
	cgroup_dir[0] = 0;
	return "can't create a cgroup";
}

/* The cgroups below it have to be gone. */
static inline void cgroup_remove_dir(void)
{
	rmdir(cgroup_dir);
	cgroup_dir[0] = 0;
	cgroup_unmount();
}

#endif /* _SELFTESTS_EXMEM_CGROUP_H */
