// SPDX-License-Identifier: GPL-2.0-only
/*
 * The system does not hibernate while exclusive memory of any front end is in use.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/suspend_ioctls.h>
#include <sys/ioctl.h>

#define NEED_FRONT_FIXTURE
#include "fixtures.h"

static bool cannot_hibernate(void)
{
	return access("/sys/power/disk", F_OK) || access("/dev/snapshot", F_OK);
}

TEST_F(front, refused)
{
	char *p;

	if (cannot_hibernate())
		SKIP(return, "needs a kernel that can hibernate");
	ASSERT_FALSE(file_contains("/sys/power/disk", "[disabled]"));
	p = map_front(open_front(1), 1);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(file_contains("/sys/power/disk", "[disabled]"));
	EXPECT_FALSE(put("/sys/power/state", "disk"));
	EXPECT_EQ(errno, EPERM);
}

/* Pages may be allocated after the system was asked whether it may hibernate. */
TEST_F_TIMEOUT(front, no_image, 120)
{
	int in_suspend, snapshot = open("/dev/snapshot", O_RDONLY), fd = open_front(1);
	char *p;

	if (cannot_hibernate())
		SKIP(return, "needs a kernel that can hibernate");
	ASSERT_GE(snapshot, 0);
	p = map_front(fd, 1);
	ASSERT_NE(p, MAP_FAILED);
	*p = 42;
	ASSERT_EQ(ioctl(snapshot, SNAPSHOT_FREEZE, 0), 0);
	EXPECT_EQ(ioctl(snapshot, SNAPSHOT_CREATE_IMAGE, &in_suspend), -1);
	EXPECT_EQ(errno, EBUSY);
	EXPECT_EQ(ioctl(snapshot, SNAPSHOT_UNFREEZE, 0), 0);
	EXPECT_EQ(*p, 42);
	close(snapshot);
}

TEST_HARNESS_MAIN
