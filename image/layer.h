/* image/layer.h - one layer, from the bytes of a blob to a tree of files
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "image/reference.h"

struct layer {
	char diff_id[DIGEST_SIZE]; /* of the tar, to its last byte */
	uint64_t bytes;            /* of all files */
	uint32_t greatest_id;      /* of users and groups that they belong to */
};

/*
 * Read a packed tar from 'in_fd' to its end and make its files below 'root_fd',
 * an empty directory.  Nothing is synced.  Whether the tar was the right one is
 * for the caller to see by its diff-id.
 */
int layer_unpack(int in_fd, int root_fd, struct layer *ret, struct err *e);
