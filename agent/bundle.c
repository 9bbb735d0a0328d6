/* agent/bundle.c - the config.json of a container
 * SPDX-License-Identifier: Apache-2.0
 *
 * From definition, image, user and network to a document of the OCI
 * runtime-spec.  What the definition leaves open is as Docker's users know it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "runtime/runtime.h"

#define DEFAULT_PATH   "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define SHM_MIB        64
#define PIDS_MAX       4096
#define CPU_SHARES_MIN 2
#define NOFILE_SOFT    1024
#define NOFILE_HARD    524288
#define DEVICE_DEPTH   3
#define MIB            (1LL << 20)

const char *const bundle_files[BUNDLE_FILES] = {"hosts", "hostname", "resolv.conf"};

/* ---- process ---- */

static void add_strings(json_t *list, const struct js_strings *s)
{
	for (size_t i = 0; s && i < s->count; i++)
		(void)json_array_append_new(list, js_string(s->items[i], strlen(s->items[i])));
}

/* Docker's rule: an entry point of the definition takes the image's command away. */
static json_t *make_args(const struct bundle_options *o, struct err *e)
{
	const struct ecs_container_definition *d = o->container->def;
	json_t *args = json_array();

	add_strings(args, d->entry_point ? d->entry_point : &o->image->entrypoint);
	if (d->command)
		add_strings(args, d->command);
	else if (!d->entry_point)
		add_strings(args, &o->image->cmd);
	if (json_array_size(args))
		return args;
	json_decref(args);
	(void)err_set(e, EINVAL,
		      "no command specified: neither the image nor the definition has one");
	return NULL;
}

void bundle_set_variable(json_t *env, const char *text, bool replace)
{
	size_t name = strcspn(text, "=") + 1, i;
	json_t *old;

	json_array_foreach (env, i, old) {
		if (strncmp(json_string_value(old), text, name) != 0)
			continue;
		if (replace)
			(void)json_array_set_new(env, i, js_string(text, strlen(text)));
		return;
	}
	(void)json_array_append_new(env, js_string(text, strlen(text)));
}

static void add_metadata(const struct bundle_options *o, json_t *env)
{
	const char *id = o->container->id;
	auto_free char *v3 = xasprintf("ECS_CONTAINER_METADATA_URI=%s/v3/%s", o->metadata, id);
	auto_free char *v4 = xasprintf("ECS_CONTAINER_METADATA_URI_V4=%s/v4/%s", o->metadata, id);

	bundle_set_variable(env, v3, true);
	bundle_set_variable(env, v4, true);
}

static json_t *make_env(const struct bundle_options *o)
{
	const struct ecs_container_definition *d = o->container->def;
	auto_free char *hostname = xasprintf("HOSTNAME=%s", bundle_hostname(o->container));
	auto_free char *home = xasprintf("HOME=%s", o->user->home);
	auto_arena struct arena a = {0};
	json_t *env = json_array();

	bundle_set_variable(env, DEFAULT_PATH, true);
	bundle_set_variable(env, hostname, true);
	for (size_t i = 0; i < d->links.count; i++) {
		const struct js_strings of_link = links_variables(o->container, i, &a);

		for (size_t k = 0; k < of_link.count; k++)
			bundle_set_variable(env, of_link.items[k], true);
	}
	for (size_t i = 0; i < o->image->env.count; i++)
		bundle_set_variable(env, o->image->env.items[i], true);
	for (size_t i = 0; i < d->environment.count; i++) {
		const struct ecs_key_value *v = JS_AT(d->environment, struct ecs_key_value, i);
		auto_free char *text = xasprintf("%s=%s", v->name, v->value ? v->value : "");

		bundle_set_variable(env, text, true);
	}
	if (o->metadata)
		add_metadata(o, env);
	bundle_set_variable(env, home, false);
	return env;
}

static bool has_name(const struct js_strings *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->items[i], name) == 0)
			return true;
	return false;
}

