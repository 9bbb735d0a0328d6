/* scheduler/nodes.c - the channels to nodes
 * SPDX-License-Identifier: Apache-2.0
 *
 * The node of this machine has a socketpair.  Nodes elsewhere dial, with TLS:
 * who has no certificate may join and nothing else; who has one says hello, and
 * the name in the certificate is the only one that he may say.
 *
 * A session begins with the node's hello; before it nothing else is taken.
 * What a node may say in which state is the tables 'handlers' and 'joining'.  A
 * message that cannot be read, or that comes out of turn, ends the session: the
 * node dials again and both begin from what is stored.
 *
 * Both sides send a heartbeat at the server's pace, and who hears nothing for
 * three of them hangs up.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/cert.h"
#include "base/clock.h"
#include "base/ip.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/stream.h"
#include "base/text.h"
#include "scheduler/holders.h"
#include "scheduler/internal.h"

#define QUEUE_MAX      (64 << 20) /* a node that reads nothing is cut off here */
#define STRANGERS_MAX  256        /* that have not said hello yet */
#define STRANGER_MS    10000      /* how long one may take */
#define SILENT_BEATS   3
#define ACCEPT_REST_MS 1000 /* when there are no descriptors */

struct ask {
	struct ask *next;
	int64_t id;
	struct call *call;
};

struct session {
	struct session *next;
	struct nodes *nodes;
	struct stream *stream;
	uint64_t serial;
	bool remote;
	bool over; /* the last message was sent */
	bool joining;
	bool renewing;
	struct tls_peer peer; /* remote; name "": it has no certificate */
	char *instance;       /* NULL until hello */
	char *boot_id;        /* of its machine */
	bool welcomed;        /* what is sent to the instance goes to this session */
	int64_t begun_ms, heard_ms;
	struct ask *asks;
	int64_t next_ask;
	void (*on_gone)(void *ctx);
	void *ctx;
};

struct nodes {
	struct nodes_options o;
	struct session *sessions;
	struct map by_instance; /* those that have said hello and are not over */
	uint64_t next_serial;
	int listen_fd; /* -1: none */
	struct loop_fd *listen_watch;
	struct loop_timer *beat, *accept_rest, *patience;
	struct holders *holders; /* who has what of images */
};

/* ---- sending ---- */

static void send_message(struct session *s, enum ecs_node_type type, const void *message)
{
	auto_free char *text = ecs_node_dump(type, message);

	stream_put(s->stream, text, strlen(text));
}

static void forget(struct session *s)
{
	if (!s->instance || map_find(&s->nodes->by_instance, s->instance) != s)
		return;
	(void)map_remove(&s->nodes->by_instance, s->instance);
	holders_remove(s->nodes->holders, s->instance, clock_mono_ms());
}

/* The last message was put; nothing more is sent or taken. */
static void set_over(struct session *s)
{
	s->over = true;
	s->begun_ms = clock_mono_ms();
	forget(s);
}

/* The node hangs up when it has read this; if not, we do, after a while. */
static void refuse(struct session *s, const char *reason, bool removed)
{
	const struct ecs_node_refused refused = {.reason = (char *)(uintptr_t)reason,
						 .removed = removed};

	log_warn("instance=%s: refused: %s", s->peer.name[0] ? s->peer.name : "-", reason);
	send_message(s, ECS_NODE_REFUSED, &refused);
	set_over(s);
}

/* NULL: there is none that was welcomed. */
static struct session *session_of(struct nodes *n, const char *instance)
{
	struct session *s = map_find(&n->by_instance, instance);

	return s && s->welcomed ? s : NULL;
}

void nodes_send(struct nodes *n, const char *instance, const char *message, bool last)
{
	struct session *s = session_of(n, instance);

	if (!s)
		return;
	stream_put(s->stream, message, strlen(message));
	if (last)
		set_over(s);
}

const char *nodes_beside(const struct nodes *n)
{
	for (const struct session *s = n->sessions; s; s = s->next)
		if (!s->remote && !s->over)
			return s->instance;
	return NULL;
}

/* ---- images ---- */

static void on_holders_word(void *ctx, const char *instance, enum ecs_node_type type,
			    const void *message)
{
	struct session *s = session_of(ctx, instance);

	if (s)
		send_message(s, type, message);
}

