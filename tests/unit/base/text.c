/* tests/unit/base/text.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/text.h"

static void numbers_are_read_whole_or_not_at_all(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		int64_t value;
	} rows[] = {
		{"0", true, 0},
		{"4294967295", true, 4294967295},
		{"-1", true, -1},
		{"9223372036854775807", true, INT64_MAX},
		{"-9223372036854775808", true, INT64_MIN},
		{"9223372036854775808", false, 0},
		{"18446744073709551616", false, 0},
		{"", false, 0},
		{"-", false, 0},
		{"+1", false, 0},
		{" 1", false, 0},
		{"1 ", false, 0},
		{"0x10", false, 0},
		{"--1", false, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t v = 77;

		assert_int_equal(parse_i64(rows[i].text, INT64_MIN, INT64_MAX, &v), rows[i].ok);
		assert_int_equal(v, rows[i].ok ? rows[i].value : 77);
	}
}

static void a_number_over_its_bound_is_refused(void **state)
{
	uint32_t v = 7;

	(void)state;
	assert_false(parse_u32("65536", 65535, &v));
	assert_int_equal(v, 7);
	assert_true(parse_u32("65535", 65535, &v));
	assert_int_equal(v, 65535);
}

static void hexadecimal_goes_there_and_back(void **state)
{
	unsigned char bytes[3];
	char text[7];

	(void)state;
	assert_true(hex_decode("00fFa5", bytes, 3));
	hex_encode(bytes, 3, text);
	assert_string_equal(text, "00ffa5");
	assert_false(hex_decode("00ff", bytes, 3));
	assert_false(hex_decode("00ffa5a", bytes, 3));
	assert_false(hex_decode("00fg00", bytes, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_read_whole_or_not_at_all),
		cmocka_unit_test(a_number_over_its_bound_is_refused),
		cmocka_unit_test(hexadecimal_goes_there_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
