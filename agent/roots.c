/* agent/roots.c - roots for the next containers, made ahead
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * An image that a container was made of is likely to be wanted again.  So for
 * each of the last ROOTS_READY images there is one root that no container has
 * yet: ids, a directory like that of a task with one container (log, etc, scratch), and
 * the mount of both.  Whoever takes it has but to rename the directory.
 *
 * A thread makes it, a while after the last one was taken.  It is the thread's
 * until it is made; one that is dropped before goes then.
 *
 * Nothing of it is on record: the range of ids is leased by the record of the
 * task that takes it.  After a crash the directories are removed, and the cgroups
 * that have their names (ahead.c); the mounts are descriptors, and have gone with the
 * agent.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "rootfs/rootfs.h"
#include "runtime/runtime.h"

#define REST_MS 50

/* ---- taking apart ---- */

static void take_apart(void *ctx)
{
	struct ready_root *r = ctx;
	struct err ignored; /* what stays goes when the agent starts again */

	close_fd(&r->rootfs_fd);
	close_fd(&r->copy_fd);
	close_fd(&r->index_fd);
	ids_close(&r->ids);
	close_fd(&r->ahead.root_fd);
	close_fd(&r->ahead.netns_fd);
	ahead_remove(r->cgroup, r->bundle);
	(void)fs_remove_tree(AT_FDCWD, r->dir, &ignored);
}

static void is_apart(void *ctx)
{
	root_free(ctx);
}

/* A mount that is closed waits for a grace period of the kernel. */
static void close_copy(void *ctx)
{
	struct ready_root *r = ctx;

	close_fd(&r->copy_fd);
}

void root_free(struct ready_root *r)
{
	if (r->copy_fd >= 0) {
		loop_work(r->agent->loop, close_copy, is_apart, r);
		return;
	}
	image_free(r->image);
	ahead_wish_free(r->wish);
	free(r->cgroup);
	free(r->bundle);
	free(r->dir);
	free(r);
}

void root_drop(struct agent *a, struct ready_root *own_root)
{
	ids_give(&a->ranges, own_root->ids.first_id);
	ahead_drop(a, &own_root->ahead);
	loop_work(a->loop, take_apart, is_apart, own_root);
}

static struct ready_root *remove_at(struct roots *roots, size_t i)
{
	struct ready_root *r = roots->items[i];

	memmove(roots->items + i, roots->items + i + 1, (--roots->count - i) * sizeof(r));
	return r;
}

static void drop_at(struct agent *a, size_t i)
{
	struct ready_root *r = remove_at(&a->roots, i);

	if (r->making)
		r->unwanted = true;
	else
		root_drop(a, r);
}

/* ---- making ---- */

/* Empty still: who they are for is not known. */
static int make_files(const char *etc, uid_t owner, struct err *e)
{
	if (fs_mkdirs(AT_FDCWD, etc, 0700, e) < 0)
		return -e->code;
	for (size_t i = 0; i < BUNDLE_FILES; i++) {
		auto_free char *path = xasprintf("%s/%s", etc, bundle_files[i]);

		if (fs_write(AT_FDCWD, path, "", 0, 0644, e) < 0)
			return -e->code;
		if (chown(path, owner, owner) < 0)
			return err_sys(e, "give %s away", path);
	}
	return 0;
}

/* Where things will be mounted, in nearly all containers; what cannot be made here is made there. */
static void make_places(const struct ready_root *r)
{
	static const char *const directories[] = {"/dev", "/proc", "/sys"};
	uid_t owner = r->ids.first_id;
	struct err ignored;

	for (size_t i = 0; i < ARRAY_COUNT(directories); i++)
		(void)runtime_make_place(r->rootfs_fd, directories[i], true, owner, &ignored);
	for (size_t i = 0; i < BUNDLE_FILES; i++) {
		auto_free char *path = xasprintf("/etc/%s", bundle_files[i]);

		(void)runtime_make_place(r->rootfs_fd, path, false, owner, &ignored);
	}
}

static int make(struct ready_root *r, struct err *e)
{
	auto_free char *log = xasprintf("%s/0/log", r->dir);
	auto_free char *etc = xasprintf("%s/0/etc", r->dir);
	auto_free char *scratch = xasprintf("%s/0/root", r->dir);
	struct rootfs_ids ids = {.layers_dir = r->agent->layers_dir};
	const struct rootfs_spec spec = {.index_fd = r->index_fd < 0 ? NULL : &r->index_fd,
					 .layers = r->image->layers.items,
					 .layer_count = r->image->layers.count,
					 .ids = &ids,
					 .scratch = scratch,
					 .volatile_upper = true,
					 .copy_fd = r->wish ? &r->copy_fd : NULL};

	if (ids_open(r->agent, &r->ids, e) < 0 || fs_mkdirs(AT_FDCWD, log, 0700, e) < 0 ||
	    keeper_log_prepare(log, e) < 0 || make_files(etc, r->ids.first_id, e) < 0 ||
	    rootfs_scratch_create(scratch, e) < 0)
		return -e->code;
	ids.userns_fd = r->ids.userns_fd;
	ids.layers_fd = r->ids.layers_fd;
	if (rootfs_mount(&spec, &r->rootfs_fd, e) < 0)
		return -e->code;
	close_fd(&r->index_fd);
	make_places(r);
	return 0;
}

