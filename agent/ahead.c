/* agent/ahead.c - containers that are made before anybody wants them
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * Whoever runs a container is likely to run another one like it: a service, a
 * schedule, a test.  So of a root that is made ahead (roots.c) the keeper makes a
 * container ahead, like the last one of its image, with a cgroup and one of the
 * networks that wait.  A task that wants one like it takes all of that over with the
 * root; what is left to be made of it is what depends on the task.
 *
 * 1. What is alike is a guess.  The runtime compares what was made with what is
 *    wanted, and makes the container from the beginning where they differ.
 * 2. Only for tasks of one container, with ids of their own and no volumes: others
 *    share more than waits ready.
 * 3. A cgroup keeps its name, for the kernel moves none in a v2 tree: it is that of
 *    the root's directory, and the task's record names it before it is used.
 * 4. What the keeper has made ends with it, and with us; the directory, a bundle
 *    without environment, and the cgroup are found by their name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"

#define LIKE_MAX       4096
#define NETWORK_TRIES  20
#define MEMORY_MIN_MIB 1024 /* a node with less of it makes none */

size_t ahead_count(const struct agent_options *o)
{
	return node_memory_mib() < MEMORY_MIN_MIB ? 0 : (size_t)o->ready_containers;
}

/* ---- whom it is like ---- */

static void add_words(struct buf *b, const struct js_strings *words)
{
	for (size_t i = 0; i < words->count; i++)
		buf_printf(b, " %s", words->items[i]);
	buf_puts(b, ";");
}

static void add_number(struct buf *b, const int64_t *number)
{
	buf_printf(b, " %lld", number ? (long long)*number : -1);
}

/* What of a definition has its say before it is known who the task is; NULL: none is possible. */
static char *like_of(const struct container *c, enum net_mode *ret_mode)
{
	const struct ecs_container_definition *d = c->def;
	const struct ecs_task_definition *t = &c->task->wanted.definition;
	auto_buf struct buf b = BUF_INIT(LIKE_MAX);

	if (!c->mapped || c->task->count != 1 || d->mount_points.count || d->links.count ||
	    gpus_of(c)->count || !network_may_wait(c, ret_mode))
		return NULL;
	buf_printf(&b, "%d %s %s %d %s %s %lld", *ret_mode, t->cpu ? t->cpu : "",
		   t->memory ? t->memory : "", d->readonly_root_filesystem,
		   d->working_directory ? d->working_directory : "", d->user ? d->user : "",
		   (long long)d->cpu);
	add_number(&b, d->memory);
	add_number(&b, d->memory_reservation);
	add_number(&b, d->linux_parameters.shared_memory_size);
	add_words(&b, &d->linux_parameters.capabilities.add);
	add_words(&b, &d->linux_parameters.capabilities.drop);
	for (size_t i = 0; i < d->linux_parameters.tmpfs.count; i++) {
		const struct ecs_tmpfs *m = JS_AT(d->linux_parameters.tmpfs, struct ecs_tmpfs, i);

		buf_printf(&b, " %s=%lld", m->container_path, (long long)m->size);
		add_words(&b, &m->mount_options);
	}
	for (size_t i = 0; i < d->ulimits.count; i++) {
		const struct ecs_ulimit *u = JS_AT(d->ulimits, struct ecs_ulimit, i);

		buf_printf(&b, " %s=%lld:%lld", u->name, (long long)u->soft_limit,
			   (long long)u->hard_limit);
	}
	for (size_t i = 0; i < d->system_controls.count; i++) {
		const struct ecs_key_value *s = JS_AT(d->system_controls, struct ecs_key_value, i);

		buf_printf(&b, " %s=%s", s->name, s->value);
	}
	return buf_overflow(&b) ? NULL : xstrdup(buf_str(&b));
}

struct ahead_wish *ahead_wish(const struct container *c, json_t *own_config)
{
	enum net_mode mode = NET_NONE;
	char *like = own_config && ahead_count(c->task->agent->o) ? like_of(c, &mode) : NULL;
	struct ahead_wish *w;

	if (!like) {
		json_decref(own_config);
		return NULL;
	}
	w = xcalloc(1, sizeof(*w));
	*w = (struct ahead_wish){
		.like = like, .mode = mode, .config = own_config, .limits = task_limits(c->task)};
	return w;
}

void ahead_wish_free(struct ahead_wish *own_wish)
{
	if (!own_wish)
		return;
	free(own_wish->like);
	json_decref(own_wish->config);
	free(own_wish);
}

/* ---- making ---- */

static size_t count_waiting(const struct agent *a)
{
	size_t count = 0;

	for (size_t i = 0; i < a->roots.count; i++)
		count += a->roots.items[i]->ahead.begun;
	return count;
}

bool ahead_is_missing(const struct ready_root *r)
{
	return r->wish && !r->ahead.number && r->tries < NETWORK_TRIES &&
	       count_waiting(r->agent) < ahead_count(r->agent->o);
}

/* Networks are made a while after one was taken, as roots are: perhaps there is none yet. */
void ahead_begin(struct ready_root *r)
{
	struct ahead *ahead = &r->ahead;
	enum net_mode mode = r->wish->mode;

	r->tries++;
	if (mode != NET_NONE)
		ahead->network = net_reserve(r->agent->net, mode, &ahead->netns_fd);
	ahead->begun = mode == NET_NONE || ahead->network;
}

