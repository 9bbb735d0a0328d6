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

/* Keys in their order: those of documents without briefs, and with. */
static const char *const plain_keys[][2] = {{"", "task/"}, {"task0", "token/"}, {"token0", "\x7f"}};
static const char *const brief_keys[][2] = {{"task/", "task0"}, {"token/", "token0"}};

#define ID_TIME 12 /* the last digits of a task's id */

#define DOCUMENT                                                                \
	"CREATE TABLE IF NOT EXISTS document ("                                 \
	"  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, doc TEXT NOT NULL" \
	") STRICT;"
/* id: of the document.  event: the one that has it; NULL: it is in its own row. */
#define BRIEF                                                          \
	"CREATE TABLE IF NOT EXISTS brief ("                           \
	"  id INTEGER PRIMARY KEY, brief BLOB NOT NULL, event INTEGER" \
	") STRICT;"
/* document, at_ms: whose version it is, and its time; NULL: it is an event and nothing else. */
#define EVENT                                                                          \
	"CREATE TABLE IF NOT EXISTS event ("                                           \
	"  id INTEGER PRIMARY KEY, doc TEXT NOT NULL, document INTEGER, at_ms INTEGER" \
	") STRICT;"

const char store_schema[] = DOCUMENT BRIEF EVENT;

struct store {
	struct db *db; /* for reading, but for the takeover */
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

/* ---- stores of older versions ---- */

/*
 * Of version 2: events had all of their text, the time in it, and a key was stored as it is.
 * One that is a task's was two lines, of which the second is the document.
 */
static const char from_version_2[] =
	"ALTER TABLE brief ADD COLUMN event INTEGER;"
	"UPDATE document SET key = substr(key, 1, length(key) - 32) || substr(key, -12)"
	"  || substr(key, -32, 20)"
	"  WHERE key >= 'task/' AND key < 'task0' AND substr(key, -33, 1) = '/';"
	"ALTER TABLE event RENAME TO event_2;" EVENT "INSERT INTO event (id, doc, at_ms)"
	"  SELECT id, substr(doc, end + 1), 1000 * unixepoch(json_extract(substr(doc, 1, end), '$.time'))"
	"  FROM (SELECT id, doc, instr(doc, char(10)) AS end FROM event_2) WHERE end;"
	"INSERT INTO event (id, doc) SELECT id, doc FROM event_2 WHERE NOT instr(doc, char(10));"
	"DROP TABLE event_2;";

static int is_old(struct db *db, bool *ret, struct err *e)
{
	struct db_stmt *s;
	int r = db_prepare(
		db, "SELECT 1 FROM pragma_table_info('event') WHERE name = 'at_ms' LIMIT 1", &s, e);

	if (r == 0)
		r = db_step(s, e);
	if (r < 0)
		return r;
	*ret = r == 0;
	db_reset(s);
	return 0;
}

/* All of it or nothing, because a server may end in the middle. */
static int make_new(struct db *db, struct err *e)
{
	struct err ignored;
	bool old = false;

	if (is_old(db, &old, e) < 0)
		return -e->code;
	if (!old)
		return 0;
	if (db_exec(db, "BEGIN IMMEDIATE", e) == 0 && db_exec(db, from_version_2, e) == 0 &&
	    db_exec(db, "COMMIT", e) == 0)
		return 0;
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
	    db_prepare(s->db,
		       "SELECT ifnull(event.doc, document.doc) FROM document"
		       "  LEFT JOIN brief ON brief.id = document.id"
		       "  LEFT JOIN event ON event.id = brief.event WHERE key = ?1",
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
