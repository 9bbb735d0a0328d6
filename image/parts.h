/* image/parts.h - the rest of a blob by several requests at once
 * SPDX-License-Identifier: Apache-2.0
 *
 * Many registries, and what stands before them, give one connection only so much.  The
 * rest of a large blob is asked for in parts, a few of them at a time, each by a request of
 * its own; what comes too early waits here, so what is given out is in order.
 *
 * Parts are a short cut.  When one of them fails, whatever the reason, all of them have, and
 * it is for one request to get the rest, or to say why not.
 *
 * Runs in the fetcher only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/registry.h"

#define PART_SIZE     (2 << 20)
#define PARTS_ASKED   3          /* at a time */
#define PARTS_WAITING 6          /* with those that have come: so many times PART_SIZE of memory */
#define PARTS_MIN     (32 << 20) /* what is less comes soon enough */

struct parts;

struct parts_options {
	struct registry *registry; /* borrowed */
	const char *id;            /* of the blob; copied */
	const char *url;           /* where it was last sent from: registry_url(); copied */
	uint64_t begin, size;      /* from the one to the other, the end of the blob */

	/* Bytes have come, or it is over, or has failed; may call parts_free(). */
	void (*on_change)(void *ctx);
	void *ctx;
};

struct parts *parts_new(const struct parts_options *o);
/* NULL is fine.  Not while a part's bytes are told of, but where they have failed. */
void parts_free(struct parts *p);

bool parts_failed(const struct parts *p);
/* All bytes were consumed. */
bool parts_are_over(const struct parts *p);

/* The next bytes; how many, 0: none have come yet.  They are there until they are consumed. */
size_t parts_peek(const struct parts *p, const void **ret);
void parts_consume(struct parts *p, size_t size);
