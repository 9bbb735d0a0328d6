/* dns/stream.c - connections of tasks
 * SPDX-License-Identifier: Apache-2.0
 *
 * One question at a time: the next is read when the answer to the one before it is written.  So
 * what a task costs is bounded by how many connections it has, whatever it sends and does not
 * read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "dns/relay.h"

#define IDLE_MS  10000 /* without a whole question; and until an answer is read */
#define TURN_MAX 16    /* connections that are accepted before others are heard */
#define OF_ONE   16

struct stream {
	struct stream *next;
	struct relay *relay;
	struct asker *asker;
	int fd;
	struct loop_fd *watch;
	struct loop_timer *timer;
	struct frame question;
	struct query *query; /* that is under way */
	uint8_t *out;        /* that is to be read */
	size_t out_size, out_sent;
};

static void drop(struct stream *s)
{
	struct stream **p = &s->relay->streams;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	s->relay->stream_count--;
	s->asker->held[ASKER_STREAMS]--;
	if (s->query)
		query_drop(s->query);
	loop_unwatch(s->watch);
	loop_timer_free(s->timer);
	close_fd(&s->fd);
	frame_done(&s->question);
	free(s->out);
	free(s);
}

void streams_drop_all(struct relay *r)
{
	while (r->streams)
		drop(r->streams);
}

/* False: it is over. */
static bool write_more(struct stream *s)
{
	ssize_t n = send(s->fd, s->out + s->out_sent, s->out_size - s->out_sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	s->out_sent += (size_t)n;
	if (s->out_sent < s->out_size)
		return true;
	free(take_ptr(s->out));
	loop_want(s->watch, LOOP_READ);
	loop_timer_set(s->timer, IDLE_MS);
	return true;
}

/* False: it is over. */
static bool read_more(struct stream *s)
{
	const struct query_from from = {.asker = s->asker, .stream = s};
	int r = frame_read(&s->question, s->fd, MESSAGE_QUERY_MAX);
	struct frame whole;
	bool taken;

	if (r != FRAME_WHOLE)
		return r == 0;
	whole = s->question;
	s->question = (struct frame){0};
	loop_want(s->watch, 0);
	taken = asker_may_ask(s->asker, clock_mono_ms()) &&
		query_take(s->relay, &from, whole.data, whole.size);
	frame_done(&whole);
	return taken;
}

static void on_ready(void *ctx, int events)
{
	struct stream *s = ctx;

	(void)events;
	if (!(s->out ? write_more(s) : read_more(s)))
		drop(s);
}

static void on_time(void *ctx)
{
	drop(ctx);
}

void stream_asked(struct stream *s, struct query *q)
{
	s->query = q;
	loop_timer_set(s->timer, IDLE_MS);
}

/* It is written by on_ready(), so that nobody is dropped here. */
void stream_answer(struct stream *s, const uint8_t *message, size_t size)
{
	s->out_size = FRAME_HEAD + size;
	s->out_sent = 0;
	s->out = xcalloc(1, s->out_size);
	frame_head(s->out, size);
	memcpy(s->out + FRAME_HEAD, message, size);
	loop_want(s->watch, LOOP_WRITE);
	loop_timer_set(s->timer, IDLE_MS);
}

/* Who has most gives a place to who has fewer. */
static bool make_room(struct relay *r, const struct asker *asker)
{
	struct stream *oldest = NULL;
	struct asker *most;

	if (asker->held[ASKER_STREAMS] >= OF_ONE)
		return false;
	if (r->stream_count < STREAMS_MAX)
		return true;
	most = askers_greediest(&r->askers, ASKER_STREAMS);
	if (most->held[ASKER_STREAMS] <= asker->held[ASKER_STREAMS] + 1)
		return false;
	for (struct stream *s = r->streams; s; s = s->next)
		if (s->asker == most)
			oldest = s;
	drop(oldest);
	return true;
}

static void begin(struct relay *r, int own_fd, struct asker *asker)
{
	struct stream *s;
	struct err ignored;

	if (!make_room(r, asker)) {
		(void)close(own_fd);
		return;
	}
	s = xcalloc(1, sizeof(*s));
	*s = (struct stream){.next = r->streams, .relay = r, .asker = asker, .fd = own_fd};
	s->timer = loop_timer_new(r->loop, on_time, s);
	r->streams = s;
	r->stream_count++;
	asker->held[ASKER_STREAMS]++;
	loop_timer_set(s->timer, IDLE_MS);
	if (loop_watch(r->loop, s->fd, LOOP_READ, on_ready, s, &s->watch, &ignored) < 0)
		drop(s);
}

void stream_accept(struct relay *r)
{
	for (int i = 0; i < TURN_MAX; i++) {
		struct sockaddr_storage from = {0};
		struct ip_prefix address;
		socklen_t size = sizeof(from);
		int fd = accept4(r->o->tcp_fd, (struct sockaddr *)&from, &size,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return; /* nobody; or he has gone again */
		address = ip_of_socket(&from);
		begin(r, fd, askers_get(&r->askers, &address));
	}
}
