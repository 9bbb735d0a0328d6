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
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/cgroup.h"
#include "runtime/cgroup_files.h"

#define SHARES_MIN 2 /* the kernel's bounds for cpu.shares */
#define SHARES_MAX 262144
#define PERIOD_US  100000 /* the kernel's default */

static void put_number(struct cgroup_setting *s, const char *file, int64_t value)
{
	(void)snprintf(s->file, sizeof(s->file), "%s", file);
	(void)snprintf(s->value, sizeof(s->value), "%" PRId64, value);
}

/* Zero and below mean "no limit": "max" on v2. */
static void put_max(struct cgroup_setting *s, const char *file, int64_t value)
{
	put_number(s, file, value);
	if (value <= 0)
		(void)snprintf(s->value, sizeof(s->value), "max");
}

/*
 * v1 counts 2 .. 262144 with 1024 as the default, v2 counts 1 .. 10000 with 100.
 * The line between the ends is what runc and crun draw.
 */
int64_t cgroup_weight_of_shares(int64_t shares)
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
		put_number(s, "cpu.weight", cgroup_weight_of_shares(*r->cpu.shares));
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
	put_number(s, "cpu.max", 0);
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
	put_number(s, file, 0);
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
	put_number(s, v2 ? "" : "memory.swappiness", *r->memory.swappiness);
	return true;
}

static bool memory_kernel(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->memory.kernel || !*r->memory.kernel)
		return false;
	put_number(s, v2 ? "" : "memory.kmem.limit_in_bytes", *r->memory.kernel);
	s->doubted = *r->memory.kernel > 0;
	return true;
}

static bool memory_kernel_tcp(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->memory.kernel_tcp || !*r->memory.kernel_tcp)
		return false;
	put_number(s, v2 ? "" : "memory.kmem.tcp.limit_in_bytes", *r->memory.kernel_tcp);
	return true;
}

/* It is how v2 and newer v1 kernels are anyway. */
static bool memory_hierarchy(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->memory.use_hierarchy || v2)
		return false;
	put_number(s, "memory.use_hierarchy", 1);
	return true;
}

static bool cpu_rt_period(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->cpu.rt_period || !*r->cpu.rt_period)
		return false;
	put_number(s, v2 ? "" : "cpu.rt_period_us", *r->cpu.rt_period);
	return true;
}

static bool cpu_rt_runtime(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->cpu.rt_runtime || !*r->cpu.rt_runtime)
		return false;
	put_number(s, v2 ? "" : "cpu.rt_runtime_us", *r->cpu.rt_runtime);
	return true;
}

static bool memory_oom(const struct config_resources *r, bool v2, struct cgroup_setting *s)
{
	if (!r->memory.disable_oom_killer)
		return false;
	put_number(s, v2 ? "" : "memory.oom_control", 1);
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
	{"cpu.realtimePeriod", "cpu", cpu_rt_period},
	{"cpu.realtimeRuntime", "cpu", cpu_rt_runtime},
	{"cpu.cpus", "cpuset", cpu_cpus},
	{"cpu.mems", "cpuset", cpu_mems},
	{"memory.useHierarchy", "memory", memory_hierarchy},
	{"memory.limit", "memory", memory_limit},
	{"memory.swap", "memory", memory_swap},
	{"memory.reservation", "memory", memory_reservation},
	{"memory.kernel", "memory", memory_kernel},
	{"memory.kernelTCP", "memory", memory_kernel_tcp},
	{"memory.swappiness", "memory", memory_swappiness},
	{"memory.disableOOMKiller", "memory", memory_oom},
	{"pids.limit", "pids", pids_limit},
};

struct cgroup_setting *cgroup_settings_add(struct cgroup_settings *s, const char *member,
					   const char *controller)
{
	s->items = xgrow(s->items, s->count, &s->capacity, sizeof(*s->items));
	s->items[s->count] = (struct cgroup_setting){.member = member, .controller = controller};
	return &s->items[s->count++];
}

void cgroup_settings_done(struct cgroup_settings *s)
{
	free(s->items);
	*s = (struct cgroup_settings){0};
}

