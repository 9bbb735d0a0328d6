/* cmd/berthd/host.h - where a daemon of this root lives on its host
 * SPDX-License-Identifier: Apache-2.0
 *
 * Everything is below one root ("/" by default): etc/berth, var/lib/berth,
 * run/berth.  The name is what kernel objects are called by: "berth", or
 * "berth-" and six digits made from the root, so that two never meet.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"

struct config {
	char *listen;      /* ADDR:PORT */
	char *node_listen; /* ADDR:PORT; NULL: nodes elsewhere are not taken */
	char *node_heartbeat_s, *node_certificate_s, *node_lost_s;
	char *stopped_task_s, *stopped_tasks_max, *caller_rate;
	char *node_server, *node_cluster; /* of a node: HOST:PORT; where it joins; NULL */
	char *region, *account, *vpc_cidr, *host_cidr;
	char *user;                        /* of the server's process */
	char *bridge_cidr;                 /* NULL: chosen */
	char *public_addresses;            /* NULL: none */
	char *attributes;                  /* "NAME=VALUE, NAME"; NULL: none */
	char *gpu_kinds;                   /* "VENDOR/CLASS, ..."; NULL: all of class gpu */
	char *dynamic_ports;               /* "FIRST-LAST"; NULL: the host's ephemeral range */
	char *keep_blobs;                  /* yes, no */
	char *share_images, *share_listen; /* yes, no; ADDR:PORT */
	char *share_rate;                  /* MiB a second */
	char *pull_behavior;               /* as ECS_IMAGE_PULL_BEHAVIOR */
	char *image_cleanup_interval, *image_cleanup_age; /* "30m", "1800" */
	char *image_cleanup_count, *image_high_water;
	char *image_cleanup_untracked;       /* yes, no */
	char *image_cleanup_exclude;         /* names; NULL: none */
	char *user_namespaces, *image_index; /* yes, no */
	char *ready_containers;
	char *task_cleanup_s, *reserved_memory_mib;
	char *ipv6_forwarding;          /* yes, no */
	char *shortcuts;                /* yes, no */
	char *trunk;                    /* link whose VLANs tasks can be on, or NULL */
	char *transport, *node_address; /* to other hosts; by which they know this one, or NULL */
	char *log_level;
	struct registry_config *registries;
	size_t registry_count;
};

struct host {
	struct arena arena;
	char *root;
	char *etc_dir, *state_dir, *run_dir;
	char *name;
	char *libexec_dir; /* berth-keeper, berth-worker */
	char *self;        /* our own executable */
	bool waits_for_keeper;
	struct config config;
	char *access_key, *secret_key;
	uid_t uid; /* of the server */
	gid_t gid;
	int lock_fd;
};

/* The directories, made; the configuration, read and checked. 'config_file' NULL: the usual one. */
int host_open(const char *root, const char *config_file, struct host *ret, struct err *e);
void host_done(struct host *h);

/* The access key: made at the first start, kept in etc/berth/credentials. */
int host_credentials(struct host *h, struct err *e);

/*
 * Only one daemon for a root: a lock that lives as long as the process and its
 * children.  Those of a daemon that was just killed are waited for.
 */
int host_lock(struct host *h, struct err *e);

/* Listening sockets of the server: "ADDR:PORT", and run/berth/api.sock. */
int host_listen_tcp(const char *address, int *ret_fd, uint16_t *ret_port, struct err *e);
int host_listen_unix(const struct host *h, int *ret_fd, struct err *e);
