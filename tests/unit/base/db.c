/* tests/unit/base/db.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/db.h"
#include "base/fs.h"

static char dir[] = "/tmp/berth-db-XXXXXX";
static char path[64];
static const char schema[] =
	"CREATE TABLE IF NOT EXISTS t (k TEXT PRIMARY KEY, v INTEGER, b BLOB) STRICT";

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/x.db", dir);
	return 0;
}

static int drop_dir(void **state)
{
	struct err e;

	(void)state;
	return fs_remove_tree(AT_FDCWD, dir, &e);
}

static void rows_outlive_the_connection(void **state)
{
	struct db *db = NULL;
	struct db_stmt *put, *get;
	struct err e = {0};
	size_t size;

	(void)state;
	assert_ok(db_open(path, DB_FULL, 3, schema, &db, &e));
	assert_ok(db_prepare(db, "INSERT INTO t VALUES (?1, ?2, ?3)", &put, &e));
	db_bind_text(put, 1, "a");
	db_bind_i64(put, 2, -7);
	db_bind_blob(put, 3, "x\0y", 3);
	assert_ok(db_run(put, &e));
	assert_int_equal(db_changes(db), 1);
	db_bind_text(put, 1, "a");
	assert_fails(db_run(put, &e), EEXIST);
	db_bind_text(put, 1, "b"); /* the statement is fine again */
	assert_ok(db_run(put, &e));
	db_close(db);

	assert_ok(db_open(path, DB_NORMAL, 3, schema, &db, &e));
	assert_ok(db_prepare(db, "SELECT v, b FROM t WHERE k = ?1", &get, &e));
	db_bind_text(get, 1, "a");
	assert_int_equal(db_step(get, &e), DB_ROW);
	assert_int_equal(db_i64(get, 0), -7);
	assert_memory_equal(db_blob(get, 1, &size), "x\0y", 3);
	assert_int_equal(size, 3);
	assert_int_equal(db_step(get, &e), 0);
	db_close(db);
}

static void a_file_of_a_newer_version_is_refused(void **state)
{
	struct db *db = NULL;
	struct err e = {0};

	(void)state;
	assert_fails(db_open(path, DB_FULL, 2, schema, &db, &e), EPROTO);
	assert_says("newer version (3, ours is 2)");
	assert_null(db);
	assert_fails(db_open("/nonexistent/x.db", DB_FULL, 1, schema, &db, &e), ENOENT);
}

static void what_is_no_database_is_told(void **state)
{
	char other[80];
	struct db *db = NULL;
	struct err e = {0};

	(void)state;
	(void)snprintf(other, sizeof(other), "%s/text", dir);
	assert_ok(fs_replace(AT_FDCWD, other,
			     "not a database, but long enough to be looked at as one....", 58, 0600,
			     FS_QUICK, &e));
	assert_fails(db_open(other, DB_FULL, 1, schema, &db, &e), EUCLEAN);
}

/* A copy of a database that somebody has open is one whose process was killed. */
static void copy(const char *end)
{
	char from[80], to[80];
	struct buf b = BUF_INIT(1 << 20);
	struct err e = {0};

	(void)snprintf(from, sizeof(from), "%s%s", path, end);
	(void)snprintf(to, sizeof(to), "%s/killed.db%s", dir, end);
	assert_ok(fs_read(AT_FDCWD, from, &b, &e));
	assert_ok(fs_replace(AT_FDCWD, to, b.data, b.size, 0600, FS_QUICK, &e));
	buf_done(&b);
}

static void a_journal_that_is_written_again_is_the_same(void **state)
{
	char killed[80], wal[80];
	struct db *db = NULL;
	struct db_stmt *get;
	struct stat before, after;
	struct err e = {0};

	(void)state;
	(void)snprintf(killed, sizeof(killed), "%s/killed.db", dir);
	(void)snprintf(wal, sizeof(wal), "%s/killed.db-wal", dir);
	assert_ok(db_rewrite_journal(killed, &e)); /* there is none */
	assert_ok(db_open(path, DB_FULL, 3, schema, &db, &e));
	assert_ok(db_exec(db, "INSERT INTO t (k, v) VALUES ('journal', 5)", &e));
	copy("");
	copy("-wal");
	db_close(db);

	assert_int_equal(stat(wal, &before), 0);
	assert_ok(db_rewrite_journal(killed, &e));
	assert_int_equal(stat(wal, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_ok(db_open(killed, DB_FULL, 3, schema, &db, &e));
	assert_ok(db_prepare(db, "SELECT v FROM t WHERE k = 'journal'", &get, &e));
	assert_int_equal(db_step(get, &e), DB_ROW);
	assert_int_equal(db_i64(get, 0), 5);
	db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_outlive_the_connection),
		cmocka_unit_test(a_file_of_a_newer_version_is_refused),
		cmocka_unit_test(what_is_no_database_is_told),
		cmocka_unit_test(a_journal_that_is_written_again_is_the_same),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
