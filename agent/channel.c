/* agent/channel.c - the stream to the server
 * SPDX-License-Identifier: Apache-2.0
 *
 * We dial, say hello, and are welcomed; then desired tasks come and reports
 * go.  Reports are numbered from what the server has; one at a time is under
 * way, and whatever changes meanwhile goes into the next: a busy node sends
 * fewer and larger ones.  A report holds the whole state of each task in it,
 * so after a lost connection everything untold is simply told again.
 *
 * A server elsewhere says how often both sides send a heartbeat; who hears
 * nothing for three of them hangs up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/text.h"

#define QUEUE_MAX      (64 << 20)
#define REPORT_TASKS   500
#define RETRY_FIRST_MS 50
#define RETRY_MAX_MS   5000
#define SILENT_BEATS   3

struct channel {
	struct agent *agent;
	struct stream *stream; /* NULL: no server */
	struct loop_timer *retry, *report, *beat;
	int64_t retry_ms, welcomed_ms;
	int64_t heartbeat_ms, heard_ms; /* 0: none */
	bool started, welcomed, reporting;
	bool answers; /* the server, to what a node asks */
	int64_t report_number;
};

/* ---- sending ---- */

static void send_message(struct channel *c, enum ecs_node_type type, const void *message)
{
	auto_free char *text = ecs_node_dump(type, message);

	stream_put(c->stream, text, strlen(text));
}

bool channel_send(struct channel *c, enum ecs_node_type type, const void *message)
{
	if (!c->welcomed)
		return false;
	send_message(c, type, message);
	return true;
}

/* ---- reports ---- */

static void send_report(void *ctx)
{
	struct channel *c = ctx;
	struct ecs_node_report report = {.number = c->report_number + 1};
	struct ecs_task_state items[REPORT_TASKS];
	struct task *t;

	if (!c->welcomed || c->reporting)
		return;
	report.tasks.items = items;
	for (size_t i = 0;
	     report.tasks.count < REPORT_TASKS && map_next(&c->agent->tasks, &i, &t);) {
		if (!t->untold)
			continue;
		items[report.tasks.count++] = t->state;
		t->untold = false;
		t->in_flight = true;
	}
	if (!report.tasks.count)
		return;
	c->reporting = true;
	c->report_number++;
	send_message(c, ECS_NODE_REPORT, &report);
}

static void leave_if_over(struct agent *a)
{
	struct err e = {0};

	if (!a->leaving || !tasks_are_over(a))
		return;
	if (a->identity && identity_forget(a->identity, &e) < 0)
		log_error("%s", e.msg);
	(void)err_set(&a->failure, ECONNREFUSED,
		      "this node was removed from its cluster: to join again it needs a token");
	loop_stop(a->loop);
}

/* At the end of this turn of the loop: several changes at once are one report. */
void channel_report(struct channel *c)
{
	leave_if_over(c->agent);
	if (!loop_timer_is_set(c->report))
		loop_timer_set(c->report, 0);
}

static int on_ack(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;
	const struct ecs_node_ack *ack = message;
	struct task *t;

	(void)e;
	if (ack->number != c->report_number)
		return 0;
	c->reporting = false;
	for (size_t i = 0; map_next(&c->agent->tasks, &i, &t);)
		t->in_flight = false;
	send_report(c);
	return 0;
}

/* ---- what the server says ---- */

static int on_welcome(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;
	const struct ecs_node_welcome *welcome = message;
	struct agent *a = c->agent;
	struct task *t;

	if (records_put_meta(a->records, "instance", welcome->instance_id, e) < 0 ||
	    records_put_meta(a->records, "cluster", welcome->cluster, e) < 0 ||
	    records_put_meta(a->records, "account", welcome->account, e) < 0)
		return -e->code;
	log_info("instance=%s cluster=%s: registered", welcome->instance_id, welcome->cluster);
	c->welcomed = true;
	c->reporting = false;
	c->welcomed_ms = clock_mono_ms();
	c->report_number = welcome->report;
	c->heartbeat_ms = welcome->heartbeat_ms;
	if (c->heartbeat_ms)
		loop_timer_set(c->beat, c->heartbeat_ms);
	c->answers = welcome->answers;
	if (welcome->shares)
		sharing_welcomed(a->sharing);
	for (size_t i = 0; map_next(&a->tasks, &i, &t);) {
		t->untold |= t->in_flight;
		t->in_flight = false;
	}
	return 0;
}

