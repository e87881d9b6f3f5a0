/* SPDX-License-Identifier: GPL-2.0-only */
/* Exclusive memory: the current task's NUMA policy, for the pool alone. */
#ifndef _MM_EXMEM_POLICY_H
#define _MM_EXMEM_POLICY_H

#include <linux/nodemask.h>

/**
 * struct exmem_policy - nodes to allocate from, and in which order
 * @nid: nodes are tried by their distance from this one
 * @nodes: the nodes allowed
 * @preferred: nodes to try before all others
 * @nr: number of pages to allocate before asking for the policy again
 */
struct exmem_policy {
	int nid;
	nodemask_t nodes;
	nodemask_t preferred;
	unsigned long nr;
};

#ifdef CONFIG_NUMA
void exmem_task_policy(struct exmem_policy *policy, unsigned long nr);
int exmem_task_last_node(void);
#else
static inline void exmem_task_policy(struct exmem_policy *policy, unsigned long nr)
{
	policy->nid = 0;
	policy->nodes = nodemask_of_node(0);
	policy->preferred = policy->nodes;
	policy->nr = nr;
}

static inline int exmem_task_last_node(void)
{
	return 0;
}
#endif

#endif /* _MM_EXMEM_POLICY_H */
