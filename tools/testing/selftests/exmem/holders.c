// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who holds exclusive memory: fdinfo, smaps, and the list of all objects in debugfs, by which
 * the administrator finds each holder, also one that has closed everything.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>

#define NEED_DEVICE_FIXTURE
#define NEED_FRONT_FIXTURE
#include "actor.h"
#include "fixtures.h"
#include "objects.h"

#define USER	4711

/* What smaps shows of a mapping; -1 for a field that it does not have. */
struct smap {
	char name[64];
	long kb, object;
};

static bool read_field(const char *line, const char *format, void *value)
{
	return sscanf(line, format, value) == 1;
}

/* Read the mapping at @at, or with NULL, all, and return the number of those with our fields. */
static int read_smaps(const char *at, struct smap *smap)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool inside = false;
	char line[512];
	long other;
	int n = 0;

	*smap = (struct smap) { .kb = -1, .object = -1 };
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			inside = (unsigned long)at >= start && (unsigned long)at < end;
			if (inside)
				read_field(line, "%*s %*s %*s %*s %*s %63[^\n]", smap->name);
		}
		n += read_field(line, "Exclusive: %ld kB", inside ? &smap->kb : &other);
		read_field(line, "ExclusiveObject: %ld", inside ? &smap->object : &other);
	}
	if (f)
		fclose(f);
	return n;
}

static long kb_at(const char *p)
{
	struct smap smap;

	read_smaps(p, &smap);
	return smap.kb;
}

static long object_at(const char *p)
{
	struct smap smap;

	read_smaps(p, &smap);
	return smap.object;
}

#define KB(pages)	((pages) * (long)PAGE / 1024)

TEST_F(front, smaps)
{
	static const char * const names[] = {
		[EXMEM_FRONT_DEVICE] = EXMEM_DEV,
		[EXMEM_FRONT_MMAP] = "/exclusive_memory (deleted)",
		[EXMEM_FRONT_SECRETMEM] = "/secretmem (deleted)",
	};
	int fd = open_front(100);
	struct smap smap;
	char *p;

	EXPECT_EQ(read_smaps(NULL, &smap), 0);
	p = map_front(fd, 100);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(read_smaps(p, &smap), 1);
	EXPECT_STREQ(smap.name, names[variant->front]);
	EXPECT_EQ(smap.kb, KB(100));
	EXPECT_GT(smap.object, 0);
	if (has_fd()) {
		EXPECT_EQ(smap.object, object_info(fd, "object"));
		close(fd);
		EXPECT_EQ(kb_at(p), KB(100));
		EXPECT_EQ(object_at(p), smap.object);
	}
	/* Two parts of one mapping. */
	ASSERT_EQ(munmap(p + 30 * PAGE, 7 * PAGE), 0);
	EXPECT_EQ(kb_at(p), KB(30));
	EXPECT_EQ(kb_at(p + 40 * PAGE), KB(63));
	EXPECT_EQ(object_at(p), smap.object);
	EXPECT_EQ(object_at(p + 40 * PAGE), smap.object);
	EXPECT_EQ(kb_at(p + 30 * PAGE), -1);
	munmap(p, 100 * PAGE);
	EXPECT_EQ(read_smaps(NULL, &smap), 0);
}

/* Other mappings, also of ordinary memory from memfd_secret(), look as they always did. */
TEST_F(device, smaps_of_others)
{
	struct smap smap;
	char *p;
	int fd;

	memfd_secret_from_pool(false);
	fd = exmem_front_open(EXMEM_FRONT_SECRETMEM, PAGE);
	memfd_secret_from_pool(true);
	ASSERT_GE(fd, 0);
	p = exmem_map(fd, 1, 0);
	ASSERT_NE(p, MAP_FAILED);
	*p = 1;
	EXPECT_EQ(read_smaps(p, &smap), 0);
	EXPECT_EQ(smap.kb, -1);
	EXPECT_EQ(smap.object, -1);
}

