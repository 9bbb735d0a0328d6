/* agent/cdi.c - specifications of devices (Container Device Interface)
 * SPDX-License-Identifier: Apache-2.0
 *
 * A file is good as a whole or not at all: a member that is not known here might be
 * what a container needs, or must not have, so it is not passed over.
 */
#include "agent/cdi.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"

#define DEPTH_MAX 16 /* of the JSON */

#define FIELD(type, name, kind, member, flags)                         \
	{                                                              \
		name, kind, offsetof(struct type, member), flags, NULL \
	}
#define FIELD_OF(type, name, kind, member, shape)                    \
	{                                                            \
		name, kind, offsetof(struct type, member), 0, &shape \
	}

static const struct js_field node_fields[] = {
	FIELD(cdi_node, "path", JS_STRING, path, JS_REQUIRED),
	FIELD(cdi_node, "hostPath", JS_STRING, host_path, 0),
	FIELD(cdi_node, "type", JS_STRING, type, 0),
	FIELD(cdi_node, "permissions", JS_STRING, permissions, 0),
	FIELD(cdi_node, "major", JS_I64, major, JS_POINTER),
	FIELD(cdi_node, "minor", JS_I64, minor, JS_POINTER),
	FIELD(cdi_node, "fileMode", JS_I64, file_mode, JS_POINTER),
	FIELD(cdi_node, "uid", JS_I64, uid, JS_POINTER),
	FIELD(cdi_node, "gid", JS_I64, gid, JS_POINTER),
};
static const struct js_shape node_shape = JS_SHAPE("DeviceNode", struct cdi_node, node_fields);

static const struct js_field mount_fields[] = {
	FIELD(cdi_mount, "hostPath", JS_STRING, host_path, JS_REQUIRED),
	FIELD(cdi_mount, "containerPath", JS_STRING, container_path, JS_REQUIRED),
	FIELD(cdi_mount, "type", JS_STRING, type, 0),
	FIELD(cdi_mount, "options", JS_STRINGS, options, 0),
};
static const struct js_shape mount_shape = JS_SHAPE("Mount", struct cdi_mount, mount_fields);

static const struct js_field hook_fields[] = {
	FIELD(cdi_hook, "hookName", JS_STRING, name, JS_REQUIRED),
	FIELD(cdi_hook, "path", JS_STRING, path, JS_REQUIRED),
	FIELD(cdi_hook, "args", JS_STRINGS, args, 0),
	FIELD(cdi_hook, "env", JS_STRINGS, env, 0),
	FIELD(cdi_hook, "timeout", JS_I64, timeout, JS_POINTER),
};
static const struct js_shape hook_shape = JS_SHAPE("Hook", struct cdi_hook, hook_fields);

static const struct js_field edits_fields[] = {
	FIELD(cdi_edits, "env", JS_STRINGS, env, 0),
	FIELD_OF(cdi_edits, "deviceNodes", JS_OBJECTS, nodes, node_shape),
	FIELD_OF(cdi_edits, "mounts", JS_OBJECTS, mounts, mount_shape),
	FIELD_OF(cdi_edits, "hooks", JS_OBJECTS, hooks, hook_shape),
	FIELD(cdi_edits, "additionalGids", JS_JSON, gids, 0),
};
static const struct js_shape edits_shape = JS_SHAPE("ContainerEdits", struct cdi_edits,
						    edits_fields);

static const struct js_field device_fields[] = {
	FIELD(cdi_device, "name", JS_STRING, name, JS_REQUIRED),
	FIELD(cdi_device, "annotations", JS_JSON, annotations, 0),
	FIELD_OF(cdi_device, "containerEdits", JS_OBJECT, edits, edits_shape),
};
static const struct js_shape device_shape = JS_SHAPE("Device", struct cdi_device, device_fields);

