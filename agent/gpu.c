/* agent/gpu.c - GPUs of the host, and what a container needs that has some
 * SPDX-License-Identifier: Apache-2.0
 *
 * Which there are, and how they get into a container, their vendors say (agent/cdi.h):
 * the host's tools know which libraries belong to a driver, and we know nothing of that.
 * An id is the device's whole name, "nvidia.com/gpu=GPU-...".  The files are read anew
 * whenever it matters, because drivers change; which GPU is whose is the server's to say.
 *
 * Tools list a device under several names, by number and by UUID.  Two names whose
 * device nodes are the same are one device, or it would be given away twice; the name
 * that has letters in it is its id, for numbers change with the order in which devices
 * are found.  "all" is all of them, which nobody can have beside others.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/cdi.h"
#include "agent/internal.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/text.h"

#define EVERY_DEVICE "all"
#define TOLD_MAX     8192

static void load(const struct agent *a, struct cdi *ret)
{
	size_t count = 0;

	while (count < AGENT_CDI_DIRS && a->o->cdi_dirs[count])
		count++;
	cdi_load(ret, a->o->cdi_dirs, count);
}

/* ---- which there are ---- */

static bool is_gpu(const struct agent *a, const struct cdi_spec *s)
{
	const char *slash = strchr(s->kind, '/');

	for (size_t i = 0; i < a->o->gpu_kind_count; i++)
		if (str_eq(a->o->gpu_kinds[i], s->kind))
			return true;
	return !a->o->gpu_kinds && str_eq(slash, "/gpu");
}

static const char *path_of(const struct cdi_node *n)
{
	return n->host_path && *n->host_path ? n->host_path : n->path;
}

static bool has_node(const struct cdi_edits *x, const struct cdi_node *n)
{
	for (size_t i = 0; i < x->nodes.count; i++)
		if (str_eq(path_of(JS_AT(x->nodes, struct cdi_node, i)), path_of(n)))
			return true;
	return false;
}

static bool is_same(const struct cdi_device *a, const struct cdi_device *b)
{
	if (!a->edits.nodes.count || a->edits.nodes.count != b->edits.nodes.count)
		return false;
	for (size_t i = 0; i < a->edits.nodes.count; i++)
		if (!has_node(&b->edits, JS_AT(a->edits.nodes, struct cdi_node, i)))
			return false;
	return true;
}

static bool is_number(const char *name)
{
	return !name[strspn(name, "0123456789:")];
}

struct found {
	const struct cdi_device *devices[ECS_GPUS_MAX];
	char *ids[ECS_GPUS_MAX]; /* in the arena of the list */
	size_t count;
};

static void add(struct found *f, const struct cdi_device *d, char *id)
{
	for (size_t i = 0; i < f->count; i++) {
		if (!is_same(f->devices[i], d))
			continue;
		if (is_number(f->devices[i]->name) && !is_number(d->name)) {
			f->devices[i] = d;
			f->ids[i] = id;
		}
		return;
	}
	if (f->count == ECS_GPUS_MAX)
		return;
	f->devices[f->count] = d;
	f->ids[f->count++] = id;
}

static void add_devices(const struct cdi *cdi, const struct cdi_spec *s, struct arena *arena,
			struct found *ret)
{
	for (size_t i = 0; i < s->devices.count; i++) {
		const struct cdi_device *d = JS_AT(s->devices, struct cdi_device, i), *valid;
		char *id = arena_printf(arena, "%s=%s", s->kind, d->name);
		const struct cdi_spec *of;
		struct err e;

		/* What another file says, too, may be that one's device, or nobody's. */
		if (!str_eq(d->name, EVERY_DEVICE) && cdi_find(cdi, id, &of, &valid, &e) == 0 &&
		    valid == d)
			add(ret, d, id);
	}
}

static struct js_strings list(const struct agent *a, const struct cdi *cdi, struct arena *arena)
{
	struct found found = {.count = 0};
	struct js_strings ret;

	for (size_t i = 0; i < cdi->count; i++)
		if (is_gpu(a, &cdi->specs[i]))
			add_devices(cdi, &cdi->specs[i], arena, &found);
	ret = (struct js_strings){arena_alloc(arena, (found.count + 1) * sizeof(char *)),
				  found.count};
	for (size_t i = 0; i < found.count; i++)
		ret.items[i] = found.ids[i];
	ret.items[found.count] = NULL;
	return ret;
}

struct js_strings gpus_find(const struct agent *a, struct arena *arena)
{
	auto_cdi struct cdi cdi = {0};

	load(a, &cdi);
	return list(a, &cdi, arena);
}

