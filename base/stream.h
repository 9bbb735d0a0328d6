/* base/stream.h - a connection in the loop that carries frames
 * SPDX-License-Identifier: Apache-2.0
 *
 * Frames (base/frame.h) that come are handed over whole; what is put is queued
 * and written as the peer reads.  With TLS, what is put before the peer is
 * known waits until it is.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "base/loop.h"

struct stream;
struct tls_credentials;
struct tls_peer;

/* < 0: the frame could not be read; the stream ends with what *e says. */
typedef int stream_frame_fn(void *ctx, const char *data, size_t size, struct err *e);
/* The stream is over: free it.  Called once; no frame comes after it. */
typedef void stream_end_fn(void *ctx, const char *why);

struct stream_options {
	struct loop *loop; /* borrowed */
	int fd;            /* a stream socket that does not block; ours from now on */
	size_t frame_max;  /* bytes of a frame that may come */
	size_t queue_max;  /* bytes that may wait for a peer that does not read */
	const struct tls_credentials *tls; /* NULL: in the clear; outlives the stream */
	void (*on_peer)(void *ctx,
			const struct tls_peer *peer); /* TLS: it is known; see tls_peer() */
	stream_frame_fn *on_frame;
	stream_end_fn *on_end;
	void *ctx;
};

/* On failure fd is closed. */
int stream_open(const struct stream_options *o, struct stream **ret, struct err *e);
void stream_free(struct stream *s); /* not from on_frame; NULL is fine */

int stream_fd(const struct stream *s); /* it stays the stream's */

/* Past queue_max the stream ends, soon: on_end is never called from here. */
void stream_put(struct stream *s, const void *data, size_t size);
