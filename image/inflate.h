/* image/inflate.h - a layer's bytes, unpacked as they come
 * SPDX-License-Identifier: Apache-2.0
 *
 * gzip, zstd or plain, told by the first bytes whatever the media type says; xz for
 * archives of people, no layer is packed so.
 * Several gzip members or zstd frames in a row are one stream; anything else
 * behind the last is refused, and so is an end before the end.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A layer unpacks to at most so many bytes, and to at most so many times its size. */
#define INFLATE_BYTES_MAX  (256ULL << 30)
#define INFLATE_RATIO_MAX  1000
#define INFLATE_RATIO_FROM (64ULL << 20) /* less than this is never too much */

struct inflate;

/* Reads from 'fd' (borrowed), and keeps what it read in 'packed_fd' (borrowed; -1: nowhere). */
struct inflate *inflate_new(int fd, int packed_fd);
/*
 * From now on keep it only as long as it is worth that: what comes faster than
 * INFLATE_FAST may come again.  That counts the time that was waited for bytes, not what
 * was done with them.  What was kept is the beginning then.
 */
#define INFLATE_KEEP_MIN (16 << 20) /* bytes, however fast */
#define INFLATE_FAST     100000     /* bytes a millisecond */
void inflate_keep_if_slow(struct inflate *z);
void inflate_take_xz(struct inflate *z);
void inflate_free(struct inflate *z); /* NULL is fine */

/* Up to 'size' bytes into 'out', at least one; *ret_size is 0 at the end. */
int inflate_next(struct inflate *z, void *out, size_t size, size_t *ret_size, struct err *e);

uint64_t inflate_bytes_in(const struct inflate *z);
uint64_t inflate_bytes_out(const struct inflate *z);
