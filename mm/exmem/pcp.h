/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: per-CPU caches of free pages, for the pool. */
#ifndef _MM_EXMEM_PCP_H
#define _MM_EXMEM_PCP_H

#include "region.h"

bool exmem_pcp_alloc(int nid, unsigned long nr, struct list_head *runs);
bool exmem_pcp_free(struct page *page, unsigned long nr);
void exmem_drain_pcps(const nodemask_t *nodes);
void exmem_disable_pcps(const nodemask_t *nodes);
void exmem_enable_pcps(void);
unsigned long exmem_pcp_pages(const nodemask_t *nodes);
unsigned long exmem_pcp_pages_settled(const nodemask_t *nodes);

#endif /* _MM_EXMEM_PCP_H */
