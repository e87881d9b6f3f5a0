// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations on memory objects of all front ends, checked against a model:
 * random [-s SEED] [-n OPERATIONS] [-j PROCESSES] [-u PAGES].
 *
 * Every process has an arena of addresses. For each page there the model knows the page that
 * is mapped, its VMA, and the errno or signal to expect. For each page allocated it knows the
 * user and the cgroup that pay.
 *
 * With -u, what the model calls a page is a unit of several pages, so that objects and mappings
 * are large enough for PMDs.
 */
#define _GNU_SOURCE
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "cgroup.h"
#include "exmem.h"
#include "gmem.h"
#include "objects.h"
#include "../kselftest.h"

#define NR_OBJECTS	20
#define OBJECT_PAGES	64
#define NR_FDS		2
#define ARENA		0x200000000000UL	/* mmap() picks no address near it */
#define ARENA_PAGES	256
#define WORDS		(UNIT / sizeof(unsigned long))
#define FIRST_UID	60000
#define NR_USERS	2	/* for each worker */
#define NR_GROUPS	2	/* likewise */
#define MAX_WORKERS	16
#define MAX_DEPTH	2
#define NO_LIMIT	0x40000000L

enum kind { UNUSED, DEVICE, SECRET, ANON, GUEST };

/* A page is zero, except that word number tag % WORDS is the tag, if there is one. */
struct page {
	unsigned long tag;
	bool here;
};

/* Who pays for an object: the process that created it, as it was at that time. */
struct payer {
	int user, group;
	bool exempt;		/* has CAP_IPC_LOCK */
	long limit;		/* RLIMIT_MEMLOCK, in pages */
};

/* A cgroup, with what misc.max, misc.peak and misc.events show. */
struct group {
	long max, peak;		/* pages */
	long events;
};

/* A memory object, as all processes see it. */
struct object {
	enum kind kind;
	bool readonly;
	bool kept;		/* the keeper holds it, too */
	struct payer payer;
	unsigned long base;	/* offset of its first page in the file */
	int size;		/* of a SECRET: 0, or pages to its end; of a GUEST: its pages */
	long id, vm;		/* of a GUEST, and of the VM that created it */
	int pages;		/* allocated */
	struct page page[OBJECT_PAGES];
};

/* The model that a process shares with its children. */
struct world {
	struct object object[NR_OBJECTS];
	struct object *in_flight;	/* its descriptor is in the socket */
	long charged[NR_USERS][NR_GROUPS];	/* pages */
	struct group group[NR_GROUPS];
	long operations;
	long ids;
	bool done;
	long calls[40], refused[40];
	long pmds;	/* entries that were seen to map a region */
};

#define MAY_WRITE	PROT_WRITE
#define MAY_ACCESS	(PROT_READ | PROT_WRITE)
#define DONT_COPY	0x04
#define RANDOM		0x08
#define SEQUENTIAL	0x10
#define HUGE		0x20
#define NO_HUGE		0x40

/* A page of a process's arena. */
struct cell {
	struct object *object;	/* NULL: nothing is mapped */
	unsigned int vma;	/* the number of its VMA */
	unsigned char pgoff;
	unsigned char flags;
};

/* The references that a process holds to an object. */
struct hold {
	int fd[NR_FDS];		/* 0: none */
	int cells;
	bool above;		/* a waiting ancestor holds it */
};

struct process {
	unsigned long random;
	int worker, depth;
	struct payer payer;	/* of the objects that it creates */
	unsigned int vmas;
	struct cell cell[ARENA_PAGES];
	struct hold hold[NR_OBJECTS];
	int socket[2], file;
	pid_t keeper;
	int keeper_pipe;
	int at, nr;		/* pages that the operation affects */
	int number;		/* the operation's index in the table */
	struct vm vm;
	long vm_id, bound;	/* 0, or the VM's number, and that of the guest_memfd in its slot */
	const char *call;
	long arg[5];
};

/* The cgroups of a worker. */
enum { CURRENT, PEAK, EVENTS, MAX, PROCS, NR_GROUP_FILES };
static int group_files[NR_GROUPS][NR_GROUP_FILES];
static unsigned long group_ids[NR_GROUPS];

static unsigned long seed;
static bool alone;	/* the only worker: it knows how many pages are free */
static bool lists_objects;
static bool has_gmem;
static unsigned long unit = 1;	/* pages in a page of the model */
#define UNIT		(unit * PAGE)
static bool moves_ranges;	/* mremap() moves several mappings at once */
static long total, usable;
static struct world *worlds[MAX_WORKERS], *world;
static struct process me;

static __noreturn __printf(1, 2) void fail(const char *fmt, ...)
{
	char text[1024];
	va_list args;
	int n;

	n = snprintf(text, sizeof(text),
		     "# seed %lu, process %d.%d, operation %ld: %s(%#lx, %#lx, %#lx, %#lx, %#lx): ",
		     seed, me.worker, me.depth, world->operations, me.call, me.arg[0], me.arg[1],
		     me.arg[2], me.arg[3], me.arg[4]);
	va_start(args, fmt);
	n += vsnprintf(text + n, sizeof(text) - n - 1, fmt, args);
	va_end(args);
	text[n++] = '\n';
	if (write(STDOUT_FILENO, text, n) != n)
		abort();
	_exit(1);
}

/* Note the call that fail() names. */
static void note(const char *call, long a, long b, long c, long d, long e)
{
	me.call = call;
	me.arg[0] = a;
	me.arg[1] = b;
	me.arg[2] = c;
	me.arg[3] = d;
	me.arg[4] = e;
}

/* A system call returned @ret; it must fail with @error, or succeed if that is 0. */
static void expect(long ret, int error)
{
	int got = ret == -1 ? -errno : 0;

	if (got != error)
		fail("%s, not %s", strerrorname_np(-got) ?: "?", strerrorname_np(-error) ?: "?");
	world->refused[me.number] += !!error;
}

static void expect_value(const char *what, long got, long want)
{
	if (got != want)
		fail("%s: %ld, not %ld", what, got, want);
}

/* xorshift64* */
static unsigned long draw(void)
{
	me.random ^= me.random >> 12;
	me.random ^= me.random << 25;
	me.random ^= me.random >> 27;
	return me.random * 0x2545f4914f6cdd1dUL;
}

static unsigned int below(unsigned int n)
{
	return (draw() >> 32) * n >> 32;
}

static bool one_in(unsigned int n)
{
	return !below(n);
}

static void seed_random(unsigned long value)
{
	me.random = value * 0x9e3779b97f4a7c15UL ?: 1;
	draw();
}

/*
 * The model of objects.
 */

static struct hold *hold_of(const struct object *o)
{
	return &me.hold[o - world->object];
}

static int *fd_slot(struct object *o, bool used)
{
	int i;

	for (i = 0; i < NR_FDS; i++)
		if (!hold_of(o)->fd[i] == !used)
			return &hold_of(o)->fd[i];
	return NULL;
}

static int fd_of(struct object *o)
{
	int *slot = fd_slot(o, true);

	return slot ? *slot : -1;
}

static struct object *new_object(enum kind kind)
{
	struct object *o;

	for (o = world->object; o < world->object + NR_OBJECTS; o++) {
		if (o->kind != UNUSED)
			continue;
		memset(o, 0, sizeof(*o));
		o->kind = kind;
		o->payer = me.payer;
		return o;
	}
	return NULL;
}

/* A random object that this process has a descriptor of, or NULL. */
static struct object *any_open_object(void)
{
	int i, first = below(NR_OBJECTS);

	for (i = 0; i < NR_OBJECTS; i++) {
		struct object *o = &world->object[(first + i) % NR_OBJECTS];

		if (o->kind != UNUSED && fd_slot(o, true))
			return o;
	}
	return NULL;
}

static long user_pages(int user)
{
	long pages = 0;
	int i;

	for (i = 0; i < NR_GROUPS; i++)
		pages += world->charged[user][i];
	return pages;
}

static long group_pages(int group)
{
	long pages = 0;
	int i;

	for (i = 0; i < NR_USERS; i++)
		pages += world->charged[i][group];
	return pages;
}

static long held_pages(void)
{
	long pages = 0;
	int i;

	for (i = 0; i < NR_GROUPS; i++)
		pages += group_pages(i);
	return pages;
}

static long *charged_to(const struct payer *payer)
{
	return &world->charged[payer->user][payer->group];
}

static void alloc_page(struct object *o, int pgoff)
{
	struct page *page = &o->page[pgoff];

	if (page->here)
		return;
	page->here = true;
	page->tag = 0;
	o->pages++;
	++*charged_to(&o->payer);
}

static void free_page(struct object *o, int pgoff)
{
	struct page *page = &o->page[pgoff];

	if (!page->here)
		return;
	page->here = false;
	o->pages--;
	--*charged_to(&o->payer);
}

static void forget_object(struct object *o)
{
	int i;

	for (i = 0; i < OBJECT_PAGES; i++)
		free_page(o, i);
	o->kind = UNUSED;
}

