/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For workloads of the kernel: send the page tables to the TLB model, and control its
 * counting. Does nothing without TLB_MODEL_PORT in the environment.
 */
#ifndef TLB_MODEL_MODEL_H
#define TLB_MODEL_MODEL_H

#include <stdlib.h>

#include "marker.h"
#include "port.h"

#define PAGE_TABLES "/sys/kernel/debug/page_tables/kernel"

static FILE *model_port;

static inline void copy_stream(FILE *from, FILE *to)
{
	char part[4096];
	size_t n;

	while ((n = fread(part, 1, sizeof(part), from)))
		fwrite(part, 1, n, to);
}

static inline void model_start(void)
{
	const char *name = getenv("TLB_MODEL_PORT");
	FILE *tables;

	if (!name)
		return;
	model_port = open_port(name);
	tables = fopen(PAGE_TABLES, "r");
	if (!tables)
		err(1, PAGE_TABLES);
	fputs("=== map\n", model_port);
	copy_stream(tables, model_port);
	fputs("=== end\n", model_port);
	fclose(tables);
	if (fflush(model_port))
		err(1, "virtio port %s", name);
	tlb_model_start();
}

static inline void model_count(void)
{
	if (model_port)
		tlb_model_count();
}

static inline void model_stop(void)
{
	if (model_port)
		tlb_model_stop();
}

#endif
