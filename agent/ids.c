/* agent/ids.c - whose ids the users of a container are on the host
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * Every task that can has ids of its own, IDS_COUNT of them: root of its
 * containers is the host's user 'first_id', who owns nothing but what they made
 * in their roots.  What comes from elsewhere is seen through id-mapped mounts:
 * the layers of images by one view for the task, volumes by one each, so that
 * the host's user N is N in the container, too.
 *
 * A range is leased by the task's record, which is on disk before anything uses
 * the range, and given back when nothing of the task is left; ranges go round,
 * so that one is used again as late as possible.
 *
 * A container that wants what only the host's root may do, or that the kernel or
 * a file system cannot do this for, is one of the host's users, as Docker's are.
 * Why is the task's attribute ATTRIBUTE.  Containers of a task share volumes all
 * the same: on disk there are the host's ids in both cases.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/text.h"
#include "rootfs/rootfs.h"
#include "runtime/runtime.h"

#define ATTRIBUTE     "berth.user-namespace"
#define REASON_LENGTH 400
#define SHOWN_MAX     8192

/* ---- ranges ---- */

static bool is_used(const struct id_ranges *r, uint32_t i)
{
	return r->used[i / 64] >> i % 64 & 1;
}

static bool find_range(uint32_t first_id, uint32_t *ret)
{
	*ret = (first_id - IDS_FIRST) / IDS_COUNT;
	return first_id >= IDS_FIRST && *ret < IDS_RANGES &&
	       first_id == IDS_FIRST + *ret * IDS_COUNT;
}

uint32_t ids_take(struct id_ranges *r)
{
	for (uint32_t n = 0; n < IDS_RANGES; n++) {
		uint32_t i = (r->next + n) % IDS_RANGES;

		if (is_used(r, i))
			continue;
		r->used[i / 64] |= UINT64_C(1) << i % 64;
		r->next = (i + 1) % IDS_RANGES;
		return IDS_FIRST + i * IDS_COUNT;
	}
	return 0;
}

void ids_found(struct id_ranges *r, uint32_t first_id, bool in_use)
{
	uint32_t i;

	if (!find_range(first_id, &i))
		return;
	if (in_use)
		r->used[i / 64] |= UINT64_C(1) << i % 64;
	r->next = (i + 1) % IDS_RANGES;
}

void ids_give(struct id_ranges *r, uint32_t first_id)
{
	uint32_t i;

	if (find_range(first_id, &i))
		r->used[i / 64] &= ~(UINT64_C(1) << i % 64);
}

/* ---- what excludes it ---- */

/* What has a meaning to processes and files of the container alone. */
static const char
	*const
		capabilities_inside[] =
			{
				"CHOWN",
				"DAC_OVERRIDE",
				"DAC_READ_SEARCH",
				"FOWNER",
				"FSETID",
				"KILL",
				"SETGID",
				"SETUID",
				"SETPCAP",
				"SETFCAP",
				"SYS_CHROOT",
				"SYS_PTRACE",
				"NET_BIND_SERVICE", /* the parameter ip_unprivileged_port_start does that */
};

static bool is_inside(const char *capability)
{
	for (size_t i = 0; i < ARRAY_COUNT(capabilities_inside); i++)
		if (strcmp(capability, capabilities_inside[i]) == 0)
			return true;
	return false;
}

/* What the definition says; 0: nothing is against it. */
static int check_definition(const struct container *c, struct err *e)
{
	const struct js_strings *add = &c->def->linux_parameters.capabilities.add;

	if (c->task->agent->o->no_user_namespaces)
		return err_set(e, ENOTSUP, "switched off in berth.conf");
	if (c->def->privileged)
		return err_set(e, ENOTSUP, "privileged");
	if (str_eq(c->task->wanted.definition.network_mode, "host"))
		return err_set(e, ENOTSUP, "networkMode host");
	for (size_t i = 0; i < add->count; i++)
		if (!is_inside(add->items[i]))
			return err_set(e, ENOTSUP, "capability %s", add->items[i]);
	return 0;
}

