/* runtime/config.c - config.json of the OCI runtime-spec as structs
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/config.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"

#define FIELD(type, json, kind, member)                            \
	{                                                          \
		json, kind, offsetof(struct type, member), 0, NULL \
	}
#define BOXED(type, json, kind, member)                                     \
	{                                                                   \
		json, kind, offsetof(struct type, member), JS_POINTER, NULL \
	}
#define NEEDED(type, json, kind, member)                                     \
	{                                                                    \
		json, kind, offsetof(struct type, member), JS_REQUIRED, NULL \
	}
#define OBJECT(type, json, shape, member)                                   \
	{                                                                   \
		json, JS_OBJECT, offsetof(struct type, member), 0, &(shape) \
	}
#define BOXED_OBJECT(type, json, shape, member)                                      \
	{                                                                            \
		json, JS_OBJECT, offsetof(struct type, member), JS_POINTER, &(shape) \
	}
#define OBJECTS(type, json, shape, member)                                   \
	{                                                                    \
		json, JS_OBJECTS, offsetof(struct type, member), 0, &(shape) \
	}
#define SHAPE(what)                                                                       \
	static const struct js_shape what##_shape = JS_SHAPE(#what, struct config_##what, \
							     what##_fields)

/* ---- process ---- */

static const struct js_field capabilities_fields[] = {
	FIELD(config_capabilities, "bounding", JS_STRINGS, bounding),
	FIELD(config_capabilities, "effective", JS_STRINGS, effective),
	FIELD(config_capabilities, "inheritable", JS_STRINGS, inheritable),
	FIELD(config_capabilities, "permitted", JS_STRINGS, permitted),
	FIELD(config_capabilities, "ambient", JS_STRINGS, ambient),
};
SHAPE(capabilities);

static const struct js_field rlimit_fields[] = {
	NEEDED(config_rlimit, "type", JS_STRING, type),
	NEEDED(config_rlimit, "soft", JS_I64, soft),
	NEEDED(config_rlimit, "hard", JS_I64, hard),
};
SHAPE(rlimit);

static const struct js_field user_fields[] = {
	FIELD(config_user, "uid", JS_U32, uid),
	FIELD(config_user, "gid", JS_U32, gid),
	BOXED(config_user, "umask", JS_U32, umask),
	FIELD(config_user, "additionalGids", JS_JSON, additional_gids),
};
SHAPE(user);

static const struct js_field console_fields[] = {
	NEEDED(config_console, "height", JS_U32, height),
	NEEDED(config_console, "width", JS_U32, width),
};
SHAPE(console);

static const struct js_field scheduler_fields[] = {
	NEEDED(config_scheduler, "policy", JS_STRING, policy),
	FIELD(config_scheduler, "nice", JS_I64, nice),
	FIELD(config_scheduler, "priority", JS_I64, priority),
	FIELD(config_scheduler, "flags", JS_STRINGS, flags),
	FIELD(config_scheduler, "runtime", JS_I64, runtime),
	FIELD(config_scheduler, "deadline", JS_I64, deadline),
	FIELD(config_scheduler, "period", JS_I64, period),
};
SHAPE(scheduler);

static const struct js_field io_priority_fields[] = {
	NEEDED(config_io_priority, "class", JS_STRING, class_),
	FIELD(config_io_priority, "priority", JS_I64, priority),
};
SHAPE(io_priority);

static const struct js_field affinity_fields[] = {
	FIELD(config_affinity, "initial", JS_STRING, initial),
	FIELD(config_affinity, "final", JS_STRING, final),
};
SHAPE(affinity);

