/* base/stream.c - a connection in the loop that carries frames
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whatever is wrong with writing, reading sees the end of the stream: so there
 * is one place where a stream ends, and never while somebody writes.
 */
#include "base/stream.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/frame.h"
#include "base/mem.h"
#include "base/tls.h"

#define READ_SIZE 65536

struct stream {
	struct stream_options o;
	struct loop_fd *watch;
	struct tls *tls;  /* NULL: in the clear */
	bool handshaking; /* nothing else goes */
	struct buf in, out;
	size_t sent; /* of 'out': taken off when half of it is */
};

/* As write(2) and read(2), with -errno. */
static ssize_t send_some(struct stream *s, const void *data, size_t size)
{
	ssize_t n;

	if (s->tls)
		return tls_write(s->tls, data, size);
	do
		n = send(s->o.fd, data, size, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t receive_some(struct stream *s, void *ret, size_t size)
{
	ssize_t n;

	if (s->tls)
		return tls_read(s->tls, ret, size);
	do
		n = read(s->o.fd, ret, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Most streams are idle most of the time, and a server has thousands of them. */
static void release_if_empty(struct buf *b)
{
	if (!b->size)
		buf_done(b);
}

static void write_out(struct stream *s)
{
	if (s->handshaking)
		return;
	while (s->sent < s->out.size) {
		ssize_t n = send_some(s, s->out.data + s->sent, s->out.size - s->sent);

		if (n <= 0)
			break;
		s->sent += (size_t)n;
	}
	if (s->sent >= s->out.size / 2) {
		buf_consume(&s->out, s->sent);
		s->sent = 0;
		release_if_empty(&s->out);
	}
	loop_want(s->watch, s->out.size ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

void stream_put(struct stream *s, const void *data, size_t size)
{
	frame_put(&s->out, data, size);
	if (buf_overflow(&s->out))
		(void)shutdown(s->o.fd, SHUT_RDWR);
	else
		write_out(s);
}

/* false: the stream has ended. */
static bool read_frames(struct stream *s)
{
	enum frame_result r;
	struct err e = {0};
	const char *data;
	size_t size;

	while ((r = frame_peek(&s->in, s->o.frame_max, &data, &size)) == FRAME_READY) {
		if (s->o.on_frame(s->o.ctx, data, size, &e) < 0) {
			s->o.on_end(s->o.ctx, e.msg);
			return false;
		}
		frame_drop(&s->in);
	}
	if (r == FRAME_TOO_BIG)
		s->o.on_end(s->o.ctx, "a message is too large");
	return r != FRAME_TOO_BIG;
}

/* false: not yet, or the stream has ended. */
static bool shake_hands(struct stream *s)
{
	struct err e = {0};
	int r = tls_handshake(s->tls, &e);

	if (r == TLS_AGAIN) {
		loop_want(s->watch, tls_wants_write(s->tls) ? LOOP_WRITE : LOOP_READ);
		return false;
	}
	if (r < 0) {
		s->o.on_end(s->o.ctx, e.msg);
		return false;
	}
	s->handshaking = false;
	if (s->o.on_peer)
		s->o.on_peer(s->o.ctx, tls_peer(s->tls));
	write_out(s);
	return true;
}

/* false: there is no more, or the stream has ended. */
static bool read_some(struct stream *s)
{
	void *room = buf_reserve(&s->in, READ_SIZE);
	ssize_t n = room ? receive_some(s, room, READ_SIZE) : -ENOMEM;

	if (n == -EAGAIN) {
		release_if_empty(&s->in);
		return false;
	}
	if (n <= 0) {
		const char *alert = s->tls ? tls_alert(s->tls) : NULL;

		s->o.on_end(s->o.ctx, alert                        ? alert
				      : n == 0 || n == -ECONNRESET ? "the peer hung up"
								   : "reading failed");
		return false;
	}
	buf_commit(&s->in, (size_t)n);
	if (!read_frames(s))
		return false;
	release_if_empty(&s->in);
	return true;
}

static void on_ready(void *ctx, int events)
{
	struct stream *s = ctx;

	if (s->handshaking) {
		if (!shake_hands(s))
			return;
		events |= LOOP_READ; /* the first message may have come with it */
	}
	if (events & LOOP_WRITE)
		write_out(s);
	if (!(events & LOOP_READ))
		return;
	/* What TLS has taken off the socket already, no poll will tell of. */
	while (read_some(s) && s->tls && tls_has_more(s->tls))
		;
}

int stream_open(const struct stream_options *o, struct stream **ret, struct err *e)
{
	struct stream *s = xcalloc(1, sizeof(*s));

	s->o = *o;
	buf_init(&s->in, o->frame_max + READ_SIZE + 4);
	buf_init(&s->out, o->queue_max);
	if (o->tls) {
		s->tls = tls_new(o->tls, o->fd);
		s->handshaking = true;
	}
	/* A client of TLS speaks first. */
	if (loop_watch(o->loop, o->fd, o->tls ? LOOP_READ | LOOP_WRITE : LOOP_READ, on_ready, s,
		       &s->watch, e) < 0) {
		stream_free(s);
		return -e->code;
	}
	*ret = s;
	return 0;
}

int stream_fd(const struct stream *s)
{
	return s->o.fd;
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	loop_unwatch(s->watch);
	tls_free(s->tls);
	(void)close(s->o.fd);
	buf_done(&s->in);
	buf_done(&s->out);
	free(s);
}
