/* runtime/ahead.c - containers that are made before it is known whom for
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A container is made whole but for its id, its names and its program.  Its process is
 * in its cgroup, its namespaces and its root, has become its user, and has loaded the
 * filter: it waits for one message, which says what to execute.  We claim the id and
 * set the names from outside.
 *
 * 1. Nobody gets what he would not have got otherwise: his config and that which it
 *    was made by are the same but for the members below, and what they name is the same
 *    object of the host.
 * 2. Nobody else had it: it is given once, and no program has run in it.
 * 3. It is claimed, with its pid, before it is told.  Until then it ends with its creator.
 * 4. A filter has to let pass what is left to do, so it is the agent's own
 *    (runtime_compile_seccomp()), or none.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"
#include "runtime/container.h"
#include "runtime/listener.h"
#include "runtime/mount_options.h"
#include "runtime/sync.h"

#define CONFIG_FILE "config.json"

/* ---- what must be the same ---- */

/* The last two are looked at by themselves. */
static const char *const free_in_config[] = {"hostname", "domainname", "annotations", "process",
					     "mounts"};
static const char *const free_in_process[] = {"args", "env"};
static const char *const free_in_mount[] = {"source"};

static json_t *without(const json_t *object, const char *const *names, size_t count)
{
	json_t *copy = json_copy((json_t *)(uintptr_t)object);

	for (size_t i = 0; i < count; i++)
		(void)json_object_del(copy, names[i]);
	return copy;
}
#define WITHOUT(object, names) without(object, names, ARRAY_COUNT(names))

static json_t *shape_of(const json_t *doc)
{
	json_t *shape = WITHOUT(doc, free_in_config), *mounts = json_array(), *mount;
	size_t i;

	json_array_foreach (json_object_get(doc, "mounts"), i, mount)
		(void)json_array_append_new(mounts, WITHOUT(mount, free_in_mount));
	(void)json_object_set_new(shape, "mounts", mounts);
	(void)json_object_set_new(shape, "process",
				  WITHOUT(json_object_get(doc, "process"), free_in_process));
	/* What is left out of that one later stays in ours. */
	(void)json_object_set_new(shape, "linux", json_copy(json_object_get(doc, "linux")));
	return shape;
}

