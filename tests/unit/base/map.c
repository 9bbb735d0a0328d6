/* tests/unit/base/map.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/map.h"

#define N 5000

static int values[N];

static const char *name(int i)
{
	static char text[16];

	(void)snprintf(text, sizeof(text), "name-%d", i);
	return text;
}

static void what_was_put_is_found_until_it_is_removed(void **state)
{
	struct map m = {0};

	(void)state;
	for (int i = 0; i < N; i++)
		assert_null(map_put(&m, name(i), &values[i]));
	for (int i = 0; i < N; i += 2)
		assert_ptr_equal(map_remove(&m, name(i)), &values[i]);
	for (int i = 0; i < N; i++)
		assert_ptr_equal(map_find(&m, name(i)), i % 2 ? &values[i] : NULL);
	assert_int_equal(m.count, N / 2);
	assert_null(map_remove(&m, "absent"));
	assert_ptr_equal(map_put(&m, name(1), &values[7]), &values[1]);
	assert_ptr_equal(map_find(&m, name(1)), &values[7]);
	map_done(&m);
	assert_null(map_find(&m, name(1)));
}

static void iteration_follows_the_order_of_insertion(void **state)
{
	struct map m = {0};
	int *value, expected = 1;

	(void)state;
	for (int i = 0; i < N; i++)
		(void)map_put(&m, name(i), &values[i]);
	for (int i = 0; i < N; i += 2)
		(void)map_remove(&m, name(i));
	for (size_t i = 0; map_next(&m, &i, &value); expected += 2)
		assert_ptr_equal(value, &values[expected]);
	assert_int_equal(expected, N + 1);
	map_done(&m);
}

static void churn_does_not_grow_it(void **state)
{
	struct map m = {0};

	(void)state;
	for (int i = 0; i < 100 * N; i++) {
		(void)map_put(&m, name(i % N), &values[0]);
		(void)map_remove(&m, name(i % N));
	}
	assert_int_equal(m.count, 0);
	assert_true(m.capacity < 64);
	map_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_found_until_it_is_removed),
		cmocka_unit_test(iteration_follows_the_order_of_insertion),
		cmocka_unit_test(churn_does_not_grow_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