/* What it says of itself must be an address and a key; else it shares nothing. */
static void add_holder(struct session *s, const struct ecs_node_hello *h)
{
	struct nodes *n = s->nodes;
	unsigned char key[SHA256_SIZE];
	struct ip_prefix address;
	const struct holders_node node = {
		.instance = s->instance,
		.cluster = core_cluster_of(ledger_core(n->o.ledger), s->instance),
		.address = h->addresses.count ? h->addresses.items[0] : NULL,
		.key = h->share_key,
		.port = h->share_port > 0 && h->share_port <= UINT16_MAX ? h->share_port : 0};

	if (node.key && node.address && node.cluster && hex_decode(node.key, key, sizeof(key)) &&
	    ip_address_parse(node.address, &address))
		holders_add(n->holders, &node, clock_mono_ms());
}

static void on_patience(void *ctx)
{
	struct nodes *n = ctx;
	int64_t next_ms = holders_tick(n->holders, clock_mono_ms());

	if (next_ms >= 0)
		loop_timer_set(n->patience, next_ms);
}

static int on_holds(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;

	(void)e;
	holders_holds(s->nodes->holders, s->instance, message, clock_mono_ms());
	return 0;
}

static int on_want(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;

	(void)e;
	holders_want(s->nodes->holders, s->instance, message, clock_mono_ms());
	if (!loop_timer_is_set(s->nodes->patience))
		on_patience(s->nodes);
	return 0;
}

