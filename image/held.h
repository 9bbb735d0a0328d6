/* image/held.h - an image, as the store knows it: part of the facade, image/image.h
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/js.h"
#include "base/mem.h"

#define IMAGE_LAYERS_MAX 127

/* A layer, lowest first. */
struct image_part {
	char *diff_id, *blob; /* "sha256:...": of the tar; of it as the registry has it */
	uint64_t blob_size;   /* bytes */
	uint64_t size;        /* of its files, unpacked */
};

/* How an image came about, as it says: oldest step first. */
struct image_step {
	int64_t created_ms; /* 0: it does not say */
	char *created_by, *comment;
	bool empty; /* it added no layer */
};

/* A manifest of the index that an image came by. */
#define IMAGE_SIBLINGS_MAX 64
struct image_sibling {
	char *manifest; /* "sha256:..." */
	char *platform; /* "linux/arm64/v8"; "unknown/unknown": it says none, or is no image */
};

/* One image of one platform.  Strings are NULL and lists empty when the image does not say. */
struct image {
	char *reference;         /* the name it was found by */
	char *digest;            /* "sha256:...": what the name stood for, an index or a manifest */
	char *manifest;          /* "sha256:...": the manifest of this platform */
	char *config;            /* "sha256:...": of its configuration, which Docker calls its id;
				    NULL where an older Berth pulled it */
	char *os, *architecture; /* "linux", "amd64": Go's names, as images use them */
	char *variant;           /* "v8" */
	int64_t created_ms;      /* when it was made, as it says; 0: it does not say */
	int64_t pulled_ms;       /* when the name was last pulled; wall clock */
	int64_t used_ms; /* when a container was last made of it by this name; 0: not since its pull */
	uint64_t size;        /* bytes of all layers, unpacked */
	uint32_t greatest_id; /* of users and groups that files of its layers belong to */

	struct js_strings entrypoint, cmd, env;
	char *working_dir, *user, *stop_signal;
	struct js_strings ports;   /* "80/tcp" */
	struct js_strings volumes; /* absolute paths in the container */
	struct js_map labels;

	struct image_sibling *siblings; /* itself among them; none: it came by itself, or from an
					   index of indexes */
	size_t sibling_count;

	struct image_part *parts;
	size_t part_count;
	struct image_step *steps;
	size_t step_count;

	/*
	 * Absolute paths of what shows the image: what rootfs/ takes.  Either an
	 * index, and the files it points into in the order of its devices; or .index
	 * is NULL and they are directories of layers, lowest first, each once.
	 */
	char *index;
	struct js_strings layers;

	struct arena arena; /* owns all of the above */
};

/* Some of them: image_list(). */
struct image_list {
	struct image **items;
	size_t count;
};

/* What image_prune() took away. */
struct image_pruned {
	struct image_list images; /* the caller's: image_list_done() */
	uint64_t bytes;           /* of layers that no image has any more */
};
