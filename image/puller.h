/* image/puller.h - the process that makes the pulls of one store
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * The puller is root and parses nothing foreign: it starts fetchers and
 * unpackers, connects them by pipes, checks what they report, and publishes
 * what both of them say is right.
 *
 * A pull is one caller's order and has a fetcher.  A flight is one layer on its
 * way in: it belongs to the pull whose fetcher brings it, and has an unpacker, or a
 * lister, as the store's form is.  A pull that has all its layers has an indexer.
 * Other pulls that want the layer wait for the flight.
 *
 * A pull that asks tells its caller of each blob that it wants, and hears where it is to be
 * had: from another node, or from the sources.  The flight of a layer waits for that.
 *
 *   pull:    ordered ─ resolved (a record) ─ all layers there ─ indexed ─ published ─ ended
 *   flight:  (asked ─) blob good + unpacked ─ published ─ over
 *
 * The index is made while the disk still has to do with the last layers, and published
 * behind them.
 *
 * Events only change these structures; then reconcile() looks at all of them
 * and does what is due.  Nothing is freed elsewhere.
 *
 * 1. A layer is published when its fetcher says that the blob has the right
 *    digest and its unpacker says that the tar has the right diff-id.  Layers
 *    are known by diff-id only, which the unpacker has computed, so one image's
 *    registry cannot lie about another's layers.
 * 2. A flight whose pull ends is over; whoever waits for it begins another.  So is
 *    one whose source sent something else while there is another source.
 *    What came of a large blob is kept beside it as it came, so that whoever begins
 *    again, a puller after this one's death too, asks for the rest only.
 * 3. What an unpacker made is removed when it has been reaped, not before.
 * 4. There is one puller per store: it holds the lock from its first order on.  It ends when
 *    the caller has closed and the last pull has ended, and sweeps the store before.
 * 5. One that is started ahead of its first order has a fetcher and a nursery load meanwhile.
 *    They are like those that are started for an order: they know nothing but their programs,
 *    and a fetcher serves one image.
 */
#pragma once

#include "image/nursery.h"
#include "image/record.h"
#include "image/store.h"
#include "image/wire.h"
#include "image/worker.h"

#define FLIGHTS_MAX 4 /* at once, of all pulls: more would only share two cores and a disk */

struct pull {
	struct pull *next;
	int caller_fd;
	char name_text[REFERENCE_SIZE];
	struct reference name;
	bool keep_blobs;                   /* as they come, beside what they are unpacked to */
	bool blobs_only;                   /* those, lent: the store has the rest */
	bool is_load;                      /* of an archive: its fetcher is a loader */
	bool asks;                         /* where blobs are to be had */
	char document_wanted[DIGEST_SIZE]; /* the fetcher waits to hear where it is to be had; "" */
	struct js_strings names;           /* of the archive; in the record's arena */
	size_t source_count;
	unsigned agains; /* layers that were ordered once more */
	struct worker fetcher;
	int record_fd;         /* the memory file that the fetcher writes the record to */
	int documents_fd;      /* and the one for the registry's documents */
	struct record *record; /* NULL: not resolved yet */
	enum image_pull_phase phases[IMAGE_LAYERS_MAX]; /* DONE and EXISTS: it is there */

	struct worker indexer; /* from the first layer that comes, until the index is there */
	char index_ingest[INGEST_SIZE];
	bool index_ordered, index_made;

	bool ended;         /* .last is to be sent, and is all that is left to do */
	struct report last; /* REPORT_DONE or REPORT_FAILED */
	bool caller_gone;   /* or has got it */
	bool cancelled;     /* the caller does not want it any more; else it may come back for it */
};

struct flight {
	struct flight *next;
	struct pull *owner; /* borrowed */
	unsigned layer;     /* of the owner */
	char diff_id[DIGEST_SIZE];
	char ingest[INGEST_SIZE];
	struct worker unpacker;
	bool held;            /* it comes from a tar of the store, not from the registry */
	bool asking;          /* where it is to be had, or its rest: nothing else goes on yet */
	struct origin origin; /* of flights that were asked for; else .digest is "" */
	bool blob_good, listed, unpacked; /* listed: unpacked, but for the disk */
	struct err unpack_err; /* code 0: none; it waits for what the fetcher says of the blob */
	bool over;
};

