/* tests/unit/base/pattern.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "base/text.h"

/* As java.util.regex has it, whose matches() is of the whole text. */
static void patterns_match_as_in_java(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool matches;
	} rows[] = {
		{"m5", "m5.large", false},
		{"m5.*", "m5.large", true},
		{"m5\\.large", "m5xlarge", false},
		{"m\\d\\.\\w+", "m5.large", true},
		{"[mtc]\\d+[a-z]?\\.(nano|micro)", "t4g.nano", true},
		{"(?:t2|t3)\\.micro", "t3.micro", true},
		{"t[23]\\..{4,5}", "t2.xlarge", false},
		{"[^\\d]+", "ab1", false},
		{"\\D\\S\\W", "ab-", true},
		{"^a$", "a", true},
		{"^a$", "a\n", false},
		{"a|b*", "ab", false},
		{"(a|b)*?c", "abac", true},
		{"(a*)*", "", true},
		{"a{0}b{2}c{1,}", "bbccc", true},
		{"(?i)M5", "m5", true},
		{"(a|b)\\1", "bb", true},
		{"(?=.*1)\\w+", "ab1", true},
		{"a*+a", "aa", false},
		{"caf.", "caf\xc3\xa9", true}, /* a character is not a byte */
		{"caf.", "caf\xc3", false},
		{"\\d", "\xd9\xa1", false}, /* a digit of ASCII */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct pattern *p = NULL;
		struct err e = {0};

		assert_ok(pattern_parse(rows[i].pattern, &p, &e));
		if (pattern_matches(p, rows[i].text) != rows[i].matches)
			fail_msg("%s of '%s' is %d", rows[i].pattern, rows[i].text,
				 !rows[i].matches);
		assert_false(pattern_gave_up(p));
		pattern_free(p);
	}
}

static char *repeated(const char *before, const char *middle, const char *behind, int times)
{
	struct buf b = BUF_INIT(4096);
	char *text;

	for (int i = 0; i < times; i++)
		buf_puts(&b, before);
	buf_puts(&b, middle);
	for (int i = 0; i < times; i++)
		buf_puts(&b, behind);
	text = xstrdup(buf_str(&b));
	buf_done(&b);
	return text;
}

static void what_is_no_pattern_is_told_with_its_place(void **state)
{
	auto_free char *deep = repeated("(", "a", ")", 100);
	auto_free char *wide = repeated("a", "", "", 1001);
	const struct {
		const char *pattern, *says;
	} rows[] = {
		{"(a", "missing closing parenthesis, at character 3"},
		{"[a", "missing terminating ]"},
		{"*a", "quantifier does not follow a repeatable item, at character"},
		{"[b-a]", "range out of order"},
		{"\\C", "\\C"},
		{"(((a{99}){99}){99}){99}", "too large"},
		{"(?:\xff)", "UTF-8"},
		{deep, "too deeply nested"},
		{wide, "longer than 1000 bytes"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct pattern *p = NULL;
		struct err e = {0};

		assert_int_equal(pattern_parse(rows[i].pattern, &p, &e), -EINVAL);
		assert_non_null(strstr(e.msg, rows[i].says));
	}
}

/* Each is what makes a matcher that tries one way after the other take for ever. */
static void no_pattern_takes_long(void **state)
{
	static const struct {
		const char *before, *middle, *behind;
		int times;
		bool gives_up;
	} rows[] = {
		{"(", "a", ")*", 30, true},
		{"(a?)", "b", "a", 60, true},
		{"(a|aa)+", "$", "", 60, true},
		{".*", "b", "", 100, false}, /* there is no b, which is seen at once */
		{"(?R)", "", "", 1, true},
	};
	char value[129] = "";

	(void)state;
	memset(value, 'a', sizeof(value) - 2);
	value[sizeof(value) - 2] = '-';
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_free char *text = repeated(rows[i].before, rows[i].middle, rows[i].behind,
						rows[i].times);
		struct pattern *p = NULL;
		struct err e = {0};

		assert_ok(pattern_parse(text, &p, &e));
		assert_false(pattern_matches(p, value));
		assert_int_equal(pattern_gave_up(p), rows[i].gives_up);
		if (rows[i].gives_up)
			assert_false(pattern_matches(p, "a"));
		pattern_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns_match_as_in_java),
		cmocka_unit_test(what_is_no_pattern_is_told_with_its_place),
		cmocka_unit_test(no_pattern_takes_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
