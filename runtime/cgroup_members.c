/* runtime/cgroup_members.c - who is in a cgroup: counting, freezing, killing
 * SPDX-License-Identifier: Apache-2.0
 *
 * Killing goes by cgroup.kill where a v2 tree is at hand, also beside v1
 * hierarchies; else by signals to all pids until none is left.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/cgroup.h"
#include "runtime/cgroup_files.h"

#define FILE_MAX       (1024 * 1024) /* cgroup.procs of 100,000 processes */
#define KILL_WAIT_MS   10000         /* until killed processes are gone; D state can take it all */
#define FREEZE_WAIT_MS 5000

/* ---- who is in it ---- */

struct pid_list {
	pid_t *pids; /* NULL with count_only */
	size_t count, capacity;
	bool count_only;
};

static int add_pids(int fd, struct pid_list *list, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(FILE_MAX);
	char *p, *end;

	if (fs_read(fd, "cgroup.procs", &text, e) < 0)
		return e->code == ENODEV || e->code == ENOENT ? 0
							      : -e->code; /* removed meanwhile */
	for (p = text.data; p && *p; p = end + (*end == '\n')) {
		long pid = strtol(p, &end, 10);

		if (end == p)
			break;
		if (!list->count_only) {
			list->pids = xgrow(list->pids, list->count, &list->capacity, sizeof(pid_t));
			list->pids[list->count] = (pid_t)pid;
		}
		list->count++;
	}
	return 0;
}

static int collect(int fd, void *arg, struct err *e)
{
	return add_pids(fd, arg, e);
}

int cgroup_pids(const struct cgroup *c, pid_t **ret, size_t *ret_count, struct err *e)
{
	struct pid_list list = {.count_only = !ret};
	int fd = cgroup_any_fd(c);

	if (fd >= 0 && cgroup_for_each(fd, 0, collect, &list, e) < 0) {
		free(list.pids);
		return err_wrap(e, "cgroup %s", c->path);
	}
	if (ret)
		*ret = list.pids;
	*ret_count = list.count;
	return 0;
}

int cgroup_populated(struct cgroup *c, bool *ret, struct err *e)
{
	int v2 = cgroup_v2_fd(c);
	uint64_t value;
	size_t count;

	if (v2 >= 0 && cgroup_read_key(v2, "cgroup.events", "populated", &value)) {
		*ret = value != 0;
		return 0;
	}
	if (cgroup_pids(c, NULL, &count, e) < 0)
		return -e->code;
	*ret = count > 0;
	return 0;
}

/* ---- freezer ---- */

static const struct freezer {
	bool v2;
	const char *file, *freeze, *thaw;
} freezers[] = {
	{true, "cgroup.freeze", "1", "0"},
	{false, "freezer.state", "FROZEN", "THAWED"},
};

/* Where its file is; NULL: the host has none.  To look for it elsewhere costs more than to know. */
static const struct cgroup_hierarchy *hierarchy_of(const struct freezer *f,
						   const struct cgroup_host *h)
{
	const struct cgroup_hierarchy *v1 = cgroup_host_find(h, "freezer");

	return f->v2 ? cgroup_host_v2(h) : v1 && !v1->v2 ? v1 : NULL;
}

/* The container's directory there, or -1. */
static int freezer_fd(const struct freezer *f, const struct cgroup *c)
{
	const struct cgroup_hierarchy *h = c->host ? hierarchy_of(f, c->host) : NULL;

	return h ? c->fd[h - c->host->items] : -1;
}

/* NULL: the host has none. */
static const struct freezer *find_freezer(const struct cgroup *c, int *ret_fd)
{
	for (size_t k = 0; k < ARRAY_COUNT(freezers); k++) {
		int fd = freezer_fd(&freezers[k], c);

		if (fd >= 0 && faccessat(fd, freezers[k].file, F_OK, 0) == 0) {
			*ret_fd = fd;
			return &freezers[k];
		}
	}
	return NULL;
}

bool cgroup_is_frozen(const struct cgroup *c)
{
	int fd = -1;
	const struct freezer *f = find_freezer(c, &fd);
	uint64_t frozen = 0;
	char state[32];

	if (!f)
		return false;
	if (cgroup_read_key(fd, "cgroup.events", "frozen", &frozen))
		return frozen;
	return cgroup_read_line(fd, f->file, state, sizeof(state)) && str_eq(state, f->freeze);
}

