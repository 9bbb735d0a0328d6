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
 *    was made by are the same text but for host name, program, environment and sources
 *    of mounts, and what is named is the same object of the host.
 * 2. Nobody else had it: it is given once, and no program has run in it.
 * 3. It is claimed, with its pid, before it is told.  Until then it ends with its creator.
 * 4. A filter has to let pass what is left to do, so it is the agent's own
 *    (runtime_compile_seccomp()), or none.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
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

/* ---- the text ---- */

/*
 * What must be the same is the text of config.json around the values of some members.
 * So it is written with marks in the place of those, and is compared as bytes: to read
 * the whole document takes most of a hundred microseconds.
 */
#define MARK_CHARACTER "\x01"
#define MARK           "\"\\u0001" /* how a string that begins with it is written */

enum value { VALUE_HOSTNAME, VALUE_ARGS, VALUE_ENV, VALUE_SOURCE, VALUES_MAX = 64 };
struct values {
	struct {
		const char *text; /* JSON; NULL: there is none */
		size_t size;
	} items[VALUES_MAX];
};

static void mark(json_t *object, const char *member, unsigned value)
{
	if (json_object_get(object, member))
		(void)json_object_set_new(object, member, json_sprintf(MARK_CHARACTER "%u", value));
}

/* -E2BIG: there are too many; -EINVAL: not one that can be marked. */
static int make_pattern(struct container *c, const bool *is_bind, struct err *e)
{
	auto_json json_t *doc = json_deep_copy(c->doc.doc);
	auto_free char *text = js_dump(doc);
	json_t *mount, *process = json_object_get(doc, "process");
	unsigned next = VALUE_SOURCE;
	size_t i;

	if (strstr(text, "\\u0001"))
		return err_set(e, EINVAL, "a config with a character that marks values");
	mark(doc, "hostname", VALUE_HOSTNAME);
	mark(process, "args", VALUE_ARGS);
	mark(process, "env", VALUE_ENV);
	json_array_foreach (json_object_get(doc, "mounts"), i, mount) {
		if (is_bind[i] && next == VALUES_MAX)
			return err_set(e, E2BIG, "more than %d mounts of files",
				       VALUES_MAX - VALUE_SOURCE);
		if (is_bind[i])
			mark(mount, "source", next++);
	}
	c->pattern = js_dump(doc);
	return 0;
}

/* How long the string, array or object is that begins there; 0: it does not end. */
static size_t size_of_value(const char *text, const char *end)
{
	bool quoted = false;
	unsigned depth = 0;

	for (const char *p = text; p < end; p++) {
		if (quoted && *p == '\\')
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else if (!quoted && (*p == '[' || *p == '{'))
			depth++;
		else if (!quoted && depth && (*p == ']' || *p == '}'))
			depth--;
		if (!quoted && !depth)
			return (size_t)(p - text) + 1;
	}
	return 0;
}

static bool matches(const char *pattern, const char *text, size_t size, struct values *ret)
{
	const char *end = text + size;

	*ret = (struct values){0};
	for (;;) {
		const char *next = strstr(pattern, MARK);
		size_t len = next ? (size_t)(next - pattern) : strlen(pattern);
		unsigned long value;
		char *rest;

		if ((size_t)(end - text) < len || memcmp(text, pattern, len) != 0)
			return false;
		text += len;
		if (!next)
			return text == end;
		value = strtoul(next + strlen(MARK), &rest, 10);
		pattern = rest + 1; /* its quote */
		len = size_of_value(text, end);
		if (!len)
			return false;
		ret->items[value].text = text;
		ret->items[value].size = len;
		text += len;
	}
}

static void put_value(struct buf *b, const struct values *v, unsigned value, const char *none)
{
	if (v->items[value].text)
		buf_add(b, v->items[value].text, v->items[value].size);
	else
		buf_puts(b, none);
}