void cgroup_settings_of(const struct config_resources *r, bool v2, struct cgroup_settings *ret)
{
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct cgroup_setting *s = cgroup_settings_add(ret, rows[i].member,
							       rows[i].controller);

		if (!rows[i].put(r, v2, s))
			ret->count--;
	}
	cgroup_settings_of_lists(r, v2, ret);
}

/* ---- writing ---- */

/* The same controller has two names. */
static const struct cgroup_hierarchy *find_hierarchy(const struct cgroup_host *host,
						     const char *controller)
{
	const struct cgroup_hierarchy *h = cgroup_host_find(host, controller);

	if (!h && str_eq(controller, "blkio"))
		h = cgroup_host_find(host, "io");
	else if (!h && str_eq(controller, "io"))
		h = cgroup_host_find(host, "blkio");
	return h;
}

static bool is_needed(const struct cgroup_host *host, const struct cgroup_hierarchy *h,
		      const struct cgroup_settings *settings)
{
	static const char *const always[] = {"cpu",    "cpuacct", "cpuset",
					     "memory", "pids",    "devices"};

	for (size_t i = 0; i < ARRAY_COUNT(always); i++)
		if (cgroup_host_find(host, always[i]) == h)
			return true;
	for (size_t i = 0; i < settings->count; i++)
		if (find_hierarchy(host, settings->items[i].controller) == h)
			return true;
	return h->v2;
}

void cgroup_host_narrow(struct cgroup_host *host, const struct config_resources *r)
{
	struct cgroup_settings settings = {0};
	size_t kept = 0;

	cgroup_settings_of(r, false, &settings);
	for (size_t i = host->count; i-- > 0;)
		if (!is_needed(host, &host->items[i], &settings))
			close_fd(&host->items[i].fd);
	cgroup_settings_done(&settings);
	for (size_t i = 0; i < host->count; i++)
		if (host->items[i].fd >= 0)
			host->items[kept++] = host->items[i];
	host->count = kept;
}

static int setting_failed(const struct cgroup *c, const struct cgroup_setting *s, struct err *e)
{
	if (!s->file[0])
		return err_set(e, ENOTSUP, "linux.resources.%s: cgroup v2 has no such thing",
			       s->member);
	if (e->code == ENOENT)
		return err_set(
			e, ENOTSUP,
			"linux.resources.%s: cgroup %s has no %s (controller %s is not enabled, "
			"or the kernel is built without)",
			s->member, c->path, s->file, s->controller);
	return err_wrap(e, "linux.resources.%s: cgroup %s", s->member, c->path);
}

static int write_setting(const struct cgroup *c, int fd, const struct cgroup_setting *s,
			 struct err *e)
{
	struct err doubt;
	char now[32];

	if (fs_write_at(fd, s->file, s->value, e) < 0)
		return -e->code;
	if (s->doubted && cgroup_read_line(fd, s->file, now, sizeof(now)) &&
	    strtoull(now, NULL, 10) > strtoull(s->value, NULL, 10))
		(void)err_set(
			&doubt, ENOTSUP,
			"linux.resources.%s: this kernel takes the limit and does not hold it",
			s->member);
	else
		return 0;
	if (c->warn)
		c->warn(&doubt);
	return 0;
}

/*
 * One pass.  Some values have to fit each other at each moment (quota and
 * burst, memory with and without swap), in an order that depends on what is set
 * already: what is refused is tried again when the others have been set.
 */