static int on_tasks(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;
	const struct ecs_node_tasks *tasks = message;
	struct agent *a = c->agent;

	(void)e;
	for (size_t i = 0; i < tasks->tasks.count; i++)
		task_want(a, JS_AT(tasks->tasks, struct ecs_node_task, i));
	if (!tasks->full)
		return 0;
	tasks_keep_only(a, tasks);
	shipping_resume(a->shipping);
	flows_resume(a->flows);
	channel_report(c);
	if (!a->ready_told) {
		a->ready_told = true;
		a->o->on_ready(a->o->ctx);
	}
	return 0;
}

static int on_log_ack(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;

	(void)e;
	shipping_on_ack(c->agent->shipping, message);
	flows_on_ack(c->agent->flows, message);
	return 0;
}

/* Without a server nobody asks any more. */
static void answer_server(struct agent *a, const struct asker *asker, json_t *response,
			  const char *fault)
{
	const struct ecs_node_answer answer = {
		.id = asker->id, .response = response, .fault_message = (char *)(uintptr_t)fault};

	(void)channel_send(a->channel, ECS_NODE_ANSWER, &answer);
}

static int on_ask(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;
	const struct ecs_node_ask *ask = message;
	const struct asker server = {.answer = answer_server, .id = ask->id};

	(void)e;
	ask_put(c->agent, ask->operation, ask->request, &server);
	return 0;
}

bool channel_ask(struct channel *c, int64_t id, const char *operation, json_t *request)
{
	const struct ecs_node_ask ask = {
		.id = id, .operation = (char *)(uintptr_t)operation, .request = request};

	return c->answers && channel_send(c, ECS_NODE_ASK, &ask);
}

static int on_answer(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;

	(void)e;
	metadata_on_answer(c->agent, message);
	return 0;
}

/* A group that makes no sense lets nobody in; the others are as they should be. */
static int on_groups(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;
	struct err why = {0};

	(void)e;
	if (network_take_groups(c->agent, message, &why) < 0)
		log_error("security groups: %s", why.msg);
	return 0;
}

static int on_peers(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;
	struct err why = {0};

	(void)e;
	if (hosts_take(c->agent, message, &why) < 0)
		log_error("other hosts: %s", why.msg);
	return 0;
}

/*
 * A node elsewhere that was removed ends its tasks and then itself; the one
 * beside the server only loses its name.
 */
static int on_refused(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;
	const struct ecs_node_refused *refused = message;
	struct agent *a = c->agent;

	if (!refused->removed)
		return err_set(e, EACCES, "refused: %.300s", refused->reason);
	log_error("this node was removed from its cluster: its tasks end");
	if (!a->identity && records_put_meta(a->records, "instance", "", e) < 0)
		return -e->code;
	a->leaving = a->identity != NULL;
	tasks_stop_all(a, "UserInitiated", "Container instance deregistration forced by user");
	leave_if_over(a);
	return err_set(e, EACCES, "refused: %.300s", refused->reason);
}

static int on_renew(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;
	auto_free char *text = NULL;
	struct ecs_node_request request;

	(void)message;
	if (!c->agent->identity)
		return err_set(e, EPROTO, "there is no certificate to renew");
	if (identity_request(c->agent->identity, &text, e) < 0)
		return -e->code;
	request.request = text;
	send_message(c, ECS_NODE_REQUEST, &request);
	return 0;
}

static int on_certificate(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;

	if (!c->agent->identity)
		return err_set(e, EPROTO, "there is no certificate to renew");
	if (identity_certified(c->agent->identity, message, e) < 0)
		return -e->code;
	log_info("server: the certificate was renewed");
	return 0;
}

static int on_source(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;

	(void)e;
	sharing_on_source(c->agent->sharing, message);
	return 0;
}

static int on_introduce(void *ctx, const void *message, struct err *e)
{
	struct channel *c = ctx;

	(void)e;
	sharing_on_introduce(c->agent->sharing, message);
	return 0;
}

static int on_heartbeat(void *ctx, const void *message, struct err *e)
{
	(void)ctx;
	(void)message;
	(void)e;
	return 0; /* that it came is all that it says */
}

