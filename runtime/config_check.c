/* runtime/config_check.c - what the tables cannot say of a config
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each check looks at one part and refuses by the member's path.  Whatever
 * needs the host to be asked (a file, a kernel feature) is not checked here.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/text.h"
#include "runtime/capability.h"
#include "runtime/cgroup.h"
#include "runtime/config.h"
#include "runtime/idmap.h"
#include "runtime/mount_options.h"
#include "runtime/priority.h"
#include "runtime/rdt.h"
#include "runtime/rlimits.h"
#include "runtime/sysctl.h"

#define HOST_NAME_LEN    64
#define LINK_NAME_MAX    15 /* IFNAMSIZ - 1 */
#define DEVICE_MAJOR_MAX ((1 << 12) - 1)
#define DEVICE_MINOR_MAX ((1 << 20) - 1)

/* ---- process ---- */

static int check_groups(struct config_user *user, struct arena *a, struct err *e)
{
	const json_t *list = user->additional_gids;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > CONFIG_GROUPS_MAX)
		return err_set(e, EINVAL,
			       "process.user.additionalGids: expected a list of at most %d",
			       CONFIG_GROUPS_MAX);
	user->group_count = json_array_size(list);
	user->groups = arena_alloc(a, (user->group_count + 1) * sizeof(gid_t));
	for (size_t i = 0; i < user->group_count; i++) {
		const json_t *v = json_array_get(list, i);

		if (!json_is_integer(v) || json_integer_value(v) < 0 ||
		    json_integer_value(v) >= ID_INVALID)
			return err_set(
				e, EINVAL,
				"process.user.additionalGids[%zu]: expected an integer from 0 "
				"to 4294967294",
				i);
		user->groups[i] = (gid_t)json_integer_value(v);
	}
	return 0;
}

static int check_user(struct config_user *user, struct arena *a, struct err *e)
{
	if (user->uid == ID_INVALID || user->gid == ID_INVALID)
		return err_set(e, EINVAL, "process.user: 4294967295 is not an id");
	if (user->umask && *user->umask > 0777)
		return err_set(e, EINVAL, "process.user.umask: %u is over 0777", *user->umask);
	return check_groups(user, a, e);
}

/* Some write the largest signed number where they mean no limit. */
static void without_limit(int64_t *value)
{
	if (*value == INT64_MAX)
		*value = (int64_t)RLIM_INFINITY;
}

static int check_rlimits(const struct js_list *rlimits, struct err *e)
{
	uint32_t seen = 0;

	for (size_t i = 0; i < rlimits->count; i++) {
		struct config_rlimit *r = JS_AT(*rlimits, struct config_rlimit, i);
		int resource;

		if (!rlimit_find(r->type, &resource))
			return err_set(e, EINVAL, "process.rlimits[%zu].type: '%s' is unknown", i,
				       r->type);
		if (seen >> resource & 1)
			return err_set(e, EINVAL, "process.rlimits[%zu]: a second %s", i, r->type);
		seen |= 1u << resource;
		without_limit(&r->soft);
		without_limit(&r->hard);
		if ((uint64_t)r->soft > (uint64_t)r->hard)
			return err_set(e, EINVAL, "process.rlimits[%zu]: %s: soft is over hard", i,
				       r->type);
	}
	return 0;
}

static int check_env(const struct js_strings *env, struct err *e)
{
	for (size_t i = 0; i < env->count; i++)
		if (!strchr(env->items[i], '=') || env->items[i][0] == '=')
			return err_set(e, EINVAL, "process.env[%zu]: '%s' is not NAME=VALUE", i,
				       env->items[i]);
	return 0;
}

