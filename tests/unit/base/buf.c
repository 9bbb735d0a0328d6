/* tests/unit/base/buf.c - buffers, arenas and frames: bytes in memory
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/frame.h"
#include "base/mem.h"

static void what_does_not_fit_is_remembered_and_not_stored(void **state)
{
	auto_buf struct buf b = BUF_INIT(5);

	(void)state;
	buf_puts(&b, "123");
	buf_puts(&b, "456");
	assert_true(buf_overflow(&b));
	assert_string_equal(buf_str(&b), "123");
	buf_reset(&b);
	assert_false(buf_overflow(&b));
	buf_printf(&b, "%d", 12345);
	assert_string_equal(buf_str(&b), "12345");
	assert_null(buf_reserve(&b, 1));
}

static void bytes_are_taken_from_the_front(void **state)
{
	auto_buf struct buf b = BUF_INIT(100);

	(void)state;
	assert_string_equal(buf_str(&b), "");
	buf_consume(&b, 0);
	buf_add(&b, "a\0b", 3);
	buf_putc(&b, 'c');
	buf_consume(&b, 2);
	assert_int_equal(b.size, 2);
	assert_string_equal(buf_str(&b), "bc");
}

static void an_arena_gives_zeroed_memory_of_any_size(void **state)
{
	auto_arena struct arena a = {0};

	(void)state;
	for (size_t size = 1; size < 100000; size = size * 3 + 1) {
		char *p = arena_alloc(&a, size);

		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, size);
		assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
	}
	assert_string_equal(arena_printf(&a, "%s-%d", "x", 7), "x-7");
	assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
}

static void frames_are_read_whole_or_not_at_all(void **state)
{
	auto_buf struct buf out = BUF_INIT(1000), in = BUF_INIT(1000);
	const char *data;
	size_t size;

	(void)state;
	frame_put(&out, "hello", 5);
	frame_put(&out, "", 0);
	for (size_t i = 0; i < 8; i++) {
		buf_add(&in, out.data + i, 1);
		assert_int_equal(frame_peek(&in, 100, &data, &size), FRAME_PARTIAL);
	}
	buf_add(&in, out.data + 8, out.size - 8);
	assert_int_equal(frame_peek(&in, 100, &data, &size), FRAME_READY);
	assert_int_equal(size, 5);
	assert_memory_equal(data, "hello", 5);
	frame_drop(&in);
	assert_int_equal(frame_peek(&in, 100, &data, &size), FRAME_READY);
	assert_int_equal(size, 0);
	frame_drop(&in);
	assert_int_equal(in.size, 0);
	buf_add(&in, "\x7f\xff\xff\xff", 4);
	assert_int_equal(frame_peek(&in, 100, &data, &size), FRAME_TOO_BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_does_not_fit_is_remembered_and_not_stored),
		cmocka_unit_test(bytes_are_taken_from_the_front),
		cmocka_unit_test(an_arena_gives_zeroed_memory_of_any_size),
		cmocka_unit_test(frames_are_read_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
