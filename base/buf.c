/* base/buf.c - bytes that grow, up to a limit set at birth
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void buf_init(struct buf *b, size_t limit)
{
	*b = (struct buf)BUF_INIT(limit);
}

void buf_done(struct buf *b)
{
	free(b->data);
	buf_init(b, b->limit);
}

void buf_reset(struct buf *b)
{
	b->size = 0;
	b->overflow = false;
	if (b->data)
		b->data[0] = '\0';
}

void *buf_reserve(struct buf *b, size_t size)
{
	size_t capacity = b->capacity ? b->capacity : 256;

	assert(b->limit);

	if (size > b->limit - b->size) {
		b->overflow = true;
		return NULL;
	}
	while (capacity < b->size + size + 1)
		capacity *= 2;
	if (capacity != b->capacity) {
		b->data = xrealloc(b->data, capacity, 1);
		b->capacity = capacity;
	}
	return b->data + b->size;
}

void buf_commit(struct buf *b, size_t size)
{
	assert(b->size + size < b->capacity);

	b->size += size;
	b->data[b->size] = '\0';
}

void buf_add(struct buf *b, const void *data, size_t size)
{
	void *p = buf_reserve(b, size);

	if (!p)
		return;
	if (size)
		memcpy(p, data, size);
	buf_commit(b, size);
}

void buf_puts(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	char *p;
	int len;

	va_start(ap, fmt);
	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);

	p = len < 0 ? NULL : buf_reserve(b, (size_t)len);
	if (p) {
		(void)vsnprintf(p, (size_t)len + 1, fmt, again);
		buf_commit(b, (size_t)len);
	}
	va_end(again);
}

void buf_consume(struct buf *b, size_t size)
{
	assert(size <= b->size);

	if (!size)
		return;
	memmove(b->data, b->data + size, b->size - size);
	b->size -= size;
	b->data[b->size] = '\0';
}

const char *buf_str(const struct buf *b)
{
	return b->data ? b->data : "";
}
