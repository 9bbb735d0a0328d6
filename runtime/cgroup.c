/* runtime/cgroup.c - making and removing cgroups
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * 1. A cgroup is found again by its path alone.  Whoever removes it needs to
 *    know besides how many of the directories above it are not ours ("kept").
 * 2. Nothing is removed that was not empty when it was taken: cgroup_look()
 *    refuses a directory that holds processes or other cgroups.
 * 3. On a v2 tree a controller is there for a child only when each directory
 *    above has it in cgroup.subtree_control; it is written on the way down.  A
 *    directory that refuses (processes of its own) is passed over: if a limit
 *    then needs the controller, writing the limit says so.
 * 4. On v1, cpuset must have cpus and mems before a process may enter.  Those
 *    above ours that we make have the kernel hand theirs down.
 */
#include "runtime/cgroup.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "runtime/cgroup_files.h"

#define REMOVE_WAIT_MS 10000

static const char *const wanted_controllers[] = {"cpu", "cpuset", "io", "memory", "pids"};

/* ---- names ---- */

int cgroup_check_path(const char *path, struct err *e)
{
	unsigned depth = 0;

	if (path[0] != '/')
		return err_set(e, EINVAL, "cgroup path '%s' is not absolute", path);
	if (strlen(path) >= sizeof(((struct cgroup *)0)->path))
		return err_set(e, ENAMETOOLONG, "cgroup path");
	for (const char *p = path; *p;) {
		size_t n = strcspn(++p, "/");

		if (n > NAME_MAX || (n == 1 && p[0] == '.') ||
		    (n == 2 && p[0] == '.' && p[1] == '.'))
			return err_set(e, EINVAL,
				       "cgroup path '%s' has a component that is no name", path);
		depth += n > 0;
		p += n;
	}
	if (!depth || depth > CGROUP_DEPTH_MAX)
		return err_set(e, EINVAL, "cgroup path '%s' has %u components", path, depth);
	return 0;
}

static void init_empty(struct cgroup *c, const struct cgroup_host *host)
{
	for (size_t i = 0; i < CGROUP_HIERARCHIES_MAX; i++)
		c->fd[i] = -1;
	c->host = host;
	c->warn = NULL;
	c->kept = 0;
	c->extra[0] = '\0';
	c->path[0] = '\0';
}

int cgroup_init(struct cgroup *c, const struct cgroup_host *host, const char *path, struct err *e)
{
	size_t len = 0;

	init_empty(c, host);
	if (cgroup_check_path(path, e) < 0)
		return -e->code;
	for (const char *p = path; *p; p++) /* one slash where there are several, none at the end */
		if (*p != '/' || (p[1] && p[1] != '/'))
			c->path[len++] = *p;
	c->path[len] = '\0';
	return 0;
}

void cgroup_done(struct cgroup *c)
{
	for (size_t i = 0; i < CGROUP_HIERARCHIES_MAX; i++)
		if (c->host)
			close_fd(&c->fd[i]);
}

/* ---- open, look ---- */

int cgroup_open(struct cgroup *c, struct err *e)
{
	for (size_t i = 0; i < c->host->count; i++) {
		int fd = cgroup_open_dir(c->host->items[i].fd, c->path + 1);

		if (fd < 0 && fd != -ENOENT) {
			errno = -fd;
			return err_sys(e, "open cgroup %s", c->path);
		}
		close_fd(&c->fd[i]);
		c->fd[i] = fd < 0 ? -1 : fd;
	}
	return 0;
}

int cgroup_name_recorded(struct cgroup_host *host, struct cgroup *c, const char *path,
			 struct err *e)
{
	if (!path[0]) {
		init_empty(c, host);
		return 0;
	}
	if (!host->count && cgroup_host_open(host, e) < 0)
		return -e->code;
	return cgroup_init(c, host, path, e);
}

int cgroup_open_recorded(struct cgroup_host *host, struct cgroup *c, const char *path,
			 struct err *e)
{
	return cgroup_name_recorded(host, c, path, e) < 0 ? -e->code : cgroup_open(c, e);
}

static bool has_any(const char *controllers, const char *wanted, size_t wanted_len)
{
	for (const char *p = controllers; *p;) {
		size_t len = strcspn(p, ","), n;

		for (const char *w = wanted; w < wanted + wanted_len; w += n + 1) {
			n = strcspn(w, ",:");
			if (n == len && memcmp(p, w, n) == 0)
				return true;
		}
		p += len + (p[len] == ',');
	}
	return false;
}

