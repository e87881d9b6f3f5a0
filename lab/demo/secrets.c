// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demonstration of `make run`; it runs in the guest. Every figure is read from
 * the running kernel. The exit status is 0 only if every check passed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../../tools/perf-scripts/age.h"
#include "../../tools/testing/selftests/exmem/exmem.h"
#include "search.h"

#define SECRETS		1000

static int failures;

static void check(bool ok, const char *fmt, ...)
{
	va_list args;

	printf("   %s ", ok ? "[ok]  " : "[FAIL]");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	failures += !ok;
}

struct direct_map {
	long kb4k, kb2m, kb1g, split2m, split1g;
};

static struct direct_map direct_map(void)
{
	struct direct_map m = {
		named_value("/proc/meminfo", "DirectMap4k"),
		named_value("/proc/meminfo", "DirectMap2M"),
		named_value("/proc/meminfo", "DirectMap1G"),
		named_value("/proc/vmstat", "direct_map_level2_splits"),
		named_value("/proc/vmstat", "direct_map_level3_splits"),
	};

	return m;
}

static void print_map(const char *when, struct direct_map m)
{
	printf("   %-28s 4K %5ld   2M %5ld   1G %5ld   splits: 2M %4ld, 1G %ld\n", when,
	       m.kb4k / 1024, m.kb2m / 1024, m.kb1g / 1024, m.split2m, m.split1g);
	fflush(stdout);
}

static void *exclusive_page(void)
{
	int fd = open(EXMEM_DEV, O_RDWR);
	void *p = fd < 0 ? MAP_FAILED : exmem_map(fd, 1, 0);

	if (p == MAP_FAILED)
		die(EXMEM_DEV);
	close(fd);
	return p;
}

static void *memfd_secret_page(void)
{
	int fd = exmem_front_open(EXMEM_FRONT_SECRETMEM, PAGE);
	void *p;

	if (fd < 0)
		die("memfd_secret");
	p = exmem_map(fd, 1, 0);
	if (p == MAP_FAILED)
		die("memfd_secret");
	close(fd);
	return p;
}

/* Check in the kernel's page tables that the direct map maps nothing of the pool. */
static void check_page_tables(void)
{
	unsigned long seen = 0, mapped = 0, size = 0;
	struct exmem_range ranges[16];
	int i, nr = exmem_ranges(ranges, 16);

	for (i = 0; i < nr; i++) {
		size += ranges[i].end - ranges[i].start;
		if (!direct_map_has(&ranges[i], &seen, &mapped))
			die(PAGE_TABLES);
	}
	check(nr && seen == size && size == (unsigned long)exmem_total() * PAGE && !mapped,
	      "the kernel's page tables map %lu KiB of the pool's %lu KiB",
	      mapped >> 10, size >> 10);
}

static void search_for_secret(const char *where, unsigned long *page, bool expected)
{
	unsigned long masked[SECRET_WORDS], searched;
	long found;
	int i;

	/* Generate the secret in place, so that no other copy exists. */
	if (getrandom(page, SECRET_WORDS * sizeof(*page), 0) < 0)
		die("getrandom");
	for (i = 0; i < SECRET_WORDS; i++)
		masked[i] = page[i] ^ MASK;
	found = search_kcore(masked, &searched);
	check(expected ? found > 0 : found == 0,
	      "secret in %s memory: %ld found in %lu MiB",
	      where, found, searched >> 20);
}

static void age(void)
{
	long all, large, before;

	free_blocks(&all, &before);
	if (!age_memory(1))
		die("pipe");
	free_blocks(&all, &large);
	printf("   fragmented: %ld MiB free, %ld MiB of that in 2 MiB blocks (%ld MiB before)\n",
	       all, large, before);
}

static struct direct_map hold_secrets(const char *title, void *(*new_page)(void))
{
	struct direct_map before = direct_map(), after;
	unsigned long *page[SECRETS];
	bool good = true;
	int i;

