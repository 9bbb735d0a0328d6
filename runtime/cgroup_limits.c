/* runtime/cgroup_limits.c - linux.resources as writes to cgroup files
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each member is a row: its name in config.json, the controller that it needs,
 * and a function that says what to write where.  All rows are pure; one
 * function writes.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "runtime/cgroup.h"

#define SHARES_MIN 2 /* the kernel's bounds for cpu.shares */
#define SHARES_MAX 262144
#define PERIOD_US  100000 /* the kernel's default */

static void put_number(struct cgroup_setting *s, const char *file, int64_t value)
{
	s->file = file;
	(void)snprintf(s->value, sizeof(s->value), "%" PRId64, value);
}

/* Zero and below mean "no limit": "max" on v2. */
static void put_max(struct cgroup_setting *s, const char *file, int64_t value)
{
	if (value > 0) {
		put_number(s, file, value);
	} else {
		s->file = file;
		(void)snprintf(s->value, sizeof(s->value), "max");
	}
}

/*
 * v1 counts 2 .. 262144 with 1024 as the default, v2 counts 1 .. 10000 with 100.
 * The line between the ends is what runc and crun draw.
 */
static int64_t weight_of_shares(int64_t shares)
{
	if (shares < SHARES_MIN)
		shares = SHARES_MIN;
	if (shares > SHARES_MAX)
		shares = SHARES_MAX;
	return 1 + (shares - SHARES_MIN) * 9999 / (SHARES_MAX - SHARES_MIN);
}

/* ---- rows: false when the config says nothing about it ---- */

static bool cpu_shares(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->cpu.shares || !*r->cpu.shares)
		return false;
	if (v2)
		put_number(s, "cpu.weight", weight_of_shares(*r->cpu.shares));
	else
		put_number(s, "cpu.shares", *r->cpu.shares);
	return true;
}

static bool cpu_idle(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	(void)v2;
	if (!r->cpu.idle)
		return false;
	put_number(s, "cpu.idle", *r->cpu.idle);
	return true;
}

/* v1 has a file of its own for the period, and it must be there before the quota. */
static bool cpu_period(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (v2 || !r->cpu.period || !*r->cpu.period)
		return false;
	put_number(s, "cpu.cfs_period_us", *r->cpu.period);
	return true;
}

static bool cpu_quota(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	int64_t quota = r->cpu.quota ? *r->cpu.quota : 0;
	int64_t period = r->cpu.period && *r->cpu.period ? *r->cpu.period : PERIOD_US;

	if (!quota && !(v2 && r->cpu.period && *r->cpu.period))
		return false;
	if (!v2) {
		put_number(s, "cpu.cfs_quota_us", quota < 0 ? -1 : quota);
		return true;
	}
	s->file = "cpu.max";
	if (quota > 0)
		(void)snprintf(s->value, sizeof(s->value), "%" PRId64 " %" PRId64, quota, period);
	else
		(void)snprintf(s->value, sizeof(s->value), "max %" PRId64, period);
	return true;
}

static bool cpu_burst(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->cpu.burst)
		return false;
	put_number(s, v2 ? "cpu.max.burst" : "cpu.cfs_burst_us", *r->cpu.burst);
	return true;
}

static bool put_text(struct cgroup_setting *s, const char *file, const char *text)
{
	if (!text || !text[0])
		return false;
	s->file = file;
	(void)snprintf(s->value, sizeof(s->value), "%s", text);
	return true;
}

static bool cpu_cpus(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	(void)v2;
	return put_text(s, "cpuset.cpus", r->cpu.cpus);
}

static bool cpu_mems(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	(void)v2;
	return put_text(s, "cpuset.mems", r->cpu.mems);
}

static bool memory_limit(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->memory.limit || !*r->memory.limit)
		return false;
	if (v2)
		put_max(s, "memory.max", *r->memory.limit);
	else
		put_number(s, "memory.limit_in_bytes", *r->memory.limit);
	return true;
}

