/* cmd/berth_metadata.c - the task metadata endpoint, as containers of this host see it
 * SPDX-License-Identifier: Apache-2.0
 *
 * It has a listening socket and a socket to the agent, and no network, file system or
 * right beside.  What a container asks is put to the agent in a message of known
 * size (ecs/metadata.h); the answer is sent on as it is.  Whose the question is, the
 * agent decides, by the address that it comes from.
 *
 * A browser or a proxy in a container that somebody else leads asks under another name,
 * or says for whom: both are refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/http.h"
#include "base/jail.h"
#include "base/loop.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rate.h"
#include "base/text.h"
#include "ecs/metadata.h"

#define CONNECTIONS        512
#define CONNECTIONS_OF_ONE 16
#define HEADER_BYTES       8192
#define REQUEST_MS         5000
#define RATE               40 /* requests a second of one address, as the ECS agent has it */
#define BURST              60
#define CALLERS_MAX        8192
#define WAITING_MAX        1024

struct waiting {
	struct waiting *next;
	struct http_request *request;
	uint64_t number;
};

struct endpoint {
	struct loop *loop;
	struct http_server *http;
	struct waiting *waiting;
	size_t waiting_count;
	uint64_t number;
	struct map callers; /* by address: struct rate */
};

static const struct http_field json[] = {{"Content-Type", "application/json"}};

/* As the ECS agent: the reason as a string of JSON.  'text' has nothing that must be escaped. */
static void refuse(struct http_request *r, unsigned status, const char *text)
{
	auto_free char *body = xasprintf("\"%s\"", text);

	http_reply(r, status, json, ARRAY_COUNT(json), body, strlen(body));
}

/* ---- who asks ---- */

static void forget_callers(struct endpoint *ep)
{
	struct rate *c;

	for (size_t i = 0; map_next(&ep->callers, &i, &c);)
		free(c);
	map_done(&ep->callers);
	ep->callers = (struct map){0};
}

static bool may_ask(struct endpoint *ep, const char *address)
{
	struct rate *c = map_find(&ep->callers, address);

	if (!c) {
		if (ep->callers.count >= CALLERS_MAX)
			forget_callers(ep);
		c = xcalloc(1, sizeof(*c));
		(void)map_put(&ep->callers, address, c);
	}
	return rate_take(c, RATE, BURST, clock_mono_ms());
}

/* An address is asked for; a name is somebody's who has led a browser here (DNS rebinding). */
static bool is_by_address(const struct http_request *r)
{
	const char *host = http_header(r, "Host");
	size_t len = host ? strspn(host, "0123456789.") : 0;

	return !host || (len && (!host[len] || host[len] == ':'));
}

/* ---- questions ---- */

static void on_request(void *ctx, struct http_request *r)
{
	struct ecs_metadata_question q = {0};
	enum ecs_metadata_topic topic;
	struct endpoint *ep = ctx;
	struct waiting *w;

	if (!may_ask(ep, http_caller(r))) {
		refuse(r, 429, "You have reached maximum request limit.");
		return;
	}
	if (!is_by_address(r) || http_header(r, "X-Forwarded-For")) {
		refuse(r, 403, "Requests come from the task itself, to an address.");
		return;
	}
	if (!str_eq(http_method(r), "GET")) {
		refuse(r, 405, "Only GET is known here.");
		return;
	}
	if (!ecs_metadata_parse(http_target(r), &topic, q.id)) {
		refuse(r, 404, "No such path: see $ECS_CONTAINER_METADATA_URI_V4.");
		return;
	}
	q.number = ++ep->number;
	q.topic = topic;
	(void)snprintf(q.caller, sizeof(q.caller), "%s", http_caller(r));
	if (ep->waiting_count >= WAITING_MAX ||
	    fs_send(ECS_METADATA_AGENT_FD, &q, sizeof(q), NULL, 0) < 0) {
		refuse(r, 503, "The agent is busy.");
		return;
	}
	w = xcalloc(1, sizeof(*w));
	*w = (struct waiting){.next = ep->waiting, .request = r, .number = q.number};
	ep->waiting = w;
	ep->waiting_count++;
}

static struct http_request *take_waiting(struct endpoint *ep, uint64_t number)
{
	for (struct waiting **p = &ep->waiting; *p; p = &(*p)->next) {
		struct waiting *w = *p;
		struct http_request *r = w->request;

		if (w->number != number)
			continue;
		*p = w->next;
		ep->waiting_count--;
		free(w);
		return r;
	}
	return NULL;
}

static void on_answer(void *ctx, int events)
{
	struct ecs_metadata_answer a;
	struct endpoint *ep = ctx;
	struct http_request *r;
	size_t fd_count = 0;
	int fd = -1;
	ssize_t n = fs_recv(ECS_METADATA_AGENT_FD, &a, sizeof(a), &fd, 1, &fd_count, MSG_DONTWAIT);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n != sizeof(a) || fd_count != 1)
		_exit(0); /* the agent has ended: its next one starts another of us */
	r = take_waiting(ep, a.number);
	if (r)
		http_reply_file(r, a.status, json, ARRAY_COUNT(json), fd, 0, a.size);
	else
		(void)close(fd);
}

static int run(struct err *e)
{
	struct endpoint ep = {.loop = loop_new()};
	struct loop_fd *watch;
	const struct http_options o = {.listen_fd = ECS_METADATA_LISTEN_FD,
				       .loop = ep.loop,
				       .header_bytes = HEADER_BYTES,
				       .connections = CONNECTIONS,
				       .connections_of_one = CONNECTIONS_OF_ONE,
				       .request_ms = REQUEST_MS,
				       .on_request = on_request,
				       .ctx = &ep};

	if (http_server_start(&o, &ep.http, e) < 0 ||
	    loop_watch(ep.loop, ECS_METADATA_AGENT_FD, LOOP_READ, on_answer, &ep, &watch, e) < 0)
		return -e->code;
	loop_run(ep.loop);
	return 0;
}

int main(void)
{
	struct err e = {0};
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	r = jail_server(&e);
	if (r == 0)
		r = run(&e);
	(void)dprintf(STDERR_FILENO, "berth-metadata: %s\n", e.msg);
	return r < 0;
}
