/* keeper/row.h - one container, as the keeper knows it
 * SPDX-License-Identifier: Apache-2.0
 *
 * Phases, and who moves a row between them:
 *
 *   CREATING --worker: created--> READY --worker: started--> RUNNING
 *       |                           |                          |
 *       | worker: failed            '------- its end is seen --'
 *       v                                        v
 *   (forgotten)                                ENDED --worker: removed--> (forgotten)
 *
 * A row is in a file before its container is made, and every move is in the
 * file before a client hears of it.
 */
#pragma once

#include "base/js.h"
#include "keeper/keeper.h"
#include "keeper/spool.h"

/* What epoll gives back. */
enum watch_kind { WATCH_LISTEN, WATCH_SIGNALS, WATCH_CLIENT, WATCH_PIPE, WATCH_PIDFD };

struct watch {
	enum watch_kind kind;
	void *owner; /* the client or the row */
	int stream;  /* WATCH_PIPE: index in output[] */
};

/* One of the two output pipes. */
struct output {
	int fd; /* the read end; -1: ended, or not given back yet */
	struct watch watch;
	bool watched;     /* by epoll; not while the spool is full */
	int64_t retry_ms; /* when it is full: try again then; 0: not */
};

/* A step that is under way in a process of its own. */
struct worker {
	pid_t pid;     /* 0: none */
	int report_fd; /* where it tells what came of it */
	enum keeper_command step;
};

struct row {
	char id[KEEPER_ID_MAX + 1];
	char *bundle, *runtime_root, *log_dir;
	uint64_t serial; /* in the order of making; lists go by it */

	enum keeper_phase phase;
	pid_t pid;
	uint64_t start_time; /* proc_start_time(): with the pid a name for ever */
	struct keeper_exit exit;
	bool exit_told;

	/* Only for what an earlier keeper made: it is nobody's child here. */
	int pidfd;
	struct watch pidfd_watch;
	int64_t give_up_ms; /* when its end was seen but not how: wait until then */

	bool start;               /* with its creation */
	uint64_t ahead;           /* what may have been made of it; 0: nothing */
	int rootfs_fd, userns_fd; /* until it is created */
	int netns_fd;
	int *held;
	size_t held_count;

	struct output output[2];
	bool needs_pipes; /* found again: the client has them */
	struct spool spool;
	int64_t drained_by_ms; /* after its end: tell then, even if somebody still may write */
	bool followed;
	uint64_t follow_bytes;

	struct worker worker;
	enum keeper_command wanted; /* a step that waits for its turn; 0: none */
};

struct row *row_new(const char *id);
/* Closes and frees all it has; the worker is not waited for. */
void row_free(struct row *row);

/* All that was written is in the spool. */
bool row_output_complete(const struct row *row);

/* Files below the directory 'rows_fd'. */
int row_write(int rows_fd, const struct row *row, struct err *e);
int row_write_exit(int rows_fd, const struct row *row, struct err *e);
void row_remove(int rows_fd, const struct row *row);
/*
 * The row with this id; one without sense is -EBADMSG.  *ret_same_boot: the
 * host has not booted since it was written.
 */
int row_read(int rows_fd, const char *id, struct row **ret, bool *ret_same_boot, struct err *e);

/* For the hand-over to the next program: also its descriptors and what was told. */
char *row_encode(const struct row *row, bool with_descriptors);
int row_decode(const char *text, size_t size, struct row **ret, struct err *e);
