/* scheduler/writer.h - one thread that writes a database, many jobs a commit
 * SPDX-License-Identifier: Apache-2.0
 *
 * A commit with a full sync takes a fraction of a millisecond to some
 * milliseconds, whatever is in it.  Jobs that arrive while one is under way
 * wait and then share the next: the more there is to do, the less each costs.
 */
#pragma once

#include "base/db.h"
#include "base/err.h"
#include "base/loop.h"

struct writer;

/* What a job that fails takes with it. */
enum writer_failure {
	WRITER_JOB, /* what it did itself */
	WRITER_ALL, /* the whole commit and all that comes later: each builds on those before it */
};

struct writer_job {
	/* In the writer's thread, inside a transaction. */
	int (*run)(struct writer_job *job, struct db *db, struct err *e);
	/* In the loop, in the order of writer_submit(): durable (NULL), or why not. */
	void (*done)(struct writer_job *job, const struct err *failed);
	struct writer_job *next;
	struct err error;
};

/*
 * The thread begins by opening the database: path, version and schema as for
 * db_open(), with full sync.  Fails when that fails.
 */
int writer_start(struct loop *loop, const char *path, int version, const char *schema,
		 enum writer_failure failure, struct writer **ret, struct err *e);

/* Waits for the jobs under way; those not begun fail with ECANCELED. */
void writer_stop(struct writer *w);

/* The job is the writer's until it calls done(). */
void writer_submit(struct writer *w, struct writer_job *job);

/* Jobs submitted whose done() was not called yet. */
size_t writer_pending(const struct writer *w);

/* What the thread has: for who has one of his own. */
struct writer_db {
	struct db *db;
	struct db_stmt *begin_job, *undo_job, *end_job;
	enum writer_failure failure;
	struct err failed; /* WRITER_ALL: nothing is written any more */
};

int writer_db_open(struct writer_db *w, const char *path, int version, const char *schema,
		   enum writer_failure failure, struct err *e);
void writer_db_close(struct writer_db *w);
/* One commit: run jobs that are linked by 'next', and set 'error' of those that failed. */
void writer_db_commit(struct writer_db *w, struct writer_job *jobs);
