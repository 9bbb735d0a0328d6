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

struct writer_job {
	/*
	 * In the writer's thread, inside a transaction.  A failure takes back what
	 * this job did, and only this.
	 */
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
		 struct writer **ret, struct err *e);

/* Waits for the jobs under way; those not begun fail with ECANCELED. */
void writer_stop(struct writer *w);

/* The job is the writer's until it calls done(). */
void writer_submit(struct writer *w, struct writer_job *job);

/* Jobs submitted whose done() was not called yet. */
size_t writer_pending(const struct writer *w);
