/* keeper/spool.h - what a container prints, on disk
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * The format is told in keeper.h.  Nothing that was taken out of a pipe may be
 * lost, whenever we are killed, and nothing may count twice:
 *
 * 1. The bytes never pass through our memory: splice(2) takes them from the
 *    pipe into the file in one system call.
 * 2. The record is written before, with all that the pipe holds then; when
 *    fewer bytes moved, it is corrected before anything else is written.
 * 3. So only the last record can be wrong, and only by naming more than `data`
 *    has; who opens the spool again makes it agree.
 * 4. When there is no room the bytes stay in the pipe, and the container waits.
 */
#pragma once

#include <stdint.h>

#include "keeper/keeper.h"

#define SPOOL_DATA      "data"
#define SPOOL_INDEX     "index"
#define SPOOL_PIECE_MAX 65536 /* bytes of one record */

struct spool_record {
	int64_t time_ns;
	uint64_t offset;
	uint32_t size, stream;
};
_Static_assert(sizeof(struct spool_record) == 24, "the format of keeper.h");

struct spool {
	int data_fd, index_fd;
	uint64_t data_size, records; /* where the next bytes and their record go */
};

#define SPOOL_NONE                            \
	{                                     \
		.data_fd = -1, .index_fd = -1 \
	}

/* Make the files, or go on with those that are there. */
int spool_open(const char *dir, struct spool *ret, struct err *e);
/* The same with descriptors, which become the spool's. */
int spool_open_fds(int own_data_fd, int own_index_fd, struct spool *ret, struct err *e);
void spool_close(struct spool *s);

enum spool_result {
	SPOOL_MOVED, /* something; there may be more */
	SPOOL_EMPTY, /* the pipe has nothing now */
	SPOOL_ENDED, /* and nobody can write to it any more */
	SPOOL_FULL,  /* no room, or the file system refuses: try later */
};

/*
 * Move what the pipe holds, one piece at most.  On SPOOL_FULL *e says why.
 */
enum spool_result spool_take(struct spool *s, int pipe_fd, enum keeper_stream stream,
			     int64_t now_ns, struct err *e);

/* The reader of keeper.h, on descriptors that become its own. */
int spool_reader_open(int own_data_fd, int own_index_fd, struct keeper_log **ret, struct err *e);
