/* base/db.c - SQLite, with the settings that we stand by
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/db.h"

#include <assert.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"

#define STATEMENTS_MAX 64
#define BUSY_MS        5000
#define PIECE_SIZE     (64 << 10)

struct db_stmt {
	struct db *db; /* borrowed */
	sqlite3_stmt *handle;
};

struct db {
	sqlite3 *handle;
	uint64_t number;
	struct db_stmt statements[STATEMENTS_MAX];
	size_t statement_count;
};

static int fail(struct db *db, int code, const char *what, struct err *e)
{
	int errnum = EIO;

	switch (code & 0xff) {
	case SQLITE_FULL:
		errnum = ENOSPC;
		break;
	case SQLITE_CONSTRAINT:
		errnum = EEXIST;
		break;
	case SQLITE_CANTOPEN:
		errnum = ENOENT;
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		errnum = EUCLEAN;
		break;
	case SQLITE_READONLY:
		errnum = EROFS;
		break;
	}
	return err_set(e, errnum, "%s: %s", what,
		       db->handle ? sqlite3_errmsg(db->handle) : "no memory");
}

static int check_version(struct db *db, const char *path, int version, struct err *e)
{
	struct db_stmt *s;
	int64_t found;
	char sql[48];

	if (db_prepare(db, "PRAGMA user_version", &s, e) < 0 || db_step(s, e) < 0)
		return -e->code;
	found = db_i64(s, 0);
	db_reset(s);
	if (found > version)
		return err_set(e, EPROTO, "%s was written by a newer version (%lld, ours is %d)",
			       path, (long long)found, version);
	(void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", version);
	return found == version ? 0 : db_exec(db, sql, e);
}

static int rewrite(sqlite3_file *f)
{
	auto_free char *piece = xcalloc(1, PIECE_SIZE);
	sqlite3_int64 size = 0;
	int r = f->pMethods->xFileSize(f, &size), count;

	for (sqlite3_int64 at = 0; r == SQLITE_OK && at < size; at += count) {
		count = size - at < PIECE_SIZE ? (int)(size - at) : PIECE_SIZE;
		r = f->pMethods->xRead(f, piece, count, at);
		if (r == SQLITE_OK)
			r = f->pMethods->xWrite(f, piece, count, at);
	}
	return r == SQLITE_OK ? f->pMethods->xSync(f, SQLITE_SYNC_FULL) : r;
}

int db_rewrite_journal(const char *path, struct err *e)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
	auto_free char *journal = xasprintf("%s-journal", path), *wal = xasprintf("%s-wal", path);
	auto_free sqlite3_file *f = xcalloc(1, (size_t)vfs->szOsFile);
	sqlite3_filename name = sqlite3_create_filename(path, journal, wal, 0, NULL);
	int there = 0, r = vfs->xAccess(vfs, wal, SQLITE_ACCESS_EXISTS, &there);

	if (r == SQLITE_OK && there) {
		r = vfs->xOpen(vfs, sqlite3_filename_wal(name), f,
			       SQLITE_OPEN_READWRITE | SQLITE_OPEN_WAL, NULL);
		if (r == SQLITE_OK)
			r = rewrite(f);
		if (f->pMethods)
			(void)f->pMethods->xClose(f);
	}
	sqlite3_free_filename(name);
	return r == SQLITE_OK ? 0
			      : err_set(e, EIO, "%s: write it again: %s", wal, sqlite3_errstr(r));
}

int db_open(const char *path, enum db_sync sync, int version, const char *schema, struct db **ret,
	    struct err *e)
{
	static _Atomic uint64_t opened;
	struct db *db = xcalloc(1, sizeof(*db));
	int r = sqlite3_open_v2(path, &db->handle,
				SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
				NULL);

	db->number = atomic_fetch_add(&opened, 1) + 1;
	if (r == SQLITE_OK) {
		(void)sqlite3_extended_result_codes(db->handle, 1);
		(void)sqlite3_busy_timeout(db->handle, BUSY_MS);
		if (db_exec(db, "PRAGMA journal_mode = WAL", e) == 0 &&
		    db_exec(db,
			    sync == DB_FULL ? "PRAGMA synchronous = FULL"
					    : "PRAGMA synchronous = NORMAL",
			    e) == 0 &&
		    db_exec(db,
			    "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024;"
			    "PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON;",
			    e) == 0 &&
		    check_version(db, path, version, e) == 0 && db_exec(db, schema, e) == 0) {
			*ret = db;
			return 0;
		}
	} else {
		(void)fail(db, r, "open", e);
	}
	db_close(db);
	return err_wrap(e, "%s", path);
}

void db_close(struct db *db)
{
	if (!db)
		return;
	for (size_t i = 0; i < db->statement_count; i++)
		(void)sqlite3_finalize(db->statements[i].handle);
	(void)sqlite3_close(db->handle);
	free(db);
}

uint64_t db_number(const struct db *db)
{
	return db->number;
}

bool db_in_transaction(const struct db *db)
{
	return !sqlite3_get_autocommit(db->handle);
}

int db_exec(struct db *db, const char *sql, struct err *e)
{
	int r = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);

	return r == SQLITE_OK ? 0 : fail(db, r, sql, e);
}

int db_prepare(struct db *db, const char *sql, struct db_stmt **ret, struct err *e)
{
	struct db_stmt *s = &db->statements[db->statement_count];
	int r;

	assert(db->statement_count < STATEMENTS_MAX);

	r = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->handle, NULL);
	if (r != SQLITE_OK)
		return fail(db, r, sql, e);
	s->db = db;
	db->statement_count++;
	*ret = s;
	return 0;
}

void db_bind_text(struct db_stmt *s, int i, const char *text)
{
	(void)sqlite3_bind_text(s->handle, i, text, -1, SQLITE_TRANSIENT);
}

void db_bind_blob(struct db_stmt *s, int i, const void *data, size_t size)
{
	(void)sqlite3_bind_blob64(s->handle, i, data, size, SQLITE_TRANSIENT);
}

void db_bind_i64(struct db_stmt *s, int i, int64_t value)
{
	(void)sqlite3_bind_int64(s->handle, i, value);
}

int db_step(struct db_stmt *s, struct err *e)
{
	int r = sqlite3_step(s->handle);

	if (r == SQLITE_ROW)
		return DB_ROW;
	if (r != SQLITE_DONE)
		(void)fail(s->db, r, sqlite3_sql(s->handle), e);
	db_reset(s);
	return r == SQLITE_DONE ? 0 : -e->code;
}

int db_run(struct db_stmt *s, struct err *e)
{
	int r;

	do
		r = db_step(s, e);
	while (r == DB_ROW);
	return r;
}

void db_reset(struct db_stmt *s)
{
	(void)sqlite3_reset(s->handle);
	(void)sqlite3_clear_bindings(s->handle);
}

const char *db_text(struct db_stmt *s, int i)
{
	const unsigned char *text = sqlite3_column_text(s->handle, i);

	return text ? (const char *)text : "";
}

const void *db_blob(struct db_stmt *s, int i, size_t *ret_size)
{
	const void *data = sqlite3_column_blob(s->handle, i);

	*ret_size = (size_t)sqlite3_column_bytes(s->handle, i);
	return data;
}

int64_t db_i64(struct db_stmt *s, int i)
{
	return sqlite3_column_int64(s->handle, i);
}

int64_t db_last_id(struct db *db)
{
	return sqlite3_last_insert_rowid(db->handle);
}

int db_changes(struct db *db)
{
	return sqlite3_changes(db->handle);
}