static const struct js_field spec_fields[] = {
	FIELD(cdi_spec, "cdiVersion", JS_STRING, version, JS_REQUIRED),
	FIELD(cdi_spec, "kind", JS_STRING, kind, JS_REQUIRED),
	FIELD(cdi_spec, "annotations", JS_JSON, annotations, 0),
	FIELD_OF(cdi_spec, "devices", JS_OBJECTS, devices, device_shape),
	FIELD_OF(cdi_spec, "containerEdits", JS_OBJECT, edits, edits_shape),
};
static const struct js_shape spec_shape = JS_SHAPE("Spec", struct cdi_spec, spec_fields);

/* ---- members that nobody here knows ---- */

static const struct js_field *field_named(const struct js_shape *s, const char *name)
{
	for (size_t i = 0; i < s->count; i++)
		if (strcmp(s->fields[i].name, name) == 0)
			return &s->fields[i];
	return NULL;
}

static int check_members(const json_t *doc, const struct js_shape *s, struct err *e)
{
	const char *name;
	json_t *value, *item;
	size_t i;

	json_object_foreach ((json_t *)(uintptr_t)doc, name, value) {
		const struct js_field *f = field_named(s, name);

		if (!f)
			return err_set(e, EOPNOTSUPP,
				       "%s has a member '%.60s', which Berth does "
				       "not know",
				       s->name, name);
		if (json_array_size(value) >
		    (f->shape == &device_shape ? CDI_DEVICES_MAX : CDI_ITEMS_MAX))
			return err_set(e, E2BIG, "%s.%s has %zu elements", s->name, name,
				       json_array_size(value));
		if (f->kind == JS_OBJECT && check_members(value, f->shape, e) < 0)
			return -e->code;
		if (f->kind == JS_OBJECTS)
			json_array_foreach (value, i, item)
				if (check_members(item, f->shape, e) < 0)
					return -e->code;
	}
	return 0;
}

/* ---- values ---- */

static bool is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Letters and digits, and between them also 'more'. */
static bool is_name(const char *text, size_t len, const char *more)
{
	for (size_t i = 0; i < len; i++)
		if (!is_alphanumeric(text[i]) && (!strchr(more, text[i]) || i == 0 || i + 1 == len))
			return false;
	return len > 0;
}

static bool is_kind(const char *kind)
{
	const char *slash = strchr(kind, '/');

	return slash && strlen(kind) <= CDI_KIND_MAX && !(kind[0] >= '0' && kind[0] <= '9') &&
	       is_name(kind, (size_t)(slash - kind), "-_.") &&
	       is_name(slash + 1, strlen(slash + 1), "-_.");
}

/* "0.6.0"; what comes after 1.x may mean anything. */
static bool is_known_version(const char *version)
{
	return str_starts(version, "0.") || str_starts(version, "1.");
}

static bool is_id(const int64_t *id)
{
	return !id || (*id >= 0 && *id <= UINT32_MAX);
}

static int check_node(const struct cdi_node *n, struct err *e)
{
	if (n->path[0] != '/' || (n->host_path && n->host_path[0] != '/'))
		return err_set(e, EINVAL, "device node '%.200s': its paths are not absolute",
			       n->path);
	if (n->type && *n->type && (!strchr("bcup", *n->type) || n->type[1]))
		return err_set(e, EINVAL, "device node %.200s: type '%.20s' is none of b, c, u, p",
			       n->path, n->type);
	if (n->permissions && strcmp(n->permissions, "none") != 0 &&
	    n->permissions[strspn(n->permissions, "rwm")])
		return err_set(e, EINVAL, "device node %.200s: permissions '%.20s'", n->path,
			       n->permissions);
	if (!is_id(n->major) || !is_id(n->minor) || !is_id(n->uid) || !is_id(n->gid) ||
	    (n->file_mode && (*n->file_mode < 0 || *n->file_mode > 07777)))
		return err_set(e, EINVAL, "device node %.200s: a number is out of its range",
			       n->path);
	return 0;
}

