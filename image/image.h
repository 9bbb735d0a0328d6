/* image/image.h - images: pulled from registries, held in a store
 * SPDX-License-Identifier: Apache-2.0
 *
 * The process that uses this header parses nothing that a registry sent and
 * talks to no network.  `berth-worker` does, in children of few rights:
 *
 *   caller ── puller ─┬─ fetcher    one per pull: registry, manifest, configuration
 *                     ├─ lister     one per layer: decompression, tar, what is in it
 *                     └─ indexer    one per image: the file system that shows its layers
 *          server                   what is held, for other nodes
 *
 * or, for a store of unpacked layers, an unpacker for each layer instead of both.
 *
 * They hand over checked and bounded records; the store keeps those in a
 * format of its own.
 *
 * Names of images are what people type: "busybox", "nginx:1.25",
 * "127.0.0.1:5000/team/app@sha256:...".  Wherever a reference is taken, any of
 * these is fine; wherever one is given back, it is whole:
 * "docker.io/library/busybox:latest".  When both a tag and a digest are given,
 * the digest decides and the tag is dropped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/js.h"
#include "base/mem.h"
#include "image/held.h"
#include "image/requests.h"
#include "image/sharing.h"

/* Outcomes; the functions that have one name it. */
enum {
	IMAGE_ABSENT = 1, /* the store does not hold it */
	IMAGE_IN_USE = 2, /* the caller said that it is in use */
	IMAGE_AGAIN = 3,  /* nothing to tell now: poll */
};

/*
 * The registry of a name, "127.0.0.1:5000", and the whole name without tag and
 * digest, "docker.io/library/busybox".  -EINVAL: it is malformed.
 */
#define IMAGE_HOST_SIZE 256
#define IMAGE_NAME_SIZE 513
int image_name_of(const char *reference, char ret_host[IMAGE_HOST_SIZE],
		  char ret_name[IMAGE_NAME_SIZE], struct err *e);

/* ---- the store ---- */

struct image_store;

/* How layers are held. */
enum image_form {
	IMAGE_INDEXED,  /* as tars, which an index of the image shows in place: EROFS */
	IMAGE_UNPACKED, /* as directories, for overlay */
	IMAGE_AS_LAST,  /* as whoever opened the store before had it; else IMAGE_INDEXED */
};

struct image_store_options {
	const char *dir; /* made when absent, mode 0700; its parent exists */
	const char *
		worker; /* path of berth-worker, beside which the others lie; NULL: they lie beside our own */
	enum image_form form; /* of what is pulled from now on; what is there stays as it is */
};

/*
 * Write a small index for trying whether the kernel mounts what it is given in
 * the form IMAGE_INDEXED: one file, "probe", that has the first 512 bytes of the
 * one device.
 */
int image_write_probe(int fd, struct err *e);

/*
 * Open a store.  What pulls that died have left is dropped.  The store is on
 * one file system; that of user.* attributes is used for overlay marks when
 * the file system has them (all but tmpfs before Linux 6.6), else trusted.*.
 */
int image_store_open(const struct image_store_options *o, struct image_store **ret, struct err *e);

/*
 * To be called some seconds after the store was opened, and after each pull: its processes are
 * reaped, and the programs of the next one loaded, which then begins some 15 ms earlier: three
 * processes that wait, 3 MB of their own (PSS 8.5 MB).
 */
int image_store_rest(struct image_store *s, bool get_ready, struct err *e);

/* Every pull must have been freed.  NULL is fine. */
void image_store_close(struct image_store *s);

/* ---- images held ---- */

/* 0, or IMAGE_ABSENT.  A malformed reference is -EINVAL.  *ret is the caller's. */
int image_find(struct image_store *s, const char *reference, struct image **ret, struct err *e);
void image_free(struct image *i);

/* Is it for this machine? */
bool image_fits_here(const struct image *i);

/*
 * All names, each with its image; and each image that has lost its name to a
 * newer one, with a NULL reference.  Newest pull first.
 */
int image_list(struct image_store *s, struct image_list *ret, struct err *e);
void image_list_done(struct image_list *l);

/*
 * Which image is meant: a name, or "sha256:..." or the beginning of one, of an image's
 * configuration, manifest or digest.  *ret is a whole name, or a digest, and malloc'ed.
 * IMAGE_ABSENT: none; -EEXIST: several begin so.
 */