/* "CAP_CHOWN"...: Docker's default set, with what the definition adds and drops. */
static json_t *make_capabilities(const struct ecs_container_definition *d)
{
	const struct ecs_kernel_capabilities *k = &d->linux_parameters.capabilities;
	const char *const *all = runtime_all_capabilities();
	json_t *list = json_array();

	for (size_t i = 0; all[i]; i++) {
		const char *name = all[i] + strlen("CAP_");
		bool on = d->privileged;

		for (const char *const *p = runtime_default_capabilities(); *p && !on; p++)
			on = strcmp(*p, all[i]) == 0;
		if (has_name(&k->drop, "ALL") || has_name(&k->drop, name))
			on = false;
		if (has_name(&k->add, "ALL") ? !has_name(&k->drop, name) : has_name(&k->add, name))
			on = true;
		if (on || d->privileged)
			(void)json_array_append_new(list, json_string(all[i]));
	}
	return list;
}

static json_t *make_rlimit(const char *name, int64_t soft, int64_t hard)
{
	return json_pack("{s:o, s:I, s:I}", "type", json_sprintf("RLIMIT_%s", name), "soft",
			 (json_int_t)(soft < 0 ? INT64_MAX : soft), "hard",
			 (json_int_t)(hard < 0 ? INT64_MAX : hard));
}

static json_t *make_rlimits(const struct ecs_container_definition *d)
{
	json_t *list = json_array();
	struct rlimit nofile = {NOFILE_SOFT, NOFILE_HARD};
	bool has_nofile = false;

	for (size_t i = 0; i < d->ulimits.count; i++) {
		const struct ecs_ulimit *u = JS_AT(d->ulimits, struct ecs_ulimit, i);
		char name[32];
		size_t n = 0;

		for (; n < sizeof(name) - 1 && u->name[n]; n++)
			name[n] = (char)(u->name[n] - 'a' + 'A');
		name[n] = '\0';
		has_nofile |= strcmp(name, "NOFILE") == 0;
		(void)json_array_append_new(list, make_rlimit(name, u->soft_limit, u->hard_limit));
	}
	if (has_nofile)
		return list;
	(void)getrlimit(RLIMIT_NOFILE, &nofile); /* never over what we may give */
	(void)json_array_append_new(
		list,
		make_rlimit("NOFILE",
			    NOFILE_SOFT < nofile.rlim_max ? NOFILE_SOFT : (int64_t)nofile.rlim_max,
			    NOFILE_HARD < nofile.rlim_max ? NOFILE_HARD
							  : (int64_t)nofile.rlim_max));
	return list;
}

static json_t *make_user(const struct image_user *u)
{
	json_t *groups = json_array();

	for (size_t i = 0; i < u->group_count; i++)
		(void)json_array_append_new(groups, json_integer(u->groups[i]));
	return json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)u->uid, "gid", (json_int_t)u->gid,
			 "additionalGids", groups);
}

static json_t *make_process(const struct bundle_options *o, json_t *capabilities, struct err *e)
{
	const struct ecs_container_definition *d = o->container->def;
	const char *cwd = d->working_directory && *d->working_directory     ? d->working_directory
			  : o->image->working_dir && *o->image->working_dir ? o->image->working_dir
									    : "/";
	json_t *args = make_args(o, e);

	if (!args)
		return NULL;
	return json_pack("{s:b, s:o, s:o, s:o, s:s, s:{s:O, s:O, s:O}, s:o, s:b}", "terminal", 0,
			 "user", make_user(o->user), "args", args, "env", make_env(o), "cwd", cwd,
			 "capabilities", "bounding", capabilities, "effective", capabilities,
			 "permitted", capabilities, "rlimits", make_rlimits(d), "noNewPrivileges",
			 d->privileged ? 0 : 1);
}

/* ---- mounts ---- */

static void add_mount(json_t *mounts, const char *destination, const char *type, const char *source,
		      const char *options)
{
	auto_free char *copy = xstrdup(options);
	json_t *list = json_array();
	char *save = NULL;

	for (char *option = strtok_r(copy, ",", &save); option; option = strtok_r(NULL, ",", &save))
		(void)json_array_append_new(list, json_string(option));
	(void)json_array_append_new(mounts,
				    json_pack("{s:s, s:s, s:s, s:o}", "destination", destination,
					      "type", type, "source", source, "options", list));
}

