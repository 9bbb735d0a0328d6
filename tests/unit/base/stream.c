/* tests/unit/base/stream.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/frame.h"
#include "base/stream.h"

#define FRAME_MAX 4096
#define QUEUE_MAX (1 << 20)

static struct loop *loop;
static struct stream *stream;
static int peer;
static struct buf frames; /* what came, one line each */
static char over[128];    /* why it ended; "" while it lives */

static int on_frame(void *ctx, const char *data, size_t size, struct err *e)
{
	(void)ctx;
	if (size == 3 && memcmp(data, "bad", 3) == 0)
		return err_set(e, EINVAL, "that was bad");
	buf_add(&frames, data, size);
	buf_putc(&frames, '\n');
	return 0;
}

static void on_end(void *ctx, const char *why)
{
	(void)ctx;
	assert_string_equal(over, "");
	(void)snprintf(over, sizeof(over), "%s", why);
	stream_free(take_ptr(stream));
}

static int start(void **state)
{
	struct stream_options o = {.frame_max = FRAME_MAX,
				   .queue_max = QUEUE_MAX,
				   .on_frame = on_frame,
				   .on_end = on_end};
	struct err e = {0};
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	peer = fds[1];
	loop = loop_new();
	o.loop = loop;
	o.fd = fds[0];
	over[0] = '\0';
	buf_init(&frames, 1 << 20);
	assert_ok(stream_open(&o, &stream, &e));
	return 0;
}

static int stop(void **state)
{
	(void)state;
	stream_free(take_ptr(stream));
	if (peer >= 0)
		(void)close(peer);
	loop_free(loop);
	buf_done(&frames);
	return 0;
}

static void say(const char *text, size_t size)
{
	auto_buf struct buf out = BUF_INIT(1 << 20);

	frame_put(&out, text, size);
	assert_int_equal(write(peer, out.data, out.size), (ssize_t)out.size);
}

static void await_end(void)
{
	while (!over[0])
		loop_poll(loop);
}

static void frames_are_handed_over_in_order_until_the_peer_hangs_up(void **state)
{
	(void)state;
	say("one", 3);
	say("", 0);
	say("three", 5);
	(void)close(peer);
	peer = -1;
	await_end();
	assert_string_equal(buf_str(&frames), "one\n\nthree\n");
	assert_string_equal(over, "the peer hung up");
}

static void a_frame_that_cannot_be_read_ends_it_with_the_reason(void **state)
{
	(void)state;
	say("good", 4);
	say("bad", 3);
	say("never", 5);
	await_end();
	assert_string_equal(buf_str(&frames), "good\n");
	assert_string_equal(over, "that was bad");
}

static void a_frame_over_the_limit_ends_it_before_its_bytes_come(void **state)
{
	(void)state;
	assert_int_equal(write(peer, "\0\0\x10\x01", 4), 4);
	await_end();
	assert_string_equal(over, "a message is too large");
}

/* More than the socket takes: the rest follows as the peer reads. */
static void what_is_put_arrives_whole_though_the_peer_reads_late(void **state)
{
	auto_buf struct buf in = BUF_INIT(4 * QUEUE_MAX);
	char text[1000];
	const char *data;
	size_t size;

	(void)state;
	for (int i = 0; i < 900; i++) {
		memset(text, 'a' + i % 26, sizeof(text));
		stream_put(stream, text, sizeof(text));
	}
	for (int i = 0; i < 900;) {
		void *room = buf_reserve(&in, 65536);
		ssize_t n = read(peer, room, 65536);

		buf_commit(&in, n > 0 ? (size_t)n : 0);
		for (; frame_peek(&in, 2000, &data, &size) == FRAME_READY; i++) {
			assert_int_equal(size, sizeof(text));
			assert_int_equal(data[0], 'a' + i % 26);
			assert_int_equal(data[999], 'a' + i % 26);
			frame_drop(&in);
		}
		loop_poll(loop);
	}
	assert_string_equal(over, "");
}

static void a_peer_that_reads_nothing_is_cut_off_and_never_from_within_put(void **state)
{
	char text[4000] = {0};

	(void)state;
	for (int i = 0; i < 1000; i++)
		stream_put(stream, text, sizeof(text));
	assert_string_equal(over, "");
	await_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			frames_are_handed_over_in_order_until_the_peer_hangs_up, start, stop),
		cmocka_unit_test_setup_teardown(a_frame_that_cannot_be_read_ends_it_with_the_reason,
						start, stop),
		cmocka_unit_test_setup_teardown(
			a_frame_over_the_limit_ends_it_before_its_bytes_come, start, stop),
		cmocka_unit_test_setup_teardown(
			what_is_put_arrives_whole_though_the_peer_reads_late, start, stop),
		cmocka_unit_test_setup_teardown(
			a_peer_that_reads_nothing_is_cut_off_and_never_from_within_put, start,
			stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
