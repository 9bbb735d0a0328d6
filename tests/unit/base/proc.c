/* tests/unit/base/proc.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/proc.h"

static int run(const char *script, const struct proc_fd *fds, size_t fd_count)
{
	char *const argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)script, NULL};
	const struct proc_spawn s = {
		.path = "/bin/sh", .argv = argv, .fds = fds, .fd_count = fd_count};
	auto_close int pidfd = -1;
	struct err e = {0};
	int status = -1;
	pid_t pid;

	assert_ok(proc_spawn(&s, &pid, &pidfd, &e));
	assert_ok(proc_wait(pidfd, &status, &e));
	return status;
}

static void a_child_has_the_descriptors_named_and_no_other(void **state)
{
	auto_close int leak = fcntl(0, F_DUPFD, 9); /* not close-on-exec */
	int out[2];
	char text[64] = "";
	struct proc_fd fds[2];

	(void)state;
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	fds[0] = (struct proc_fd){out[1], 1};
	fds[1] = (struct proc_fd){out[1], 7};
	assert_int_equal(
		run("for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do "
		    "test ! -e /proc/$$/fd/$fd || printf '%s ' $fd; done",
		    fds, 2),
		0);
	close_fd(&out[1]);
	assert_true(read_all(out[0], text, sizeof(text) - 1) > 0);
	assert_string_equal(text, "0 1 2 7 ");
	close_fd(&out[0]);
}

static void descriptors_may_swap_places(void **state)
{
	int a[2], b[2];
	char text[8] = "";
	struct proc_fd fds[2];

	(void)state;
	assert_int_equal(pipe2(a, O_CLOEXEC), 0);
	assert_int_equal(pipe2(b, O_CLOEXEC), 0);
	fds[0] = (struct proc_fd){a[1], b[1]};
	fds[1] = (struct proc_fd){b[1], a[1]};
	if (a[1] > 9 || b[1] > 9)
		skip(); /* sh takes one digit */
	{
		char script[64];

		(void)snprintf(script, sizeof(script), "echo a >&%d; echo b >&%d", b[1], a[1]);
		assert_int_equal(run(script, fds, 2), 0);
	}
	assert_int_equal(read(a[0], text, 2), 2);
	assert_memory_equal(text, "a\n", 2);
	assert_int_equal(read(b[0], text, 2), 2);
	assert_memory_equal(text, "b\n", 2);
	for (int i = 0; i < 2; i++) {
		close_fd(&a[i]);
		close_fd(&b[i]);
	}
}

static void the_status_is_the_code_or_128_and_the_signal(void **state)
{
	(void)state;
	assert_int_equal(run("exit 3", NULL, 0), 3);
	assert_int_equal(run("kill -TERM $$", NULL, 0), 128 + SIGTERM);
}

static void a_program_that_is_not_there_is_an_error(void **state)
{
	char *const argv[] = {(char[]){"x"}, NULL};
	const struct proc_spawn s = {.path = "/nonexistent/x", .argv = argv};
	struct err e = {0};
	int pidfd = -1;
	pid_t pid;

	(void)state;
	assert_fails(proc_spawn(&s, &pid, &pidfd, &e), ENOENT);
	assert_says("start /nonexistent/x: No such file");
	assert_int_equal(pidfd, -1);
}

static void a_process_is_named_by_pid_and_start(void **state)
{
	(void)state;
	assert_true(proc_start_time(getpid()) > 0);
	assert_int_equal(proc_start_time(getpid()), proc_start_time(getpid()));
	assert_int_equal(proc_start_time(0x3fffffff), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_has_the_descriptors_named_and_no_other),
		cmocka_unit_test(descriptors_may_swap_places),
		cmocka_unit_test(the_status_is_the_code_or_128_and_the_signal),
		cmocka_unit_test(a_program_that_is_not_there_is_an_error),
		cmocka_unit_test(a_process_is_named_by_pid_and_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