static int check_hook(const struct cdi_hook *h, struct err *e)
{
	static const char *const names[] = {"prestart",       "createRuntime", "createContainer",
					    "startContainer", "poststart",     "poststop"};
	size_t n = 0;

	while (n < ARRAY_COUNT(names) && strcmp(names[n], h->name) != 0)
		n++;
	if (n == ARRAY_COUNT(names))
		return err_set(e, EINVAL, "hook '%.40s' is not one of OCI's", h->name);
	if (h->path[0] != '/')
		return err_set(e, EINVAL, "hook '%.200s': the path is not absolute", h->path);
	if (h->timeout && (*h->timeout <= 0 || *h->timeout > INT32_MAX / 1000))
		return err_set(e, EINVAL, "hook %.200s: timeout of %lld s", h->path,
			       (long long)*h->timeout);
	return 0;
}

static int check_lists(const struct cdi_edits *x, struct err *e)
{
	json_t *gid;
	size_t i;

	for (i = 0; i < x->env.count; i++)
		if (strcspn(x->env.items[i], "=") == 0 || !strchr(x->env.items[i], '='))
			return err_set(e, EINVAL, "env '%.60s' is not NAME=VALUE", x->env.items[i]);
	for (i = 0; i < x->mounts.count; i++) {
		const struct cdi_mount *m = JS_AT(x->mounts, struct cdi_mount, i);

		if (!*m->host_path || m->container_path[0] != '/')
			return err_set(e, EINVAL, "mount of '%.200s' at '%.200s'", m->host_path,
				       m->container_path);
	}
	if (x->gids && !json_is_array(x->gids))
		return err_set(e, EINVAL, "additionalGids is not a list");
	json_array_foreach (x->gids, i, gid)
		if (!json_is_integer(gid) || !is_id(&(int64_t){json_integer_value(gid)}))
			return err_set(e, EINVAL, "additionalGids[%zu] is not an id", i);
	return 0;
}

static int check_edits(const struct cdi_edits *x, struct err *e)
{
	for (size_t i = 0; i < x->nodes.count; i++)
		if (check_node(JS_AT(x->nodes, struct cdi_node, i), e) < 0)
			return -e->code;
	for (size_t i = 0; i < x->hooks.count; i++)
		if (check_hook(JS_AT(x->hooks, struct cdi_hook, i), e) < 0)
			return -e->code;
	return check_lists(x, e);
}

static int check_device(const struct cdi_spec *s, size_t i, struct err *e)
{
	const struct cdi_device *d = JS_AT(s->devices, struct cdi_device, i);

	if (strlen(d->name) > CDI_NAME_MAX || !is_name(d->name, strlen(d->name), "-_.:"))
		return err_set(e, EINVAL, "device '%.200s' is not a name", d->name);
	for (size_t k = 0; k < i; k++)
		if (str_eq(JS_AT(s->devices, struct cdi_device, k)->name, d->name))
			return err_set(e, EINVAL, "two devices '%s'", d->name);
	return check_edits(&d->edits, e) < 0 ? err_wrap(e, "device %s", d->name) : 0;
}

int cdi_decode(const json_t *doc, struct arena *a, struct cdi_spec *ret, struct err *e)
{
	if (check_members(doc, &spec_shape, e) < 0 || js_decode(doc, &spec_shape, a, ret, e) < 0)
		return -e->code;
	if (!is_known_version(ret->version))
		return err_set(e, EOPNOTSUPP, "cdiVersion '%.40s' is not 0.x or 1.x", ret->version);
	if (!is_kind(ret->kind))
		return err_set(e, EINVAL, "kind '%.100s' is not VENDOR/CLASS", ret->kind);
	if (!ret->devices.count)
		return err_set(e, EINVAL, "it has no devices");
	if (check_edits(&ret->edits, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ret->devices.count; i++)
		if (check_device(ret, i, e) < 0)
			return -e->code;
	return 0;
}

/* ---- files ---- */

static void add_problem(struct cdi *c, const char *path, const char *why)
{
	c->problems.items = xgrow(c->problems.items, c->problems.count, &c->problem_capacity,
				  sizeof(char *));
	c->problems.items[c->problems.count++] = arena_printf(&c->arena, "%s: %s", path, why);
}

static int read_spec(struct cdi *c, const char *path, struct cdi_spec *ret, json_t **ret_doc,
		     struct err *e)
{
	auto_buf struct buf text = BUF_INIT(CDI_FILE_MAX);
	/* Not to wait for ever for what somebody made there that is no file. */
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open it");
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "it is not a file");
	if (fs_read_fd(fd, &text, e) < 0 ||
	    js_parse(buf_str(&text), text.size, DEPTH_MAX, ret_doc, e) < 0)
		return -e->code;
	return cdi_decode(*ret_doc, &c->arena, ret, e);
}

