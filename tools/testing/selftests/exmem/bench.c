// SPDX-License-Identifier: GPL-2.0-only
/*
 * Benchmark the life of memory: create, map, touch every page, unmap, close.
 * Compares exclusive memory with its alternatives. Not a test: it asserts no
 * figure.
 *
 * bench cost [PAGES KIND...]     ns per page, in total and for each step, on one
 *                                CPU. Under lab/vm --icount, 1 ns is one
 *                                instruction on any host, and results are
 *                                reproducible.
 * bench large KIND...            the same for 1 GiB; page faults to touch it, and
 *                                page-table memory in KiB
 * bench cycles KIND PAGES COUNT  COUNT cycles on one CPU, with tracing enabled
 *                                while they run
 * bench load PAGES SECONDS       cycles of exclusive memory on all CPUs at once
 * bench scaling PAGES SECONDS    throughput of 1, 2, 4... CPUs relative to one:
 *                                lines of kind, pages, CPUs and ratio
 * bench beside                   99th percentile in ns of cycles of one page while
 *                                requests on another CPU fail, and while they
 *                                succeed; median, and the median ratio
 * bench containers               the same in a cgroup, beside another cgroup at its
 *                                limit: against one within its limit, and against
 *                                one that uses anonymous memory
 *
 * Needs root and a kernel booted with exmem=8M per CPU used.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>

#include "../kselftest.h"
#include "bench.h"
#include "cgroup.h"
#include "exmem.h"

#define ROUNDS		3
#define WARM_UP_CYCLES	8
#define CYCLED_PAGES	6400	/* in a round of "bench cost PAGES" */
#define LARGE_PAGES	0x40000UL	/* 1 GiB */
#define BESIDE_ROUNDS	11
#define BESIDE_CYCLES	10000	/* in a round of "bench beside" */
#define CONTAINER_PAGES	1024	/* the limit of a container */

enum step { CREATE, MAP, TOUCH, UNMAP, CLOSE, STEPS };

/* Anonymous mappings have no file to create or close. */
static int create_nothing(size_t pages)
{
	return -1;
}

static int create_secret(size_t pages)
{
	int fd = exmem_front_open(EXMEM_FRONT_SECRETMEM, pages * PAGE);

	if (fd < 0)
		die("memfd_secret");
	return fd;
}

/*
 * Open relative to /dev: the cost of walking there depends on the root file
 * system, and memfd_secret(2) walks no path at all.
 */
static int create_exmem(size_t pages)
{
	static int dev = -1;
	int fd;

	if (dev < 0)
		dev = open("/dev", O_PATH | O_DIRECTORY);
	fd = openat(dev, EXMEM_DEV + strlen("/dev/"), O_RDWR);
	if (fd < 0)
		die(EXMEM_DEV);
	return fd;
}

static const struct kind {
	const char *name;
	int (*create)(size_t pages);
	int flags;
	bool from_the_pool;	/* memfd_secret() only */
} kinds[] = {
	{ "anonymous", create_nothing, MAP_PRIVATE | MAP_ANONYMOUS },
	{ "populate", create_nothing, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE },
	{ "memfd_secret", create_secret, MAP_SHARED },
	{ "exmem", create_exmem, MAP_SHARED },
	{ "exclusive", create_nothing, MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_EXCLUSIVE },
	{ "secret_pool", create_secret, MAP_SHARED, .from_the_pool = true },
};

/* Run one cycle; add the duration of each step to @steps, unless it is NULL. */
static inline void cycle(const struct kind *kind, size_t pages, uint64_t *steps)
{
	uint64_t t[STEPS + 1];
	char *p;
	size_t i;
	int fd;

#define STAMP(step) do { if (steps) t[step] = now(); } while (0)
	STAMP(CREATE);
	fd = kind->create(pages);
	STAMP(MAP);
	p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, kind->flags, fd, 0);
	if (p == MAP_FAILED)
		die(kind->name);
	STAMP(TOUCH);
	for (i = 0; i < pages; i++)
		p[i * PAGE] = 1;
	/* Keep the stores, although nobody reads them. */
	asm volatile("" : : : "memory");
	STAMP(UNMAP);
	munmap(p, pages * PAGE);
	STAMP(CLOSE);
	if (fd >= 0)
		close(fd);
	STAMP(STEPS);
#undef STAMP

	for (i = 0; steps && i < STEPS; i++)
		steps[i] += t[i + 1] - t[i];
}