int cgroup_descend(struct cgroup *c, const char *place, struct err *e)
{
	const char *colon = strchr(place, ':'), *path = colon ? colon + 1 : place;
	size_t wanted_len = colon ? (size_t)(colon - place) : 0, count = 0;
	char full[sizeof(c->path)];

	path += strspn(path, "/");
	(void)snprintf(full, sizeof(full), "/%s", path);
	if (*path && cgroup_check_path(full, e) < 0)
		return -e->code;
	for (size_t i = 0; i < c->host->count; i++) {
		int fd;

		if (c->fd[i] < 0 ||
		    (colon && !has_any(c->host->items[i].controllers, place, wanted_len)))
			continue;
		count++;
		fd = cgroup_open_dir(c->fd[i], *path ? path : ".");
		if (fd < 0) {
			errno = -fd;
			return err_sys(e, "cgroup %s below that of the container, in hierarchy %s",
				       full, c->host->items[i].name);
		}
		close_fd(&c->fd[i]);
		c->fd[i] = fd;
	}
	return count ? 0
		     : err_set(e, EINVAL, "cgroup '%s': no hierarchy has these controllers", place);
}

static unsigned count_existing(const struct cgroup *c, size_t i)
{
	char path[sizeof(c->path)];
	unsigned depth = 0;
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s", c->path + 1);
	for (char *p = path;; *p++ = '/', depth++) {
		p += strcspn(p, "/");
		if (*p == '\0')
			return depth + (fstatat(c->host->items[i].fd, path, &st, 0) == 0);
		*p = '\0';
		if (fstatat(c->host->items[i].fd, path, &st, 0) < 0)
			return depth;
	}
}

static unsigned depth_of(const char *path)
{
	unsigned depth = 0;

	for (; *path; path++)
		depth += *path == '/';
	return depth;
}

static bool has_children(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink > 2; /* a directory below counts as a link */
}

int cgroup_look(struct cgroup *c, bool fresh, struct err *e)
{
	unsigned depth = depth_of(c->path), kept = 0;
	size_t count = 0;

	for (size_t i = 0; i < c->host->count; i++) {
		unsigned n = count_existing(c, i);

		kept = n > kept ? n : kept;
	}
	c->kept = kept < depth ? kept : depth - 1;
	if (!fresh || kept < depth)
		return 0;

	if (cgroup_open(c, e) < 0)
		return -e->code;
	for (size_t i = 0; i < c->host->count; i++)
		if (c->fd[i] >= 0 && has_children(c->fd[i]))
			return err_set(e, EBUSY, "cgroup %s is in use: it has cgroups below it",
				       c->path);
	if (cgroup_pids(c, NULL, &count, e) < 0)
		return -e->code;
	if (count)
		return err_set(e, EBUSY, "cgroup %s is in use: %zu processes", c->path, count);
	return 0;
}

/* ---- make ---- */

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word), n;

	for (; *list; list += n + (list[n] == ' ')) {
		n = strcspn(list, " ");
		if (n == len && memcmp(list, word, n) == 0)
			return true;
	}
	return false;
}

static void add_extra(struct cgroup *c, const char *name, size_t name_len)
{
	size_t len = strlen(c->extra);
	char word[32];

	if (name_len >= sizeof(word))
		return;
	(void)snprintf(word, sizeof(word), "%.*s", (int)name_len, name);
	if (!has_word(c->extra, word) && len + name_len + 2 < sizeof(c->extra))
		(void)snprintf(c->extra + len, sizeof(c->extra) - len, "%s%s", len ? " " : "",
			       word);
}

void cgroup_want(struct cgroup *c, const struct config_resources *r)
{
	if (r->hugepages.count)
		add_extra(c, "hugetlb", strlen("hugetlb"));
	if (r->rdma.count)
		add_extra(c, "rdma", strlen("rdma"));
	for (size_t i = 0; i < r->unified.count; i++)
		add_extra(c, r->unified.items[i].key, strcspn(r->unified.items[i].key, "."));
}

/* One by one: where one is refused the others are not. */
static void enable_controller(int fd, const char *name, size_t len, const char *available,
			      const char *enabled)
{
	char line[40];
	struct err ignored;

	(void)snprintf(line, sizeof(line), "+%.*s", (int)len, name);
	if (has_word(available, line + 1) && !has_word(enabled, line + 1))
		(void)fs_write_at(fd, "cgroup.subtree_control", line, &ignored);
}