static int write_settings(const struct cgroup *c, int fd, struct cgroup_settings *list, bool again,
			  struct err *e)
{
	for (size_t i = 0; i < list->count; i++) {
		struct cgroup_setting *s = &list->items[i];
		bool either = s->either;

		if (again && !s->failed)
			continue;
		if (s->file[0] && write_setting(c, fd, s, e) == 0) {
			i += either;
			continue;
		}
		if (s->file[0] && e->code == ENOENT && (s->spare || either))
			continue;
		s->failed = s->file[0] && (e->code == EINVAL || e->code == EBUSY);
		if (again || !s->failed)
			return setting_failed(c, s, e);
	}
	return 0;
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

/* Those of one kind of hierarchy, by the hierarchy that each of them is in. */
static int limit_in(const struct cgroup *c, const struct cgroup_hierarchy *h,
		    const struct cgroup_settings *all, struct err *e)
{
	struct cgroup_settings own = {0};
	int fd = c->fd[h - c->host->items], r;

	for (size_t i = 0; i < all->count; i++) {
		const struct cgroup_setting *s = &all->items[i];

		if (find_hierarchy(c->host, s->controller) == h)
			*cgroup_settings_add(&own, s->member, s->controller) = *s;
	}
	r = write_settings(c, fd, &own, false, e);
	if (r == 0)
		r = write_settings(c, fd, &own, true, e);
	cgroup_settings_done(&own);
	return r;
}

static int check_controllers(const struct cgroup *c, const struct cgroup_settings *all,
			     struct err *e)
{
	for (size_t i = 0; i < all->count; i++)
		if (!find_hierarchy(c->host, all->items[i].controller))
			return err_set(e, ENOTSUP,
				       "linux.resources.%s: this host has no %s controller",
				       all->items[i].member, all->items[i].controller);
	return 0;
}

/* A limit below what is in use would have the kernel kill at once. */
static int check_memory_in_use(const struct cgroup *c, const struct config_memory *m, struct err *e)
{
	uint64_t used;

	if (!m->check_before_update || !m->limit || *m->limit <= 0)
		return 0;
	used = cgroup_count(c, "memory", "memory.current", "memory.usage_in_bytes");
	if (used <= (uint64_t)*m->limit)
		return 0;
	return err_set(e, EBUSY,
		       "linux.resources.memory.limit: %" PRId64 " is below the %" PRIu64
		       " bytes in use (checkBeforeUpdate)",
		       *m->limit, used);
}

int cgroup_limit(struct cgroup *c, const struct config_resources *r, struct err *e)
{
	struct cgroup_settings lists[2] = {0};
	int result = 0;

	if (check_memory_in_use(c, &r->memory, e) < 0)
		return -e->code;
	for (unsigned v2 = 0; v2 < 2; v2++)
		cgroup_settings_of(r, v2, &lists[v2]);
	if (check_controllers(c, &lists[0], e) < 0)
		result = -e->code;
	for (size_t i = 0; result == 0 && i < c->host->count; i++)
		result = limit_in(c, &c->host->items[i], &lists[c->host->items[i].v2], e);
	cgroup_settings_done(&lists[0]);
	cgroup_settings_done(&lists[1]);
	return result < 0 ? result : write_unified(c, &r->unified, e);
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

int cgroup_check_resources(const struct config_resources *r, struct err *e)
{
	struct device_policy policy = {0};
	int result;

	if (check_range(r->cpu.shares, 1, SHARES_MAX, "cpu.shares", e) < 0 ||
	    check_range(r->cpu.period, 1000, 1000000, "cpu.period", e) < 0 ||
	    check_range(r->cpu.quota, -1, INT64_MAX, "cpu.quota", e) < 0 ||
	    check_range(r->cpu.burst, 0, INT64_MAX, "cpu.burst", e) < 0 ||
	    check_range(r->cpu.idle, -1, 1, "cpu.idle", e) < 0 ||
	    check_range(r->cpu.rt_period, 1, INT64_MAX, "cpu.realtimePeriod", e) < 0 ||
	    check_range(r->cpu.rt_runtime, -1, INT64_MAX, "cpu.realtimeRuntime", e) < 0 ||
	    check_cpu_list(r->cpu.cpus, "cpu.cpus", e) < 0 ||
	    check_cpu_list(r->cpu.mems, "cpu.mems", e) < 0 || check_memory(&r->memory, e) < 0 ||
	    check_unified(&r->unified, e) < 0 || cgroup_check_lists(r, e) < 0)
		return -e->code;
	result = device_policy_of(&r->devices, &policy, e);
	device_policy_done(&policy);
	return result;
}

int cgroup_check_config(const struct config_linux *l, struct err *e)
{
	return cgroup_check_resources(&l->resources, e);
}