static void add_system_mounts(json_t *mounts, const struct ecs_container_definition *d)
{
	const int64_t *shm = d->linux_parameters.shared_memory_size;
	auto_free char *shm_options = xasprintf("nosuid,noexec,nodev,mode=1777,size=%lldm",
						(long long)(shm && *shm ? *shm : SHM_MIB));

	add_mount(mounts, "/proc", "proc", "proc", "nosuid,noexec,nodev");
	add_mount(mounts, "/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k");
	add_mount(mounts, "/dev/pts", "devpts", "devpts",
		  "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
	add_mount(mounts, "/dev/shm", "tmpfs", "shm", shm_options);
	add_mount(mounts, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
	add_mount(mounts, "/sys", "sysfs", "sysfs",
		  d->privileged ? "nosuid,noexec,nodev" : "nosuid,noexec,nodev,ro");
	add_mount(mounts, "/sys/fs/cgroup", "cgroup", "cgroup",
		  d->privileged ? "nosuid,noexec,nodev" : "nosuid,noexec,nodev,ro");
}

static void add_tmpfs(json_t *mounts, const struct ecs_container_definition *d)
{
	for (size_t i = 0; i < d->linux_parameters.tmpfs.count; i++) {
		const struct ecs_tmpfs *t = JS_AT(d->linux_parameters.tmpfs, struct ecs_tmpfs, i);
		auto_buf struct buf options = BUF_INIT(4096);

		buf_printf(&options, "noexec,nosuid,nodev,size=%lldm", (long long)t->size);
		for (size_t j = 0; j < t->mount_options.count; j++)
			buf_printf(&options, ",%s", t->mount_options.items[j]);
		add_mount(mounts, t->container_path, "tmpfs", "tmpfs", buf_str(&options));
	}
}

static void add_files(json_t *mounts, const struct bundle_options *o)
{
	for (size_t i = 0; i < BUNDLE_FILES; i++) {
		auto_free char *source = xasprintf("%s/%s", o->dir, bundle_files[i]);
		auto_free char *destination = xasprintf("/etc/%s", bundle_files[i]);

		add_mount(mounts, destination, "bind", source, "bind,rprivate");
	}
}

static int add_volumes(json_t *mounts, const struct bundle_options *o, struct err *e)
{
	const char *map = o->container->mapped ? ",ridmap" : "";
	const struct js_list *points = &o->container->def->mount_points;

	for (size_t i = 0; i < points->count; i++) {
		const struct ecs_mount_point *m = JS_AT(*points, struct ecs_mount_point, i);
		auto_free char *path = NULL, *options = NULL;

		if (volume_of(o->container->task, m->source_volume, &path, e) < 0)
			return -e->code;
		options = xasprintf("rbind,rprivate,%s%s", m->read_only ? "ro" : "rw", map);
		add_mount(mounts, m->container_path, "bind", path, options);
	}
	return 0;
}

static size_t depth_of(const json_t *mount)
{
	size_t depth = 0;

	for (const char *p = json_string_value(json_object_get(mount, "destination")); *p; p++)
		depth += p[0] == '/' && p[1] && p[1] != '/';
	return depth;
}

/* A mount on a directory must come before those on what lies in it; else the order stays. */
static void sort_mounts(json_t *mounts)
{
	size_t count = json_array_size(mounts);

	for (size_t i = 1; i < count; i++) {
		json_t *mount = json_incref(json_array_get(mounts, i));
		size_t to = i;

		while (to && depth_of(json_array_get(mounts, to - 1)) > depth_of(mount))
			to--;
		(void)json_array_remove(mounts, i);
		(void)json_array_insert_new(mounts, to, mount);
	}
}

static json_t *make_mounts(const struct bundle_options *o, struct err *e)
{
	json_t *mounts = json_array();

	add_system_mounts(mounts, o->container->def);
	add_files(mounts, o);
	add_tmpfs(mounts, o->container->def);
	if (add_volumes(mounts, o, e) < 0) {
		json_decref(mounts);
		return NULL;
	}
	sort_mounts(mounts);
	return mounts;
}

/* ---- linux ---- */

/* The network's descriptor comes with the bundle; without an endpoint it is the host's. */
static json_t *make_namespaces(const struct bundle_options *o)
{
	static const char *const types[] = {"pid", "mount", "uts", "ipc", "cgroup", "network"};
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_COUNT(types) - (o->endpoint ? 0 : 1); i++)
		(void)json_array_append_new(list, json_pack("{s:s}", "type", types[i]));
	if (o->container->mapped)
		(void)json_array_append_new(list, json_pack("{s:s}", "type", "user"));
	return list;
}

static json_t *make_mappings(uint32_t first_id)
{
	return json_pack("[{s:i, s:I, s:I}]", "containerID", 0, "hostID", (json_int_t)first_id,
			 "size", (json_int_t)IDS_COUNT);
}

static json_t *make_resources(const struct ecs_container_definition *d)
{
	int64_t shares = d->cpu > CPU_SHARES_MIN ? d->cpu : CPU_SHARES_MIN;
	json_t *resources = json_pack("{s:{s:I}, s:{s:i}}", "cpu", "shares", (json_int_t)shares,
				      "pids", "limit", PIDS_MAX);
	json_t *memory = json_object();

	if (d->memory)
		(void)json_object_set_new(memory, "limit", json_integer(*d->memory * MIB));
	if (d->memory_reservation)
		(void)json_object_set_new(memory, "reservation",
					  json_integer(*d->memory_reservation * MIB));
	(void)json_object_set_new(resources, "memory", memory);
	(void)json_object_set_new(
		resources, "devices",
		d->privileged ? json_pack("[{s:b, s:s}]", "allow", 1, "access", "rwm")
			      : json_pack("[{s:b, s:s}, {s:b, s:s, s:s}, {s:b, s:s, s:s}]", "allow",
					  0, "access", "rwm", "allow", 1, "type", "c", "access",
					  "m", "allow", 1, "type", "b", "access", "m"));
	return resources;
}

/* Devices of the host below 'dir', for a privileged container, as Docker shows them. */
static void add_devices(json_t *devices, const char *dir, unsigned depth)
{
	static const char *const hidden[] = {".",  "..",     "pts",     "shm",
					     "fd", "mqueue", "console", ".lxc"};
	auto_closedir DIR *d = opendir(dir);
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		auto_free char *path = xasprintf("%s/%s", dir, entry->d_name);
		bool skip = false;
		struct stat st;

		for (size_t i = 0; i < ARRAY_COUNT(hidden); i++)
			skip |= strcmp(hidden[i], entry->d_name) == 0;
		if (skip || lstat(path, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode) && depth < DEVICE_DEPTH)
			add_devices(devices, path, depth + 1);
		if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
			(void)json_array_append_new(
				devices,
				json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "path", path,
					  "type", S_ISCHR(st.st_mode) ? "c" : "b", "major",
					  (int)major(st.st_rdev), "minor", (int)minor(st.st_rdev),
					  "fileMode", (int)(st.st_mode & 07777), "uid",
					  (int)st.st_uid, "gid", (int)st.st_gid));
	}
}