static uint64_t measure(const struct kind *kind, size_t pages, int cycles, uint64_t *steps)
{
	uint64_t start;
	int i;

	memfd_secret_from_pool(kind->from_the_pool);
	start = now();
	for (i = 0; i < cycles; i++)
		cycle(kind, pages, steps);
	return now() - start;
}

static void print_cost(const struct kind *kind, size_t pages, int cycles)
{
	uint64_t steps[STEPS] = {}, sum = 0, min = UINT64_MAX, max = 0;
	double n = (double)cycles * pages;
	int i;

	measure(kind, pages, WARM_UP_CYCLES, NULL);
	for (i = 0; i < ROUNDS; i++) {
		uint64_t took = measure(kind, pages, cycles, NULL);

		sum += took;
		min = took < min ? took : min;
		max = took > max ? took : max;
	}
	measure(kind, pages, cycles, steps);

	printf("%-12s %5zu %9.0f %7.2f", kind->name, pages, sum / n / ROUNDS,
	       100.0 * (max - min) / min);
	for (i = 0; i < STEPS; i++)
		printf(" %7.0f", steps[i] / n);
	putchar('\n');
	fflush(stdout);
}

static void print_cost_header(void)
{
	printf("%-12s %5s %9s %7s %7s %7s %7s %7s %7s\n", "kind", "pages", "ns/page",
	       "spread%", "create", "map", "touch", "unmap", "close");
}

static int cost_of_all(void)
{
	static const struct { size_t pages; int cycles; } sizes[] = {
		{ 1, 4000 }, { 4, 2000 }, { 16, 1000 }, { 64, 400 }, { 256, 100 }, { 1024, 25 },
	};
	size_t i, j;

	print_cost_header();
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		for (j = 0; j < ARRAY_SIZE(kinds); j++)
			print_cost(&kinds[j], sizes[i].pages, sizes[i].cycles);
	return 0;
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static const struct kind *find_kind(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	fprintf(stderr, "no such kind of memory: %s\n", name);
	exit(1);
}

static int cost_of(size_t pages, char **names)
{
	stay_on(0);
	print_cost_header();
	for (; *names; names++)
		print_cost(find_kind(*names), pages, CYCLED_PAGES / pages);
	return 0;
}

static long page_tables(void)
{
	return named_value("/proc/self/status", "VmPTE:");
}

static void print_large(const struct kind *kind)
{
	uint64_t took;
	long faults, tables = page_tables();
	size_t i;
	char *p;
	int fd;

	/* The second cycle finds the pages that the first has freed. */
	measure(kind, LARGE_PAGES, 1, NULL);
	took = measure(kind, LARGE_PAGES, 1, NULL);

	fd = kind->create(LARGE_PAGES);
	p = mmap(NULL, LARGE_PAGES * PAGE, PROT_READ | PROT_WRITE, kind->flags, fd, 0);
	if (p == MAP_FAILED)
		die(kind->name);
	faults = page_faults();
	for (i = 0; i < LARGE_PAGES; i++)
		p[i * PAGE] = 1;
	faults = page_faults() - faults;
	tables = page_tables() - tables;
	munmap(p, LARGE_PAGES * PAGE);
	if (fd >= 0)
		close(fd);
	printf("%-12s %7.0f %7ld %7ld\n", kind->name, (double)took / LARGE_PAGES, faults, tables);
	fflush(stdout);
}

static int large(char **names)
{
	stay_on(0);
	printf("%-12s %7s %7s %7s\n", "kind", "ns/page", "faults", "tables");
	for (; *names; names++)
		print_large(find_kind(*names));
	return 0;
}

/*
 * Trace nothing but the cycles: commands that a shell starts in between have
 * flushes of their own. "idle" waits for a second instead.
 */
static int traced_cycles(const char *name, size_t pages, int count)
{
	const struct kind *kind = strcmp(name, "idle") ? find_kind(name) : NULL;
	int fd = open(TRACING_ON, O_WRONLY);

	stay_on(0);
	if (fd < 0)
		die(TRACING_ON);
	if (kind)
		measure(kind, pages, WARM_UP_CYCLES, NULL);
	if (write(fd, "1", 1) != 1)
		die(TRACING_ON);
	if (kind)
		measure(kind, pages, count, NULL);
	else
		sleep(1);
	if (write(fd, "0", 1) != 1)
		die(TRACING_ON);
	return 0;
}

static uint64_t cycles_until(uint64_t end, int cpu, const struct kind *kind, size_t pages)
{
	uint64_t cycles = 0;

	stay_on(cpu);
	for (; now() < end; cycles++)
		cycle(kind, pages, NULL);
	return cycles;
}

/* Load the first @cpus CPUs. @cycles, in shared memory, counts the cycles of each. */
static bool load_cpus(const struct kind *kind, size_t pages, int seconds, int cpus,
		      uint64_t *cycles)
{
	uint64_t end = now() + seconds * 1000000000ULL;
	int cpu, status, failed = 0;

	memfd_secret_from_pool(kind->from_the_pool);
	for (cpu = 0; cpu < cpus; cpu++) {
		if (fork())
			continue;
		cycles[cpu] = cycles_until(end, cpu, kind, pages);
		_exit(0);
	}
	while (wait(&status) > 0)
		failed |= status;
	return !failed;
}

static uint64_t *shared_numbers(int nr)
{
	uint64_t *p = mmap(NULL, nr * sizeof(*p), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static int load(size_t pages, int seconds)
{
	int cpu, cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t *cycles = shared_numbers(cpus);

	if (!load_cpus(find_kind("exmem"), pages, seconds, cpus, cycles))
		return 1;
	for (cpu = 0; cpu < cpus; cpu++)
		printf("CPU %d: %lu cycles\n", cpu, cycles[cpu]);
	return 0;
}

static double total_cycles(const struct kind *kind, size_t pages, int seconds, int cpus)
{
	uint64_t *cycles = shared_numbers(cpus);
	double sum = 0;
	int cpu;

	if (!load_cpus(kind, pages, seconds, cpus, cycles))
		exit(1);
	for (cpu = 0; cpu < cpus; cpu++)
		sum += cycles[cpu];
	munmap(cycles, cpus * sizeof(*cycles));
	return sum;
}

static int compare_doubles(const void *a, const void *b)
{
	return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b);
}

static double median(double *values, int nr)
{
	qsort(values, nr, sizeof(*values), compare_doubles);
	return values[nr / 2];
}

/*
 * The median of ROUNDS ratios. One CPU and many are measured in turn, so that
 * other work on the host affects both.
 */
static double median_ratio(const struct kind *kind, size_t pages, int seconds, int cpus)
{
	double ratios[ROUNDS];
	int i;

	for (i = 0; i < ROUNDS; i++) {
		double one = total_cycles(kind, pages, seconds, 1);

		ratios[i] = total_cycles(kind, pages, seconds, cpus) / one;
	}
	return median(ratios, ROUNDS);
}

static int scaling(size_t pages, int seconds)
{
	static const char *const names[] = { "populate", "memfd_secret", "exmem" };
	int cpus, online = sysconf(_SC_NPROCESSORS_ONLN);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		printf("%s %zu 1 1\n", names[i], pages);
		for (cpus = 2; cpus <= online; cpus *= 2)
			printf("%s %zu %d %.3f\n", names[i], pages, cpus,
			       median_ratio(find_kind(names[i]), pages, seconds, cpus));
	}
	return 0;
}

/* What the other task requests, over and over. */
struct request {
	const char *kind;
	size_t pages;
	int error;	/* 0: the request succeeds */
};

static void *map_pages(const char *kind, size_t pages)
{
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, find_kind(kind)->flags, -1, 0);
}