static bool is_held(struct object *o)
{
	return hold_of(o)->cells || hold_of(o)->above || fd_slot(o, true) || o->kept ||
	       world->in_flight == o;
}

/* Forget objects that no process holds any more. */
static void collect(void)
{
	struct object *o;

	for (o = world->object; o < world->object + NR_OBJECTS; o++)
		if (o->kind != UNUSED && !is_held(o))
			forget_object(o);
}

/* The number of pages that a mapping of @nr pages of an empty object allocates. */
static int pages_to_allocate(const struct object *o, int pgoff, int nr)
{
	if (o->kind == GUEST)
		return 0;
	if (o->kind != SECRET || !o->size || pgoff + nr <= o->size)
		return nr;
	return pgoff < o->size ? o->size - pgoff : 0;
}

static int missing_pages(const struct object *o, int pgoff, int nr)
{
	int i, missing = 0;

	for (i = pgoff; i < pgoff + nr; i++)
		missing += !o->page[i].here;
	return missing;
}

/* The error of an allocation of @nr pages while the pool has enough. */
static int charge_error(const struct payer *payer, long nr)
{
	struct group *group = &world->group[payer->group];
	long in_group = group_pages(payer->group) + nr;

	if (!nr)
		return 0;
	if (!payer->exempt && user_pages(payer->user) + nr > payer->limit)
		return -EAGAIN;
	if (nr * (long)unit > total)
		return -ENOMEM;
	if (in_group > group->max) {
		group->events++;
		return -EAGAIN;
	}
	if (in_group > group->peak)
		group->peak = in_group;
	return 0;
}

/*
 * The model of mappings.
 */

static char *address(int i)
{
	return (char *)ARENA + i * UNIT;
}

static bool mapped(int i)
{
	return me.cell[i].object;
}

/* Is there a page behind the mapping? */
static bool alive(const struct cell *c)
{
	const struct object *o = c->object;

	if (o->kind == SECRET)
		return c->pgoff < o->size;
	return o->page[c->pgoff].here;
}

/* The signal that an access to page @i raises, or 0. */
static int signal_at(int i, bool write)
{
	const struct cell *c = &me.cell[i];

	if (!c->object || !(c->flags & (write ? MAY_WRITE : MAY_ACCESS)))
		return SIGSEGV;
	return alive(c) ? 0 : SIGBUS;
}

static unsigned long *tag_at(int i)
{
	return &me.cell[i].object->page[me.cell[i].pgoff].tag;
}

static int vma_end(int i)
{
	unsigned int vma = me.cell[i].vma;

	while (++i < ARENA_PAGES && mapped(i) && me.cell[i].vma == vma)
		;
	return i;
}

static void new_vma(int first, int end)
{
	int i;

	me.vmas++;
	for (i = first; i < end; i++)
		me.cell[i].vma = me.vmas;
}

static void split_at(int i)
{
	if (i > 0 && i < ARENA_PAGES && mapped(i) && mapped(i - 1) &&
	    me.cell[i].vma == me.cell[i - 1].vma)
		new_vma(i, vma_end(i));
}

/* The pages from @first on are part of one VMA. */
static void set_flags(int first, int end, unsigned char flags)
{
	int i;

	if (me.cell[first].flags == flags)
		return;
	split_at(first);
	split_at(end);
	for (i = first; i < end; i++)
		me.cell[i].flags = flags;
}

static void clear_cell(int i)
{
	if (mapped(i))
		hold_of(me.cell[i].object)->cells--;
	me.cell[i].object = NULL;
}

static void unmap_cells(int at, int nr)
{
	int i;

	split_at(at);
	split_at(at + nr);
	for (i = at; i < at + nr; i++) {
		if (mapped(i) && me.cell[i].object->kind == ANON)
			free_page(me.cell[i].object, me.cell[i].pgoff);
		clear_cell(i);
	}
}

static void map_cells(struct object *o, int pgoff, int at, int nr, int prot)
{
	int i;

	for (i = 0; i < pages_to_allocate(o, pgoff, nr); i++)
		alloc_page(o, pgoff + i);
	for (i = 0; i < nr; i++) {
		me.cell[at + i] = (struct cell) {
			.object = o,
			.pgoff = pgoff + i,
			.flags = prot | (o->kind == ANON ? DONT_COPY : 0),
		};
	}
	hold_of(o)->cells += nr;
	new_vma(at, at + nr);
}

static bool vacant(int at, int nr)
{
	int i;

	for (i = at; i < at + nr; i++)
		if (mapped(i))
			return false;
	return true;
}

/*
 * Looking at memory.
 */

static sigjmp_buf on_fault;

static void fault(int sig)
{
	siglongjmp(on_fault, sig);
}

static void catch_faults(void)
{
	struct sigaction action = { .sa_handler = fault, .sa_flags = SA_NODEFER };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

static unsigned long *word_at(int i, unsigned long word)
{
	return (unsigned long *)address(i) + word % WORDS;
}

static void expect_signal(const char *what, int i, int got, int want)
{
	if (got != want)
		fail("%s of page %d: signal %d, not %d", what, i, got, want);
}

/* Returns false if the page is one that can't be read. */
static bool load(int i, unsigned long word, unsigned long *value)
{
	int want = signal_at(i, false);
	int sig = sigsetjmp(on_fault, 0);

	if (!sig)
		*value = __atomic_load_n(word_at(i, word), __ATOMIC_RELAXED);
	expect_signal("read", i, sig, want);
	return !sig;
}

static bool store(int i, unsigned long word, unsigned long value)
{
	int want = signal_at(i, true);
	int sig = sigsetjmp(on_fault, 0);

	if (!sig)
		__atomic_store_n(word_at(i, word), value, __ATOMIC_RELAXED);
	expect_signal("write", i, sig, want);
	return !sig;
}

static void check_word(int i, unsigned long word)
{
	unsigned long value, tag;

	if (!load(i, word, &value))
		return;
	tag = *tag_at(i);
	if (value != (tag % WORDS == word % WORDS ? tag : 0))
		fail("page %d, word %lu: %#lx, tag %#lx", i, word % WORDS, value, tag);
}

/* Check all of a readable page, or of one of those in a unit. */
static void check_page(int i)
{
	unsigned long page[PAGE / sizeof(unsigned long)], tag = *tag_at(i);
	unsigned long first = below(unit) * ARRAY_SIZE(page), word = tag % WORDS - first;
	int sig = sigsetjmp(on_fault, 0);

	expect_signal("copy", i, sig, 0);
	memcpy(page, word_at(i, first), PAGE);
	if (word < ARRAY_SIZE(page)) {
		if (page[word] != tag)
			fail("page %d: %#lx, not %#lx", i, page[word], tag);
		page[word] = 0;
	}
	if (!all_bytes(page, 0, PAGE))
		fail("page %d is not zero but for its tag", i);
}

/*
 * Cheaper than a signal: -1 is no operation on signal masks, so that the kernel reads the
 * page and changes nothing.
 */
static void check_unreadable(int i)
{
	if (syscall(SYS_rt_sigprocmask, -1, address(i), NULL, 8) != -1 || errno != EFAULT)
		fail("page %d can be read", i);
}

static void check_cell(int i)
{
	if (!signal_at(i, false)) {
		check_word(i, *tag_at(i));
		if (one_in(4))
			check_page(i);
	} else if (one_in(128)) {
		check_word(i, 0);
	} else if (one_in(8)) {
		check_unreadable(i);
	}
}

static void check_all_cells(void)
{
	int i;

	for (i = 0; i < ARENA_PAGES; i++)
		check_cell(i);
}

static ssize_t read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, size - 1);

	text[n > 0 ? n : 0] = 0;
	close(fd);
	return n;
}

static long number_after(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoul(at + strlen(name), NULL, 10) : -1;
}

static long object_end(const struct object *o)
{
	int i;

	for (i = OBJECT_PAGES; i; i--)
		if (o->page[i - 1].here)
			return (o->base + i) * UNIT;
	return 0;
}

static void check_fdinfo(void)
{
	struct object *o = any_open_object();
	char path[64], text[512];

	if (!o)
		return;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd_of(o));
	read_text(path, text, sizeof(text));
	expect_value("pages in fdinfo", number_after(text, "\npages:\t"), o->pages * unit);
	expect_value("size in fdinfo", number_after(text, "\nsize:\t"), object_end(o));
}

static uid_t uid_of(int user)
{
	return FIRST_UID + me.worker * NR_USERS + user;
}

static bool has_groups(void)
{
	return cgroup_dir[0];
}

