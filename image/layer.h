/* image/layer.h - one layer, from the bytes of a blob to what is held of it
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "image/intake.h"
#include "image/reference.h"

struct layer {
	char diff_id[DIGEST_SIZE]; /* of the tar, to its last byte */
	uint64_t bytes;            /* of all files */
	uint32_t max_id;           /* the greatest uid or gid */
};

/*
 * Take the stream to its end and make the layer's files below 'root_fd', an
 * empty directory, and write to 'implied_fd' what tree_write_implied() says.
 * Nothing is synced.  Whether the tar was the right one is for the caller to see
 * by its diff-id.
 */
int layer_unpack(struct intake *s, int root_fd, int implied_fd, struct layer *ret, struct err *e);

/*
 * The same, but the tar is what is kept (by the stream): write its table, and
 * what files with holes have in them to 'sparse_fd'.
 */
int layer_list(struct intake *s, int table_fd, int sparse_fd, struct layer *ret, struct err *e);
