/* cmd/berth_oci/limits.c - update: other limits for a container that runs
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"
#include "cmd/berth_oci/commands.h"

#define RESOURCES_MAX (1024 * 1024)
#define DEPTH_MAX     32

enum value_kind { VALUE_NUMBER, VALUE_BYTES, VALUE_TEXT, VALUE_FLAG };

/* An option of the command is one member of linux.resources. */
static const struct {
	size_t offset;
	const char *option, *group, *member;
	enum value_kind kind;
} members[] = {
#define AT(name) offsetof(struct arguments, name)
	{AT(blkio_weight), "blkio-weight", "blockIO", "weight", VALUE_NUMBER},
	{AT(cpu_period), "cpu-period", "cpu", "period", VALUE_NUMBER},
	{AT(cpu_quota), "cpu-quota", "cpu", "quota", VALUE_NUMBER},
	{AT(cpu_burst), "cpu-burst", "cpu", "burst", VALUE_NUMBER},
	{AT(cpu_share), "cpu-share", "cpu", "shares", VALUE_NUMBER},
	{AT(cpu_rt_period), "cpu-rt-period", "cpu", "realtimePeriod", VALUE_NUMBER},
	{AT(cpu_rt_runtime), "cpu-rt-runtime", "cpu", "realtimeRuntime", VALUE_NUMBER},
	{AT(cpu_idle), "cpu-idle", "cpu", "idle", VALUE_NUMBER},
	{AT(cpuset_cpus), "cpuset-cpus", "cpu", "cpus", VALUE_TEXT},
	{AT(cpuset_mems), "cpuset-mems", "cpu", "mems", VALUE_TEXT},
	{AT(memory), "memory", "memory", "limit", VALUE_BYTES},
	{AT(memory_reservation), "memory-reservation", "memory", "reservation", VALUE_BYTES},
	{AT(memory_swap), "memory-swap", "memory", "swap", VALUE_BYTES},
	{AT(kernel_memory), "kernel-memory", "memory", "kernel", VALUE_BYTES},
	{AT(kernel_memory_tcp), "kernel-memory-tcp", "memory", "kernelTCP", VALUE_BYTES},
	{AT(pids_limit), "pids-limit", "pids", "limit", VALUE_NUMBER},
};

/* ".5", behind a number of units. */
static bool add_fraction(const char *text, size_t len, int shift, int64_t *value)
{
	int64_t part = 0, whole = 1;

	if (len < 2 || len > 7 || *value < 0)
		return false;
	for (size_t i = 1; i < len; i++, whole *= 10)
		part = part * 10 + (text[i] - '0');
	*value += (part << shift) / whole; /* 20 + 40 bits */
	return true;
}

/* "512m", "1GB", "1.5g", "-1" */
static bool parse_bytes(const char *text, int64_t *ret)
{
	static const char units[] = "kmgt";
	char number[32];
	size_t whole = strspn(text, "-0123456789");
	size_t fraction = text[whole] == '.' ? 1 + strspn(text + whole + 1, "0123456789") : 0;
	size_t len = whole + fraction;
	const char *unit = text[len] ? strchr(units, text[len] | 0x20) : NULL;
	int shift = unit && text[len] ? 10 * (int)(unit - units + 1) : 0;
	const char *rest = text + len + (shift ? 1 : 0);
	int64_t value;

	if ((*rest == 'b' || *rest == 'B') && !rest[1])
		rest++;
	if (*rest || !whole || whole >= sizeof(number))
		return false;
	(void)snprintf(number, sizeof(number), "%.*s", (int)whole, text);
	if (!parse_i64(number, -1, (INT64_MAX >> shift) - 1, &value))
		return false;
	value = value < 0 ? value : value << shift;
	if (fraction && !add_fraction(text + whole, fraction, shift, &value))
		return false;
	*ret = value;
	return true;
}

static int to_json(const char *text, enum value_kind kind, const char *option, json_t **ret,
		   struct err *e)
{
	int64_t number = 0;

	if (kind == VALUE_TEXT) {
		*ret = json_string(text);
		return *ret ? 0 : err_set(e, EINVAL, "--%s: not UTF-8", option);
	}
	if (kind == VALUE_BYTES ? !parse_bytes(text, &number)
				: !parse_i64(text, INT64_MIN, INT64_MAX, &number))
		return err_set(e, EINVAL, "--%s: '%s' is not a number", option, text);
	*ret = json_integer(number);
	return 0;
}

static json_t *group_of(json_t *doc, const char *name)
{
	json_t *group = json_object_get(doc, name);

	if (!json_is_object(group)) {
		group = json_object();
		(void)json_object_set_new(doc, name, group);
	}
	return group;
}

static int read_resources(const char *path, json_t **ret, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(RESOURCES_MAX);
	int r = str_eq(path, "-") ? fs_read_fd(STDIN_FILENO, &text, e)
				  : fs_read(AT_FDCWD, path, &text, e);

	if (r < 0 || js_parse_u64(buf_str(&text), text.size, DEPTH_MAX, ret, e) < 0)
		return err_wrap(e, "--resources");
	if (!json_is_object(*ret))
		return err_set(e, EINVAL, "--resources: expected an object");
	return 0;
}

int command_update(struct runtime *rt, const struct arguments *a, struct err *e)
{
	auto_json json_t *doc = NULL;

	if (a->resources && read_resources(a->resources, &doc, e) < 0)
		return -e->code;
	if (!doc)
		doc = json_object();
	for (size_t i = 0; i < ARRAY_COUNT(members); i++) {
		const char *text =
			*(const char *const *)(const void *)((const char *)a + members[i].offset);
		json_t *value = NULL;

		if (!text)
			continue;
		if (to_json(text, members[i].kind, members[i].option, &value, e) < 0)
			return -e->code;
		(void)json_object_set_new(group_of(doc, members[i].group), members[i].member,
					  value);
	}
	return command_outcome(runtime_update(rt, a->words[0], doc, e), a->words[0], e);
}
