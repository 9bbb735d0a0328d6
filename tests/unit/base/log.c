/* tests/unit/base/log.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * Standard error is a pipe while a line is written.
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/log.h"

static char said[8192];

static void begin(int *ret_saved, int *ret_read)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	*ret_saved = dup(STDERR_FILENO);
	*ret_read = fds[0];
	assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	(void)close(fds[1]);
}

static void end(int saved, int read_fd)
{
	ssize_t n;

	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	(void)close(saved);
	n = read(read_fd, said, sizeof(said) - 1);
	assert_true(n >= 0);
	said[n] = '\0';
	(void)close(read_fd);
}

#define SAY(call)                       \
	do {                            \
		int saved_, read_;      \
		begin(&saved_, &read_); \
		call;                   \
		end(saved_, read_);     \
	} while (0)

static void a_line_says_when_who_how_bad_and_where(void **state)
{
	(void)state;
	assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
	log_open("berthd", LOG_LEVEL_INFO);
	SAY(log_warn("task=%s: %d", "t1", 7));
	assert_non_null(strstr(said, "Z berthd level=warn src=tests/unit/base/log.c task=t1: 7\n"));
	assert_int_equal(said[4], '-');
}

static void the_journal_gets_the_priority(void **state)
{
	(void)state;
	assert_int_equal(setenv("JOURNAL_STREAM", "8:1", 1), 0);
	log_open("berthd", LOG_LEVEL_INFO);
	SAY(log_error("x"));
	assert_string_equal(said, "<3>berthd src=tests/unit/base/log.c x\n");
	assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
	log_open("berthd", LOG_LEVEL_INFO);
}

static void what_is_below_the_level_is_not_said(void **state)
{
	(void)state;
	log_open("berthd", LOG_LEVEL_WARN);
	SAY(log_info("quiet"));
	assert_string_equal(said, "");
	SAY(log_warn("loud"));
	assert_non_null(strstr(said, "loud"));
}

/* A name from outside cannot forge a second line, nor move a terminal's cursor. */
static void a_message_stays_one_line_however_long(void **state)
{
	char big[5000];

	(void)state;
	log_open("berthd", LOG_LEVEL_INFO);
	SAY(log_info("name='%s'", "a\nlevel=error\r\x1b[2Jb\x7f"));
	assert_non_null(strstr(said, "name='a level=error  [2Jb '\n"));
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	SAY(log_info("%s", big));
	assert_true(strlen(said) <= 2048);
	assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void saying_something_keeps_errno(void **state)
{
	(void)state;
	log_open("berthd", LOG_LEVEL_INFO);
	errno = EXDEV;
	SAY(log_info("x"));
	errno = EXDEV;
	log_debug("not said");
	assert_int_equal(errno, EXDEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_says_when_who_how_bad_and_where),
		cmocka_unit_test(the_journal_gets_the_priority),
		cmocka_unit_test(what_is_below_the_level_is_not_said),
		cmocka_unit_test(a_message_stays_one_line_however_long),
		cmocka_unit_test(saying_something_keeps_errno),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
