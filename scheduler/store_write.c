/* scheduler/store_write.c - state.db as the writer has it: documents, briefs, events
 * SPDX-License-Identifier: Apache-2.0
 *
 * Most versions of a document with a brief are events, too (core_effect.event_ms), and are
 * written once: in a row of 'event', to which the brief points by the event's number.  What
 * one call makes or one report changes is alike, and is one row.  Such a row goes when none of
 * its events is one of the last EVENTS_KEPT, nor the newest version of its document: with the
 * version that follows it, or when it is looked at because EVENTS_KEPT others came behind it.
 */
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/alike.h"
#include "scheduler/store_internal.h"

#define ALIKE_MAX 16 /* events of a row: whoever wants one of them reads all */
#define ROW_MAX   (64 << 20)

struct statements {
	struct db *db;
	uint64_t of; /* the number of the database */
	struct db_stmt *put, *remove, *add_brief, *find_brief, *set_brief, *remove_brief;
	struct db_stmt *last_event, *put_event, *find_event, *old_events, *remove_event;
};

static int prepare(struct statements *s, struct db *db, struct err *e)
{
	const struct {
		struct db_stmt **statement;
		const char *sql;
	} all[] = {
		{&s->put, "INSERT INTO document (key, doc) VALUES (?1, ?2) "
			  "ON CONFLICT (key) DO UPDATE SET doc = ?2"},
		{&s->remove, "DELETE FROM document WHERE key = ?1"},
		{&s->add_brief, "INSERT INTO brief (key, brief, event) VALUES (?1, ?2, ?3) "
				"ON CONFLICT (key) DO NOTHING"},
		{&s->find_brief, "SELECT event FROM brief WHERE key = ?1"},
		{&s->set_brief, "UPDATE brief SET brief = ?2, event = ?3 WHERE key = ?1"},
		{&s->remove_brief, "DELETE FROM brief WHERE key = ?1"},
		{&s->last_event, "SELECT max(id) FROM event"},
		{&s->put_event, "INSERT INTO event (id, count, doc, keys, at_ms) "
				"VALUES (?1, ?2, ?3, ?4, ?5)"},
		{&s->find_event, "SELECT id, count, keys FROM event WHERE id = " EVENT_ROW(
					 "?1") " AND id <= " EVENTS_PRUNED},
		{&s->old_events, "SELECT id, count, keys FROM event WHERE id > ?1 AND id <= ?2"},
		{&s->remove_event, "DELETE FROM event WHERE id = ?1"},
	};

	if (s->of == db_number(db))
		return 0;
	for (size_t i = 0; i < ARRAY_COUNT(all); i++)
		if (db_prepare(db, all[i].sql, all[i].statement, e) < 0)
			return -e->code;
	s->db = db;
	s->of = db_number(db);
	return 0;
}

/* ---- old events ---- */

/* The number of the event that has the document; 0: it is elsewhere, or nowhere. */
static int find_event_of(struct statements *s, const char *stored_key, int64_t *ret, struct err *e)
{
	int r;

	*ret = 0;
	db_bind_text(s->find_brief, 1, stored_key);
	while ((r = db_step(s->find_brief, e)) == DB_ROW)
		*ret = db_i64(s->find_brief, 0);
	return r;
}

/* A row of 'event' with id, count and keys: is none of its events a document any more? */
static int is_dead(struct statements *s, struct db_stmt *row, bool *ret, struct err *e)
{
	const int64_t last = db_i64(row, 0), count = db_i64(row, 1);
	size_t size;
	const void *keys = db_blob(row, 2, &size);

	*ret = true;
	for (int64_t i = 0; size && i < count && *ret; i++) {
		auto_free char *key = alike_get(keys, size, (size_t)i, e);
		int64_t event;

		if (!key || find_event_of(s, key, &event, e) < 0)
			return -e->code;
		*ret = event <= last - count || event > last;
	}
	return 0;
}

/* Of the rows that the statement brings those that are dead. */
static int drop_dead(struct statements *s, struct db_stmt *rows, struct err *e)
{
	bool dead = false;
	int r;

	while ((r = db_step(rows, e)) == DB_ROW && (r = is_dead(s, rows, &dead, e)) == 0) {
		if (!dead)
			continue;
		db_bind_i64(s->remove_event, 1, db_i64(rows, 0));
		if ((r = db_run(s->remove_event, e)) < 0)
			break;
	}
	db_reset(rows);
	return r;
}

/* It has no document any more; if it is old nobody reads it. */
static int drop_event(struct statements *s, int64_t event, struct err *e)
{
	if (!event)
		return 0;
	db_bind_i64(s->find_event, 1, event);
	return drop_dead(s, s->find_event, e);
}

/* The events up to 'last' are there, and 'count' of them are new. */
static int prune(struct statements *s, int64_t last, int64_t count, struct err *e)
{
	const int64_t end = last / EVENTS_PRUNED_EACH * EVENTS_PRUNED_EACH;

	if (end <= last - count)
		return 0;
	db_bind_i64(s->old_events, 1, end - EVENTS_KEPT - EVENTS_PRUNED_EACH);
	db_bind_i64(s->old_events, 2, end - EVENTS_KEPT);
	return drop_dead(s, s->old_events, e);
}

/* ---- events ---- */

/* 'docs' and 'keys', if it has any, are alike; *ret is the number of the last. */
static int put_events(struct statements *s, const struct buf *docs, const struct buf *keys,
		      int64_t count, int64_t at_ms, int64_t *ret, struct err *e)
{
	int64_t last = 0;
	int r;

	while ((r = db_step(s->last_event, e)) == DB_ROW)
		last = db_i64(s->last_event, 0) + count;
	if (r < 0)
		return r;
	db_bind_i64(s->put_event, 1, last);
	db_bind_i64(s->put_event, 2, count);
	db_bind_blob(s->put_event, 3, docs->data, docs->size);
	if (keys->size) {
		db_bind_blob(s->put_event, 4, keys->data, keys->size);
		db_bind_i64(s->put_event, 5, at_ms);
	}
	if (db_run(s->put_event, e) < 0)
		return -e->code;
	*ret = last;
	return prune(s, last, count, e);
}

