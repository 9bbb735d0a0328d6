/* tests/unit/base/rate.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/rate.h"

#define NOW 1000000 /* milliseconds */

/* So many of 'asked' that ask at once. */
static int taken(struct rate *r, int64_t per_s, int64_t burst, int64_t now_ms, int asked)
{
	int count = 0;

	for (int i = 0; i < asked; i++)
		count += rate_take(r, per_s, burst, now_ms);
	return count;
}

static void a_burst_is_there_at_first_and_no_more(void **state)
{
	struct rate r = {0};

	(void)state;
	assert_int_equal(taken(&r, 10, 5, NOW, 100), 5);
}

static void what_was_taken_comes_back_with_time(void **state)
{
	/* after the burst, by 10 a second: milliseconds later, and how many may then */
	static const struct {
		int64_t after_ms;
		int may;
	} rows[] = {{0, 0},   {99, 0},  {100, 1}, {250, 2},
		    {499, 4}, {500, 5}, {501, 5}, {3600000, 5}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rate r = {0};

		(void)taken(&r, 10, 5, NOW, 5);
		assert_int_equal(taken(&r, 10, 5, NOW + rows[i].after_ms, 100), rows[i].may);
	}
}

/* Who is refused all the time gets no less than who asks now and then. */
static void to_be_refused_costs_nothing(void **state)
{
	struct rate r = {0};
	int count = 0;

	(void)state;
	(void)taken(&r, 3, 1, NOW, 1);
	for (int ms = 1; ms <= 10000; ms++)
		count += taken(&r, 3, 1, NOW + ms, 2);
	assert_int_equal(count, 29); /* the 30th would be at 10,000 ms and the rest of a third */
}

static void each_has_a_rate_of_its_own(void **state)
{
	struct rate one = {0}, other = {0};

	(void)state;
	assert_int_equal(taken(&one, 1, 2, NOW, 3), 2);
	assert_int_equal(taken(&other, 1, 2, NOW, 3), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_is_there_at_first_and_no_more),
		cmocka_unit_test(what_was_taken_comes_back_with_time),
		cmocka_unit_test(to_be_refused_costs_nothing),
		cmocka_unit_test(each_has_a_rate_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
