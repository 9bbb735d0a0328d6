/* agent/agent.h - a node: makes desired tasks true
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/ip.h"
#include "ecs/node.h"

#define AGENT_READY_MAX 4
#define AGENT_CDI_DIRS  2

/*
 * How a registry, or a mirror of one, is to be asked.  Sources of its images are
 * its mirrors, in their order, and itself.
 */
#define AGENT_MIRRORS_MAX 8
struct agent_registry {
	const char *host;                       /* "ghcr.io", "10.0.0.1:5000" */
	const char *mirrors[AGENT_MIRRORS_MAX]; /* "HOST[:PORT][/PATH]" */
	size_t mirror_count;
	bool tags_at_last; /* what a tag stands for is asked of itself only */
	const char *ca_file, *certificate_file, *key_file; /* absolute paths; NULL: none */
	bool insecure; /* plain HTTP or an unknown certificate will do */
};

/* When images go that no task uses, as the settings of the ECS agent have it. */
struct agent_cleanup {
	int64_t interval_ms; /* between two cycles; 0: there are none */
	int64_t age_ms;      /* since its last pull and its last use */
	size_t count;        /* images that one cycle removes */
	bool untracked;      /* also those that no task has used */
	unsigned high_water; /* percent of the file system above which more go, at once; 0: never */
	const char *const *keep; /* names that stay */
	size_t keep_count;
};

struct agent_options {
	const char *name;        /* of kernel objects: "berth", "berth-1a2b3c" */
	const char *state_dir;   /* var/lib/berth: images, tasks, volumes */
	const char *run_dir;     /* run/berth: the keeper's socket, runtime and network state */
	const char *libexec_dir; /* where berth-keeper and berth-worker lie */
	const char *auth_file;   /* etc/berth/auth.json: credentials for registries */
	const char *secrets_dir; /* etc/berth/secrets: those that task definitions name */
	const struct agent_registry *registries; /* those of which there is something to say */
	size_t registry_count;
	bool waits_for_keeper;    /* the service manager starts it, not we */
	const char *bridge_cidr;  /* NULL: chosen */
	const char *transport;    /* to other hosts: auto, routes, vxlan, wireguard */
	const char *node_address; /* by which the others know this one; NULL: as its routes say */
	bool no_ipv6_forwarding;  /* leave it as the host has it */
	bool no_shortcuts;        /* between tasks of this host */
	const char *trunk;        /* link whose VLANs tasks can be on; NULL: none */
	const struct ip_prefix *public_blocks; /* led to this host, for assignPublicIp */
	size_t public_block_count;
	const char *cdi_dirs
		[AGENT_CDI_DIRS];     /* of specifications of devices; the last has precedence */
	const char *const *gpu_kinds; /* those whose devices are GPUs; NULL: "VENDOR/gpu" */
	size_t gpu_kind_count;
	const struct ecs_attribute *attributes; /* of the node, beside those that it finds itself */
	size_t attribute_count;
	uint16_t port_first, port_last; /* dynamic host ports; 0: the host's ephemeral range */
	const char *
		pull_behavior; /* default, always, once, prefer-cached: as ECS_IMAGE_PULL_BEHAVIOR */
	bool keep_blobs;       /* of images: as registries pack them, too, for handing them on */
	bool shares;           /* images come from other nodes of the cluster, too */
	uint64_t share_rate;   /* bytes a second that all of them together get of us; 0: no limit */
	int share_fd; /* a listening socket, on which they get what is here; -1: they do not */
	struct agent_cleanup image_cleanup;
	int64_t task_cleanup_ms;     /* how long what is left of a stopped task (its log) is kept */
	int64_t reserved_memory_mib; /* of the host, not for tasks */
	bool no_user_namespaces;     /* containers' users are the host's */
	bool no_image_index;         /* unpack layers, whatever the kernel could mount */
	int64_t ready_containers;    /* that are made ahead, at most; AGENT_READY_MAX */

	/*
	 * A server elsewhere: "HOST:PORT", NULL: it is on this machine.  Of the rest
	 * nothing is needed once the node has joined.
	 */
	const char *server;
	const char *token;   /* of `berth node token`; NULL: none */
	const char *cluster; /* to join, where the token names none; NULL: default */

	/*
	 * The same: where root on this host asks for its images, as of a server, in a listening
	 * socket.  NULL: the server on this machine has it.
	 */
	int (*listen)(void *ctx, int *ret_fd, struct err *e);

	/*
	 * Server on this machine: get a stream to it; the agent calls it at first and whenever the
	 * last one has ended.
	 */
	int (*dial)(void *ctx, int *ret_fd, struct err *e);
	/* The server has welcomed us: tasks can come. Called once. */
	void (*on_ready)(void *ctx);
	void *ctx;
};

/* Run until SIGTERM.  Tasks go on without us; started again we find them. */
int agent_run(const struct agent_options *o, struct err *e);

/* Join the server elsewhere, if it is not done yet, and nothing else. */
int agent_join(const struct agent_options *o, struct err *e);
/* The server that a node has joined; malloc'ed; NULL: none. */
char *agent_server(const char *state_dir);

/*
 * End all tasks of this name at once and take away everything of it that is
 * in the kernel, the keeper too.  For uninstalling; no agent may run.
 */
int agent_destroy(const struct agent_options *o, struct err *e);
