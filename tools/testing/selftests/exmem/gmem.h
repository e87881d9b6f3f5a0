/* SPDX-License-Identifier: GPL-2.0-only */
/* guest_memfd with memory from the pool. */
#ifndef _SELFTESTS_EXMEM_GMEM_H
#define _SELFTESTS_EXMEM_GMEM_H

#include "kvm_pfns.h"
#include "vm.h"

#define GMEM_MAPPABLE	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)

/* The flags that KVM supports, or 0. */
static inline int gmem_flags(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int flags = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);

	close(kvm);
	return flags > 0 ? flags : 0;
}

/* Can a guest_memfd have memory from the pool? */
static inline bool gmem_has_exclusive(void)
{
	return gmem_flags() & GUEST_MEMFD_FLAG_EXCLUSIVE;
}

/* As exmem_missing(), for a guest_memfd. */
static inline const char *gmem_missing(long pages)
{
	const char *missing = vm_missing(exmem_missing(pages));

	if (missing)
		return missing;
	if (!gmem_flags())
		return "n/a: this KVM has no guest_memfd that can be mapped";
	return gmem_has_exclusive() ? NULL : "needs GUEST_MEMFD_FLAG_EXCLUSIVE";
}

/* A guest_memfd of @size bytes from the pool, or -1. */
static inline int gmem_create(const struct vm *vm, size_t size, uint64_t flags)
{
	struct kvm_create_guest_memfd create = {
		.size = size,
		.flags = flags | GUEST_MEMFD_FLAG_EXCLUSIVE,
	};

	return ioctl(vm->vm, KVM_CREATE_GUEST_MEMFD, &create);
}

/* Bind @size bytes of vm->fd from @offset on to a slot at @gpa. */
static inline int gmem_bind(struct vm *vm, int slot, uint64_t gpa, void *addr, uint64_t offset,
			    size_t size)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)addr,
		.guest_memfd_offset = offset,
		.guest_memfd = vm->fd,
	};

	return ioctl(vm->vm, KVM_SET_USER_MEMORY_REGION2, &region);
}

#endif /* _SELFTESTS_EXMEM_GMEM_H */
