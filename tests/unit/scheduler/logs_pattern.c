/* tests/unit/scheduler/logs_pattern.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "scheduler/logs_internal.h"

static void terms_are_required_excluded_or_optional(void **state)
{
	static const struct {
		const char *pattern, *message;
		bool matches;
	} rows[] = {
		{"", "anything", true},
		{"error", "an error", true},
		{"error", "an Error", false},
		{"an error", "error, an", true},
		{"\"an error\"", "error, an", false},
		{"\"an error\"", "an error", true},
		{"error -debug", "error debug", false},
		{"error -debug", "error", true},
		{"-\"a b\"", "a b", false},
		{"?warn ?fatal", "fatal", true},
		{"?warn ?fatal", "info", false},
		{"task ?warn ?fatal", "task warn", true},
		{"task ?warn ?fatal", "task", false},
		{"  spaced   out  ", "out spaced", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ecs_fault f;
		struct logs_pattern *p = logs_pattern_parse(rows[i].pattern, &f);

		assert_non_null(p);
		if (logs_pattern_matches(p, rows[i].message) != rows[i].matches)
			fail_msg("'%s' and '%s'", rows[i].pattern, rows[i].message);
		logs_pattern_free(p);
	}
}

static void what_is_no_pattern_of_terms_is_refused(void **state)
{
	static const char *const rows[] = {"{ $.x = 1 }", "[a, b]", "%re%", "\"open", "a \"open"};
	static char many[200], *end = many;

	(void)state;
	for (int i = 0; i < 65; i++, end += 2)
		memcpy(end, "a ", 2);
	for (size_t i = 0; i <= sizeof(rows) / sizeof(rows[0]); i++) {
		struct ecs_fault f;

		assert_null(logs_pattern_parse(i < sizeof(rows) / sizeof(rows[0]) ? rows[i] : many,
					       &f));
		assert_int_equal(f.type, ECS_FAULT_INVALID_PARAMETER);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(terms_are_required_excluded_or_optional),
		cmocka_unit_test(what_is_no_pattern_of_terms_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