static const struct js_field process_fields[] = {
	FIELD(config_process, "terminal", JS_BOOL, terminal),
	FIELD(config_process, "noNewPrivileges", JS_BOOL, no_new_privileges),
	BOXED_OBJECT(config_process, "consoleSize", console_shape, console_size),
	OBJECT(config_process, "user", user_shape, user),
	FIELD(config_process, "args", JS_STRINGS, args),
	FIELD(config_process, "env", JS_STRINGS, env),
	NEEDED(config_process, "cwd", JS_STRING, cwd),
	BOXED_OBJECT(config_process, "capabilities", capabilities_shape, capabilities),
	OBJECTS(config_process, "rlimits", rlimit_shape, rlimits),
	FIELD(config_process, "apparmorProfile", JS_STRING, apparmor_profile),
	FIELD(config_process, "selinuxLabel", JS_STRING, selinux_label),
	BOXED(config_process, "oomScoreAdj", JS_I64, oom_score_adj),
	BOXED_OBJECT(config_process, "scheduler", scheduler_shape, scheduler),
	BOXED_OBJECT(config_process, "ioPriority", io_priority_shape, io_priority),
	BOXED_OBJECT(config_process, "execCPUAffinity", affinity_shape, exec_affinity),
};
SHAPE(process);

/* ---- mounts, hooks ---- */

static const struct js_field id_map_fields[] = {
	NEEDED(config_id_map, "containerID", JS_U32, container_id),
	NEEDED(config_id_map, "hostID", JS_U32, host_id),
	NEEDED(config_id_map, "size", JS_U32, size),
};
SHAPE(id_map);

static const struct js_field mount_fields[] = {
	NEEDED(config_mount, "destination", JS_STRING, destination),
	FIELD(config_mount, "type", JS_STRING, type),
	FIELD(config_mount, "source", JS_STRING, source),
	FIELD(config_mount, "options", JS_STRINGS, options),
	OBJECTS(config_mount, "uidMappings", id_map_shape, uid_mappings),
	OBJECTS(config_mount, "gidMappings", id_map_shape, gid_mappings),
};
SHAPE(mount);

static const struct js_field hook_fields[] = {
	NEEDED(config_hook, "path", JS_STRING, path),
	FIELD(config_hook, "args", JS_STRINGS, args),
	FIELD(config_hook, "env", JS_STRINGS, env),
	BOXED(config_hook, "timeout", JS_I64, timeout),
};
SHAPE(hook);

static const struct js_field hooks_fields[] = {
	OBJECTS(config_hooks, "prestart", hook_shape, prestart),
	OBJECTS(config_hooks, "createRuntime", hook_shape, create_runtime),
	OBJECTS(config_hooks, "createContainer", hook_shape, create_container),
	OBJECTS(config_hooks, "startContainer", hook_shape, start_container),
	OBJECTS(config_hooks, "poststart", hook_shape, poststart),
	OBJECTS(config_hooks, "poststop", hook_shape, poststop),
};
SHAPE(hooks);

/* ---- linux ---- */

struct config_namespace {
	char *type, *path;
};

static const struct js_field namespace_fields[] = {
	NEEDED(config_namespace, "type", JS_STRING, type),
	FIELD(config_namespace, "path", JS_STRING, path),
};
SHAPE(namespace);

static const struct js_field device_fields[] = {
	NEEDED(config_device, "type", JS_STRING, type),
	NEEDED(config_device, "path", JS_STRING, path),
	BOXED(config_device, "major", JS_I64, major),
	BOXED(config_device, "minor", JS_I64, minor),
	BOXED(config_device, "fileMode", JS_U32, file_mode),
	BOXED(config_device, "uid", JS_U32, uid),
	BOXED(config_device, "gid", JS_U32, gid),
};
SHAPE(device);

static const struct js_field device_rule_fields[] = {
	NEEDED(config_device_rule, "allow", JS_BOOL, allow),
	FIELD(config_device_rule, "type", JS_STRING, type),
	BOXED(config_device_rule, "major", JS_I64, major),
	BOXED(config_device_rule, "minor", JS_I64, minor),
	FIELD(config_device_rule, "access", JS_STRING, access),
};
SHAPE(device_rule);

