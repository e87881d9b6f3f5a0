/* SPDX-License-Identifier: GPL-2.0-only */
/* Fixtures that several programs share. Each program defines the ones it needs. */
#ifndef _SELFTESTS_EXMEM_FIXTURES_H
#define _SELFTESTS_EXMEM_FIXTURES_H

#include <sys/stat.h>

#include "exmem.h"
#include "../kselftest_harness.h"

#ifdef NEED_DEVICE_FIXTURE
/* An object of the device. */
FIXTURE(device)
{
	int fd;
	long usable;
};

FIXTURE_SETUP(device)
{
	const char *missing = exmem_missing(2048);

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	/* Whatever the test before this one did, all pages are free. */
	ASSERT_EQ(exmem_free(), self->usable);
	self->fd = open(EXMEM_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(device)
{
}
#endif /* NEED_DEVICE_FIXTURE */

#ifdef NEED_FRONT_FIXTURE
/* Each front end. */
FIXTURE(front)
{
	long usable;
	mode_t node_mode;
	bool mmap, secretmem;	/* the sysctls */
};

FIXTURE_VARIANT(front)
{
	enum exmem_front front;
};

FIXTURE_VARIANT_ADD(front, device) { .front = EXMEM_FRONT_DEVICE };
FIXTURE_VARIANT_ADD(front, map_exclusive) { .front = EXMEM_FRONT_MMAP };
FIXTURE_VARIANT_ADD(front, memfd_secret) { .front = EXMEM_FRONT_SECRETMEM };

FIXTURE_SETUP(front)
{
	const char *missing = exmem_front_missing(variant->front, 2048);
	struct stat st;

	if (missing)
		SKIP(return, "%s", missing);
	self->usable = exmem_usable();
	ASSERT_EQ(exmem_free(), self->usable);
	ASSERT_EQ(stat(EXMEM_DEV, &st), 0);
	self->node_mode = st.st_mode & 07777;
	self->mmap = number_in(SYSCTL_MMAP);
	self->secretmem = number_in(SYSCTL_SECRETMEM);
}

/* A test that fails half-way must not lock out the next one. */
FIXTURE_TEARDOWN(front)
{
	chmod(EXMEM_DEV, self->node_mode);
	put(SYSCTL_MMAP, self->mmap ? "1" : "0");
	put(SYSCTL_SECRETMEM, self->secretmem ? "1" : "0");
}
#endif /* NEED_FRONT_FIXTURE */

#endif /* _SELFTESTS_EXMEM_FIXTURES_H */