/* Read and checked as all others, in a config that has nothing else. */
static int decode(const struct values *v, struct config_doc *ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(CONFIG_SIZE_MAX);

	buf_puts(&b, "{\"ociVersion\":\"" RUNTIME_SPEC_VERSION "\",\"root\":{\"path\":\"/\"},"
		     "\"linux\":{\"namespaces\":[{\"type\":\"uts\"},{\"type\":\"mount\"}]},"
		     "\"hostname\":");
	put_value(&b, v, VALUE_HOSTNAME, "\"\"");
	buf_puts(&b, ",\"process\":{\"cwd\":\"/\",\"args\":");
	put_value(&b, v, VALUE_ARGS, "[]");
	buf_puts(&b, ",\"env\":");
	put_value(&b, v, VALUE_ENV, "[]");
	buf_puts(&b, "},\"mounts\":[");
	for (unsigned i = VALUE_SOURCE; i < VALUES_MAX && v->items[i].text; i++) {
		buf_puts(&b, i == VALUE_SOURCE ? "" : ",");
		buf_puts(&b, "{\"destination\":\"/\",\"options\":[\"bind\"],\"source\":");
		put_value(&b, v, i, "");
		buf_putc(&b, '}');
	}
	buf_puts(&b, "]}");
	return buf_overflow(&b) ? err_set(e, E2BIG, "too long")
				: config_decode(buf_str(&b), b.size, ret, e);
}

/* ---- what it names ---- */

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

/* The files that are mounted, in the order of both. */
static bool has_same_sources(const struct container *c, int bundle_fd, const struct js_list *next)
{
	size_t i = 0;

	for (size_t k = 0; k < next->count; k++, i++) {
		const struct config_mount *m = JS_AT(*next, struct config_mount, k);
		struct stat st;

		while (i < c->config->mounts.count && c->mounts.tree_fds[i] < 0)
			i++;
		if (i == c->config->mounts.count || fstatat(bundle_fd, m->source, &st, 0) < 0 ||
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
	auto_free bool *is_bind = NULL;
	struct mount_options o;

	if (!c->spec->start || c->spec->rootfs_fd < 0 || c->spec->template_fd < 0 ||
	    c->spec->proc_fd < 0 || c->spec->cgroups == RUNTIME_CGROUPS_SYSTEMD ||
	    has_hooks(&cfg->hooks) || cfg->process->terminal || cfg->linux_.listener.path ||
	    !c->ns[NS_UTS].wanted || c->ns[NS_UTS].path || has_foreign_filter(c))
		return err_set(e, EINVAL, "not for a container that is made ahead");
	is_bind = xcalloc(cfg->mounts.count + 1, sizeof(bool));
	for (size_t i = 0; i < cfg->mounts.count; i++) {
		if (mount_options_parse(JS_AT(cfg->mounts, struct config_mount, i), &o, e) < 0)
			return -e->code;
		if (o.bind && o.recursive)
			return err_set(e, EINVAL, "mounts[%zu]: what is mounted below may change",
				       i);
		is_bind[i] = o.bind;
	}
	return make_pattern(c, is_bind, e);
}

/* ---- the second half ---- */

/* All else is so already. */
static void become(struct runtime_ahead *a, const struct runtime_create *spec)
{
	struct container *c = &a->c;
	struct config_process *p = c->config->process;
	json_t *process = json_object_get(c->doc.doc, "process");
	json_t *given = json_object_get(a->given.doc, "process");

	c->spec = spec;
	c->config->hostname = a->given.config.hostname;
	p->args = a->given.config.process->args;
	p->env = a->given.config.process->env;
	(void)json_object_set(process, "args", json_object_get(given, "args"));
	(void)json_object_set(process, "env", json_object_get(given, "env"));
	look_describe(c);
}

static bool has_ended(const struct container *c)
{
	struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

int ahead_fit(struct runtime_ahead *a, const struct runtime_create *spec, struct err *e)
{
	const struct container *c = &a->c;
	auto_close int bundle_fd = open(spec->bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_buf struct buf text = BUF_INIT(CONFIG_SIZE_MAX);
	const struct config *given = &a->given.config;
	struct values values;

	/* What is wrong with it will be said when it is made from the beginning. */
	if (bundle_fd < 0 || has_ended(c) || !has_same_surroundings(c, spec) ||
	    fs_read(bundle_fd, CONFIG_FILE, &text, e) < 0 ||
	    !matches(c->pattern, buf_str(&text), text.size, &values) ||
	    decode(&values, &a->given, e) < 0 || !has_same_sources(c, bundle_fd, &given->mounts) ||
	    !sync_fits_for(&given->process->args, &given->process->env))
		return RUNTIME_DIFFERS;
	become(a, spec);
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