int config_check_process(struct config_process *p, struct arena *a, struct err *e)
{
	struct capability_sets sets;

	if (!p->args.count || !p->args.items[0][0])
		return err_set(e, EINVAL, "process.args: empty");
	if (p->cwd[0] != '/')
		return err_set(e, EINVAL, "process.cwd: '%s' is not an absolute path", p->cwd);
	if (p->oom_score_adj && (*p->oom_score_adj < -1000 || *p->oom_score_adj > 1000))
		return err_set(e, EINVAL, "process.oomScoreAdj: %lld is not within -1000 and 1000",
			       (long long)*p->oom_score_adj);
	if (p->terminal && p->console_size &&
	    (p->console_size->height > UINT16_MAX || p->console_size->width > UINT16_MAX))
		return err_set(e, EINVAL, "process.consoleSize: over 65535");
	if (check_env(&p->env, e) < 0 || check_user(&p->user, a, e) < 0 ||
	    check_rlimits(&p->rlimits, e) < 0 || priority_check(p, e) < 0)
		return -e->code;
	return capability_sets_of(p->capabilities, &sets, e);
}

/* ---- namespaces ---- */

static int check_id_maps(const struct js_list *maps, const char *member, struct err *e)
{
	for (size_t i = 0; i < maps->count; i++) {
		const struct config_id_map *m = JS_AT(*maps, struct config_id_map, i);

		if (!m->size || m->size > ID_INVALID - m->container_id ||
		    m->size > ID_INVALID - m->host_id)
			return err_set(e, EINVAL, "%s[%zu]: %u ids from %u (host %u) on", member, i,
				       m->size, m->container_id, m->host_id);
	}
	return 0;
}

int config_check_in_place(const struct config *c, struct err *e)
{
	const struct config_linux *l = &c->linux_;
	const struct {
		const char *member;
		bool given;
	} rows[] = {
		{"mounts", c->mounts.count},
		{"root.readonly", c->root->readonly},
		{"process.terminal", c->process->terminal},
		{"linux.maskedPaths", l->masked_paths.count},
		{"linux.readonlyPaths", l->readonly_paths.count},
		{"linux.rootfsPropagation", l->rootfs_propagation && l->rootfs_propagation[0]},
		{"linux.mountLabel", l->mount_label && l->mount_label[0]},
		{"linux.namespaces: user", c->ns[NS_USER].wanted}, /* its devices are mounts */
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		if (rows[i].given)
			return err_set(e, EINVAL, "%s: without a mount namespace of its own",
				       rows[i].member);
	return 0;
}

/* We are its root before we are the user. */
static int check_mapped(const struct config *c, struct err *e)
{
	const struct config_linux *l = &c->linux_;
	const struct config_user *user = &c->process->user;
	uint32_t outside;

	if (!idmap_to_host(&l->uid_mappings, 0, &outside) ||
	    !idmap_to_host(&l->gid_mappings, 0, &outside))
		return err_set(e, EINVAL, "linux.uidMappings: user and group 0 are not mapped");
	if (!idmap_to_host(&l->uid_mappings, user->uid, &outside))
		return err_set(e, EINVAL, "process.user.uid: %u is not mapped", user->uid);
	if (!idmap_to_host(&l->gid_mappings, user->gid, &outside))
		return err_set(e, EINVAL, "process.user.gid: %u is not mapped", user->gid);
	for (size_t i = 0; i < user->group_count; i++)
		if (!idmap_to_host(&l->gid_mappings, user->groups[i], &outside))
			return err_set(e, EINVAL,
				       "process.user.additionalGids[%zu]: %u is not mapped", i,
				       user->groups[i]);
	return 0;
}

static int check_namespaces(struct config *c, struct err *e)
{
	const struct ns_wish *user = &c->ns[NS_USER];
	bool maps = c->linux_.uid_mappings.count || c->linux_.gid_mappings.count;

	for (unsigned i = 0; i < NS_COUNT; i++)
		if (c->ns[i].path && c->ns[i].path[0] != '/')
			return err_set(e, EINVAL,
				       "linux.namespaces: %s: '%s' is not an absolute path",
				       ns_types[i].name, c->ns[i].path);
	if (!c->ns[NS_MOUNT].wanted && config_check_in_place(c, e) < 0)
		return -e->code;
	if (maps && !user->wanted)
		return err_set(e, EINVAL, "linux.uidMappings: without a user namespace");
	/* podman writes down those of the namespace that is joined, which has them already. */
	if (user->path)
		c->linux_.uid_mappings.count = c->linux_.gid_mappings.count = 0;
	if (user->wanted && !user->path &&
	    (!c->linux_.uid_mappings.count || !c->linux_.gid_mappings.count))
		return err_set(e, EINVAL,
			       "linux.uidMappings: a new user namespace needs mappings of "
			       "both users and groups");
	if ((c->linux_.time_offsets.monotonic || c->linux_.time_offsets.boottime) &&
	    (!c->ns[NS_TIME].wanted || c->ns[NS_TIME].path))
		return err_set(e, EINVAL, "linux.timeOffsets: without a new time namespace");
	if (check_id_maps(&c->linux_.uid_mappings, "linux.uidMappings", e) < 0 ||
	    check_id_maps(&c->linux_.gid_mappings, "linux.gidMappings", e) < 0)
		return -e->code;
	return user->wanted && !user->path ? check_mapped(c, e) : 0;
}

static int check_names(const struct config *c, struct err *e)
{
	const struct {
		const char *member, *value;
	} rows[] = {{"hostname", c->hostname}, {"domainname", c->domainname}};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		if (!rows[i].value || !rows[i].value[0])
			continue;
		if (!c->ns[NS_UTS].wanted)
			return err_set(e, EINVAL, "%s: without a uts namespace of its own",
				       rows[i].member);
		if (strlen(rows[i].value) > HOST_NAME_LEN)
			return err_set(e, EINVAL, "%s: longer than %d bytes", rows[i].member,
				       HOST_NAME_LEN);
	}
	return 0;
}

