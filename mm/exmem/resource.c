// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: /proc/iomem, and so crash dumps.
 *
 * kexec-tools makes the headers of a crash dump from the lines of /proc/iomem that begin
 * with "System RAM", and kexec_file_load() from the same resources. So the pool has
 * resources of its own, with another name. Their type still is system RAM: /dev/mem and
 * ioremap() refuse it. No kernel image is placed there, as if a driver had added
 * the memory.
 */
#include <linux/exmem.h>
#include <linux/ioport.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/slab.h>

#include "resource.h"

/**
 * resource_is_exmem - is this memory of the pool?
 * @res: system RAM
 *
 * Context: Any context, once boot has set up the pool.
 * Return: true if @res is a resource that exmem_split_resource() has made.
 */
bool resource_is_exmem(const struct resource *res)
{
	struct page *page = pfn_to_online_page(PHYS_PFN(res->start));

	return page && page_is_exmem(page);
}

static struct resource * __init exmem_find_ram(phys_addr_t base, phys_addr_t last)
{
	struct resource *res;

	for (res = iomem_resource.child; res; res = res->sibling)
		if (res->start <= base && res->end >= last)
			break;
	return res && resource_type(res) == IORESOURCE_MEM && (res->flags & IORESOURCE_SYSRAM) ?
	       res : NULL;
}

static void __init exmem_insert_part(struct resource *part)
{
	if (part->start <= part->end)
		insert_resource(&iomem_resource, part);
}

static void __init exmem_replace_resource(struct resource *ram, struct resource *rest,
					  phys_addr_t base, phys_addr_t last)
{
	struct resource *child, *next = ram->child;

	rest[0] = DEFINE_RES_NAMED(ram->start, base - ram->start, ram->name, ram->flags);
	rest[1] = DEFINE_RES_NAMED(last + 1, ram->end - last, ram->name, ram->flags);
	release_resource(ram);
	*ram = DEFINE_RES_NAMED(base, last + 1 - base, "Exclusive memory",
				ram->flags | IORESOURCE_SYSRAM_DRIVER_MANAGED);
	exmem_insert_part(&rest[0]);
	exmem_insert_part(ram);
	exmem_insert_part(&rest[1]);
	while ((child = next)) {
		next = child->sibling;
		/* Below the part, even if the child is as large: the crash kernel's may be. */
		request_resource(&rest[child->start > last], child);
	}
}

/**
 * exmem_split_resource - give a range of the pool a resource of its own
 * @base: physical address
 * @size: in bytes
 *
 * The rest of the resource that it is a part of, and the children of that, stay.
 *
 * Context: Boot, while this is the only CPU: there may be no other reader of the
 * resources.
 * Return: 0; -ENOENT if no resource has the range; -ENOMEM.
 */
int __init exmem_split_resource(phys_addr_t base, phys_addr_t size)
{
	phys_addr_t last = base + size - 1;
	struct resource *rest, *ram = exmem_find_ram(base, last);

	if (!ram)
		return -ENOENT;
	rest = kcalloc(2, sizeof(*rest), GFP_KERNEL);
	if (!rest)
		return -ENOMEM;
	exmem_replace_resource(ram, rest, base, last);
	return 0;
}

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/resource-kunit.h"
#endif