static void load_file(struct cdi *c, size_t dir, const char *path)
{
	auto_json json_t *doc = NULL;
	struct cdi_spec spec = {0};
	size_t capacity = c->capacity;
	struct err e = {0};

	if (read_spec(c, path, &spec, &doc, &e) < 0) {
		add_problem(c, path, e.msg);
		return;
	}
	spec.dir = dir;
	spec.path = arena_strdup(&c->arena, path);
	c->specs = xgrow(c->specs, c->count, &c->capacity, sizeof(*c->specs));
	c->docs = xgrow(c->docs, c->count, &capacity, sizeof(json_t *));
	c->specs[c->count] = spec;
	c->docs[c->count++] = take_ptr(doc);
}

static void take_file(struct cdi *c, size_t dir, const char *path)
{
	if (str_ends(path, ".yaml")) {
		add_problem(c, path,
			    "Berth reads JSON only: have it written as .json "
			    "(nvidia-ctk cdi generate --format=json --output=...)");
		return;
	}
	if (!str_ends(path, ".json"))
		return;
	if (c->files++ < CDI_FILES_MAX)
		load_file(c, dir, path);
	else
		add_problem(c, path, "there are too many files");
}

/* In the order of their names. */
static void load_dir(struct cdi *c, size_t dir, const char *path)
{
	struct dirent **entries = NULL;
	int count = scandir(path, &entries, NULL, alphasort);

	if (count < 0 && errno != ENOENT)
		add_problem(c, path, strerror(errno));
	for (int i = 0; i < count; i++) {
		auto_free char *file = xasprintf("%s/%s", path, entries[i]->d_name);

		take_file(c, dir, file);
		free(entries[i]);
	}
	free(entries);
}

void cdi_load(struct cdi *ret, const char *const *dirs, size_t count)
{
	*ret = (struct cdi){0};
	for (size_t i = 0; i < count; i++)
		load_dir(ret, i, dirs[i]);
}

void cdi_done(struct cdi *c)
{
	for (size_t i = 0; i < c->count; i++)
		json_decref(c->docs[i]);
	free(c->docs);
	free(c->specs);
	free(c->problems.items);
	arena_done(&c->arena);
}

/* ---- a device ---- */

static const struct cdi_device *device_named(const struct cdi_spec *s, const char *name)
{
	for (size_t i = 0; i < s->devices.count; i++) {
		const struct cdi_device *d = JS_AT(s->devices, struct cdi_device, i);

		if (strcmp(d->name, name) == 0)
			return d;
	}
	return NULL;
}

int cdi_find(const struct cdi *c, const char *name, const struct cdi_spec **ret_spec,
	     const struct cdi_device **ret_device, struct err *e)
{
	const size_t kind_len = strcspn(name, "=");
	const struct cdi_spec *found = NULL, *other = NULL;
	const struct cdi_device *device = NULL;

	for (size_t i = 0; name[kind_len] && i < c->count; i++) {
		const struct cdi_spec *s = &c->specs[i];
		const struct cdi_device *d = strlen(s->kind) == kind_len &&
							     memcmp(s->kind, name, kind_len) == 0
						     ? device_named(s, name + kind_len + 1)
						     : NULL;

		if (!d)
			continue;
		other = found && found->dir == s->dir ? found : NULL;
		found = s;
		device = d;
	}
	if (!device)
		return err_set(e, ENOENT, "device %s is not in any CDI specification of this host",
			       name);
	if (other)
		return err_set(e, EEXIST, "device %s is in two CDI specifications: %s, %s", name,
			       other->path, found->path);
	*ret_spec = found;
	*ret_device = device;
	return 0;
}
