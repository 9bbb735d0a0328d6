/* base/stream.c - a connection in the loop that carries frames
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whatever is wrong with writing, reading sees the end of the stream: so there
 * is one place where a stream ends, and never while somebody writes.
 */
#include "base/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/frame.h"
#include "base/mem.h"

#define READ_SIZE 65536

struct stream {
	struct stream_options o;
	struct loop_fd *watch;
	struct buf in, out;
	size_t sent; /* of 'out': taken off when half of it is */
};

static void write_out(struct stream *s)
{
	while (s->sent < s->out.size) {
		ssize_t n = send(s->o.fd, s->out.data + s->sent, s->out.size - s->sent,
				 MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		s->sent += (size_t)n;
	}
	if (s->sent >= s->out.size / 2) {
		buf_consume(&s->out, s->sent);
		s->sent = 0;
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

static void read_frames(struct stream *s)
{
	enum frame_result r;
	struct err e = {0};
	const char *data;
	size_t size;

	while ((r = frame_peek(&s->in, s->o.frame_max, &data, &size)) == FRAME_READY) {
		if (s->o.on_frame(s->o.ctx, data, size, &e) < 0) {
			s->o.on_end(s->o.ctx, e.msg);
			return;
		}
		frame_drop(&s->in);
	}
	if (r == FRAME_TOO_BIG)
		s->o.on_end(s->o.ctx, "a message is too large");
}

static void on_ready(void *ctx, int events)
{
	struct stream *s = ctx;
	void *room;
	ssize_t n;

	if (events & LOOP_WRITE)
		write_out(s);
	if (!(events & LOOP_READ))
		return;
	room = buf_reserve(&s->in, READ_SIZE);
	n = room ? read(s->o.fd, room, READ_SIZE) : -1;
	if (n < 0 && room && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		s->o.on_end(s->o.ctx, n == 0 ? "the peer hung up" : "reading failed");
		return;
	}
	buf_commit(&s->in, (size_t)n);
	read_frames(s);
}

int stream_open(const struct stream_options *o, struct stream **ret, struct err *e)
{
	struct stream *s = xcalloc(1, sizeof(*s));

	s->o = *o;
	buf_init(&s->in, o->frame_max + READ_SIZE + 4);
	buf_init(&s->out, o->queue_max);
	if (loop_watch(o->loop, o->fd, LOOP_READ, on_ready, s, &s->watch, e) < 0) {
		stream_free(s);
		return -e->code;
	}
	*ret = s;
	return 0;
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	loop_unwatch(s->watch);
	(void)close(s->o.fd);
	buf_done(&s->in);
	buf_done(&s->out);
	free(s);
}