static long read_group(int group, int file)
{
	char text[256];
	ssize_t n = pread(group_files[group][file], text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = 0;
	return number_after(text, file == EVENTS ? "exmem.max " : "exmem ");
}

static void check_group(int group)
{
	if (has_groups())
		expect_value("misc.current", read_group(group, CURRENT), group_pages(group) * UNIT);
}

static void check_group_history(int group)
{
	const struct group *g = &world->group[group];

	if (!has_groups())
		return;
	expect_value("misc.peak", read_group(group, PEAK), g->peak * UNIT);
	expect_value("misc.events", read_group(group, EVENTS), g->events);
}

static void check_line(const struct object_line *line, const struct object *o)
{
	static const char * const callers[] = {
		[DEVICE] = "device", [SECRET] = "secretmem", [GUEST] = "kvm",
	};

	if (strcmp(line->caller, callers[o->kind]))
		fail("caller of an object: %s", line->caller);
	expect_value("user of an object", line->user, uid_of(o->payer.user));
	if (has_groups())
		expect_value("cgroup of an object", line->cgroup, group_ids[o->payer.group]);
	expect_value("pages of an object", line->pages, o->pages * unit);
}

static int group_with(unsigned long id)
{
	int i;

	for (i = 0; i < NR_GROUPS; i++)
		if (!has_groups() || group_ids[i] == id)
			return i;
	fail("an object of cgroup %lu", id);
}

static void check_sums(long sum[NR_USERS][NR_GROUPS])
{
	int i, j;

	for (i = 0; i < NR_USERS; i++)
		for (j = 0; j < NR_GROUPS; j++)
			if (sum[i][j] != world->charged[i][j])
				fail("pages of user %d and cgroup %d: %ld, not %ld", i, j,
				     sum[i][j], world->charged[i][j]);
}

/* Check the sum over the objects of each user and cgroup, and one of the objects. */
static void check_objects(void)
{
	long id = -1, lines = 0, sum[NR_USERS][NR_GROUPS] = {};
	struct object *o = any_open_object();
	struct object_line line;
	char text[128];
	FILE *f;

	if (!lists_objects)
		return;
	if (o)
		id = object_info(fd_of(o), "object");
	f = fopen(OBJECTS, "re");
	while (f && fgets(text, sizeof(text), f)) {
		if (!parse_object(text, &line))
			continue;
		if (line.user - uid_of(0) < NR_USERS)
			sum[line.user - uid_of(0)][group_with(line.cgroup)] += line.pages / unit;
		if (o && line.id == id) {
			check_line(&line, o);
			lines++;
		}
	}
	if (f)
		fclose(f);
	expect_value("lines of an object", lines, !!o);
	check_sums(sum);
}

static void check_pool(void)
{
	char text[32];

	if (!alone)
		return;
	read_text(EXMEM_SYSFS "free_pages", text, sizeof(text));
	expect_value("free pages", strtol(text, NULL, 10), usable - held_pages() * (long)unit);
}

/* Check a line of /proc/self/maps. */
static int check_vma(int at, int end, const char *mode, unsigned long offset)
{
	const struct cell *c = &me.cell[at];
	char want[5] = "---s";

	if (!mapped(at) || (at && mapped(at - 1) && c[-1].vma == c->vma) || vma_end(at) != end)
		fail("a VMA of pages %d to %d, not to %d", at, end - 1, vma_end(at) - 1);
	if (c->flags & PROT_READ)
		want[0] = 'r';
	if (c->flags & PROT_WRITE)
		want[1] = 'w';
	if (strcmp(mode, want))
		fail("VMA at page %d: %s, not %s", at, mode, want);
	expect_value("offset of a VMA", offset, (c->object->base + c->pgoff) * UNIT);
	return end - at;
}

static void check_vmas(void)
{
	unsigned long start, end, offset;
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512], mode[5];
	int i, seen = 0, want = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %4s %lx", &start, &end, mode, &offset) == 4 &&
		    start >= ARENA && start < ARENA + ARENA_PAGES * UNIT)
			seen += check_vma((start - ARENA) / UNIT, (end - ARENA) / UNIT, mode,
					  offset);
	if (f)
		fclose(f);
	for (i = 0; i < ARENA_PAGES; i++)
		want += mapped(i);
	expect_value("mapped pages", seen, want);
}

static void check(void)
{
	int i;

	for (i = 0; i < 2; i++)
		check_cell(below(ARENA_PAGES));
	for (i = 0; i < 2 && me.nr; i++)
		check_cell(me.at + below(me.nr));
	if (one_in(32))
		check_fdinfo();
	if (one_in(32))
		check_pool();
	if (one_in(32))
		check_group(below(NR_GROUPS));
	if (one_in(128))
		check_group_history(below(NR_GROUPS));
	if (one_in(1024))
		check_all_cells();
	if (one_in(1024))
		check_vmas();
	if (unit > 1 && one_in(64))
		world->pmds += pmds_mapped();
	if (one_in(1024))
		check_objects();
}

/*
 * Operations. Each picks its own target.
 */

static int any_length(void)
{
	return 1 + below(one_in(16) ? OBJECT_PAGES : 12);
}

/* Pick pages of the arena, often a part of a mapping, or all of it. */
static void pick_pages(void)
{
	int i, first = below(ARENA_PAGES);

	me.nr = any_length();
	for (i = 0; i < 8 && !mapped(first); i++)
		first = below(ARENA_PAGES);
	while (one_in(2) && first && mapped(first) && me.cell[first - 1].vma == me.cell[first].vma)
		first--;
	if (mapped(first) && (one_in(4) || (one_in(2) && first + me.nr > vma_end(first))))
		me.nr = vma_end(first) - first;
	if (first + me.nr > ARENA_PAGES)
		first = ARENA_PAGES - me.nr;
	me.at = first;
}

/* Pick a page, mostly a writable one. */
static void pick_page(void)
{
	int i;

	pick_pages();
	me.nr = 1;
	for (i = 0; i < 8 && signal_at(me.at, true) && !one_in(16); i++)
		me.at = below(ARENA_PAGES);
}

static void op_store(void)
{
	unsigned long tag = draw() ?: 1;

	pick_page();
	note("store", me.at, tag, 0, 0, 0);
	if (!store(me.at, mapped(me.at) ? *tag_at(me.at) : 0, 0))
		return;
	store(me.at, tag, tag);
	*tag_at(me.at) = tag;
}

/* The kernel copies to exclusive memory. */
static void op_read(void)
{
	unsigned long tag = draw() ?: 1;
	int sig;

	pick_page();
	sig = signal_at(me.at, true);
	note("read", me.at, tag, 0, 0, 0);
	if (!sig)
		store(me.at, *tag_at(me.at), 0);
	expect_value("pwrite", pwrite(me.file, &tag, sizeof(tag), 0), sizeof(tag));
	expect(pread(me.file, word_at(me.at, tag), sizeof(tag), 0), sig ? -EFAULT : 0);
	if (!sig)
		*tag_at(me.at) = tag;
}

/* The kernel copies from exclusive memory. */
static void op_write(void)
{
	unsigned long tag, value = 0;
	int sig;

	pick_page();
	sig = signal_at(me.at, false);
	tag = mapped(me.at) ? *tag_at(me.at) : 0;
	note("write", me.at, tag, 0, 0, 0);
	expect(pwrite(me.file, word_at(me.at, tag), sizeof(tag), 0), sig ? -EFAULT : 0);
	if (sig)
		return;
	expect_value("pread", pread(me.file, &value, sizeof(value), 0), sizeof(value));
	if (value != tag)
		fail("wrote %#lx, not %#lx", value, tag);
}

static void op_peek(void)
{
	unsigned long word;
	struct iovec local = { &word, sizeof(word) }, remote;

	pick_pages();
	remote = (struct iovec) { address(me.at), sizeof(word) };
	note("process_vm_readv", me.at, 0, 0, 0, 0);
	expect(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), -EFAULT);
}

static void close_slot(int *slot)
{
	note("close", *slot, 0, 0, 0, 0);
	expect(close(*slot), 0);
	*slot = 0;
}

static void op_close(void)
{
	struct object *o = any_open_object();

	if (o)
		close_slot(fd_slot(o, true));
	collect();
}

static void op_munmap(void)
{
	pick_pages();
	note("munmap", me.at, me.nr, 0, 0, 0);
	unmap_cells(me.at, me.nr);
	collect();
	expect(munmap(address(me.at), me.nr * UNIT), 0);
}

static void op_make_room(void)
{
	op_close();
	op_munmap();
}

static void op_open(void)
{
	bool secret = one_in(3);
	struct object *o = new_object(secret ? SECRET : DEVICE);
	int fd;

	if (!o)
		return op_make_room();
	o->readonly = !secret && one_in(8);
	if (!secret && one_in(2))
		o->base = one_in(2) ? (1UL << 51) / unit - OBJECT_PAGES : below(100);
	note("open", secret, o->readonly, 0, 0, 0);
	if (secret)
		fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	else
		fd = open(EXMEM_DEV, o->readonly ? O_RDONLY : O_RDWR);
	expect(fd, 0);
	*fd_slot(o, false) = fd;
}

