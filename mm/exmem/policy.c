// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: which nodes a task's pages come from.
 *
 * Pages are taken when a range is mapped, before anybody could mbind() it: it is
 * the policy of the task that counts, and its cpuset.
 */
#include <linux/math.h>
#include <linux/mempolicy.h>
#include <linux/minmax.h>
#include <linux/sched.h>

#include "internal.h"

/*
 * Interleaved requests are dealt out in pieces as long as can be, but never more
 * than a region: each piece takes a call to map.
 */
static unsigned long exmem_interleave(const struct mempolicy *pol, unsigned long nr)
{
	unsigned long nodes = max(nodes_weight(pol->nodes), 1);

	return DIV_ROUND_UP(min(nr, nodes * EXMEM_REGION_PAGES), nodes);
}

/*
 * Where the current task wants the next of @nr pages. Only the task itself
 * changes its policy; a cpuset that changes is for the caller to notice.
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
		policy->nr = exmem_interleave(pol, nr);
		break;
	}
}