#define IMAGE_ID_MIN 4 /* digits */
int image_resolve(struct image_store *s, const char *text, char **ret, struct err *e);

/* Give the image that goes by 'reference' (a name, or a digest) another name.  0 or IMAGE_ABSENT. */
int image_tag(struct image_store *s, const char *reference, const char *name, struct err *e);

/*
 * Take a name away, or with "sha256:..." (the image's digest) an image and all
 * its names.  An image without a name goes, and each layer that no image needs
 * any more, soon after.  'in_use' are the digests (struct image .digest) of
 * images that have containers: their layers stay.
 *
 * 0; IMAGE_ABSENT; IMAGE_IN_USE: it is the last name of an image in use, and
 * nothing was done.
 */
int image_remove(struct image_store *s, const char *reference, const char *const *in_use,
		 size_t in_use_count, struct err *e);

/* A container is made of it: see .used_ms. */
void image_used(struct image_store *s, const char *reference);

/* Remove images that are not in use, those first that were pulled and used longest ago. */
struct image_prune {
	const char *const *in_use; /* digests */
	size_t in_use_count;
	const char *const *keep; /* names */
	size_t keep_count;
	bool nameless_only;    /* those that have lost their name */
	bool used_only;        /* those, and what was used since it was pulled */
	int64_t before_ms;     /* neither pulled nor used after this; wall clock */
	size_t count_max;      /* 0: any number */
	bool only_tell;        /* which would go; nothing is done */
	uint64_t enough_bytes; /* no more once these had so many; 0: any number */
};

int image_prune(struct image_store *s, const struct image_prune *o, struct image_pruned *ret,
		struct err *e);

/* Of the file system that the store is on. */
void image_store_space(const struct image_store *s, uint64_t *ret_free_bytes,
		       uint64_t *ret_total_bytes);

/* ---- pulling ---- */

/* Is this a location? -EINVAL: it is malformed. */
int image_check_location(const char *location, struct err *e);

/* Why a pull failed; the sentence is in the err. */
enum image_reason {
	IMAGE_REASON_OTHER,
	IMAGE_REASON_NOT_FOUND,       /* no such repository, tag or digest */
	IMAGE_REASON_UNAUTHORIZED,    /* credentials are missing, wrong or too weak */
	IMAGE_REASON_UNREACHABLE,     /* no address, no connection, TLS */
	IMAGE_REASON_TIMEOUT,         /* the registry stopped talking */
	IMAGE_REASON_REGISTRY,        /* it answered what no registry should */
	IMAGE_REASON_DIGEST_MISMATCH, /* manifest, configuration, blob or diff-id */
	IMAGE_REASON_TRUNCATED,       /* fewer bytes than promised */
	IMAGE_REASON_MALFORMED,       /* not JSON, not gzip, not tar, or of the wrong shape */
	IMAGE_REASON_UNSAFE,          /* an archive that tries to leave its root */
	IMAGE_REASON_PLATFORM,        /* no image for this machine */
	IMAGE_REASON_UNSUPPORTED,     /* a media type that we do not know */
	IMAGE_REASON_TOO_LARGE,       /* over one of our limits, bombs included */
	IMAGE_REASON_DISK_FULL,       /* blocks, inodes or quota */
	IMAGE_REASON_NOT_KEPT, /* of a push: a layer that neither store nor registry has packed */
};

/* "not found", "unauthorized" ...: for logs and metrics. */
const char *image_reason_name(enum image_reason r);

enum image_pull_phase {
	IMAGE_LAYER_WAITING,
	IMAGE_LAYER_DOWNLOADING, /* and unpacking: one pass */
	IMAGE_LAYER_UNPACKING,   /* all bytes are here; files are being written and synced */
	IMAGE_LAYER_DONE,
	IMAGE_LAYER_EXISTS, /* it was here already */
};

enum image_pull_event_kind {
	IMAGE_PULL_RESOLVED, /* .digest is what the name stands for */
	IMAGE_PULL_LAYER,    /* a layer went on */
	IMAGE_PULL_DONE,     /* .image is the caller's */
	/* Of pulls that ask: */
	IMAGE_PULL_WANTS, /* where is .digest to be had?  Waits for image_pull_from() */
	IMAGE_PULL_BAD,   /* what was said last of .digest is no good: .why; it is asked again */
	IMAGE_PULL_GOT,   /* .digest is here, for others, too */
};