/* Context: a thread. */
static void make_in_thread(void *ctx)
{
	struct ready_root *r = ctx;
	struct err e;

	if (r->rootfs_fd < 0 && make(r, &e) < 0)
		log_debug("image=%s: no root ahead: %s", r->image->digest, e.msg);
	else if (ahead_make_parts(r, &e) < 0)
		log_debug("image=%s: no container ahead: %s", r->image->digest, e.msg);
}

static void end(struct ready_root *r)
{
	take_apart(r);
	root_free(r);
}

static void is_made(void *ctx)
{
	struct ready_root *r = ctx;
	struct roots *roots = &r->agent->roots;

	r->making = false;
	if (roots->ending) {
		if (r->unwanted)
			end(r);
		return;
	}
	for (size_t i = 0; i < roots->count && r->rootfs_fd < 0; i++)
		if (roots->items[i] == r)
			r->unwanted = remove_at(roots, i) == r;
	if (r->unwanted) {
		root_drop(r->agent, r);
		return;
	}
	ahead_hand_over(r);
	log_debug("image=%s: the root %s waits", r->image->digest, strrchr(r->dir, '/') + 1);
	if (ahead_is_missing(r))
		loop_timer_set(roots->rest, REST_MS);
}

/* What only the loop can give it; false: there is none. */
static bool begin(struct ready_root *r)
{
	struct err ignored; /* whoever wants a root will hear why */

	if (r->rootfs_fd >= 0)
		return true;
	if (indexes_open(r->agent, r->image, &r->index_fd, &ignored) < 0)
		return false;
	r->ids = ids_take_view(r->agent);
	if (!r->ids.first_id)
		close_fd(&r->index_fd);
	return r->ids.first_id;
}

static void make_more(void *ctx)
{
	struct agent *a = ctx;

	for (size_t i = 0; i < a->roots.count; i++) {
		struct ready_root *r = a->roots.items[i];

		if (r->making || (r->rootfs_fd >= 0 && !ahead_is_missing(r)) || !begin(r))
			continue;
		if (ahead_is_missing(r))
			ahead_begin(r);
		r->making = true;
		loop_work(a->loop, make_in_thread, is_made, r);
	}
}

/* ---- the pool ---- */

static void sweep_one(const struct agent *a, const char *name)
{
	auto_free char *cgroup = xasprintf("%s/%s", a->cgroup_base, name);
	auto_free char *bundle = xasprintf("%s/%s", a->bundles_dir, name);

	ahead_remove(cgroup, bundle);
}

void roots_sweep(struct agent *a)
{
	auto_closedir DIR *dir = a->swept ? NULL : opendir(a->ready_dir);
	struct dirent *entry;
	struct err e;

	a->swept = true;
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			sweep_one(a, entry->d_name);
	if (dir && fs_remove_tree(AT_FDCWD, a->ready_dir, &e) < 0)
		log_warn("what was ready: %s", e.msg);
}

void roots_start(struct agent *a)
{
	a->roots.rest = loop_timer_new(a->loop, make_more, a);
}

void roots_end(struct agent *a)
{
	a->roots.ending = true;
}

void roots_done(struct agent *a)
{
	while (a->roots.count)
		end(remove_at(&a->roots, 0));
}

void roots_want(struct agent *a, struct image *own_image, struct ahead_wish *own_wish)
{
	struct roots *roots = &a->roots;
	struct ready_root *r;
	char name[17];

	for (size_t i = 0; i < roots->count; i++)
		if (strcmp(roots->items[i]->image->digest, own_image->digest) == 0) {
			image_free(own_image);
			ahead_wish_free(own_wish);
			return;
		}
	if (roots->count == ROOTS_READY)
		drop_at(a, 0);
	random_hex(name, sizeof(name) - 1);
	r = xcalloc(1, sizeof(*r));
	*r = (struct ready_root){.agent = a,
				 .image = own_image,
				 .wish = own_wish,
				 .ahead = AHEAD_NONE,
				 .ids = ID_VIEW_NONE,
				 .index_fd = -1,
				 .rootfs_fd = -1,
				 .copy_fd = -1,
				 .dir = xasprintf("%s/%s", a->ready_dir, name),
				 .cgroup = xasprintf("%s/%s", a->cgroup_base, name),
				 .bundle = xasprintf("%s/%s", a->bundles_dir, name)};
	roots->items[roots->count++] = r;
	loop_timer_set(roots->rest, REST_MS);
}

struct ready_root *roots_take(struct agent *a, const char *digest)
{
	for (size_t i = 0; i < a->roots.count; i++) {
		const struct ready_root *r = a->roots.items[i];

		if (!r->making && r->rootfs_fd >= 0 && strcmp(r->image->digest, digest) == 0)
			return remove_at(&a->roots, i);
	}
	return NULL;
}

void roots_forget(struct agent *a)
{
	while (a->roots.count)
		drop_at(a, 0);
}
