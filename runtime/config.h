/* runtime/config.h - config.json of the OCI runtime-spec as structs
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is decoded here is honoured; what the spec knows beyond it is refused by
 * name (config.c: 'unsupported'); what the spec does not know is passed over,
 * as it asks.  A config that config_decode() has let through contradicts itself
 * nowhere: what can then still fail is the host's affair.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/js.h"
#include "runtime/namespaces.h"

#define CONFIG_SIZE_MAX   (4 * 1024 * 1024) /* bytes of config.json; podman writes about 40 KiB */
#define CONFIG_DEPTH_MAX  32
#define CONFIG_MOUNTS_MAX 1024       /* each holds a descriptor while the container is made */
#define CONFIG_GROUPS_MAX 65536      /* NGROUPS_MAX */
#define CONFIG_LIST_MAX   256        /* devices with limits of their own, page sizes, interfaces */
#define ID_INVALID        UINT32_MAX /* "unchanged" to setresuid(2) and its kin: never an id */

struct config_capabilities {
	struct js_strings bounding, effective, inheritable, permitted, ambient;
};

struct config_rlimit {
	char *type;
	int64_t soft, hard; /* unsigned in the spec: -1 is RLIM_INFINITY */
};

struct config_user {
	uint32_t uid, gid;
	uint32_t *umask;
	json_t *additional_gids;
	gid_t *groups; /* of additional_gids */
	size_t group_count;
};

struct config_console {
	uint32_t height, width;
};

struct config_scheduler {
	char *policy;
	int64_t nice, priority;
	struct js_strings flags;
	int64_t runtime, deadline, period; /* ns; unsigned in the spec */
};

struct config_io_priority {
	char *class_;
	int64_t priority;
};

struct config_affinity {
	char *initial, *final; /* "0-3,7"; before and in the container's cgroup */
};

struct config_process {
	bool terminal, no_new_privileges;
	struct config_console *console_size;
	struct config_user user;
	struct js_strings args, env;
	char *cwd;
	struct config_capabilities *capabilities;
	struct js_list rlimits; /* struct config_rlimit */
	char *apparmor_profile, *selinux_label;
	int64_t *oom_score_adj;
	struct config_scheduler *scheduler;
	struct config_io_priority *io_priority;
	struct config_affinity *exec_affinity;
};

struct config_id_map {
	uint32_t container_id, host_id, size;
};

struct config_mount {
	char *destination, *type, *source;
	struct js_strings options;
	struct js_list uid_mappings, gid_mappings; /* struct config_id_map */
};

struct config_device {
	char *type, *path;
	int64_t *major, *minor;
	uint32_t *file_mode, *uid, *gid;
};

struct config_device_rule {
	bool allow;
	char *type; /* "a", "b", "c"; NULL: "a" */
	int64_t *major, *minor;
	char *access;
};

struct config_memory {
	int64_t *limit, *reservation, *swap, *swappiness, *kernel, *kernel_tcp;
	bool disable_oom_killer, use_hierarchy, check_before_update;
};

struct config_cpu {
	int64_t *shares, *quota, *burst, *period, *idle, *rt_runtime, *rt_period;
	char *cpus, *mems;
};

struct config_pids {
	int64_t limit; /* 0 and below: no limit */
};

struct config_weight_device {
	int64_t major, minor;
	uint32_t *weight, *leaf_weight;
};

struct config_throttle_device {
	int64_t major, minor;
	int64_t rate; /* per second; unsigned in the spec */
};

struct config_block_io {
	uint32_t *weight, *leaf_weight;
	struct js_list weight_devices;                             /* struct config_weight_device */
	struct js_list read_bps, write_bps, read_iops, write_iops; /* config_throttle_device */
};

struct config_hugepage {
	char *page_size; /* "2MB" */
	int64_t limit;   /* bytes; unsigned in the spec */
};

struct config_net_priority {
	char *name;
	uint32_t priority;
};

struct config_network {
	uint32_t *class_id;
	struct js_list priorities; /* struct config_net_priority */
};

struct config_rdma {
	char *key; /* the device */
	uint32_t *handles, *objects;
};