static const struct js_field memory_fields[] = {
	BOXED(config_memory, "limit", JS_I64, limit),
	BOXED(config_memory, "reservation", JS_I64, reservation),
	BOXED(config_memory, "swap", JS_I64, swap),
	BOXED(config_memory, "swappiness", JS_I64, swappiness),
	BOXED(config_memory, "kernel", JS_I64, kernel),
	BOXED(config_memory, "kernelTCP", JS_I64, kernel_tcp),
	FIELD(config_memory, "disableOOMKiller", JS_BOOL, disable_oom_killer),
	FIELD(config_memory, "useHierarchy", JS_BOOL, use_hierarchy),
	FIELD(config_memory, "checkBeforeUpdate", JS_BOOL, check_before_update),
};
SHAPE(memory);

static const struct js_field cpu_fields[] = {
	BOXED(config_cpu, "shares", JS_I64, shares),
	BOXED(config_cpu, "quota", JS_I64, quota),
	BOXED(config_cpu, "burst", JS_I64, burst),
	BOXED(config_cpu, "period", JS_I64, period),
	BOXED(config_cpu, "idle", JS_I64, idle),
	FIELD(config_cpu, "cpus", JS_STRING, cpus),
	FIELD(config_cpu, "mems", JS_STRING, mems),
	BOXED(config_cpu, "realtimeRuntime", JS_I64, rt_runtime),
	BOXED(config_cpu, "realtimePeriod", JS_I64, rt_period),
};
SHAPE(cpu);

static const struct js_field pids_fields[] = {
	NEEDED(config_pids, "limit", JS_I64, limit),
};
SHAPE(pids);

static const struct js_field weight_device_fields[] = {
	NEEDED(config_weight_device, "major", JS_I64, major),
	NEEDED(config_weight_device, "minor", JS_I64, minor),
	BOXED(config_weight_device, "weight", JS_U32, weight),
	BOXED(config_weight_device, "leafWeight", JS_U32, leaf_weight),
};
SHAPE(weight_device);

static const struct js_field throttle_device_fields[] = {
	NEEDED(config_throttle_device, "major", JS_I64, major),
	NEEDED(config_throttle_device, "minor", JS_I64, minor),
	NEEDED(config_throttle_device, "rate", JS_I64, rate),
};
SHAPE(throttle_device);

static const struct js_field block_io_fields[] = {
	BOXED(config_block_io, "weight", JS_U32, weight),
	BOXED(config_block_io, "leafWeight", JS_U32, leaf_weight),
	OBJECTS(config_block_io, "weightDevice", weight_device_shape, weight_devices),
	OBJECTS(config_block_io, "throttleReadBpsDevice", throttle_device_shape, read_bps),
	OBJECTS(config_block_io, "throttleWriteBpsDevice", throttle_device_shape, write_bps),
	OBJECTS(config_block_io, "throttleReadIOPSDevice", throttle_device_shape, read_iops),
	OBJECTS(config_block_io, "throttleWriteIOPSDevice", throttle_device_shape, write_iops),
};
SHAPE(block_io);

static const struct js_field hugepage_fields[] = {
	NEEDED(config_hugepage, "pageSize", JS_STRING, page_size),
	NEEDED(config_hugepage, "limit", JS_I64, limit),
};
SHAPE(hugepage);

static const struct js_field net_priority_fields[] = {
	NEEDED(config_net_priority, "name", JS_STRING, name),
	NEEDED(config_net_priority, "priority", JS_U32, priority),
};
SHAPE(net_priority);

static const struct js_field network_fields[] = {
	BOXED(config_network, "classID", JS_U32, class_id),
	OBJECTS(config_network, "priorities", net_priority_shape, priorities),
};
SHAPE(network);

static const struct js_field rdma_fields[] = {
	BOXED(config_rdma, "hcaHandles", JS_U32, handles),
	BOXED(config_rdma, "hcaObjects", JS_U32, objects),
};
SHAPE(rdma);