/* ---- root, mounts, devices ---- */

/* Mappings of its own, or those of the container's user namespace. */
static int check_idmap(const struct config *c, const struct config_mount *m,
		       const struct mount_options *o, struct err *e)
{
	if (!o->idmap)
		return 0;
	if (!m->uid_mappings.count != !m->gid_mappings.count)
		return err_set(e, EINVAL, "mappings of both users and groups are needed");
	if (!m->uid_mappings.count && !c->ns[NS_USER].wanted)
		return err_set(e, EINVAL,
			       "option 'idmap': neither the mount has mappings nor the container a "
			       "user namespace");
	if (check_id_maps(&m->uid_mappings, "uidMappings", e) < 0)
		return -e->code;
	return check_id_maps(&m->gid_mappings, "gidMappings", e);
}

static int check_mounts(const struct config *c, struct err *e)
{
	if (c->mounts.count > CONFIG_MOUNTS_MAX)
		return err_set(e, EINVAL, "mounts: more than %d", CONFIG_MOUNTS_MAX);
	for (size_t i = 0; i < c->mounts.count; i++) {
		const struct config_mount *m = JS_AT(c->mounts, struct config_mount, i);
		struct mount_options o;

		if (!m->destination[0])
			return err_set(e, EINVAL, "mounts[%zu].destination: empty", i);
		if (mount_options_parse(m, &o, e) < 0 || check_idmap(c, m, &o, e) < 0)
			return err_wrap(e, "mounts[%zu] (%.64s)", i, m->destination);
	}
	return 0;
}