int ids_check_user(const struct image_user *u, struct err *e)
{
	if (u->uid >= IDS_COUNT || u->gid >= IDS_COUNT)
		return err_set(e, ENOTSUP, "user %u:%u is over %u", u->uid, u->gid, IDS_COUNT - 1);
	for (size_t i = 0; i < u->group_count; i++)
		if (u->groups[i] >= IDS_COUNT)
			return err_set(e, ENOTSUP, "group %u is over %u", u->groups[i],
				       IDS_COUNT - 1);
	return 0;
}

static int check_volumes(const struct container *c, struct err *e)
{
	for (size_t i = 0; i < c->def->mount_points.count; i++) {
		const struct ecs_mount_point *m = JS_AT(c->def->mount_points,
							struct ecs_mount_point, i);
		auto_free char *path = NULL;

		if (volume_of(c->task, m->source_volume, &path, e) < 0 ||
		    runtime_check_map(path, c->task->userns_fd, e) < 0)
			return err_wrap(e, "volume %s", m->source_volume);
	}
	return 0;
}

/* ---- of a task ---- */

static int open_views(struct task *t, struct err *e)
{
	if (t->userns_fd < 0 &&
	    runtime_user_namespace(t->first_id, IDS_COUNT, &t->userns_fd, e) < 0)
		return -e->code;
	if (t->layers_fd < 0 &&
	    rootfs_map_layers(t->agent->layers_dir, t->userns_fd, &t->layers_fd, e) < 0)
		return -e->code;
	return 0;
}

static int prepare(struct container *c, struct err *e)
{
	struct task *t = c->task;

	if (check_definition(c, e) < 0)
		return -e->code;
	if (!t->first_id)
		t->first_id = ids_take(&t->agent->ids);
	if (!t->first_id)
		return err_set(e, EAGAIN, "all %u ranges of ids are in use", IDS_RANGES);
	if (open_views(t, e) < 0 || check_volumes(c, e) < 0)
		return -e->code;
	return 0;
}

/* "524288", "off: privileged", "524288; off for proxy: privileged" */
static void show(struct task *t)
{
	struct ecs_attribute *a = arena_alloc(&t->arena, sizeof(*a));
	auto_buf struct buf value = BUF_INIT(SHOWN_MAX);
	const char *between = "";
	bool mapped = false;

	for (size_t i = 0; i < t->count; i++)
		mapped |= t->containers[i].mapped;
	if (mapped) {
		buf_printf(&value, "%u", t->first_id);
		between = "; ";
	}
	for (size_t i = 0; i < t->count; i++) {
		const struct container *c = &t->containers[i];

		if (!c->unmapped)
			continue;
		if (t->count > 1)
			buf_printf(&value, "%soff for %s: %s", between, c->def->name, c->unmapped);
		else
			buf_printf(&value, "off: %s", c->unmapped);
		between = "; ";
	}
	*a = (struct ecs_attribute){.name = arena_strdup(&t->arena, ATTRIBUTE),
				    .value = arena_strdup(&t->arena, buf_str(&value))};
	t->state.attributes = (struct js_list){a, 1};
}

void ids_refuse(struct container *c, const char *why)
{
	c->mapped = false;
	c->unmapped = arena_printf(&c->task->arena, "%.*s", REASON_LENGTH, why);
	log_info("task=%s container=%s: no user namespace: %s", c->task->id, c->def->name,
		 c->unmapped);
	show(c->task);
}

void ids_decide(struct container *c)
{
	struct err e = {0};

	c->unmapped = NULL;
	if (prepare(c, &e) < 0) {
		ids_refuse(c, e.msg);
		return;
	}
	c->mapped = true;
	log_info("task=%s container=%s: user namespace, ids from %u on", c->task->id, c->def->name,
		 c->task->first_id);
	show(c->task);
}

void ids_done(struct task *t)
{
	close_fd(&t->userns_fd);
	close_fd(&t->layers_fd);
}
