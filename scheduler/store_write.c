/* scheduler/store_write.c - state.db as the writer has it: documents, briefs, events
 * SPDX-License-Identifier: Apache-2.0
 *
 * Most versions of a document with a brief are events, too (core_effect.event_ms), and are
 * written once: as a row of 'event', which the brief points to.  Such a row goes when it is
 * neither one of the last EVENTS_KEPT nor the newest version of its document: with the version
 * that follows it, or when it is looked at because EVENTS_KEPT others came behind it.
 */
#include "base/auto.h"
#include "base/text.h"
#include "scheduler/store_internal.h"

struct statements {
	struct db *db;
	struct db_stmt *put, *add, *find, *set, *put_brief, *put_event, *prune, *drop_event,
		*remove, *remove_brief;
};

static int prepare(struct statements *s, struct db *db, struct err *e)
{
	const struct {
		struct db_stmt **statement;
		const char *sql;
	} all[] = {
		{&s->put, "INSERT INTO document (key, doc) VALUES (?1, ?2) "
			  "ON CONFLICT (key) DO UPDATE SET doc = ?2"},
		{&s->add, "INSERT INTO document (key, doc) VALUES (?1, ?2) "
			  "ON CONFLICT (key) DO NOTHING"},
		{&s->find, "SELECT document.id, event FROM document "
			   "LEFT JOIN brief ON brief.id = document.id WHERE key = ?1"},
		{&s->set, "UPDATE document SET doc = ?2 WHERE id = ?1"},
		{&s->put_brief, "INSERT INTO brief (id, brief, event) VALUES (?1, ?2, ?3) "
				"ON CONFLICT (id) DO UPDATE SET brief = ?2, event = ?3"},
		{&s->put_event, "INSERT INTO event (doc, document, at_ms) VALUES (?1, ?2, ?3)"},
		{&s->prune,
		 "DELETE FROM event WHERE id > ?1 - " TEXT_OF(
			 EVENTS_PRUNED_EACH) " AND id <= ?1 AND NOT EXISTS (SELECT 1 FROM brief"
					     "  WHERE brief.id = event.document AND brief.event = event.id)"},
		{&s->drop_event, "DELETE FROM event WHERE id = ?1 AND id <= " EVENTS_PRUNED},
		{&s->remove, "DELETE FROM document WHERE id = ?1"},
		{&s->remove_brief, "DELETE FROM brief WHERE id = ?1"},
	};

	if (s->db == db)
		return 0;
	for (size_t i = 0; i < ARRAY_COUNT(all); i++)
		if (db_prepare(db, all[i].sql, all[i].statement, e) < 0)
			return -e->code;
	s->db = db;
	return 0;
}

/* ---- rows ---- */

/* Where a document is: its number (0: nowhere), and the event that has it (0: it is in its own row). */
struct place {
	int64_t id, event;
};

static int find(struct statements *s, const char *key, struct place *ret, struct err *e)
{
	int r;

	*ret = (struct place){0};
	db_bind_text(s->find, 1, key);
	while ((r = db_step(s->find, e)) == DB_ROW)
		*ret = (struct place){db_i64(s->find, 0), db_i64(s->find, 1)};
	return r;
}

static int set_text(struct statements *s, int64_t id, const char *text, struct err *e)
{
	db_bind_i64(s->set, 1, id);
	db_bind_text(s->set, 2, text);
	return db_run(s->set, e);
}

static int put_event(struct statements *s, const char *text, int64_t document, int64_t at_ms,
		     int64_t *ret_id, struct err *e)
{
	db_bind_text(s->put_event, 1, text);
	if (document) {
		db_bind_i64(s->put_event, 2, document);
		db_bind_i64(s->put_event, 3, at_ms);
	}
	if (db_run(s->put_event, e) < 0)
		return -e->code;
	*ret_id = db_last_id(s->db);
	if (*ret_id % EVENTS_PRUNED_EACH)
		return 0;
	db_bind_i64(s->prune, 1, *ret_id - EVENTS_KEPT);
	return db_run(s->prune, e);
}

/* It has no document any more; if it is old nobody reads it. */
static int drop_event(struct statements *s, int64_t event, struct err *e)
{
	if (!event)
		return 0;
	db_bind_i64(s->drop_event, 1, event);
	return db_run(s->drop_event, e);
}

/* ---- effects ---- */

static int put(struct statements *s, const struct core_effect *x, struct err *e)
{
	db_bind_text(s->put, 1, x->key);
	db_bind_text(s->put, 2, x->text);
	return db_run(s->put, e);
}

/* It is there, with 'text' in its row, or anyhow and where *ret says. */
static int have_document(struct statements *s, const char *key, const char *text, struct place *ret,
			 struct err *e)
{
	db_bind_text(s->add, 1, key);
	db_bind_text(s->add, 2, text);
	if (db_run(s->add, e) < 0)
		return -e->code;
	if (db_changes(s->db)) {
		*ret = (struct place){.id = db_last_id(s->db)};
		return 0;
	}
	if (find(s, key, ret, e) < 0)
		return -e->code;
	return ret->event && !*text ? 0 : set_text(s, ret->id, text, e);
}

static int put_with_brief(struct statements *s, const struct core_effect *x, struct err *e)
{
	char buffer[STORED_KEY_SIZE];
	int64_t event = 0;
	struct place p;

	if (have_document(s, store_key(x->key, buffer), x->event_ms ? "" : x->text, &p, e) < 0 ||
	    (x->event_ms && put_event(s, x->text, p.id, x->event_ms, &event, e) < 0))
		return -e->code;
	db_bind_i64(s->put_brief, 1, p.id);
	db_bind_blob(s->put_brief, 2, x->brief, x->brief_size);
	if (event)
		db_bind_i64(s->put_brief, 3, event);
	if (db_run(s->put_brief, e) < 0)
		return -e->code;
	return drop_event(s, p.event, e);
}

static int remove_all(struct statements *s, const char *key, struct err *e)
{
	char buffer[STORED_KEY_SIZE];
	struct place p;

	if (find(s, store_key(key, buffer), &p, e) < 0)
		return -e->code;
	db_bind_i64(s->remove, 1, p.id);
	db_bind_i64(s->remove_brief, 1, p.id);
	if (db_run(s->remove, e) < 0 || db_run(s->remove_brief, e) < 0)
		return -e->code;
	return drop_event(s, p.event, e);
}

int store_write(struct db *db, const struct core_effects *fx, struct err *e)
{
	static __thread struct statements s;
	int r = prepare(&s, db, e);
	int64_t ignored;

	for (size_t i = 0; i < fx->count && r == 0; i++) {
		const struct core_effect *x = &fx->items[i];

		if (x->kind == CORE_EVENT)
			r = put_event(&s, x->text, 0, 0, &ignored, e);
		else if (x->kind == CORE_PUT)
			r = x->brief ? put_with_brief(&s, x, e) : put(&s, x, e);
		else if (x->kind == CORE_DELETE)
			r = remove_all(&s, x->key, e);
	}
	return r;
}
