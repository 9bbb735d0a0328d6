/* cmd/berth/pull.h - pulls, followed to their end
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "cmd/berth/command.h"

enum progress_kind {
	PROGRESS_AUTO,  /* bars on a terminal, lines elsewhere */
	PROGRESS_LINES, /* a line for each change of a layer */
	PROGRESS_JSON,  /* the same, each a document */
	PROGRESS_NONE,
};

/* Pull it and wait; *ret describes the pull.  'keep_blobs': layers as they come, too. */
int pull_whole(struct context *c, const char *image, enum progress_kind progress, bool keep_blobs,
	       json_t **ret, struct err *e);

/*
 * The same for "PullImage" and "PushImage", by their requests.  -ENOMEDIUM: a push lacks layers as
 * they were packed.
 */
int pull_follow(struct context *c, const char *operation, json_t *own_request,
		enum progress_kind progress, json_t **ret, struct err *e);

/*
 * Have a node fetch the layers of an image that it does not keep as they were packed, for handing
 * the image on: 'what' is its platform and its names, of which one will do:
 * "linux/amd64 docker.io/library/busybox@sha256:...".
 */
int pull_lend(struct context *c, const char *what, enum progress_kind progress, struct err *e);
#define PULL_LENDS_MAX 5 /* somebody who hands on the same may take away what was lent for us */

/* "1.5 MB", malloc'ed. */
char *size_of(int64_t bytes);
