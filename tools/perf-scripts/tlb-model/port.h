/* SPDX-License-Identifier: GPL-2.0-only */
/* The virtio port through which a program in a guest sends its map to the TLB model */
#ifndef TLB_MODEL_PORT_H
#define TLB_MODEL_PORT_H

#include <err.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PORTS "/sys/class/virtio-ports/"

static inline bool is_port(const char *path, const char *name)
{
	char is[32] = "";
	FILE *f = fopen(path, "r");

	if (!f)
		err(1, "%s", path);
	if (fscanf(f, "%31s", is) != 1)
		*is = '\0';
	fclose(f);
	return !strcmp(is, name);
}

static inline FILE *open_port(const char *name)
{
	char port[32], device[64];
	FILE *f = NULL;
	glob_t g;

	if (glob(PORTS "*/name", 0, NULL, &g))
		errx(1, "no virtio ports");
	for (size_t i = 0; i < g.gl_pathc; i++) {
		if (!is_port(g.gl_pathv[i], name))
			continue;
		if (sscanf(g.gl_pathv[i], PORTS "%31[^/]", port) != 1)
			continue;
		snprintf(device, sizeof(device), "/dev/%s", port);
		f = fopen(device, "w");
	}
	globfree(&g);
	if (!f)
		err(1, "virtio port %s", name);
	return f;
}

#endif
