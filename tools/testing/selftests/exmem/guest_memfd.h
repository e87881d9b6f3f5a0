/* SPDX-License-Identifier: GPL-2.0-only */
/* Definitions that an older <linux/kvm.h> lacks. */
#ifndef _SELFTESTS_EXMEM_GUEST_MEMFD_H
#define _SELFTESTS_EXMEM_GUEST_MEMFD_H

#include <linux/kvm.h>

#ifndef KVM_CREATE_GUEST_MEMFD
struct kvm_userspace_memory_region2 {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
	__u64 guest_memfd_offset;
	__u32 guest_memfd;
	__u32 pad1;
	__u64 pad2[14];
};

struct kvm_create_guest_memfd {
	__u64 size;
	__u64 flags;
	__u64 reserved[6];
};

#define KVM_MEM_GUEST_MEMFD		4
#define KVM_EXIT_MEMORY_FAULT		39
#define KVM_SET_USER_MEMORY_REGION2	_IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
#define KVM_CREATE_GUEST_MEMFD		_IOWR(KVMIO, 0xd4, struct kvm_create_guest_memfd)
#endif

#ifndef KVM_CAP_GUEST_MEMFD_FLAGS
#define KVM_CAP_GUEST_MEMFD_FLAGS	244
#endif

#ifndef KVM_PRE_FAULT_MEMORY
struct kvm_pre_fault_memory {
	__u64 gpa;
	__u64 size;
	__u64 flags;
	__u64 padding[5];
};

#define KVM_PRE_FAULT_MEMORY		_IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory)
#endif

#ifndef GUEST_MEMFD_FLAG_MMAP
#define GUEST_MEMFD_FLAG_MMAP		1
#define GUEST_MEMFD_FLAG_INIT_SHARED	2
#endif
#ifndef GUEST_MEMFD_FLAG_EXCLUSIVE
#define GUEST_MEMFD_FLAG_EXCLUSIVE	0x10000
#endif

#endif /* _SELFTESTS_EXMEM_GUEST_MEMFD_H */
