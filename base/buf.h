/* base/buf.h - bytes that grow, up to a limit set at birth
 * SPDX-License-Identifier: Apache-2.0
 *
 * What does not fit is not stored and the buffer remembers it (buf_overflow),
 * so a writer may append without looking and ask once at the end.  The bytes
 * are always followed by a NUL that is not counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data; /* NULL while empty */
	size_t size, capacity, limit;
	bool overflow;
};

#define BUF_INIT(limit_bytes)          \
	{                              \
		.limit = (limit_bytes) \
	}
#define auto_buf __attribute__((cleanup(buf_done)))

void buf_init(struct buf *b, size_t limit);
void buf_done(struct buf *b);
void buf_reset(struct buf *b); /* empty again; the memory is kept */

void buf_add(struct buf *b, const void *data, size_t size);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Drop 'size' bytes from the front. */
void buf_consume(struct buf *b, size_t size);

/* Room for 'size' more bytes at the end, or NULL past the limit; then buf_commit what was used. */
void *buf_reserve(struct buf *b, size_t size);
void buf_commit(struct buf *b, size_t size);

/* The bytes as a string; "" while empty.  Valid until the buffer changes. */
const char *buf_str(const struct buf *b);

static inline bool buf_overflow(const struct buf *b)
{
	return b->overflow;
}