/* Opening a device file through /proc opens the device, which makes a new object. */
static void op_reopen(void)
{
	struct object *from = any_open_object(), *o;
	char path[64];
	int fd;

	if (!from || from->readonly)
		return;
	o = new_object(DEVICE);
	if (!o)
		return op_make_room();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd_of(from));
	note("reopen", fd_of(from), from->kind, 0, 0, 0);
	fd = open(path, O_RDWR);
	expect(fd, from->kind == DEVICE ? 0 : -ENXIO);
	if (fd >= 0)
		*fd_slot(o, false) = fd;
	collect();
}

static void op_dup(void)
{
	struct object *o = any_open_object();
	int fd, pidfd;

	if (!o || !fd_slot(o, false))
		return;
	note("dup", fd_of(o), 0, 0, 0, 0);
	if (one_in(2)) {
		fd = dup(fd_of(o));
	} else {
		pidfd = syscall(SYS_pidfd_open, getpid(), 0);
		fd = syscall(SYS_pidfd_getfd, pidfd, fd_of(o), 0);
		close(pidfd);
	}
	expect(fd, 0);
	*fd_slot(o, false) = fd;
}

static const int protections[] = {
	PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
	PROT_READ | PROT_WRITE, PROT_READ, PROT_WRITE, PROT_NONE,
};

static int any_protection(void)
{
	return protections[below(ARRAY_SIZE(protections))];
}

/* A mapping to make at me.at. */
struct request {
	struct object *object;
	int flags, fd, pgoff, nr, prot;
};

/*
 * The error of mmap(). Nothing has changed then, with one exception: when a file's own mmap()
 * can't allocate, the range that it was to replace is already unmapped.
 */
static int model_mmap(const struct request *r)
{
	struct object *o = r->object;
	int nr, error = o->kind == ANON ? charge_error(&o->payer, r->nr) : 0;

	/* MAP_EXCLUSIVE allocates before it checks anything else. */
	if (error)
		return error;
	if (r->flags & MAP_FIXED_NOREPLACE && !vacant(me.at, r->nr))
		return -EEXIST;
	/* With MAP_SHARED_VALIDATE, only MAP_EXCLUSIVE supports MAP_FIXED_NOREPLACE. */
	if (r->flags & MAP_FIXED_NOREPLACE && o->kind != ANON &&
	    (r->flags & MAP_TYPE) == MAP_SHARED_VALIDATE)
		return -EOPNOTSUPP;
	if (o->readonly && r->prot & PROT_WRITE)
		return -EACCES;
	nr = pages_to_allocate(o, r->pgoff, r->nr);
	if (o->kind != ANON)
		error = charge_error(&o->payer, missing_pages(o, r->pgoff, nr));
	/* The pages of the mappings that this one replaces are freed after the allocation. */
	if (r->flags & MAP_FIXED)
		unmap_cells(me.at, r->nr);
	return error;
}

/* The kernel chose the address @p: move the mapping into the arena. */
static void move_into_arena(char *p, int nr)
{
	char *q = mremap(p, nr * UNIT, nr * UNIT, MREMAP_MAYMOVE | MREMAP_FIXED, address(me.at));

	expect(q == MAP_FAILED ? -1 : 0, 0);
	if (q != address(me.at))
		fail("moved to %p", q);
	unmap_cells(me.at, nr);
}

/*
 * The mapping is at the address hint if nothing else was there, unless the kernel has looked for
 * a place where PMDs can map it. It always looks for one close to the end of a file.
 */
static void put_mapping(const struct request *r, char *p, char *hint)
{
	bool moved = p != hint, aligned = r->nr * UNIT >= PMD || r->object->base > 100;

	if (hint && vacant(me.at, r->nr) ? moved && !aligned : !moved)
		fail("at %p", p);
	if (moved)
		move_into_arena(p, r->nr);
	map_cells(r->object, r->pgoff, me.at, r->nr, r->prot);
}

/* Where a PMD can map a region, or anywhere. */
static int any_place(const struct request *r)
{
	unsigned long pages = PMD / UNIT;
	int at = below(ARENA_PAGES - r->nr + 1);

	if (unit > 1 && one_in(2))
		at = at / pages * pages + (r->object->base + r->pgoff) % pages;
	return at > ARENA_PAGES - r->nr ? ARENA_PAGES - r->nr : at;
}

static void request_mapping(struct request *r)
{
	static const int ways[] = { MAP_FIXED, MAP_FIXED, MAP_FIXED_NOREPLACE, 0, -1 };
	int error, way = ways[below(ARRAY_SIZE(ways))];
	char *p, *hint;

	me.nr = r->nr;
	me.at = any_place(r);
	hint = way < 0 ? NULL : address(me.at);
	r->flags |= way < 0 ? 0 : way;
	note("mmap", hint ? me.at : -1, r->nr, r->prot, r->flags, r->pgoff);
	error = model_mmap(r);
	p = mmap(hint, r->nr * UNIT, r->prot, r->flags, r->fd,
		 (r->object->base + r->pgoff) * UNIT);
	expect(p == MAP_FAILED ? -1 : 0, error);
	if (!error)
		put_mapping(r, p, hint);
	collect();
}

static void op_mmap(void)
{
	struct request r = { .object = any_open_object(), .prot = any_protection() };

	if (!r.object)
		return op_open();
	r.fd = fd_of(r.object);
	r.flags = one_in(2) ? MAP_SHARED : MAP_SHARED_VALIDATE;
	r.nr = any_length();
	r.pgoff = below(OBJECT_PAGES - r.nr + 1);
	request_mapping(&r);
}

static void op_mmap_exclusive(void)
{
	struct request r = { .object = new_object(ANON), .prot = any_protection() };

	if (!r.object)
		return op_make_room();
	r.fd = -1;
	r.flags = MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_EXCLUSIVE;
	r.nr = any_length();
	request_mapping(&r);
}

/* None of these changes anything. */
static void op_mmap_bad(void)
{
	static const int exclusive = MAP_EXCLUSIVE | MAP_ANONYMOUS;
	static const struct { int prot, flags, nr, error; bool fd; unsigned long offset; } bad[] = {
		{ PROT_READ, MAP_PRIVATE, 1, -EINVAL, true },
		{ PROT_READ | PROT_EXEC, MAP_SHARED, 1, -EPERM, true },
		{ PROT_READ, MAP_SHARED, 0, -EINVAL, true },
		{ PROT_READ, MAP_SHARED, 1, -EINVAL, true, 1 },
		{ PROT_READ, exclusive | MAP_SHARED, 1, -EINVAL },
		{ PROT_READ, exclusive | MAP_PRIVATE, 1, -EINVAL },
		{ PROT_READ, exclusive | MAP_SHARED_VALIDATE, 0, -EINVAL },
		{ PROT_READ, exclusive | MAP_SHARED_VALIDATE, 1, -EINVAL, true },
		{ PROT_READ, exclusive | MAP_SHARED_VALIDATE, 1, -EINVAL, false, PAGE },
		{ PROT_READ, exclusive | MAP_SHARED_VALIDATE | MAP_HUGETLB, 1, -EINVAL },
		{ PROT_READ, exclusive | MAP_SHARED_VALIDATE | MAP_GROWSDOWN, 1, -EINVAL },
		{ PROT_READ, exclusive | MAP_SHARED_VALIDATE | MAP_NORESERVE, 1, -EINVAL },
		{ PROT_READ, MAP_SHARED_VALIDATE | MAP_EXCLUSIVE, 1, -EINVAL },
		{ PROT_EXEC, exclusive | MAP_SHARED_VALIDATE, 1, -EPERM },
	};
	struct object *o = any_open_object();
	int i = below(ARRAY_SIZE(bad)), error = bad[i].error;
	void *p;

	if (!o)
		return;
	/* mmap() refuses this one only after the allocation. */
	if (bad[i].flags & MAP_EXCLUSIVE && error == -EPERM)
		error = charge_error(&me.payer, bad[i].nr) ?: error;
	note("mmap", 0, bad[i].nr, bad[i].prot, bad[i].flags, bad[i].offset);
	p = mmap(NULL, bad[i].nr * UNIT, bad[i].prot, bad[i].flags, bad[i].fd ? fd_of(o) : -1,
		 bad[i].offset);
	expect(p == MAP_FAILED ? -1 : 0, error);
}

/* Map all free pages, and one more. */
static void op_mmap_all(void)
{
	long left = usable - held_pages();
	int fd;
	char *p;

	if (!alone || me.depth || unit > 1)
		return;
	fd = open(EXMEM_DEV, O_RDWR);
	note("mmap of all", left, 0, 0, 0, 0);
	p = exmem_map(fd, left + 1, 0);
	expect(p == MAP_FAILED ? -1 : 0, charge_error(&me.payer, left + 1) ?: -ENOMEM);
	p = exmem_map(fd, left, 0);
	expect(p == MAP_FAILED ? -1 : 0, charge_error(&me.payer, left));
	if (p != MAP_FAILED)
		munmap(p, left * PAGE);
	close(fd);
}

