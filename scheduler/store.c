/* scheduler/store.c - state.db: documents, briefs, events
 * SPDX-License-Identifier: Apache-2.0
 *
 * A brief lies in a table of its own, by the number of its document: a server that starts
 * reads these rows, in the order in which they were made, and none of the documents that
 * have one.  Later it reads such a document by its key, when the core asks for it: that
 * of a job which is not durable yet, or what is on disk.
 */
#include "scheduler/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/internal.h"

/* Keys in their order: those of documents without briefs, and with. */
static const char *const plain_keys[][2] = {{"", "task/"}, {"task0", "token/"}, {"token0", "\x7f"}};
static const char *const brief_keys[][2] = {{"task/", "task0"}, {"token/", "token0"}};

const char store_schema[] =
	"CREATE TABLE IF NOT EXISTS document ("
	"  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, doc TEXT NOT NULL"
	") STRICT;"
	"CREATE TABLE IF NOT EXISTS brief ("
	"  id INTEGER PRIMARY KEY, brief BLOB NOT NULL" /* of the document with this id */
	") STRICT;" EVENTS_SCHEMA;

struct store {
	struct db *db; /* for reading, but for the takeover */
	struct db_stmt *range, *by_key;
	struct map pending; /* texts that are not durable yet, by key; borrowed of their effects */
};

/* ---- the writer's side ---- */

struct statements {
	struct db *db;
	struct db_stmt *put, *put_brief, *remove, *remove_brief;
};

static int prepare(struct statements *s, struct db *db, struct err *e)
{
	if (s->db == db)
		return 0;
	if (db_prepare(db,
		       "INSERT INTO document (key, doc) VALUES (?1, ?2) "
		       "ON CONFLICT (key) DO UPDATE SET doc = ?2 RETURNING id",
		       &s->put, e) < 0 ||
	    db_prepare(db,
		       "INSERT INTO brief (id, brief) VALUES (?1, ?2) "
		       "ON CONFLICT (id) DO UPDATE SET brief = ?2",
		       &s->put_brief, e) < 0 ||
	    db_prepare(db, "DELETE FROM document WHERE key = ?1 RETURNING id", &s->remove, e) < 0 ||
	    db_prepare(db, "DELETE FROM brief WHERE id = ?1", &s->remove_brief, e) < 0)
		return -e->code;
	s->db = db;
	return 0;
}

/* Runs a statement for one document, whose number it returns; 0: there is none. */
static int run_for_id(struct db_stmt *s, int64_t *ret_id, struct err *e)
{
	int r;

	*ret_id = 0;
	while ((r = db_step(s, e)) == DB_ROW)
		*ret_id = db_i64(s, 0);
	return r;
}

static int put(struct statements *s, const struct core_effect *x, struct err *e)
{
	int64_t id;
	int r;

	db_bind_text(s->put, 1, x->key);
	db_bind_text(s->put, 2, x->text);
	r = run_for_id(s->put, &id, e);
	if (r < 0 || !x->brief)
		return r;
	db_bind_i64(s->put_brief, 1, id);
	db_bind_blob(s->put_brief, 2, x->brief, x->brief_size);
	return db_run(s->put_brief, e);
}

static int remove_both(struct statements *s, const char *key, struct err *e)
{
	int64_t id;

	db_bind_text(s->remove, 1, key);
	if (run_for_id(s->remove, &id, e) < 0)
		return -e->code;
	db_bind_i64(s->remove_brief, 1, id);
	return db_run(s->remove_brief, e);
}

int store_write(struct db *db, const struct core_effects *fx, struct err *e)
{
	static __thread struct statements s;
	int r = prepare(&s, db, e);

	for (size_t i = 0; i < fx->count && r == 0; i++) {
		const struct core_effect *x = &fx->items[i];

		if (x->kind == CORE_EVENT)
			r = events_store(db, x->text, e);
		else if (x->kind == CORE_PUT)
			r = put(&s, x, e);
		else if (x->kind == CORE_DELETE)
			r = remove_both(&s, x->key, e);
	}
	return r;
}

/* ---- the loop's side ---- */

void store_expect(struct store *s, const struct core_effects *fx)
{
	for (size_t i = 0; i < fx->count; i++)
		if (fx->items[i].brief)
			(void)map_put(&s->pending, fx->items[i].key, fx->items[i].text);
}

void store_settle(struct store *s, const struct core_effects *fx)
{
	for (size_t i = 0; i < fx->count; i++)
		if (fx->items[i].brief &&
		    map_find(&s->pending, fx->items[i].key) == fx->items[i].text)
			(void)map_remove(&s->pending, fx->items[i].key);
}