static json_t *make_sysctl(const struct bundle_options *o)
{
	const struct js_list *controls = &o->container->def->system_controls;
	json_t *sysctl = o->endpoint ? NULL : json_object();

	/* Ports below 1024 and ping, without a capability: the namespace is the task's own. */
	if (o->endpoint)
		sysctl = json_pack("{s:s, s:s}", "net.ipv4.ip_unprivileged_port_start", "0",
				   "net.ipv4.ping_group_range", "0 2147483647");
	for (size_t i = 0; i < controls->count; i++) {
		const struct ecs_key_value *s = JS_AT(*controls, struct ecs_key_value, i);

		(void)json_object_set_new(sysctl, s->name, json_string(s->value));
	}
	return sysctl;
}

static json_t *list_of(const char *const *names)
{
	json_t *list = json_array();

	for (; *names; names++)
		(void)json_array_append_new(list, json_string(*names));
	return list;
}

/* Which of runtime_all_capabilities(), a bit each, lowest first; and their names. */
static uint64_t number_of(const json_t *capabilities, const char **names)
{
	const char *const *all = runtime_all_capabilities();
	uint64_t number = 0;
	json_t *name;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)capabilities, i, name) {
		names[i] = json_string_value(name);
		for (size_t bit = 0; all[bit]; bit++)
			if (strcmp(all[bit], names[i]) == 0)
				number |= UINT64_C(1) << bit;
	}
	return number;
}

