/* SPDX-License-Identifier: GPL-2.0-only */
/* Search all RAM that the kernel has mapped, through /proc/kcore. */
#ifndef _SELFTESTS_EXMEM_KCORE_H
#define _SELFTESTS_EXMEM_KCORE_H

#include <linux/elf.h>

#include "exmem.h"

#define KCORE_CHUNK	(1024 * 1024UL)

typedef void (*kcore_look)(const void *mem, size_t size, void *arg);

static inline bool kcore_segment(int kcore, const struct elf64_phdr *ph, void *buf, kcore_look look,
				 void *arg)
{
	unsigned long done;
	size_t size;

	/* Skip segments that are not RAM, and the second mapping of the kernel's text. */
	if (ph->p_type != PT_LOAD || ph->p_paddr == -1UL || ph->p_vaddr >= 0xffffffff80000000ULL)
		return true;
	for (done = 0; done < ph->p_memsz; done += KCORE_CHUNK) {
		size = ph->p_memsz - done < KCORE_CHUNK ? ph->p_memsz - done : KCORE_CHUNK;
		if (pread(kcore, buf, size, ph->p_offset + done) != (ssize_t)size)
			return false;
		look(buf, size, arg);
	}
	return true;
}

/*
 * Call @look for all RAM, piece by piece. The buffer is exclusive memory: a search must not find
 * what an earlier one has read. Returns false if something can't be read.
 */
static inline bool kcore_search(kcore_look look, void *arg)
{
	int kcore = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	int i, fd = open(EXMEM_DEV, O_RDWR | O_CLOEXEC);
	void *buf = exmem_map(fd, KCORE_CHUNK / PAGE, 0);
	struct elf64_phdr ph;
	struct elf64_hdr eh;
	bool ok;

	ok = buf != MAP_FAILED && pread(kcore, &eh, sizeof(eh), 0) == sizeof(eh);
	for (i = 0; ok && i < eh.e_phnum; i++)
		ok = pread(kcore, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph)) == sizeof(ph) &&
		     kcore_segment(kcore, &ph, buf, look, arg);
	if (buf != MAP_FAILED)
		munmap(buf, KCORE_CHUNK);
	close(fd);
	close(kcore);
	return ok;
}

#endif /* _SELFTESTS_EXMEM_KCORE_H */
