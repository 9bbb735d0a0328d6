/* image/attachments.h - what an index names beside images: attestations, as BuildKit makes them
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nobody here looks at it.  An index can only be handed on with all that it names, so
 * the manifests that are for no platform, and their small blobs, are kept with the
 * image's documents.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "image/record.h"

#define ATTACHMENT_SIZE_MAX (8 << 20)

/* One document whole, checked against its digest; 'kind' is "manifests" or "blobs". */
typedef int attachment_get(void *ctx, const char *kind, const char *digest, struct buf *out,
			   struct err *e);

/*
 * Hand over the attachments of the record's index, as far as they can be had: an image
 * is as good without, and whoever pushes the index will be told what is missing.
 *
 * Context: fetcher and loader, in front of handover_record().
 */
void attachments_take(struct record *r, attachment_get *get, void *ctx);

/* Is the sibling one? */
bool attachment_is(const struct image_sibling *s);
