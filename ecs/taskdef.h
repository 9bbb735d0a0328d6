/* ecs/taskdef.h - task definitions: what Berth acts on, and the rules of ECS
 * SPDX-License-Identifier: Apache-2.0
 *
 * The document that a caller registered is kept and given back whole; these
 * structs are the part of it that somebody acts on.  Everything lives in the
 * arena that the definition was decoded into.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/js.h"
#include "ecs/fault.h"

#define ECS_CONTAINERS_MAX     10
#define ECS_MEMORY_MIN_MIB     6  /* of a container: what Docker, and so ECS, needs to start one */
#define ECS_STOP_TIMEOUT_S     30 /* default */
#define ECS_STOP_TIMEOUT_MAX_S 86400
#define ECS_GPUS_MAX           256   /* of a container, and of a container instance */
#define ECS_DEFINITION_SIZE    65536 /* bytes of a registered document */

struct ecs_key_value {
	char *name, *value;
};

struct ecs_port_mapping {
	int64_t container_port;     /* 0: container_port_range */
	char *container_port_range; /* "8000-8100" */
	int64_t host_port;          /* 0: dynamic */
	char *protocol;             /* "tcp" or "udp" */
	char *name, *app_protocol;
};

struct ecs_mount_point {
	char *source_volume, *container_path;
	bool read_only;
};

struct ecs_ulimit {
	char *name;
	int64_t soft_limit, hard_limit;
};

struct ecs_host_entry {
	char *hostname, *ip_address;
};

struct ecs_tmpfs {
	char *container_path;
	int64_t size; /* MiB */
	struct js_strings mount_options;
};

struct ecs_kernel_capabilities {
	struct js_strings add, drop;
};

struct ecs_linux_parameters {
	struct ecs_kernel_capabilities capabilities;
	int64_t *shared_memory_size; /* MiB */
	struct js_list tmpfs;        /* ecs_tmpfs */
};

struct ecs_log_configuration {
	char *log_driver;
	struct js_map options;
};

/* Who asks the image's registry: an ARN of Secrets Manager, or a secret's name. */
struct ecs_repository_credentials {
	char *parameter;
};

/* Of type GPU: how many, "2". */
struct ecs_resource_requirement {
	char *value, *type;
};

struct ecs_container_definition {
	char *name, *image;
	struct ecs_repository_credentials repository_credentials; /* .parameter NULL: none */
	int64_t cpu;                                              /* CPU units, 1024 a core */
	int64_t *memory, *memory_reservation;                     /* MiB */
	struct js_list port_mappings;                             /* ecs_port_mapping */
	bool *essential;
	struct js_strings *entry_point, *command; /* NULL: the image's */
	struct js_list environment;               /* ecs_key_value */
	struct js_list mount_points;              /* ecs_mount_point */
	struct ecs_linux_parameters linux_parameters;
	int64_t *stop_timeout; /* seconds */
	char *hostname, *user, *working_directory;
	bool disable_networking, privileged, readonly_root_filesystem;
	struct js_strings dns_servers, dns_search_domains;
	struct js_list extra_hosts; /* ecs_host_entry */
	struct js_map docker_labels;
	struct js_strings links; /* "name" or "name:alias" */
	struct js_list ulimits;  /* ecs_ulimit */
	struct ecs_log_configuration *log_configuration;
	struct js_list system_controls;       /* ecs_key_value: namespace, value */
	struct js_list resource_requirements; /* ecs_resource_requirement */
};

struct ecs_host_volume {
	char *source_path; /* NULL: a directory that lives as long as the task */
};

struct ecs_volume {
	char *name;
	struct ecs_host_volume host;
};

struct ecs_runtime_platform {
	char *cpu_architecture, *operating_system_family;
};

struct ecs_ephemeral_storage {
	int64_t size_gib; /* 0: no limit */
};

struct ecs_task_definition {
	char *family;
	int64_t revision;
	char *network_mode;        /* NULL: bridge */
	struct js_list containers; /* ecs_container_definition */
	struct js_list volumes;    /* ecs_volume */
	struct js_strings requires_compatibilities;
	char *cpu, *memory;
	struct ecs_runtime_platform runtime_platform;
	struct ecs_ephemeral_storage ephemeral_storage;
};

extern const struct js_shape ecs_task_definition_shape;

/* Decode a document that passed ecs_model_check(). */
int ecs_task_definition_decode(const json_t *doc, struct arena *a, struct ecs_task_definition *ret,
			       struct err *e);

/* The rules of RegisterTaskDefinition; 'region' is the one that awslogs may name. */
int ecs_task_definition_check(const struct ecs_task_definition *t, const char *region,
			      struct ecs_fault *f);

/* Fill in what ECS fills in when it echoes a definition (cpu 0, essential true, empty lists...). */
void ecs_task_definition_set_defaults(json_t *doc);

/* "256", "1 vCPU", ".5vcpu" to CPU units; "512", "1GB", "0.5 GB" to MiB; false: neither. */
bool ecs_parse_cpu(const char *text, int64_t *ret_units);
bool ecs_parse_memory(const char *text, int64_t *ret_mib);

/* "8000-8100": the first is less than the last. */
bool ecs_parse_port_range(const char *text, uint16_t *ret_first, uint16_t *ret_last);
/* The ports of a mapping in the container: of one they are the same. */
void ecs_container_ports(const struct ecs_port_mapping *p, uint16_t *ret_first, uint16_t *ret_last);
/* Characters of the container's name in a link; behind them is ":alias" or nothing. */
size_t ecs_link_name_len(const char *link);

static inline bool ecs_is_essential(const struct ecs_container_definition *c)
{
	return !c->essential || *c->essential;
}

/* GPUs that a container is to have, of one whose definition was checked. */
int64_t ecs_container_gpus(const struct ecs_container_definition *c);

/* What a task takes of its container instance. */
struct ecs_demand {
	int64_t cpu_units, memory_mib;
	int64_t gpus;
};

void ecs_task_definition_demand(const struct ecs_task_definition *t, struct ecs_demand *ret);
