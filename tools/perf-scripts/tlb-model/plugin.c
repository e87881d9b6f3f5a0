// SPDX-License-Identifier: GPL-2.0-only
/*
 * A QEMU plugin that feeds a guest's data accesses to models of TLBs, from a start
 * marker to the next stop marker (marker.h). A start marker empties the TLBs; a count
 * marker resets the counts and keeps the entries.
 *
 * -plugin tlb-model.so,map=FILE,out=FILE[,tlb=NAME[+NAME]...][,presets=FILE]
 *
 * map      the leaves that map addresses, see map.h: a dump for each start marker, in
 *          order. Accesses to other addresses are only counted.
 * out      receives a line of JSON at each stop marker
 * tlb      the TLBs to model (all presets)
 * presets  the file that describes TLBs
 *
 * Between a stop and a start only the markers are instrumented. To switch, QEMU drops
 * all translated code once the block with the marker has ended. The rest of that block
 * after a start marker is not counted; tlb_model_start() ends the block at once.
 *
 * QEMU up to 7.2 may leave a block with a dangling pointer: to the instrumentation of
 * memory accesses, which is freed with the code, and which a later access by code
 * without instrumentation would follow. QEMU clears the pointer when an instruction
 * exits its block by a longjmp. So switch back at one that always does, pause or hlt:
 * tlb_model_stop() has one, and so does the kernel's idle loop.
 *
 * Each step of a repeated string instruction counts as an instruction, as with
 * -icount. An access that crosses a 4K boundary counts twice.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map.h"
#include "marker.h"
#include "qemu-plugin.h"
#include "tlb.h"

#define MAP_WAIT_MS 5000

__attribute__((visibility("default"))) int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static uint64_t plugin_id;
static const char *map_file;
static FILE *out;
static struct tlb *tlbs;
static unsigned int nr_tlbs;

static bool running;		/* between a start and a stop */
static bool instrumented;	/* accesses are */
static struct map map;
static unsigned long intervals;
static uint64_t instructions;
static unsigned long unmapped;
static unsigned long by_leaf[LEAVES];

static char *read_file(const char *name)
{
	FILE *f = fopen(name, "r");
	struct stat st;
	char *text;

	if (!f || fstat(fileno(f), &st))
		die("%s: %m", name);
	text = malloc(st.st_size + 1);
	if (!text)
		die("no memory");
	text[fread(text, 1, st.st_size, f)] = '\0';
	fclose(f);
	return text;
}

/* The guest's dump may arrive after its marker: wait for it, don't reuse the last one. */
static void load_map(unsigned long nr)
{
	char *text, *dump, *rest;
	const char *wrong;

	for (int ms = 0;; ms += 50) {
		text = read_file(map_file);
		dump = map_dump(text, nr, &rest);
		if (dump)
			break;
		if (ms >= MAP_WAIT_MS)
			die("%s: no complete map for start %lu", map_file, nr);
		free(text);
		usleep(50000);
	}
	if (*rest)
		die("%s: more than one map for start %lu", map_file, nr);
	map_free(&map);
	wrong = map_parse(&map, dump);
	if (wrong)
		die("%s: %s", map_file, wrong);
	free(text);
}

static void print_leaves(const char *name, const unsigned long leaves[LEAVES])
{
	fprintf(out, "\"%s\":{", name);
	for (enum leaf leaf = 0; leaf < LEAVES; leaf++)
		fprintf(out, "%s\"%s\":%lu", leaf ? "," : "", leaf_name[leaf], leaves[leaf]);
	fprintf(out, "}");
}

static void print_tlb(const struct tlb *tlb)
{
	unsigned long walks = tlb_walks(tlb);

	fprintf(out, "\"%s\":{\"l1_misses\":%lu,\"walks\":%lu,\"walks_per_kinsn\":%.3f,",
		tlb->name, tlb->l1_misses, walks,
		instructions ? 1000.0 * walks / instructions : 0);
	print_leaves("walks_by_leaf", tlb->walks);
	fprintf(out, "}");
}

static void print_interval(void)
{
	unsigned long accesses = by_leaf[LEAF_4K] + by_leaf[LEAF_2M] + by_leaf[LEAF_1G];

	fprintf(out, "{\"interval\":%lu,\"instructions\":%lu,\"accesses\":%lu,", intervals,
		instructions, accesses);
	print_leaves("by_leaf", by_leaf);
	fprintf(out, ",\"unmapped\":%lu,", unmapped);
	print_leaves("working_set", map.working_set);
	fprintf(out, ",\"tlb\":{");
	for (unsigned int i = 0; i < nr_tlbs; i++) {
		if (i)
			fputc(',', out);
		print_tlb(&tlbs[i]);
	}
	fprintf(out, "}}\n");
	if (fflush(out))
		die("out: %m");
}

static void access_page(unsigned long addr, enum access access)
{
	const struct range *range = map_find(&map, addr);

	if (!range) {
		unmapped++;
		return;
	}
	by_leaf[range->leaf]++;
	map_touch(&map, range, addr);
	for (unsigned int i = 0; i < nr_tlbs; i++)
		tlb_access(&tlbs[i], addr, range->leaf, access);
}

