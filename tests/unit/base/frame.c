/* tests/unit/base/frame.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/frame.h"

static void frames_come_out_as_they_went_in_whatever_the_pieces(void **state)
{
	static const struct {
		const char *data;
		size_t size;
	} rows[] = {{"one", 3}, {"", 0}, {"with\0nul", 8}, {"last", 4}};
	auto_buf struct buf wire = BUF_INIT(1024);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		frame_put(&wire, rows[i].data, rows[i].size);
	for (size_t piece = 1; piece <= wire.size; piece++) {
		auto_buf struct buf in = BUF_INIT(1024);
		size_t row = 0, size;
		const char *data;

		for (size_t at = 0; at < wire.size; at += piece) {
			buf_add(&in, wire.data + at,
				at + piece > wire.size ? wire.size - at : piece);
			while (frame_peek(&in, 64, &data, &size) == FRAME_READY) {
				assert_int_equal(size, rows[row].size);
				assert_memory_equal(data, rows[row].data, size);
				frame_drop(&in);
				row++;
			}
		}
		assert_int_equal(row, sizeof(rows) / sizeof(rows[0]));
		assert_int_equal(in.size, 0);
	}
}

static void a_length_over_the_limit_is_known_before_its_bytes_come(void **state)
{
	static const struct {
		const char *head;
		enum frame_result expected;
	} rows[] = {
		{"\0\0\0\x40", FRAME_PARTIAL},
		{"\0\0\0\x41", FRAME_TOO_BIG},
		{"\xff\xff\xff\xff", FRAME_TOO_BIG},
		{"\x80\0\0\0", FRAME_TOO_BIG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_buf struct buf in = BUF_INIT(64);
		const char *data;
		size_t size;

		buf_add(&in, rows[i].head, 3);
		assert_int_equal(frame_peek(&in, 64, &data, &size), FRAME_PARTIAL);
		buf_add(&in, rows[i].head + 3, 1);
		assert_int_equal(frame_peek(&in, 64, &data, &size), rows[i].expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_come_out_as_they_went_in_whatever_the_pieces),
		cmocka_unit_test(a_length_over_the_limit_is_known_before_its_bytes_come),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
