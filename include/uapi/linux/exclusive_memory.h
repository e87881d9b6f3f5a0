/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Exclusive memory, which the kernel itself does not map: /dev/exclusive_memory
 * and MAP_EXCLUSIVE. See exclusive_memory(4).
 */
#ifndef _UAPI_LINUX_EXCLUSIVE_MEMORY_H
#define _UAPI_LINUX_EXCLUSIVE_MEMORY_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * mmap(NULL, length, prot, MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_EXCLUSIVE,
 * -1, 0) maps exclusive memory for this process alone. Fails with EINVAL for
 * flags that exclusive memory does not support, and on kernels that do not know
 * MAP_EXCLUSIVE.
 *
 * No architecture uses this bit for another flag.
 */
#define MAP_EXCLUSIVE	0x1000000

/**
 * struct exclusive_memory_range - a range of a memory object
 * @offset: start of the range, in bytes
 * @length: length of the range, in bytes
 *
 * Both must be multiples of the page size, and @length must not be zero.
 */
struct exclusive_memory_range {
	__u64 offset;
	__u64 length;
};

#define EXCLUSIVE_MEMORY_IOC_MAGIC	0xE6

/**
 * EXCLUSIVE_MEMORY_DROP - punch a hole: clear and free a range of an object
 *
 * The file must be open for writing. Mappings of the range remain in all
 * processes, but any access to them raises SIGBUS. Mapping the range again
 * allocates new pages. The range may already have holes.
 *
 * Fails with EBADF if the file is not open for writing, with EINVAL if the range
 * is invalid, or with EFAULT, ENOMEM or EINTR. A failure changes nothing.
 */
#define EXCLUSIVE_MEMORY_DROP \
	_IOW(EXCLUSIVE_MEMORY_IOC_MAGIC, 0, struct exclusive_memory_range)

#endif /* _UAPI_LINUX_EXCLUSIVE_MEMORY_H */
