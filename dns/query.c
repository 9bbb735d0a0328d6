/* dns/query.c - one query, from its coming to its answer
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 *   came ── a name of the VPC? ── asks the agent ──┐
 *     └─────────────────────────────────────────── try, up to TRIES ── answered
 *                                                    └── refused: SERVFAIL
 *
 * A try is a socket to one resolver of the host.  The next one comes after WAIT_MS, or at once
 * where the resolver, or the way to it, is not there; sockets of earlier ones stay open, because
 * a late answer is as good.  So a query is over after TRIES * WAIT_MS, which is less than the five
 * seconds for which the clients of C libraries wait.
 *
 * 1. Each socket has a port of its own and each datagram an id of its own, both random; what
 *    comes from another address the kernel does not take for it.
 * 2. What is no answer to the question is as if it had not come; after WRONG_MAX of them the
 *    socket is given up, for then somebody guesses.
 * 3. Who asks again what is under way waits for the same answer.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/random.h"
#include "dns/dial.h"
#include "dns/relay.h"

#define TRIES     3
#define WAIT_MS   1500
#define WRONG_MAX 16
#define KNOWN_MS  5000 /* an address rests longer before another task has it */

struct way {
	struct query *query;
	size_t which; /* server */
	int fd;       /* -1: not tried, or given up */
	struct loop_fd *watch;
	uint16_t id;
	unsigned wrong;
	bool is_sent; /* on a stream: it is connected, and has the query */
	struct frame answer;
};

struct query {
	struct query *older, *newer;
	struct relay *relay;
	struct query_from from;
	uint16_t id; /* the task's */
	unsigned tries;
	size_t last;            /* which server was asked last */
	uint64_t number;        /* of the question to the agent; 0: none */
	struct local_name name; /* if there is one */
	struct way ways[SERVERS_MAX];
	struct loop_timer *timer;
	size_t size, question_size;
	uint8_t frame[]; /* head, message */
};

static uint8_t *message_of(struct query *q)
{
	return q->frame + FRAME_HEAD;
}

static uint16_t random_id(void)
{
	uint16_t id;

	random_bytes(&id, sizeof(id));
	return id;
}

/* ---- the end ---- */

static void leave(struct way *w)
{
	loop_unwatch(take_ptr(w->watch));
	close_fd(&w->fd);
	frame_done(&w->answer);
}

void query_drop(struct query *q)
{
	struct relay *r = q->relay;

	for (size_t i = 0; i < SERVERS_MAX; i++)
		leave(&q->ways[i]);
	loop_timer_free(q->timer);
	if (q->newer)
		q->newer->older = q->older;
	else
		r->queries = q->older;
	if (q->older)
		q->older->newer = q->newer;
	r->query_count--;
	q->from.asker->held[ASKER_QUERIES]--;
	free(q);
}

void queries_drop_all(struct relay *r)
{
	while (r->queries)
		query_drop(r->queries);
}

static void send_to(struct relay *r, const struct query_from *to, const uint8_t *message,
		    size_t size)
{
	if (to->stream)
		stream_answer(to->stream, message, size);
	else
		(void)sendto(r->o->udp_fd, message, size, MSG_DONTWAIT | MSG_NOSIGNAL,
			     (const struct sockaddr *)&to->address, to->address_size);
}

/* With the id that the task gave it. */
static void answer(struct query *q, uint8_t *message, size_t size)
{
	struct relay *r = q->relay;
	const struct query_from to = q->from;

	message_set_id(message, q->id);
	if (to.stream)
		stream_asked(to.stream, NULL);
	send_to(r, &to, message, size);
	query_drop(q);
}

static void fail(struct query *q)
{
	answer(q, message_of(q), message_refuse(message_of(q), q->question_size, MESSAGE_SERVFAIL));
}

/* ---- tries ---- */

static void try_next(struct query *q, bool time_is_up);

static bool send_datagram(struct query *q, struct way *w)
{
	w->id = random_id();
	message_set_id(message_of(q), w->id);
	return send(w->fd, message_of(q), q->size, MSG_NOSIGNAL) == (ssize_t)q->size;
}

