/* tests/unit/scheduler/pattern.c - texts with holes
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/pattern.h"

#define MARK "0123456789abcdef01234567"

static void words_go_where_their_holes_are(void **state)
{
	static const char *const words[] = {"one", "", "three"};
	static const struct {
		const char *text, *filled;
	} rows[] = {
		{"", ""},
		{"plain", "plain"},
		{MARK "00", "one"},
		{"a" MARK "02" MARK "00b", "athreeoneb"},
		{"a" MARK "01b" MARK "02", "abthree"},
		{"0123456789abcdef0123456", "0123456789abcdef0123456"},
		{"[\"" MARK "82\",\"" MARK "02\"]", "[three,\"three\"]"}, /* the first is bare */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_buf struct buf out = BUF_INIT(100);
		struct pattern p = {.text = NULL};

		for (int again = 0; again < 2; again++) {
			pattern_make(&p, rows[i].text, strlen(rows[i].text), MARK);
			buf_reset(&out);
			buf_puts(&out, "> ");
			pattern_fill(&p, words, &out);
			assert_string_equal(buf_str(&out) + 2, rows[i].filled);
		}
		pattern_done(&p);
	}
}

static void a_hole_is_written_as_it_is_found(void **state)
{
	static const char *const words[128] = {[100] = "here"};
	auto_buf struct buf out = BUF_INIT(100);
	struct pattern p = {.text = NULL};
	char hole[PATTERN_HOLE + 1];

	(void)state;
	pattern_hole(MARK, 100, hole);
	pattern_make(&p, hole, strlen(hole), MARK);
	pattern_fill(&p, words, &out);
	assert_string_equal(buf_str(&out), "here");
	pattern_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_go_where_their_holes_are),
		cmocka_unit_test(a_hole_is_written_as_it_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
