/* scheduler/core/core.h - the cluster as a state machine without a single system call
 * SPDX-License-Identifier: Apache-2.0
 *
 * Events and the time go in: a caller's request, a node's message, a tick.
 * Effects come out: documents to store, messages to nodes.  The core reads no
 * clock and draws no randomness but from the seed that it was given, so that
 * the same events give the same cluster, in the daemon and in a simulation.
 *
 * Everything that the core holds can be rebuilt from the documents that it
 * gave out to be stored: the shell loads them at start and, when a commit
 * failed, throws the core away and loads again.  Documents of tasks are many:
 * of these it holds briefs, and asks for a document when it needs it.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ecs/arn.h"
#include "ecs/fault.h"
#include "ecs/node.h"

struct core;

/* Lengths of core_options.host_cidr. */
#define HOST_CIDR_LENGTH_MIN 10
#define HOST_CIDR_LENGTH_MAX 24

struct core_options {
	struct ecs_identity identity; /* borrowed; outlives */
	uint64_t seed[4];             /* not all zero */
	const char *vpc_cidr;         /* of the default VPC; borrowed */
	const char *host_cidr; /* of hosts' own addresses, a checked block; NULL: none; borrowed */
	int64_t stopped_keep_ms; /* how long a stopped task can be described */
	size_t stopped_keep_max; /* and how many of them */
	int64_t lost_ms; /* after which the tasks of a node that is gone are given up; 0: never */
	/*
	 * The text that was last given out to be stored with this key, durable or not,
	 * malloc'ed.  NULL: it cannot be read, and this core is good for nothing more.
	 */
	char *(*fetch)(void *ctx, const char *key);
	void *fetch_ctx;
	size_t open_max; /* documents of tasks that stay in memory when an event is over */
};

struct core *core_new(const struct core_options *o);
void core_free(struct core *c);

/*
 * What was stored: documents in the order of the keys, but those that have a brief; then
 * briefs, in any order; then core_loaded() once.
 */
int core_load(struct core *c, const char *key, const char *doc, struct err *e);
int core_load_brief(struct core *c, const void *brief, size_t size, struct err *e);
void core_loaded(struct core *c, int64_t now_ms);

/*
 * A request that was checked against the model; 'request' may be changed.
 * Returns the reply (the caller's), or NULL and the fault.
 */
json_t *core_call(struct core *c, const char *operation, json_t *request, int64_t now_ms,
		  struct ecs_fault *f);
/* The same; the reply is text, malloc'ed, as which the core has it where it matters. */
char *core_call_text(struct core *c, const char *operation, json_t *request, int64_t now_ms,
		     struct ecs_fault *f);

/* A task by name or ARN, as DescribeTasks shows it, and its node; NULL and the fault. */
json_t *core_find_task(struct core *c, const char *cluster, const char *task,
		       const char **ret_instance, struct ecs_fault *f);
/*
 * What a node may know of the tags of a task that it has ('task': its ARN): {"taskTags",
 * "containerInstanceTags"}; NULL and the fault.
 */
json_t *core_task_tags(struct core *c, const char *instance, const char *task, struct ecs_fault *f);
/* What its version is, and whether it is STOPPED: at no cost.  < 0: the fault. */
int core_find_version(struct core *c, const char *cluster, const char *task, int64_t *ret_version,
		      bool *ret_stopped, struct ecs_fault *f);
/*
 * The node that a request without a task means, which is connected: the instance named; where none
 * is, that of the node beside the server ('beside'; NULL: there is none), or the only one of the
 * cluster.
 */
const char *core_find_instance(struct core *c, const char *cluster, const char *instance,
			       const char *beside, struct ecs_fault *f);

/* The name of its cluster, valid until the next event; NULL: there is no such instance. */
const char *core_cluster_of(struct core *c, const char *instance);

/*
 * A node comes with an activation and a key of its own; *ret_instance is its
 * name from now on, when all is stored, valid until the next event.  The same
 * key again gets the same name.  < 0: *e says what the node is told.
 */
int core_node_join(struct core *c, const struct ecs_node_join *j, const char *key, int64_t now_ms,
		   const char **ret_instance, struct err *e);

/*
 * A node says hello: it is found again or registered, and gets a welcome, what
 * it must know of others, and its full list of tasks.  'key' is that of the
 * certificate for the name that it says; NULL: it is the node of this machine.
 * *ret_instance is valid until the next event.  -ENOENT: it was removed.
 */
int core_node_hello(struct core *c, const struct ecs_node_hello *h, const char *key,
		    int64_t heartbeat_ms, int64_t now_ms, const char **ret_instance, struct err *e);
void core_node_gone(struct core *c, const char *instance, int64_t now_ms);
/* It has other resources than it said; < 0: they make no sense. */
int core_node_resources(struct core *c, const char *instance, const struct ecs_node_resources *r,
			int64_t now_ms, struct err *e);
void core_node_report(struct core *c, const char *instance, const struct ecs_node_report *r,
		      int64_t now_ms);

/*
 * Lines of a flow log, from a source "flow/LOG/INTERFACE", were stored, or not and why:
 * DescribeFlowLogs shows it.  False: that is as before.
 */
bool core_flow_log_delivered(struct core *c, const char *source, const char *error, int64_t now_ms);

/*
 * The clock was set: what is due after some time from then on (a node is lost, or quiet, or has
 * drained) is due when that time has passed, and not when the clock says so.
 */
void core_clock_moved(struct core *c, int64_t by_ms);

/* Do what is due; forget what has been kept long enough.  Call about every minute, and at core_wake_ms(). */
void core_tick(struct core *c, int64_t now_ms);
int64_t core_wake_ms(const struct core *c); /* 0: at any time */

/*
 * For tests: does what the core decides by agree with the documents?  < 0: *e
 * says what does not.  It looks at everything.
 */
int core_check(struct core *c, struct err *e);

/* What the events since the last call want done, in order. */
enum core_effect_kind {
	CORE_PUT,    /* key, text: store the document; and its brief, if it has one */
	CORE_DELETE, /* key; the brief, too */
	CORE_EVENT,  /* text: store it behind all other events; key: NULL */
	CORE_SEND,   /* key: the container instance; text: a message for its node */
	CORE_REFUSE, /* the same; the session ends behind it */
};

struct core_effect {
	enum core_effect_kind kind;
	char *key, *text;
	void *brief; /* what the core wants to know of it at its next start; NULL: all */
	size_t brief_size;
	int64_t event_ms; /* of a document with a brief: its text is an event of that time, too; 0: none */
};

struct core_effects {
	struct core_effect *items;
	size_t count, capacity;
};

/*
 * An event, as EventBridge tells it, from the text of a CORE_EVENT, or (at_ms: its time) from
 * that of a document which is an event, too; NULL: *e says why not.
 */
json_t *core_show_event(const struct ecs_identity *id, const char *text, int64_t at_ms,
			struct err *e);

void core_take_effects(struct core *c, struct core_effects *ret);
void core_effects_done(struct core_effects *fx);
