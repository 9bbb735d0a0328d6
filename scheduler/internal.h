/* scheduler/internal.h - the parts of the control plane, seen by each other
 * SPDX-License-Identifier: Apache-2.0
 *
 *   api.c       requests: signature, model, dispatch, replies
 *   admission.c which call is next, and which is told to come again later
 *   ledger.c    the core and its documents: nothing is said before it is durable
 *   store*.c    what is on disk of them
 *   events.c    what happened, in order
 *   nodes.c     the channels to nodes
 *   authority.c who signs the certificates of nodes
 *   logs*.c     CloudWatch Logs
 *   writer.c    group commit, one for the state and one for the logs
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/http.h"
#include "base/loop.h"
#include "base/tls.h"
#include "ecs/model.h"
#include "ecs/node.h"
#include "scheduler/core/core.h"
#include "scheduler/scheduler.h"
#include "scheduler/writer.h"

struct admission;
struct api;
struct authority;
struct events;
struct logs;
struct nodes;
struct ledger;

/* ---- a request of a caller, on its way ---- */

struct call {
	struct call *next; /* of the same caller, waiting */
	int64_t since_ms;  /* it waits */
	bool trusted;      /* no signature is needed */
	struct http_request *http;
	char request_id[37];
	bool query;            /* the query protocol: it is answered in XML */
	const char *operation; /* of the model; NULL: not known yet */
};

/* Answer and free the call.  The reply is consumed. */
void call_reply(struct call *call, json_t *own_reply);
/* The same in two steps: what is said is what is so now, whenever it is said. */
char *call_text(const struct call *call, json_t *own_reply);
/* What the core answers, in the words of the call; NULL: the fault. */
char *call_run(const struct call *call, struct core *core, const char *operation, json_t *request,
	       int64_t now_ms, struct ecs_fault *f);
void call_send(struct call *call, char *own_text);
void call_fault(struct call *call, const struct ecs_fault *f);

/* ---- api.c ---- */

struct api_options {
	struct loop *loop;
	struct ledger *ledger;
	struct logs *logs;
	struct nodes *nodes;
	struct events *events;
	const char *region, *access_key, *secret_key; /* borrowed */
	double caller_rate;                           /* see admission_options */
};

int api_start(const struct api_options *o, int tcp_fd, int unix_fd, struct api **ret,
	      struct err *e);
void api_stop(struct api *api);

/* ---- admission.c ---- */

struct admission_options {
	struct loop *loop;
	double rate; /* calls a second for each caller; 0: any */
	void (*serve)(void *ctx, struct call *own_call);     /* now */
	void (*turn_away)(void *ctx, struct call *own_call); /* it is not */
	void *ctx;
};

struct admission *admission_new(const struct admission_options *o);
/*
 * The call waits until it is its turn, which is never within this function.
 * Caller "" is root of this machine, and without a rate.
 */
void admission_put(struct admission *a, const char *caller, struct call *own_call);
void admission_free(struct admission *a); /* what waits is turned away */

/* ---- ledger.c ---- */

/*
 * 'on_failure' is told once when a commit failed: what the core holds is then
 * ahead of what is stored, and the process has to end.
 */
int ledger_open(struct loop *loop, const char *dir, const struct core_options *o,
		void (*on_failure)(void *ctx, const struct err *why), void *ctx,
		struct ledger **ret, struct err *e);
void ledger_close(struct ledger *s);
void ledger_set_nodes(struct ledger *s, struct nodes *nodes);    /* where messages go */
void ledger_set_events(struct ledger *s, struct events *events); /* who is told of new ones */

/* An ECS operation; the call is answered when all it promises is durable. */
void ledger_call(struct ledger *s, const char *operation, json_t *request, struct call *own_call);
/* Answer when the task's version is over 'version', or when it has been long enough. */
void ledger_wait_task(struct ledger *s, const json_t *request, struct call *own_call);

struct core *ledger_core(struct ledger *s);
int64_t ledger_now_ms(struct ledger *s); /* for events that go into the core */
/* After an event that went into the core: commit and send what it wants. */
void ledger_commit(struct ledger *s);
/*
 * The same; 'then' is called when it is durable, before its messages are sent, and not at all
 * when it could not be stored.
 */
void ledger_commit_then(struct ledger *s, void (*then)(void *ctx), void *ctx);

/* ---- events.c ---- */

int events_open(struct loop *loop, const char *dir, const struct ecs_identity *identity,
		struct events **ret, struct err *e);
void events_close(struct events *ev);
void events_call(struct events *ev, const json_t *request, struct call *own_call); /* GetEvents */
void events_look_again(struct events *ev); /* there may be new ones */

/* ---- nodes.c ---- */

struct nodes_options {
	struct loop *loop;
	struct ledger *ledger;
	struct logs *logs;
	const struct authority *authority; /* NULL: no nodes elsewhere */
	int64_t heartbeat_ms;              /* of nodes elsewhere */
	int64_t certificate_ms;            /* how long a certificate is good */
};

struct nodes *nodes_new(const struct nodes_options *o);
void nodes_free(struct nodes *n);

/* Take nodes that dial the listening socket, ours from now on. */
int nodes_listen(struct nodes *n, int fd, struct err *e);
/* What a new node's token ends with, so that it knows us; NULL: no node can join. */
const char *nodes_fingerprint(const struct nodes *n);

/* A node's stream, ours from now on; 'on_gone' is called when it ends. */
int nodes_add(struct nodes *n, int fd, void (*on_gone)(void *ctx), void *ctx, struct err *e);
void nodes_send(struct nodes *n, const char *instance, const char *message, bool last);
/* The instance that is the node of this machine; NULL: it has none that said hello. */
const char *nodes_beside(const struct nodes *n);

/*
 * Ask the node of 'instance'; answers the call with what the node says.
 */
void nodes_ask(struct nodes *n, const char *instance, const char *operation, json_t *request,
	       struct call *own_call);

/* ---- authority.c ---- */

/* The key of the cluster: made at the first start, kept in the state directory. */
int authority_open(const char *dir, struct authority **ret, struct err *e);
void authority_free(struct authority *a);
const char *authority_fingerprint(const struct authority *a);
const struct tls_credentials *authority_credentials(
	const struct authority *a); /* the server's own */
/* A certificate for a node, from now until 'until_ms'; malloc'ed. */
int authority_certify(const struct authority *a, const char *request, const char *instance,
		      int64_t until_ms, char **ret, struct err *e);

/* ---- logs.c ---- */

int logs_open(struct loop *loop, const char *dir, const struct ecs_identity *identity,
	      struct logs **ret, struct err *e);
void logs_close(struct logs *l);
void logs_call(struct logs *l, const char *operation, json_t *request, struct call *own_call);

/* Lines from a node; 'done' is told when they are durable (NULL) or why not. */
typedef void logs_done_fn(void *ctx, const char *source, int64_t position, const char *error);
void logs_put(struct logs *l, const struct ecs_node_log *log, logs_done_fn *done, void *ctx);
