/* runtime/systemd.c - cgroups that systemd makes: a transient scope for each container
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/systemd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/text.h"
#include "runtime/cgroup.h"
#include "runtime/tool.h"

#define BUS        "org.freedesktop.systemd1"
#define OBJECT     "/org/freedesktop/systemd1"
#define MANAGER    BUS ".Manager"
#define WHAT       "systemd cgroup driver"
#define TIMEOUT_MS 30000
#define STOP_MS    5000
#define UNIT_MAX   255
#define WORDS_MAX  128
#define PERIOD_US  100000
#define US_PER_S   1000000

/* ---- names ---- */

/* Of units: what else they may hold has a meaning. */
static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr(":-_.\\", *s))
			return false;
	return true;
}

/* "a-b-c.slice" lies in "/a.slice/a-b.slice/a-b-c.slice". */
static void put_slice_path(const char *slice, struct buf *out)
{
	size_t len = strlen(slice) - strlen(".slice");

	if (str_eq(slice, "-.slice"))
		return;
	for (size_t i = 1; i <= len; i++)
		if (i == len || slice[i] == '-')
			buf_printf(out, "/%.*s.slice", (int)i, slice);
}

int systemd_scope_of(const char *cgroups_path, const char *id, struct arena *a,
		     struct systemd_scope *ret, struct err *e)
{
	auto_buf struct buf path = BUF_INIT(4096);
	char *text = arena_strdup(a, cgroups_path && cgroups_path[0] ? cgroups_path : "::");
	char *prefix = strchr(text, ':'), *name = prefix ? strchr(prefix + 1, ':') : NULL;
	const char *slice = text;

	if (!name || strchr(name + 1, ':'))
		return err_set(e, EINVAL,
			       "linux.cgroupsPath: '%.64s' is not SLICE:PREFIX:NAME, as the "
			       "systemd cgroup driver wants it",
			       cgroups_path);
	*prefix++ = '\0';
	*name++ = '\0';
	if (!*slice)
		slice = geteuid() == 0 ? "system.slice" : "user.slice";
	if (!*name)
		name = arena_strdup(a, id);
	if (!str_ends(slice, ".slice") || slice[0] == '.' || strstr(slice, "--"))
		return err_set(e, EINVAL, "linux.cgroupsPath: '%.64s' is no slice", slice);
	ret->slice = arena_strdup(a, slice);
	ret->unit = str_ends(name, ".slice") || str_ends(name, ".scope")
			    ? arena_strdup(a, name)
			    : arena_printf(a, "%s%s%s.scope", *prefix ? prefix : "berth-oci", "-",
					   name);
	if (!is_plain(ret->unit) || !is_plain(slice) || strlen(ret->unit) > UNIT_MAX ||
	    strlen(slice) > UNIT_MAX || !str_ends(ret->unit, ".scope"))
		return err_set(e, EINVAL, "linux.cgroupsPath: '%.64s' in '%.64s' is no scope",
			       ret->unit, slice);
	put_slice_path(slice, &path);
	buf_printf(&path, "/%s", ret->unit);
	ret->cgroup = arena_strdup(a, buf_str(&path));
	return cgroup_check_path(ret->cgroup, e);
}

/* ---- calls ---- */

/* The words of one busctl command line. */
struct call {
	struct arena arena;
	char *words[WORDS_MAX];
	size_t count;
	size_t properties; /* how many were put */
};

__attribute__((format(printf, 2, 3))) static void put(struct call *c, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (c->count < WORDS_MAX - 1) /* all that we put together has room */
		c->words[c->count++] = arena_strdup(&c->arena, text);
}

static void put_property(struct call *c, const char *name, const char *type, const char *value)
{
	put(c, "%s", name);
	put(c, "%s", type);
	put(c, "%s", value);
	c->properties++;
}

static void put_number(struct call *c, const char *name, uint64_t value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	put_property(c, name, "t", text);
}

static void begin(struct call *c, const char *method, const char *signature)
{
	*c = (struct call){0};
	put(c, "busctl");
	if (geteuid() != 0)
		put(c, "--user");
	put(c, "--quiet");
	put(c, "call");
	put(c, BUS);
	put(c, OBJECT);
	put(c, MANAGER);
	put(c, "%s", method);
	put(c, "%s", signature);
}

static int make(struct call *c, struct err *e)
{
	int r = tool_run(c->words, TIMEOUT_MS, WHAT, e);

	arena_done(&c->arena);
	return r;
}

/* ---- limits ---- */

static uint64_t or_infinity(int64_t value)
{
	return value > 0 ? (uint64_t)value : UINT64_MAX;
}

static uint64_t quota_per_second(const struct config_cpu *c)
{
	uint64_t period = c->period && *c->period ? (uint64_t)*c->period : PERIOD_US;

	return *c->quota > 0 ? (uint64_t)*c->quota * US_PER_S / period : UINT64_MAX;
}

static bool is_v2_alone(void)
{
	return access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
}

