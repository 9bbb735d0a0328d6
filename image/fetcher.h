/* image/fetcher.h - what the parts of a fetcher share
 * SPDX-License-Identifier: Apache-2.0
 *
 * fetcher.c finds out what the image is, blobs.c brings its layers.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/fetch.h"
#include "image/manifest.h"
#include "image/peers.h"
#include "image/record.h"
#include "image/reference.h"
#include "image/registry.h"
#include "image/wire.h"

#define FETCHER_FOREVER_MS (1 << 30)

struct fetcher {
	struct fetch *fetch;
	struct source *sources;
	struct registry *registries[IMAGE_SOURCES_MAX]; /* one for each source */
	size_t source_count, current;                   /* the source that documents come from */
	struct peers *peers;                            /* NULL: blobs come from sources only */
	bool tags_at_last, wants_attachments;
	char passed_over[160]; /* why the first source was: for messages */
	struct reference name;
	struct platform platform;
	struct record *record;
};

/* Source 'i' has failed: is there another?  Else *e is what there is to say. */
bool fetcher_pass_over(struct fetcher *f, size_t i, struct err *e);
/* registry_run() of all sources and nodes. */
int fetcher_run(struct fetcher *f, struct pollfd *extra, size_t extra_count, int timeout_ms,
		struct err *e);
/* What came has digest 'is': returns -errno. */
int fetcher_mismatch(struct err *e, const char *is, const char *expected);

/* ---- blobs.c ---- */

/* Bring the layers of the record that the puller orders, until it closes. */
int blobs_serve(struct fetcher *f, struct err *e);