static int check_device(const struct config_device *d, struct err *e)
{
	for (size_t len = strlen(d->path); len > 1 && d->path[len - 1] == '/';)
		d->path[--len] = '\0';
	if (strlen(d->type) != 1 || !strchr("cbup", d->type[0]))
		return err_set(e, EINVAL, "type '%s' is not one of c, b, u, p", d->type);
	if (d->path[0] != '/')
		return err_set(e, EINVAL, "path '%s' is not absolute", d->path);
	if (d->file_mode)
		*d->file_mode &= ~(uint32_t)S_IFMT; /* as runc: some engines leave the type in it */
	if (d->file_mode && *d->file_mode > 07777)
		return err_set(e, EINVAL, "fileMode %u is over 07777", *d->file_mode);
	if ((d->uid && *d->uid == ID_INVALID) || (d->gid && *d->gid == ID_INVALID))
		return err_set(e, EINVAL, "4294967295 is not an id");
	if (d->type[0] == 'p')
		return 0;
	if (!d->major || !d->minor)
		return err_set(e, EINVAL, "major or minor is missing");
	if (*d->major < 0 || *d->major > DEVICE_MAJOR_MAX || *d->minor < 0 ||
	    *d->minor > DEVICE_MINOR_MAX)
		return err_set(e, EINVAL, "no device is %lld:%lld", (long long)*d->major,
			       (long long)*d->minor);
	return 0;
}

static int check_devices(const struct js_list *devices, struct err *e)
{
	for (size_t i = 0; i < devices->count; i++)
		if (check_device(JS_AT(*devices, struct config_device, i), e) < 0)
			return err_wrap(e, "linux.devices[%zu]", i);
	return 0;
}

static int check_paths(const struct js_strings *paths, const char *member, struct err *e)
{
	for (size_t i = 0; i < paths->count; i++)
		if (paths->items[i][0] != '/')
			return err_set(e, EINVAL, "linux.%s[%zu]: '%s' is not an absolute path",
				       member, i, paths->items[i]);
	return 0;
}

static int check_root(const struct config *c, struct err *e)
{
	const char *word = c->linux_.rootfs_propagation;
	uint64_t propagation;

	if (!c->root || !c->root->path[0])
		return err_set(e, EINVAL, "root.path: missing");
	if (word && word[0] && !mount_propagation_find(word, &propagation, &(bool){false}))
		return err_set(e, EINVAL, "linux.rootfsPropagation: '%s' is unknown", word);
	if (check_paths(&c->linux_.masked_paths, "maskedPaths", e) < 0)
		return -e->code;
	return check_paths(&c->linux_.readonly_paths, "readonlyPaths", e);
}

/* ---- the rest ---- */

static int check_hooks(const struct js_list *hooks, const char *kind, struct err *e)
{
	for (size_t i = 0; i < hooks->count; i++) {
		const struct config_hook *h = JS_AT(*hooks, struct config_hook, i);

		if (h->path[0] != '/')
			return err_set(e, EINVAL, "hooks.%s[%zu].path: '%s' is not absolute", kind,
				       i, h->path);
		if (h->timeout && (*h->timeout <= 0 || *h->timeout > INT32_MAX / 1000))
			return err_set(e, EINVAL, "hooks.%s[%zu].timeout: %lld seconds", kind, i,
				       (long long)*h->timeout);
	}
	return 0;
}

static int check_all_hooks(const struct config_hooks *h, struct err *e)
{
	const struct {
		const char *kind;
		const struct js_list *list;
	} rows[] = {
		{"prestart", &h->prestart},
		{"createRuntime", &h->create_runtime},
		{"createContainer", &h->create_container},
		{"startContainer", &h->start_container},
		{"poststart", &h->poststart},
		{"poststop", &h->poststop},
	};

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		if (check_hooks(rows[i].list, rows[i].kind, e) < 0)
			return -e->code;
	return 0;
}

static int check_sysctls(const struct config *c, struct err *e)
{
	const struct js_map *m = &c->linux_.sysctl;

	for (size_t i = 0; i < m->count; i++)
		if (sysctl_check(m->items[i].key, c->ns, e) < 0)
			return err_wrap(e, "linux.sysctl");
	return 0;
}

static bool is_link_name(const char *name)
{
	size_t len = strlen(name);

	return len && len <= LINK_NAME_MAX && !strpbrk(name, "/: \t\n\v\f\r%") &&
	       !str_eq(name, ".") && !str_eq(name, "..");
}

/* "eth%d": the kernel finds a number that is free. */
static bool is_template(const char *name)
{
	size_t len = strlen(name);

	return len > 2 && str_eq(name + len - 2, NET_DEVICE_TEMPLATE);
}