static void on_access(unsigned int vcpu, uint32_t info, uint64_t addr, void *data)
{
	enum access access = qemu_plugin_mem_is_store(info) ? TLB_STORE : TLB_LOAD;
	uint64_t last = addr + (1UL << qemu_plugin_mem_size_shift(info)) - 1;

	if (!running)
		return;
	access_page(addr, access);
	if ((addr ^ last) >> leaf_shift[LEAF_4K])
		access_page(last, access);
}

static void setup(uint64_t id);

static void instrument(bool accesses)
{
	if (instrumented == accesses)
		return;
	instrumented = accesses;
	qemu_plugin_reset(plugin_id, setup);
}

static void reset_counts(void)
{
	for (unsigned int i = 0; i < nr_tlbs; i++)
		tlb_reset_counts(&tlbs[i]);
	map_clear_working_set(&map);
	instructions = 0;
	unmapped = 0;
	memset(by_leaf, 0, sizeof(by_leaf));
}

static void on_start(unsigned int vcpu, void *data)
{
	if (running)
		die("a start marker after a start marker");
	intervals++;
	load_map(intervals);
	for (unsigned int i = 0; i < nr_tlbs; i++)
		tlb_flush(&tlbs[i]);
	reset_counts();
	running = true;
	instrument(true);
}

static void on_count(unsigned int vcpu, void *data)
{
	if (!running)
		die("a count marker without a start marker");
	reset_counts();
}

static void on_stop(unsigned int vcpu, void *data)
{
	if (!running)
		die("a stop marker without a start marker");
	print_interval();
	running = false;
}

static void on_pause(unsigned int vcpu, void *data)
{
	if (!running)
		instrument(false);
}

static bool is_marker(const struct qemu_plugin_insn *insn, uint32_t imm32)
{
	static const uint8_t nop[] = { 0x0f, 0x1f, 0x84, 0x00 };
	const uint8_t *data = qemu_plugin_insn_data(insn);

	return qemu_plugin_insn_size(insn) == sizeof(nop) + sizeof(imm32) &&
	       !memcmp(data, nop, sizeof(nop)) &&
	       !memcmp(data + sizeof(nop), &imm32, sizeof(imm32));
}

static bool is_pause(const struct qemu_plugin_insn *insn)
{
	const uint8_t *data = qemu_plugin_insn_data(insn);
	size_t size = qemu_plugin_insn_size(insn);

	return (size == 1 && data[0] == 0xf4) ||
	       (size == 2 && data[0] == 0xf3 && data[1] == 0x90);
}

static void call(struct qemu_plugin_insn *insn, void (*cb)(unsigned int vcpu, void *data))
{
	qemu_plugin_register_vcpu_insn_exec_cb(insn, cb, QEMU_PLUGIN_CB_NO_REGS, NULL);
}

static void count(struct qemu_plugin_insn *insn)
{
	qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
						   &instructions, 1);
	qemu_plugin_register_vcpu_mem_cb(insn, on_access, QEMU_PLUGIN_CB_NO_REGS,
					 QEMU_PLUGIN_MEM_RW, NULL);
	if (is_pause(insn))
		call(insn, on_pause);
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (is_marker(insn, TLB_MODEL_START))
			call(insn, on_start);
		else if (is_marker(insn, TLB_MODEL_COUNT))
			call(insn, on_count);
		else if (is_marker(insn, TLB_MODEL_STOP))
			call(insn, on_stop);
		else if (instrumented)
			count(insn);
	}
}

static void on_exit_of_qemu(uint64_t id, void *data)
{
	if (running)
		die("no stop marker after the last start marker");
}

static void setup(uint64_t id)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
}

/* Appends @name to a list of names that are separated by '+'. */
static void add_name(char **names, const char *name)
{
	char *longer;

	if (asprintf(&longer, "%s%s%s", *names ?: "", *names ? "+" : "", name) < 0)
		die("no memory");
	free(*names);
	*names = longer;
}

/* If @arg is NAME=VALUE with @name, *@value becomes that. */
static bool is_arg(const char *arg, const char *name, const char **value)
{
	size_t len = strlen(name);

	if (strncmp(arg, name, len) || arg[len] != '=')
		return false;
	*value = arg + len + 1;
	return true;
}

static void open_out(const char *name)
{
	out = fopen(name, "a");
	if (!out)
		die("%s: %m", name);
}

static void parse_args(int argc, char **argv)
{
	const char *presets = PRESETS, *value;
	char *names = NULL;

	for (int i = 0; i < argc; i++) {
		if (is_arg(argv[i], "map", &map_file))
			continue;
		if (is_arg(argv[i], "out", &value))
			open_out(value);
		else if (is_arg(argv[i], "tlb", &value))
			add_name(&names, value);
		else if (!is_arg(argv[i], "presets", &presets))
			die("unknown argument: %s", argv[i]);
	}
	if (!map_file || !out)
		die("map= or out= is missing");
	tlbs = tlb_load(presets, names, &nr_tlbs);
	free(names);
}

__attribute__((visibility("default")))
int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	if (!info->system_emulation || strcmp(info->target_name, "x86_64"))
		die("not a machine with x86_64");
	if (info->system.max_vcpus != 1)
		die("one CPU only");
	plugin_id = id;
	parse_args(argc, argv);
	setup(id);
	return 0;
}
