/* image/handover.h - what a fetcher or a loader gives the puller
 * SPDX-License-Identifier: Apache-2.0
 *
 * Context: the worker, with the descriptors of worker.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/record.h"
#include "image/wire.h"

/* "sha256:..." of some bytes. */
void digest_of(const void *data, size_t size, char ret[DIGEST_SIZE]);

/* What an image is made of is kept as it came, for whoever wants to hand it on. */
int handover_document(struct record *r, const void *data, size_t size, const char *media_type,
		      const char *digest, struct err *e);

/* The record is whole: the puller may order layers. */
int handover_record(const struct record *r, struct err *e);

enum { HANDOVER_NONE = 1, HANDOVER_END = 2 };

/* The first order: what image is wanted.  HANDOVER_END: none. */
int handover_take_order(struct order *ret, struct err *e);
/*
 * A layer that is wanted: where its bytes go, and what is there of them already; the
 * descriptors are the caller's.
 */
struct handover_layer {
	unsigned layer;
	int pipe_fd, partial_fd; /* the second -1: nothing */
	uint64_t resume_bytes;
	bool goes_on;           /* no descriptors: they and what has come are there */
	struct image_peer peer; /* .address "": the sources have it */
	char digest
		[DIGEST_SIZE]; /* of what it sends, at most peer_max bytes: the blob, or its tar */
	uint64_t peer_max;
};
/* The next one. 0; HANDOVER_NONE: none is wanted now; HANDOVER_END: never again. */
int handover_take_layer(const struct record *r, bool wait, struct handover_layer *ret,
			struct err *e);

/*
 * Where is a document to be had?  *ret: from there, .address "": from the sources.
 * HANDOVER_END: it is not wanted any more.
 */
int handover_ask(const char *digest, uint64_t size, struct image_peer *ret, struct err *e);
/* It is not to be had there: *why; what came is kept, and goes on elsewhere, or 0. */
void handover_bad(unsigned layer, const char *digest, uint64_t kept_bytes, const struct err *why);