static void put_limits(struct call *c, const struct config_resources *r)
{
	bool v2 = is_v2_alone();

	if (r->memory.limit && *r->memory.limit)
		put_number(c, v2 ? "MemoryMax" : "MemoryLimit", or_infinity(*r->memory.limit));
	if (v2 && r->memory.reservation && *r->memory.reservation)
		put_number(c, "MemoryLow", or_infinity(*r->memory.reservation));
	if (v2 && r->memory.swap && *r->memory.swap)
		put_number(c, "MemorySwapMax",
			   *r->memory.swap < 0
				   ? UINT64_MAX
				   : (uint64_t)(*r->memory.swap -
						(r->memory.limit ? *r->memory.limit : 0)));
	if (r->cpu.shares && *r->cpu.shares)
		put_number(
			c, v2 ? "CPUWeight" : "CPUShares",
			(uint64_t)(v2 ? cgroup_weight_of_shares(*r->cpu.shares) : *r->cpu.shares));
	if (r->cpu.quota && *r->cpu.quota)
		put_number(c, "CPUQuotaPerSecUSec", quota_per_second(&r->cpu));
	if (r->pids)
		put_number(c, "TasksMax", or_infinity(r->pids->limit));
}

int systemd_set_limits(const char *unit, const struct config_resources *r, struct err *e)
{
	struct call limits = {0}, c;

	put_limits(&limits, r);
	if (!limits.properties)
		return 0;
	begin(&c, "SetUnitProperties", "sba(sv)");
	put(&c, "%s", unit);
	put(&c, "true"); /* for this run of the system only */
	put(&c, "%zu", limits.properties);
	for (size_t i = 0; i < limits.count; i++)
		put(&c, "%s", limits.words[i]);
	arena_done(&limits.arena);
	return make(&c, e);
}

/* ---- start ---- */

/* Where the process is in systemd's own hierarchy; false: not (yet) in that unit. */
static bool find_cgroup(pid_t pid, const char *unit, char *ret, size_t size)
{
	static const char *const marks[] = {"\n0::", ":name=systemd:"};
	auto_buf struct buf text = BUF_INIT(65536);
	struct err ignored;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	buf_putc(&text, '\n');
	if (fs_read(AT_FDCWD, path, &text, &ignored) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(marks); i++) {
		const char *at = strstr(buf_str(&text), marks[i]);

		if (!at)
			continue;
		at += strlen(marks[i]);
		if ((size_t)snprintf(ret, size, "%.*s", (int)strcspn(at, "\n"), at) < size &&
		    str_ends(ret, unit))
			return true;
	}
	return false;
}

static int wait_until_in(pid_t pid, const char *unit, struct arena *a, char **ret, struct err *e)
{
	int64_t deadline = clock_mono_ms() + TIMEOUT_MS;
	char path[4096];

	while (!find_cgroup(pid, unit, path, sizeof(path))) {
		if (clock_mono_ms() > deadline)
			return err_set(e, ETIMEDOUT, WHAT ": scope %s was not there after %d ms",
				       unit, TIMEOUT_MS);
		(void)poll(NULL, 0, 5);
	}
	*ret = arena_strdup(a, path);
	return 0;
}

int systemd_start(const struct systemd_scope *s, const char *id, pid_t pid,
		  const struct config_resources *r, struct arena *a, char **ret_cgroup,
		  struct err *e)
{
	static const char *const accounts[] = {"MemoryAccounting", "CPUAccounting",
					       "TasksAccounting", "IOAccounting"};
	struct call p = {0}, c;

	put_property(&p, "Description", "s", id);
	put_property(&p, "Slice", "s", s->slice);
	put_property(&p, "Delegate", "b", "true");
	put_property(&p, "DefaultDependencies", "b", "false");
	put_property(&p, "CollectMode", "s", "inactive-or-failed");
	put_property(&p, "PIDs", "au", "1");
	put(&p, "%d", (int)pid);
	for (size_t i = 0; i < ARRAY_COUNT(accounts); i++)
		put_property(&p, accounts[i], "b", "true");
	if (!r->pids)
		put_number(&p, "TasksMax", UINT64_MAX);
	put_limits(&p, r);

	begin(&c, "StartTransientUnit", "ssa(sv)a(sa(sv))");
	put(&c, "%s", s->unit);
	put(&c, "fail");
	put(&c, "%zu", p.properties);
	for (size_t i = 0; i < p.count; i++)
		put(&c, "%s", p.words[i]);
	put(&c, "0");
	arena_done(&p.arena);
	if (make(&c, e) < 0)
		return -e->code;
	return wait_until_in(pid, s->unit, a, ret_cgroup, e);
}

/* ---- stop ---- */

static bool is_loaded(const char *unit)
{
	struct err ignored;
	struct call c;

	begin(&c, "GetUnit", "s");
	put(&c, "%s", unit);
	return make(&c, &ignored) == 0;
}

void systemd_stop(const char *unit)
{
	int64_t deadline = clock_mono_ms() + STOP_MS;
	struct err ignored;
	struct call c;

	begin(&c, "StopUnit", "ss");
	put(&c, "%s", unit);
	put(&c, "replace");
	if (make(&c, &ignored) < 0)
		return;
	/* Its name can be given again when the unit is gone, not when its stop is queued. */
	while (is_loaded(unit) && clock_mono_ms() < deadline)
		(void)poll(NULL, 0, 20);
}
