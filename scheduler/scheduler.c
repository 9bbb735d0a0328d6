/* scheduler/scheduler.c - the control plane as a process
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/scheduler.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/log.h"
#include "base/random.h"
#include "scheduler/internal.h"

struct scheduler {
	struct ecs_identity identity; /* lent to the parts below */
	struct loop *loop;
	struct ledger *ledger;
	struct logs *logs;
	struct authority *authority;
	struct nodes *nodes;
	struct events *events;
	struct api *api;
	struct err failure;
};

static void on_stop(void *ctx)
{
	struct scheduler *s = ctx;

	loop_stop(s->loop);
}

static void on_commit_failure(void *ctx, const struct err *why)
{
	struct scheduler *s = ctx;

	log_error("state could not be stored, starting again from what is: %s", why->msg);
	s->failure = *why;
	loop_stop(s->loop);
}

static int start(struct scheduler *s, const struct scheduler_options *o, struct err *e)
{
	struct core_options core = {.identity = s->identity,
				    .vpc_cidr = o->vpc_cidr,
				    .host_cidr = o->host_cidr,
				    .lost_ms = o->lost_ms,
				    .stopped_keep_ms = o->stopped_ms,
				    .stopped_keep_max = o->stopped_max};
	struct nodes_options nodes;
	struct api_options api;

	random_bytes(core.seed, sizeof(core.seed));
	s->loop = loop_new();
	loop_on_signal(s->loop, SIGTERM, on_stop, s);
	loop_on_signal(s->loop, SIGINT, on_stop, s);
	if (ledger_open(s->loop, o->state_dir, &core, on_commit_failure, s, &s->ledger, e) < 0 ||
	    events_open(s->loop, o->state_dir, &s->identity, &s->events, e) < 0 ||
	    logs_open(s->loop, o->state_dir, &s->identity, &s->logs, e) < 0)
		return -e->code;

	if (o->node_listen_fd >= 0 && authority_open(o->state_dir, &s->authority, e) < 0)
		return -e->code;
	ledger_set_events(s->ledger, s->events);
	nodes = (struct nodes_options){.loop = s->loop,
				       .ledger = s->ledger,
				       .logs = s->logs,
				       .authority = s->authority,
				       .heartbeat_ms = o->heartbeat_ms,
				       .certificate_ms = o->certificate_ms};
	s->nodes = nodes_new(&nodes);
	ledger_set_nodes(s->ledger, s->nodes);
	if (o->node_listen_fd >= 0 && nodes_listen(s->nodes, o->node_listen_fd, e) < 0)
		return -e->code;
	if (o->node_fd >= 0 && nodes_add(s->nodes, o->node_fd, on_stop, s, e) < 0)
		return -e->code;

	api = (struct api_options){.loop = s->loop,
				   .ledger = s->ledger,
				   .logs = s->logs,
				   .nodes = s->nodes,
				   .events = s->events,
				   .region = o->region,
				   .caller_rate = o->caller_rate,
				   .access_key = o->access_key,
				   .secret_key = o->secret_key};
	return api_start(&api, o->tcp_fd, o->unix_fd, &s->api, e);
}

int scheduler_run(const struct scheduler_options *o, struct err *e)
{
	struct scheduler s = {.identity = {.region = o->region, .account = o->account}};
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	r = start(&s, o, e);
	if (r == 0) {
		if (o->ready_fd >= 0)
			(void)!write(o->ready_fd, "1", 1);
		loop_run(s.loop);
		if (s.failure.code) {
			*e = s.failure;
			r = -e->code;
		}
	}

	/* Calls under way are answered by those that hold them before the server goes. */
	ledger_close(s.ledger);
	events_close(s.events);
	logs_close(s.logs);
	nodes_free(s.nodes);
	authority_free(s.authority);
	api_stop(s.api);
	loop_free(s.loop);
	return r;
}
