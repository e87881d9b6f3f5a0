// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: the nodes that a task allocates from.
 *
 * mmap() allocates all pages of a mapping, before anyone can mbind() the range.
 * So the task's policy applies, and its cpuset.
 */
#include <linux/cpuset.h>
#include <linux/math.h>
#include <linux/mempolicy.h>
#include <linux/minmax.h>
#include <linux/sched.h>

#include "policy.h"
#include "region.h"

static unsigned long exmem_interleave_chunk(const struct mempolicy *pol, unsigned long nr)
{
	unsigned long nodes = max(nodes_weight(pol->nodes), 1);

	/* Larger chunks mean fewer extents to map. A region is the limit. */
	return DIV_ROUND_UP(min(nr, nodes * EXMEM_REGION_PAGES), nodes);
}

/**
 * exmem_task_policy - the current task's policy for the next pages of a request
 * @policy: filled in
 * @nr: number of pages in the whole request
 *
 * Only the task itself changes its policy. Its cpuset may change meanwhile: the
 * caller has to check for that.
 *
 * Context: Process context.
 */
void exmem_task_policy(struct exmem_policy *policy, unsigned long nr)
{
	struct mempolicy *pol = current->mempolicy;

	policy->nid = mempolicy_slab_node();
	policy->nodes = cpuset_current_mems_allowed;
	policy->preferred = NODE_MASK_NONE;
	policy->nr = nr;
	if (!pol)
		return;

	switch (pol->mode) {
	case MPOL_BIND:
		nodes_and(policy->nodes, policy->nodes, pol->nodes);
		break;
	case MPOL_PREFERRED_MANY:
		policy->preferred = pol->nodes;
		break;
	case MPOL_INTERLEAVE:
	case MPOL_WEIGHTED_INTERLEAVE:
		policy->nr = exmem_interleave_chunk(pol, nr);
		break;
	}
}

/**
 * exmem_task_last_node - the node that exmem_task_policy() chose last
 *
 * Context: Process context.
 * Return: the same @nid, without advancing an interleaved policy.
 */
int exmem_task_last_node(void)
{
	struct mempolicy *pol = current->mempolicy;

	if (pol && (pol->mode == MPOL_INTERLEAVE || pol->mode == MPOL_WEIGHTED_INTERLEAVE))
		/* At first, this is no node. */
		return node_online(current->il_prev) ? current->il_prev : numa_mem_id();
	return mempolicy_slab_node();
}
