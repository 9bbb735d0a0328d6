/* runtime/place.c - the cgroup of a container while it is being made
 * SPDX-License-Identifier: Apache-2.0
 *
 * Three ways: a path of our own; a scope that systemd makes, where a process of
 * ours holds the place until the init is in it; none at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/proc.h"
#include "base/text.h"
#include "runtime/container.h"
#include "runtime/idmap.h"
#include "runtime/mount_options.h"

/* Where it is to be; nothing is made. */
int place_name(struct container *c, struct err *e)
{
	const char *path = c->config->linux_.cgroups_path;
	struct arena *a = &c->doc.arena;

	if (c->spec->cgroups == RUNTIME_CGROUPS_NONE) {
		c->state.cgroup = arena_strdup(a, "");
		return cgroup_open_recorded(&c->host, &c->cgroup, "", e);
	}
	if (c->spec->cgroups == RUNTIME_CGROUPS_SYSTEMD) {
		if (systemd_scope_of(path, c->spec->id, a, &c->scope, e) < 0)
			return -e->code;
		c->state.unit = c->scope.unit;
		c->state.cgroup = c->scope.cgroup;
	} else {
		c->state.cgroup = !path || !path[0] ? arena_printf(a, "/%s", c->spec->id)
				  : path[0] == '/'  ? arena_strdup(a, path)
						    : arena_printf(a, "/%s", path);
	}
	c->host = c->rt->host;
	c->rt->host.count = 0;
	if (!c->host.count && cgroup_host_open(&c->host, e) < 0)
		return -e->code;
	if (c->spec->cgroups == RUNTIME_CGROUPS_NEEDED)
		cgroup_host_narrow(&c->host, &c->config->linux_.resources);
	return cgroup_init(&c->cgroup, &c->host, c->state.cgroup, e);
}

static int hold_place(struct container *c, struct err *e)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		if (proc_die_with(parent))
			for (;;)
				pause();
		_exit(0);
	}
	c->placeholder = pid;
	return 0;
}

void place_settle(struct container *c)
{
	if (!c->placeholder)
		return;
	(void)kill(c->placeholder, SIGKILL);
	(void)waitpid(c->placeholder, NULL, 0);
	c->placeholder = 0;
}

/* systemd says where it is; that goes on record before anything is made there by us. */
static int start_scope(struct container *c, struct err *e)
{
	if (hold_place(c, e) < 0 ||
	    systemd_start(&c->scope, c->spec->id, c->placeholder, &c->config->linux_.resources,
			  &c->doc.arena, &c->state.cgroup, e) < 0)
		return -e->code;
	c->scope_started = true;
	if (cgroup_init(&c->cgroup, &c->host, c->state.cgroup, e) < 0 ||
	    cgroup_look(&c->cgroup, false, e) < 0)
		return -e->code;
	c->state.cgroup_kept = c->cgroup.kept;
	return state_write(c->dir_fd, &c->state, e);
}

/* ---- ownership ---- */

#define DELEGATE_LIST "/sys/kernel/cgroup/delegate"

static bool is_written_to(const struct config_mount *m)
{
	struct mount_options o;
	struct err ignored;

	return str_eq(m->type, "cgroup") && str_eq(m->destination, "/sys/fs/cgroup") &&
	       mount_options_parse(m, &o, &ignored) == 0 && !(o.one.set & MOUNT_ATTR_RDONLY) &&
	       !(o.tree.set & MOUNT_ATTR_RDONLY);
}

/*
 * Of the spec: a container that can write to its part of a v2 tree, and sees no
 * more than that, may make cgroups of its own there, as a system in it will.
 * v1 has no safe way for it.
 */
static bool is_delegated(const struct container *c)
{
	const struct js_list *mounts = &c->config->mounts;
	bool written_to = false;

	for (size_t i = 0; i < mounts->count; i++)
		written_to |= is_written_to(JS_AT(*mounts, struct config_mount, i));
	return written_to && c->host.count == 1 && c->host.items[0].v2 && c->ns[NS_CGROUP].wanted &&
	       c->ns_fd[NS_CGROUP] < 0;
}

