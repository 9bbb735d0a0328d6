/* image/wire.h - what the processes of a pull say to each other
 * SPDX-License-Identifier: Apache-2.0
 *
 *   caller  -> puller    order, the socket on which the pull is reported, a memory file of sources
 *   puller  -> caller    report
 *   puller  -> fetcher   order, the sources (or to a loader: the archive); then for each layer its number and a pipe for its bytes
 *   fetcher -> puller    report; the image's record goes into a memory file
 *   unpacker -> puller   report; so does the lister
 *   puller  -> indexer   index_order, with the layers' tables
 *   indexer -> puller    report
 *   caller   -> puller   origin, when it was asked; the puller hands it on to the fetcher in an order
 *   reader   -> caller   reader_answer
 *   server   -> caller   serve_question; caller -> server: serve_word, some with a descriptor
 *
 * One message is one packet of a unix socket (SOCK_SEQPACKET): a struct of
 * fixed size.  Fetcher, unpacker and lister may be in foreign hands, so whoever takes a
 * report checks every member of it.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/image.h"
#include "image/manifest.h"
#include "image/reference.h"
#include "image/table.h"

#define USERNAME_SIZE 256
#define PASSWORD_SIZE 16384 /* tokens of cloud registries have a few thousand characters */

enum { ORDER_FDS = 2 }; /* the caller's socket, and the sources, or the archive */

struct order {
	char reference[REFERENCE_SIZE]; /* "" of an archive: as it says */
	char platform[PLATFORM_SIZE];
	enum order_kind { ORDER_PULL, ORDER_LOAD, ORDER_LOAD_DIRECTORY } kind;
	uint32_t item;         /* of an archive: which of its images */
	uint32_t source_count; /* 1 to IMAGE_SOURCES_MAX */
	bool tags_at_last;
	bool keep_blobs;
	bool blobs_only; /* keep_blobs, but not for long */
	bool asks; /* for each blob; behind the sources lies one that says who we are to other nodes */
};

/* Where a blob is to be had, when that was asked. */
struct origin {
	char digest[DIGEST_SIZE];
	struct image_peer peer; /* .address "": the sources */
};

/* What is foreign is none: "" or whole strings, a valid digest. */
bool origin_is_valid(const struct origin *o);

/* struct image_source, as it lies in the memory file; "" for NULL. */
struct source {
	char location[NAME_LEN_MAX + 1];
	char username[USERNAME_SIZE];
	char password[PASSWORD_SIZE];
	char ca_file[PATH_MAX], certificate_file[PATH_MAX], key_file[PATH_MAX];
	char peer_key
		[SHA256_HEX]; /* the only thing that counts of the other side; "": its certificate */
	bool wants_tls;       /* it says what to trust, or who we are */
	bool insecure;
};

struct layer_order {
	uint32_t layer; /* REPORT_NO_LAYER: only .origin, which was asked for a document */
	struct origin origin;
	uint64_t peer_max; /* bytes that a node may send at most */
	uint64_t
		resume_bytes; /* of the blob that are in the file that comes with it; 0: there is none */
	bool goes_on; /* what has come of it is kept, the pipe too: only the rest is wanted */
};

/* Layers from the lowest on; with it come their tables. */
struct index_order {
	uint32_t layer_count;
	uint64_t device_bytes[IMAGE_LAYERS_MAX][TABLE_DEVICES]; /* of each layer's files */
};

enum report_kind {
	REPORT_RESOLVED = 1, /* .digest; the fetcher has written the record */
	REPORT_LAYER,        /* .layer .phase .bytes .total_bytes, and .digest of the blob */
	REPORT_BLOB,         /* fetcher: all of .layer's blob has come and is the right one */
	REPORT_AGAIN_BLOB, /* fetcher: what came of .layer is worth nothing; order it again, there is another source */
	REPORT_LISTED,   /* lister: .digest is the diff-id; all is written, not all on the disk */
	REPORT_UNPACKED, /* unpacker: .digest is the diff-id, .bytes the size of the files */
	REPORT_INDEXED,  /* indexer: the index is written */
	REPORT_WANT,     /* fetcher, puller: where is .digest of .total_bytes to be had? */
	REPORT_BAD,  /* fetcher, puller: not from there: .text; of .layer, of which .bytes that came
			    are kept, or of .digest */
	REPORT_GOT,  /* puller: .digest is here */
	REPORT_DONE, /* puller: the image is in the store */
	REPORT_FAILED, /* .code and .text; of .layer, or of all: REPORT_NO_LAYER */
};

#define REPORT_NO_LAYER UINT32_MAX

struct report {
	uint32_t kind;
	uint32_t layer, layer_count, phase;
	uint64_t bytes, total_bytes;
	uint32_t code;            /* errno value */
	char digest[DIGEST_SIZE]; /* valid, or "" */
	char text[ERR_MSG_SIZE];  /* UTF-8 without control characters; of a layer: who sends it */
};

/* 0 or -errno; -EAGAIN when the socket is full. */
int report_send(int sock, const struct report *r);
/* A REPORT_FAILED of an err. */
int report_failure(int sock, uint32_t layer, const struct err *e);

enum { REPORT_CLOSED = 1, REPORT_AGAIN = 2 };

/* 0, REPORT_CLOSED, REPORT_AGAIN, or -errno: -EBADMSG for what is no report. */
int report_recv(int sock, struct report *ret);

/* What the reader says: who the user is, or why not. */
struct reader_answer {
	uint32_t code; /* errno value; 0: .user counts */
	char text[ERR_MSG_SIZE];
	struct image_user user;
};

/* What the server asks for, and what it is told. */
struct serve_question {
	uint32_t number;
	char digest[DIGEST_SIZE];
};

struct serve_word {
	enum serve_kind {
		SERVE_CONTENT, /* the answer to .number; with a descriptor if it is there */
		SERVE_KNOWN,   /* .key may come */
		SERVE_UNKNOWN, /* or not any more */
	} kind;
	uint32_t number;
	struct image_content content; /* .fd: none */
	char key[SHA256_HEX];
};

/* Make the text one that may stand anywhere: what is not printable UTF-8 becomes '?'. */
void clean_text(char *text);