static int on_got(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;

	(void)e;
	holders_got(s->nodes->holders, s->instance, message, clock_mono_ms());
	return 0;
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

/* Of a node: there is one that it may put. */
static int on_ask(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;
	const struct ecs_node_ask *ask = message;
	const char *task = json_string_value(json_object_get(ask->request, "task"));
	auto_json json_t *tags = NULL;
	struct ecs_node_answer answer = {.id = ask->id};
	struct ecs_fault f;

	(void)e;
	if (strcmp(ask->operation, "DescribeTaskTags") != 0 || !task)
		(void)ecs_fault_set(&f, ECS_FAULT_UNKNOWN_OPERATION,
				    "Nothing that a node may ask: '%.100s'", ask->operation);
	else
		tags = core_task_tags(ledger_core(s->nodes->o.ledger), s->instance, task, &f);
	answer.response = tags;
	answer.fault_message = tags ? NULL : f.message;
	send_message(s, ECS_NODE_ANSWER, &answer);
	return 0;
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

/* ---- a node joins ---- */

struct joined {
	struct nodes *nodes;
	uint64_t serial; /* of the session, which may have ended */
	char *instance, *certificate;
};

static struct session *session_by_serial(struct nodes *n, uint64_t serial)
{
	struct session *s = n->sessions;

	while (s && s->serial != serial)
		s = s->next;
	return s;
}

static void on_joined(void *ctx)
{
	struct joined *j = ctx;
	struct session *s = session_by_serial(j->nodes, j->serial);
	const struct ecs_node_certificate message = {.instance_id = j->instance,
						     .certificate = j->certificate};

	if (s) {
		send_message(s, ECS_NODE_CERTIFICATE, &message);
		set_over(s);
	}
	free(j->instance);
	free(j->certificate);
	free(j);
}

static int certify(const struct nodes *n, const char *request, const char *instance,
		   int64_t *ret_until_ms, char **ret, struct err *e)
{
	*ret_until_ms = clock_wall_ms() + n->o.certificate_ms;
	return authority_certify(n->o.authority, request, instance, *ret_until_ms, ret, e);
}

/* Told only when it is durable that the token is used and whose the name is. */
static int on_join(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;
	const struct ecs_node_join *join = message;
	struct nodes *n = s->nodes;
	char key[SHA256_HEX], *certificate;
	const char *instance;
	struct joined *j;
	int64_t until_ms;

	s->joining = true;
	if (cert_request_key(join->request, key, e) < 0 ||
	    core_node_join(ledger_core(n->o.ledger), join, key, ledger_now_ms(n->o.ledger),
			   &instance, e) < 0 ||
	    certify(n, join->request, instance, &until_ms, &certificate, e) < 0) {
		refuse(s, e->msg, false);
		return 0;
	}
	log_info("instance=%s host=%s: joins", instance, join->hostname);
	j = xcalloc(1, sizeof(*j));
	*j = (struct joined){n, s->serial, xstrdup(instance), certificate};
	ledger_commit_then(n->o.ledger, on_joined, j);
	return 0;
}

static const struct ecs_node_handler joining[] = {
	{ECS_NODE_JOIN, true, sizeof(struct ecs_node_join), on_join},
};

static int on_request(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;
	const struct ecs_node_request *request = message;
	struct ecs_node_certificate reply = {.instance_id = s->instance};
	char key[SHA256_HEX];

	if (!s->renewing)
		return err_set(e, EPROTO, "a request for a certificate that nobody wanted");
	s->renewing = false;
	if (cert_request_key(request->request, key, e) < 0)
		return -e->code;
	if (strcmp(key, s->peer.key) != 0)
		return err_set(e, EACCES, "a request for a certificate for another key");
	if (certify(s->nodes, request->request, s->instance, &s->peer.until_ms, &reply.certificate,
		    e) < 0)
		return -e->code;
	send_message(s, ECS_NODE_CERTIFICATE, &reply);
	free(reply.certificate);
	return 0;
}

/* ---- what a node says ---- */

static void free_session(struct session *s);

/*
 * The machine was copied, or it has booted and its old session is silent, which we
 * have not noticed yet.  Let in, it would tell that the other's tasks are stopped.
 */
static bool is_another_machine(const struct session *s, const struct ecs_node_hello *hello)
{
	const struct session *older = map_find(&s->nodes->by_instance, hello->instance_id);

	return older && !str_eq(older->boot_id, hello->boot_id);
}

/* A node that dials again before we have noticed that the session it had is dead. */
static void replace_older(struct session *s)
{
	struct session *older = map_find(&s->nodes->by_instance, s->instance);

	if (older) {
		log_info("instance=%s: dialled again", older->instance);
		free_session(older);
	}
}

/* Where the server sees it: behind a NAT it has to be configured. */
static void add_seen_address(const struct session *s, struct ecs_node_hello *h, char *text,
			     size_t size, char **items)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	const void *bytes;

	if (h->addresses.count || !s->remote ||
	    getpeername(stream_fd(s->stream), (struct sockaddr *)&addr, &len) < 0)
		return;
	bytes = addr.ss_family == AF_INET6
			? (const void *)&((struct sockaddr_in6 *)&addr)->sin6_addr
			: (const void *)&((struct sockaddr_in *)&addr)->sin_addr;
	if (!inet_ntop(addr.ss_family, bytes, text, (socklen_t)size))
		return;
	items[0] = str_starts(text, "::ffff:") ? text + strlen("::ffff:") : text;
	h->addresses = (struct js_strings){items, 1};
}

/* A session that was greeted; it may have ended since. */
struct greeting {
	struct nodes *nodes;
	uint64_t serial;
};

static void on_greeted(void *ctx)
{
	struct greeting *g = ctx;
	struct session *s = session_by_serial(g->nodes, g->serial);

	if (s)
		s->welcomed = true;
	free(g);
}

/* Messages that were on their way to the session before this one must not come before the welcome. */
static void welcome(struct session *s)
{
	struct greeting *g = xcalloc(1, sizeof(*g));

	*g = (struct greeting){s->nodes, s->serial};
	ledger_commit_then(s->nodes->o.ledger, on_greeted, g);
}

static int on_hello(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;
	struct ecs_node_hello hello = *(const struct ecs_node_hello *)message;
	struct nodes *n = s->nodes;
	char address[INET6_ADDRSTRLEN], *items[2] = {NULL};
	const char *instance;
	int r;

	if (s->remote && !str_eq(hello.instance_id, s->peer.name)) {
		refuse(s, "the certificate is for another node than hello says", false);
		return 0;
	}
	if (s->remote && is_another_machine(s, &hello)) {
		refuse(s,
		       "another machine that has this node's identity is connected: is this a "
		       "copy of it? A copy joins by a token of its own, without var/lib/berth/node",
		       false);
		return 0;
	}
	add_seen_address(s, &hello, address, sizeof(address), items);
	r = core_node_hello(ledger_core(n->o.ledger), &hello, s->remote ? s->peer.key : NULL,
			    s->remote ? n->o.heartbeat_ms : 0, ledger_now_ms(n->o.ledger),
			    &instance, e);
	if (r < 0) {
		refuse(s, e->msg, r == -ENOENT);
		return 0;
	}
	s->instance = xstrdup(instance);
	s->boot_id = xstrdup(hello.boot_id);
	if (s->remote)
		replace_older(s);
	(void)map_put(&n->by_instance, s->instance, s);
	add_holder(s, &hello);
	log_info("instance=%s host=%s: connected", s->instance, hello.hostname);
	welcome(s);
	return 0;
}

static int on_heartbeat(void *ctx, const void *message, struct err *e)
{
	(void)ctx;
	(void)message;
	(void)e;
	return 0; /* that it came is all that it says */
}

static int on_resources(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;
	struct ledger *l = s->nodes->o.ledger;

	if (core_node_resources(ledger_core(l), s->instance, message, ledger_now_ms(l), e) < 0)
		return -e->code;
	ledger_commit(l);
	return 0;
}

static int on_report(void *ctx, const void *message, struct err *e)
{
	struct session *s = ctx;

	(void)e;
	core_node_report(ledger_core(s->nodes->o.ledger), s->instance, message,
			 ledger_now_ms(s->nodes->o.ledger));
	ledger_commit(s->nodes->o.ledger);
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

	if (core_flow_log_delivered(ledger_core(r->nodes->o.ledger), source, error,
				    ledger_now_ms(r->nodes->o.ledger)))
		ledger_commit(r->nodes->o.ledger);
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
	logs_put(s->nodes->o.logs, message, on_logged, r);
	return 0;
}

static const struct ecs_node_handler handlers[] = {
	{ECS_NODE_HELLO, true, sizeof(struct ecs_node_hello), on_hello},
	{ECS_NODE_RESOURCES, false, sizeof(struct ecs_node_resources), on_resources},
	{ECS_NODE_REPORT, false, sizeof(struct ecs_node_report), on_report},
	{ECS_NODE_LOG, false, sizeof(struct ecs_node_log), on_log},
	{ECS_NODE_ASK, false, sizeof(struct ecs_node_ask), on_ask},
	{ECS_NODE_ANSWER, false, sizeof(struct ecs_node_answer), on_answer},
	{ECS_NODE_REQUEST, false, sizeof(struct ecs_node_request), on_request},
	{ECS_NODE_HEARTBEAT, false, sizeof(struct ecs_node_empty), on_heartbeat},
	{ECS_NODE_HOLDS, false, sizeof(struct ecs_node_holds), on_holds},
	{ECS_NODE_WANT, false, sizeof(struct ecs_node_want), on_want},
	{ECS_NODE_GOT, false, sizeof(struct ecs_node_got), on_got},
};

static int handle(void *ctx, const char *data, size_t size, struct err *e)
{
	struct session *s = ctx;

	s->heard_ms = clock_mono_ms();
	if (s->over)
		return 0; /* what was under way when we said the last word */
	if (s->remote && !s->peer.name[0])
		return ecs_node_dispatch(joining, ARRAY_COUNT(joining), s->joining, ctx, data, size,
					 e);
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
	forget(s);
	end_asks(s);
	stream_free(s->stream);
	free(s->boot_id);
	free(s->instance);
	free(s);
}

static void on_end(void *ctx, const char *why)
{
	struct session *s = ctx;
	struct nodes *n = s->nodes;
	void (*on_gone)(void *ctx) = s->on_gone;
	void *gone_ctx = s->ctx;

	if (s->instance && !s->over) {
		log_warn("instance=%s: disconnected: %s", s->instance, why);
		core_node_gone(ledger_core(n->o.ledger), s->instance, ledger_now_ms(n->o.ledger));
		ledger_commit(n->o.ledger);
	} else if (!s->over) {
		log_info("a node hangs up before it has said hello: %s", why);
	}
	free_session(s);
	if (on_gone)
		on_gone(gone_ctx);
}

static void on_peer(void *ctx, const struct tls_peer *peer)
{
	struct session *s = ctx;

	if (peer)
		s->peer = *peer;
}

static int add_session(struct nodes *n, int own_fd, bool remote, struct session **ret,
		       struct err *e)
{
	struct session *s = xcalloc(1, sizeof(*s));
	const struct stream_options o = {.loop = n->o.loop,
					 .fd = own_fd,
					 .frame_max = ECS_NODE_FRAME_MAX,
					 .queue_max = QUEUE_MAX,
					 .tls = remote ? authority_credentials(n->o.authority)
						       : NULL,
					 .on_peer = on_peer,
					 .on_frame = handle,
					 .on_end = on_end,
					 .ctx = s};

	if (stream_open(&o, &s->stream, e) < 0) {
		free(s);
		return -e->code;
	}
	s->nodes = n;
	s->serial = ++n->next_serial;
	s->remote = remote;
	s->begun_ms = s->heard_ms = clock_mono_ms();
	s->next = n->sessions;
	n->sessions = s;
	*ret = s;
	return 0;
}

int nodes_add(struct nodes *n, int fd, void (*on_gone)(void *ctx), void *ctx, struct err *e)
{
	struct session *s;

	if (add_session(n, fd, false, &s, e) < 0)
		return -e->code;
	s->on_gone = on_gone;
	s->ctx = ctx;
	return 0;
}

/* ---- nodes elsewhere ---- */

static bool is_stranger(const struct session *s)
{
	return s->remote && (!s->welcomed || s->over);
}

/* NULL: it may stay. */
static const char *tired_of(const struct session *s, int64_t now_ms)
{
	if (is_stranger(s))
		return now_ms > s->begun_ms + STRANGER_MS ? "it took too long" : NULL;
	return now_ms > s->heard_ms + SILENT_BEATS * s->nodes->o.heartbeat_ms ? "it is silent"
									      : NULL;
}

static void beat(struct session *s)
{
	static const struct ecs_node_empty nothing;
	bool renew = s->peer.until_ms - clock_wall_ms() < s->nodes->o.certificate_ms / 2;

	if (renew && !s->renewing)
		send_message(s, ECS_NODE_RENEW, &nothing);
	s->renewing |= renew;
	send_message(s, ECS_NODE_HEARTBEAT, &nothing);
}

static void on_beat(void *ctx)
{
	struct nodes *n = ctx;
	int64_t now_ms = clock_mono_ms();
	bool any = false;

	for (struct session *s = n->sessions, *next; s; s = next) {
		const char *why = s->remote ? tired_of(s, now_ms) : NULL;

		next = s->next;
		if (why) {
			on_end(s, why);
			continue;
		}
		any |= s->remote;
		if (s->remote && !is_stranger(s))
			beat(s);
	}
	if (any)
		loop_timer_set(n->beat, n->o.heartbeat_ms);
}

static size_t count_strangers(const struct nodes *n)
{
	size_t count = 0;

	for (const struct session *s = n->sessions; s; s = s->next)
		count += is_stranger(s);
	return count;
}

static void take_connection(struct nodes *n, int own_fd)
{
	const int one = 1;
	struct session *s;
	struct err e = {0};

	(void)setsockopt(own_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (count_strangers(n) >= STRANGERS_MAX) {
		log_warn("%d nodes are about to say hello, another one is turned away",
			 STRANGERS_MAX);
		(void)close(own_fd);
	} else if (add_session(n, own_fd, true, &s, &e) < 0) {
		log_error("a node dialled: %s", e.msg);
	}
	if (!loop_timer_is_set(n->beat))
		loop_timer_set(n->beat, n->o.heartbeat_ms);
}

static void on_connection(void *ctx, int events)
{
	struct nodes *n = ctx;
	int fd = accept4(n->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd >= 0) {
		take_connection(n, fd);
	} else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		log_error("accept a node: %s", strerror(errno));
		loop_want(n->listen_watch, 0);
		loop_timer_set(n->accept_rest, ACCEPT_REST_MS);
	}
}

static void on_accept_rest(void *ctx)
{
	struct nodes *n = ctx;

	loop_want(n->listen_watch, LOOP_READ);
}

int nodes_listen(struct nodes *n, int fd, struct err *e)
{
	n->listen_fd = fd;
	return loop_watch(n->o.loop, fd, LOOP_READ, on_connection, n, &n->listen_watch, e);
}

const char *nodes_fingerprint(const struct nodes *n)
{
	return n->o.authority ? authority_fingerprint(n->o.authority) : NULL;
}

/* ---- life ---- */

struct nodes *nodes_new(const struct nodes_options *o)
{
	struct nodes *n = xcalloc(1, sizeof(*n));

	n->o = *o;
	n->listen_fd = -1;
	n->beat = loop_timer_new(o->loop, on_beat, n);
	n->accept_rest = loop_timer_new(o->loop, on_accept_rest, n);
	n->patience = loop_timer_new(o->loop, on_patience, n);
	n->holders = holders_new(&(struct holders_options){.send = on_holders_word, .ctx = n});
	return n;
}

void nodes_free(struct nodes *n)
{
	if (!n)
		return;
	while (n->sessions)
		free_session(n->sessions);
	map_done(&n->by_instance);
	loop_unwatch(n->listen_watch);
	close_fd(&n->listen_fd);
	loop_timer_free(n->beat);
	loop_timer_free(n->accept_rest);
	loop_timer_free(n->patience);
	holders_free(n->holders);
	free(n);
}
