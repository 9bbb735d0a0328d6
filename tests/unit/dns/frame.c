/* tests/unit/dns/frame.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/auto.h"
#include "dns/frame.h"

static void open_pipe(int fds[2])
{
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
}

static void put(int fd, const void *data, size_t size)
{
	assert_int_equal(write(fd, data, size), size);
}

static void a_message_is_whole_when_its_last_byte_has_come(void **state)
{
	static const char two[] = "\0\3abc\0\2de";
	struct frame f = {0};
	int fds[2];

	(void)state;
	open_pipe(fds);
	for (size_t i = 0; i < 4; i++) {
		put(fds[1], two + i, 1);
		assert_int_equal(frame_read(&f, fds[0], 100), 0);
	}
	put(fds[1], two + 4, sizeof(two) - 1 - 4);
	assert_int_equal(frame_read(&f, fds[0], 100), FRAME_WHOLE);
	assert_int_equal(f.size, 3);
	assert_memory_equal(f.data, "abc", 3);
	frame_done(&f);
	assert_int_equal(frame_read(&f, fds[0], 100), FRAME_WHOLE); /* what follows is its own */
	assert_int_equal(f.size, 2);
	assert_memory_equal(f.data, "de", 2);
	frame_done(&f);
	assert_int_equal(frame_read(&f, fds[0], 100), 0);
	(void)close(fds[1]);
	assert_int_equal(frame_read(&f, fds[0], 100), -EPIPE);
	(void)close(fds[0]);
	frame_done(&f);
}

static void a_message_over_its_limit_is_not_waited_for(void **state)
{
	struct frame f = {0};
	int fds[2];

	(void)state;
	open_pipe(fds);
	put(fds[1], "\0\5", 2);
	assert_int_equal(frame_read(&f, fds[0], 4), -EMSGSIZE);
	frame_done(&f);
	put(fds[1], "\0\4abc", 5);
	assert_int_equal(frame_read(&f, fds[0], 4), 0);
	(void)close(fds[1]);
	assert_int_equal(frame_read(&f, fds[0], 4), -EPIPE);
	frame_done(&f);
	(void)close(fds[0]);
}

static void none_at_all_is_one_too(void **state)
{
	uint8_t head[FRAME_HEAD];
	struct frame f = {0};
	int fds[2];

	(void)state;
	open_pipe(fds);
	frame_head(head, 0);
	put(fds[1], head, sizeof(head));
	assert_int_equal(frame_read(&f, fds[0], 4), FRAME_WHOLE);
	assert_int_equal(f.size, 0);
	frame_done(&f);
	frame_head(head, 65535);
	assert_memory_equal(head, "\xff\xff", 2);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_is_whole_when_its_last_byte_has_come),
		cmocka_unit_test(a_message_over_its_limit_is_not_waited_for),
		cmocka_unit_test(none_at_all_is_one_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
