/* runtime/look.c - what a config wants of the host; nothing is made
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "runtime/container.h"
#include "runtime/io.h"
#include "runtime/listener.h"
#include "runtime/lsm.h"
#include "runtime/rdt.h"
#include "runtime/sysctl.h"

#define CONFIG_FILE "config.json"

/* ---- config ---- */

int look_at_config(struct container *c, struct err *e)
{
	const char *name = c->spec->config ? c->spec->config : CONFIG_FILE;
	auto_buf struct buf text = BUF_INIT(CONFIG_SIZE_MAX);

	/* Claiming it will tell for sure; this tells before all else. */
	if (faccessat(c->rt->root_fd, c->spec->id, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return RUNTIME_EXISTS;
	c->bundle_fd = open(c->spec->bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->bundle_fd < 0)
		return err_sys(e, "bundle %s", c->spec->bundle);
	if (fs_read(c->bundle_fd, name, &text, e) < 0)
		return err_wrap(e, "bundle %s", c->spec->bundle);
	if (config_decode(buf_str(&text), text.size, &c->doc, e) < 0)
		return err_wrap(e, "%s", name);
	if (c->spec->start && !c->config->process->args.count)
		return err_set(e, EINVAL, "%s: process: missing", name);
	memcpy(c->ns, c->config->ns, sizeof(c->ns));
	return 0;
}

static int check_parameters(struct container *c, struct err *e)
{
	for (size_t i = 0; i < c->config->linux_.sysctl.count; i++)
		if (sysctl_check(c->config->linux_.sysctl.items[i].key, c->ns, e) < 0)
			return err_wrap(e, "linux.sysctl");
	if (!c->ns[NS_UTS].wanted && c->config->hostname && c->config->hostname[0])
		return err_set(e, EINVAL, "hostname: the uts namespace is the host's");
	return 0;
}

/* A namespace at a path may be the host's after all: then it is shared, and nothing of it is set. */
static int check_shared(struct container *c, struct err *e)
{
	for (unsigned i = 0; i < NS_COUNT; i++)
		if (c->ns_fd[i] >= 0 && ns_is_ours((enum ns_kind)i, c->ns_fd[i])) {
			close_fd(&c->ns_fd[i]);
			c->ns[i] = (struct ns_wish){0};
		}
	c->mounts.in_place = !c->ns[NS_MOUNT].wanted;
	if (c->mounts.in_place && config_check_in_place(c->config, e) < 0)
		return -e->code;
	return check_parameters(c, e);
}

static int open_namespaces(struct container *c, struct err *e)
{
	if (c->spec->netns_fd >= 0)
		c->ns[NS_NETWORK] = (struct ns_wish){.wanted = true};
	if (ns_open(c->ns, c->ns_fd, e) < 0)
		return -e->code;
	if (joins_user_last(c)) {
		c->ns_fd[NS_USER] = fcntl(c->spec->userns_fd, F_DUPFD_CLOEXEC, 3);
		if (c->ns_fd[NS_USER] < 0)
			return err_sys(e, "user namespace descriptor");
	}
	if (c->spec->netns_fd >= 0) {
		c->ns_fd[NS_NETWORK] = fcntl(c->spec->netns_fd, F_DUPFD_CLOEXEC, 3);
		if (c->ns_fd[NS_NETWORK] < 0)
			return err_sys(e, "network namespace descriptor");
	}
	return check_shared(c, e);
}

static char *owner_name(struct arena *a)
{
	uid_t uid = getuid();

	return uid == 0 ? arena_strdup(a, "root") : arena_printf(a, "%u", uid);
}

/* What exec, update and delete need of it; the system call filter itself is kept compiled. */
static json_t *keep_of_linux(const json_t *linux_)
{
	static const char *const members[] = {"resources", "personality", "memoryPolicy",
					      "intelRdt"};
	static const char *const listener[] = {"listenerPath", "listenerMetadata"};
	const json_t *seccomp = json_object_get(linux_, "seccomp");
	json_t *kept = json_object(), *of_seccomp = json_object();

	for (size_t i = 0; i < ARRAY_COUNT(members); i++)
		(void)json_object_set(kept, members[i], json_object_get(linux_, members[i]));
	for (size_t i = 0; i < ARRAY_COUNT(listener); i++)
		(void)json_object_set(of_seccomp, listener[i],
				      json_object_get(seccomp, listener[i]));
	if (json_object_size(of_seccomp))
		(void)json_object_set(kept, "seccomp", of_seccomp);
	json_decref(of_seccomp);
	return kept;
}

void look_describe(struct container *c)
{
	struct arena *a = &c->doc.arena;
	auto_free char *bundle = realpath(c->spec->bundle, NULL);
	const char *path = c->config->root->path;
	struct state *s = &c->state;
	char created[32];

	clock_format_rfc3339(clock_wall_ms(), created);
	s->oci_version = c->config->oci_version;
	s->id = arena_strdup(a, c->spec->id);
	s->bundle = arena_strdup(a, bundle ? bundle : c->spec->bundle);
	s->rootfs = path[0] == '/' ? arena_strdup(a, path)
				   : arena_printf(a, "%s/%s", s->bundle, path);
	s->created = arena_strdup(a, created);
	s->owner = owner_name(a);
	s->annotations = c->config->annotations;
	s->process = json_object_get(c->doc.doc, "process");
	s->hooks = json_object_get(c->doc.doc, "hooks");
	json_decref(c->linux_kept);
	s->linux_ = c->linux_kept = keep_of_linux(json_object_get(c->doc.doc, "linux"));

	s->namespaces.count = 0;
	s->namespaces.items = arena_alloc(a, (NS_COUNT + 1) * sizeof(char *));
	for (unsigned i = 0; i < NS_COUNT; i++)
		if (c->ns[i].wanted)
			s->namespaces.items[s->namespaces.count++] = arena_strdup(a,
										  ns_types[i].name);
}

static int look_at_rdt(struct container *c, struct err *e)
{
	const struct config_rdt *r = c->config->linux_.rdt;

	if (!rdt_wanted(r))
		return 0;
	if (rdt_open(&c->rdt_fd, e) < 0)
		return -e->code;
	c->state.rdt_made = !rdt_exists(c->rdt_fd, r, c->spec->id);
	return 0;
}

/* Most of the document.  To let go of it when we have forked would copy its pages first. */
static void forget_profile(struct container *c)
{
	c->config->linux_.seccomp = NULL;
	(void)json_object_del(json_object_get(c->doc.doc, "linux"), "seccomp");
}

static int make_filter(struct container *c, struct err *e)
{
	const struct config_linux *l = &c->config->linux_;

	if (l->seccomp && filter_get(c->rt->root_fd, l->seccomp, &c->filter, e) < 0)
		return -e->code;
	forget_profile(c);
	if (!listener_wanted(&c->filter)) {
		(void)json_object_del(c->linux_kept, "seccomp");
		return 0;
	}
	if (!l->listener.path || !l->listener.path[0])
		return err_set(e, EINVAL,
			       "linux.seccomp.listenerPath: missing, and SCMP_ACT_NOTIFY needs it");
	if (faccessat(AT_FDCWD, l->listener.path, F_OK, 0) < 0)
		return err_sys(e, "linux.seccomp.listenerPath %s", l->listener.path);
	return 0;
}

/* See runtime_create.userns_fd. */
static int plan_user_namespace(struct container *c, struct err *e)
{
	if (!joins_user_last(c))
		return 0;
	if (!c->ns[NS_USER].wanted)
		return err_set(e, EINVAL, "linux.namespaces: user: missing, and one is given");
	/* With hooks its mounts are a copy of the host's; it leaves them by pivot_root(2). */
	if (!template_could_fit(c))
		return err_set(e, EINVAL,
			       "linux.namespaces: user: one that is joined last is not for a "
			       "container that may mount or has no template");
	c->process.user_fd = c->ns_fd[NS_USER];
	c->mounts.from_outside = true;
	return 0;
}

/* Everything that the config wants of the host; nothing is made. */
int look_at_host(struct container *c, struct err *e)
{
	const struct config *cfg = c->config;

	c->rootless = c->mounts.by_user = runtime_is_rootless();
	if (open_namespaces(c, e) < 0)
		return -e->code;
	look_describe(c);
	if (lsm_check(cfg->process, cfg->linux_.mount_label, e) < 0 ||
	    io_open_console(&c->spec->io, cfg->process->terminal, &c->console_fd, e) < 0)
		return -e->code;
	if (make_filter(c, e) < 0 || look_at_rdt(c, e) < 0)
		return -e->code;
	if (process_init(&c->process, cfg->process, &cfg->linux_, &c->filter,
			 c->spec->io.preserve_fds, e) < 0 ||
	    plan_user_namespace(c, e) < 0 ||
	    process_grant(&c->process, c->ns[NS_USER].wanted, c->rt->warn, e) < 0 ||
	    mounts_open(&c->mounts, cfg, c->state.rootfs, c->bundle_fd, c->spec->rootfs_fd,
			c->ns_fd[NS_USER], e) < 0 ||
	    place_name(c, e) < 0)
		return -e->code;
	if (c->rootless)
		process_look_at_groups(&c->process, "self");
	return 0;
}
