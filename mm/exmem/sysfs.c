// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: /sys/kernel/mm/exmem/, the pool in figures.
 */
#include <linux/init.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/sysfs.h>

#include "internal.h"

#define EXMEM_ATTR(_name, _field)						\
static ssize_t _name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
			    char *buf)						\
{										\
	struct exmem_stats stats;						\
										\
	exmem_read_stats(&stats);						\
	return sysfs_emit(buf, "%lu\n", stats._field);				\
}										\
static struct kobj_attribute _name##_attr = __ATTR_RO(_name)

EXMEM_ATTR(total_pages, total);
EXMEM_ATTR(free_pages, free);
EXMEM_ATTR(splits_2M, splits.pmd);
EXMEM_ATTR(splits_1G, splits.pud);

static struct attribute *exmem_attrs[] = {
	&total_pages_attr.attr,
	&free_pages_attr.attr,
	&splits_2M_attr.attr,
	&splits_1G_attr.attr,
	NULL
};
ATTRIBUTE_GROUPS(exmem);

static int __init exmem_sysfs_init(void)
{
	struct exmem_stats stats;
	struct kobject *kobj;
	int ret;

	exmem_read_stats(&stats);
	if (!stats.total)
		return 0;

	kobj = kobject_create_and_add("exmem", mm_kobj);
	if (!kobj)
		return -ENOMEM;
	ret = sysfs_create_groups(kobj, exmem_groups);
	if (ret)
		kobject_put(kobj);
	return ret;
}
subsys_initcall(exmem_sysfs_init);