static const struct ecs_node_handler handlers[] = {
	{ECS_NODE_REFUSED, true, sizeof(struct ecs_node_refused), on_refused},
	{ECS_NODE_REFUSED, false, sizeof(struct ecs_node_refused), on_refused},
	{ECS_NODE_PEERS, false, sizeof(struct ecs_node_peers), on_peers},
	{ECS_NODE_RENEW, false, sizeof(struct ecs_node_empty), on_renew},
	{ECS_NODE_CERTIFICATE, false, sizeof(struct ecs_node_certificate), on_certificate},
	{ECS_NODE_HEARTBEAT, false, sizeof(struct ecs_node_empty), on_heartbeat},
	{ECS_NODE_WELCOME, true, sizeof(struct ecs_node_welcome), on_welcome},
	{ECS_NODE_GROUPS, false, sizeof(struct ecs_node_groups), on_groups},
	{ECS_NODE_TASKS, false, sizeof(struct ecs_node_tasks), on_tasks},
	{ECS_NODE_ACK, false, sizeof(struct ecs_node_ack), on_ack},
	{ECS_NODE_LOG_ACK, false, sizeof(struct ecs_node_log_ack), on_log_ack},
	{ECS_NODE_ASK, false, sizeof(struct ecs_node_ask), on_ask},
	{ECS_NODE_ANSWER, false, sizeof(struct ecs_node_answer), on_answer},
	{ECS_NODE_SOURCE, false, sizeof(struct ecs_node_source), on_source},
	{ECS_NODE_INTRODUCE, false, sizeof(struct ecs_node_introduce), on_introduce},
};

static int handle(void *ctx, const char *data, size_t size, struct err *e)
{
	struct channel *c = ctx;

	c->heard_ms = clock_mono_ms();
	return ecs_node_dispatch(handlers, ARRAY_COUNT(handlers), c->welcomed, ctx, data, size, e);
}

/* ---- the connection ---- */

/* Waiting grows as long as the stream does not last: a server that falls over us is not hammered. */
static void retry_later(struct channel *c, const char *why)
{
	if (c->welcomed && clock_mono_ms() - c->welcomed_ms > RETRY_MAX_MS)
		c->retry_ms = RETRY_FIRST_MS;
	log_warn("server: %s; trying again in %lld ms", why, (long long)c->retry_ms);
	loop_timer_set(c->retry, c->retry_ms);
	c->retry_ms = c->retry_ms * 2 < RETRY_MAX_MS ? c->retry_ms * 2 : RETRY_MAX_MS;
}

static void on_end(void *ctx, const char *why)
{
	struct channel *c = ctx;

	retry_later(c, why);
	c->welcomed = false;
	sharing_lost(c->agent->sharing);
	loop_timer_stop(c->beat);
	stream_free(take_ptr(c->stream));
}

static void on_beat(void *ctx)
{
	static const struct ecs_node_empty nothing;
	struct channel *c = ctx;

	if (clock_mono_ms() > c->heard_ms + SILENT_BEATS * c->heartbeat_ms) {
		on_end(c, "it is silent");
		return;
	}
	send_message(c, ECS_NODE_HEARTBEAT, &nothing);
	loop_timer_set(c->beat, c->heartbeat_ms);
}

static int dial_server(const struct agent *a, int *ret_fd, struct err *e)
{
	return a->identity ? identity_dial(a->identity, ret_fd, e)
			   : a->o->dial(a->o->ctx, ret_fd, e);
}

static void dial(void *ctx)
{
	struct channel *c = ctx;
	auto_arena struct arena arena = {0};
	struct ecs_node_hello hello;
	struct stream_options s = {.loop = c->agent->loop,
				   .frame_max = ECS_NODE_FRAME_MAX,
				   .queue_max = QUEUE_MAX,
				   .on_frame = handle,
				   .on_end = on_end,
				   .ctx = c};
	struct err e = {0};

	if (c->agent->leaving)
		return;
	if (node_describe(c->agent, &arena, &hello, &e) < 0 ||
	    dial_server(c->agent, &s.fd, &e) < 0 || stream_open(&s, &c->stream, &e) < 0) {
		retry_later(c, e.msg);
		return;
	}
	send_message(c, ECS_NODE_HELLO, &hello);
}

struct channel *channel_new(struct agent *a)
{
	struct channel *c = xcalloc(1, sizeof(*c));

	c->agent = a;
	c->retry_ms = RETRY_FIRST_MS;
	c->retry = loop_timer_new(a->loop, dial, c);
	c->report = loop_timer_new(a->loop, send_report, c);
	c->beat = loop_timer_new(a->loop, on_beat, c);
	return c;
}

void channel_start(struct channel *c)
{
	if (!c->started)
		loop_timer_set(c->retry, 0);
	c->started = true;
}

void channel_free(struct channel *c)
{
	if (!c)
		return;
	stream_free(c->stream);
	loop_timer_free(c->retry);
	loop_timer_free(c->report);
	loop_timer_free(c->beat);
	free(c);
}
