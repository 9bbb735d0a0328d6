/* image/pulling.h - what a pull, a load and a push are for their caller
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

#include "image/client.h"
#include "image/image.h"
#include "image/wire.h"

struct image_pull {
	struct image_store *store; /* borrowed */
	char *reference;
	char digest[DIGEST_SIZE]; /* what it has been resolved to, or "" */
	struct image *held;       /* the store had it: no puller takes part */
	int fd;                   /* reports come on it; of a push the worker's socket */
	bool is_push;
	struct worker pusher; /* of a push */
	enum image_reason reason;
};

/* Without a descriptor yet.  image_pull_free() ends it. */
struct image_pull *pulling_new(struct image_store *s, const char *reference);

/* A memory file of all sources: they are too large for a packet. */
int pulling_write_sources(const struct image_source *sources, size_t count, int *ret_fd,
			  struct err *e);
/* One more behind them: who we are to other nodes. */
int pulling_write_peer(const char *peer_file, int fd, struct err *e);