static void move_cells(int from, int to, int nr)
{
	int i;

	split_at(from);
	split_at(from + nr);
	for (i = 0; i < nr; i++) {
		me.cell[to + i] = me.cell[from + i];
		me.cell[from + i].object = NULL;
	}
	new_vma(to, to + nr);
}

static int model_mremap_to(int at, int old, int new, int to)
{
	if (at + old > to && to + new > at)
		return -EINVAL;
	unmap_cells(to, new);
	if (old > new) {
		unmap_cells(at + new, old - new);
		old = new;
	}
	if (!mapped(at) || old > vma_end(at) - at || old != new)
		return -EFAULT;
	move_cells(at, to, new);
	return 0;
}

/* Since Linux 6.17, mremap() checks first, and can move a range that has several mappings. */
static int model_mremap_range_to(int at, int old, int new, int flags, int to)
{
	int from, next;

	if (at + old > to && to + new > at)
		return -EINVAL;
	if (flags & MREMAP_DONTUNMAP)
		return mapped(at) ? -EINVAL : -EFAULT;
	if (!mapped(at) || old < new || (old > new && new > vma_end(at) - at))
		return -EFAULT;
	if (old > new)
		unmap_cells(at + new, old - new);
	for (from = at; from < at + new; from = next) {
		next = from + 1;
		if (!mapped(from))
			continue;
		next = vma_end(from) < at + new ? vma_end(from) : at + new;
		unmap_cells(to + from - at, next - from);
		move_cells(from, to + from - at, next - from);
	}
	return 0;
}

static int model_mremap(int at, int old, int new, int flags, int to)
{
	if (!new)
		return -EINVAL;
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) && moves_ranges)
		return model_mremap_range_to(at, old, new, flags, to);
	if (!mapped(at))
		return -EFAULT;
	if (flags & MREMAP_DONTUNMAP)
		return -EINVAL;
	if (flags & MREMAP_FIXED)
		return model_mremap_to(at, old, new, to);
	if (old < new)
		return -EFAULT;
	if (old > new)
		unmap_cells(at + new, old - new);
	return 0;
}

static void op_mremap(void)
{
	static const int ways[] = {
		0, MREMAP_MAYMOVE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
		MREMAP_MAYMOVE | MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_FIXED,
		MREMAP_MAYMOVE | MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_FIXED,
	};
	int flags = ways[below(ARRAY_SIZE(ways))];
	int old, new, to, error;
	char *p;

	pick_pages();
	old = one_in(16) ? 0 : me.nr;
	new = one_in(4) && !(flags & MREMAP_DONTUNMAP) ? any_length() : old;
	to = below(ARENA_PAGES - new + 1);
	note("mremap", me.at, old, new, flags, to);
	error = model_mremap(me.at, old, new, flags, to);
	collect();
	p = mremap(address(me.at), old * UNIT, new * UNIT, flags, address(to));
	expect(p == MAP_FAILED ? -1 : 0, error);
	if (!error && p != address(flags & MREMAP_FIXED ? to : me.at))
		fail("at %p", p);
	if (new && one_in(2)) {
		me.at = to;
		me.nr = new;
	}
}

static int model_mprotect(int prot)
{
	int i, next, end = me.at + me.nr;

	for (i = me.at; i < end; i = next) {
		if (!mapped(i))
			return -ENOMEM;
		if (prot & PROT_EXEC || (prot & PROT_WRITE && me.cell[i].object->readonly))
			return -EACCES;
		next = vma_end(i) < end ? vma_end(i) : end;
		set_flags(i, next, (me.cell[i].flags & ~MAY_ACCESS) | prot);
	}
	return 0;
}

static void op_mprotect(void)
{
	int error, prot = any_protection() | (one_in(16) ? PROT_EXEC : 0);

	pick_pages();
	note("mprotect", me.at, me.nr, prot, 0, 0);
	error = model_mprotect(prot);
	expect(mprotect(address(me.at), me.nr * UNIT, prot), error);
}

static void free_pages(struct object *o, int pgoff, int nr)
{
	int i;

	for (i = pgoff; i < pgoff + nr && i < OBJECT_PAGES; i++)
		free_page(o, i);
}

static int model_allocate(struct object *o, int pgoff, int nr)
{
	int i, error = charge_error(&o->payer, missing_pages(o, pgoff, nr));

	for (i = pgoff; !error && i < pgoff + nr; i++)
		alloc_page(o, i);
	return error;
}

/* The end of a file is the largest offset plus 1, which is too large for fallocate(). */
static bool ends_file(const struct object *o, int pgoff, int nr)
{
	return (o->base + pgoff + nr) * unit == 1UL << 51;
}

static int model_remove(const struct cell *c, int nr)
{
	struct object *o = c->object;

	if (o->readonly)
		return -EACCES;
	if (ends_file(o, c->pgoff, nr))
		return -EFBIG;
	if (o->kind == SECRET)
		return -EOPNOTSUPP;
	if (o->kind == ANON || o->kind == GUEST)
		return -ENODEV;
	free_pages(o, c->pgoff, nr);
	return 0;
}

/* The error of @advice on @nr pages from @c on, all of a VMA, or the new flags. */
static int model_advice(const struct cell *c, int nr, int advice, unsigned char *flags)
{
	switch (advice) {
	case MADV_NORMAL:
		*flags &= ~(RANDOM | SEQUENTIAL);
		return 0;
	case MADV_RANDOM:
		*flags = (*flags & ~SEQUENTIAL) | RANDOM;
		return 0;
	case MADV_SEQUENTIAL:
		*flags = (*flags & ~RANDOM) | SEQUENTIAL;
		return 0;
	case MADV_DONTFORK:
		*flags |= DONT_COPY;
		return 0;
	case MADV_HUGEPAGE:
		*flags = (*flags & ~NO_HUGE) | HUGE;
		return 0;
	case MADV_NOHUGEPAGE:
		*flags = (*flags & ~HUGE) | NO_HUGE;
		return 0;
	case MADV_WILLNEED:
		if (c->object->kind == DEVICE && !c->object->readonly)
			model_allocate(c->object, c->pgoff, nr);
		return 0;
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
	case MADV_DONTDUMP:
	case MADV_KEEPONFORK:
		return 0;
	case MADV_REMOVE:
		return model_remove(c, nr);
	default:
		return -EINVAL;
	}
}

static int model_advice_walk(int advice)
{
	int i, next, end = me.at + me.nr, error, hole = 0;
	unsigned char flags;

	for (i = me.at; i < end; i = next) {
		next = i + 1;
		if (!mapped(i)) {
			hole = -ENOMEM;
			continue;
		}
		next = vma_end(i) < end ? vma_end(i) : end;
		flags = me.cell[i].flags;
		error = model_advice(&me.cell[i], next - i, advice, &flags);
		if (error)
			return error;
		set_flags(i, next, flags);
	}
	return hole;
}

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

static int model_madvise(int advice)
{
	switch (advice) {
	case MADV_HWPOISON:
	case MADV_SOFT_OFFLINE:
		return -EFAULT;
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return mapped(me.at) ? -EINVAL : -ENOMEM;
	default:
		return model_advice_walk(advice);
	}
}

static void op_madvise(void)
{
	static const int odd[] = { -1, 99, 100, 101, 102, 103, 104, 1000 };
	int error, advice = below(8) ? (int)below(31) : odd[below(ARRAY_SIZE(odd))];

	pick_pages();
	note("madvise", me.at, me.nr, advice, 0, 0);
	/* Does this kernel know the advice? */
	if (madvise((void *)ARENA, 0, advice))
		error = -EINVAL;
	else
		error = model_madvise(advice);
	expect(madvise(address(me.at), me.nr * UNIT, advice), error);
}

static int model_fallocate(struct object *o, int mode, int pgoff, int nr)
{
	if (mode == FALLOC_FL_PUNCH_HOLE)
		return -EOPNOTSUPP;
	if (o->readonly)
		return -EBADF;
	if (ends_file(o, pgoff, nr))
		return -EFBIG;
	if (o->kind == SECRET || mode == FALLOC_FL_ZERO_RANGE || (o->kind == GUEST && !mode))
		return -EOPNOTSUPP;
	if (o->kind == GUEST && !(mode & FALLOC_FL_PUNCH_HOLE) && pgoff + nr > o->size)
		return -EINVAL;
	if (!(mode & FALLOC_FL_PUNCH_HOLE))
		return model_allocate(o, pgoff, nr);
	free_pages(o, pgoff, nr);
	return 0;
}

static void op_fallocate(void)
{
	static const int modes[] = {
		0, 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
		FALLOC_FL_ZERO_RANGE,
	};
	int mode = modes[below(ARRAY_SIZE(modes))], nr = any_length();
	int pgoff = below(OBJECT_PAGES - nr + 1), error;
	struct object *o = any_open_object();
	unsigned long offset;

	if (!o)
		return;
	offset = (o->base + pgoff) * UNIT;
	note("fallocate", o->kind, mode, offset, nr * UNIT, 0);
	error = model_fallocate(o, mode, pgoff, nr);
	expect(fallocate(fd_of(o), mode, offset, nr * UNIT), error);
}