static const struct js_field resources_fields[] = {
	OBJECTS(config_resources, "devices", device_rule_shape, devices),
	OBJECT(config_resources, "memory", memory_shape, memory),
	OBJECT(config_resources, "cpu", cpu_shape, cpu),
	BOXED_OBJECT(config_resources, "pids", pids_shape, pids),
	OBJECT(config_resources, "blockIO", block_io_shape, block_io),
	OBJECTS(config_resources, "hugepageLimits", hugepage_shape, hugepages),
	OBJECT(config_resources, "network", network_shape, network),
	FIELD(config_resources, "rdma", JS_JSON, rdma_object),
	FIELD(config_resources, "unified", JS_MAP, unified),
};
SHAPE(resources);

static const struct js_field clock_offset_fields[] = {
	FIELD(config_clock_offset, "secs", JS_I64, secs),
	FIELD(config_clock_offset, "nanosecs", JS_U32, nanosecs),
};
SHAPE(clock_offset);

static const struct js_field time_offsets_fields[] = {
	BOXED_OBJECT(config_time_offsets, "monotonic", clock_offset_shape, monotonic),
	BOXED_OBJECT(config_time_offsets, "boottime", clock_offset_shape, boottime),
};
SHAPE(time_offsets);

static const struct js_field personality_fields[] = {
	NEEDED(config_personality, "domain", JS_STRING, domain),
	FIELD(config_personality, "flags", JS_STRINGS, flags),
};
SHAPE(personality);

static const struct js_field memory_policy_fields[] = {
	NEEDED(config_memory_policy, "mode", JS_STRING, mode),
	FIELD(config_memory_policy, "nodes", JS_STRING, nodes),
	FIELD(config_memory_policy, "flags", JS_STRINGS, flags),
};
SHAPE(memory_policy);

static const struct js_field rdt_fields[] = {
	FIELD(config_rdt, "closID", JS_STRING, clos_id),
	FIELD(config_rdt, "schemata", JS_STRINGS, schemata),
	FIELD(config_rdt, "l3CacheSchema", JS_STRING, l3_schema),
	FIELD(config_rdt, "memBwSchema", JS_STRING, bandwidth_schema),
	FIELD(config_rdt, "enableMonitoring", JS_BOOL, monitoring),
	FIELD(config_rdt, "enableCMT", JS_BOOL, cmt),
	FIELD(config_rdt, "enableMBM", JS_BOOL, mbm),
};
SHAPE(rdt);

static const struct js_field net_device_fields[] = {
	FIELD(config_net_device, "name", JS_STRING, name),
};
SHAPE(net_device);

static const struct js_field listener_fields[] = {
	FIELD(config_listener, "listenerPath", JS_STRING, path),
	FIELD(config_listener, "listenerMetadata", JS_STRING, metadata),
};
SHAPE(listener);

static const struct js_field linux_fields[] = {
	OBJECTS(config_linux, "namespaces", namespace_shape, namespaces),
	OBJECTS(config_linux, "uidMappings", id_map_shape, uid_mappings),
	OBJECTS(config_linux, "gidMappings", id_map_shape, gid_mappings),
	FIELD(config_linux, "sysctl", JS_MAP, sysctl),
	FIELD(config_linux, "cgroupsPath", JS_STRING, cgroups_path),
	OBJECT(config_linux, "resources", resources_shape, resources),
	OBJECTS(config_linux, "devices", device_shape, devices),
	FIELD(config_linux, "seccomp", JS_JSON, seccomp),
	OBJECT(config_linux, "timeOffsets", time_offsets_shape, time_offsets),
	FIELD(config_linux, "rootfsPropagation", JS_STRING, rootfs_propagation),
	FIELD(config_linux, "mountLabel", JS_STRING, mount_label),
	FIELD(config_linux, "maskedPaths", JS_STRINGS, masked_paths),
	FIELD(config_linux, "readonlyPaths", JS_STRINGS, readonly_paths),
	FIELD(config_linux, "netDevices", JS_JSON, net_devices_object),
	BOXED_OBJECT(config_linux, "personality", personality_shape, personality),
	BOXED_OBJECT(config_linux, "memoryPolicy", memory_policy_shape, memory_policy),
	BOXED_OBJECT(config_linux, "intelRdt", rdt_shape, rdt),
};
SHAPE(linux);