/*
 * It depends on the capabilities alone, and is compiled once for each set of them:
 * by each agent, as it may be of another version, over the file that the keeper may
 * be about to read.
 */
static json_t *make_seccomp(struct agent *a, const json_t *capabilities)
{
	size_t count = json_array_size(capabilities);
	auto_free const char **names = xcalloc(count + 1, sizeof(char *));
	auto_free char *path = xasprintf("%s/%llx", a->filters_dir,
					 (unsigned long long)number_of(capabilities, names));
	json_t *whole;
	struct err e;

	if (!map_find(&a->filters, path) || access(path, F_OK) < 0) {
		whole = runtime_default_seccomp(names, count);
		if (runtime_compile_seccomp(whole, path, &e) < 0)
			return whole; /* takes longer */
		json_decref(whole);
		(void)map_put(&a->filters, path, a);
	}
	return json_pack("{s:s, s:s}", "defaultAction", "SCMP_ACT_ERRNO", "compiled", path);
}

static json_t *make_linux(const struct bundle_options *o, const json_t *capabilities)
{
	const struct ecs_container_definition *d = o->container->def;
	auto_free char *cgroup = container_cgroup(o->container);
	json_t *doc = json_pack("{s:o, s:s, s:o, s:o}", "namespaces", make_namespaces(o),
				"cgroupsPath", cgroup, "resources", make_resources(d), "sysctl",
				make_sysctl(o));

	if (o->container->mapped) {
		uint32_t first_id = o->container->task->ids.first_id;

		(void)json_object_set_new(doc, "uidMappings", make_mappings(first_id));
		(void)json_object_set_new(doc, "gidMappings", make_mappings(first_id));
	}
	if (d->privileged) {
		json_t *devices = json_array();

		add_devices(devices, "/dev", 0);
		(void)json_object_set_new(doc, "devices", devices);
		return doc;
	}
	(void)json_object_set_new(doc, "seccomp",
				  make_seccomp(o->container->task->agent, capabilities));
	(void)json_object_set_new(doc, "maskedPaths", list_of(runtime_default_masked_paths()));
	(void)json_object_set_new(doc, "readonlyPaths", list_of(runtime_default_readonly_paths()));
	return doc;
}

/* ---- the document ---- */

static json_t *make_config(const struct bundle_options *o, struct err *e)
{
	const struct ecs_container_definition *d = o->container->def;
	auto_json json_t *capabilities = make_capabilities(d);
	json_t *process = make_process(o, capabilities, e),
	       *mounts = process ? make_mounts(o, e) : NULL;

	if (!mounts) {
		json_decref(process);
		return NULL;
	}
	return json_pack("{s:s, s:o, s:{s:s, s:b}, s:s, s:o, s:o}", "ociVersion",
			 RUNTIME_SPEC_VERSION, "process", process, "root", "path", "rootfs",
			 "readonly", d->readonly_root_filesystem ? 1 : 0, "hostname",
			 bundle_hostname(o->container), "mounts", mounts, "linux",
			 make_linux(o, capabilities));
}

/* What its GPUs need comes last, over what is there. */
static int add_gpus(const struct bundle_options *o, json_t *config, struct err *e)
{
	auto_free char *root = xasprintf("%s/rootfs", o->bundle);

	if (gpus_add(o->container, config, e) < 0)
		return -e->code;
	sort_mounts(json_object_get(config, "mounts"));
	/* Hooks of the container's side look for its root where config.json says that it is. */
	return json_object_get(config, "hooks") ? fs_mkdirs(AT_FDCWD, root, 0700, e) : 0;
}

int bundle_write(const struct bundle_options *o, json_t **ret, struct err *e)
{
	auto_free char *path = xasprintf("%s/config.json", o->bundle);
	auto_json json_t *config = make_config(o, e);
	auto_free char *text = NULL;

	if (!config || add_gpus(o, config, e) < 0)
		return -e->code;
	text = js_dump(config);
	if (fs_write(AT_FDCWD, path, text, strlen(text), 0600, e) < 0)
		return -e->code;
	*ret = take_ptr(config);
	return 0;
}
