// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: statistics of the pool in /sys/kernel/mm/exmem/, and of each
 * node's part of it in node<N>/ below that.
 */
#include <linux/exmem.h>
#include <linux/init.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "pool.h"

/**
 * struct exmem_dir - a directory
 * @kobj: its object
 * @nodes: nodes whose statistics it adds up
 */
struct exmem_dir {
	struct kobject kobj;
	nodemask_t nodes;
};

#define EXMEM_ATTR(_name, _field)						\
static ssize_t _name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
			    char *buf)						\
{										\
	struct exmem_dir *dir = container_of(kobj, struct exmem_dir, kobj);	\
	struct exmem_stats stats;						\
										\
	exmem_read_stats(&dir->nodes, &stats);					\
	return sysfs_emit(buf, "%lu\n", stats._field);				\
}										\
static struct kobj_attribute _name##_attr = __ATTR_RO(_name)

EXMEM_ATTR(total_pages, total);
EXMEM_ATTR(free_pages, free);
EXMEM_ATTR(peak_pages, peak);
EXMEM_ATTR(poisoned_pages, poisoned);
EXMEM_ATTR(failed_requests, failed);
EXMEM_ATTR(removed_2M, removed_pmd);
EXMEM_ATTR(removed_1G, removed_pud);
EXMEM_ATTR(splits_2M, split_pmd);
EXMEM_ATTR(splits_1G, split_pud);

static struct attribute *exmem_attrs[] = {
	&total_pages_attr.attr,
	&free_pages_attr.attr,
	&peak_pages_attr.attr,
	&poisoned_pages_attr.attr,
	&failed_requests_attr.attr,
	&removed_2M_attr.attr,
	&removed_1G_attr.attr,
	&splits_2M_attr.attr,
	&splits_1G_attr.attr,
	NULL
};
ATTRIBUTE_GROUPS(exmem);

static void exmem_dir_release(struct kobject *kobj)
{
	kfree(container_of(kobj, struct exmem_dir, kobj));
}

static const struct kobj_type exmem_dir_type = {
	.release	= exmem_dir_release,
	.sysfs_ops	= &kobj_sysfs_ops,
	.default_groups	= exmem_groups,
};

static struct kobject * __init exmem_dir_add(struct kobject *parent, const nodemask_t *nodes,
					     const char *name)
{
	struct exmem_dir *dir = kzalloc_obj(*dir);

	if (!dir)
		return NULL;
	dir->nodes = *nodes;
	if (kobject_init_and_add(&dir->kobj, &exmem_dir_type, parent, "%s", name)) {
		kobject_put(&dir->kobj);
		return NULL;
	}
	return &dir->kobj;
}

static int __init exmem_sysfs_init(void)
{
	struct kobject *kobj;
	char name[16];
	int nid;

	if (!exmem_enabled())
		return 0;

	kobj = exmem_dir_add(mm_kobj, exmem_pool_nodemask(), "exmem");
	if (!kobj)
		return -ENOMEM;
	for_each_node_mask(nid, *exmem_pool_nodemask()) {
		nodemask_t node = nodemask_of_node(nid);

		snprintf(name, sizeof(name), "node%d", nid);
		/* A node without a directory is no reason to fail. */
		exmem_dir_add(kobj, &node, name);
	}
	return 0;
}
subsys_initcall(exmem_sysfs_init);
