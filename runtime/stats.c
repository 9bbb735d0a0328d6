/* runtime/stats.c - what a container uses, and whether it had too little memory
 * SPDX-License-Identifier: Apache-2.0
 *
 * The document is that of `runc events`.  Numbers come by tables: the path of
 * the member, and where each kind of hierarchy has it.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"
#include "runtime/cgroup_files.h"
#include "runtime/container.h"

#define FILE_MAX      (256 * 1024)
#define NS_PER_US     1000
#define HUGEPAGES_DIR "/sys/kernel/mm/hugepages"

/* A file with one number, or the number behind a key in a file of lines. */
struct source {
	const char *file, *key;
	uint64_t factor; /* 0: 1 */
};

static const struct number {
	const char *group, *inner, *name, *controller;
	struct source v1, v2;
} numbers[] = {
	{"cpu", "usage", "total", "cpuacct", {"cpuacct.usage", NULL, 0}, {NULL, NULL, 0}},
	{"cpu", "usage", "kernel", "cpuacct", {"cpuacct.usage_sys", NULL, 0}, {NULL, NULL, 0}},
	{"cpu", "usage", "user", "cpuacct", {"cpuacct.usage_user", NULL, 0}, {NULL, NULL, 0}},
	{"cpu", "usage", "total", "cpu", {NULL, NULL, 0}, {"cpu.stat", "usage_usec", NS_PER_US}},
	{"cpu", "usage", "kernel", "cpu", {NULL, NULL, 0}, {"cpu.stat", "system_usec", NS_PER_US}},
	{"cpu", "usage", "user", "cpu", {NULL, NULL, 0}, {"cpu.stat", "user_usec", NS_PER_US}},
	{"cpu",
	 "throttling",
	 "periods",
	 "cpu",
	 {"cpu.stat", "nr_periods", 0},
	 {"cpu.stat", "nr_periods", 0}},
	{"cpu",
	 "throttling",
	 "throttledPeriods",
	 "cpu",
	 {"cpu.stat", "nr_throttled", 0},
	 {"cpu.stat", "nr_throttled", 0}},
	{"cpu",
	 "throttling",
	 "throttledTime",
	 "cpu",
	 {"cpu.stat", "throttled_time", 0},
	 {"cpu.stat", "throttled_usec", NS_PER_US}},
	{"memory",
	 NULL,
	 "cache",
	 "memory",
	 {"memory.stat", "cache", 0},
	 {"memory.stat", "file", 0}},
	{"memory",
	 "usage",
	 "limit",
	 "memory",
	 {"memory.limit_in_bytes", NULL, 0},
	 {"memory.max", NULL, 0}},
	{"memory",
	 "usage",
	 "usage",
	 "memory",
	 {"memory.usage_in_bytes", NULL, 0},
	 {"memory.current", NULL, 0}},
	{"memory",
	 "usage",
	 "max",
	 "memory",
	 {"memory.max_usage_in_bytes", NULL, 0},
	 {"memory.peak", NULL, 0}},
	{"memory",
	 "usage",
	 "failcnt",
	 "memory",
	 {"memory.failcnt", NULL, 0},
	 {"memory.events", "max", 0}},
	{"memory",
	 "swap",
	 "limit",
	 "memory",
	 {"memory.memsw.limit_in_bytes", NULL, 0},
	 {"memory.swap.max", NULL, 0}},
	{"memory",
	 "swap",
	 "usage",
	 "memory",
	 {"memory.memsw.usage_in_bytes", NULL, 0},
	 {"memory.swap.current", NULL, 0}},
	{"memory",
	 "kernel",
	 "usage",
	 "memory",
	 {"memory.kmem.usage_in_bytes", NULL, 0},
	 {"memory.stat", "kernel", 0}},
	{"memory",
	 "kernelTCP",
	 "usage",
	 "memory",
	 {"memory.kmem.tcp.usage_in_bytes", NULL, 0},
	 {"memory.stat", "sock", 0}},
	{"pids", NULL, "current", "pids", {"pids.current", NULL, 0}, {"pids.current", NULL, 0}},
	{"pids", NULL, "limit", "pids", {"pids.max", NULL, 0}, {"pids.max", NULL, 0}},
};

static json_t *child(json_t *doc, const char *name)
{
	json_t *inner = json_object_get(doc, name);

	if (!inner) {
		inner = json_object();
		(void)json_object_set_new(doc, name, inner);
	}
	return inner;
}

/* "max" and what is larger than we can write are the largest number that we can. */
static json_int_t to_number(const char *text)
{
	uint64_t value = strtoull(text, NULL, 10);

	return str_eq(text, "max") || value > INT64_MAX ? INT64_MAX : (json_int_t)value;
}

static bool read_source(int fd, const struct source *s, json_int_t *ret)
{
	char text[64];
	uint64_t value = 0;

	if (!s->file)
		return false;
	if (s->key) {
		if (!cgroup_read_key(fd, s->file, s->key, &value))
			return false;
		*ret = (json_int_t)(value * (s->factor ? s->factor : 1));
		return true;
	}
	if (!cgroup_read_line(fd, s->file, text, sizeof(text)))
		return false;
	*ret = to_number(text);
	return true;
}

