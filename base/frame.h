/* base/frame.h - messages on a byte stream
 * SPDX-License-Identifier: Apache-2.0
 *
 * A frame is a length of four bytes, big endian, and that many bytes.  The
 * codec does no I/O: bytes that came are appended to a buf, frames are taken
 * from its front.
 */
#pragma once

#include "base/buf.h"

enum frame_result {
	FRAME_PARTIAL, /* not whole yet */
	FRAME_READY,   /* *ret and *ret_size are set; valid until the buffer changes */
	FRAME_TOO_BIG, /* the peer is broken or hostile: hang up */
};

/* Append a frame to 'out'. */
void frame_put(struct buf *out, const void *data, size_t size);

/* Look at the first frame of 'in'; frame_drop() takes it away. */
enum frame_result frame_peek(const struct buf *in, size_t max_size, const char **ret,
			     size_t *ret_size);
void frame_drop(struct buf *in);
