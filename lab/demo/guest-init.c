// SPDX-License-Identifier: GPL-2.0-only
/*
 * The only process of the guest that `make run-vm` boots. It says on the console what it does,
 * and waits for a line from the host before each step.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "secret.h"

#define PAGE		4096UL
#define MEMORY		(384UL << 20)
#define CLOCKSOURCE	"/sys/devices/system/clocksource/clocksource0/current_clocksource"

static void power_off(const char *message)
{
	if (message)
		printf("guest: FAILED: %s\n", message);
	fflush(stdout);
	reboot(RB_POWER_OFF);
	exit(1);
}

static void read_line(const char *path, char *line, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, line, size - 1);

	line[n > 0 ? n : 0] = 0;
	line[strcspn(line, "\n")] = 0;
	close(fd);
}

static void wait_for_host(void)
{
	static int port = -1;
	char c;

	if (port < 0)
		port = open("/dev/vport0p1", O_RDONLY);
	do {
		if (read(port, &c, 1) != 1)
			power_off("no line from the host");
	} while (c != '\n');
}

/* The console shows the secret masked: the host must not have a copy. */
static void write_secret(unsigned long *memory)
{
	int i;

	if (getrandom(memory, SECRET_WORDS * sizeof(*memory), 0) < 0)
		power_off("getrandom");
	printf("guest: secret");
	for (i = 0; i < SECRET_WORDS; i++)
		printf(" %lx", memory[i] ^ MASK);
	printf("\n");
}

int main(void)
{
	char disk[64], clock[64], *memory;
	struct utsname un;
	unsigned long i;

	mkdir("/sys", 0755);
	if (mount("sys", "/sys", "sysfs", 0, NULL) || mount("dev", "/dev", "devtmpfs", 0, NULL))
		power_off("mount");
	uname(&un);
	read_line("/dev/vda", disk, sizeof(disk));
	read_line(CLOCKSOURCE, clock, sizeof(clock));
	printf("guest: booted Linux %s, clock %s, disk \"%s\"\n", un.release, clock, disk);

	wait_for_host();
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		power_off("mmap");
	for (i = 0; i < MEMORY; i += PAGE)
		memory[i] = 1;
	printf("guest: touched %lu MiB\n", MEMORY >> 20);
	write_secret((unsigned long *)memory);

	wait_for_host();
	power_off(NULL);
	return 1;
}
