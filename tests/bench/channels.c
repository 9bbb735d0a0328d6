/* tests/bench/channels.c - many nodes, of which there is nothing but their channels
 * SPDX-License-Identifier: Apache-2.0
 *
 *   channels PORT TOKEN NODES TASKS
 *
 * Each joins with a key of its own and says hello.  Then "ready" is printed, and every task
 * that comes is told to run, with one report under way for each node; when TASKS of them
 * are acknowledged this ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/cert.h"
#include "base/mem.h"
#include "base/stream.h"
#include "base/text.h"
#include "base/tls.h"
#include "ecs/node.h"

#define QUEUE_MAX (16 << 20)

struct node {
	char *key, *certificate, *instance;
	struct tls_credentials *credentials;
	struct stream *stream;
	bool opened;
	char **arns;                      /* of tasks that are not told to run yet */
	size_t count, capacity, reported; /* reported: how many of a report under way; 0: none is */
	int64_t number;
};

static struct loop *loop;
static uint32_t port;
static size_t acknowledged, wanted;

static void die(const char *what, const char *why)
{
	(void)fprintf(stderr, "channels: %s: %s\n", what, why);
	exit(1);
}

static void say(struct node *n, enum ecs_node_type type, const void *message)
{
	auto_free char *text = ecs_node_dump(type, message);

	stream_put(n->stream, text, strlen(text));
}

/* ---- what comes ---- */

static void report(struct node *n)
{
	struct ecs_node_report message = {.number = ++n->number};
	struct ecs_task_state *states = xcalloc(n->count, sizeof(*states));

	for (size_t i = 0; i < n->count; i++)
		states[i] = (struct ecs_task_state){.task_arn = n->arns[i],
						    .last_status = (char[]){"RUNNING"}};
	message.tasks = (struct js_list){states, n->count};
	say(n, ECS_NODE_REPORT, &message);
	for (size_t i = 0; i < n->count; i++)
		free(n->arns[i]);
	n->reported = n->count;
	n->count = 0;
	free(states);
}

static int on_certificate(void *ctx, const void *message, struct err *e)
{
	const struct ecs_node_certificate *c = message;
	struct node *n = ctx;

	(void)e;
	n->certificate = xstrdup(c->certificate);
	n->instance = xstrdup(c->instance_id);
	loop_stop(loop);
	return 0;
}

static int on_welcome(void *ctx, const void *message, struct err *e)
{
	struct node *n = ctx;

	(void)e;
	(void)message;
	n->opened = true;
	loop_stop(loop);
	return 0;
}

static int on_tasks(void *ctx, const void *message, struct err *e)
{
	const struct ecs_node_tasks *tasks = message;
	struct node *n = ctx;

	(void)e;
	for (size_t i = 0; i < tasks->tasks.count; i++) {
		n->arns = xgrow(n->arns, n->count, &n->capacity, sizeof(*n->arns));
		n->arns[n->count++] =
			xstrdup(JS_AT(tasks->tasks, struct ecs_node_task, i)->task_arn);
	}
	if (n->count && !n->reported)
		report(n);
	return 0;
}

static int on_ack(void *ctx, const void *message, struct err *e)
{
	struct node *n = ctx;

	(void)e;
	(void)message;
	acknowledged += n->reported;
	n->reported = 0;
	if (n->count)
		report(n);
	if (acknowledged >= wanted)
		loop_stop(loop);
	return 0;
}

static int on_other(void *ctx, const void *message, struct err *e)
{
	(void)ctx;
	(void)message;
	(void)e;
	return 0;
}

static const struct ecs_node_handler handlers[] = {
	{ECS_NODE_CERTIFICATE, true, sizeof(struct ecs_node_certificate), on_certificate},
	{ECS_NODE_WELCOME, true, sizeof(struct ecs_node_welcome), on_welcome},
	{ECS_NODE_TASKS, false, sizeof(struct ecs_node_tasks), on_tasks},
	{ECS_NODE_ACK, false, sizeof(struct ecs_node_ack), on_ack},
	{ECS_NODE_PEERS, false, sizeof(struct ecs_node_peers), on_other},
	{ECS_NODE_GROUPS, false, sizeof(struct ecs_node_groups), on_other},
	{ECS_NODE_HEARTBEAT, false, sizeof(struct ecs_node_empty), on_other},
};