/* Exclusive counts pages of the object, in the range of the mapping. */
TEST_F(device, smaps_of_holes)
{
	char *p = exmem_map(self->fd, 100, 0), *q;

	ASSERT_NE(p, MAP_FAILED);
	q = exmem_map(self->fd, 10, 50);
	ASSERT_NE(q, MAP_FAILED);
	EXPECT_EQ(object_at(p), object_at(q));
	ASSERT_EQ(exmem_punch_hole(self->fd, 45, 10), 0);
	EXPECT_EQ(kb_at(p), KB(90));
	EXPECT_EQ(kb_at(q), KB(5));
	ASSERT_EQ(exmem_punch_hole(self->fd, 0, 100), 0);
	EXPECT_EQ(kb_at(p), 0);
	EXPECT_GT(object_at(p), 0);
	/* Mapped anew elsewhere, they are the object's pages again. */
	ASSERT_NE(exmem_map(self->fd, 3, 58), MAP_FAILED);
	EXPECT_EQ(kb_at(p), KB(3));
	EXPECT_EQ(kb_at(q), KB(2));
}

static bool have_list(void)
{
	return !access(OBJECTS, R_OK);
}

#define NEEDS_LIST	"needs debugfs in /sys/kernel/debug"

/* The list, and the figures of the pool. */
static bool sums_are_equal(void)
{
	long objects, pages;

	return sum_objects(&objects, &pages) && pages == exmem_usable() - exmem_free();
}

TEST_F(device, list_mode)
{
	struct stat st;

	if (!have_list())
		SKIP(return, NEEDS_LIST);
	ASSERT_EQ(stat(OBJECTS, &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0400);
	EXPECT_EQ(st.st_uid, 0);
}

TEST_F(front, list)
{
	static const char * const callers[] = { "device", "mmap", "secretmem" };
	long id, before, after, pages;
	struct object_line object;
	struct actor user = {};
	int fd;

	if (!have_list())
		SKIP(return, NEEDS_LIST);
	ASSERT_TRUE(sum_objects(&before, &pages));
	EXPECT_EQ(pages, 0);
	chmod(EXMEM_DEV, 0666);
	ASSERT_GT(actor_start(&user), 0);
	ASSERT_EQ(ask(&user, act_become_for_now, USER), 0);
	ASSERT_EQ(ask(&user, act_open_and_map, variant->front, 25), 0);
	ASSERT_EQ(ask(&user, act_become_root_again), 0);
	ASSERT_TRUE(sum_objects(&after, &pages));
	EXPECT_EQ(after, before + 1);
	EXPECT_EQ(pages, 25);
	if (!has_fd())
		return;

	fd = object_of(&user);
	id = object_info(fd, "object");
	ASSERT_TRUE(find_object(id, &object));
	EXPECT_STREQ(object.caller, callers[variant->front]);
	EXPECT_EQ(object.user, USER);
	EXPECT_EQ(object.pages, 25);
	EXPECT_EQ(object_info(fd, "pages"), 25);
	/* Whoever closes it last. */
	actor_stop(&user);
	EXPECT_TRUE(find_object(id, &object));
	close(fd);
	EXPECT_FALSE(find_object(id, &object));
	EXPECT_TRUE(sums_are_equal());
}

/* A mapping is all there is left of this object. */
TEST_F(front, holder_without_descriptors)
{
	int fd = open_front(25);
	char *p = map_front(fd, 25);
	struct object_line object;

	if (!have_list())
		SKIP(return, NEEDS_LIST);
	ASSERT_NE(p, MAP_FAILED);
	if (has_fd())
		close(fd);
	ASSERT_TRUE(find_object(object_at(p), &object));
	EXPECT_EQ(object.pages, 25);
	EXPECT_EQ(object.user, 0);
	ASSERT_EQ(munmap(p, 5 * PAGE), 0);
	ASSERT_TRUE(find_object(object_at(p + 5 * PAGE), &object));
	EXPECT_EQ(object.pages, has_fd() ? 25 : 20);
	EXPECT_TRUE(sums_are_equal());
	munmap(p, 25 * PAGE);
	EXPECT_FALSE(find_object(object.id, &object));
	EXPECT_EQ(used(), 0);
}

#define OBJECTS_HELD	1000

/* A line of a file, from reads of at most @size bytes. */
static bool read_line(int fd, size_t size, char *line, size_t room)
{
	static char buf[256];
	static ssize_t at, end;
	size_t len = 0;

	while (len < room - 1) {
		if (at >= end) {
			at = 0;
			end = read(fd, buf, size);
			if (end <= 0)
				return false;
		}
		line[len++] = buf[at++];
		if (line[len - 1] == '\n')
			break;
	}
	line[len] = 0;
	return true;
}

/* How often the list, in reads of @size bytes, has each of the objects. */
static bool count_objects(size_t size, const long *ids, int *seen)
{
	int i, fd = open(OBJECTS, O_RDONLY);
	struct object_line object;
	char line[128];
	bool ok;

	memset(seen, 0, OBJECTS_HELD * sizeof(*seen));
	ok = read_line(fd, size, line, sizeof(line)) && !strcmp(line, OBJECTS_HEADER);
	while (ok && read_line(fd, size, line, sizeof(line))) {
		ok = parse_object(line, &object);
		for (i = 0; i < OBJECTS_HELD; i++)
			seen[i] += (long)object.id == ids[i];
	}
	close(fd);
	return ok;
}

/* An object of any front end, mapped without descriptor. */
static char *any_object(int nr)
{
	enum exmem_front front = nr % 3;
	int fd = exmem_front_open(front, PAGE);
	char *p = exmem_front_map(front, fd, NULL, PAGE, PROT_READ);

	if (fd >= 0)
		close(fd);
	return p;
}

/* Read the objects' numbers from smaps, in the order of their addresses. */
static int object_ids(long *ids)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	int n = 0;

	while (f && n < OBJECTS_HELD && fgets(line, sizeof(line), f))
		n += sscanf(line, "ExclusiveObject: %ld", &ids[n]) == 1;
	if (f)
		fclose(f);
	return n;
}