static void put_numbers(const struct cgroup *c, json_t *doc)
{
	for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
		const struct number *n = &numbers[i];
		const struct cgroup_hierarchy *h = cgroup_host_find(c->host, n->controller);
		int fd = h ? c->fd[h - c->host->items] : -1;
		json_int_t value = 0;

		if (fd < 0 || !read_source(fd, h->v2 ? &n->v2 : &n->v1, &value))
			continue;
		(void)json_object_set_new(n->inner ? child(child(doc, n->group), n->inner)
						   : child(doc, n->group),
					  n->name, json_integer(value));
	}
}

/* memory.stat as it is. */
static void put_raw_memory(const struct cgroup *c, json_t *doc)
{
	const struct cgroup_hierarchy *h = cgroup_host_find(c->host, "memory");
	auto_buf struct buf text = BUF_INIT(FILE_MAX);
	struct err ignored;
	char *save = NULL;
	json_t *raw;

	if (!h || c->fd[h - c->host->items] < 0 ||
	    fs_read(c->fd[h - c->host->items], "memory.stat", &text, &ignored) < 0 || !text.data)
		return;
	raw = child(child(doc, "memory"), "raw");
	for (char *line = strtok_r(text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *blank = strchr(line, ' ');

		if (!blank)
			continue;
		*blank = '\0';
		(void)json_object_set_new(raw, line, json_integer(to_number(blank + 1)));
	}
}

static void put_per_processor(const struct cgroup *c, json_t *doc)
{
	const struct cgroup_hierarchy *h = cgroup_host_find(c->host, "cpuacct");
	int fd = h ? c->fd[h - c->host->items] : -1;
	char line[16384], *save = NULL;
	json_t *list;

	if (fd < 0 || !cgroup_read_line(fd, "cpuacct.usage_percpu", line, sizeof(line)))
		return;
	list = json_array();
	for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		(void)json_array_append_new(list, json_integer(to_number(word)));
	(void)json_object_set_new(child(child(doc, "cpu"), "usage"), "percpu", list);
}

/* ---- block io ---- */

static void add_io(json_t *list, unsigned major, unsigned minor, const char *op, uint64_t value)
{
	(void)json_array_append_new(list,
				    json_pack("{s:i,s:i,s:s,s:I}", "major", (int)major, "minor",
					      (int)minor, "op", op, "value", (json_int_t)value));
}

/* v1: "8:0 Read 4096"; v2: "8:0 rbytes=4096 wbytes=0 rios=1 ..." */
static void add_io_line(const char *line, json_t *bytes, json_t *calls)
{
	static const struct {
		const char *key, *op;
		bool is_bytes;
	} keys[] = {{"rbytes=", "Read", true},
		    {"wbytes=", "Write", true},
		    {"rios=", "Read", false},
		    {"wios=", "Write", false}};
	unsigned major, minor;
	uint64_t value;
	char op[16];

	if (sscanf(line, "%u:%u %15[A-Za-z] %" SCNu64, &major, &minor, op, &value) == 4) {
		add_io(bytes, major, minor, op, value);
		return;
	}
	if (sscanf(line, "%u:%u", &major, &minor) != 2)
		return;
	for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
		const char *at = strstr(line, keys[i].key);

		if (at)
			add_io(keys[i].is_bytes ? bytes : calls, major, minor, keys[i].op,
			       strtoull(at + strlen(keys[i].key), NULL, 10));
	}
}

