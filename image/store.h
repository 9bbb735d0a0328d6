/* image/store.h - images and layers on disk
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 *   names/HASH         one per name: which image it stands for, and since when
 *   images/KEY         one per image: its record (image/record.h)
 *   documents/KEY      what the record was made of: the registry's documents, as they came
 *   tars/DIFF-ID/      a layer as it came: tar, its table (image/table.h), the
 *                      content of files with holes (sparse), what it comes to (bytes);
 *                      where blobs are kept, the packed one by its digest
 *   indexes/LAYERS     one per list of layers: the file system that shows them
 *   layers/DIFF-ID/    a layer unpacked: fs/ is its tree in overlay form, and bytes;
 *                      implied: directories of it that it says nothing of
 *   layers/LAYERS/     one per list of unpacked layers that needs it: on top of them, those
 *                      directories as lower layers have them (image/parents.h)
 *   configs/DIGEST     configurations as they came, from when they are here: for other nodes
 *   partial/BLOB       what has come of a large blob, for whoever begins again; may be
 *                      anything, its digest will tell; BLOB.lent is all of one that
 *                      is not kept, for whoever hands its image on, and takes it away
 *   ingest/RANDOM      what is on its way in or out, worth nothing
 *   form               how the agent wants layers: "index" or "unpacked"
 *   lock               held by the one puller that may add and drop layers
 *
 * A file of names/ was changed last when a container was made of the image, at the
 * epoch if that has not been since it was pulled.
 *
 * HASH is the SHA-256 of the whole name.  KEY is the digest that the name stood
 * for, a dash, and the digest of the platform's manifest: an index gives
 * several images.  LAYERS is the SHA-256 of the diff-ids.  Everything is content-
 * addressed, so nothing is ever changed in place; only names move.
 *
 * A store that makes indexes (IMAGE_INDEXED) shows an image by its index when it
 * has all that this takes, else by unpacked layers when it has those; a store
 * that does not, by unpacked layers only.  So a host whose kernel changes loses
 * nothing: what the other form lacks, the next pull brings.
 *
 * 1. What is in tars/, layers/ and indexes/ is whole, verified, and on disk: it is
 *    synced in ingest/ and renamed.
 * 2. An index is made when all its layers are there, an image is written when its
 *    index is, a name when its image is; each by a temporary file, a sync and a
 *    rename.  What a pull writes at its end is prepared at once: a sync then finds
 *    most of its work done by the one before.
 * 3. Things go in the opposite order.  Layers and indexes go only by store_sweep(),
 *    which looks at all images first, under the lock and with no pull going on.
 * 4. So after a crash there are at worst layers that no image needs, images
 *    without a name, documents without an image, and ingest: the next sweep takes
 *    all but the second.
 */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "image/image.h"
#include "image/record.h"
#include "image/reference.h"
#include "image/wire.h"

#define IMAGE_KEY_SIZE (64 + 1 + 64 + 1)
#define INGEST_SIZE    17

struct store {
	char *dir;
	enum image_form form;
	int dir_fd, names_fd, images_fd, documents_fd, configs_fd, tars_fd, indexes_fd, layers_fd,
		partial_fd, ingest_fd;
};

/* Make what is missing.  On failure there is nothing to undo.  IMAGE_AS_LAST: see store_note_form(). */
int store_init(struct store *s, const char *dir, enum image_form form, struct err *e);
void store_done(struct store *s);
/* So that others who open the store have the same form. */
void store_note_form(const struct store *s);

/* ---- images ---- */

/* 0 or IMAGE_ABSENT, also when one of its layers is not there.  *ret is the caller's. */
int store_find(const struct store *s, const struct reference *name, struct image **ret,
	       struct err *e);
