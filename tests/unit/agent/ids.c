/* tests/unit/agent/ids.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "agent/internal.h"

#define LAST 1879048191u /* of systemd's range for containers */

static void ranges_are_apart_and_within_that_of_containers(void **state)
{
	struct id_ranges r = {0};

	(void)state;
	for (uint32_t i = 0; i < IDS_RANGES; i++)
		assert_int_equal(ids_take(&r), 524288 + i * 65536);
	assert_int_equal(IDS_FIRST + IDS_RANGES * IDS_COUNT - 1, LAST);
	assert_int_equal(ids_take(&r), 0);
}

static void a_range_that_is_given_back_is_used_again_as_late_as_possible(void **state)
{
	struct id_ranges r = {0};
	uint32_t first = ids_take(&r);

	(void)state;
	ids_give(&r, first);
	for (uint32_t i = 1; i < IDS_RANGES; i++)
		assert_int_not_equal(ids_take(&r), first);
	assert_int_equal(ids_take(&r), first);
	assert_int_equal(ids_take(&r), 0);
	ids_give(&r, first);
	ids_give(&r, first); /* twice is once */
	assert_int_equal(ids_take(&r), first);
}

static void what_records_have_is_not_given_away(void **state)
{
	struct id_ranges r = {0};

	(void)state;
	ids_found(&r, IDS_FIRST + IDS_COUNT, true);
	ids_found(&r, IDS_FIRST + 5 * IDS_COUNT, true);
	ids_found(&r, IDS_FIRST + 4 * IDS_COUNT, false); /* the last record; its task is over */
	assert_int_equal(ids_take(&r), IDS_FIRST + 6 * IDS_COUNT);
	for (uint32_t i = 0; i < IDS_RANGES - 3; i++) {
		uint32_t first = ids_take(&r);

		assert_int_not_equal(first, 0);
		assert_int_not_equal(first, IDS_FIRST + IDS_COUNT);
		assert_int_not_equal(first, IDS_FIRST + 5 * IDS_COUNT);
	}
	assert_int_equal(ids_take(&r), 0);
}

static void what_is_no_range_is_passed_over(void **state)
{
	static const uint32_t numbers[] = {
		0, 1, 65536, IDS_FIRST - IDS_COUNT, IDS_FIRST + 1, LAST, LAST + 1, UINT32_MAX};
	struct id_ranges r = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		ids_found(&r, numbers[i], true);
		ids_give(&r, numbers[i]);
	}
	assert_int_equal(ids_take(&r), IDS_FIRST);
}

static void users_over_the_range_are_refused(void **state)
{
	const struct {
		struct image_user user;
		bool fits;
	} cases[] = {
		{{.uid = 0}, true},
		{{.uid = 65535, .gid = 65535, .groups = {65535}, .group_count = 1}, true},
		{{.uid = 65536}, false},
		{{.gid = 65536}, false},
		{{.groups = {1, 65536}, .group_count = 2}, false},
		{{.groups = {1, 65536}, .group_count = 1}, true},
	};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(ids_check_user(&cases[i].user, &e) == 0, cases[i].fits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_are_apart_and_within_that_of_containers),
		cmocka_unit_test(a_range_that_is_given_back_is_used_again_as_late_as_possible),
		cmocka_unit_test(what_records_have_is_not_given_away),
		cmocka_unit_test(what_is_no_range_is_passed_over),
		cmocka_unit_test(users_over_the_range_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