static int give_file(int fd, const char *name, uid_t owner, struct err *e)
{
	if (fchownat(fd, name, owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) == 0 ||
	    errno == ENOENT)
		return 0;
	return err_sys(e, "give the cgroup's %s to user %u", *name ? name : "directory", owner);
}

/* cgroups(7): the directory, and the files that the kernel names for it. */
static int give_to(int fd, uid_t owner, struct err *e)
{
	char names[] = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n", *save = NULL;
	auto_buf struct buf text = BUF_INIT(4096);
	struct err older;
	char *list = fs_read(AT_FDCWD, DELEGATE_LIST, &text, &older) == 0 ? text.data : names;

	if (give_file(fd, "", owner, e) < 0)
		return -e->code;
	for (char *name = strtok_r(list ? list : names, "\n", &save); name;
	     name = strtok_r(NULL, "\n", &save))
		if (!strchr(name, '/') && give_file(fd, name, owner, e) < 0)
			return -e->code;
	return 0;
}

static int delegate(const struct container *c, struct err *e)
{
	uint32_t owner = c->config->process->user.uid;

	if (c->rootless || !is_delegated(c))
		return 0;
	if (c->ns[NS_USER].wanted && !idmap_to_host(&c->config->linux_.uid_mappings, owner, &owner))
		return 0; /* one that is joined has maps of its own */
	return owner ? give_to(cgroup_v2_fd(&c->cgroup), owner, e) : 0;
}

/* ---- made ---- */

/* Does it ask for anything that only a cgroup can give?  Lists of devices are asked for always. */
static bool limits_anything(const struct container *c)
{
	const json_t *r = json_object_get(c->linux_kept, "resources");

	return json_object_size(r) > (json_object_get(r, "devices") ? 1u : 0u);
}

/*
 * Without rights over cgroups, as in a user namespace of a user's own, a
 * container that wants nothing limited goes without one.
 */
static int go_without(struct container *c, struct err *e)
{
	bool refused = e->code == EACCES || e->code == EPERM || e->code == EROFS;

	if (!refused || !runtime_is_rootless() || limits_anything(c) || c->scope.unit)
		return -e->code;
	cgroup_done(&c->cgroup);
	cgroup_host_close(&c->host);
	c->state.cgroup = arena_strdup(&c->doc.arena, "");
	c->state.cgroup_kept = 0;
	if (cgroup_open_recorded(&c->host, &c->cgroup, "", e) < 0)
		return -e->code;
	return state_write(c->dir_fd, &c->state, e);
}

int place_make(struct container *c, struct err *e)
{
	const struct config_linux *l = &c->config->linux_;

	if (!c->state.cgroup[0])
		return limits_anything(c)
			       ? err_set(e, EINVAL,
					 "linux.resources: limits, and no cgroup for them")
			       : 0;
	if (c->scope.unit && start_scope(c, e) < 0)
		return -e->code;
	c->cgroup.warn = c->rt->warn;
	cgroup_want(&c->cgroup, &l->resources);
	if (cgroup_make(&c->cgroup, e) < 0)
		return go_without(c, e);
	if (cgroup_limit(&c->cgroup, &l->resources, e) < 0 ||
	    cgroup_limit_devices(&c->cgroup, &l->resources.devices, e) < 0 || delegate(c, e) < 0)
		return -e->code;
	return mounts_open_cgroups(&c->mounts, c->config, &c->cgroup, e);
}

void place_drop(struct container *c)
{
	struct err ignored;

	place_settle(c);
	/* Made halfway, it may be there without being open. */
	if (cgroup_open(&c->cgroup, &ignored) == 0)
		(void)cgroup_remove(&c->cgroup, &ignored);
	if (c->scope_started)
		systemd_stop(c->scope.unit);
}