static void repeat(const struct request *request)
{
	void *p;

	stay_on(1);
	do {
		p = map_pages(request->kind, request->pages);
	} while (request->error ? p == MAP_FAILED && errno == request->error :
				  !munmap(p, request->pages * PAGE));
	_exit(1);
}

enum container { OTHER, OURS, CONTAINERS };

static void container_path(char path[128], enum container container)
{
	snprintf(path, 128, "%s/%d", cgroup_dir, container);
}

static void enter(enum container container)
{
	char path[128];

	container_path(path, container);
	if (cgroup_dir[0] && !cgroup_put(path, "cgroup.procs", "0"))
		die(path);
}

static double p99_beside(const struct request *request)
{
	/* Not static: one more VMA would make each mmap() of "bench cost" more expensive. */
	double p99, *took = malloc(BESIDE_CYCLES * sizeof(*took));
	uint64_t start;
	int i, status;
	pid_t pid;

	if (!took)
		die("malloc");
	enter(OTHER);
	pid = fork();
	if (!pid)
		repeat(request);
	enter(OURS);
	for (i = 0; i < BESIDE_CYCLES; i++) {
		start = now();
		cycle(find_kind("exclusive"), 1, NULL);
		took[i] = now() - start;
	}
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		die("the other task");
	qsort(took, BESIDE_CYCLES, sizeof(*took), compare_doubles);
	p99 = took[BESIDE_CYCLES * 99 / 100];
	free(took);
	return p99;
}