/* The spec's number is memory and swap together, as v1 counts; v2 counts swap alone. */
static bool memory_swap(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	int64_t limit = r->memory.limit ? *r->memory.limit : 0;

	if (!r->memory.swap || !*r->memory.swap)
		return false;
	if (!v2)
		put_number(s, "memory.memsw.limit_in_bytes", *r->memory.swap);
	else if (*r->memory.swap < 0)
		put_max(s, "memory.swap.max", -1);
	else
		put_number(s, "memory.swap.max", *r->memory.swap - limit);
	return true;
}

static bool memory_reservation(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->memory.reservation || !*r->memory.reservation)
		return false;
	if (v2)
		put_max(s, "memory.low", *r->memory.reservation);
	else
		put_number(s, "memory.soft_limit_in_bytes", *r->memory.reservation);
	return true;
}

static bool memory_swappiness(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->memory.swappiness)
		return false;
	put_number(s, v2 ? NULL : "memory.swappiness", *r->memory.swappiness);
	return true;
}

static bool memory_oom(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->memory.disable_oom_killer)
		return false;
	put_number(s, v2 ? NULL : "memory.oom_control", 1);
	return true;
}

static bool pids_limit(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	(void)v2;
	if (!r->pids)
		return false;
	put_max(s, "pids.max", r->pids->limit);
	return true;
}

static const struct {
	const char *member, *controller;
	bool (*put)(const struct config_resources *r, bool v2, struct cgroup_setting *s);
} rows[] = {
	{"cpu.shares", "cpu", cpu_shares},
	{"cpu.idle", "cpu", cpu_idle},
	{"cpu.period", "cpu", cpu_period},
	{"cpu.quota", "cpu", cpu_quota},
	{"cpu.burst", "cpu", cpu_burst},
	{"cpu.cpus", "cpuset", cpu_cpus},
	{"cpu.mems", "cpuset", cpu_mems},
	{"memory.limit", "memory", memory_limit},
	{"memory.swap", "memory", memory_swap},
	{"memory.reservation", "memory", memory_reservation},
	{"memory.swappiness", "memory", memory_swappiness},
	{"memory.disableOOMKiller", "memory", memory_oom},
	{"pids.limit", "pids", pids_limit},
};
static_assert(ARRAY_COUNT(rows) <= CGROUP_SETTINGS_MAX, "room for every row");

size_t cgroup_settings(const struct config_resources *r, bool v2,
		       struct cgroup_setting ret[CGROUP_SETTINGS_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct cgroup_setting s = {.member = rows[i].member,
					   .controller = rows[i].controller};

		if (rows[i].put(r, v2, &s))
			ret[count++] = s;
	}
	return count;
}

/* ---- writing ---- */

static int write_setting(const struct cgroup *c, size_t hierarchy, const struct cgroup_setting *s,
			 struct err *e)
{
	const struct cgroup_hierarchy *h = &c->host->items[hierarchy];

	if (!s->file)
		return err_set(e, ENOTSUP, "linux.resources.%s: cgroup v2 has no such thing",
			       s->member);
	if (fs_write_at(c->fd[hierarchy], s->file, s->value, e) == 0)
		return 0;
	if (e->code == ENOENT)
		return err_set(
			e, ENOTSUP,
			"linux.resources.%s: cgroup %s has no %s (controller %s is not enabled, "
			"or the kernel is built without)",
			s->member, c->path, s->file, s->controller);
	return err_wrap(e, "linux.resources.%s: cgroup %s in hierarchy %s", s->member, c->path,
			h->name);
}

static int write_unified(const struct cgroup *c, const struct js_map *unified, struct err *e)
{
	int fd = cgroup_v2_fd(c);

	for (size_t i = 0; i < unified->count; i++) {
		const struct js_pair *p = &unified->items[i];

		if (fd < 0)
			return err_set(e, ENOTSUP,
				       "linux.resources.unified: this host has no cgroup v2");
		if (fs_write_at(fd, p->key, p->value, e) < 0)
			return err_wrap(e, "linux.resources.unified");
	}
	return 0;
}