/* What cgroup.subtree_control lacks of what is there and wanted. */
static void enable_controllers(int fd, const char *extra)
{
	char available[512], enabled[512];

	if (!cgroup_read_line(fd, "cgroup.controllers", available, sizeof(available)) ||
	    !cgroup_read_line(fd, "cgroup.subtree_control", enabled, sizeof(enabled)))
		return;
	for (size_t i = 0; i < ARRAY_COUNT(wanted_controllers); i++)
		enable_controller(fd, wanted_controllers[i], strlen(wanted_controllers[i]),
				  available, enabled);
	for (size_t n; *extra; extra += n + (extra[n] == ' ')) {
		n = strcspn(extra, " ");
		enable_controller(fd, extra, n, available, enabled);
	}
}

/* Does this tree have any that is wanted?  The v2 one beside v1 hierarchies usually has none. */
static bool gives_controllers(const struct cgroup_hierarchy *h, const char *extra)
{
	for (size_t i = 0; h->v2 && i < ARRAY_COUNT(wanted_controllers); i++)
		if (has_any(h->controllers, wanted_controllers[i], strlen(wanted_controllers[i])))
			return true;
	return h->v2 && *extra;
}

/* What the one above has; 1: that has none itself. */
static int fill_cpuset(int fd, const char *file, const char *file_above, struct err *e)
{
	char value[1024];

	if (!cgroup_read_line(fd, file, value, sizeof(value)) || value[0])
		return 0;
	if (!cgroup_read_line(fd, file_above, value, sizeof(value)))
		return 0;
	return value[0] ? fs_write_at(fd, file, value, e) : 1;
}

/* One that was just made, ready for processes; 1: the one above is not. */
static int open_made(const struct cgroup_hierarchy *h, int dir_fd, const char *path, int *ret_fd,
		     struct err *e)
{
	auto_close int fd = cgroup_open_dir(dir_fd, path);
	int r = 0;

	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "open cgroup %s in hierarchy %s", path, h->name);
	}
	if (!h->v2 && strstr(h->controllers, "cpuset")) {
		r = fill_cpuset(fd, "cpuset.cpus", "../cpuset.cpus", e);
		if (r == 0)
			r = fill_cpuset(fd, "cpuset.mems", "../cpuset.mems", e);
	}
	if (r == 0)
		*ret_fd = take_fd(fd);
	return r;
}

/* One component below 'parent_fd'. */
static int make_level(const struct cgroup_hierarchy *h, int parent_fd, const char *name,
		      const char *extra, int *ret_fd, struct err *e)
{
	int r;

	if (gives_controllers(h, extra))
		enable_controllers(parent_fd, extra);
	if (mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "make cgroup %s in hierarchy %s", name, h->name);
	r = open_made(h, parent_fd, name, ret_fd, e);
	return r > 0 ? err_set(e, ENOSPC,
			       "cgroup %s in hierarchy %s: there are no cpus or memory nodes above",
			       name, h->name)
		     : r;
}

/* The kernel fills what is made below it; one that it cannot fill is filled by fill_cpuset(). */
static void let_inherit_cpuset(const struct cgroup_hierarchy *h, int fd)
{
	struct err ignored;

	if (!h->v2 && strstr(h->controllers, "cpuset"))
		(void)fs_write_at(fd, "cgroup.clone_children", "1", &ignored);
}

static int make_levels(const struct cgroup_hierarchy *h, const char *path, const char *extra,
		       int *ret_fd, struct err *e)
{
	auto_close int fd = -1;
	char name[NAME_MAX + 1];

	while (*path) {
		size_t len = strcspn(++path, "/");
		int next = -1;

		(void)snprintf(name, sizeof(name), "%.*s", (int)len, path);
		if (make_level(h, fd < 0 ? h->fd : fd, name, extra, &next, e) < 0)
			return -e->code;
		close_fd(&fd);
		fd = next;
		path += len;
		if (*path)
			let_inherit_cpuset(h, fd);
	}
	*ret_fd = take_fd(fd);
	return 0;
}

