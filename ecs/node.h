/* ecs/node.h - the messages between the control plane and a node
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each message is a JSON object in a frame (base/frame.h); its "type" names one
 * of the shapes below.  The node speaks first.
 *
 *   node     join       an activation and a request for a certificate; nothing else follows
 *   server   certificate  who the node is from now on; of a join, or of a renewal
 *   server   refused    why the node may not go on; it is the last message
 *
 *   node     hello      who I am, what I have
 *   server   welcome    your container instance, and the last report that I have
 *   server   peers      other hosts that tasks here, or this host, talk to; the first one is the full list
 *   server   groups     security groups that tasks here need; the first one is the full list
 *   server   tasks      what should run; the first one is the full list
 *   node     resources  what I have now, when that has changed
 *   node     report     what runs; numbered, repeated until acknowledged
 *   server   ack        reports up to this number are durable
 *   node     log        lines of a container for a log stream
 *   server   log-ack    lines up to this position are durable, or why not
 *   server   ask        a question of a caller that only the node can answer
 *   node     ask        a question of a task of this node that only the server can answer
 *   both     answer
 *   node     holds      what of images is here, for other nodes of the cluster
 *   node     want       where is this blob to be had?
 *   server   source     of another node, or of its registry
 *   node     got        the blob is here, or is not going to be
 *   server   introduce  a node that may come for what is held, or may not any more
 *   server   renew      ask for another certificate
 *   node     request    a request for it
 *   both     heartbeat  I am here; the server says how often in its welcome
 *
 * Both sides hang up on a message that they cannot read.  Times are
 * milliseconds since 1970; 0 is absent.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/js.h"
#include "ecs/taskdef.h"

#define ECS_NODE_PROTOCOL   1
#define ECS_NODE_FRAME_MAX  (4 << 20) /* bytes of a message */
#define ECS_NODE_JSON_DEPTH 32
#define ECS_NODE_LOG_BATCH  (256 << 10) /* bytes of text in one log message */
#define ECS_NODE_HOLDS_MAX  1024        /* blobs of a node that the server remembers */
#define ECS_NODE_GPU_ID_MAX 511         /* bytes of the id of a GPU */
#define ECS_NODE_AVOID_MAX  8           /* nodes that a want may pass over */

enum ecs_node_type {
	ECS_NODE_JOIN,
	ECS_NODE_CERTIFICATE,
	ECS_NODE_REFUSED,
	ECS_NODE_HELLO,
	ECS_NODE_WELCOME,
	ECS_NODE_PEERS,
	ECS_NODE_GROUPS,
	ECS_NODE_TASKS,
	ECS_NODE_RESOURCES,
	ECS_NODE_REPORT,
	ECS_NODE_ACK,
	ECS_NODE_LOG,
	ECS_NODE_LOG_ACK,
	ECS_NODE_ASK,
	ECS_NODE_ANSWER,
	ECS_NODE_HOLDS,
	ECS_NODE_WANT,
	ECS_NODE_SOURCE,
	ECS_NODE_GOT,
	ECS_NODE_INTRODUCE,
	ECS_NODE_RENEW,
	ECS_NODE_REQUEST,
	ECS_NODE_HEARTBEAT,
};

/* What a token, or an activation of SSM, consists of; the code has the authority's SHA-256 in it. */
struct ecs_node_join {
	int64_t protocol;
	char *activation_id, *code;
	char *request; /* PKCS #10, PEM: the node's key stays its own */
	char *hostname;
	char *cluster; /* where the activation names none; NULL: default */
};

/* The key of the first one is the key of all: of the one that comes first, and of renewals. */
struct ecs_node_certificate {
	char *instance_id;
	char *certificate; /* PEM, and the authority's behind it */
};

struct ecs_node_refused {
	char *reason;
	bool removed; /* the node is none of the cluster any more: what it runs should end */
};

/* "renew" and "heartbeat". */
struct ecs_node_empty {
	char nothing;
};

struct ecs_node_request {
	char *request; /* PKCS #10, PEM */
};

struct ecs_attribute {
	char *name, *value;
};

