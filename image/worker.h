/* image/worker.h - the roles of berth-worker
 * SPDX-License-Identifier: Apache-2.0
 *
 * A role is a process.  It gets its descriptors at fixed numbers, says nothing
 * on standard output, and ends with 0 unless it could not even report.
 */
#pragma once

/* puller: [WORKER_SOCK] orders from the caller; argv[2] is the store's directory */
/* fetcher: [WORKER_SOCK] order and reports, [FETCHER_RECORD] a memory file for the record */
/* unpacker: [WORKER_SOCK] reports, and below */
/* reader: [WORKER_SOCK] the answer, [READER_ROOT] a root; argv[2] is the user */
enum {
	WORKER_SOCK = 3,
	FETCHER_RECORD = 4,
	UNPACKER_IN = 4,    /* a pipe: the layer's bytes */
	UNPACKER_TREE = 5,  /* the directory to fill */
	UNPACKER_BYTES = 6, /* file for the sum of sizes */
	READER_ROOT = 4,
};

int puller_main(int argc, char **argv);
int fetcher_main(int argc, char **argv);
int unpacker_main(int argc, char **argv);
int reader_main(int argc, char **argv);