int cgroup_freeze(struct cgroup *c, bool freeze, struct err *e)
{
	int64_t deadline = clock_mono_ms() + FREEZE_WAIT_MS;
	int fd = -1;
	const struct freezer *f = find_freezer(c, &fd);

	if (!f)
		return err_set(e, ENOTSUP, "cgroup %s: this host has no freezer", c->path);
	if (fs_write_at(fd, f->file, freeze ? f->freeze : f->thaw, e) < 0)
		return err_wrap(e, "cgroup %s", c->path);
	while (freeze && !cgroup_is_frozen(c)) {
		if (clock_mono_ms() > deadline)
			return err_set(e, ETIMEDOUT, "cgroup %s: not frozen after %d ms", c->path,
				       FREEZE_WAIT_MS);
		(void)poll(NULL, 0, 1);
	}
	return 0;
}

void cgroup_thaw(const struct cgroup *c)
{
	struct err ignored;

	for (size_t k = 0; k < ARRAY_COUNT(freezers); k++) {
		int fd = freezer_fd(&freezers[k], c);

		if (fd >= 0)
			(void)fs_write_at(fd, freezers[k].file, freezers[k].thaw, &ignored);
	}
}

void cgroup_thaw_around(const struct cgroup_host *host, pid_t pid)
{
	struct err ignored;

	for (size_t k = 0; k < ARRAY_COUNT(freezers); k++) {
		const struct cgroup_hierarchy *h = hierarchy_of(&freezers[k], host);
		auto_close int fd = h ? cgroup_open_of(h, pid) : -1;

		if (fd >= 0)
			(void)fs_write_at(fd, freezers[k].file, freezers[k].thaw, &ignored);
	}
}

/* ---- signals ---- */

int cgroup_signal_all(struct cgroup *c, int sig, struct err *e)
{
	auto_free pid_t *pids = NULL;
	size_t count = 0;

	if (cgroup_pids(c, &pids, &count, e) < 0)
		return -e->code;
	for (size_t i = 0; i < count; i++)
		if (pids[i] > 0 && kill(pids[i], sig) < 0 && errno != ESRCH)
			return err_sys(e, "signal %d to process %d of cgroup %s", sig, (int)pids[i],
				       c->path);
	return 0;
}

/* One pass; what forks meanwhile is met by the next one. */
static int kill_once(struct cgroup *c, struct err *e)
{
	int v2 = cgroup_v2_fd(c);
	struct err ignored;

	cgroup_thaw(c); /* a frozen v1 process does not die */
	if (v2 >= 0 && fs_write_at(v2, "cgroup.kill", "1", &ignored) == 0)
		return 0;
	return cgroup_signal_all(c, SIGKILL, e);
}

int cgroup_kill(struct cgroup *c, struct err *e)
{
	int64_t deadline = clock_mono_ms() + KILL_WAIT_MS;
	bool populated = true;

	for (int wait_ms = 1;; wait_ms = wait_ms < 50 ? wait_ms * 2 : 50) {
		if (cgroup_populated(c, &populated, e) < 0)
			return -e->code;
		if (!populated)
			return 0;
		if (clock_mono_ms() > deadline)
			return err_set(
				e, EBUSY,
				"cgroup %s: processes are still there %d ms after they were killed",
				c->path, KILL_WAIT_MS);
		if (kill_once(c, e) < 0)
			return -e->code;
		(void)poll(NULL, 0, wait_ms);
	}
}

/* ---- counting ---- */

bool cgroup_exists(const struct cgroup *c)
{
	return cgroup_any_fd(c) >= 0;
}

uint64_t cgroup_count(const struct cgroup *c, const char *controller, const char *v2_file,
		      const char *v1_file)
{
	const struct cgroup_hierarchy *h = cgroup_host_find(c->host, controller);
	int fd = h ? c->fd[h - c->host->items] : -1;
	char value[32];

	if (fd < 0 || !cgroup_read_line(fd, h->v2 ? v2_file : v1_file, value, sizeof(value)))
		return 0;
	return strtoull(value, NULL, 10);
}

/* v1 counts each cgroup for itself. */
static int add_oom_kills(int fd, void *arg, struct err *e)
{
	uint64_t count = 0, *sum = arg;

	(void)e;
	if (cgroup_read_key(fd, "memory.oom_control", "oom_kill", &count))
		*sum += count;
	return 0;
}

int cgroup_oom_kills(const struct cgroup *c, uint64_t *ret, struct err *e)
{
	const struct cgroup_hierarchy *h = cgroup_host_find(c->host, "memory");
	int fd = h ? c->fd[h - c->host->items] : -1;

	if (fd < 0)
		return err_set(e, h ? ENOENT : ENOTSUP,
			       "cgroup %s: no memory controller counts for it", c->path);
	*ret = 0;
	if (!h->v2)
		return cgroup_for_each(fd, 0, add_oom_kills, ret, e);
	(void)cgroup_read_key(fd, "memory.events", "oom_kill", ret);
	return 0;
}
