/* image/intake.h - a layer's bytes, unpacked by a thread, hashed and kept
 * SPDX-License-Identifier: Apache-2.0
 *
 * Inflating is what a pull waits for longest, so a thread does nothing else and
 * is a few pieces ahead.  Whoever takes the pieces hashes them, and writes them
 * to where the tar is kept, if it is; another thread has the disk follow.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/reference.h"

struct intake;

/* Where the bytes come from and go to; all borrowed, -1: nowhere. */
struct intake_fds {
	int in, tar;
	int packed;          /* what comes, as it comes */
	bool packed_if_slow; /* see inflate_keep_if_slow() */
};
int intake_new(const struct intake_fds *fds, struct intake **ret, struct err *e);

/* Waits for the thread, which goes on until it has something to hand over: not in a worker. */
void intake_free(struct intake *s);

/* A tar_source_fn: the next piece, until the next call; *ret_size is 0 at the end. */
int intake_next(void *intake, const void **ret, size_t *ret_size, struct err *e);

/* Take what is left, which counts for the digest only, then tell it. */
int intake_finish(struct intake *s, char ret_digest[DIGEST_SIZE], struct err *e);

/* When all is taken: the tar, if it is kept, is on the disk. */
int intake_sync(struct intake *s, struct err *e);

/* Bytes taken so far. */
uint64_t intake_bytes(const struct intake *s);