	for (i = 0; i < SECRETS; i++) {
		page[i] = new_page();
		page[i][0] = i * MASK;
	}
	for (i = 0; i < SECRETS; i++)
		good &= page[i][0] == i * MASK;
	after = direct_map();
	for (i = 0; i < SECRETS; i++)
		munmap(page[i], PAGE);

	printf("   %s:\n", title);
	print_map("  before", before);
	print_map("  with all secrets", after);
	check(good, "every secret reads back correctly");
	after.split2m -= before.split2m;
	after.split1g -= before.split1g;
	after.kb4k -= before.kb4k;
	return after;
}

static void show_boot(void)
{
	long total = exmem_total();
	struct direct_map m = direct_map();
	struct utsname un;

	uname(&un);
	printf("1. Linux %s reserved a pool at boot:\n", un.release);
	fflush(stdout);
	if (system("dmesg | sed -n 's/^.*exmem: /   exmem: /p' | grep ."))
		die("dmesg");
	printf("   %ld MiB: %ld pages, %ld of them free\n", total / 256, total, exmem_free());
	printf("   direct map leaves removed: %ld 2M, %ld 1G; split: %ld 2M, %ld 1G\n",
	       exmem_value("removed_2M"), exmem_value("removed_1G"), exmem_value("splits_2M"),
	       exmem_value("splits_1G"));
	print_map("direct map in MiB:", m);
	check(total == 64 * 256 && exmem_free() == total, "the pool has the requested 64 MiB");
	check(exmem_value("removed_2M") * 512 + exmem_value("removed_1G") * 512 * 512 == total,
	      "the pool was removed from the direct map in whole leaves");
}

static void show_secret(void)
{
	static const char secret[] = "attack at dawn";
	char *page = exclusive_page();
	char back[sizeof(secret)];

	printf("2. A program stores a secret in exclusive memory:\n");
	memcpy(page, secret, sizeof(secret));
	memcpy(back, page, sizeof(back));
	check(!strcmp(back, secret) && exmem_free() == exmem_total() - 1,
	      "wrote and read back \"%s\", in 1 page of the pool", back);
	munmap(page, PAGE);
}

static void show_invisible(void)
{
	unsigned long *plain = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long *page = exclusive_page();

	printf("3. Can the kernel see a secret? Search all RAM, through /proc/kcore:\n");
	search_for_secret("ordinary", plain, true);
	search_for_secret("exclusive", page, false);
	/* /proc/kcore skips PageOffline pages: check the page tables as well. */
	check_page_tables();
	munmap(plain, PAGE);
	munmap(page, PAGE);
}

static void show_cost(void)
{
	struct direct_map d;

	printf("4. What do %d secrets do to the direct map when memory is fragmented?\n",
	       SECRETS);
	age();
	d = hold_secrets("exclusive memory", exclusive_page);
	check(!d.split2m && !d.split1g && !d.kb4k, "exclusive memory split no leaf");
	d = hold_secrets("memfd_secret(2) with the pool", memfd_secret_page);
	check(!d.split2m && !d.split1g && !d.kb4k, "memfd_secret(2) with the pool split no leaf");
	memfd_secret_from_pool(false);
	d = hold_secrets("memfd_secret(2) without the pool", memfd_secret_page);
	memfd_secret_from_pool(true);
	check(d.split2m > 0, "memfd_secret(2) without the pool split %ld 2M and %ld 1G leaves",
	      d.split2m, d.split1g);
}

int main(void)
{
	struct rlimit many = { 4096, 4096 }, all = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_NOFILE, &many);
	setrlimit(RLIMIT_MEMLOCK, &all);

	show_boot();
	show_secret();
	show_invisible();
	show_cost();
	printf("5. Afterwards:\n");
	check(exmem_free() == exmem_total(), "every page is free again: %ld of %ld",
	      exmem_free(), exmem_total());
	printf("%s\n", failures ? "Some checks FAILED, see above." : "All checks passed.");
	return failures != 0;
}
