/* tests/unit/net/block.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "net/block.h"

static void a_block_reads_and_prints_the_same(void **state)
{
	static const char *const cases[] = {"172.28.0.0/16", "10.0.0.0/12", "192.168.1.16/28"};
	char text[BLOCK_TEXT_MAX];
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct block b;

		assert_ok(block_parse(cases[i], &b, &e));
		block_format(&b, text);
		assert_string_equal(text, cases[i]);
		assert_int_equal(block_gateway(&b), b.base + 1);
	}
}

static void what_is_no_block_is_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"", "is not a block"},
		{"172.28.0.0", "is not a block"},
		{"172.28.0.0/", "is not a block"},
		{"172.28.0.0/16 ", "is not a block"},
		{"172.28.0/16", "is not a block"},
		{"1111.1111.1111.1111/16", "is not a block"},
		{"172.28.0.0/33", "is not a block"},
		{"172.28.0.0/-1", "is not a block"},
		{"fd00::/64", "is not a block"},
		{"10.0.0.0/8", "not between /12 and /28"},
		{"10.0.0.0/29", "not between /12 and /28"},
		{"172.28.0.1/16", "bits behind its prefix"},
	};
	struct err e = {0};
	struct block b;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		assert_fails(block_parse(cases[i].text, &b, &e), EINVAL);
		assert_says(cases[i].says);
	}
}

static void blocks_overlap_when_one_holds_the_other(void **state)
{
	static const struct {
		struct block a, b;
		bool overlap;
	} cases[] = {
		{{0xac1c0000, 16}, {0xac1c0000, 16}, true},
		{{0xac1c0000, 16}, {0xac1c4000, 20}, true},
		{{0xac1c0000, 16}, {0xac1c0001, 32}, true},
		{{0xac1c0000, 16}, {0xac1d0000, 16}, false},
		{{0xac1c0000, 16}, {0xac000000, 8}, true},
		{{0xac1c0000, 16}, {0, 0}, true},
		{{0xac1c0000, 20}, {0xac1c1000, 20}, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		assert_int_equal(block_overlaps(&cases[i].a, &cases[i].b), cases[i].overlap);
		assert_int_equal(block_overlaps(&cases[i].b, &cases[i].a), cases[i].overlap);
	}
}

static void the_whole_host_gets_the_first_large_block(void **state)
{
	struct block b;
	size_t n = 0;

	(void)state;
	assert_true(block_candidate(0, 0, &b));
	assert_int_equal(b.base, 0xac1c0000);
	assert_int_equal(b.prefix, 16);
	while (block_candidate(0, n, &b))
		n++;
	assert_int_equal(n, 7);
}

static void others_get_small_ones_that_are_all_different(void **state)
{
	struct block b[96], first = {.base = 0xac1c0000, .prefix = 16};
	size_t n = 0;

	(void)state;
	while (block_candidate(0x1a2b3c, n, &b[n])) {
		assert_int_equal(b[n].prefix, 20);
		assert_false(block_overlaps(&b[n], &first));
		for (size_t i = 0; i < n; i++)
			assert_false(block_overlaps(&b[n], &b[i]));
		assert_true(++n < ARRAY_COUNT(b) + 1);
		if (n == ARRAY_COUNT(b))
			break;
	}
	assert_int_equal(n, 96);
	assert_false(block_candidate(0x1a2b3c, 96, &b[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_reads_and_prints_the_same),
		cmocka_unit_test(what_is_no_block_is_refused),
		cmocka_unit_test(blocks_overlap_when_one_holds_the_other),
		cmocka_unit_test(the_whole_host_gets_the_first_large_block),
		cmocka_unit_test(others_get_small_ones_that_are_all_different),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