static void op_punch_hole(void)
{
	struct object *o = any_open_object();
	int pgoff = below(OBJECT_PAGES), nr = any_length(), error = 0;
	struct exclusive_memory_range range;

	if (!o)
		return;
	range.offset = (o->base + pgoff) * UNIT + (one_in(16) ? below(PAGE) : 0);
	range.length = one_in(16) ? 0 : nr * UNIT;
	if (one_in(32)) {
		range = (struct exclusive_memory_range) { 0, 1UL << 63 };
		pgoff = 0;
		nr = OBJECT_PAGES;
	}
	note("punch hole", o->kind, o->base, range.offset, range.length, 0);
	if (o->kind != DEVICE)
		error = -ENOTTY;
	else if (o->readonly)
		error = -EBADF;
	else if (!range.length || range.offset % PAGE)
		error = -EINVAL;
	else
		free_pages(o, pgoff, nr);
	expect(ioctl(fd_of(o), EXCLUSIVE_MEMORY_DROP, &range), error);
}

static void op_ftruncate(void)
{
	struct object *o = any_open_object();
	long size = one_in(4) ? 0 : (1 + below(OBJECT_PAGES)) * UNIT - below(PAGE);
	int error;

	if (!o)
		return;
	note("ftruncate", o->kind, o->size, size, 0, 0);
	error = o->kind == SECRET && !o->size ? 0 : -EINVAL;
	if (!error)
		o->size = (size + UNIT - 1) / UNIT;
	if (!error && o->size)
		free_pages(o, o->size, OBJECT_PAGES);
	expect(ftruncate(fd_of(o), size), error);
}

/* Only this process has the VM. The guest can use only guest_memfds created with this VM. */
static void begin_vm(void)
{
	if (me.vm_id)
		return;
	note("create VM", 0, 0, 0, 0, 0);
	me.vm.mem = mmap(NULL, OBJECT_PAGES * UNIT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (me.vm.mem == MAP_FAILED || !vm_create(&me.vm))
		fail("%s", strerror(errno));
	me.vm_id = ++world->ids;
}

static void end_vm(void)
{
	if (!me.vm_id)
		return;
	vm_destroy(&me.vm);
	munmap(me.vm.mem, OBJECT_PAGES * UNIT);
	me.vm_id = 0;
	me.bound = 0;
}

static void op_create_guest(void)
{
	struct object *o;
	int i, fd, error;

	if (!has_gmem)
		return;
	o = new_object(GUEST);
	if (!o)
		return op_make_room();
	begin_vm();
	o->size = any_length();
	o->id = ++world->ids;
	o->vm = me.vm_id;
	note("create guest_memfd", o->size, 0, 0, 0, 0);
	error = charge_error(&o->payer, o->size);
	fd = gmem_create(&me.vm, o->size * UNIT, GMEM_MAPPABLE);
	expect(fd, error);
	if (!error) {
		*fd_slot(o, false) = fd;
		for (i = 0; i < o->size; i++)
			alloc_page(o, i);
	}
	collect();
}

static struct object *any_open_guest(void)
{
	struct object *o = any_open_object();
	int i;

	for (i = 0; i < 8 && o && o->kind != GUEST; i++)
		o = any_open_object();
	return o && o->kind == GUEST ? o : NULL;
}

static void bind_guest(struct object *o)
{
	note("bind", fd_of(o), o->size, me.bound, 0, 0);
	if (me.bound)
		expect(set_slot(&me.vm, MEM_SLOT, MEM, me.vm.mem, 0, 0), 0);
	me.vm.fd = fd_of(o);
	expect(gmem_bind(&me.vm, MEM_SLOT, MEM, me.vm.mem, 0, o->size * UNIT), 0);
	me.bound = o->id;
}

static void access_by_guest(struct page *page, uint64_t gpa)
{
	unsigned long tag = draw() ?: 1;
	uint64_t value, old = gpa + page->tag % WORDS * 8;

	note("guest", gpa, page->here, page->tag, tag, 0);
	expect_value("exit", guest_read(&me.vm, old, &value), page->here ? KVM_EXIT_HLT : -EFAULT);
	if (!page->here)
		return;
	expect_value("word", value, page->tag);
	if (one_in(2))
		return;
	expect_value("exit", guest_write(&me.vm, old, 0), KVM_EXIT_HLT);
	expect_value("exit", guest_write(&me.vm, gpa + tag % WORDS * 8, tag), KVM_EXIT_HLT);
	page->tag = tag;
}

/* The object stays bound to the slot, even without pages. */
static void op_guest(void)
{
	struct object *o = any_open_guest();
	int i, pgoff;

	if (!o || o->vm != me.vm_id)
		return;
	if (me.bound != o->id || one_in(4))
		bind_guest(o);
	for (i = below(8); i >= 0; i--) {
		pgoff = below(o->size);
		access_by_guest(&o->page[pgoff], MEM + pgoff * UNIT);
	}
}

static void op_pwrite(void)
{
	struct object *o = any_open_guest();
	unsigned long zero = 0, tag = draw() ?: 1, start;
	struct page *page;
	int pgoff, error;

	if (!o)
		return;
	pgoff = below(one_in(8) ? OBJECT_PAGES : o->size);
	page = &o->page[pgoff];
	start = pgoff * UNIT;
	error = pgoff >= o->size ? -EFBIG : page->here ? 0 : -ENXIO;
	note("pwrite", fd_of(o), pgoff, tag, 0, 0);
	expect(pwrite(fd_of(o), &zero, 8, start + page->tag % WORDS * 8), error);
	expect(pwrite(fd_of(o), &tag, 8, start + tag % WORDS * 8), error);
	if (!error)
		page->tag = tag;
}

/* The file of a guest_memfd keeps its pages. */
static void op_end_vm(void)
{
	note("end of the VM", me.vm_id, 0, 0, 0, 0);
	end_vm();
}

static void op_send(void)
{
	struct object *o = any_open_object();

	if (!o || world->in_flight)
		return;
	note("sendmsg", fd_of(o), 0, 0, 0, 0);
	expect_value("sendmsg", send_fd(me.socket[0], fd_of(o)), true);
	world->in_flight = o;
	close_slot(fd_slot(o, true));
}

static void op_receive(void)
{
	struct object *o = world->in_flight;
	int fd;

	if (!o || !fd_slot(o, false))
		return;
	note("recvmsg", 0, 0, 0, 0, 0);
	fd = receive_fd(me.socket[1]);
	if (fd < 0)
		fail("no descriptor came");
	*fd_slot(o, false) = fd;
	world->in_flight = NULL;
}

static void new_sockets(void)
{
	close(me.socket[0]);
	close(me.socket[1]);
	expect(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, me.socket), 0);
}

/* The descriptor in flight is closed. */
static void op_new_sockets(void)
{
	if (me.depth)
		return;
	note("close of sockets", 0, 0, 0, 0, 0);
	world->in_flight = NULL;
	collect();
	new_sockets();
}

static void set_limit(long pages, unsigned int bytes)
{
	struct rlimit limit = { pages * UNIT + bytes, RLIM_INFINITY };

	note("setrlimit", pages, bytes, 0, 0, 0);
	expect(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	me.payer.limit = pages;
}

/* Mostly none. Otherwise a limit below what is in use, or not far above it. */
static long any_limit(long used)
{
	long pages = used + below(100) - 20;

	if (!one_in(3))
		return NO_LIMIT;
	return pages < 0 ? 0 : pages;
}

static void op_limit(void)
{
	set_limit(any_limit(user_pages(me.payer.user)), below(PAGE));
}

static void set_exempt(bool exempt)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	note("capset", exempt, 0, 0, 0, 0);
	expect(syscall(SYS_capget, &head, data), 0);
	data[0].effective &= ~(1U << CAP_IPC_LOCK);
	data[0].effective |= exempt ? 1U << CAP_IPC_LOCK : 0;
	expect(syscall(SYS_capset, &head, data), 0);
	me.payer.exempt = exempt;
}

static void op_exempt(void)
{
	set_exempt(one_in(3));
}

/* The process keeps root's privileges. */
static void set_user(int user)
{
	note("setresuid", user, 0, 0, 0, 0);
	expect(setresuid(uid_of(user), 0, 0), 0);
	me.payer.user = user;
}

static void op_user(void)
{
	set_user(below(NR_USERS));
}

static void set_max(int group, long pages, unsigned int bytes)
{
	char text[64] = "exmem max";
	int n = strlen(text);

	if (pages != NO_LIMIT)
		n = snprintf(text, sizeof(text), "exmem %lu", pages * UNIT + bytes);
	note("misc.max", group, pages, bytes, 0, 0);
	expect_value("write", pwrite(group_files[group][MAX], text, n, 0), n);
	world->group[group].max = pages;
}

static void op_max(void)
{
	int group = below(NR_GROUPS);

	if (has_groups())
		set_max(group, any_limit(group_pages(group)), below(PAGE));
}

