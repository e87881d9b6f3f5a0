// SPDX-License-Identifier: GPL-2.0-only
/*
 * A direct map without large leaves: the worst case that benchmarks compare with.
 *
 * Boot with direct_map_4k.split=1 to split all leaves.
 */
#include <linux/init.h>
#include <linux/ioport.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/set_memory.h>

static bool direct_map_4k_split;
module_param_named(split, direct_map_4k_split, bool, 0400);
MODULE_PARM_DESC(split, "split all leaves of the direct map at boot");

static int __init direct_map_4k_split_range(unsigned long start, unsigned long nr, void *unused)
{
	return set_memory_4k((unsigned long)pfn_to_kaddr(start), nr);
}

static int __init direct_map_4k_init(void)
{
	if (!direct_map_4k_split)
		return 0;
	return walk_system_ram_range(0, max_pfn, NULL, direct_map_4k_split_range);
}
late_initcall(direct_map_4k_init);