struct ecs_node_hello {
	int64_t protocol;
	char *instance_id; /* the id of an earlier welcome; NULL at first */
	char *hostname, *boot_id, *version;
	int64_t cpu_units, memory_mib;
	struct js_strings gpu_ids; /* that containers can have; at most ECS_GPUS_MAX */
	int64_t interfaces; /* of tasks in network mode awsvpc, at most; 0: as many as come */
	struct js_list attributes;          /* ecs_attribute */
	struct js_strings public_addresses; /* blocks that lead here, for assignPublicIp */
	struct js_strings
		addresses; /* of the host for other hosts, one of a family; none: as the server sees it */
	char *public_key; /* of its WireGuard; NULL: it has none */
	/* What is held of images can be had at this port (0: it cannot), from who has this key. */
	int64_t share_port;
	char *share_key; /* SHA-256 of the public key, digits; NULL: the node shares nothing */
};

struct ecs_node_welcome {
	char *instance_id, *cluster, *region, *account;
	int64_t report; /* the last one that is durable here */
	/* A heartbeat each so many ms; who hears nothing for three of them hangs up.  0: none. */
	int64_t heartbeat_ms;
	bool shares;  /* it takes "holds", "want" and "got" */
	bool answers; /* it takes "ask" */
};

/* Another host, and which addresses of tasks lead there. */
struct ecs_node_peer {
	char *instance_id;
	bool gone;                   /* nothing leads there any more; the rest is empty */
	struct js_strings addresses; /* of the host */
	struct js_strings prefixes;  /* "172.31.0.64/26" */
	char *public_key;            /* of its WireGuard; NULL: it has none */
};

struct ecs_node_peers {
	bool full;            /* what is not in the list should not be */
	struct js_list peers; /* ecs_node_peer */
	struct js_strings
		self; /* addresses of the node's host, which others have as prefixes of it */
};

struct ecs_node_container {
	char *name, *container_arn;
	struct js_strings gpu_ids; /* that it has, and nobody else */
};

/* A flow log that covers an interface. */
struct ecs_node_flow_log {
	char *flow_log_id, *group; /* of log streams */
	char *traffic;             /* ACCEPT, REJECT, ALL */
	int64_t interval_s;        /* of aggregation: 60, 600 */
	char *format;              /* of lines, "eni-1 ${srcaddr}"; NULL: the default one */
};

/* The network interface of a task in network mode awsvpc.  Address and subnet of one family may be NULL: there is none. */
struct ecs_node_interface {
	char *interface_id, *mac;
	char *address, *subnet, *vpc; /* "172.31.0.4", "172.31.0.0/20", "172.31.0.0/16" */
	char *address6, *subnet6, *vpc6;
	char *public_address;              /* NULL: none */
	char *gateway, *gateway6;          /* the subnet is a physical network; NULL: it is not */
	int64_t vlan;                      /* of it; 0: untagged */
	struct js_strings security_groups; /* ids */
	struct js_list flow_logs;          /* ecs_node_flow_log; a change sends the task again */
};

/* Who may talk: to the members of the group, or, if egress, whom they may talk to. */
struct ecs_node_rule {
	bool egress;
	int64_t protocol;           /* of IP; -1: all */
	int64_t from_port, to_port; /* ICMP: type and code, -1: all of them */
	char *cidr;                 /* NULL: the members of 'group' */
	char *group;
};

struct ecs_node_group {
	char *group_id;
	bool gone;                 /* nothing here needs it any more; the rest is empty */
	bool cut;                  /* connections that the rules do not allow any more end */
	struct js_list rules;      /* ecs_node_rule */
	struct js_strings members; /* addresses, of all hosts */
};

struct ecs_node_membership {
	char *group_id;
	struct js_strings joined, left; /* addresses */
};

/* Members of a group are told before the task that is one. */
struct ecs_node_groups {
	bool full;              /* what is not in the list should not be */
	struct js_list groups;  /* ecs_node_group: whole, new or changed */
	struct js_list changes; /* ecs_node_membership, of groups that are known */
};

/* A task that should be: its definition has the overrides in it. */
struct ecs_node_task {
	char *task_arn;
	char *desired_status; /* RUNNING, STOPPED */
	char *last_status;    /* as the server knows it: what ran before is not started again */
	char *stop_code, *stopped_reason;
	struct ecs_task_definition definition;
	struct js_list containers;                    /* ecs_node_container */
	struct ecs_node_interface *network_interface; /* awsvpc */
};

struct ecs_node_tasks {
	bool full;            /* what is not in the list should not be */
	struct js_list tasks; /* ecs_node_task */
};