static bool is_link_name_or_template(const char *name)
{
	char stem[LINK_NAME_MAX + 1];

	if (!is_template(name) || strlen(name) > LINK_NAME_MAX)
		return is_link_name(name);
	(void)snprintf(stem, sizeof(stem), "%.*s", (int)strlen(name) - 2, name);
	return is_link_name(stem);
}

static const char *name_inside(const struct config_net_device *d)
{
	return d->name && d->name[0] ? d->name : d->key;
}

static int check_net_devices(const struct config *c, struct err *e)
{
	const struct js_list *list = &c->linux_.net_devices;

	if (list->count && !c->ns[NS_NETWORK].wanted)
		return err_set(e, EINVAL,
			       "linux.netDevices: without a network namespace of its own");
	for (size_t i = 0; i < list->count; i++) {
		const struct config_net_device *d = JS_AT(*list, struct config_net_device, i);

		if (!is_link_name(d->key) || !is_link_name_or_template(name_inside(d)))
			return err_set(e, EINVAL,
				       "linux.netDevices: '%.32s' (in the container '%.32s') is no "
				       "name of an interface",
				       d->key, name_inside(d));
		for (size_t k = 0; k < i; k++)
			if (!is_template(name_inside(d)) &&
			    str_eq(name_inside(JS_AT(*list, struct config_net_device, k)),
				   name_inside(d)))
				return err_set(e, EINVAL,
					       "linux.netDevices: a second '%s' in the container",
					       name_inside(d));
	}
	return 0;
}

static int check_listener(const struct config_listener *l, struct err *e)
{
	if (l->metadata && l->metadata[0] && (!l->path || !l->path[0]))
		return err_set(e, EINVAL, "linux.seccomp.listenerMetadata: without a listenerPath");
	if (l->path && l->path[0] && l->path[0] != '/')
		return err_set(e, EINVAL,
			       "linux.seccomp.listenerPath: '%s' is not an absolute path", l->path);
	return 0;
}

/* One value in two places. */
static int check_domainname(const struct config *c, struct err *e)
{
	const struct js_map *m = &c->linux_.sysctl;

	for (size_t i = 0; c->domainname && c->domainname[0] && i < m->count; i++)
		if ((str_eq(m->items[i].key, "kernel.domainname") ||
		     str_eq(m->items[i].key, "kernel/domainname")) &&
		    !str_eq(m->items[i].value, c->domainname))
			return err_set(
				e, EINVAL,
				"linux.sysctl: kernel.domainname is '%s', and domainname '%s'",
				m->items[i].value, c->domainname);
	return 0;
}

/* Of the spec: a container can be created without one, and not started. */
static struct config_process *no_process(struct arena *a)
{
	struct config_process *p = arena_alloc(a, sizeof(*p));

	*p = (struct config_process){.cwd = arena_strdup(a, "/")};
	return p;
}

int config_check(struct config *c, struct arena *a, struct err *e)
{
	if (!str_starts(c->oci_version, "1."))
		return err_set(e, ENOTSUP, "ociVersion: '%s' is not 1.x", c->oci_version);
	if (!c->process)
		c->process = no_process(a);
	else if (config_check_process(c->process, a, e) < 0)
		return -e->code;
	if (check_root(c, e) < 0 || check_namespaces(c, e) < 0 || check_names(c, e) < 0 ||
	    check_mounts(c, e) < 0 || check_devices(&c->linux_.devices, e) < 0 ||
	    check_sysctls(c, e) < 0 || check_domainname(c, e) < 0 ||
	    check_all_hooks(&c->hooks, e) < 0 || priority_check_linux(&c->linux_, e) < 0 ||
	    check_net_devices(c, e) < 0 || check_listener(&c->linux_.listener, e) < 0 ||
	    rdt_check(c->linux_.rdt, e) < 0)
		return -e->code;
	return cgroup_check_config(&c->linux_, e);
}