static void tell(struct agent *a, const struct js_strings *ids, const struct cdi *cdi)
{
	auto_free char *count = xasprintf("%zu for containers", ids->count);
	auto_free char *none = xasprintf("none: no CDI specification in %s or %s names any",
					 a->o->cdi_dirs[0], a->o->cdi_dirs[1]);
	auto_buf struct buf more = BUF_INIT(TOLD_MAX);

	for (size_t i = 0; i < ids->count; i++)
		buf_printf(&more, "%s%s", i ? " " : ": ", ids->items[i]);
	for (size_t i = 0; i < cdi->problems.count; i++) {
		buf_printf(&more, "; passed over: %s", cdi->problems.items[i]);
		log_warn("gpus: passed over: %s", cdi->problems.items[i]);
	}
	doctor_tell(a, "gpus", ids->count ? count : none, buf_str(&more));
}

static bool has_changed(struct agent *a, const struct js_strings *ids, const struct cdi *cdi)
{
	auto_buf struct buf now = BUF_INIT(1 << 20);

	for (size_t i = 0; i < ids->count; i++)
		buf_printf(&now, "%s\n", ids->items[i]);
	for (size_t i = 0; i < cdi->problems.count; i++)
		buf_printf(&now, "%s\n", cdi->problems.items[i]);
	if (str_eq(buf_str(&now), a->gpus))
		return false;
	free(a->gpus);
	a->gpus = xstrdup(buf_str(&now));
	return true;
}

void gpus_look(struct agent *a)
{
	auto_cdi struct cdi cdi = {0};
	auto_arena struct arena arena = {0};
	struct ecs_node_resources message;

	load(a, &cdi);
	message.gpu_ids = list(a, &cdi, &arena);
	if (has_changed(a, &message.gpu_ids, &cdi)) {
		tell(a, &message.gpu_ids, &cdi);
		a->gpus_changed = true;
	}
	/* A hello that went before has others; one that comes will have these. */
	if (a->gpus_changed && a->channel && channel_send(a->channel, ECS_NODE_RESOURCES, &message))
		a->gpus_changed = false;
}

/* ---- for a container ---- */

const struct js_strings *gpus_of(const struct container *c)
{
	static const struct js_strings none;
	const struct js_list *list = &c->task->wanted.containers;

	for (size_t i = 0; i < list->count; i++) {
		const struct ecs_node_container *n = JS_AT(*list, struct ecs_node_container, i);

		if (str_eq(n->name, c->def->name))
			return &n->gpu_ids;
	}
	return &none;
}

static json_t *member(json_t *doc, const char *name, json_t *(*make)(void))
{
	if (!json_object_get(doc, name))
		(void)json_object_set_new(doc, name, make());
	return json_object_get(doc, name);
}

/* The element whose 'key' is 'value' gives way to what comes. */
static void replace(json_t *list, const char *key, json_t *own_item)
{
	const json_t *value = json_object_get(own_item, key);
	json_t *old;
	size_t i;

	json_array_foreach (list, i, old)
		if (json_equal(json_object_get(old, key), value)) {
			(void)json_array_remove(list, i);
			break;
		}
	(void)json_array_append_new(list, own_item);
}

/* What a node is like that the specification does not say. */
struct node {
	char type[2];
	int64_t major, minor, mode; /* mode -1: unknown */
};

static int look_at_node(const struct cdi_node *n, struct node *ret, struct err *e)
{
	const bool whole = n->type && *n->type && (n->major || *n->type == 'p');
	struct stat st;

	*ret = (struct node){.type = {n->type ? *n->type : '\0'},
			     .major = n->major ? *n->major : 0,
			     .minor = n->minor ? *n->minor : 0,
			     .mode = n->file_mode ? *n->file_mode : -1};
	if (stat(path_of(n), &st) < 0)
		return whole ? 0 : err_sys(e, "device node %s", path_of(n));
	if (!n->file_mode)
		ret->mode = st.st_mode & 07777;
	if (whole)
		return 0;
	if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, EINVAL, "device node %s: it is no device", path_of(n));
	ret->type[0] = S_ISCHR(st.st_mode) ? 'c' : 'b';
	if (!n->major) {
		ret->major = major(st.st_rdev);
		ret->minor = minor(st.st_rdev);
	}
	return 0;
}

static void set_owner(json_t *device, const char *name, const int64_t *id, const json_t *user)
{
	json_int_t value = id ? (json_int_t)*id : json_integer_value(json_object_get(user, name));

	if (id || value) /* the user of the container, where nothing is said */
		(void)json_object_set_new(device, name, json_integer(value));
}

static int add_node(json_t *config, const struct cdi_node *n, struct err *e)
{
	const json_t *user = json_object_get(json_object_get(config, "process"), "user");
	const char *access = n->permissions && *n->permissions ? n->permissions : "rwm";
	json_t *linux_ = json_object_get(config, "linux"), *device;
	struct node node;

	if (look_at_node(n, &node, e) < 0)
		return -e->code;
	device = json_pack("{s:s, s:s}", "path", n->path, "type", node.type);
	if (node.type[0] != 'p') {
		(void)json_object_set_new(device, "major", json_integer(node.major));
		(void)json_object_set_new(device, "minor", json_integer(node.minor));
	}
	if (node.mode >= 0)
		(void)json_object_set_new(device, "fileMode", json_integer(node.mode));
	set_owner(device, "uid", n->uid, user);
	set_owner(device, "gid", n->gid, user);
	replace(member(linux_, "devices", json_array), "path", device);
	if (node.type[0] != 'p' && !str_eq(access, "none"))
		(void)json_array_append_new(
			member(json_object_get(linux_, "resources"), "devices", json_array),
			json_pack("{s:b, s:s, s:I, s:I, s:s}", "allow", 1, "type",
				  node.type[0] == 'u' ? "c" : node.type, "major",
				  (json_int_t)node.major, "minor", (json_int_t)node.minor, "access",
				  access));
	return 0;
}