/* On a new connection there is room for it. */
static bool send_frame(struct query *q, struct way *w)
{
	const ssize_t size = (ssize_t)(FRAME_HEAD + q->size);

	w->is_sent = true;
	loop_want(w->watch, LOOP_READ);
	return send(w->fd, q->frame, (size_t)size, MSG_NOSIGNAL) == size;
}

/* It will answer nothing any more: whom else to ask? */
static void give_up(struct way *w)
{
	leave(w);
	try_next(w->query, false);
}

/* False: it is none, and what is there of the query is as it was. */
static bool take_answer(struct way *w, uint8_t *message, size_t size)
{
	struct query *q = w->query;

	if (size < MESSAGE_HEADER || message_id(message) != w->id ||
	    !message_answers(message, size, message_of(q), q->question_size))
		return false;
	standing_answered(&q->relay->standing, w->which);
	answer(q, message, size);
	return true;
}

static void on_datagram(void *ctx, int events)
{
	struct way *w = ctx;
	struct relay *r = w->query->relay;

	(void)events;
	for (;;) {
		ssize_t n = recv(w->fd, r->buffer, sizeof(r->buffer), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n >= 0 && take_answer(w, r->buffer, (size_t)n))
			return;
		if (n >= 0 && ++w->wrong < WRONG_MAX)
			continue;
		give_up(w);
		return;
	}
}

static void on_stream(void *ctx, int events)
{
	struct way *w = ctx;
	struct frame whole;
	int r;

	(void)events;
	if (!w->is_sent) {
		if (!send_frame(w->query, w))
			give_up(w);
		return;
	}
	r = frame_read(&w->answer, w->fd, MESSAGE_MAX);
	if (r == 0)
		return;
	whole = w->answer;
	w->answer = (struct frame){0};
	if (r != FRAME_WHOLE || !take_answer(w, whole.data, whole.size))
		give_up(w);
	frame_done(&whole);
}

/* A new socket to a server, and the query on its way; false: it is not. */
static bool open_way(struct query *q, const struct dialed *d)
{
	struct way *w = &q->ways[d->which];
	struct relay *r = q->relay;
	struct err ignored;

	leave(w); /* the list has changed meanwhile: it may be another one's */
	*w = (struct way){
		.query = q, .which = d->which, .fd = d->fd, .id = message_id(message_of(q))};
	if (w->fd >= 0 &&
	    loop_watch(r->loop, w->fd, q->from.stream ? LOOP_WRITE : LOOP_READ,
		       q->from.stream ? on_stream : on_datagram, w, &w->watch, &ignored) == 0 &&
	    (q->from.stream || send_datagram(q, w)))
		return true;
	leave(w);
	return false;
}

static bool try(struct query *q)
{
	struct relay *r = q->relay;
	size_t which = standing_choose(&r->standing, q->tries++, clock_mono_ms());
	struct dialed d;

	q->last = which;
	if (which < SERVERS_MAX && q->ways[which].fd >= 0)
		return q->from.stream || send_datagram(q, &q->ways[which]);
	if (!dial(r->o->dialer_fd, which, q->from.stream, &d)) {
		close_fd(&d.fd);
		relay_end(r, "the dialer is gone");
		return false;
	}
	standing_set(&r->standing, d.count, d.version);
	q->last = d.which;
	return open_way(q, &d);
}

static bool is_under_way(const struct query *q)
{
	for (size_t i = 0; i < SERVERS_MAX; i++)
		if (q->ways[i].fd >= 0)
			return true;
	return false;
}

static void try_next(struct query *q, bool time_is_up)
{
	while (q->tries < TRIES) {
		if (!try(q))
			continue;
		loop_timer_set(q->timer, WAIT_MS);
		return;
	}
	if (time_is_up || !is_under_way(q))
		fail(q);
}

static void on_time(void *ctx)
{
	struct query *q = ctx;

	if (q->tries && q->last < q->relay->standing.count)
		standing_silent(&q->relay->standing, q->last, clock_mono_ms());
	try_next(q, true);
}

/* ---- the beginning ---- */

