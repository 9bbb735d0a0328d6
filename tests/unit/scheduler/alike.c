/* tests/unit/scheduler/alike.c - texts that differ in a few places
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"
#include "scheduler/alike.h"

#define LIMIT 100000

static void assert_has(const struct buf *all, size_t n, const char *text)
{
	struct err e = {0};
	auto_free char *found = alike_get(all->data, all->size, n, &e);

	if (!found)
		fail_msg("%s", e.msg);
	assert_string_equal(found, text);
}

static void each_text_comes_back(void **state)
{
	static const char *const rows[][4] = {
		{"one"},
		{"the same", "the same", "the same"},
		{"first of a task", "First of a task", "first of a tasK", "first of b task"},
		{"id=aaaaaaaa, again id=aaaaaaaa, and on", "id=bcdebcde, again id=bcdebcde, and on",
		 "id=baaaaaac, again id=baaaaaac, and on"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_buf struct buf all = BUF_INIT(LIMIT);
		size_t count = 0;

		for (; count < ARRAY_COUNT(rows[i]) && rows[i][count]; count++)
			assert_true(alike_add(&all, rows[i][count]));
		for (size_t n = 0; n < count; n++)
			assert_has(&all, n, rows[i][n]);
	}
}

/* Texts of all lengths up to one of many numbers, with places everywhere. */
static void places_may_be_anywhere(void **state)
{
	char text[700], other[sizeof(text)];
	uint32_t random = 1;

	(void)state;
	for (size_t size = 1; size < sizeof(text); size += 1 + size / 40) {
		auto_buf struct buf all = BUF_INIT(LIMIT);
		size_t count = 1;
		char *kept[20] = {NULL};

		memset(text, 'x', size);
		text[size] = '\0';
		assert_true(alike_add(&all, text));
		for (; count < ARRAY_COUNT(kept); count++) {
			memcpy(other, text, size + 1);
			for (size_t i = 0; i < count; i++) {
				random = random * 1664525 + 1013904223;
				other[(random >> 8) % size] = (char)('a' + (random >> 28));
			}
			if (!alike_add(&all, other))
				break;
			kept[count] = xstrdup(other);
		}
		assert_has(&all, 0, text);
		for (size_t n = 1; n < count; n++) {
			assert_has(&all, n, kept[n]);
			free(kept[n]);
		}
	}
}

static void others_are_refused_and_change_nothing(void **state)
{
	static const char *const others[] = {"short", "another length", "abcdefghijklm",
					     "x0x1x2x3x4x5x"};
	auto_buf struct buf all = BUF_INIT(LIMIT);

	(void)state;
	assert_true(alike_add(&all, "0123456789abc"));
	for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
		assert_false(alike_add(&all, others[i]));
		assert_int_equal(all.size, 13);
	}
}

static void the_same_bytes_are_kept_once(void **state)
{
	auto_buf struct buf once = BUF_INIT(LIMIT), twice = BUF_INIT(LIMIT);

	(void)state;
	assert_true(alike_add(&once, "id=aaaaaaaa, and ........ and on, until here is the end"));
	assert_true(alike_add(&twice, "id=aaaaaaaa, and aaaaaaaa and on, until here is the end"));
	assert_true(alike_add(&once, "id=bcdebcde, and ........ and on, until here is the end"));
	assert_true(alike_add(&twice, "id=bcdebcde, and bcdebcde and on, until here is the end"));
	assert_int_equal(twice.size, once.size + 3);
}

static void what_is_broken_is_not_read(void **state)
{
	auto_buf struct buf all = BUF_INIT(LIMIT);
	struct err e = {0};

	(void)state;
	assert_true(alike_add(&all, "id=aaaaaaaa, again id=aaaaaaaa, and on"));
	assert_true(alike_add(&all, "id=bcdebcde, again id=bcdebcde, and on"));
	assert_null(alike_get(all.data, all.size, 2, &e));
	assert_says("text 2");
	for (size_t size = 0; size < all.size; size++) /* cut off */
		assert_null(alike_get(all.data, size, 1, &e));
	for (size_t i = 38; i < all.size; i++) { /* no byte makes it read what is not there */
		for (int byte = 0; byte < 256; byte++) {
			auto_free char *copy = xcalloc(1, all.size), *text = NULL;

			memcpy(copy, all.data, all.size);
			copy[i] = (char)byte;
			text = alike_get(copy, all.size, 1, &e);
			if (text)
				assert_true(strnlen(text, 39) <= 38);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_text_comes_back),
		cmocka_unit_test(places_may_be_anywhere),
		cmocka_unit_test(others_are_refused_and_change_nothing),
		cmocka_unit_test(the_same_bytes_are_kept_once),
		cmocka_unit_test(what_is_broken_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