static void print_beside(const char *what, const double *failing, const double *reference)
{
	double a[BESIDE_ROUNDS], b[BESIDE_ROUNDS], ratios[BESIDE_ROUNDS];
	int i;

	for (i = 0; i < BESIDE_ROUNDS; i++) {
		a[i] = failing[i];
		b[i] = reference[i];
		ratios[i] = a[i] / b[i];
	}
	printf("%s %.0f %.0f %.2f\n", what, median(a, BESIDE_ROUNDS), median(b, BESIDE_ROUNDS),
	       median(ratios, BESIDE_ROUNDS));
}

/* Half of the pool is held. A request for more than the other half fails. */
static int delays_beside(void)
{
	double failing[BESIDE_ROUNDS], succeeding[BESIDE_ROUNDS];
	size_t total = exmem_total();
	const struct request too_much = { "exclusive", total / 4 * 3, ENOMEM };
	const struct request a_page = { "exclusive", 1 };
	int i;

	if (map_pages("exclusive", total / 2) == MAP_FAILED)
		die("holding half of the pool");
	stay_on(0);
	for (i = 0; i < BESIDE_ROUNDS; i++) {
		failing[i] = p99_beside(&too_much);
		succeeding[i] = p99_beside(&a_page);
	}
	print_beside("beside", failing, succeeding);
	return 0;
}

static void create_containers(void)
{
	char path[128], max[64];
	int i;

	snprintf(max, sizeof(max), "exmem %lu", CONTAINER_PAGES * PAGE);
	for (i = 0; i < CONTAINERS; i++) {
		container_path(path, i);
		if (mkdir(path, 0755) || !cgroup_put(path, "misc.max", max))
			die(path);
	}
}

static void remove_containers(void)
{
	char path[128];
	int i;

	if (!cgroup_put(CGROUP_TOP, "cgroup.procs", "0"))
		die("leaving the container");
	for (i = 0; i < CONTAINERS; i++) {
		container_path(path, i);
		rmdir(path);
	}
	cgroup_remove_dir();
}

/* One more page than the other container may have. */
static double p99_beside_limit(void)
{
	const struct request a_page = { "exclusive", 1, EAGAIN };
	double p99;
	void *p;

	/* This task pays for the pages as one of the other container. */
	enter(OTHER);
	p = map_pages("exclusive", CONTAINER_PAGES);
	if (p == MAP_FAILED)
		die("all pages of the container");
	p99 = p99_beside(&a_page);
	munmap(p, CONTAINER_PAGES * PAGE);
	return p99;
}

static int delays_of_containers(void)
{
	double at_limit[BESIDE_ROUNDS], within[BESIDE_ROUNDS], anonymous[BESIDE_ROUNDS];
	const struct request a_page = { "exclusive", 1 }, other = { "populate", 1 };
	const char *missing = cgroup_make_dir();
	int i;

	if (missing) {
		fprintf(stderr, "bench: %s\n", missing);
		return 1;
	}
	create_containers();
	stay_on(0);
	for (i = 0; i < BESIDE_ROUNDS; i++) {
		at_limit[i] = p99_beside_limit();
		within[i] = p99_beside(&a_page);
		anonymous[i] = p99_beside(&other);
	}
	print_beside("containers", at_limit, within);
	print_beside("containers-anonymous", at_limit, anonymous);
	remove_containers();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "cost"))
		return cost_of_all();
	if (argc >= 4 && !strcmp(argv[1], "cost") && atol(argv[2]) > 0)
		return cost_of(atol(argv[2]), argv + 3);
	if (argc >= 3 && !strcmp(argv[1], "large"))
		return large(argv + 2);
	if (argc == 5 && !strcmp(argv[1], "cycles"))
		return traced_cycles(argv[2], atol(argv[3]), atoi(argv[4]));
	if (argc == 4 && !strcmp(argv[1], "load"))
		return load(atol(argv[2]), atoi(argv[3]));
	if (argc == 4 && !strcmp(argv[1], "scaling"))
		return scaling(atol(argv[2]), atoi(argv[3]));
	if (argc == 2 && !strcmp(argv[1], "beside"))
		return delays_beside();
	if (argc == 2 && !strcmp(argv[1], "containers"))
		return delays_of_containers();
	fprintf(stderr, "usage: bench cost [PAGES KIND...] | large KIND... |\n"
			"       cycles KIND PAGES COUNT | load PAGES SECONDS | scaling PAGES SECONDS | beside | containers\n");
	return 1;
}
