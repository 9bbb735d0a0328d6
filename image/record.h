/* image/record.h - what we keep of an image's documents
 * SPDX-License-Identifier: Apache-2.0
 *
 * The fetcher reads a registry's JSON, checks it, and writes this; the store
 * keeps it.  One line for each fact, a word and its value:
 *
 *   berth image 1
 *   digest sha256:...
 *   env PATH=/usr/bin:/bin
 *   label maintainer somebody
 *   layer sha256:(diff-id) sha256:(blob) 1234
 *   step 1700000000000 full RUN\x20make (comment)
 *   sibling sha256:... linux/arm64/v8
 *   document sha256:... 1234 application/vnd.oci.image.manifest.v1+json
 *   name docker.io/library/busybox:latest
 *
 * Control characters and backslashes are written \xHH, in a label's name blanks
 * too.  Words that repeat make a list.  A reader trusts nothing: unknown words,
 * missing ones, repeated single ones and invalid digests are refused.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "image/image.h"
#include "image/reference.h"

#define RECORD_SIZE_MAX (1 << 20)
#define RECORD_DOCUMENTS_SIZE_MAX \
	(32 << 20) /* of all documents: four manifests and a configuration fit */

struct record_layer {
	char diff_id[DIGEST_SIZE]; /* of the tar */
	char blob[DIGEST_SIZE];    /* as the registry has it */
	uint64_t blob_size;        /* bytes */
};

/*
 * What the registry's JSON was, byte by byte: indexes, manifest, configuration, in this order;
 * then attachments (image/attachments.h).
 */
#define RECORD_DOCUMENTS_MAX 64
struct record_document {
	char digest[DIGEST_SIZE];
	uint64_t size;        /* bytes */
	char media_type[128]; /* "": an older Berth pulled it */
};

struct record {
	/* .reference, .pulled_ms, .size, .greatest_id, .parts, .index and .layers belong to the store and are empty here. */
	struct image image;
	struct record_document documents[RECORD_DOCUMENTS_MAX];
	size_t document_count; /* 0: an older Berth pulled it */
	struct js_strings
		names; /* of an image that is loaded: those of the archive; none in the store */
	struct record_layer layers[IMAGE_LAYERS_MAX];
	size_t layer_count;
};

/* Is it fit for a record, which has it as a word?  NULL is not. */
bool media_type_is_plain(const char *text);

struct record *record_new(void);
void record_free(struct record *r); /* NULL is fine */

static inline void auto_record_(struct record **r)
{
	record_free(*r);
}
#define auto_record __attribute__((cleanup(auto_record_)))

/* 'out' should be limited to RECORD_SIZE_MAX: more is refused by the reader. */
void record_write(const struct record *r, struct buf *out);

/* *ret is the caller's. */
int record_read(const char *text, size_t size, struct record **ret, struct err *e);