static void set_first_id(json_t *linux_, const char *member, uint32_t first_id)
{
	(void)json_object_set_new(json_array_get(json_object_get(linux_, member), 0), "hostID",
				  json_integer(first_id));
}

/* The files lie beside the root until somebody takes both. */
static void set_sources(json_t *mounts, const struct ready_root *r)
{
	json_t *mount;
	size_t i;

	json_array_foreach (mounts, i, mount) {
		const char *to = json_string_value(json_object_get(mount, "destination"));

		for (size_t k = 0; k < BUNDLE_FILES; k++) {
			auto_free char *file = xasprintf("/etc/%s", bundle_files[k]);

			if (str_eq(to, file))
				(void)json_object_set_new(mount, "source",
							  json_sprintf("%s/0%s", r->dir, file));
		}
	}
}

/* That of the last one, for this root; its program and environment are nobody's business. */
static int write_bundle(const struct ready_root *r, struct err *e)
{
	json_t *config = r->wish->config, *process = json_object_get(config, "process");
	json_t *linux_ = json_object_get(config, "linux");
	auto_free char *path = xasprintf("%s/config.json", r->bundle);
	auto_free char *text = NULL;

	(void)json_object_set_new(process, "args", json_pack("[s]", "/"));
	(void)json_object_set_new(process, "env", json_array());
	(void)json_object_set_new(linux_, "cgroupsPath", json_sprintf("%s/0", r->cgroup));
	set_first_id(linux_, "uidMappings", r->ids.first_id);
	set_first_id(linux_, "gidMappings", r->ids.first_id);
	set_sources(json_object_get(config, "mounts"), r);
	text = js_dump(config);
	if (fs_mkdirs(AT_FDCWD, r->bundle, 0700, e) < 0)
		return -e->code;
	return fs_write(AT_FDCWD, path, text, strlen(text), 0600, e);
}

int ahead_make_parts(struct ready_root *r, struct err *e)
{
	if (!r->ahead.begun)
		return 0;
	if (r->wish->mode == NET_NONE && net_make_none(&r->ahead.netns_fd, e) < 0)
		return -e->code;
	/* Who takes the root may need it himself.  The copy that came with it serves once. */
	if (r->copy_fd >= 0)
		r->ahead.root_fd = take_fd(r->copy_fd);
	else
		r->ahead.root_fd = open_tree(r->rootfs_fd, "",
					     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (r->ahead.root_fd < 0)
		return err_sys(e, "copy a root");
	if (runtime_cgroup_create(r->cgroup, &r->wish->limits, e) < 0 || write_bundle(r, e) < 0) {
		close_fd(&r->ahead.root_fd);
		return -e->code;
	}
	return 0;
}

void ahead_hand_over(struct ready_root *r)
{
	struct agent *a = r->agent;
	const char *name = strrchr(r->dir, '/') + 1;
	struct keeper_create create = {.id = name,
				       .bundle = r->bundle,
				       .runtime_root = a->runtime_root,
				       .ahead = strtoull(name, NULL, 16),
				       .rootfs_fd = r->ahead.root_fd,
				       .netns_fd = r->ahead.netns_fd,
				       .userns_fd = r->ids.userns_fd};
	struct err ignored; /* a keeper that is gone is noticed by its socket */

	if (!r->ahead.begun)
		return;
	if (r->ahead.root_fd >= 0 && keeper_make_ahead(a->keeper, &create, &ignored) == 0) {
		r->ahead.number = create.ahead;
		close_fd(&r->ahead.root_fd);
	} else {
		ahead_drop(a, &r->ahead);
		ahead_wish_free(take_ptr(r->wish)); /* it would not go better again */
	}
}

/* ---- taking, dropping ---- */

void ahead_take(struct container *c)
{
	struct ready_root *r = c->root;
	enum net_mode mode;
	auto_free char *like = r && r->ahead.number ? like_of(c, &mode) : NULL;

	if (!r || !r->ahead.number)
		return;
	if (!like || !str_eq(like, r->wish->like)) {
		ahead_drop(c->task->agent, &r->ahead);
		return;
	}
	c->ahead = r->ahead;
	r->ahead = AHEAD_NONE;
	c->task->place = arena_strdup(&c->task->arena, strrchr(r->dir, '/') + 1);
}

static void is_removed(struct agent *a, const char *id, const struct err *e)
{
	(void)a;
	if (e)
		log_warn("ready=%s: %s", id, e->msg);
}

void ahead_leave(struct ready_root *r)
{
	struct removal *removal;

	if (!r->tries)
		return; /* nothing was made */
	removal = removal_new(r->agent, strrchr(r->dir, '/') + 1, is_removed);
	removal_add(removal, runtime_cgroup_remove, take_ptr(r->cgroup));
	removal_add(removal, removal_of_tree, take_ptr(r->bundle));
	removal_run(removal);
}

void ahead_drop(struct agent *a, struct ahead *ahead)
{
	struct err ignored;

	if (ahead->number)
		(void)keeper_forget_ahead(a->keeper, ahead->number, &ignored);
	net_release(a->net, ahead->network);
	close_fd(&ahead->root_fd);
	close_fd(&ahead->netns_fd);
	*ahead = AHEAD_NONE;
}

void ahead_remove(const char *cgroup, const char *bundle)
{
	struct err ignored; /* what stays is looked for when the agent starts again */

	(void)runtime_cgroup_remove(cgroup, &ignored);
	(void)fs_remove_tree(AT_FDCWD, bundle, &ignored);
}