int cgroup_limit(struct cgroup *c, const struct config_resources *r, struct err *e)
{
	struct cgroup_setting settings[2][CGROUP_SETTINGS_MAX];
	size_t counts[2];

	for (unsigned v2 = 0; v2 < 2; v2++)
		counts[v2] = cgroup_settings(r, v2, settings[v2]);

	for (unsigned v2 = 0; v2 < 2; v2++)
		for (size_t i = 0; i < counts[v2]; i++) {
			const struct cgroup_setting *s = &settings[v2][i];
			const struct cgroup_hierarchy *h = cgroup_host_find(c->host, s->controller);

			if (!h)
				return err_set(e, ENOTSUP,
					       "linux.resources.%s: this host has no %s controller",
					       s->member, s->controller);
			if (h->v2 == v2 && write_setting(c, (size_t)(h - c->host->items), s, e) < 0)
				return -e->code;
		}
	return write_unified(c, &r->unified, e);
}

/* ---- checks ---- */

static int check_range(const int64_t *value, int64_t min, int64_t max, const char *member,
		       struct err *e)
{
	if (!value || !*value || (*value >= min && *value <= max))
		return 0;
	return err_set(e, EINVAL,
		       "linux.resources.%s: %" PRId64 " is not within %" PRId64 " and %" PRId64,
		       member, *value, min, max);
}

static int check_cpu_list(const char *list, const char *member, struct err *e)
{
	if (!list || strspn(list, "0123456789,- ") == strlen(list))
		if (!list || strlen(list) < sizeof(((struct cgroup_setting *)0)->value))
			return 0;
	return err_set(e, EINVAL, "linux.resources.%s: '%.64s' is no list", member, list);
}

static int check_memory(const struct config_memory *m, struct err *e)
{
	int64_t limit = m->limit ? *m->limit : 0;

	if (check_range(m->limit, -1, INT64_MAX, "memory.limit", e) < 0 ||
	    check_range(m->reservation, -1, INT64_MAX, "memory.reservation", e) < 0 ||
	    check_range(m->swap, -1, INT64_MAX, "memory.swap", e) < 0 ||
	    check_range(m->swappiness, 0, 100, "memory.swappiness", e) < 0)
		return -e->code;
	if (m->swap && *m->swap > 0 && limit <= 0)
		return err_set(e, EINVAL, "linux.resources.memory.swap: without a memory.limit");
	if (m->swap && *m->swap > 0 && *m->swap < limit)
		return err_set(e, EINVAL,
			       "linux.resources.memory.swap: %" PRId64
			       " is below memory.limit, which it includes",
			       *m->swap);
	return 0;
}

static int check_unified(const struct js_map *m, struct err *e)
{
	for (size_t i = 0; i < m->count; i++) {
		const char *key = m->items[i].key;

		if (strchr(key, '/') || !strchr(key, '.') || key[0] == '.')
			return err_set(e, EINVAL,
				       "linux.resources.unified: '%s' is not a cgroup file", key);
		if (str_starts(key, "cgroup."))
			return err_set(e, EINVAL, "linux.resources.unified: '%s' is not a resource",
				       key);
	}
	return 0;
}

int cgroup_check_config(const struct config_linux *l, struct err *e)
{
	const struct config_resources *r = &l->resources;
	struct device_policy policy = {0};
	int result;

	if (check_range(r->cpu.shares, 1, SHARES_MAX, "cpu.shares", e) < 0 ||
	    check_range(r->cpu.period, 1000, 1000000, "cpu.period", e) < 0 ||
	    check_range(r->cpu.quota, -1, INT64_MAX, "cpu.quota", e) < 0 ||
	    check_range(r->cpu.idle, -1, 1, "cpu.idle", e) < 0 ||
	    check_cpu_list(r->cpu.cpus, "cpu.cpus", e) < 0 ||
	    check_cpu_list(r->cpu.mems, "cpu.mems", e) < 0 || check_memory(&r->memory, e) < 0 ||
	    check_unified(&r->unified, e) < 0)
		return -e->code;
	result = device_policy_of(&r->devices, &policy, e);
	device_policy_done(&policy);
	return result;
}
