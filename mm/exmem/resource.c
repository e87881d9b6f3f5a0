// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exclusive memory: resources in /proc/iomem, which keep the pool out of crash dumps.
 *
 * kexec-tools makes the headers of a crash dump from the lines of /proc/iomem that begin
 * with "System RAM", and kexec_file_load() makes them from the same resources. So the pool
 * has resources of its own, with another name. Their type is still system RAM, so that
 * /dev/mem and ioremap() refuse them. They are marked as added by a driver, so that
 * kexec_file_load() places no segment there.
 */
#include <linux/exmem.h>
#include <linux/ioport.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/slab.h>

#include "resource.h"

/**
 * resource_is_exmem - is this resource a part of the pool?
 * @res: system RAM
 *
 * Context: Any context, once boot has set up the pool.
 * Return: true if @res is a resource that exmem_split_resource() has made.
 */
bool resource_is_exmem(const struct resource *res)
{
	struct page *page = pfn_to_online_page(PHYS_PFN(res->start));

	return (res->flags & IORESOURCE_SYSRAM_DRIVER_MANAGED) && page && page_is_exmem(page);
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

static void __init exmem_replace_resource(struct resource *ram, struct resource *before,
					  struct resource *after, phys_addr_t base,
					  phys_addr_t last)
{
	struct resource *child, *next = ram->child;

	*before = DEFINE_RES_NAMED(ram->start, base - ram->start, ram->name, ram->flags);
	*after = DEFINE_RES_NAMED(last + 1, ram->end - last, ram->name, ram->flags);
	release_resource(ram);
	*ram = DEFINE_RES_NAMED(base, last + 1 - base, "Exclusive memory",
				ram->flags | IORESOURCE_SYSRAM_DRIVER_MANAGED);
	exmem_insert_part(before);
	exmem_insert_part(ram);
	exmem_insert_part(after);
	while ((child = next)) {
		next = child->sibling;
		/* Not insert_resource(): a child of the part's size would become its parent. */
		request_resource(child->start > last ? after : before, child);
	}
}

/**
 * exmem_split_resource - give a range of the pool a resource of its own
 * @base: physical address
 * @size: in bytes
 *
 * The rest of the surrounding resource stays, and so do its children.
 *
 * Context: Boot, while this is the only CPU: there may be no other reader of the
 * resources.
 * Return: 0; -ENOENT if no resource has the range; -ENOMEM.
 */
int __init exmem_split_resource(phys_addr_t base, phys_addr_t size)
{
	struct resource *before = kzalloc_obj(*before), *after = kzalloc_obj(*after);
	struct resource *ram = exmem_find_ram(base, base + size - 1);

	/* Two objects: memory hot-remove frees the resource of memory that is gone. */
	if (!before || !after || !ram) {
		kfree(before);
		kfree(after);
		return ram ? -ENOMEM : -ENOENT;
	}
	exmem_replace_resource(ram, before, after, base, base + size - 1);
	if (!before->parent)
		kfree(before);
	if (!after->parent)
		kfree(after);
	return 0;
}

#ifdef CONFIG_EXMEM_KUNIT_TEST
#include "tests/resource-kunit.h"
#endif