struct config_resources {
	struct js_list devices; /* struct config_device_rule */
	struct config_memory memory;
	struct config_cpu cpu;
	struct config_pids *pids;
	struct config_block_io block_io;
	struct js_list hugepages; /* struct config_hugepage */
	struct config_network network;
	json_t *rdma_object;
	struct js_list rdma; /* struct config_rdma */
	struct js_map unified;
};

struct config_hook {
	char *path;
	struct js_strings args, env;
	int64_t *timeout; /* seconds */
};

struct config_hooks {
	struct js_list prestart, create_runtime, create_container, start_container, poststart,
		poststop; /* struct config_hook */
};

struct config_clock_offset {
	int64_t secs;
	uint32_t nanosecs;
};

struct config_time_offsets {
	struct config_clock_offset *monotonic, *boottime;
};

struct config_personality {
	char *domain;
	struct js_strings flags;
};

struct config_memory_policy {
	char *mode, *nodes;
	struct js_strings flags;
};

struct config_rdt {
	char *clos_id, *l3_schema, *bandwidth_schema;
	struct js_strings schemata;
	bool monitoring, cmt, mbm;
};

#define NET_DEVICE_TEMPLATE "%d" /* at the end of a name */

struct config_net_device {
	char *key;  /* its name on the host */
	char *name; /* in the container; NULL: the same */
};

/* The part of linux.seccomp that is not for the compiler. */
struct config_listener {
	char *path, *metadata;
};

struct config_linux {
	struct js_list namespaces; /* of (type, path); see config.ns */
	struct js_list uid_mappings, gid_mappings;
	struct js_map sysctl;
	char *cgroups_path;
	struct config_resources resources;
	struct js_list devices; /* struct config_device */
	json_t *seccomp;        /* decoded by the compiler, when no compiled filter is at hand */
	struct config_listener listener;
	json_t *net_devices_object;
	struct js_list net_devices; /* struct config_net_device */
	struct config_personality *personality;
	struct config_memory_policy *memory_policy;
	struct config_rdt *rdt;
	struct config_time_offsets time_offsets;
	char *rootfs_propagation, *mount_label;
	struct js_strings masked_paths, readonly_paths;
};

struct config_root {
	char *path;
	bool readonly;
};

struct config {
	char *oci_version;
	struct config_process *process; /* its args are empty: there is none, and no start */
	struct config_root *root;
	char *hostname, *domainname;
	struct js_list mounts; /* struct config_mount */
	struct config_hooks hooks;
	struct js_map annotations;
	struct config_linux linux_; /* "linux" is a macro of gcc's */

	struct ns_wish ns[NS_COUNT]; /* of linux.namespaces */
};

/*
 * A config and what it lives in.  Zero it; config_doc_done() afterwards,
 * whatever became of it.
 */
struct config_doc {
	struct arena arena;
	json_t *doc;
	struct config config;
};

int config_decode(const char *text, size_t size, struct config_doc *ret, struct err *e);
void config_doc_done(struct config_doc *d);
#define auto_config __attribute__((cleanup(config_doc_done)))

/* A process object alone, as `exec --process` gets it.  Strings are the arena's. */
int config_decode_process(const json_t *doc, struct arena *a, struct config_process *ret,
			  struct err *e);
/* A hooks object alone; NULL is none. */
int config_decode_hooks(const json_t *doc, struct arena *a, struct config_hooks *ret,
			struct err *e);
/* A resources object alone, as `update` gets it. */
int config_decode_resources(const json_t *doc, struct arena *a, struct config_resources *ret,
			    struct err *e);
/* Members of linux that a state keeps for later; NULL is none. */
int config_decode_linux(const json_t *doc, struct arena *a, struct config_linux *ret,
			struct err *e);
/* Text to a document, by js_parse_u64(). */
int config_parse(const char *text, size_t size, json_t **ret, struct err *e);

/* config_check.c: what the tables cannot say. */
int config_check(struct config *c, struct arena *a, struct err *e);
int config_check_process(struct config_process *p, struct arena *a, struct err *e);
/* Does it ask for what takes mounts?  For one that would make them for others, too. */
int config_check_in_place(const struct config *c, struct err *e);
