/* ecs/taskdef.c - task definitions as structs
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ecs/taskdef.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"

#define FIELD(type, name, kind, member, flags)                  \
	{                                                       \
		name, kind, offsetof(type, member), flags, NULL \
	}
#define FIELD_OF(type, name, kind, member, flags, shape)          \
	{                                                         \
		name, kind, offsetof(type, member), flags, &shape \
	}

static const struct js_field key_value_fields[] = {
	FIELD(struct ecs_key_value, "name", JS_STRING, name, 0),
	FIELD(struct ecs_key_value, "value", JS_STRING, value, 0),
};
static const struct js_shape key_value_shape = JS_SHAPE("KeyValuePair", struct ecs_key_value,
							key_value_fields);

static const struct js_field system_control_fields[] = {
	FIELD(struct ecs_key_value, "namespace", JS_STRING, name, 0),
	FIELD(struct ecs_key_value, "value", JS_STRING, value, 0),
};
static const struct js_shape system_control_shape = JS_SHAPE("SystemControl", struct ecs_key_value,
							     system_control_fields);

static const struct js_field port_mapping_fields[] = {
	FIELD(struct ecs_port_mapping, "containerPort", JS_I64, container_port, 0),
	FIELD(struct ecs_port_mapping, "containerPortRange", JS_STRING, container_port_range, 0),
	FIELD(struct ecs_port_mapping, "hostPort", JS_I64, host_port, 0),
	FIELD(struct ecs_port_mapping, "protocol", JS_STRING, protocol, 0),
	FIELD(struct ecs_port_mapping, "name", JS_STRING, name, 0),
	FIELD(struct ecs_port_mapping, "appProtocol", JS_STRING, app_protocol, 0),
};
static const struct js_shape port_mapping_shape = JS_SHAPE("PortMapping", struct ecs_port_mapping,
							   port_mapping_fields);

static const struct js_field mount_point_fields[] = {
	FIELD(struct ecs_mount_point, "sourceVolume", JS_STRING, source_volume, 0),
	FIELD(struct ecs_mount_point, "containerPath", JS_STRING, container_path, 0),
	FIELD(struct ecs_mount_point, "readOnly", JS_BOOL, read_only, 0),
};
static const struct js_shape mount_point_shape = JS_SHAPE("MountPoint", struct ecs_mount_point,
							  mount_point_fields);

static const struct js_field ulimit_fields[] = {
	FIELD(struct ecs_ulimit, "name", JS_STRING, name, 0),
	FIELD(struct ecs_ulimit, "softLimit", JS_I64, soft_limit, JS_ALWAYS),
	FIELD(struct ecs_ulimit, "hardLimit", JS_I64, hard_limit, JS_ALWAYS),
};
static const struct js_shape ulimit_shape = JS_SHAPE("Ulimit", struct ecs_ulimit, ulimit_fields);

static const struct js_field host_entry_fields[] = {
	FIELD(struct ecs_host_entry, "hostname", JS_STRING, hostname, 0),
	FIELD(struct ecs_host_entry, "ipAddress", JS_STRING, ip_address, 0),
};
static const struct js_shape host_entry_shape = JS_SHAPE("HostEntry", struct ecs_host_entry,
							 host_entry_fields);

static const struct js_field tmpfs_fields[] = {
	FIELD(struct ecs_tmpfs, "containerPath", JS_STRING, container_path, 0),
	FIELD(struct ecs_tmpfs, "size", JS_I64, size, 0),
	FIELD(struct ecs_tmpfs, "mountOptions", JS_STRINGS, mount_options, 0),
};
static const struct js_shape tmpfs_shape = JS_SHAPE("Tmpfs", struct ecs_tmpfs, tmpfs_fields);

static const struct js_field capability_fields[] = {
	FIELD(struct ecs_kernel_capabilities, "add", JS_STRINGS, add, 0),
	FIELD(struct ecs_kernel_capabilities, "drop", JS_STRINGS, drop, 0),
};
static const struct js_shape capability_shape =
	JS_SHAPE("KernelCapabilities", struct ecs_kernel_capabilities, capability_fields);

static const struct js_field linux_parameter_fields[] = {
	FIELD_OF(struct ecs_linux_parameters, "capabilities", JS_OBJECT, capabilities, 0,
		 capability_shape),
	FIELD(struct ecs_linux_parameters, "sharedMemorySize", JS_I64, shared_memory_size,
	      JS_POINTER),
	FIELD_OF(struct ecs_linux_parameters, "tmpfs", JS_OBJECTS, tmpfs, 0, tmpfs_shape),
};
static const struct js_shape linux_parameter_shape =
	JS_SHAPE("LinuxParameters", struct ecs_linux_parameters, linux_parameter_fields);

static const struct js_field resource_requirement_fields[] = {
	FIELD(struct ecs_resource_requirement, "value", JS_STRING, value, 0),
	FIELD(struct ecs_resource_requirement, "type", JS_STRING, type, 0),
};
static const struct js_shape resource_requirement_shape = JS_SHAPE(
	"ResourceRequirement", struct ecs_resource_requirement, resource_requirement_fields);

static const struct js_field log_configuration_fields[] = {
	FIELD(struct ecs_log_configuration, "logDriver", JS_STRING, log_driver, 0),
	FIELD(struct ecs_log_configuration, "options", JS_MAP, options, 0),
};
static const struct js_shape log_configuration_shape =
	JS_SHAPE("LogConfiguration", struct ecs_log_configuration, log_configuration_fields);

static const struct js_field repository_credentials_fields[] = {
	FIELD(struct ecs_repository_credentials, "credentialsParameter", JS_STRING, parameter, 0),
};
static const struct js_shape repository_credentials_shape = JS_SHAPE(
	"RepositoryCredentials", struct ecs_repository_credentials, repository_credentials_fields);

#define CONTAINER(name, kind, member, flags) \
	FIELD(struct ecs_container_definition, name, kind, member, flags)
#define CONTAINER_OF(name, kind, member, flags, shape) \
	FIELD_OF(struct ecs_container_definition, name, kind, member, flags, shape)

static const struct js_field container_fields[] = {
	CONTAINER("name", JS_STRING, name, 0),
	CONTAINER("image", JS_STRING, image, 0),
	CONTAINER_OF("repositoryCredentials", JS_OBJECT, repository_credentials, 0,
		     repository_credentials_shape),
	CONTAINER("cpu", JS_I64, cpu, 0),
	CONTAINER("memory", JS_I64, memory, JS_POINTER),
	CONTAINER("memoryReservation", JS_I64, memory_reservation, JS_POINTER),
	CONTAINER_OF("portMappings", JS_OBJECTS, port_mappings, 0, port_mapping_shape),
	CONTAINER("essential", JS_BOOL, essential, JS_POINTER),
	CONTAINER("entryPoint", JS_STRINGS, entry_point, JS_POINTER),
	CONTAINER("command", JS_STRINGS, command, JS_POINTER),
	CONTAINER_OF("environment", JS_OBJECTS, environment, 0, key_value_shape),
	CONTAINER_OF("mountPoints", JS_OBJECTS, mount_points, 0, mount_point_shape),
	CONTAINER_OF("linuxParameters", JS_OBJECT, linux_parameters, 0, linux_parameter_shape),
	CONTAINER("stopTimeout", JS_I64, stop_timeout, JS_POINTER),
	CONTAINER("hostname", JS_STRING, hostname, 0),
	CONTAINER("user", JS_STRING, user, 0),
	CONTAINER("workingDirectory", JS_STRING, working_directory, 0),
	CONTAINER("disableNetworking", JS_BOOL, disable_networking, 0),
	CONTAINER("privileged", JS_BOOL, privileged, 0),
	CONTAINER("readonlyRootFilesystem", JS_BOOL, readonly_root_filesystem, 0),
	CONTAINER("links", JS_STRINGS, links, 0),
	CONTAINER("dnsServers", JS_STRINGS, dns_servers, 0),
	CONTAINER("dnsSearchDomains", JS_STRINGS, dns_search_domains, 0),
	CONTAINER_OF("extraHosts", JS_OBJECTS, extra_hosts, 0, host_entry_shape),
	CONTAINER("dockerLabels", JS_MAP, docker_labels, 0),
	CONTAINER_OF("ulimits", JS_OBJECTS, ulimits, 0, ulimit_shape),
	CONTAINER_OF("logConfiguration", JS_OBJECT, log_configuration, JS_POINTER,
		     log_configuration_shape),
	CONTAINER_OF("systemControls", JS_OBJECTS, system_controls, 0, system_control_shape),
	CONTAINER_OF("resourceRequirements", JS_OBJECTS, resource_requirements, 0,
		     resource_requirement_shape),
};
static const struct js_shape container_shape =
	JS_SHAPE("ContainerDefinition", struct ecs_container_definition, container_fields);

static const struct js_field host_fields[] = {
	FIELD(struct ecs_host_volume, "sourcePath", JS_STRING, source_path, 0),
};
static const struct js_shape host_shape = JS_SHAPE("HostVolumeProperties", struct ecs_host_volume,
						   host_fields);

static const struct js_field volume_fields[] = {
	FIELD(struct ecs_volume, "name", JS_STRING, name, 0),
	FIELD_OF(struct ecs_volume, "host", JS_OBJECT, host, 0, host_shape),
};
static const struct js_shape volume_shape = JS_SHAPE("Volume", struct ecs_volume, volume_fields);

static const struct js_field platform_fields[] = {
	FIELD(struct ecs_runtime_platform, "cpuArchitecture", JS_STRING, cpu_architecture, 0),
	FIELD(struct ecs_runtime_platform, "operatingSystemFamily", JS_STRING,
	      operating_system_family, 0),
};
static const struct js_shape platform_shape =
	JS_SHAPE("RuntimePlatform", struct ecs_runtime_platform, platform_fields);

static const struct js_field storage_fields[] = {
	FIELD(struct ecs_ephemeral_storage, "sizeInGiB", JS_I64, size_gib, 0),
};
static const struct js_shape storage_shape = JS_SHAPE("EphemeralStorage",
						      struct ecs_ephemeral_storage, storage_fields);

#define TASK(name, kind, member) FIELD(struct ecs_task_definition, name, kind, member, 0)
#define TASK_OF(name, kind, member, shape) \
	FIELD_OF(struct ecs_task_definition, name, kind, member, 0, shape)

static const struct js_field task_definition_fields[] = {
	TASK("family", JS_STRING, family),
	TASK("revision", JS_I64, revision),
	TASK("networkMode", JS_STRING, network_mode),
	TASK_OF("containerDefinitions", JS_OBJECTS, containers, container_shape),
	TASK_OF("volumes", JS_OBJECTS, volumes, volume_shape),
	TASK("requiresCompatibilities", JS_STRINGS, requires_compatibilities),
	TASK("cpu", JS_STRING, cpu),
	TASK("memory", JS_STRING, memory),
	TASK_OF("runtimePlatform", JS_OBJECT, runtime_platform, platform_shape),
	TASK_OF("ephemeralStorage", JS_OBJECT, ephemeral_storage, storage_shape),
};
const struct js_shape ecs_task_definition_shape =
	JS_SHAPE("TaskDefinition", struct ecs_task_definition, task_definition_fields);

int ecs_task_definition_decode(const json_t *doc, struct arena *a, struct ecs_task_definition *ret,
			       struct err *e)
{
	return js_decode(doc, &ecs_task_definition_shape, a, ret, e);
}

/* A decimal number in front of one of two spellings of a unit; blanks between are fine. */
static bool parse_with_unit(const char *text, const char *unit, double factor, int64_t *ret)
{
	size_t digits = strspn(text, "0123456789.");
	auto_free char *number = strndup(text, digits);
	const char *rest = text + digits;
	char *end = NULL;
	double value;

	rest += strspn(rest, " ");
	if (!number || !digits || strcasecmp(rest, unit) != 0)
		return false;
	value = strtod(number, &end) * factor;
	if (*end || value < 0 || value > 1e12 || value != floor(value))
		return false;
	*ret = (int64_t)value;
	return true;
}