char *store_fetch(struct store *s, const char *key, struct err *e)
{
	const char *pending = map_find(&s->pending, key);
	char *text = NULL;
	int r;

	if (pending)
		return xstrdup(pending);
	db_bind_text(s->by_key, 1, key);
	r = db_step(s->by_key, e);
	if (r == DB_ROW)
		text = xstrdup(db_text(s->by_key, 0));
	else if (r == 0)
		(void)err_set(e, ENOENT, "%s is not stored", key);
	db_reset(s->by_key);
	return text;
}

/* ---- loading ---- */

static int load_range(struct store *s, struct core *core, const char *first, const char *end,
		      struct err *e)
{
	int r;

	db_bind_text(s->range, 1, first);
	db_bind_text(s->range, 2, end);
	while ((r = db_step(s->range, e)) == DB_ROW) {
		r = core_load(core, db_text(s->range, 0), db_text(s->range, 1), e);
		if (r < 0)
			break;
	}
	db_reset(s->range);
	return r;
}

/* The number of briefs that came. */
static int load_briefs(struct store *s, struct core *core, size_t *ret_count, struct err *e)
{
	struct db_stmt *all;
	int r = db_prepare(s->db, "SELECT brief FROM brief ORDER BY id", &all, e);

	while (r == 0 && (r = db_step(all, e)) == DB_ROW) {
		size_t size;
		const void *brief = db_blob(all, 0, &size);

		r = core_load_brief(core, brief, size, e);
		++*ret_count;
	}
	return r;
}

/* Documents that were stored before there were briefs get theirs. */
static int make_briefs(struct db_stmt *documents, struct db_stmt *insert, struct err *e)
{
	int r;

	while ((r = db_step(documents, e)) == DB_ROW) {
		auto_free void *brief = NULL;
		size_t size;

		r = core_make_brief(db_text(documents, 1), db_text(documents, 2), &brief, &size, e);
		if (r < 0)
			break;
		db_bind_i64(insert, 1, db_i64(documents, 0));
		db_bind_blob(insert, 2, brief, size);
		if ((r = db_run(insert, e)) < 0)
			break;
	}
	db_reset(documents);
	return r;
}

static int make_all_briefs(struct store *s, struct err *e)
{
	struct db_stmt *documents, *insert;
	int r = 0;

	if (db_prepare(s->db, "SELECT id, key, doc FROM document WHERE key >= ?1 AND key < ?2",
		       &documents, e) < 0 ||
	    db_prepare(s->db, "INSERT INTO brief (id, brief) VALUES (?1, ?2)", &insert, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ARRAY_COUNT(brief_keys) && r == 0; i++) {
		db_bind_text(documents, 1, brief_keys[i][0]);
		db_bind_text(documents, 2, brief_keys[i][1]);
		r = make_briefs(documents, insert, e);
	}
	return r;
}

static int take_over(struct store *s, struct err *e)
{
	struct err ignored;

	if (db_exec(s->db, "BEGIN IMMEDIATE", e) < 0)
		return -e->code;
	if (make_all_briefs(s, e) == 0 && db_exec(s->db, "COMMIT", e) == 0)
		return 0;
	(void)db_exec(s->db, "ROLLBACK", &ignored);
	return -e->code;
}

int store_load(struct store *s, struct core *core, struct err *e)
{
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_COUNT(plain_keys); i++)
		if (load_range(s, core, plain_keys[i][0], plain_keys[i][1], e) < 0)
			return -e->code;
	if (load_briefs(s, core, &count, e) < 0)
		return -e->code;
	if (count)
		return 0;
	return take_over(s, e) == 0 ? load_briefs(s, core, &count, e) : -e->code;
}

/* ---- life ---- */

int store_open(const char *path, struct store **ret, struct err *e)
{
	struct store *s = xcalloc(1, sizeof(*s));

	if (db_open(path, DB_FULL, STATE_VERSION, store_schema, &s->db, e) < 0 ||
	    db_prepare(s->db,
		       "SELECT key, doc FROM document WHERE key >= ?1 AND key < ?2 ORDER BY key",
		       &s->range, e) < 0 ||
	    db_prepare(s->db, "SELECT doc FROM document WHERE key = ?1", &s->by_key, e) < 0) {
		store_close(s);
		return -e->code;
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	map_done(&s->pending);
	db_close(s->db);
	free(s);
}
