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
	"CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
	"CREATE TABLE IF NOT EXISTS security_group (id TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;"
	"CREATE TABLE IF NOT EXISTS member (security_group TEXT NOT NULL, address TEXT NOT NULL,"
	"  PRIMARY KEY (security_group, address)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS peer (id TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;";

struct records {
	struct db *db;
	struct db_stmt *put_task, *drop_task, *each_task, *put_meta, *get_meta;
	struct db_stmt *put_group, *drop_group, *each_group;
	struct db_stmt *put_member, *drop_member, *drop_members, *each_member;
	struct db_stmt *put_peer, *drop_peer, *each_peer;
};

static int prepare_groups(struct records *r, struct err *e)
{
	if (db_prepare(r->db,
		       "INSERT INTO security_group (id, doc) VALUES (?1, ?2) "
		       "ON CONFLICT (id) DO UPDATE SET doc = ?2",
		       &r->put_group, e) < 0 ||
	    db_prepare(r->db, "DELETE FROM security_group WHERE id = ?1", &r->drop_group, e) < 0 ||
	    db_prepare(r->db, "SELECT id, doc FROM security_group", &r->each_group, e) < 0 ||
	    db_prepare(r->db, "INSERT OR IGNORE INTO member VALUES (?1, ?2)", &r->put_member, e) <
		    0 ||
	    db_prepare(r->db, "DELETE FROM member WHERE security_group = ?1 AND address = ?2",
		       &r->drop_member, e) < 0 ||
	    db_prepare(r->db, "DELETE FROM member WHERE security_group = ?1", &r->drop_members, e) <
		    0 ||
	    db_prepare(r->db, "SELECT address FROM member WHERE security_group = ?1",
		       &r->each_member, e) < 0)
		return -e->code;
	return 0;
}

static int prepare_peers(struct records *r, struct err *e)
{
	if (db_prepare(r->db,
		       "INSERT INTO peer (id, doc) VALUES (?1, ?2) "
		       "ON CONFLICT (id) DO UPDATE SET doc = ?2",
		       &r->put_peer, e) < 0 ||
	    db_prepare(r->db, "DELETE FROM peer WHERE id = ?1", &r->drop_peer, e) < 0 ||
	    db_prepare(r->db, "SELECT doc FROM peer", &r->each_peer, e) < 0)
		return -e->code;
	return 0;
}

int records_open(const char *path, struct records **ret, struct err *e)
{
	struct records *r = xcalloc(1, sizeof(*r));

	if (db_rewrite_journal(path, e) < 0 ||
	    db_open(path, DB_NORMAL, RECORDS_VERSION, schema, &r->db, e) < 0 ||
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
	    db_prepare(r->db, "SELECT value FROM meta WHERE key = ?1", &r->get_meta, e) < 0 ||
	    prepare_groups(r, e) < 0 || prepare_peers(r, e) < 0) {
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

/* ---- security groups ---- */

static int change_members(struct db_stmt *s, const char *group, const struct js_strings *addresses,
			  struct err *e)
{
	for (size_t i = 0; i < addresses->count; i++) {
		db_bind_text(s, 1, group);
		db_bind_text(s, 2, addresses->items[i]);
		if (db_run(s, e) < 0)
			return -e->code;
	}
	return 0;
}

int records_drop_group(struct records *r, const char *id, struct err *e)
{
	db_bind_text(r->drop_members, 1, id);
	if (db_run(r->drop_members, e) < 0)
		return -e->code;
	db_bind_text(r->drop_group, 1, id);
	return db_run(r->drop_group, e);
}

/* The rules are in the document, the members are rows: they change by themselves. */
int records_put_group(struct records *r, const struct ecs_node_group *group, struct err *e)
{
	const struct ecs_node_group rules = {.group_id = group->group_id, .rules = group->rules};
	auto_json json_t *doc = js_encode(&ecs_node_group_shape, &rules);
	auto_free char *text = js_dump(doc);

	if (records_drop_group(r, group->group_id, e) < 0)
		return -e->code;
	db_bind_text(r->put_group, 1, group->group_id);
	db_bind_text(r->put_group, 2, text);
	if (db_run(r->put_group, e) < 0)
		return -e->code;
	return change_members(r->put_member, group->group_id, &group->members, e);
}

int records_change_members(struct records *r, const struct ecs_node_membership *m, struct err *e)
{
	if (change_members(r->drop_member, m->group_id, &m->left, e) < 0)
		return -e->code;
	return change_members(r->put_member, m->group_id, &m->joined, e);
}

static int read_members(struct records *r, struct arena *a, struct ecs_node_group *group,
			struct err *e)
{
	size_t capacity = 0;
	char **items = NULL;
	int step;

	db_bind_text(r->each_member, 1, group->group_id);
	while ((step = db_step(r->each_member, e)) == DB_ROW) {
		items = xgrow(items, group->members.count, &capacity, sizeof(*items));
		items[group->members.count++] = arena_strdup(a, db_text(r->each_member, 0));
	}
	db_reset(r->each_member);
	group->members.items = arena_alloc(a, (group->members.count + 1) * sizeof(*items));
	if (items)
		memcpy(group->members.items, items, group->members.count * sizeof(*items));
	free(items);
	return step;
}

int records_each_group(struct records *r,
		       int (*fn)(void *ctx, const struct ecs_node_group *group, struct err *e),
		       void *ctx, struct err *e)
{
	int step, result = 0;

	while (result == 0 && (step = db_step(r->each_group, e)) == DB_ROW) {
		const char *text = db_text(r->each_group, 1);
		auto_arena struct arena a = {0};
		struct ecs_node_group group;

		result = js_decode_text(text, strlen(text), &ecs_node_group_shape, &a, &group, e);
		if (result == 0)
			result = read_members(r, &a, &group, e);
		if (result == 0)
			result = fn(ctx, &group, e);
	}
	db_reset(r->each_group);
	return result < 0 ? result : step;
}

/* ---- other hosts ---- */

int records_put_peer(struct records *r, const struct ecs_node_peer *peer, struct err *e)
{
	auto_json json_t *doc = js_encode(&ecs_node_peer_shape, peer);
	auto_free char *text = js_dump(doc);

	db_bind_text(r->put_peer, 1, peer->instance_id);
	db_bind_text(r->put_peer, 2, text);
	return db_run(r->put_peer, e);
}

int records_drop_peer(struct records *r, const char *id, struct err *e)
{
	db_bind_text(r->drop_peer, 1, id);
	return db_run(r->drop_peer, e);
}

int records_each_peer(struct records *r,
		      int (*fn)(void *ctx, const struct ecs_node_peer *peer, struct err *e),
		      void *ctx, struct err *e)
{
	int step, result = 0;

	while (result == 0 && (step = db_step(r->each_peer, e)) == DB_ROW) {
		const char *text = db_text(r->each_peer, 0);
		auto_arena struct arena a = {0};
		struct ecs_node_peer peer;

		result = js_decode_text(text, strlen(text), &ecs_node_peer_shape, &a, &peer, e);
		if (result == 0)
			result = fn(ctx, &peer, e);
	}
	db_reset(r->each_peer);
	return result < 0 ? result : step;
}
