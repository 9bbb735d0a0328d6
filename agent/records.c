/* agent/records.c - the node's own truth on disk
 * SPDX-License-Identifier: Apache-2.0
 *
 * Commits are not synced: they survive the death of the agent at any
 * instruction.  After a power cut no task of before runs any more, and the
 * server tells again what should.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"

#define RECORDS_VERSION 1
#define RECORD_DEPTH    64

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS task (id TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;"
	"CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;";

struct records {
	struct db *db;
	struct db_stmt *put_task, *drop_task, *each_task, *put_meta, *get_meta;
};

int records_open(const char *path, struct records **ret, struct err *e)
{
	struct records *r = xcalloc(1, sizeof(*r));

	if (db_open(path, DB_NORMAL, RECORDS_VERSION, schema, &r->db, e) < 0 ||
	    db_prepare(r->db,
		       "INSERT INTO task (id, doc) VALUES (?1, ?2) "
		       "ON CONFLICT (id) DO UPDATE SET doc = ?2",
		       &r->put_task, e) < 0 ||
	    db_prepare(r->db, "DELETE FROM task WHERE id = ?1", &r->drop_task, e) < 0 ||
	    db_prepare(r->db, "SELECT doc FROM task ORDER BY rowid", &r->each_task, e) < 0 ||
	    db_prepare(r->db,
		       "INSERT INTO meta (key, value) VALUES (?1, ?2) "
		       "ON CONFLICT (key) DO UPDATE SET value = ?2",
		       &r->put_meta, e) < 0 ||
	    db_prepare(r->db, "SELECT value FROM meta WHERE key = ?1", &r->get_meta, e) < 0) {
		records_close(r);
		return -e->code;
	}
	*ret = r;
	return 0;
}

void records_close(struct records *r)
{
	if (!r)
		return;
	db_close(r->db);
	free(r);
}

int records_put_task(struct records *r, const char *id, const json_t *doc, struct err *e)
{
	auto_free char *text = js_dump(doc);

	db_bind_text(r->put_task, 1, id);
	db_bind_text(r->put_task, 2, text);
	return db_run(r->put_task, e);
}

int records_drop_task(struct records *r, const char *id, struct err *e)
{
	db_bind_text(r->drop_task, 1, id);
	return db_run(r->drop_task, e);
}

int records_each_task(struct records *r, int (*fn)(void *ctx, const json_t *doc, struct err *e),
		      void *ctx, struct err *e)
{
	int step, result = 0;

	while (result == 0 && (step = db_step(r->each_task, e)) == DB_ROW) {
		const char *text = db_text(r->each_task, 0);
		auto_json json_t *doc = NULL;

		result = js_parse(text, strlen(text), RECORD_DEPTH, &doc, e);
		if (result == 0)
			result = fn(ctx, doc, e);
	}
	db_reset(r->each_task);
	return result < 0 ? result : step;
}

int records_put_meta(struct records *r, const char *key, const char *value, struct err *e)
{
	db_bind_text(r->put_meta, 1, key);
	db_bind_text(r->put_meta, 2, value);
	return db_run(r->put_meta, e);
}

char *records_get_meta(struct records *r, const char *key)
{
	struct err e;
	char *value = NULL;

	db_bind_text(r->get_meta, 1, key);
	if (db_step(r->get_meta, &e) == DB_ROW)
		value = xstrdup(db_text(r->get_meta, 0));
	db_reset(r->get_meta);
	return value;
}