static int put_event(struct statements *s, const char *text, struct err *e)
{
	auto_buf struct buf doc = BUF_INIT(ROW_MAX), none = BUF_INIT(0);
	int64_t ignored;

	(void)alike_add(&doc, text);
	return put_events(s, &doc, &none, 1, 0, &ignored, e);
}

/* ---- effects ---- */

static int put(struct statements *s, const char *stored_key, const char *text, struct err *e)
{
	db_bind_text(s->put, 1, stored_key);
	db_bind_text(s->put, 2, text);
	return db_run(s->put, e);
}

static int remove_document(struct statements *s, const char *stored_key, struct err *e)
{
	db_bind_text(s->remove, 1, stored_key);
	return db_run(s->remove, e);
}

static void bind_brief(struct db_stmt *statement, const char *stored_key,
		       const struct core_effect *x, int64_t event)
{
	db_bind_text(statement, 1, stored_key);
	db_bind_blob(statement, 2, x->brief, x->brief_size);
	if (event)
		db_bind_i64(statement, 3, event);
}

/* The document is event number 'event'; 0: it is in its own row. */
static int put_brief(struct statements *s, const struct core_effect *x, int64_t event,
		     struct err *e)
{
	char buffer[STORED_KEY_SIZE];
	const char *key = store_key(x->key, buffer);
	int64_t before;

	bind_brief(s->add_brief, key, x, event);
	if (db_run(s->add_brief, e) < 0)
		return -e->code;
	if (db_changes(s->db))
		return 0;
	if (find_event_of(s, key, &before, e) < 0)
		return -e->code;
	bind_brief(s->set_brief, key, x, event);
	if (db_run(s->set_brief, e) < 0)
		return -e->code;
	if (before)
		return drop_event(s, before, e);
	return event ? remove_document(s, key, e) : 0;
}

static bool is_event(const struct core_effect *x)
{
	return x->kind == CORE_PUT && x->brief && x->event_ms;
}

static bool is_message(const struct core_effect *x)
{
	return x->kind == CORE_SEND || x->kind == CORE_REFUSE;
}

/* Documents whose versions are events of one row. */
struct row {
	struct buf docs, keys;
	const struct core_effect *effects[ALIKE_MAX];
	size_t count;
};

static void row_done(struct row *row)
{
	buf_done(&row->docs);
	buf_done(&row->keys);
}
#define auto_row __attribute__((cleanup(row_done)))

/* False: it belongs to another; a key that was added is behind those that anybody reads. */
static bool row_add(struct row *row, const struct core_effect *x)
{
	char buffer[STORED_KEY_SIZE];

	if (!is_event(x) || row->count == ALIKE_MAX ||
	    (row->count && x->event_ms != row->effects[0]->event_ms) ||
	    !alike_add(&row->keys, store_key(x->key, buffer)) || !alike_add(&row->docs, x->text))
		return false;
	row->effects[row->count++] = x;
	return true;
}

/* The first, and of those behind it as many as are alike; *ret_next is the one behind them. */
static int put_alike(struct statements *s, const struct core_effects *fx, size_t first,
		     size_t *ret_next, struct err *e)
{
	auto_row struct row row = {.docs = BUF_INIT(ROW_MAX), .keys = BUF_INIT(ROW_MAX)};
	size_t next = first;
	int64_t last;

	while (next < fx->count &&
	       (is_message(&fx->items[next]) || row_add(&row, &fx->items[next])))
		next++;
	if (put_events(s, &row.docs, &row.keys, (int64_t)row.count, row.effects[0]->event_ms, &last,
		       e) < 0)
		return -e->code;
	for (size_t i = 0; i < row.count; i++)
		if (put_brief(s, row.effects[i], last - (int64_t)(row.count - 1 - i), e) < 0)
			return -e->code;
	*ret_next = next;
	return 0;
}

static int put_with_brief(struct statements *s, const struct core_effect *x, struct err *e)
{
	char buffer[STORED_KEY_SIZE];

	if (put_brief(s, x, 0, e) < 0)
		return -e->code;
	return put(s, store_key(x->key, buffer), x->text, e);
}

static int remove_all(struct statements *s, const char *key, struct err *e)
{
	char buffer[STORED_KEY_SIZE];
	const char *stored_key = store_key(key, buffer);
	int64_t event;

	if (find_event_of(s, stored_key, &event, e) < 0)
		return -e->code;
	db_bind_text(s->remove_brief, 1, stored_key);
	if (db_run(s->remove_brief, e) < 0)
		return -e->code;
	return event ? drop_event(s, event, e) : remove_document(s, stored_key, e);
}

int store_write(struct db *db, const struct core_effects *fx, struct err *e)
{
	static __thread struct statements s;
	int r = prepare(&s, db, e);

	for (size_t i = 0; i < fx->count && r == 0;) {
		const struct core_effect *x = &fx->items[i];

		if (is_event(x)) {
			r = put_alike(&s, fx, i, &i, e);
			continue;
		}
		if (x->kind == CORE_EVENT)
			r = put_event(&s, x->text, e);
		else if (x->kind == CORE_PUT)
			r = x->brief ? put_with_brief(&s, x, e) : put(&s, x->key, x->text, e);
		else if (x->kind == CORE_DELETE)
			r = remove_all(&s, x->key, e);
		i++;
	}
	return r;
}
