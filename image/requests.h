/* image/requests.h - what can be asked of registries and archives: part of the facade
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum image_pull_policy {
	IMAGE_PULL_ALWAYS,    /* ask the registry what the name stands for; get what is missing */
	IMAGE_PULL_IF_ABSENT, /* what the store holds under this name is good */
};

/*
 * Where the images of a registry can be had: there, or at a mirror of it.
 * Files are read by root before anything foreign is.
 */
struct image_source {
	const char *location; /* "mirror.example:5000/hub", which repositories stand below;
				 NULL: the registry of the name itself */
	const char *username, *password;         /* NULL: anonymous */
	const char *ca_file;                     /* PEM: trusted beside the system's; NULL: none */
	const char *certificate_file, *key_file; /* PEM: ours; both or none */
	bool insecure; /* plain HTTP or an unknown certificate will do; on loopback HTTP always does */
};

#define IMAGE_SOURCES_MAX 9 /* eight mirrors and the registry itself */

struct image_pull_request {
	const char *reference;
	const char *platform; /* "linux/arm64/v8"; NULL: this machine's */
	enum image_pull_policy policy;
	/*
	 * Asked in this order, each when the one before does not have what is wanted,
	 * fails, or lies about it.  None: the registry of the name, anonymously.
	 */
	const struct image_source *sources;
	size_t source_count;
	bool tags_at_last; /* what a tag stands for only the last may say */
	bool keep_blobs;   /* layers as they come, too, for handing the image on as it was */
	bool blobs_only; /* of an image that is held: those, lent to who hands it on next; nothing else changes */
	/*
	 * PEM, our certificate with its key: blobs may come from nodes that know it, and for each it is
	 * asked where it is to be had (IMAGE_PULL_WANTS).  NULL: from the sources only.
	 */
	const char *peer_file;
};

/* image_load_begin() */
struct image_load_request {
	int fd; /* borrowed for the call */
	bool is_directory;
	unsigned item;         /* which of its images, from 0 on */
	const char *reference; /* NULL: as the archive says */
	const char *platform;  /* NULL: this machine's */
};

/* image_push_begin() */
struct image_push_request {
	const char *reference;   /* which image: see image_resolve() */
	const char *destination; /* NULL: 'reference', a name */
	bool with_index;   /* the index that it came by, too; its siblings are there already */
	bool uncompressed; /* layers as plain tars, under a manifest of their own */
	const struct image_source *to;
};
