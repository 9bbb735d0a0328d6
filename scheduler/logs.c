/* scheduler/logs.c - CloudWatch Logs
 * SPDX-License-Identifier: Apache-2.0
 *
 * Writes go to a writer of their own, beside that of the state, and are
 * answered when they are durable.  Reads are answered at once, from a second
 * connection that sees all that was committed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "scheduler/logs_internal.h"

#define EXPIRE_MS 600000

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS log_group ("
	"  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,"
	"  retention INTEGER) STRICT;" /* days; NULL: for ever */
	"CREATE TABLE IF NOT EXISTS log_stream ("
	"  id INTEGER PRIMARY KEY,"
	"  group_id INTEGER NOT NULL REFERENCES log_group ON DELETE CASCADE,"
	"  name TEXT NOT NULL, created INTEGER NOT NULL,"
	"  first_ts INTEGER, last_ts INTEGER, last_ingested INTEGER, UNIQUE (group_id, name)) STRICT;"
	"CREATE TABLE IF NOT EXISTS event ("
	"  id INTEGER PRIMARY KEY AUTOINCREMENT,"
	"  stream_id INTEGER NOT NULL REFERENCES log_stream ON DELETE CASCADE,"
	"  ts INTEGER NOT NULL, ingested INTEGER NOT NULL, message TEXT NOT NULL) STRICT;"
	"CREATE INDEX IF NOT EXISTS event_by_stream ON event (stream_id, ts, id);"
	"CREATE TABLE IF NOT EXISTS source ("
	"  name TEXT PRIMARY KEY, position INTEGER NOT NULL, updated INTEGER NOT NULL) STRICT;";

struct logs {
	struct writer *writer;
	struct logs_reader *reader;
	struct loop_timer *expire;
	const struct ecs_identity *identity;
};

struct write_job {
	struct writer_job job; /* first */
	struct logs_write write;
	char *operation;
	json_t *request;
	struct call *call;
};

struct lines_job {
	struct writer_job job; /* first */
	struct arena arena;
	struct ecs_node_log log;
	int64_t now_ms;
	logs_done_fn *done;
	void *ctx;
};

/* ---- operations of callers ---- */

static int run_write(struct writer_job *job, struct db *db, struct err *e)
{
	struct logs_write *w = &((struct write_job *)job)->write;
	int r = logs_write_run(w, db, e);

	if (r < 0 && w->is_fault)
		return err_set(e, EINVAL, "refused"); /* the writer takes back what was done */
	return r;
}

static void finish_write(struct writer_job *job, const struct err *failed)
{
	struct write_job *w = (struct write_job *)job;

	if (failed && !w->write.is_fault)
		(void)ecs_fault_set(&w->write.fault, ECS_FAULT_UNAVAILABLE,
				    "The request could not be stored: %s", failed->msg);
	if (failed)
		call_fault(w->call, &w->write.fault);
	else
		call_reply(w->call, w->write.reply ? take_ptr(w->write.reply) : json_object());
	json_decref(w->write.reply);
	json_decref(w->request);
	free(w->operation);
	free(w);
}

static void submit_write(struct logs *l, const char *operation, json_t *request,
			 struct call *own_call)
{
	struct write_job *w = xcalloc(1, sizeof(*w));

	w->job.run = run_write;
	w->job.done = finish_write;
	w->operation = xstrdup(operation);
	w->request = json_incref(request);
	w->call = own_call;
	w->write = (struct logs_write){.operation = w->operation,
				       .request = w->request,
				       .now_ms = clock_wall_ms(),
				       .identity = l->identity};
	writer_submit(l->writer, &w->job);
}

void logs_call(struct logs *l, const char *operation, json_t *request, struct call *own_call)
{
	struct ecs_fault f;
	json_t *reply;

	if (logs_is_write(operation)) {
		submit_write(l, operation, request, own_call);
		return;
	}
	reply = logs_read(l->reader, operation, request, &f);
	if (reply)
		call_reply(own_call, reply);
	else
		call_fault(own_call, &f);
}

/* ---- lines of nodes ---- */

static int run_lines(struct writer_job *job, struct db *db, struct err *e)
{
	struct lines_job *l = (struct lines_job *)job;

	return logs_write_lines(&l->log, l->now_ms, db, e);
}

static void finish_lines(struct writer_job *job, const struct err *failed)
{
	struct lines_job *l = (struct lines_job *)job;

	l->done(l->ctx, l->log.source, l->log.position, failed ? failed->msg : NULL);
	arena_done(&l->arena);
	free(l);
}

/* The message lives only as long as its frame: what is kept is decoded again. */
void logs_put(struct logs *l, const struct ecs_node_log *log, logs_done_fn *done, void *ctx)
{
	struct lines_job *job = xcalloc(1, sizeof(*job));
	auto_json json_t *doc = js_encode(ecs_node_shape(ECS_NODE_LOG), log);
	struct err e = {0};

	job->job.run = run_lines;
	job->job.done = finish_lines;
	job->now_ms = clock_wall_ms();
	job->done = done;
	job->ctx = ctx;
	(void)js_decode(doc, ecs_node_shape(ECS_NODE_LOG), &job->arena, &job->log, &e);
	writer_submit(l->writer, &job->job);
}

/* ---- expiry ---- */

static int run_expire(struct writer_job *job, struct db *db, struct err *e)
{
	(void)job;
	return logs_write_expire(clock_wall_ms(), db, e);
}

static void finish_expire(struct writer_job *job, const struct err *failed)
{
	(void)failed; /* tried again at the next turn */
	free(job);
}

static void on_expire(void *ctx)
{
	struct logs *l = ctx;
	struct writer_job *job = xcalloc(1, sizeof(*job));

	job->run = run_expire;
	job->done = finish_expire;
	writer_submit(l->writer, job);
	loop_timer_set(l->expire, EXPIRE_MS);
}

/* ---- life ---- */

int logs_open(struct loop *loop, const char *dir, const struct ecs_identity *identity,
	      struct logs **ret, struct err *e)
{
	auto_free char *path = xasprintf("%s/logs.db", dir);
	struct logs *l = xcalloc(1, sizeof(*l));

	l->identity = identity;
	if (db_rewrite_journal(path, e) < 0 ||
	    writer_start(loop, path, LOGS_VERSION, schema, WRITER_JOB, &l->writer, e) < 0 ||
	    logs_reader_open(path, identity, &l->reader, e) < 0) {
		writer_stop(l->writer);
		free(l);
		return -e->code;
	}
	l->expire = loop_timer_new(loop, on_expire, l);
	loop_timer_set(l->expire, EXPIRE_MS);
	*ret = l;
	return 0;
}

void logs_close(struct logs *l)
{
	if (!l)
		return;
	writer_stop(l->writer);
	logs_reader_close(l->reader);
	loop_timer_free(l->expire);
	free(l);
}