int store_list(const struct store *s, struct image_list *ret, struct err *e);
/* Names whose image is not whole, malloc'ed; behind a blank its platform, where that is known. */
int store_list_broken(const struct store *s, struct js_strings *ret, struct err *e);
/* Call for each record that can be read; a negative answer ends it. */
int store_each_record(const struct store *s,
		      int (*on_record)(void *ctx, const struct record *r, struct err *e), void *ctx,
		      struct err *e);
/* image_remove() but for the sweep. */
int store_remove(const struct store *s, const char *reference, const char *const *in_use,
		 size_t in_use_count, struct err *e);

/* One without a name. */
int store_remove_image(const struct store *s, const struct image *image, struct err *e);
/* A container is made of it.  What cannot be noted is forgotten. */
void store_touch(const struct store *s, const struct reference *name);

/*
 * All layers of the record are there already; their names and the documents are brought to
 * the disk before the record.  The documents lie in the file one behind the other; -1: they
 * are there, too.  'name' NULL: the image gets none.
 */
int store_put_image(const struct store *s, const struct reference *name, const struct record *r,
		    int documents_fd, int64_t now_ms, struct err *e);
/* The first step of that: each document is checked against its digest. */
int store_prepare_documents(const struct store *s, const struct record *r, int fd,
			    struct fs_prepared *ret, struct err *e);
/* The configuration alone, as long as the image is on its way; it is not synced. */
int store_put_config(const struct store *s, const struct record *r, int fd, struct err *e);
/*
 * All of them, malloc'ed, one behind the other.  IMAGE_ABSENT: they are not kept; -EUCLEAN:
 * they are damaged.
 */
int store_read_documents(const struct store *s, const struct record *r, char **ret, struct err *e);

/*
 * The record of the image that image_resolve() finds, and what that is; -ENOENT with a
 * sentence when there is none.
 */
int store_find_record(const struct store *s, const char *text, char ret_which[REFERENCE_SIZE],
		      struct record **ret, struct err *e);

/* Which image: see image_resolve(). */
int store_resolve(const struct store *s, const char *text, char ret[REFERENCE_SIZE], struct err *e);
int store_tag(const struct store *s, const char *reference, const struct reference *name,
	      int64_t now_ms, struct err *e);

/* ---- layers: for the puller, which holds the lock ---- */

/* Waits for whoever has it; -1 or the descriptor that is the lock. */
int store_lock(const struct store *s, struct err *e);

/* Is the layer's blob kept as it came, or known to be the tar itself? */
bool store_has_blob(const struct store *s, const struct record_layer *l);
/* In the store's form. */
bool store_has_layer(const struct store *s, const char *diff_id);

/* What a worker fills of a layer, and whoever has it closes; -1: not in this form. */
struct ingest {
	int sums_fd;
	int tree_fd, implied_fd;         /* IMAGE_UNPACKED */
	int tar_fd, table_fd, sparse_fd; /* IMAGE_INDEXED */
	int packed_fd;                   /* the blob, where it is to be kept */
};

/* A new directory in ingest/, with what a layer has in the store's form; 'keep_blob_of' may be NULL. */
int store_ingest(const struct store *s, const struct record_layer *keep_blob_of,
		 char ret_name[INGEST_SIZE], struct ingest *ret, struct err *e);
/* The same for a blob that is to be lent: it is read, and nothing comes of it but itself. */
int store_ingest_blob(const struct store *s, const struct record_layer *l,
		      char ret_name[INGEST_SIZE], struct ingest *ret, struct err *e);
void ingest_close(struct ingest *i);

/*
 * What has come of the layer's blob before, made when absent, and how many bytes that
 * is.  1: it is too small for the trouble.
 */
#define STORE_PARTIAL_MIN (32 << 20)
int store_open_partial(const struct store *s, const struct record_layer *l, int *ret_write_fd,
		       int *ret_read_fd, uint64_t *ret_bytes, struct err *e);
void store_drop_partial(const struct store *s, const struct record_layer *l);

/*
 * Make the ingest a layer: all of it is on disk already, and its name will be with the record of
 * an image that has it.  One that is there already stays, and gets the blob.
 */