static int on_frame(void *ctx, const char *data, size_t size, struct err *e)
{
	struct node *n = ctx;

	return ecs_node_dispatch(handlers, ARRAY_COUNT(handlers), n->opened, n, data, size, e);
}

static void on_end(void *ctx, const char *why)
{
	(void)ctx;
	die("the server", why);
}

/* ---- a node comes ---- */

static void dial(struct node *n, const char *authority)
{
	const struct sockaddr_in to = {.sin_family = AF_INET,
				       .sin_port = htons((uint16_t)port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct tls_options tls = {
		.authority = authority, .certificate = n->certificate, .key = n->key};
	const int one = 1;
	struct stream_options o = {.loop = loop,
				   .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
				   .frame_max = ECS_NODE_FRAME_MAX,
				   .queue_max = QUEUE_MAX,
				   .on_frame = on_frame,
				   .on_end = on_end,
				   .ctx = n};
	struct err e;

	if (connect(o.fd, (const struct sockaddr *)&to, sizeof(to)) < 0 ||
	    fcntl(o.fd, F_SETFL, O_NONBLOCK) < 0)
		die("connect", strerror(errno));
	(void)setsockopt(o.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (tls_credentials_open(&tls, &n->credentials, &e) < 0)
		die("credentials", e.msg);
	o.tls = n->credentials;
	if (stream_open(&o, &n->stream, &e) < 0)
		die("channel", e.msg);
}

static void join(struct node *n, const char *token, const char *authority)
{
	auto_free char *id = xstrndup(token, strcspn(token, ".")), *request = NULL;
	struct ecs_node_join message = {.protocol = ECS_NODE_PROTOCOL,
					.activation_id = id,
					.code = (char *)(uintptr_t)strchr(token, '.') + 1,
					.hostname = (char[]){"bench"}};
	struct err e;

	if (cert_key_make(&n->key, &e) < 0 || cert_request_make(n->key, &request, &e) < 0)
		die("key", e.msg);
	message.request = request;
	dial(n, authority);
	say(n, ECS_NODE_JOIN, &message);
	loop_run(loop);
	stream_free(n->stream);
	tls_credentials_free(n->credentials);
}

static void greet(struct node *n, const char *authority)
{
	const struct ecs_node_hello message = {.protocol = ECS_NODE_PROTOCOL,
					       .instance_id = n->instance,
					       .hostname = (char[]){"bench"},
					       .boot_id = (char[]){"b"},
					       .version = (char[]){"1"},
					       .cpu_units = 1 << 24,
					       .memory_mib = 1 << 24};

	dial(n, authority);
	say(n, ECS_NODE_HELLO, &message);
	loop_run(loop);
}

int main(int argc, char **argv)
{
	const char *authority = argc == 5 ? strrchr(argv[2], '-') : NULL;
	uint32_t count, tasks;
	struct node *nodes;

	if (!authority || !strchr(argv[2], '.') || !parse_u32(argv[1], UINT16_MAX, &port) ||
	    !parse_u32(argv[3], 10000, &count) || !parse_u32(argv[4], 10000000, &tasks)) {
		(void)fputs("channels PORT TOKEN NODES TASKS\n", stderr);
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	loop = loop_new();
	wanted = tasks;
	nodes = xcalloc(count, sizeof(*nodes));
	for (uint32_t i = 0; i < count; i++) {
		join(&nodes[i], argv[2], authority + 1);
		greet(&nodes[i], authority + 1);
	}
	(void)puts("ready");
	(void)fflush(stdout);
	while (acknowledged < wanted)
		loop_run(loop);
	return 0; /* the memory of all goes with the process */
}