static json_t *strings(const struct js_strings *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->count; i++)
		(void)json_array_append_new(list, js_string(s->items[i], strlen(s->items[i])));
	return list;
}

/* Without a type, or with a dummy as "none", it is a file or a directory of the host. */
static int add_mount(json_t *config, const struct cdi_mount *m, struct err *e)
{
	bool typed = m->type && *m->type && !str_eq(m->type, "none"), bind = false;
	json_t *options = strings(&m->options);

	for (size_t i = 0; i < m->options.count; i++)
		bind |= str_eq(m->options.items[i], "bind") || str_eq(m->options.items[i], "rbind");
	if (!typed && !bind)
		(void)json_array_append_new(options, json_string("rbind"));
	if ((!typed || bind) && access(m->host_path, F_OK) < 0) {
		json_decref(options);
		return err_sys(e, "mount of %s at %s", m->host_path, m->container_path);
	}
	replace(json_object_get(config, "mounts"), "destination",
		json_pack("{s:s, s:s, s:s, s:o}", "destination", m->container_path, "type",
			  typed && !bind ? m->type : "bind", "source", m->host_path, "options",
			  options));
	return 0;
}

/* A program of the container's own image cannot be looked for. */
static int add_hook(json_t *config, const struct cdi_hook *h, struct err *e)
{
	json_t *hooks = member(config, "hooks", json_object), *hook;

	if (!str_eq(h->name, "startContainer") && access(h->path, X_OK) < 0)
		return err_sys(e, "%s hook %s", h->name, h->path);
	hook = json_pack("{s:s}", "path", h->path);
	if (h->args.count)
		(void)json_object_set_new(hook, "args", strings(&h->args));
	if (h->env.count)
		(void)json_object_set_new(hook, "env", strings(&h->env));
	if (h->timeout)
		(void)json_object_set_new(hook, "timeout", json_integer(*h->timeout));
	(void)json_array_append_new(member(hooks, h->name, json_array), hook);
	return 0;
}

static void add_gids(json_t *config, const json_t *gids)
{
	json_t *user = json_object_get(json_object_get(config, "process"), "user"), *gid;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)gids, i, gid)
		if (json_integer_value(gid))
			(void)json_array_append(member(user, "additionalGids", json_array), gid);
}

static int add_edits(json_t *config, const struct cdi_edits *x, struct err *e)
{
	json_t *env = json_object_get(json_object_get(config, "process"), "env");

	for (size_t i = 0; i < x->env.count; i++)
		bundle_set_variable(env, x->env.items[i], true);
	for (size_t i = 0; i < x->nodes.count; i++)
		if (add_node(config, JS_AT(x->nodes, struct cdi_node, i), e) < 0)
			return -e->code;
	for (size_t i = 0; i < x->mounts.count; i++)
		if (add_mount(config, JS_AT(x->mounts, struct cdi_mount, i), e) < 0)
			return -e->code;
	for (size_t i = 0; i < x->hooks.count; i++)
		if (add_hook(config, JS_AT(x->hooks, struct cdi_hook, i), e) < 0)
			return -e->code;
	add_gids(config, x->gids);
	return 0;
}

/* Was a device of this specification among the first so many? */
static bool was_used(const struct cdi *cdi, const struct js_strings *ids, size_t count,
		     const struct cdi_spec *spec)
{
	const struct cdi_device *d;
	const struct cdi_spec *s;
	struct err e;

	for (size_t i = 0; i < count; i++)
		if (cdi_find(cdi, ids->items[i], &s, &d, &e) == 0 && s == spec)
			return true;
	return false;
}

int gpus_add(const struct container *c, json_t *config, struct err *e)
{
	const struct js_strings *ids = gpus_of(c);
	auto_cdi struct cdi cdi = {0};
	const struct cdi_device *d;
	const struct cdi_spec *s;

	if (!ids->count)
		return 0;
	load(c->task->agent, &cdi);
	for (size_t i = 0; i < ids->count; i++) {
		if (cdi_find(&cdi, ids->items[i], &s, &d, e) < 0)
			return -e->code;
		if ((!was_used(&cdi, ids, i, s) && add_edits(config, &s->edits, e) < 0) ||
		    add_edits(config, &d->edits, e) < 0)
			return err_wrap(e, "GPU %s", ids->items[i]);
	}
	return 0;
}
