/* image/worker.h - the roles of berth-worker, berth-fetcher and berth-reader
 * SPDX-License-Identifier: Apache-2.0
 *
 * A role is a process.  It gets its descriptors at fixed numbers, says nothing
 * on standard output, and ends with 0 unless it could not even report.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/proc.h"

/* puller: [WORKER_SOCK] orders from the caller; argv[1] tells the form, argv[2] the store's directory */
/* fetcher: [WORKER_SOCK] order and reports, [FETCHER_RECORD] a memory file for the record,
   [FETCHER_SOURCES] one with the sources, which comes with the order, [FETCHER_DOCUMENTS] one for the registry's
   documents as they are */
/* loader: the same; [FETCHER_SOURCES] is the archive */
/* pusher: [WORKER_SOCK] order with all that it takes, and reports */
/* unpacker, lister: [WORKER_SOCK] reports, and below */
/* load: [LOAD_ARCHIVE] a file or a directory; argv[2] is the store's directory, argv[3...] as load.c says */
/* inflater: [INFLATER_IN] a packed archive, [INFLATER_OUT] a file for what it unpacks to */
/* save: [SAVE_OUT] a file or a directory to fill; argv[2] is the store's directory, argv[3...] as save.c says */
/* indexer: [WORKER_SOCK] order with the tables, and reports; [INDEXER_OUT] the index */
/* fsck: nothing; argv[2] is the store's directory; its findings go to standard output */
/* server: argv[2] is its limit, bytes a second; [WORKER_SOCK] questions and words, [SERVE_LISTEN] a socket, [SERVE_PEM] a memory file with key and certificates */
/* nursery: [WORKER_SOCK] orders of its parent, and what became of them: nursery.h */
/* reader: [WORKER_SOCK] the answer, [READER_ROOT] a root; argv[2] is the user */
enum {
	WORKER_SOCK = 3,
	FETCHER_RECORD = 4,
	FETCHER_SOURCES = 5,
	FETCHER_DOCUMENTS = 6,
	LOAD_ARCHIVE = 3,
	SAVE_OUT = 3,
	INFLATER_IN = 3,
	INFLATER_OUT = 4,
	UNPACKER_IN = 4,      /* a pipe: the layer's bytes */
	UNPACKER_SUMS = 5,    /* file for what the layer comes to */
	UNPACKER_TREE = 6,    /* the directory to fill */
	UNPACKER_IMPLIED = 7, /* file for the directories that the layer says nothing of */
	LISTER_TAR = 6,       /* files to fill */
	LISTER_TABLE = 7,
	LISTER_SPARSE = 8,
	READER_PACKED = 9, /* unpacker, lister: a file for the bytes as they come, which is kept; */
	READER_PARTIAL = 10, /* or one that is worth something only if we do not come to our end */
	INDEXER_OUT = 4,
	READER_ROOT = 4,
	SERVE_LISTEN = 4,
	SERVE_PEM = 5,
};

int puller_main(int argc, char **argv);
int fetcher_main(int argc, char **argv);
int unpacker_main(int argc, char **argv);
int lister_main(int argc, char **argv);
int indexer_main(int argc, char **argv);
int fsck_main(int argc, char **argv);
int pusher_main(int argc, char **argv);
int loader_main(int argc, char **argv);
int inflater_main(int argc, char **argv);
int load_main(int argc, char **argv);
int save_main(int argc, char **argv);
int reader_main(int argc, char **argv);
int server_main(int argc, char **argv);
int nursery_main(int argc, char **argv);

/* ---- starting one ---- */

struct worker {
	int sock;  /* our end, non-blocking; -1: none */
	int pidfd; /* -1: none */
};

#define WORKER_NONE                     \
	{                               \
		.sock = -1, .pidfd = -1 \
	}

/*
 * Start a worker in a role: 'program' is the path of berth-worker, NULL: it lies beside our own;
 * where the role is another program's, that one beside it.  It gets the other end of *ret's
 * sock at WORKER_SOCK and the descriptors given, none of which is 0 to 3; and
 * of the environment what says where proxies and trusted certificates are.
 */
int worker_start(const char *program, const char *role, const char *arg, const struct proc_fd *fds,
		 size_t fd_count, bool die_with_parent, struct worker *ret, struct err *e);

/* A socket to a worker that is to be: our end is non-blocking. */
int worker_socket(int *ret_ours, int *ret_theirs, struct err *e);

/* Has it ended?  Then it is reaped and .pidfd is -1; *ret_status as proc_wait(). */
bool worker_reap(struct worker *w, int *ret_status);

/* Wait so long for it to end. */
void worker_wait(const struct worker *w, int timeout_ms);

/* Kill it and close the socket; it is still to be reaped. */
void worker_kill(struct worker *w);
