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
 * so that one is used again as late as possible.  Those of the next tasks wait
 * ready made, with a namespace that nothing uses.
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
#define REST_MS       50

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
				"NET_ADMIN", /* their network belongs to them: network.c */
				"NET_BROADCAST",
				"NET_RAW",
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

/* They would be shown as nobody's, and could not be changed by root of the container. */
static int check_image(const struct image *image, struct err *e)
{
	if (image->greatest_id >= IDS_COUNT)
		return err_set(e, ENOTSUP, "files of the image belong to ids up to %u, over %u",
			       image->greatest_id, IDS_COUNT - 1);
	return 0;
}

static int check_volumes(const struct container *c, struct err *e)
{
	for (size_t i = 0; i < c->def->mount_points.count; i++) {
		const struct ecs_mount_point *m = JS_AT(c->def->mount_points,
							struct ecs_mount_point, i);
		auto_free char *path = NULL;

		if (volume_of(c->task, m->source_volume, &path, e) < 0 ||
		    runtime_check_map(path, c->task->ids.userns_fd, e) < 0)
			return err_wrap(e, "volume %s", m->source_volume);
	}
	return 0;
}

/* ---- views ---- */

int ids_open(const struct agent *a, struct id_view *v, struct err *e)
{
	if (v->userns_fd < 0 &&
	    runtime_user_namespace(v->first_id, IDS_COUNT, &v->userns_fd, e) < 0)
		return -e->code;
	if (v->layers_fd < 0 &&
	    rootfs_map_layers(a->layers_dir, v->userns_fd, &v->layers_fd, e) < 0)
		return -e->code;
	return 0;
}

void ids_close(struct id_view *v)
{
	close_fd(&v->userns_fd);
	close_fd(&v->layers_fd);
}

/* Context: a thread.  The loop leaves 'making' alone until are_made(). */
static void make_views(void *ctx)
{
	struct agent *a = ctx;
	struct id_pool *p = &a->id_pool;
	struct err ignored; /* who needs the next one will hear why */

	for (size_t i = 0; i < p->making_count && !p->broken; i++)
		p->broken = ids_open(a, &p->making[i], &ignored) < 0;
}

static void are_made(void *ctx)
{
	struct agent *a = ctx;
	struct id_pool *p = &a->id_pool;

	for (size_t i = 0; i < p->making_count; i++) {
		if (p->making[i].layers_fd >= 0) {
			p->ready[p->ready_count++] = p->making[i];
			continue;
		}
		ids_close(&p->making[i]);
		ids_give(&a->ranges, p->making[i].first_id);
	}
	p->making_count = 0;
}

static void make_more(void *ctx)
{
	struct agent *a = ctx;
	struct id_pool *p = &a->id_pool;

	if (p->making_count || p->broken)
		return;
	while (p->ready_count + p->making_count < IDS_READY) {
		struct id_view v = ID_VIEW_NONE;

		v.first_id = ids_take(&a->ranges);
		if (!v.first_id)
			break;
		p->making[p->making_count++] = v;
	}
	if (p->making_count)
		loop_work(a->loop, make_views, are_made, a);
}

void ids_pool_start(struct agent *a)
{
	a->id_pool.rest = loop_timer_new(a->loop, make_more, a);
}

void ids_pool_done(struct agent *a)
{
	while (a->id_pool.ready_count)
		ids_close(&a->id_pool.ready[--a->id_pool.ready_count]);
}

/* The first one is made when it is asked for: an agent without tasks has none. */
struct id_view ids_take_view(struct agent *a)
{
	struct id_pool *p = &a->id_pool;
	struct id_view v = ID_VIEW_NONE;

	if (p->ready_count) {
		v = p->ready[0];
		memmove(p->ready, p->ready + 1, --p->ready_count * sizeof(*p->ready));
	} else {
		v.first_id = ids_take(&a->ranges);
	}
	loop_timer_set(p->rest, REST_MS);
	return v;
}

/* That of a root that is ready, if there is one. */
static struct id_view choose_view(struct container *c)
{
	struct id_view v;

	if (!storage_is_limited(c->task))
		c->root = roots_take(c->task->agent, c->image->digest);
	if (!c->root)
		return ids_take_view(c->task->agent);
	v = c->root->ids;
	c->root->ids = ID_VIEW_NONE;
	return v;
}

static void close_in_thread(void *ctx)
{
	ids_close(ctx);
}

static void is_closed(void *ctx)
{
	free(ctx);
}

/* A mount that is closed waits for a grace period of the kernel. */
void ids_give_back(struct task *t)
{
	struct id_view *v = xcalloc(1, sizeof(*v));

	ids_give(&t->agent->ranges, t->ids.first_id);
	*v = t->ids;
	t->ids.userns_fd = t->ids.layers_fd = -1;
	loop_work(t->agent->loop, close_in_thread, is_closed, v);
}

/* ---- of a task ---- */

static int prepare(struct container *c, struct err *e)
{
	struct task *t = c->task;

	if (check_definition(c, e) < 0 || check_image(c->image, e) < 0)
		return -e->code;
	if (!t->ids.first_id)
		t->ids = choose_view(c);
	if (!t->ids.first_id)
		return err_set(e, EAGAIN, "all %u ranges of ids are in use", IDS_RANGES);
	if (ids_open(t->agent, &t->ids, e) < 0 || network_check_rights(c, e) < 0 ||
	    check_volumes(c, e) < 0)
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
		buf_printf(&value, "%u", t->ids.first_id);
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
		 c->task->ids.first_id);
	show(c->task);
}