struct image_pull_event {
	enum image_pull_event_kind kind;
	char digest[72]; /* "sha256:" and 64 digits: RESOLVED the image's, LAYER the blob's */
	/* LAYER */
	unsigned layer, layer_count; /* lowest is 0 */
	enum image_pull_phase phase;
	uint64_t bytes, total_bytes; /* as the registry sends them, compressed; WANTS: about */
	char from[IMAGE_PEER_TEXT]; /* the name of the node that it comes from; "": another place */
	char why[160];
	/* DONE */
	struct image *image;
};

struct image_pull;

/*
 * Begin a pull.  It goes on by itself in other processes.  Requests that make
 * no sense (a malformed reference) fail here.  Two pulls that need one layer
 * share its download.
 */
int image_pull_begin(struct image_store *s, const struct image_pull_request *request,
		     struct image_pull **ret, struct err *e);

/*
 * Take an image from an archive instead: an OCI layout (a directory, or a tar), or
 * what `docker save` writes.  A tar is a file that can be read at any place.  The
 * pull is like any other; its image has the name that is asked for, else those that
 * the archive gives it, which may be none.  Its blobs are kept: there is no other
 * place to fetch them from.  IMAGE_REASON_NOT_FOUND: the archive has
 * no item of that number.
 */
int image_load_begin(struct image_store *s, const struct image_load_request *request,
		     struct image_pull **ret, struct err *e);

/*
 * Give an image to a registry, as it came from one: its manifest, its configuration and
 * those blobs that are not there yet and are kept or lent.  Goes like a pull, whose image is
 * NULL; DOWNLOADING is uploading.  IMAGE_REASON_NOT_KEPT: a pull of blobs_only lends them.
 */
int image_push_begin(struct image_store *s, const struct image_push_request *request,
		     struct image_pull **ret, struct err *e);

/* Poll it for reading; it stays the pull's. */
int image_pull_fd(const struct image_pull *p);

/*
 * What happened next.  0: *ret is set; IMAGE_AGAIN: nothing now.  Negative:
 * the pull failed, image_pull_reason() tells why and *e has a sentence fit to
 * follow "CannotPullContainerError: ".  After DONE or a failure only
 * image_pull_free() is left to call.
 */
int image_pull_next(struct image_pull *p, struct image_pull_event *ret, struct err *e);
enum image_reason image_pull_reason(const struct image_pull *p);

/*
 * Answers IMAGE_PULL_WANTS.  NULL: from the sources of the request.  Nodes are asked for bytes
 * only, and what they send is checked like anybody's.
 */
int image_pull_from(struct image_pull *p, const char *digest, const struct image_peer *peer,
		    struct err *e);

/* Ends the pull at once where it is still going on; nothing of it stays.  NULL is fine. */
void image_pull_free(struct image_pull *p);
/* The same, but what has come of large layers stays for a day: somebody will begin again. */
void image_pull_leave(struct image_pull *p);

/* ---- users ---- */

#define IMAGE_USER_GROUPS_MAX 128

struct image_user {
	uint32_t uid, gid;
	uint32_t groups[IMAGE_USER_GROUPS_MAX]; /* supplementary, without gid */
	size_t group_count;
	char home[256]; /* "/" when passwd does not say */
};

/*
 * Who "name", "name:group", "uid", "uid:gid" or "" (uid 0) is, by etc/passwd
 * and etc/group below 'root_fd' (a mounted root of the image), as Docker reads
 * them.  A worker reads those files: the first call for a user of an image
 * takes some milliseconds (at most IMAGE_USER_TIMEOUT_MS), later ones none.
 *
 * A name that is not there is -ENOENT.
 */
#define IMAGE_USER_TIMEOUT_MS 5000
int image_user_lookup(struct image_store *s, const char *image_digest, const char *user,
		      int root_fd, struct image_user *ret, struct err *e);

/* ---- the worker ---- */

/* main() of berth-worker, berth-fetcher, berth-reader: their roles are named by argv[1]. */
int image_worker_main(int argc, char **argv);
int image_fetcher_main(int argc, char **argv);
int image_reader_main(int argc, char **argv);
