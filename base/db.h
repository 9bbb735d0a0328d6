/* base/db.h - SQLite, with the settings that we stand by
 * SPDX-License-Identifier: Apache-2.0
 *
 * WAL journal, one writer, statements prepared once.  DB_FULL syncs at each
 * commit: what was committed survives a power cut.  DB_NORMAL survives the
 * death of the process at any instruction, and a power cut without the last
 * commits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct db;
struct db_stmt;

enum db_sync { DB_NORMAL, DB_FULL };

/*
 * Open or create.  'schema' is SQL that may run every time (CREATE ... IF NOT
 * EXISTS).  'version' is compared with the file's user_version: a file written
 * by a newer version is refused; 0 is a new file.
 */
/*
 * Before a database is opened that nobody else has open: what is in its journal is written to
 * the disk once more.  A sync that failed in the life of its last process may have left pages in
 * memory that the kernel takes for clean: they are read, no later sync writes them, and what is
 * built on them is lost with them when the power goes.  No journal is fine.
 */
int db_rewrite_journal(const char *path, struct err *e);

int db_open(const char *path, enum db_sync sync, int version, const char *schema, struct db **ret,
	    struct err *e);
void db_close(struct db *db);

/* Unlike that of any other that was ever opened here. */
uint64_t db_number(const struct db *db);

int db_exec(struct db *db, const char *sql, struct err *e);

/* Some failures take back the whole transaction: then there is none any more. */
bool db_in_transaction(const struct db *db);

/* The statement lives as long as the db. */
int db_prepare(struct db *db, const char *sql, struct db_stmt **ret, struct err *e);

/* Parameters count from 1; text and blobs are copied. */
void db_bind_text(struct db_stmt *s, int i, const char *text); /* NULL: SQL NULL */
void db_bind_blob(struct db_stmt *s, int i, const void *data, size_t size);
void db_bind_i64(struct db_stmt *s, int i, int64_t value);

/* DB_ROW: a row is there to be read.  0: done, and the statement is ready for the next use. */
enum { DB_ROW = 1 };
int db_step(struct db_stmt *s, struct err *e);
/* Step to the end, whatever rows come. */
int db_run(struct db_stmt *s, struct err *e);
void db_reset(struct db_stmt *s);

/* Columns count from 0; valid until the next step. */
const char *db_text(struct db_stmt *s, int i); /* "" for NULL */
const void *db_blob(struct db_stmt *s, int i, size_t *ret_size);
int64_t db_i64(struct db_stmt *s, int i);

int64_t db_last_id(struct db *db);
int db_changes(struct db *db);