static const struct js_field root_fields[] = {
	NEEDED(config_root, "path", JS_STRING, path),
	FIELD(config_root, "readonly", JS_BOOL, readonly),
};
SHAPE(root);

static const struct js_field config_fields[] = {
	NEEDED(config, "ociVersion", JS_STRING, oci_version),
	BOXED_OBJECT(config, "process", process_shape, process),
	BOXED_OBJECT(config, "root", root_shape, root),
	FIELD(config, "hostname", JS_STRING, hostname),
	FIELD(config, "domainname", JS_STRING, domainname),
	OBJECTS(config, "mounts", mount_shape, mounts),
	OBJECT(config, "hooks", hooks_shape, hooks),
	FIELD(config, "annotations", JS_MAP, annotations),
	OBJECT(config, "linux", linux_shape, linux_),
};
static const struct js_shape config_shape = JS_SHAPE("config", struct config, config_fields);

/* ---- what the spec knows and we do not honour ---- */

/* '[]' stands for each element of a list.  Absent, null, false, 0 and empty say nothing. */
static const char *const unsupported[] = {"solaris", "windows", "vm",
					  "zos",     "freebsd", "process.commandLine"};

static bool says_something(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return json_object_size(v) > 0;
	case JSON_ARRAY:
		return json_array_size(v) > 0;
	case JSON_STRING:
		return json_string_length(v) > 0;
	case JSON_INTEGER:
		return json_integer_value(v) != 0;
	case JSON_REAL:
		return json_real_value(v) != 0;
	case JSON_TRUE:
		return true;
	case JSON_FALSE:
	case JSON_NULL:
		return false;
	}
	return true;
}

/* Is there something at 'path' below 'v'?  Whatever has the wrong type is the decoder's to refuse. */
static bool is_given(const json_t *v, const char *path)
{
	size_t len = strcspn(path, ".[");
	const json_t *inner = json_object_getn(v, path, len);

	if (!inner)
		return false;
	if (path[len] == '\0')
		return says_something(inner);
	if (path[len] == '.')
		return is_given(inner, path + len + 1);
	for (size_t i = 0; i < json_array_size(inner); i++)
		if (is_given(json_array_get(inner, i), path + len + 3))
			return true;
	return false;
}

static int refuse_unsupported(const json_t *doc, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(unsupported); i++)
		if (is_given(doc, unsupported[i]))
			return err_set(e, ENOTSUP, "%s: not supported", unsupported[i]);
	return 0;
}

/* ---- decode ---- */

static int decode_namespaces(struct config *c, struct err *e)
{
	const struct js_list *list = &c->linux_.namespaces;

	for (size_t i = 0; i < list->count; i++) {
		const struct config_namespace *n = JS_AT(*list, struct config_namespace, i);
		enum ns_kind kind = ns_find(n->type);

		if (kind == NS_COUNT)
			return err_set(e, EINVAL, "linux.namespaces[%zu].type: '%s' is unknown", i,
				       n->type);
		if (c->ns[kind].wanted)
			return err_set(e, EINVAL, "linux.namespaces[%zu]: a second %s namespace", i,
				       n->type);
		c->ns[kind].wanted = true;
		c->ns[kind].path = n->path && n->path[0] ? n->path : NULL;
	}
	return 0;
}

/* An object of objects: each becomes an element, whose first member is its key. */
static int decode_named(const json_t *object, const struct js_shape *shape, const char *member,
			struct arena *a, struct js_list *ret, struct err *e)
{
	const char *key;
	json_t *value;
	char *at;

