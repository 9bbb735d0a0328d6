/* tests/unit/scheduler/writer.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/fs.h"
#include "scheduler/writer.h"

#define JOBS 500

static char dir[] = "/tmp/berth-writer-XXXXXX";
static char path[64];
static const char schema[] = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY) STRICT";
static struct loop *loop;
static struct writer *writer;
static int finished, failed;

struct job {
	struct writer_job job;
	int number;
};

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

/* Every seventh job writes and then fails. */
static int insert(struct writer_job *job, struct db *db, struct err *e)
{
	int number = ((struct job *)job)->number;
	char sql[64];

	(void)snprintf(sql, sizeof(sql), "INSERT INTO t VALUES (%d)", number);
	if (db_exec(db, sql, e) < 0)
		return -e->code;
	return number % 7 ? 0 : err_set(e, EINVAL, "the seventh");
}

static void done(struct writer_job *job, const struct err *why)
{
	assert_int_equal(((struct job *)job)->number, finished); /* in order */
	assert_int_equal(why != NULL, finished % 7 == 0);
	failed += why != NULL;
	if (++finished == JOBS)
		loop_stop(loop);
}

static void jobs_finish_in_order_and_a_failed_one_leaves_the_others_alone(void **state)
{
	static struct job jobs[JOBS];
	struct db *db = NULL;
	struct db_stmt *count;
	struct err e = {0};

	(void)state;
	loop = loop_new();
	assert_ok(writer_start(loop, path, 1, schema, WRITER_JOB, &writer, &e));
	for (int i = 0; i < JOBS; i++) {
		jobs[i].job.run = insert;
		jobs[i].job.done = done;
		jobs[i].number = i;
		writer_submit(writer, &jobs[i].job);
	}
	assert_int_equal(writer_pending(writer), JOBS);
	loop_run(loop);
	assert_int_equal(writer_pending(writer), 0);
	writer_stop(writer);
	loop_free(loop);

	assert_ok(db_open(path, DB_NORMAL, 1, schema, &db, &e));
	assert_ok(db_prepare(db, "SELECT count(*) FROM t", &count, &e));
	assert_int_equal(db_step(count, &e), DB_ROW);
	assert_int_equal(db_i64(count, 0), JOBS - failed);
	db_close(db);
}

static void done_at_stop(struct writer_job *job, const struct err *why)
{
	(void)job;
	assert_true(!why || why->code == ECANCELED);
	finished++;
}

static void stopping_answers_every_job(void **state)
{
	static struct job jobs[JOBS];
	struct err e = {0};

	(void)state;
	finished = 0;
	loop = loop_new();
	assert_ok(writer_start(loop, path, 1, schema, WRITER_JOB, &writer, &e));
	for (int i = 0; i < JOBS; i++) {
		jobs[i].job.run = insert;
		jobs[i].job.done = done_at_stop;
		jobs[i].number = JOBS + 1 + i * 8;
		if (jobs[i].number % 7 == 0)
			jobs[i].number++;
		writer_submit(writer, &jobs[i].job);
	}
	writer_stop(writer);
	assert_int_equal(finished, JOBS);
	loop_free(loop);
}

/* ---- a disk that becomes full in the middle of a commit ---- */

/* Number 1 fills it, and what comes then is small again. */
static int fill(struct writer_job *job, struct db *db, struct err *e)
{
	const int number = ((struct job *)job)->number;
	char sql[128];

	if (number == 1 && db_exec(db, "PRAGMA max_page_count = 1", e) < 0)
		return -e->code;
	(void)snprintf(sql, sizeof(sql), "INSERT INTO text VALUES (%d, zeroblob(%d))", number,
		       number == 1 ? 100000 : 1);
	return db_exec(db, sql, e);
}

static int64_t stored_texts(void)
{
	struct db *db = NULL;
	struct db_stmt *count;
	struct err e = {0};
	int64_t texts;

	assert_ok(db_open(path, DB_NORMAL, 1, schema, &db, &e));
	assert_ok(db_prepare(db, "SELECT count(*) FROM text", &count, &e));
	assert_int_equal(db_step(count, &e), DB_ROW);
	texts = db_i64(count, 0);
	db_close(db);
	return texts;
}

/* Three jobs, of which the second fills the disk; and one more, when there is room again. */
static void fill_the_disk(enum writer_failure failure, struct job jobs[4])
{
	struct writer_db w;
	struct err e = {0};

	assert_ok(writer_db_open(&w, path, 1, schema, failure, &e));
	assert_ok(db_exec(w.db, "CREATE TABLE IF NOT EXISTS text (n INTEGER PRIMARY KEY, b BLOB)",
			  &e));
	assert_ok(db_exec(w.db, "DELETE FROM text", &e));
	for (int i = 0; i < 4; i++)
		jobs[i] = (struct job){
			.job.run = fill, .job.next = i < 2 ? &jobs[i + 1].job : NULL, .number = i};
	writer_db_commit(&w, &jobs[0].job);
	assert_ok(db_exec(w.db, "PRAGMA max_page_count = 1000000", &e));
	writer_db_commit(&w, &jobs[3].job);
	writer_db_close(&w);
}

static void what_a_full_disk_took_back_is_not_said_to_be_there(void **state)
{
	struct job jobs[4];

	(void)state;
	fill_the_disk(WRITER_JOB, jobs);
	for (int i = 0; i < 3; i++)
		assert_int_equal(jobs[i].job.error.code, ENOSPC);
	assert_int_equal(jobs[3].job.error.code, 0);
	assert_int_equal(stored_texts(), 1);
}

static void jobs_that_build_on_each_other_end_with_the_first_that_fails(void **state)
{
	struct job jobs[4];

	(void)state;
	fill_the_disk(WRITER_ALL, jobs);
	for (int i = 0; i < 4; i++)
		assert_int_equal(jobs[i].job.error.code, ENOSPC);
	assert_int_equal(stored_texts(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_full_disk_took_back_is_not_said_to_be_there),
		cmocka_unit_test(jobs_that_build_on_each_other_end_with_the_first_that_fails),
		cmocka_unit_test(jobs_finish_in_order_and_a_failed_one_leaves_the_others_alone),
		cmocka_unit_test(stopping_answers_every_job),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