/* What has been killed, and what to remove when it is reaped. */
struct ending {
	struct worker worker;
	char ingest[INGEST_SIZE]; /* "": nothing */
};

/* What can fetch one image, and the memory files that it fills. */
struct fetching {
	struct worker worker;
	int record_fd, documents_fd;
};

#define FETCHING_NONE                                                       \
	{                                                                   \
		.worker = WORKER_NONE, .record_fd = -1, .documents_fd = -1, \
	}

struct puller {
	struct store store;
	int lock_fd;
	struct nursery nursery;
	struct fetching ahead; /* waits for the next pull */
	bool caller_closed;
	struct pull *pulls;
	struct flight *flights;
	struct ending *endings;
	size_t ending_count, ending_capacity;
};

/* ---- pulls (puller.c) ---- */

/* End it: with *e (whose sentence gets the name in front), or as done when NULL. */
void pull_end(struct puller *p, struct pull *pull, const struct err *e);
/* It is in the store. */
bool pull_has_layer(const struct pull *pull, unsigned layer);
/* Tell the caller about a layer, and who sends it; not if it is slow to listen. */
void pull_report(struct pull *pull, unsigned layer, enum image_pull_phase phase, uint64_t bytes,
		 const char *from);
/* Where is it to be had?  False: the caller does not listen. */
bool pull_ask(struct pull *pull, const char *digest, uint64_t size);
/* What was said last of it was no good; it is here. */
void pull_tell_bad(struct pull *pull, const char *digest, const char *why);
void pull_tell_got(struct pull *pull, const char *digest);

/* ---- the index (indexing.c) ---- */

/* Start an indexer that fills a new file in ingest/; what is there after a failure is the caller's. */
int indexer_start(const struct store *s, struct nursery *n, char ret_ingest[INGEST_SIZE],
		  struct worker *ret, struct err *e);
/*
 * All layers are there: it may begin.  'ingests' says of the record's layers which are
 * still in ingest/, under what name; or NULL.
 */
int indexer_order(const struct store *s, const struct record *r, const char *const *ingests,
		  const struct worker *w, struct err *e);

/* Have an indexer wait, where one will be needed. */
int pull_prepare_index(struct puller *p, struct pull *pull, struct err *e);
/*
 * Order the index as soon as all layers are listed, publish it when they are there.
 * 1: it is there.
 */
int pull_index(struct puller *p, struct pull *pull, bool layers_are_there, struct err *e);
void pull_hear_indexer(struct puller *p, struct pull *pull);

/* ---- flights (flight.c) ---- */

int flight_begin(struct puller *p, struct pull *owner, unsigned layer, struct err *e);
struct flight *flight_find(const struct puller *p, const char *diff_id);
/* The ingest of one that is whole but for the disk; NULL: there is none. */
const char *flight_listing(const struct puller *p, const char *diff_id);
/* The one of this owner's layer, or NULL. */
struct flight *flight_of(const struct puller *p, const struct pull *owner, unsigned layer);
/* What its fetcher and its unpacker say. */
void flight_progress(struct puller *p, struct flight *f, uint64_t bytes);
void flight_blob_good(struct puller *p, struct flight *f);
void flight_blob_failed(struct puller *p, struct flight *f, const struct err *e);
void flight_again(struct puller *p, struct flight *f);
/* The node that it comes from is no good; what came may be kept, for another one to go on. */
void flight_peer_bad(struct puller *p, struct flight *f, const char *why, bool is_kept);
/* What the caller of a pull says; false: none of its flights wants to know. */
bool flight_answer(struct puller *p, struct pull *pull, const struct origin *o);
void flight_hear_unpacker(struct puller *p, struct flight *f);
/* Free those that are over or whose owner has ended. */
void flights_clear(struct puller *p);

/* ---- endings (ending.c) ---- */

/* Kill the worker; remove 'ingest' (or NULL) when it has gone. */
void ending_add(struct puller *p, struct worker *w, const char *ingest);
/* Reap what can be reaped. */
void endings_reap(struct puller *p);
/* Remove what is in ingest/ now, in a child. */
void ending_remove_all(struct puller *p);

/* Why a worker closed its socket, as a sentence: "the fetcher ended by signal 9". */
int worker_failure(struct worker *w, const char *what, struct err *e);