static pid_t churn(void)
{
	pid_t pid = fork();
	int i;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0;; i++)
		munmap(any_object(i), PAGE);
}

/* Read the list in small pieces while others come and go: each object is seen once. */
TEST_F_TIMEOUT(device, many_objects, 300)
{
	static const size_t sizes[] = { 1, 7, 64, 256 };
	static long ids[OBJECTS_HELD];
	static int seen[OBJECTS_HELD];
	int i, j, once, status;
	pid_t pid = -1;

	if (!have_list())
		SKIP(return, NEEDS_LIST);
	for (i = 0; i < OBJECTS_HELD; i++)
		ASSERT_NE(any_object(i), MAP_FAILED);
	ASSERT_EQ(object_ids(ids), OBJECTS_HELD);
	EXPECT_EQ(used(), OBJECTS_HELD);
	EXPECT_TRUE(sums_are_equal());
	for (j = 0; j < 2 * (int)ARRAY_SIZE(sizes); j++) {
		if (j == ARRAY_SIZE(sizes))
			pid = churn();
		EXPECT_TRUE(count_objects(sizes[j % ARRAY_SIZE(sizes)], ids, seen));
		for (i = once = 0; i < OBJECTS_HELD; i++)
			once += seen[i] == 1;
		EXPECT_EQ(once, OBJECTS_HELD);
	}
	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, SIGKILL);
	EXPECT_TRUE(sums_are_equal());
}

/* Readers of the list do not see each other, and one may begin again. */
TEST_F(device, many_readers)
{
	int fd = open(OBJECTS, O_RDONLY), i, fds[20];
	char *p = exmem_map(self->fd, 3, 0), first[64], again[64];
	long objects, pages;

	if (!have_list())
		SKIP(return, NEEDS_LIST);
	ASSERT_NE(p, MAP_FAILED);
	for (i = 0; i < (int)ARRAY_SIZE(fds); i++) {
		fds[i] = open(OBJECTS, O_RDONLY);
		ASSERT_EQ(read(fds[i], first, 34 + i % 2), 34 + i % 2);
	}
	ASSERT_TRUE(sum_objects(&objects, &pages));
	EXPECT_EQ(pages, 3);
	ASSERT_EQ(read(fd, first, 40), 40);
	ASSERT_EQ(lseek(fd, 0, SEEK_SET), 0);
	ASSERT_EQ(read(fd, again, 40), 40);
	EXPECT_EQ(memcmp(first, again, 40), 0);
	/* An object may go while a reader is at it. */
	munmap(p, 3 * PAGE);
	close(self->fd);
	for (i = 0; i < (int)ARRAY_SIZE(fds); i++) {
		while (read(fds[i], again, 5) > 0)
			;
		close(fds[i]);
	}
	ASSERT_TRUE(sum_objects(&objects, &pages));
	EXPECT_EQ(pages, 0);
}

TEST_HARNESS_MAIN
