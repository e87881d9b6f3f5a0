/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Memory that the kernel itself does not map: /dev/exclusive_memory and
 * MAP_EXCLUSIVE.
 */
#ifndef _UAPI_LINUX_EXCLUSIVE_MEMORY_H
#define _UAPI_LINUX_EXCLUSIVE_MEMORY_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * mmap(NULL, length, prot, MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_EXCLUSIVE,
 * -1, 0): anonymous exclusive memory, for this process alone. With any other
 * flags that it can't honour, and on kernels that don't know it, EINVAL.
 *
 * No architecture gives this bit another meaning.
 */
#define MAP_EXCLUSIVE	0x1000000

/**
 * struct exclusive_memory_range - a part of a memory object
 * @offset: where it begins, in bytes
 * @length: how long it is, in bytes
 *
 * Both are multiples of the page size, and @length is not zero.
 */
struct exclusive_memory_range {
	__u64 offset;
	__u64 length;
};

#define EXCLUSIVE_MEMORY_IOC_MAGIC	0xE6

/**
 * EXCLUSIVE_MEMORY_DROP - clear a range of an object and give its pages back
 *
 * The file has to be open for writing. Mappings of the range stay, in whatever
 * process, but access to them raises SIGBUS; who maps the range anew gets new
 * pages. Parts of the range that have no pages don't matter.
 *
 * Fails with EBADF if the file is not open for writing, EINVAL if the range is
 * not one, ENOMEM, or EINTR; nothing has changed then.
 */
#define EXCLUSIVE_MEMORY_DROP \
	_IOW(EXCLUSIVE_MEMORY_IOC_MAGIC, 0, struct exclusive_memory_range)

#endif /* _UAPI_LINUX_EXCLUSIVE_MEMORY_H */
