/* image/manifest.h - the JSON documents of an image
 * SPDX-License-Identifier: Apache-2.0
 *
 * An index lists manifests by platform; a manifest names a configuration and
 * layers.  Docker's schema 2 and OCI 1.0 and 1.1 are read.  Everything here is
 * foreign: read in the fetcher only.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/js.h"
#include "image/record.h"
#include "image/reference.h"

#define MANIFEST_SIZE_MAX (4 << 20) /* the specification asks for 4 MiB at least */
#define CONFIG_SIZE_MAX   (8 << 20)
#define INDEX_DEPTH_MAX   3
#define BLOB_SIZE_MAX     (256LL << 30)

/* ---- platforms ---- */

struct platform {
	char os[32], architecture[32], variant[16]; /* Go's names */
};

#define PLATFORM_SIZE 82
#define PLATFORM_NONE "unknown/unknown" /* of what is no image */

/* "os/architecture[/variant]"; NULL: this machine's. */
int platform_parse(const char *text, struct platform *ret, struct err *e);
void platform_format(const struct platform *p, char ret[PLATFORM_SIZE]);

/* How well something made for 'made' runs on 'machine'; 0: not at all. */
unsigned platform_match(const struct platform *machine, const struct platform *made);

/* ---- index and manifest ---- */

struct descriptor {
	char *media_type; /* NULL when absent */
	char *digest;     /* valid */
	int64_t size;     /* not negative */
	struct platform_names {
		char *os, *architecture, *variant; /* each may be NULL */
	} * platform;                              /* NULL when absent */
	struct js_map annotations;
};

enum document_kind { DOCUMENT_INDEX, DOCUMENT_MANIFEST };

struct document {
	enum document_kind kind;
	struct descriptor *items; /* an index's manifests, or a manifest's layers, lowest first */
	size_t count;
	struct descriptor *config; /* of a manifest */
	const char *media_type;
	struct arena arena;
};

/*
 * 'content_type' is what the registry called it, NULL when it did not say.
 * Refused: what is both index and manifest, or calls itself something else than
 * the registry does; schema 1; layers that we could not unpack.
 */
int document_parse(const char *text, size_t size, const char *content_type, struct document *ret,
		   struct err *e);
void document_done(struct document *d);
/* A manifest of what is no image: anything may be in its configuration and its layers. */
int document_parse_other(const char *text, size_t size, int64_t blob_size_max, struct document *ret,
			 struct err *e);

/* The best manifest of an index for this machine; borrowed from the document. */
int document_choose(const struct document *index, const struct platform *machine,
		    const struct descriptor **ret, struct err *e);

/* The manifests of an index become siblings of the image; more than IMAGE_SIBLINGS_MAX: none. */
void document_note_siblings(const struct document *index, struct image *image);

/* The Accept header of a manifest request. */
extern const char manifest_accept[];

/* ---- configuration ---- */

/*
 * Fill a new record from the configuration and its manifest: all but .digest
 * and .manifest.  Refuses an image that is not for 'machine'.
 */
int config_parse(const char *text, size_t size, const struct document *manifest,
		 const struct platform *machine, struct record *ret, struct err *e);