int store_put_layer(const struct store *s, const char *ingest, const char *diff_id, struct err *e);

/* Calls for each layer that is held as a tar. */
int store_each_tar(const struct store *s,
		   int (*on_tar)(void *ctx, const char *diff_id, struct err *e), void *ctx,
		   struct err *e);
/* Its tar, or -errno. */
int store_open_tar(const struct store *s, const char *diff_id);
/* Its blob as the registry has it, if that is kept; or -errno. */
int store_open_blob(const struct store *s, const struct record_layer *l);
/* That, or the tar where it is the blob, or what is lent. */
int store_open_blob_or_lent(const struct store *s, const struct record_layer *l);
/* Lend the blob of an ingest, until it is taken away: a day at most. */
int store_lend_blob(const struct store *s, const char *ingest, const struct record_layer *l,
		    struct err *e);
void store_drop_lent(const struct store *s, const struct record_layer *l);
/* Put what was made anew (in an ingest) where it differs from what is held.  1: it did. */
int store_renew_layer(const struct store *s, const char *ingest, const char *diff_id,
		      struct err *e);
/* Out of the way: into ingest/. */
int store_drop_tar(const struct store *s, const char *diff_id, struct err *e);

/* ---- indexes: for the puller, too ---- */

/* Of the file in indexes/. */
void store_index_name(const struct record *r, char ret[SHA256_HEX]);
bool store_has_index(const struct store *s, const struct record *r);

/*
 * An order for the record's index: sizes, and the layers' tables, which are the caller's.
 * A layer of the record for which 'ingests' has a name is in ingest/; NULL: none is.
 */
int store_index_order(const struct store *s, const struct record *r, const char *const *ingests,
		      struct index_order *ret, int ret_tables[IMAGE_LAYERS_MAX], struct err *e);

/* A new file in ingest/, then what it becomes. */
int store_ingest_index(const struct store *s, char ret_name[INGEST_SIZE], int *ret_fd,
		       struct err *e);
int store_put_index(const struct store *s, const char *ingest, const struct record *r,
		    struct err *e);
/* The same, if it differs from what is held.  1: it did. */
int store_renew_index(const struct store *s, const char *ingest, const struct record *r,
		      struct err *e);

/* The names of layers and indexes, to the disk. */
int store_sync_layers(const struct store *s, struct err *e);
/* All layers are there: what an image of unpacked ones needs on top of them, unless that is there, too. */
int store_make_parents(const struct store *s, const struct record *r, struct err *e);

/* ---- the rest ---- */

/* Move the layers that no image needs to ingest/, and remove what crashes left behind. */
int store_sweep(const struct store *s, struct err *e);

/* What is in ingest/ now, malloc'ed; names of any length. */
int store_list_ingest(const struct store *s, struct js_strings *ret, struct err *e);
void store_names_free(struct js_strings *names);
/* Remove one of them. */
int store_drop_ingest(const struct store *s, const char *name, struct err *e);
bool store_has_ingest(const struct store *s);

/* Bytes that are free where the store is, and that there are. */
uint64_t store_free_bytes(const struct store *s);
uint64_t store_total_bytes(const struct store *s);

/* ---- shared by store.c, documents.c and layers.c ---- */

void store_image_key(const char *digest, const char *manifest, char ret[IMAGE_KEY_SIZE]);

int store_open_list(int dir_fd, DIR **ret, struct err *e);
/* The next name that is neither hidden nor temporary; NULL at the end. */
const char *store_next(DIR *dir);
int store_sync(int dir_fd, const char *what, struct err *e);
bool store_is_key(const char *text);
/* 0 or IMAGE_ABSENT. */
int store_read_record(const struct store *s, const char *key, struct record **ret, struct err *e);
/* What shows the image, in the best form that is there: 0 or IMAGE_ABSENT. */
int store_add_layers(const struct store *s, const struct record *r, struct image *image);