static bool is_same_file(const struct stat *a, int fd)
{
	struct stat b;

	return fstat(fd, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

/* Both name one object, or neither names any. */
static bool is_same(int a_fd, int b_fd)
{
	struct stat a;

	if (a_fd < 0 || b_fd < 0)
		return a_fd < 0 && b_fd < 0;
	return fstat(a_fd, &a) == 0 && is_same_file(&a, b_fd);
}

static bool has_same_sources(const struct container *c, int bundle_fd, const struct config *next)
{
	for (size_t i = 0; i < next->mounts.count; i++) {
		const struct config_mount *was = JS_AT(c->config->mounts, struct config_mount, i);
		const struct config_mount *is = JS_AT(next->mounts, struct config_mount, i);
		struct stat st;

		if (c->mounts.tree_fds[i] < 0 ? !str_eq(was->source, is->source)
					      : fstatat(bundle_fd, is->source, &st, 0) < 0 ||
							!is_same_file(&st, c->mounts.tree_fds[i]))
			return false;
	}
	return true;
}

static bool has_same_surroundings(const struct container *c, const struct runtime_create *next)
{
	const struct runtime_create *was = c->spec;

	return is_same(c->mounts.root_fd, next->rootfs_fd) &&
	       is_same(c->ns_fd[NS_NETWORK], next->netns_fd) &&
	       is_same(c->ns_fd[NS_USER], next->userns_fd) && was->start == next->start &&
	       is_same(was->io.stdio_fd[0], next->io.stdio_fd[0]) &&
	       is_same(was->io.stdio_fd[1], next->io.stdio_fd[1]) &&
	       is_same(was->io.stdio_fd[2], next->io.stdio_fd[2]) &&
	       was->cgroups == next->cgroups && was->no_pivot == next->no_pivot &&
	       was->no_new_keyring == next->no_new_keyring && was->sibling == next->sibling &&
	       next->template_fd >= 0 && next->proc_fd >= 0 && !next->io.console_socket &&
	       next->io.console_fd < 0 && !next->io.preserve_fds && !next->io.listen_fds;
}

/* ---- the first half ---- */

static bool has_hooks(const struct config_hooks *h)
{
	return h->prestart.count || h->create_runtime.count || h->create_container.count ||
	       h->start_container.count || h->poststart.count || h->poststop.count;
}

static bool has_foreign_filter(const struct container *c)
{
	const json_t *seccomp = json_object_get(json_object_get(c->doc.doc, "linux"), "seccomp");

	return seccomp && !json_object_get(seccomp, "compiled");
}

int ahead_check(struct container *c, struct err *e)
{
	const struct config *cfg = c->config;
	struct mount_options o;

	if (!c->spec->start || c->spec->rootfs_fd < 0 || c->spec->template_fd < 0 ||
	    c->spec->proc_fd < 0 || c->spec->cgroups == RUNTIME_CGROUPS_SYSTEMD ||
	    has_hooks(&cfg->hooks) || cfg->process->terminal || cfg->linux_.listener.path ||
	    !c->ns[NS_UTS].wanted || c->ns[NS_UTS].path || has_foreign_filter(c))
		return err_set(e, EINVAL, "not for a container that is made ahead");
	for (size_t i = 0; i < cfg->mounts.count; i++) {
		if (mount_options_parse(JS_AT(cfg->mounts, struct config_mount, i), &o, e) < 0)
			return -e->code;
		if (o.bind && o.recursive)
			return err_set(e, EINVAL, "mounts[%zu]: what is mounted below may change",
				       i);
	}
	c->shape = shape_of(c->doc.doc);
	return 0;
}

/* ---- the second half ---- */

/* What it was made by is kept: names in its state are strings of it. */
static void become(struct runtime_ahead *a, const struct runtime_create *spec,
		   const struct config_doc *own_doc)
{
	struct container *c = &a->c;

	a->first = c->doc;
	c->doc = *own_doc;
	c->spec = spec;
	c->process.config = c->config->process;
	look_again(c);
}

static bool fits(const struct container *c, int bundle_fd, const struct config_doc *next)
{
	auto_json json_t *shape = shape_of(next->doc);

	return json_equal(shape, c->shape) && has_same_sources(c, bundle_fd, &next->config);
}

static bool has_ended(const struct container *c)
{
	struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

int ahead_fit(struct runtime_ahead *a, const struct runtime_create *spec, struct err *e)
{
	struct container *c = &a->c;
	auto_close int bundle_fd = open(spec->bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_buf struct buf text = BUF_INIT(CONFIG_SIZE_MAX);
	auto_config struct config_doc doc = {0};

	/* What is wrong with it will be said when it is made from the beginning. */
	if (bundle_fd < 0 || has_ended(c) || !has_same_surroundings(c, spec) ||
	    fs_read(bundle_fd, CONFIG_FILE, &text, e) < 0 ||
	    config_decode(buf_str(&text), text.size, &doc, e) < 0 || !fits(c, bundle_fd, &doc) ||
	    !sync_fits_for(&doc.config.process->args, &doc.config.process->env))
		return RUNTIME_DIFFERS;
	become(a, spec, &doc);
	doc = (struct config_doc){0};
	return 0;
}

int ahead_name(struct container *c, struct err *e)
{
	if (setns(c->pidfd, CLONE_NEWUTS) < 0)
		return err_sys(e, "join the container's UTS namespace");
	return init_set_names(c->config, e);
}

int ahead_tell(struct container *c, struct err *e)
{
	const struct config_process *p = c->config->process;

	return sync_send_for(c->sync_fd, &p->args, &p->env, e);
}
