/* image/push.h - what the caller of a push and its worker say to each other
 * SPDX-License-Identifier: Apache-2.0
 *
 * The order comes with descriptors: a memory file with the source to ask (one), one
 * with the record, one with the documents, then the blobs of those layers that have
 * one.  The record and the documents are of our store.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "image/record.h"
#include "image/reference.h"
#include "image/wire.h"

struct push_order {
	char destination[REFERENCE_SIZE];
	char mount_from[NAME_LEN_MAX +
			1]; /* a repository of the same registry that has the blobs; "" */
	bool with_index;    /* what it came by, too, and only that gets the destination's tag */
	bool has_blob[IMAGE_LAYERS_MAX];
};

enum { PUSH_FDS = 3 }; /* before the blobs */

/*
 * In the worker, before its jail.  What is returned lives as long as the process;
 * layer_fds are -1 for layers without a blob.
 */
int push_take_order(struct push_order *ret, struct source **ret_source, struct record **ret_record,
		    char **ret_documents, int layer_fds[IMAGE_LAYERS_MAX], struct err *e);
