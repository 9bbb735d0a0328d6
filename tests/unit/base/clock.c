/* tests/unit/base/clock.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <time.h>

#include "base/auto.h"
#include "base/clock.h"

/* Values from `date -u -d @SECONDS`. */
static void times_are_written_as_rfc_3339_has_them(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} rows[] = {
		{0, "1970-01-01T00:00:00.000Z"},
		{1, "1970-01-01T00:00:00.001Z"},
		{68169599000, "1972-02-28T23:59:59.000Z"},
		{951782400999, "2000-02-29T00:00:00.999Z"},
		{1767323045678, "2026-01-02T03:04:05.678Z"},
		{1709251199000, "2024-02-29T23:59:59.000Z"},
		{4102444799999, "2099-12-31T23:59:59.999Z"},
		{4107542400000, "2100-03-01T00:00:00.000Z"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char text[32];

		clock_format_rfc3339(rows[i].ms, text);
		assert_string_equal(text, rows[i].text);
	}
}

static void the_clocks_agree_with_the_kernel_and_never_go_back(void **state)
{
	int64_t before = clock_mono_ns(), wall = (int64_t)time(NULL);

	(void)state;
	assert_true(clock_wall_ms() / 1000 >= wall - 1);
	assert_true(clock_wall_ns() / NS_PER_MS >= clock_wall_ms() - 1000);
	assert_true(clock_mono_ns() >= before);
	assert_true(clock_mono_ms() >= before / NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_written_as_rfc_3339_has_them),
		cmocka_unit_test(the_clocks_agree_with_the_kernel_and_never_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
