/* scheduler/writer.c - one thread that writes a database, many jobs a commit
 * SPDX-License-Identifier: Apache-2.0
 *
 * 1. 'queue' and 'finished' are guarded by the lock; a job is in one of them,
 *    or in the hands of the thread, and keeps its place in the order.
 * 2. WRITER_JOB: each job runs in a savepoint, so that one that fails leaves the
 *    others alone.  When the commit itself fails, or a failure has taken back the
 *    transaction (a full disk does), all of them failed.
 * 3. WRITER_ALL: when one fails all of its commit do, and none is begun later.
 */
#include "scheduler/writer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"

#define GROUP_MAX 1000   /* jobs a commit: beyond that a commit only gets longer */
#define WAL_PAGES "4000" /* in the journal before they are moved to where they belong: 16 MB */

struct queue {
	struct writer_job *first, **last;
};

struct writer {
	struct writer_db store; /* the thread's */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct queue queue, finished;
	struct loop_wake *wake;
	size_t pending; /* the loop's */
	bool stopping;
};

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}

static void queue_add(struct queue *q, struct writer_job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
}

static struct writer_job *queue_take_all(struct queue *q)
{
	struct writer_job *first = q->first;

	queue_init(q);
	return first;
}

/* ---- commits ---- */

static void run_one(struct writer_db *w, struct writer_job *job)
{
	struct err e = {0}, ignored;

	if (db_run(w->begin_job, &e) < 0) {
		job->error = e;
		return;
	}
	if (job->run(job, w->db, &e) < 0) {
		(void)db_run(w->undo_job, &ignored);
		job->error = e;
	}
	(void)db_run(w->end_job, &ignored);
}

static int run_apart(struct writer_db *w, struct writer_job *jobs, struct err *e)
{
	for (struct writer_job *job = jobs; job; job = job->next) {
		run_one(w, job);
		if (!db_in_transaction(w->db)) {
			*e = job->error;
			return -e->code;
		}
	}
	return 0;
}

static int run_together(struct writer_db *w, struct writer_job *jobs, struct err *e)
{
	for (struct writer_job *job = jobs; job; job = job->next)
		if (job->run(job, w->db, e) < 0)
			return -e->code;
	return 0;
}

static int try_commit(struct writer_db *w, struct writer_job *jobs, struct err *e)
{
	if (db_exec(w->db, "BEGIN IMMEDIATE", e) < 0)
		return -e->code;
	if ((w->failure == WRITER_ALL ? run_together : run_apart)(w, jobs, e) < 0)
		return -e->code;
	return db_exec(w->db, "COMMIT", e);
}

void writer_db_commit(struct writer_db *w, struct writer_job *jobs)
{
	struct err e = w->failed, ignored;

	if (!e.code) {
		if (try_commit(w, jobs, &e) == 0)
			return;
		if (db_in_transaction(w->db))
			(void)db_exec(w->db, "ROLLBACK", &ignored);
	}
	if (w->failure == WRITER_ALL)
		w->failed = e;
	for (struct writer_job *job = jobs; job; job = job->next)
		job->error = e;
}

int writer_db_open(struct writer_db *w, const char *path, int version, const char *schema,
		   enum writer_failure failure, struct err *e)
{
	*w = (struct writer_db){.failure = failure};
	if (db_open(path, DB_FULL, version, schema, &w->db, e) == 0 &&
	    db_exec(w->db, "PRAGMA wal_autocheckpoint = " WAL_PAGES, e) == 0 &&
	    db_prepare(w->db, "SAVEPOINT job", &w->begin_job, e) == 0 &&
	    db_prepare(w->db, "ROLLBACK TO job", &w->undo_job, e) == 0 &&
	    db_prepare(w->db, "RELEASE job", &w->end_job, e) == 0)
		return 0;
	writer_db_close(w);
	return -e->code;
}

void writer_db_close(struct writer_db *w)
{
	db_close(take_ptr(w->db));
}

/* ---- the thread ---- */

/* Up to GROUP_MAX jobs, or NULL when it is time to end. */
static struct writer_job *take_group(struct writer *w)
{
	struct writer_job *first, *job;

	(void)pthread_mutex_lock(&w->lock);
	while (!w->queue.first && !w->stopping)
		(void)pthread_cond_wait(&w->work, &w->lock);
	first = job = w->queue.first;
	for (size_t i = 1; job && job->next && i < GROUP_MAX; i++)
		job = job->next;
	if (job) {
		w->queue.first = job->next;
		if (!w->queue.first)
			w->queue.last = &w->queue.first;
		job->next = NULL;
	}
	(void)pthread_mutex_unlock(&w->lock);
	return first;
}

static void give_back(struct writer *w, struct writer_job *jobs)
{
	struct writer_job *next;

	(void)pthread_mutex_lock(&w->lock);
	for (; jobs; jobs = next) {
		next = jobs->next;
		queue_add(&w->finished, jobs);
	}
	(void)pthread_mutex_unlock(&w->lock);
	loop_wake_send(w->wake);
}

static void *write_forever(void *ctx)
{
	struct writer *w = ctx;
	struct writer_job *jobs;

	while ((jobs = take_group(w))) {
		writer_db_commit(&w->store, jobs);
		give_back(w, jobs);
	}
	return NULL;
}

/* ---- the loop ---- */

static void finish(struct writer *w)
{
	struct writer_job *job, *next;

	(void)pthread_mutex_lock(&w->lock);
	job = queue_take_all(&w->finished);
	(void)pthread_mutex_unlock(&w->lock);
	for (; job; job = next) {
		next = job->next;
		w->pending--;
		job->done(job, job->error.code ? &job->error : NULL);
	}
}

static void on_wake(void *ctx)
{
	finish(ctx);
}

int writer_start(struct loop *loop, const char *path, int version, const char *schema,
		 enum writer_failure failure, struct writer **ret, struct err *e)
{
	struct writer *w = xcalloc(1, sizeof(*w));

	if (writer_db_open(&w->store, path, version, schema, failure, e) < 0) {
		free(w);
		return -e->code;
	}
	queue_init(&w->queue);
	queue_init(&w->finished);
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->work, NULL);
	w->wake = loop_wake_new(loop, on_wake, w);
	if ((errno = pthread_create(&w->thread, NULL, write_forever, w))) {
		(void)err_sys(e, "start writer thread");
		loop_wake_free(w->wake);
		writer_db_close(&w->store);
		free(w);
		return -e->code;
	}
	*ret = w;
	return 0;
}

void writer_stop(struct writer *w)
{
	struct writer_job *job, *next;

	if (!w)
		return;
	(void)pthread_mutex_lock(&w->lock);
	w->stopping = true;
	job = queue_take_all(&w->queue);
	(void)pthread_cond_signal(&w->work);
	(void)pthread_mutex_unlock(&w->lock);
	(void)pthread_join(w->thread, NULL);

	finish(w);
	for (; job; job = next) {
		next = job->next;
		(void)err_set(&job->error, ECANCELED, "the server is stopping");
		job->done(job, &job->error);
	}
	loop_wake_free(w->wake);
	writer_db_close(&w->store);
	(void)pthread_mutex_destroy(&w->lock);
	(void)pthread_cond_destroy(&w->work);
	free(w);
}

void writer_submit(struct writer *w, struct writer_job *job)
{
	job->error.code = 0;
	w->pending++;
	(void)pthread_mutex_lock(&w->lock);
	queue_add(&w->queue, job);
	(void)pthread_cond_signal(&w->work);
	(void)pthread_mutex_unlock(&w->lock);
}

size_t writer_pending(const struct writer *w)
{
	return w->pending;
}
