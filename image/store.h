/* image/store.h - images and layers on disk
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 *   names/HASH         one per name: which image it stands for, and since when
 *   images/KEY         one per image: its record (image/record.h)
 *   layers/DIFF-ID/    one per layer: fs/ is its tree in overlay form, bytes its size
 *   ingest/RANDOM/     what is on its way in or out, worth nothing
 *   lock               held by the one puller that may add and drop layers
 *
 * HASH is the SHA-256 of the whole name.  KEY is the digest that the name stood
 * for, a dash, and the digest of the platform's manifest: an index gives
 * several images.  Everything is content-addressed, so nothing is ever changed
 * in place; only names move.
 *
 * 1. What is in layers/ is whole, verified, and on disk: it is synced in ingest/
 *    and renamed.
 * 2. An image is written when all its layers are there, a name when its image
 *    is; each by a temporary file, a sync and a rename.
 * 3. Things go in the opposite order.  Layers go only by store_sweep(), which
 *    looks at all images first, under the lock and with no pull going on.
 * 4. So after a crash there are at worst layers that no image needs, images
 *    without a name, and ingest: the next sweep takes the first and the last.
 */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/image.h"
#include "image/record.h"
#include "image/reference.h"

#define IMAGE_KEY_SIZE (64 + 1 + 64 + 1)
#define INGEST_SIZE    17

struct store {
	char *dir;
	int dir_fd, names_fd, images_fd, layers_fd, ingest_fd;
};

/* Make what is missing.  On failure there is nothing to undo. */
int store_init(struct store *s, const char *dir, struct err *e);
void store_done(struct store *s);

/* ---- images ---- */

/* 0 or IMAGE_ABSENT, also when one of its layers is not there.  *ret is the caller's. */
int store_find(const struct store *s, const struct reference *name, struct image **ret,
	       struct err *e);
int store_list(const struct store *s, struct image_list *ret, struct err *e);
/* image_remove() but for the sweep. */
int store_remove(const struct store *s, const char *reference, const char *const *in_use,
		 size_t in_use_count, struct err *e);

/* All layers of the record are there already. */
int store_put_image(const struct store *s, const struct reference *name, const struct record *r,
		    int64_t now_ms, struct err *e);

/* ---- layers: for the puller, which holds the lock ---- */

/* Waits for whoever has it; -1 or the descriptor that is the lock. */
int store_lock(const struct store *s, struct err *e);

bool store_has_layer(const struct store *s, const char *diff_id);

/*
 * A new directory in ingest/: *ret_tree_fd is its fs/, for the layer's files;
 * into *ret_bytes_fd goes the sum of their sizes, in decimal.  Both are the
 * caller's.
 */
int store_ingest(const struct store *s, char ret_name[INGEST_SIZE], int *ret_tree_fd,
		 int *ret_bytes_fd, struct err *e);

/* Make the ingest a layer: all of it is on disk already.  One that is there already stays. */
int store_put_layer(const struct store *s, const char *ingest, const char *diff_id, struct err *e);

/* Move the layers that no image needs to ingest/, and remove what crashes left behind. */
int store_sweep(const struct store *s, struct err *e);

/* What is in ingest/ now, malloc'ed; names of any length. */
int store_list_ingest(const struct store *s, struct js_strings *ret, struct err *e);
void store_names_free(struct js_strings *names);
/* Remove one of them. */
int store_drop_ingest(const struct store *s, const char *name, struct err *e);
bool store_has_ingest(const struct store *s);

/* Bytes that are free where the store is. */
uint64_t store_free_bytes(const struct store *s);

/* ---- shared by store.c and layers.c ---- */

int store_open_list(int dir_fd, DIR **ret, struct err *e);
/* The next name that is neither hidden nor temporary; NULL at the end. */
const char *store_next(DIR *dir);
int store_sync(int dir_fd, const char *what, struct err *e);
bool store_is_key(const char *text);
/* 0 or IMAGE_ABSENT. */
int store_read_record(const struct store *s, const char *key, struct record **ret, struct err *e);
char *store_layer_path(const struct store *s, const char *diff_id, struct arena *a);
/* How many bytes its files have, and the greatest of their owners' ids; -1: the layer is not there. */
int64_t store_layer_bytes(const struct store *s, const char *diff_id, uint32_t *ret_greatest_id);
