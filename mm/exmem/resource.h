/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: resources, for boot. */
#ifndef _MM_EXMEM_RESOURCE_H
#define _MM_EXMEM_RESOURCE_H

#include <linux/init.h>
#include <linux/types.h>

int __init exmem_split_resource(phys_addr_t base, phys_addr_t size);

#endif /* _MM_EXMEM_RESOURCE_H */
