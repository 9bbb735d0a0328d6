/* scheduler/nodes.c - the channels to nodes
 * SPDX-License-Identifier: Apache-2.0
 *
 * A session begins with the node's hello; before it nothing else is taken.
 * What a node may say in which state is the table 'handlers'.  A message that
 * cannot be read, or that comes out of turn, ends the session: the node dials
 * again and both begin from what is stored.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stream.h"
#include "base/text.h"
#include "scheduler/internal.h"

#define QUEUE_MAX (64 << 20) /* a node that reads nothing is cut off here */

struct ask {
	struct ask *next;
	int64_t id;
	struct call *call;
};

struct session {
	struct session *next;
	struct nodes *nodes;
	struct stream *stream;
	const char *instance; /* NULL until hello; the core's */
	struct ask *asks;
	int64_t next_ask;
	void (*on_gone)(void *ctx);
	void *ctx;
};

struct nodes {
	struct loop *loop;
	struct ledger *ledger;
	struct logs *logs;
	struct session *sessions;
};

/* ---- sending ---- */

static void send_message(struct session *s, enum ecs_node_type type, const void *message)
{
	auto_free char *text = ecs_node_dump(type, message);

	stream_put(s->stream, text, strlen(text));
}

static struct session *session_of(struct nodes *n, const char *instance)
{
	for (struct session *s = n->sessions; s; s = s->next)
		if (str_eq(s->instance, instance))
			return s;
	return NULL;
}

void nodes_send(struct nodes *n, const char *instance, const char *message)
{
	struct session *s = session_of(n, instance);

	if (s)
		stream_put(s->stream, message, strlen(message));
}

/* ---- questions ---- */

void nodes_ask(struct nodes *n, const char *instance, const char *operation, json_t *request,
	       struct call *own_call)
{
	struct session *s = session_of(n, instance);
	struct ecs_node_ask message;
	struct ecs_fault f;
	struct ask *ask;

	if (!s) {
		(void)ecs_fault_set(&f, ECS_FAULT_CLIENT,
				    "The agent of the container instance is not connected.");
		call_fault(own_call, &f);
		return;
	}
	ask = xcalloc(1, sizeof(*ask));
	ask->id = ++s->next_ask;
	ask->call = own_call;
	ask->next = s->asks;
	s->asks = ask;
	message = (struct ecs_node_ask){
		.id = ask->id, .operation = (char *)(uintptr_t)operation, .request = request};
	send_message(s, ECS_NODE_ASK, &message);
}

static int on_answer(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;
	const struct ecs_node_answer *answer = message;
	struct ecs_fault f;

	(void)e;
	for (struct ask **p = &s->asks, *ask; (ask = *p); p = &ask->next) {
		if (ask->id != answer->id)
			continue;
		*p = ask->next;
		if (answer->fault_message) {
			(void)ecs_fault_set(&f, ECS_FAULT_CLIENT, "%s", answer->fault_message);
			call_fault(ask->call, &f);
		} else {
			call_reply(ask->call, answer->response ? json_incref(answer->response)
							       : json_object());
		}
		free(ask);
		break;
	}
	return 0;
}

/* ---- what a node says ---- */

static int on_hello(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;
	const struct ecs_node_hello *hello = message;

	if (core_node_hello(ledger_core(s->nodes->ledger), hello, clock_wall_ms(), &s->instance,
			    e) < 0)
		return -e->code;
	log_info("instance=%s host=%s: connected", s->instance, hello->hostname);
	ledger_commit(s->nodes->ledger);
	return 0;
}

static int on_report(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;

	(void)e;
	core_node_report(ledger_core(s->nodes->ledger), s->instance, message, clock_wall_ms());
	ledger_commit(s->nodes->ledger);
	return 0;
}

/* Lines were stored or not; the session may have ended since. */
struct log_reply {
	struct nodes *nodes;
	char *instance;
};

static void on_logged(void *ctx, const char *source, int64_t position, const char *error)
{
	struct log_reply *r = ctx;
	struct session *s = session_of(r->nodes, r->instance);
	struct ecs_node_log_ack ack = {.source = (char *)(uintptr_t)source,
				       .position = position,
				       .error = (char *)(uintptr_t)error};

	if (s)
		send_message(s, ECS_NODE_LOG_ACK, &ack);
	free(r->instance);
	free(r);
}

static int on_log(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;
	struct log_reply *r = xcalloc(1, sizeof(*r));

	(void)e;
	r->nodes = s->nodes;
	r->instance = xstrdup(s->instance);
	logs_put(s->nodes->logs, message, on_logged, r);
	return 0;
}

static const struct ecs_node_handler handlers[] = {
	{ECS_NODE_HELLO, true, sizeof(struct ecs_node_hello), on_hello},
	{ECS_NODE_REPORT, false, sizeof(struct ecs_node_report), on_report},
	{ECS_NODE_LOG, false, sizeof(struct ecs_node_log), on_log},
	{ECS_NODE_ANSWER, false, sizeof(struct ecs_node_answer), on_answer},
};

static int handle(void *ctx, const char *data, size_t size, struct err *e)
{
	const struct session *s = ctx;

	return ecs_node_dispatch(handlers, ARRAY_COUNT(handlers), s->instance != NULL, ctx, data,
				 size, e);
}

/* ---- sessions ---- */

static void end_asks(struct session *s)
{
	struct ecs_fault f;
	struct ask *ask;

	(void)ecs_fault_set(&f, ECS_FAULT_CLIENT, "The agent of the container instance went away.");
	while ((ask = s->asks)) {
		s->asks = ask->next;
		call_fault(ask->call, &f);
		free(ask);
	}
}

static void free_session(struct session *s)
{
	struct session **p = &s->nodes->sessions;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	end_asks(s);
	stream_free(s->stream);
	free(s);
}

static void on_end(void *ctx, const char *why)
{
	struct session *s = ctx;
	struct nodes *n = s->nodes;
	void (*on_gone)(void *ctx) = s->on_gone;
	void *gone_ctx = s->ctx;

	log_warn("instance=%s: disconnected: %s", s->instance ? s->instance : "-", why);
	if (s->instance) {
		core_node_gone(ledger_core(n->ledger), s->instance, clock_wall_ms());
		ledger_commit(n->ledger);
	}
	free_session(s);
	if (on_gone)
		on_gone(gone_ctx);
}

int nodes_add(struct nodes *n, int fd, void (*on_gone)(void *ctx), void *ctx, struct err *e)
{
	struct session *s = xcalloc(1, sizeof(*s));
	const struct stream_options o = {.loop = n->loop,
					 .fd = fd,
					 .frame_max = ECS_NODE_FRAME_MAX,
					 .queue_max = QUEUE_MAX,
					 .on_frame = handle,
					 .on_end = on_end,
					 .ctx = s};

	if (stream_open(&o, &s->stream, e) < 0) {
		free(s);
		return -e->code;
	}
	s->nodes = n;
	s->on_gone = on_gone;
	s->ctx = ctx;
	s->next = n->sessions;
	n->sessions = s;
	return 0;
}

struct nodes *nodes_new(struct loop *loop, struct ledger *ledger, struct logs *logs)
{
	struct nodes *n = xcalloc(1, sizeof(*n));

	n->loop = loop;
	n->ledger = ledger;
	n->logs = logs;
	return n;
}

void nodes_free(struct nodes *n)
{
	if (!n)
		return;
	while (n->sessions)
		free_session(n->sessions);
	free(n);
}