/* Who has most gives a place to who has fewer. */
static bool make_room(struct relay *r, const struct asker *asker)
{
	struct query *oldest = NULL;
	struct asker *most;

	if (r->query_count < QUERIES_MAX)
		return true;
	most = askers_greediest(&r->askers, ASKER_QUERIES);
	if (most->held[ASKER_QUERIES] <= asker->held[ASKER_QUERIES] + 1)
		return false;
	for (struct query *q = r->queries; q; q = q->older)
		if (q->from.asker == most)
			oldest = q;
	fail(oldest);
	return true;
}

static bool is_asked_again(struct relay *r, const struct query_from *from, const uint8_t *message,
			   const struct message_outline *o)
{
	if (from->stream)
		return false;
	for (struct query *q = r->queries; q; q = q->older)
		if (q->from.asker == from->asker && !q->from.stream && q->id == o->id &&
		    memcmp(&q->from.address, &from->address, sizeof(from->address)) == 0 &&
		    q->question_size == o->question_size &&
		    memcmp(message_of(q) + MESSAGE_HEADER, message + MESSAGE_HEADER,
			   o->question_size - MESSAGE_HEADER) == 0)
			return true;
	return false;
}

static bool ask_agent(struct query *q)
{
	struct ecs_resolver_question question = {.number = ++q->relay->number};

	ip_address_format(&q->from.asker->address, question.caller);
	if (!q->relay->agent ||
	    fs_send(q->relay->o->agent_fd, &question, sizeof(question), NULL, 0) < 0)
		return false; /* it is gone, or busy: the resolvers of the host know no such name, and say so */
	q->number = question.number;
	loop_timer_set(q->timer, WAIT_MS);
	return true;
}

static struct query *begin(struct relay *r, const struct query_from *from, const uint8_t *message,
			   size_t size, const struct message_outline *o)
{
	struct query *q = xcalloc(1, sizeof(*q) + FRAME_HEAD + size);

	*q = (struct query){.relay = r,
			    .older = r->queries,
			    .from = *from,
			    .id = o->id,
			    .size = size,
			    .question_size = o->question_size};
	for (size_t i = 0; i < SERVERS_MAX; i++)
		q->ways[i].fd = -1;
	q->timer = loop_timer_new(r->loop, on_time, q);
	frame_head(q->frame, size);
	memcpy(message_of(q), message, size);
	message_set_id(message_of(q), random_id());
	if (r->queries)
		r->queries->newer = q;
	r->queries = q;
	r->query_count++;
	from->asker->held[ASKER_QUERIES]++;
	if (from->stream)
		stream_asked(from->stream, q);
	return q;
}

/* It is a name of the asker's VPC, or one that others have to know. */
static void decide(struct query *q)
{
	const struct asker *asker = q->from.asker;
	uint8_t *local = NULL;
	size_t size;

	if (local_is_of(&q->name, &asker->vpc, asker->domain))
		local = local_answer(message_of(q), q->question_size, &q->name, asker->domain,
				     &size);
	if (local)
		answer(q, local, size);
	else
		try_next(q, false);
	free(local);
}

bool query_take(struct relay *r, const struct query_from *from, uint8_t *message, size_t size)
{
	struct message_outline o;
	struct query *q;
	int code = message_outline(message, size, &o);

	if (code < 0)
		return false;
	if (code > 0) {
		send_to(r, from, message,
			message_refuse(message, o.question_size, (enum message_code)code));
		return true;
	}
	if (is_asked_again(r, from, message, &o))
		return true;
	if (!make_room(r, from->asker))
		return false;
	q = begin(r, from, message, size, &o);
	if (!local_parse(message_of(q), q->question_size, &q->name))
		try_next(q, false);
	else if (clock_mono_ms() < from->asker->known_until_ms)
		decide(q);
	else if (!ask_agent(q))
		try_next(q, false);
	return true;
}

void query_told(struct relay *r, const struct ecs_resolver_answer *a)
{
	struct query *q = r->queries;
	struct asker *asker;

	while (q && (!q->number || q->number != a->number))
		q = q->older;
	if (!q || q->tries)
		return; /* it was not waited for */
	asker = q->from.asker;
	asker->vpc = a->vpc;
	memcpy(asker->domain, a->domain, sizeof(asker->domain));
	asker->known_until_ms = clock_mono_ms() + KNOWN_MS;
	decide(q);
}