	if (!object)
		return 0;
	if (!json_is_object(object) || json_object_size(object) > CONFIG_LIST_MAX)
		return err_set(e, EINVAL, "%s: expected an object of at most %d members", member,
			       CONFIG_LIST_MAX);
	ret->items = at = arena_alloc(a, (json_object_size(object) + 1) * shape->size);
	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		if (js_decode(value, shape, a, at, e) < 0)
			return err_wrap(e, "%s.%s", member, key);
		*(char **)(void *)at = arena_strdup(a, key);
		at += shape->size;
		ret->count++;
	}
	return 0;
}

static int decode_rest_of_resources(struct config_resources *r, struct arena *a, struct err *e)
{
	return decode_named(r->rdma_object, &rdma_shape, "linux.resources.rdma", a, &r->rdma, e);
}

/* What of linux is not told by its table. */
static int decode_rest(struct config_linux *l, struct arena *a, struct err *e)
{
	if (decode_rest_of_resources(&l->resources, a, e) < 0 ||
	    decode_named(l->net_devices_object, &net_device_shape, "linux.netDevices", a,
			 &l->net_devices, e) < 0)
		return -e->code;
	if (json_is_object(l->seccomp) &&
	    js_decode(l->seccomp, &listener_shape, a, &l->listener, e) < 0)
		return err_wrap(e, "linux.seccomp");
	return 0;
}

int config_parse(const char *text, size_t size, json_t **ret, struct err *e)
{
	if (size > CONFIG_SIZE_MAX)
		return err_set(e, EFBIG, "more than %d bytes", CONFIG_SIZE_MAX);
	return js_parse_u64(text, size, CONFIG_DEPTH_MAX, ret, e);
}

int config_decode(const char *text, size_t size, struct config_doc *ret, struct err *e)
{
	struct config *c = &ret->config;

	if (config_parse(text, size, &ret->doc, e) < 0)
		return -e->code;
	if (js_decode(ret->doc, &config_shape, &ret->arena, c, e) < 0)
		return -e->code;
	if (refuse_unsupported(ret->doc, e) < 0)
		return -e->code;
	if (decode_namespaces(c, e) < 0 || decode_rest(&c->linux_, &ret->arena, e) < 0)
		return -e->code;
	return config_check(c, &ret->arena, e);
}

void config_doc_done(struct config_doc *d)
{
	js_done(d->doc);
	arena_done(&d->arena);
	*d = (struct config_doc){0};
}

int config_decode_hooks(const json_t *doc, struct arena *a, struct config_hooks *ret, struct err *e)
{
	*ret = (struct config_hooks){0};
	return doc ? js_decode(doc, &hooks_shape, a, ret, e) : 0;
}

int config_decode_resources(const json_t *doc, struct arena *a, struct config_resources *ret,
			    struct err *e)
{
	*ret = (struct config_resources){0};
	if (doc && js_decode(doc, &resources_shape, a, ret, e) < 0)
		return -e->code;
	return decode_rest_of_resources(ret, a, e);
}

int config_decode_linux(const json_t *doc, struct arena *a, struct config_linux *ret, struct err *e)
{
	*ret = (struct config_linux){0};
	if (doc && js_decode(doc, &linux_shape, a, ret, e) < 0)
		return -e->code;
	return decode_rest(ret, a, e);
}

int config_decode_process(const json_t *doc, struct arena *a, struct config_process *ret,
			  struct err *e)
{
	static const char prefix[] = "process.";

	if (js_decode(doc, &process_shape, a, ret, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ARRAY_COUNT(unsupported); i++)
		if (str_starts(unsupported[i], prefix) &&
		    is_given(doc, unsupported[i] + strlen(prefix)))
			return err_set(e, ENOTSUP, "%s: not supported", unsupported[i]);
	return config_check_process(ret, a, e);
}