struct ecs_network_binding {
	char *bind_ip;
	int64_t container_port, host_port;            /* 0: it is of a range */
	char *container_port_range, *host_port_range; /* "8000-8100"; NULL: of one port */
	char *protocol;
};

struct ecs_container_state {
	char *name;
	char *last_status; /* PENDING, RUNNING, STOPPED */
	int64_t *exit_code;
	char *reason, *image_digest, *runtime_id;
	struct js_list network_bindings; /* ecs_network_binding */
};

struct ecs_task_state {
	char *task_arn, *last_status;
	char *stop_code, *stopped_reason;
	int64_t pull_started_at, pull_stopped_at, started_at, stopping_at, execution_stopped_at,
		stopped_at;
	struct js_list containers; /* ecs_container_state */
	struct js_list attributes; /* ecs_attribute: what the node says of it */
};

struct ecs_node_report {
	int64_t number;       /* one more than the last */
	struct js_list tasks; /* ecs_task_state */
};

/* As in hello. */
struct ecs_node_resources {
	struct js_strings gpu_ids;
};

struct ecs_node_ack {
	int64_t number;
};

struct ecs_log_event {
	int64_t timestamp; /* wall clock, ms */
	int64_t position;  /* behind the line, in its source */
	char *message;
};

/*
 * 'source' names the container's output, 'position' what the node will go on
 * from.  The server keeps both beside the events, and of a line that comes
 * again, in whatever batch, it knows that it has it.
 */
struct ecs_node_log {
	char *source, *group, *stream;
	bool create_group;
	int64_t position;
	struct js_list events; /* ecs_log_event */
};

struct ecs_node_log_ack {
	char *source;
	int64_t position;
	char *error; /* NULL: durable */
};

/* Of a node: "DescribeTaskTags" {"task": ARN}, one of its own. */
struct ecs_node_ask {
	int64_t id; /* the asker's */
	char *operation;
	json_t *request; /* borrowed from the document */
};

struct ecs_node_answer {
	int64_t id;
	char *fault_message; /* NULL: 'response' is valid */
	json_t *response;    /* borrowed from the document */
};

/* Digests of layers' tars, of blobs as registries have them, and of configurations. */
struct ecs_node_holds {
	bool full;                       /* what is not in the list is not here */
	struct js_strings digests, gone; /* "sha256:..." */
};

/*
 * Answered by a source, at once or when another node that gets the blob has it.  A second
 * want for the same blob takes the place of the first: its source was no good.
 */
struct ecs_node_want {
	char *digest;
	int64_t size;            /* of the blob, about: how long it may take to get */
	bool serves;             /* others can have it here afterwards */
	struct js_strings avoid; /* container instances that are not to be named */
};

struct ecs_node_source {
	char *digest;
	char *instance_id; /* NULL: the registry; the rest is empty */
	char *address;
	int64_t port;
	char *key; /* that the other side must prove to have, as in hello */
};

struct ecs_node_got {
	char *digest;
	bool failed; /* it is not here, and nothing is on the way */
};

struct ecs_node_introduce {
	char *key; /* as in hello */
	bool gone; /* it may not come any more */
};

/* Shape of a message, by type. */
const struct js_shape *ecs_node_shape(enum ecs_node_type type);

/* The type of a document, or < 0. */
int ecs_node_type_of(const json_t *doc, enum ecs_node_type *ret, struct err *e);

/* A message as text for a frame, malloc'ed. */
char *ecs_node_dump(enum ecs_node_type type, const void *message);

/* What is done with a message of a type; 'size' is of its struct. */
struct ecs_node_handler {
	enum ecs_node_type type;
	bool opening; /* it comes before all others, and never after */
	size_t size;
	int (*handle)(void *ctx, const void *message, struct err *e);
};

/*
 * Read a frame and hand it to its handler, whose error is returned.  'opened':
 * the opening message has come.  -EPROTO: not now, or never to this side; else
 * < 0: it cannot be read.
 */
int ecs_node_dispatch(const struct ecs_node_handler *handlers, size_t count, bool opened, void *ctx,
		      const char *data, size_t size, struct err *e);

/* Shapes of the parts that are kept by themselves. */
extern const struct js_shape ecs_node_task_shape, ecs_task_state_shape, ecs_node_group_shape,
	ecs_node_interface_shape, ecs_node_peer_shape;