/* Nearly always those above are there, with nothing to be done in them. */
static int make_path(const struct cgroup_hierarchy *h, const char *path, const char *extra,
		     int *ret_fd, struct err *e)
{
	int r = 1;

	if (!gives_controllers(h, extra) &&
	    (mkdirat(h->fd, path + 1, 0755) == 0 || errno == EEXIST))
		r = open_made(h, h->fd, path + 1, ret_fd, e);
	return r > 0 ? make_levels(h, path, extra, ret_fd, e) : r;
}

int cgroup_make(struct cgroup *c, struct err *e)
{
	for (size_t i = 0; i < c->host->count; i++) {
		close_fd(&c->fd[i]);
		if (make_path(&c->host->items[i], c->path, c->extra, &c->fd[i], e) < 0)
			return err_wrap(e, "cgroup %s", c->path);
	}
	return 0;
}

int cgroup_v2_fd(const struct cgroup *c)
{
	for (size_t i = 0; i < c->host->count; i++)
		if (c->host->items[i].v2)
			return c->fd[i];
	return -1;
}

int cgroup_enter(const struct cgroup *c, bool born, struct err *e)
{
	for (size_t i = 0; i < c->host->count; i++) {
		const struct cgroup_hierarchy *h = &c->host->items[i];

		if (c->fd[i] >= 0 && !(born && h->v2) &&
		    fs_write_at(c->fd[i], h->v2 ? "cgroup.procs" : "tasks", "0", e) < 0)
			return err_wrap(e, "cgroup %s in hierarchy %s", c->path, h->name);
	}
	return 0;
}

/* ---- remove ---- */

static int remove_below(int fd, unsigned depth, struct err *e)
{
	int dup_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = dup_fd < 0 ? NULL : fdopendir(dup_fd);
	struct dirent *entry;

	if (!dir || depth > CGROUP_DEPTH_MAX)
		return 0;
	while ((entry = readdir(dir))) {
		auto_close int below = -1;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		below = cgroup_open_dir(fd, entry->d_name);
		if (below >= 0 && remove_below(below, depth + 1, e) < 0)
			return -e->code;
		if (unlinkat(fd, entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			return err_sys(e, "remove cgroup %s", entry->d_name);
	}
	return 0;
}

/* A cgroup stays busy for a moment after its last process has been reaped. */
static int remove_dir(int root_fd, const char *path, struct err *e)
{
	int64_t deadline = clock_mono_ms() + REMOVE_WAIT_MS;

	for (int wait_ms = 1;; wait_ms = wait_ms < 50 ? wait_ms * 2 : 50) {
		if (unlinkat(root_fd, path, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY || clock_mono_ms() > deadline)
			return err_sys(e, "remove cgroup /%s", path);
		(void)poll(NULL, 0, wait_ms);
	}
}

/* Those above that came with it, as far as nobody else has moved in. */
static void remove_above(const struct cgroup *c, int root_fd)
{
	char path[sizeof(c->path)];
	unsigned depth = depth_of(c->path);

	(void)snprintf(path, sizeof(path), "%s", c->path + 1);
	while (--depth > c->kept) {
		*strrchr(path, '/') = '\0';
		if (unlinkat(root_fd, path, AT_REMOVEDIR) < 0)
			return;
	}
}

/* The usual case: nothing is left in it, so it need not be opened. */
static bool remove_empty(struct cgroup *c)
{
	bool gone = true;

	for (size_t i = 0; i < c->host->count; i++) {
		int root_fd = c->host->items[i].fd;

		if (unlinkat(root_fd, c->path + 1, AT_REMOVEDIR) == 0 || errno == ENOENT)
			remove_above(c, root_fd); /* its maker may have died there */
		else
			gone = false;
	}
	return gone;
}

int cgroup_remove(struct cgroup *c, struct err *e)
{
	if (remove_empty(c))
		return 0;
	if (cgroup_open(c, e) < 0)
		return -e->code;
	if (cgroup_kill(c, e) < 0)
		return -e->code;
	for (size_t i = 0; i < c->host->count; i++) {
		int root_fd = c->host->items[i].fd;

		/* Its maker may have died above it: those directories are to go all the same. */
		if (c->fd[i] >= 0 && unlinkat(root_fd, c->path + 1, AT_REMOVEDIR) < 0 &&
		    (remove_below(c->fd[i], 0, e) < 0 || remove_dir(root_fd, c->path + 1, e) < 0))
			return err_wrap(e, "cgroup %s", c->path);
		close_fd(&c->fd[i]);
		remove_above(c, root_fd);
	}
	return 0;
}