static void set_group(int group)
{
	note("cgroup.procs", group, 0, 0, 0, 0);
	expect_value("write", pwrite(group_files[group][PROCS], "0", 1, 0), 1);
	me.payer.group = group;
}

static void op_group(void)
{
	if (has_groups())
		set_group(below(NR_GROUPS));
}

/* In a child: the mappings that fork() did not copy are gone. */
static void become_child(unsigned long random)
{
	int i;

	me.depth++;
	seed_random(random);
	/* Only the process that has created a VM can use it. */
	end_vm();
	for (i = 0; i < NR_OBJECTS; i++)
		me.hold[i].above |= me.hold[i].cells || fd_slot(&world->object[i], true);
	for (i = 0; i < ARENA_PAGES; i++) {
		if (!mapped(i) || !(me.cell[i].flags & DONT_COPY))
			continue;
		clear_cell(i);
		check_cell(i);
	}
}

static pid_t do_fork(const char *what)
{
	unsigned long random = draw();
	pid_t pid;

	note(what, random, 0, 0, 0, 0);
	pid = fork();
	expect(pid, 0);
	if (!pid)
		become_child(random);
	return pid;
}

static void expect_end(pid_t pid, int want)
{
	int status;

	expect(waitpid(pid, &status, 0), 0);
	expect_value("status", status, want);
}

static void step(void);

/* A child goes on with what it inherited. Then it exits, or is killed. */
static void op_fork(void)
{
	bool kill_it = one_in(2);
	pid_t pid;
	int i;

	if (me.depth == MAX_DEPTH)
		return;
	pid = do_fork("fork");
	if (!pid) {
		for (i = below(40); i >= 0; i--)
			step();
		if (kill_it)
			kill(getpid(), SIGKILL);
		_exit(0);
	}
	expect_end(pid, kill_it ? SIGKILL : 0);
	collect();
}

static void keep(const int *go, const int *ready)
{
	char c = 0;

	close(me.socket[0]);
	close(me.socket[1]);
	close(go[1]);
	if (write(ready[1], &c, 1) != 1)
		_exit(2);
	if (read(go[0], &c, 1) == 1)
		check_all_cells();
	_exit(0);
}

/* Fork a child that keeps what it inherited for a while. */
static void begin_keeper(void)
{
	int go[2], ready[2], i;
	struct object *o;
	char c;

	expect(pipe(go), 0);
	expect(pipe(ready), 0);
	me.keeper = do_fork("fork of a keeper");
	if (!me.keeper)
		keep(go, ready);
	close(go[0]);
	close(ready[1]);
	expect_value("message from the keeper", read(ready[0], &c, 1), 1);
	close(ready[0]);
	me.keeper_pipe = go[1];
	for (o = world->object; o < world->object + NR_OBJECTS; o++)
		o->kept = fd_slot(o, true);
	for (i = 0; i < ARENA_PAGES; i++)
		if (mapped(i) && !(me.cell[i].flags & DONT_COPY))
			me.cell[i].object->kept = true;
}

/* The keeper checks its pages and exits, or is killed first. */
static void end_keeper(void)
{
	bool kill_it = one_in(2);
	struct object *o;

	note("end of the keeper", kill_it, 0, 0, 0, 0);
	if (kill_it)
		expect(kill(me.keeper, SIGKILL), 0);
	else
		expect_value("write", write(me.keeper_pipe, "", 1), 1);
	expect_end(me.keeper, kill_it ? SIGKILL : 0);
	close(me.keeper_pipe);
	me.keeper = 0;
	for (o = world->object; o < world->object + NR_OBJECTS; o++)
		o->kept = false;
	collect();
}

static void op_keeper(void)
{
	if (me.depth)
		return;
	if (me.keeper)
		end_keeper();
	else
		begin_keeper();
}

static void close_all(void)
{
	int i, *slot;

	for (i = 0; i < NR_OBJECTS; i++)
		while ((slot = fd_slot(&world->object[i], true)))
			close_slot(slot);
	note("munmap of all", 0, 0, 0, 0, 0);
	expect(munmap((void *)ARENA, ARENA_PAGES * UNIT), 0);
	unmap_cells(0, ARENA_PAGES);
}