bool ecs_parse_cpu(const char *text, int64_t *ret_units)
{
	return parse_i64(text, 0, INT32_MAX, ret_units) ||
	       parse_with_unit(text, "vcpu", 1024, ret_units);
}

bool ecs_parse_memory(const char *text, int64_t *ret_mib)
{
	return parse_i64(text, 0, INT32_MAX, ret_mib) || parse_with_unit(text, "gb", 1024, ret_mib);
}

bool ecs_parse_port_range(const char *text, uint16_t *ret_first, uint16_t *ret_last)
{
	size_t len = strcspn(text, "-");
	auto_free char *first = xstrndup(text, len);
	uint32_t a, b;

	if (!text[len] || !parse_u32(first, UINT16_MAX, &a) ||
	    !parse_u32(text + len + 1, UINT16_MAX, &b) || a < 1 || a >= b)
		return false;
	*ret_first = (uint16_t)a;
	*ret_last = (uint16_t)b;
	return true;
}

void ecs_container_ports(const struct ecs_port_mapping *p, uint16_t *ret_first, uint16_t *ret_last)
{
	if (!p->container_port_range ||
	    !ecs_parse_port_range(p->container_port_range, ret_first, ret_last))
		*ret_first = *ret_last = (uint16_t)p->container_port;
}