static void add_io_file(int fd, const char *file, json_t *bytes, json_t *calls)
{
	auto_buf struct buf text = BUF_INIT(FILE_MAX);
	struct err ignored;
	char *save = NULL;

	if (fs_read(fd, file, &text, &ignored) < 0 || !text.data)
		return;
	for (char *line = strtok_r(text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		add_io_line(line, bytes, calls);
}

static void put_block_io(const struct cgroup *c, json_t *doc)
{
	const struct cgroup_hierarchy *h = cgroup_host_find(c->host, "io");
	json_t *bytes = json_array(), *calls = json_array();

	h = h ? h : cgroup_host_find(c->host, "blkio");
	if (h && c->fd[h - c->host->items] >= 0) {
		int fd = c->fd[h - c->host->items];

		if (h->v2) {
			add_io_file(fd, "io.stat", bytes, calls);
		} else {
			add_io_file(fd, "blkio.throttle.io_service_bytes_recursive", bytes, calls);
			add_io_file(fd, "blkio.throttle.io_serviced_recursive", calls, calls);
		}
	}
	(void)json_object_set_new(child(doc, "blkio"), "ioServiceBytesRecursive", bytes);
	(void)json_object_set_new(child(doc, "blkio"), "ioServicedRecursive", calls);
}

/* ---- huge pages ---- */

/* "hugepages-2048kB" to "2MB", as cgroups call it. */
static bool page_size_name(const char *dir, char *out, size_t size)
{
	static const char units[] = "KMG";
	uint32_t kb = 0;
	char digits[16];
	unsigned unit = 0;
	const char *p = dir + strlen("hugepages-");

	if (!str_starts(dir, "hugepages-") || strlen(p) < 3 || strlen(p) - 2 >= sizeof(digits))
		return false;
	(void)snprintf(digits, sizeof(digits), "%.*s", (int)(strlen(p) - 2), p);
	if (!parse_u32(digits, UINT32_MAX, &kb))
		return false;
	for (; kb >= 1024 && kb % 1024 == 0 && unit < 2; unit++)
		kb /= 1024;
	(void)snprintf(out, size, "%u%cB", kb, units[unit]);
	return true;
}

static void put_huge_pages(const struct cgroup *c, json_t *doc)
{
	const struct cgroup_hierarchy *h = cgroup_host_find(c->host, "hugetlb");
	auto_closedir DIR *dir = h ? opendir(HUGEPAGES_DIR) : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char size[16], file[64];
		json_int_t usage = 0;

		if (!page_size_name(entry->d_name, size, sizeof(size)))
			continue;
		(void)snprintf(file, sizeof(file), "hugetlb.%s.%s", size,
			       h->v2 ? "current" : "usage_in_bytes");
		if (read_source(c->fd[h - c->host->items], &(struct source){file, NULL, 0}, &usage))
			(void)json_object_set_new(child(child(doc, "hugetlb"), size), "usage",
						  json_integer(usage));
	}
}

/* ---- */

static int open_container(struct runtime *rt, const char *id, struct state_doc *ret,
			  struct cgroup_host *host, struct cgroup *c, struct err *e)
{
	auto_close int dir_fd = -1;
	int r = state_open_dir(rt->root_fd, id, &dir_fd, e);

	if (r == 0)
		r = state_read(dir_fd, ret, e);
	return r == 0 ? cgroup_open_recorded(host, c, ret->state.cgroup, e) : r;
}

int runtime_stats_json(struct runtime *rt, const char *id, json_t **ret, struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};
	auto_state struct state_doc doc = {0};
	int r;

	assert(rt && id);

	r = open_container(rt, id, &doc, &host, &c, e);
	if (r != 0)
		return r;
	*ret = json_object();
	put_numbers(&c, *ret);
	put_per_processor(&c, *ret);
	put_raw_memory(&c, *ret);
	put_block_io(&c, *ret);
	put_huge_pages(&c, *ret);
	return 0;
}

/* ---- too little memory ---- */

/* The kernel changes memory.events. */
static int watch_v2(int cgroup_fd, struct runtime_oom *ret, struct err *e)
{
	auto_close int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/memory.events", cgroup_fd);
	if (fd < 0 || inotify_add_watch(fd, path, IN_MODIFY) < 0)
		return err_sys(e, "watch memory.events");
	ret->fd = take_fd(fd);
	ret->counted = true;
	return 0;
}

/* The kernel writes to an eventfd, at the end of the cgroup too. */
static int watch_v1(int cgroup_fd, struct runtime_oom *ret, struct err *e)
{
	auto_close int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	auto_close int control = openat(cgroup_fd, "memory.oom_control", O_RDONLY | O_CLOEXEC);
	char text[32];

	if (fd < 0 || control < 0)
		return err_sys(e, "open memory.oom_control");
	(void)snprintf(text, sizeof(text), "%d %d", fd, control);
	if (fs_write_at(cgroup_fd, "cgroup.event_control", text, e) < 0)
		return -e->code;
	ret->fd = take_fd(fd);
	ret->counted = false;
	return 0;
}

int runtime_oom_watch(struct runtime *rt, const char *id, struct runtime_oom *ret, struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};
	auto_state struct state_doc doc = {0};
	const struct cgroup_hierarchy *h;
	struct err ignored;
	int r;

	assert(rt && id);

	*ret = (struct runtime_oom){.fd = -1};
	r = open_container(rt, id, &doc, &host, &c, e);
	if (r != 0)
		return r;
	h = cgroup_host_find(&host, "memory");
	if (!h || c.fd[h - host.items] < 0)
		return err_set(e, ENOTSUP, "container %s: no memory controller watches it", id);
	(void)cgroup_oom_kills(&c, &ret->seen, &ignored);
	return h->v2 ? watch_v2(c.fd[h - host.items], ret, e)
		     : watch_v1(c.fd[h - host.items], ret, e);
}

bool runtime_oom_look(struct runtime *rt, const char *id, struct runtime_oom *o)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};
	auto_state struct state_doc doc = {0};
	uint64_t kills = o->seen;
	char drain[4096];
	struct err ignored;
	bool happened;

	while (read(o->fd, drain, sizeof(drain)) > 0)
		;
	if (open_container(rt, id, &doc, &host, &c, &ignored) != 0 || !cgroup_exists(&c))
		return false;
	(void)cgroup_oom_kills(&c, &kills, &ignored);
	happened = !o->counted || kills > o->seen;
	o->seen = kills;
	return happened;
}