/* Go on with a private and empty model. */
static void become_victim(void)
{
	static struct world old;
	int i;

	me.depth = MAX_DEPTH;
	old = *world;
	close_all();
	new_sockets();
	expect_value("private model", (long)mmap(world, sizeof(*world), PROT_READ | PROT_WRITE,
						 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		     (long)world);
	*world = old;
	world->in_flight = NULL;
	for (i = 0; i < NR_OBJECTS; i++) {
		world->object[i].kind = UNUSED;
		me.hold[i].above = false;
	}
}

/* Nobody knows what the victim has done last. */
static void take_over_groups(void)
{
	struct group *group = world->group;
	int i;

	for (i = 0; has_groups() && i < NR_GROUPS; i++) {
		set_max(i, group[i].max, 0);
		group[i].peak = read_group(i, PEAK) / UNIT;
		group[i].events = read_group(i, EVENTS);
	}
}

/* A child that shares nothing is killed in the middle of an operation. */
static void op_victim(void)
{
	pid_t pid;

	if (me.depth)
		return;
	pid = do_fork("fork of a victim");
	if (!pid) {
		become_victim();
		for (;;)
			step();
	}
	usleep(1000 + below(30000));
	expect(kill(pid, SIGKILL), 0);
	expect_end(pid, SIGKILL);
	take_over_groups();
}

static const struct {
	const char *name;
	void (*run)(void);
	int weight;
} operations[] = {
	{ "store", op_store, 4000 },
	{ "read", op_read, 600 },
	{ "write", op_write, 600 },
	{ "process_vm_readv", op_peek, 100 },
	{ "open", op_open, 800 },
	{ "reopen", op_reopen, 100 },
	{ "dup", op_dup, 200 },
	{ "close", op_close, 500 },
	{ "mmap", op_mmap, 2000 },
	{ "mmap exclusive", op_mmap_exclusive, 700 },
	{ "bad mmap", op_mmap_bad, 200 },
	{ "mmap all", op_mmap_all, 1 },
	{ "munmap", op_munmap, 800 },
	{ "mremap", op_mremap, 1500 },
	{ "mprotect", op_mprotect, 1200 },
	{ "madvise", op_madvise, 2500 },
	{ "punch hole", op_punch_hole, 600 },
	{ "fallocate", op_fallocate, 800 },
	{ "ftruncate", op_ftruncate, 300 },
	{ "guest_memfd", op_create_guest, 500 },
	{ "guest", op_guest, 600 },
	{ "pwrite", op_pwrite, 400 },
	{ "end of the VM", op_end_vm, 20 },
	{ "sendmsg", op_send, 200 },
	{ "recvmsg", op_receive, 200 },
	{ "new sockets", op_new_sockets, 20 },
	{ "setrlimit", op_limit, 200 },
	{ "capset", op_exempt, 100 },
	{ "setresuid", op_user, 100 },
	{ "misc.max", op_max, 100 },
	{ "cgroup.procs", op_group, 8 },
	{ "fork", op_fork, 20 },
	{ "keeper", op_keeper, 12 },
	{ "victim", op_victim, 4 },
};

static int any_operation(void)
{
	static unsigned int sum;
	size_t i;
	int n;

	if (!sum)
		for (i = 0; i < ARRAY_SIZE(operations); i++)
			sum += operations[i].weight;
	n = below(sum);
	for (i = 0; n >= operations[i].weight; i++)
		n -= operations[i].weight;
	return i;
}

static void step(void)
{
	me.number = any_operation();
	me.nr = 0;
	world->operations++;
	world->calls[me.number]++;
	operations[me.number].run();
	check();
}

static void group_path(char path[128], int worker, int group)
{
	snprintf(path, 128, "%s/%d-%d", cgroup_dir, worker, group);
}

static void open_group(int group)
{
	static const char *const names[] = {
		[CURRENT] = "misc.current", [PEAK] = "misc.peak", [EVENTS] = "misc.events",
		[MAX] = "misc.max", [PROCS] = "cgroup.procs",
	};
	char path[128], file[160];
	struct stat st;
	int i;

	group_path(path, me.worker, group);
	expect(stat(path, &st), 0);
	group_ids[group] = st.st_ino;
	for (i = 0; i < NR_GROUP_FILES; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, names[i]);
		group_files[group][i] = open(file, (i < MAX ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
		expect(group_files[group][i], 0);
	}
}

static void open_groups(void)
{
	int i;

	for (i = 0; i < NR_GROUPS; i++) {
		world->group[i].max = NO_LIMIT;
		if (has_groups())
			open_group(i);
	}
	if (has_groups())
		set_group(0);
}

static void init_worker(int worker)
{
	me.worker = worker;
	seed_random(seed + worker);
	catch_faults();
	note("start", 0, 0, 0, 0, 0);
	open_groups();
	set_user(0);
	set_exempt(false);
	set_limit(NO_LIMIT, 0);
	new_sockets();
	me.file = memfd_create("random", MFD_CLOEXEC);
	expect(me.file, 0);
}

/* Half of the workers clean up, the others are killed. */
static void end_worker(void)
{
	int i;

	if (me.keeper)
		end_keeper();
	check_all_cells();
	world->done = true;
	if (me.worker % 2)
		kill(getpid(), SIGKILL);
	close_all();
	op_new_sockets();
	collect();
	check_pool();
	check_objects();
	for (i = 0; i < NR_GROUPS; i++) {
		check_group(i);
		check_group_history(i);
	}
	expect_value("pages held", held_pages(), 0);
	_exit(0);
}

static void work(int worker, long operations)
{
	init_worker(worker);
	while (world->operations < operations)
		step();
	end_worker();
}

/* Allocate models in memory that processes share and the victim can replace. */
static void new_worlds(int nr)
{
	int i;

	for (i = 0; i < nr; i++) {
		worlds[i] = mmap(NULL, sizeof(*worlds[i]), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (worlds[i] == MAP_FAILED)
			ksft_exit_fail_perror("mmap");
	}
	world = worlds[0];
}

static bool run_workers(int nr, long operations)
{
	pid_t pids[MAX_WORKERS];
	bool ok = true;
	int i, status;

	for (i = 0; i < nr; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			world = worlds[i];
			work(i, (operations + nr - 1 - i) / nr);
		}
	}
	for (i = 0; i < nr; i++) {
		if (waitpid(pids[i], &status, 0) != pids[i] || !worlds[i]->done ||
		    status != (i % 2 ? SIGKILL : 0)) {
			ksft_print_msg("process %d: status %#x\n", i, status);
			ok = false;
		}
	}
	return ok;
}

/* Does the kernel list an object of one of so many users? */
static bool lists_object_of(int nr_users)
{
	FILE *f = fopen(OBJECTS, "re");
	struct object_line line;
	bool found = false;
	char text[128];

	while (f && fgets(text, sizeof(text), f)) {
		if (!parse_object(text, &line) || line.user - FIRST_UID >= nr_users)
			continue;
		ksft_print_msg("%s", text);
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

/* With a limit of 16 pages the user gets 16, and no more. */
static __noreturn void try_limit(uid_t uid)
{
	struct rlimit limit = { 16 * PAGE, RLIM_INFINITY };
	int fd;

	if (setresuid(uid, 0, 0))
		_exit(1);
	set_exempt(false);
	setrlimit(RLIMIT_MEMLOCK, &limit);
	fd = open(EXMEM_DEV, O_RDWR);
	_exit(exmem_map(fd, 17, 0) != MAP_FAILED || errno != EAGAIN ||
	      exmem_map(fd, 16, 0) == MAP_FAILED);
}

static bool nobody_is_charged(int nr)
{
	bool bad = lists_object_of(nr * NR_USERS);
	int i, status;
	pid_t pid;

	for (i = 0; i < nr * NR_USERS; i++) {
		pid = fork();
		if (!pid)
			try_limit(FIRST_UID + i);
		bad |= waitpid(pid, &status, 0) != pid || status;
	}
	return !bad;
}

static bool new_groups(int nr)
{
	const char *missing = cgroup_make_dir();
	char path[128];
	int i;

	if (missing) {
		ksft_print_msg("without cgroups: %s\n", missing);
		return false;
	}
	for (i = 0; i < nr * NR_GROUPS; i++) {
		group_path(path, i / NR_GROUPS, i % NR_GROUPS);
		if (mkdir(path, 0755))
			ksft_exit_fail_perror(path);
	}
	return true;
}

/* Remove the cgroups. Returns false if a page is charged to one of them. */
static bool end_groups(int nr)
{
	char path[128];
	long bytes;
	int i;

	snprintf(path, sizeof(path), "%s/misc.current", cgroup_dir);
	bytes = named_value(path, "exmem");
	if (bytes)
		ksft_print_msg("%ld bytes are charged to cgroups\n", bytes);
	for (i = 0; i < nr * NR_GROUPS; i++) {
		group_path(path, i / NR_GROUPS, i % NR_GROUPS);
		if (rmdir(path))
			ksft_print_msg("rmdir of %s: %s\n", path, strerror(errno));
	}
	cgroup_remove_dir();
	return !bytes;
}

static void print_counts(int nr)
{
	long calls, refused;
	size_t i;
	int j;

	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		for (calls = refused = j = 0; j < nr; j++) {
			calls += worlds[j]->calls[i];
			refused += worlds[j]->refused[i];
		}
		ksft_print_msg("%-16s %8ld, refused %ld\n", operations[i].name, calls, refused);
	}
}

static long count_all_pmds(int nr)
{
	long pmds = 0;
	int i;

	for (i = 0; i < nr; i++)
		pmds += worlds[i]->pmds;
	return pmds;
}

#define TEST_OPERATIONS	"every operation does what the model says\n"
#define TEST_FREE	"all pages are free\n"
#define TEST_CHARGE	"no page is charged to a user\n"
#define TEST_CGROUP	"no page is charged to a cgroup\n"
#define TEST_PMDS	"PMDs map regions\n"

static __noreturn void skip(const char *reason)
{
	ksft_print_msg("%s\n", reason);
	ksft_test_result_skip(TEST_OPERATIONS);
	ksft_test_result_skip(TEST_FREE);
	ksft_test_result_skip(TEST_CHARGE);
	ksft_test_result_skip(TEST_CGROUP);
	ksft_test_result_skip(TEST_PMDS);
	ksft_finished();
}

static void run(int nr, long operations)
{
	bool groups = new_groups(nr);
	struct timespec start, end;
	double seconds;

	new_worlds(nr);
	clock_gettime(CLOCK_MONOTONIC, &start);
	ksft_test_result(run_workers(nr, operations), TEST_OPERATIONS);
	clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = end.tv_sec - start.tv_sec + (end.tv_nsec - start.tv_nsec) / 1e9;
	ksft_print_msg("%.1f s, %.0f operations a second\n", seconds, operations / seconds);
	print_counts(nr);
	ksft_print_msg("%ld of %ld pages are free\n", exmem_free(), usable);
	ksft_test_result(exmem_free() == usable, TEST_FREE);
	ksft_test_result(nobody_is_charged(nr), TEST_CHARGE);
	if (groups)
		ksft_test_result(end_groups(nr), TEST_CGROUP);
	else
		ksft_test_result_skip(TEST_CGROUP);
	if (unit > 1)
		ksft_test_result(count_all_pmds(nr), TEST_PMDS);
	else
		ksft_test_result_skip(TEST_PMDS);
}

static bool mremap_moves_ranges(void)
{
	char *p = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(p, PAGE, PROT_NONE);
	return mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 2 * PAGE) !=
	       MAP_FAILED;
}

/* Sets what the options name. */
static bool parse_options(int argc, char **argv, int *nr, long *operations)
{
	int opt;

	while ((opt = getopt(argc, argv, "s:n:j:u:")) != -1) {
		if (opt == 's')
			seed = strtoul(optarg, NULL, 0);
		else if (opt == 'n')
			*operations = strtol(optarg, NULL, 0);
		else if (opt == 'j')
			*nr = strtol(optarg, NULL, 0);
		else if (opt == 'u')
			unit = strtoul(optarg, NULL, 0);
		else
			return false;
	}
	if (*nr >= 1 && *nr <= MAX_WORKERS && unit && !(PMD % UNIT))
		return true;
	fprintf(stderr, "random: -j must be 1 to %d, and -u a power of 2 up to 512\n",
		MAX_WORKERS);
	return false;
}

/* Ends the program if it can't run. */
static void look_at_kernel(int nr)
{
	/* Each process and its victim can have all their pages: no request fails by chance. */
	long most = nr * 2L * NR_OBJECTS * OBJECT_PAGES * unit;
	const char *missing = exmem_front_missing(EXMEM_FRONT_MMAP, most) ?:
			      exmem_front_missing(EXMEM_FRONT_SECRETMEM, 0);

	if (missing)
		skip(missing);
	total = exmem_total();
	usable = exmem_usable();
	lists_objects = !access(OBJECTS, R_OK);
	if (!lists_objects)
		ksft_print_msg("without the list of objects in debugfs\n");
	has_gmem = !gmem_missing(0);
	if (!has_gmem)
		ksft_print_msg("without guest_memfd\n");
	moves_ranges = mremap_moves_ranges();
}

int main(int argc, char **argv)
{
	long operations = 100000;
	int nr = 4;

	seed = time(NULL) ^ (unsigned long)getpid() << 32;
	if (!parse_options(argc, argv, &nr, &operations))
		return KSFT_FAIL;
	ksft_print_header();
	ksft_set_plan(5);
	look_at_kernel(nr);
	alone = nr == 1;
	ksft_print_msg("seed %lu\n", seed);
	run(nr, operations);
	ksft_finished();
}
