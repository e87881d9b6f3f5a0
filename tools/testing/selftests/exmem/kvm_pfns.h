/* SPDX-License-Identifier: GPL-2.0-only */
/* Does KVM map pages that nobody can take a reference to? */
#ifndef _SELFTESTS_EXMEM_KVM_PFNS_H
#define _SELFTESTS_EXMEM_KVM_PFNS_H

#include <stdbool.h>
#include <sys/ioctl.h>

#include "guest_memfd.h"

/* It does since Linux 6.13. No capability says so: test for a later one. */
static inline bool kvm_maps_raw_pfns(int kvm)
{
	return ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS) > 0;
}

#endif
