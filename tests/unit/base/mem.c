/* tests/unit/base/mem.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"

static void an_arena_gives_zeroed_aligned_memory_of_any_size(void **state)
{
	static const size_t sizes[] = {1, 7, 16, 100, 4095, 4096, 100000, 3};
	auto_arena struct arena a = {0};
	char *last = NULL;

	(void)state;
	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
			char *p = arena_alloc(&a, sizes[i]);

			assert_non_null(p);
			assert_ptr_not_equal(p, last);
			assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
			for (size_t k = 0; k < sizes[i]; k++)
				assert_int_equal(p[k], 0);
			memset(p, 0xff, sizes[i]); /* whoever shares it would see that */
			last = p;
		}
	}
}

static void an_arena_copies_strings_and_can_be_used_again(void **state)
{
	struct arena a = {0};
	char text[] = "text";
	char *copy = arena_strdup(&a, text);

	(void)state;
	text[0] = 'T';
	assert_string_equal(copy, "text");
	assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
	assert_string_equal(arena_printf(&a, "%s-%d", "x", 7), "x-7");
	arena_done(&a);
	assert_null(a.head);
	assert_string_equal(arena_strdup(&a, "again"), "again");
	arena_done(&a);
	arena_done(&a);
}

static void an_array_grows_and_keeps_what_it_has(void **state)
{
	size_t count = 0, capacity = 0;
	int *numbers = NULL;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		numbers = xgrow(numbers, count, &capacity, sizeof(*numbers));
		assert_true(capacity > count);
		numbers[count++] = i;
	}
	for (int i = 0; i < 1000; i++)
		assert_int_equal(numbers[i], i);
	free(numbers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_arena_gives_zeroed_aligned_memory_of_any_size),
		cmocka_unit_test(an_arena_copies_strings_and_can_be_used_again),
		cmocka_unit_test(an_array_grows_and_keeps_what_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