size_t ecs_link_name_len(const char *link)
{
	return strcspn(link, ":");
}

int64_t ecs_container_gpus(const struct ecs_container_definition *c)
{
	int64_t value = 0;

	for (size_t i = 0; i < c->resource_requirements.count; i++) {
		const struct ecs_resource_requirement *r =
			JS_AT(c->resource_requirements, struct ecs_resource_requirement, i);

		if (str_eq(r->type, "GPU") && r->value &&
		    parse_i64(r->value, 1, ECS_GPUS_MAX, &value))
			return value;
	}
	return 0;
}

void ecs_task_definition_demand(const struct ecs_task_definition *t, struct ecs_demand *ret)
{
	struct ecs_demand sum = {0};
	int64_t value;

	for (size_t i = 0; i < t->containers.count; i++) {
		const struct ecs_container_definition *c =
			JS_AT(t->containers, struct ecs_container_definition, i);

		sum.cpu_units += c->cpu;
		sum.gpus += ecs_container_gpus(c);
		sum.memory_mib += c->memory_reservation ? *c->memory_reservation
				  : c->memory           ? *c->memory
							: 0;
	}
	if (t->cpu && ecs_parse_cpu(t->cpu, &value))
		sum.cpu_units = value;
	if (t->memory && ecs_parse_memory(t->memory, &value))
		sum.memory_mib = value;
	*ret = sum;
}
