/* tests/unit/image/tarball.h - tars made by hand, good and bad
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

#define BLOCK 512

/* One entry; what is 0 gets a plain value.  Numbers are octal text in the header. */
struct member {
	const char *name;
	char type;        /* '0' file, '1' hard link, '2' symlink, '3' char, '5' directory ... */
	const char *link; /* target */
	const char *data;
	unsigned mode, major, minor;
	long size;         /* of the header; 0: of the data */
	unsigned long uid; /* 0: ours */
	long mtime;
	const char *pax; /* "key=value\nkey=value\n": a pax header in front */
};

static inline void add_block(struct buf *b, const void *data, size_t size)
{
	static const char zeros[BLOCK];

	buf_add(b, data, size);
	if (size % BLOCK)
		buf_add(b, zeros, BLOCK - size % BLOCK);
}

/* A number as octal digits that fill a field, with a NUL behind. */
static inline void add_number(char *field, size_t digits, unsigned long n)
{
	field[digits] = '\0';
	while (digits--) {
		field[digits] = (char)('0' + (n & 7));
		n >>= 3;
	}
}

static inline void add_header(struct buf *b, const struct member *m, size_t size, char type)
{
	unsigned long sum = 0;
	char h[BLOCK] = {0};

	(void)snprintf(h, 100, "%.99s", m->name);
	add_number(h + 100, 7, m->mode ? m->mode : type == '5' ? 0755 : 0644);
	add_number(h + 108, 7, m->uid ? m->uid : getuid());
	add_number(h + 116, 7, getgid());
	add_number(h + 124, 11, size);
	add_number(h + 136, 11, (unsigned long)m->mtime);
	memset(h + 148, ' ', 8);
	h[156] = type;
	(void)snprintf(h + 157, 100, "%.99s", m->link ? m->link : "");
	memcpy(h + 257, "ustar\00000", 8);
	add_number(h + 329, 7, m->major);
	add_number(h + 337, 7, m->minor);
	for (size_t i = 0; i < BLOCK; i++)
		sum += (unsigned char)h[i];
	add_number(h + 148, 6, sum);
	buf_add(b, h, BLOCK);
}

/* "key=value\n" lines to pax records with their lengths. */
static inline void add_pax(struct buf *b, const char *lines)
{
	struct buf records = BUF_INIT(4 << 20);
	const struct member head = {.name = "pax"};

	while (*lines) {
		size_t len = strcspn(lines, "\n") + 1, total = len + 2;
		char digits[16];

		while ((size_t)snprintf(digits, sizeof(digits), "%zu", total) + 1 + len != total)
			total++;
		buf_printf(&records, "%zu ", total);
		buf_add(&records, lines, len);
		lines += len;
	}
	add_header(b, &head, records.size, 'x');
	add_block(b, records.data, records.size);
	buf_done(&records);
}

static inline void add_member(struct buf *b, const struct member *m)
{
	size_t size = m->data ? strlen(m->data) : 0;

	if (m->pax)
		add_pax(b, m->pax);
	add_header(b, m, m->size ? (size_t)m->size : size, m->type ? m->type : '0');
	if (m->data)
		add_block(b, m->data, size);
}

static inline void add_end(struct buf *b)
{
	static const char zeros[2 * BLOCK];

	buf_add(b, zeros, sizeof(zeros));
}

/* A source of tar_new(): the buffer, in pieces. */
struct tarball {
	struct buf bytes;
	size_t at, step;
};

#define TARBALL(step_bytes)                                                \
	{                                                                  \
		.bytes = BUF_INIT(64 << 20), .at = 0, .step = (step_bytes) \
	}

static inline int read_tarball(void *ctx, const void **ret, size_t *ret_size, struct err *e)
{
	struct tarball *t = ctx;
	size_t left = t->bytes.size - t->at;

	(void)e;
	*ret = t->bytes.data + t->at;
	*ret_size = left < t->step ? left : t->step;
	t->at += *ret_size;
	return 0;
}
