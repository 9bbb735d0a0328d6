/* tests/unit/base/loop.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/loop.h"

static struct loop *loop;
static char order[16];

static void say(char c)
{
	order[strlen(order)] = c;
}

static void on_fd(void *ctx, int events)
{
	char byte;

	assert_true(events & LOOP_READ);
	assert_int_equal(read(*(int *)ctx, &byte, 1), 1);
	say(byte);
}

static void on_timer(void *ctx)
{
	(void)ctx;
	say('t');
	loop_stop(loop);
}

static void on_wake(void *ctx)
{
	(void)ctx;
	say('w');
	loop_stop(loop);
}

static void on_signal(void *ctx)
{
	(void)ctx;
	say('s');
	loop_stop(loop);
}

static void *wake_it(void *ctx)
{
	loop_wake_send(ctx);
	return NULL;
}

static void what_is_ready_is_called_back(void **state)
{
	struct loop_timer *timer;
	struct loop_wake *wake;
	struct loop_fd *watch;
	pthread_t thread;
	struct err e = {0};
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	loop = loop_new();
	timer = loop_timer_new(loop, on_timer, NULL);
	wake = loop_wake_new(loop, on_wake, NULL);
	assert_ok(loop_watch(loop, fds[0], LOOP_READ, on_fd, &fds[0], &watch, &e));

	assert_int_equal(write(fds[1], "f", 1), 1);
	loop_poll(loop);
	assert_string_equal(order, "f");
	loop_want(watch, 0);
	assert_int_equal(write(fds[1], "g", 1), 1);
	loop_poll(loop);
	assert_string_equal(order, "f"); /* not asked for */

	assert_false(loop_timer_is_set(timer));
	loop_timer_set(timer, 0);
	assert_true(loop_timer_is_set(timer));
	loop_run(loop);
	assert_string_equal(order, "ft");

	assert_int_equal(pthread_create(&thread, NULL, wake_it, wake), 0);
	loop_run(loop);
	assert_string_equal(order, "ftw");
	assert_int_equal(pthread_join(thread, NULL), 0);

	loop_on_signal(loop, SIGUSR1, on_signal, NULL);
	assert_int_equal(raise(SIGUSR1), 0);
	loop_run(loop);
	assert_string_equal(order, "ftws");

	loop_unwatch(watch);
	loop_timer_free(timer);
	loop_wake_free(wake);
	loop_free(loop);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static pthread_t worker;

static void work(void *ctx)
{
	worker = pthread_self();
	*(int *)ctx += 1;
}

static void after_work(void *ctx)
{
	*(int *)ctx += 10;
	say('d');
}

static void after_work_stop(void *ctx)
{
	after_work(ctx);
	loop_stop(loop);
}

static void work_is_done_elsewhere_and_told_here(void **state)
{
	int count = 0;

	(void)state;
	memset(order, 0, sizeof(order));
	loop = loop_new();
	loop_work(loop, work, after_work_stop, &count);
	loop_run(loop);
	assert_false(pthread_equal(worker, pthread_self()));
	assert_int_equal(count, 11);
	assert_string_equal(order, "d");

	/* What is under way at the end is waited for. */
	loop_work(loop, work, after_work, &count);
	loop_free(loop);
	assert_int_equal(count, 22);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_ready_is_called_back),
		cmocka_unit_test(work_is_done_elsewhere_and_told_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
