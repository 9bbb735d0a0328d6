/* scheduler/store.c - state.db: documents, briefs, events
 * SPDX-License-Identifier: Apache-2.0
 *
 * A server that starts reads the briefs, in the order in which their documents were made,
 * and none of the documents that have one.  Later it reads such a document by its key, when
 * the core asks for it: that of a job which is not durable yet, or what is on disk.
 */
#include "scheduler/store_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/alike.h"

/* Keys in their order: those of documents without briefs, and with. */
static const char *const plain_keys[][2] = {{"", "task/"}, {"task0", "token/"}, {"token0", "\x7f"}};

#define ID_TIME 12 /* the last digits of a task's id */

#define DOCUMENT                                                                \
	"CREATE TABLE IF NOT EXISTS document ("                                 \
	"  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, doc TEXT NOT NULL" \
	") STRICT;"
/* event: the number of the one that has the document; NULL: it is in 'document'. */
#define BRIEF                                                                 \
	"CREATE TABLE IF NOT EXISTS brief ("                                  \
	"  key TEXT PRIMARY KEY NOT NULL, brief BLOB NOT NULL, event INTEGER" \
	") STRICT, WITHOUT ROWID;"
/*
 * 'count' events, of which the last has the number 'id': texts that are alike.  keys, at_ms: of
 * the documents whose versions they are, alike, too, and their time; NULL: they are events and
 * nothing else.
 */
#define EVENT                                                                 \
	"CREATE TABLE IF NOT EXISTS event ("                                  \
	"  id INTEGER PRIMARY KEY, count INTEGER NOT NULL, doc ANY NOT NULL," \
	"  keys ANY, at_ms INTEGER"                                           \
	") STRICT;"

const char store_schema[] = DOCUMENT BRIEF EVENT;

struct store {
	struct db *db; /* for reading */
	struct db_stmt *range, *by_key;
	struct map pending; /* texts that are not durable yet, by key; borrowed of their effects */
};

const char *store_key(const char *key, char buffer[STORED_KEY_SIZE])
{
	const char *id = strrchr(key, '/') + 1;

	if (!str_starts(key, "task/") || strlen(id) != ECS_ID_LEN || strlen(key) >= STORED_KEY_SIZE)
		return key;
	(void)snprintf(buffer, STORED_KEY_SIZE, "%.*s%s%.*s", (int)(id - key), key,
		       id + ECS_ID_LEN - ID_TIME, ECS_ID_LEN - ID_TIME, id);
	return buffer;
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

/* Of the row that has the newest version. */
static char *text_of(struct db_stmt *row, struct err *e)
{
	size_t size;
	const void *all = db_blob(row, 0, &size);

	return alike_get(all, size, (size_t)db_i64(row, 1), e);
}

char *store_fetch(struct store *s, const char *key, struct err *e)
{
	const char *pending = map_find(&s->pending, key);
	char buffer[STORED_KEY_SIZE], *text = NULL;
	int r;

	if (pending)
		return xstrdup(pending);
	db_bind_text(s->by_key, 1, store_key(key, buffer));
	r = db_step(s->by_key, e);
	if (r == DB_ROW)
		text = text_of(s->by_key, e);
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

static int load_briefs(struct store *s, struct core *core, struct err *e)
{
	struct db_stmt *all;
	int r = db_prepare(s->db, "SELECT brief FROM brief", &all, e);

	while (r == 0 && (r = db_step(all, e)) == DB_ROW) {
		size_t size;
		const void *brief = db_blob(all, 0, &size);

		r = core_load_brief(core, brief, size, e);
	}
	return r;
}

int store_load(struct store *s, struct core *core, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(plain_keys); i++)
		if (load_range(s, core, plain_keys[i][0], plain_keys[i][1], e) < 0)
			return -e->code;
	return load_briefs(s, core, e);
}

/* ---- stores of the version before ---- */

/*
 * Of version 3: a document with a brief was a row of 'document', too, whose number the brief
 * had, and the event that was its newest version.
 */
static const char from_version_3[] =
	"ALTER TABLE brief RENAME TO brief_3; ALTER TABLE event RENAME TO event_3;" BRIEF EVENT
	"INSERT INTO brief (key, brief, event) SELECT key, brief, event"
	"  FROM document JOIN brief_3 USING (id) ORDER BY key;"
	"INSERT INTO event (id, count, doc, keys, at_ms) SELECT event_3.id, 1, event_3.doc, key, at_ms"
	"  FROM event_3 LEFT JOIN document ON document.id = event_3.document;"
	"DELETE FROM document WHERE id IN (SELECT id FROM brief_3 WHERE event IS NOT NULL);"
	"DROP TABLE brief_3; DROP TABLE event_3;";

static int has_column(struct db *db, const char *table, const char *column, bool *ret,
		      struct err *e)
{
	struct db_stmt *s;
	int r = db_prepare(db, "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2", &s, e);

	if (r < 0)
		return r;
	db_bind_text(s, 1, table);
	db_bind_text(s, 2, column);
	r = db_step(s, e);
	if (r < 0)
		return r;
	*ret = r == DB_ROW;
	db_reset(s);
	return 0;
}

/* All of it or nothing, because a server may end in the middle. */
static int make_new(struct db *db, struct err *e)
{
	struct err ignored;
	bool new = false, known = false;

	if (has_column(db, "event", "count", &new, e) < 0 ||
	    has_column(db, "event", "at_ms", &known, e) < 0)
		return -e->code;
	if (new)
		return 0;
	if (!known)
		return err_set(e, EPROTO, "the state is of a version before 3, which nobody reads");
	if (db_exec(db, "BEGIN IMMEDIATE", e) == 0 && db_exec(db, from_version_3, e) == 0 &&
	    db_exec(db, "COMMIT", e) == 0)
		return db_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)",
			       e); /* it is as large as the state */
	(void)db_exec(db, "ROLLBACK", &ignored);
	return -e->code;
}

/* ---- life ---- */

int store_open(const char *path, struct store **ret, struct err *e)
{
	struct store *s = xcalloc(1, sizeof(*s));

	if (db_open(path, DB_FULL, STATE_VERSION, store_schema, &s->db, e) < 0 ||
	    make_new(s->db, e) < 0 ||
	    db_prepare(s->db,
		       "SELECT key, doc FROM document WHERE key >= ?1 AND key < ?2 ORDER BY key",
		       &s->range, e) < 0 ||
	    db_prepare(
		    s->db,
		    "SELECT event.doc, brief.event - event.id + count - 1 FROM brief"
		    "  JOIN event ON event.id = " EVENT_ROW(
			    "brief.event") " WHERE key = ?1"
					   "  UNION ALL SELECT doc, 0 FROM document WHERE key = ?1",
		    &s->by_key, e) < 0) {
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
