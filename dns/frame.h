/* dns/frame.h - a message of a stream: two bytes of length, and so many bytes
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD 2

/* All zero bytes: nothing has come yet. */
struct frame {
	uint8_t head[FRAME_HEAD];
	uint8_t *data;    /* the message, ours; NULL: its length is not known yet */
	size_t size, got; /* of the message; of the frame, head included */
};

enum { FRAME_WHOLE = 1 };

/*
 * Take what has come.  FRAME_WHOLE; 0: there is more to come; -EMSGSIZE: it would be over 'max'
 * bytes; -EPIPE: the other side has ended; else -errno.
 */
int frame_read(struct frame *f, int fd, size_t max);
/* For the next one. */
void frame_done(struct frame *f);
void frame_head(uint8_t ret[FRAME_HEAD], size_t size);
