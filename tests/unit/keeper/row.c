/* tests/unit/keeper/row.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "keeper/row.h"

static char dir[] = "/tmp/berth-unit-XXXXXX";
static int dir_fd = -1;

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0 ? -1 : 0;
}

static int drop_dir(void **state)
{
	struct err e = {0};

	(void)state;
	close_fd(&dir_fd);
	return fs_remove_tree(AT_FDCWD, dir, &e);
}

static struct row *sample(void)
{
	struct row *row = row_new("web-1");

	row->bundle = xstrdup("/b");
	row->runtime_root = xstrdup("/r");
	row->log_dir = xstrdup("/l");
	row->phase = KEEPER_RUNNING;
	row->pid = 4242;
	row->start_time = 99;
	return row;
}

static void a_row_comes_back_from_its_file(void **state)
{
	struct row *row = sample(), *back;
	struct err e = {0};
	bool same_boot = false;

	(void)state;
	assert_ok(row_write(dir_fd, row, &e));
	assert_ok(row_read(dir_fd, "web-1", &back, &same_boot, &e));
	assert_true(same_boot);
	assert_string_equal(back->bundle, "/b");
	assert_string_equal(back->runtime_root, "/r");
	assert_string_equal(back->log_dir, "/l");
	assert_int_equal(back->phase, KEEPER_RUNNING);
	assert_int_equal(back->pid, 4242);
	assert_int_equal(back->start_time, 99);
	assert_int_equal(back->output[0].fd, -1);
	row_free(back);
	row_remove(dir_fd, row);
	assert_int_equal(faccessat(dir_fd, "web-1", F_OK, 0), -1);
	row_free(row);
}

static void the_record_of_its_end_comes_with_it(void **state)
{
	struct row *row = sample(), *back;
	struct err e = {0};
	bool same_boot;

	(void)state;
	assert_ok(row_write(dir_fd, row, &e));
	row->exit = (struct keeper_exit){.known = true, .code = 137, .signal = 9, .time_ms = 5};
	assert_ok(row_write_exit(dir_fd, row, &e));
	assert_ok(row_read(dir_fd, "web-1", &back, &same_boot, &e));
	assert_int_equal(back->phase, KEEPER_ENDED);
	assert_int_equal(back->pid, 0);
	assert_true(back->exit.known);
	assert_int_equal(back->exit.code, 137);
	assert_int_equal(back->exit.signal, 9);
	assert_int_equal(back->exit.time_ms, 5);
	row_free(back);
	row_remove(dir_fd, row);
	row_free(row);
}

static void the_hand_over_keeps_descriptors_and_what_was_told(void **state)
{
	struct row *row = sample(), *back;
	auto_free char *text = NULL;
	struct err e = {0};

	(void)state;
	row->userns_fd = 1007;
	row->netns_fd = 1001; /* numbers only; they are forgotten before row_free() */
	row->output[0].fd = 0;
	row->held = xcalloc(2, sizeof(int));
	row->held[0] = 1002;
	row->held[1] = 1003;
	row->held_count = 2;
	row->exit_told = row->followed = true;
	row->follow_bytes = 77;
	text = row_encode(row, true);
	assert_ok(row_decode(text, strlen(text), &back, &e));
	assert_int_equal(back->netns_fd, 1001);
	assert_int_equal(back->userns_fd, 1007);
	assert_int_equal(back->output[0].fd, 0);
	assert_int_equal(back->output[1].fd, -1);
	assert_int_equal(back->pidfd, -1);
	assert_int_equal(back->held_count, 2);
	assert_int_equal(back->held[1], 1003);
	assert_true(back->exit_told && back->followed && !back->needs_pipes);
	assert_int_equal(back->follow_bytes, 77);
	row->output[0].fd = back->output[0].fd = -1;
	row_free(row);
	row_free(back);
}

static void rows_without_sense_are_refused(void **state)
{
#define NAMES "\"id\":\"a\",\"bundle\":\"/b\",\"runtimeRoot\":\"/r\",\"logDir\":\"/l\""
	static const char *const cases[] = {
		"",
		"{}",
		"{" NAMES "}",
		"{" NAMES ",\"phase\":0}",
		"{" NAMES ",\"phase\":5}",
		"{" NAMES ",\"phase\":1,\"pid\":-1}",
		"{" NAMES ",\"phase\":1,\"pid\":4294967296}",
		"{" NAMES ",\"phase\":1,\"startTime\":-1}",
		"{" NAMES ",\"phase\":1,\"netns\":-1}",
		"{" NAMES ",\"phase\":1,\"stdout\":99999999}",
		"{" NAMES ",\"phase\":1,\"held\":[{\"fd\":0}]}",
		"{" NAMES ",\"phase\":4,\"exitCode\":256}",
		"{" NAMES ",\"phase\":4,\"exitSignal\":65}",
		"{\"id\":\"../a\",\"bundle\":\"/b\",\"runtimeRoot\":\"/r\",\"logDir\":\"/l\",\"phase\":1}",
		"{\"id\":\"a\",\"bundle\":\"b\",\"runtimeRoot\":\"/r\",\"logDir\":\"/l\",\"phase\":1}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct err e = {0};
		struct row *row;

		if (row_decode(cases[i], strlen(cases[i]), &row, &e) >= 0)
			fail_msg("%s", cases[i]);
		assert_true(e.msg[0]);
	}
}

static void a_row_of_another_container_is_refused(void **state)
{
	struct row *row = sample(), *back;
	struct err e = {0};
	bool same_boot;

	(void)state;
	assert_ok(row_write(dir_fd, row, &e));
	assert_int_equal(renameat(dir_fd, "web-1", dir_fd, "web-2"), 0);
	assert_fails(row_read(dir_fd, "web-2", &back, &same_boot, &e), EBADMSG);
	assert_ok(fs_remove_tree(dir_fd, "web-2", &e));
	row_free(row);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_row_comes_back_from_its_file),
		cmocka_unit_test(the_record_of_its_end_comes_with_it),
		cmocka_unit_test(the_hand_over_keeps_descriptors_and_what_was_told),
		cmocka_unit_test(rows_without_sense_are_refused),
		cmocka_unit_test(a_row_of_another_container_is_refused),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
