/* tests/unit/image/platform.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <sys/utsname.h>

#include "base/auto.h"
#include "image/manifest.h"

static void a_name_is_written_as_it_was_read(void **state)
{
	static const char *const cases[] = {"linux/amd64", "linux/arm64/v8", "windows/amd64"};
	char name[PLATFORM_SIZE];
	struct platform p;
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		assert_ok(platform_parse(cases[i], &p, &e));
		platform_format(&p, name);
		assert_string_equal(name, cases[i]);
	}
}

static void what_is_no_platform_is_refused(void **state)
{
	static const char *const cases[] = {
		"",        "linux",        "linux/",
		"/amd64",  "linux/amd64/", "linux/AMD64",
		"a/b/c/d", "linux/amd64 ", "linux/amd64/v1234567890123456",
	};
	struct platform p;
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		assert_fails(platform_parse(cases[i], &p, &e), EINVAL);
}

static void this_machine_has_a_name(void **state)
{
	struct platform p;
	struct utsname u;
	struct err e = {0};

	(void)state;
	assert_ok(platform_parse(NULL, &p, &e));
	assert_string_equal(p.os, "linux");
	assert_int_equal(uname(&u), 0);
	if (strcmp(u.machine, "x86_64") == 0)
		assert_string_equal(p.architecture, "amd64");
}

static void the_newest_variant_that_runs_wins(void **state)
{
	/* Better first; none: it does not run. */
	static const struct {
		const char *machine;
		const char *runs[4], *not ;
	} cases[] = {
		{"linux/amd64", {"linux/amd64", NULL}, "linux/amd64/v3"},
		{"linux/amd64", {"linux/amd64/v1", NULL}, "linux/arm64"},
		{"linux/arm64/v8", {"linux/arm64", NULL}, "linux/arm64/v9"},
		{"linux/arm64/v9", {"linux/arm64/v9", "linux/arm64/v8", NULL}, "linux/arm/v7"},
		{"linux/arm/v7",
		 {"linux/arm/v7", "linux/arm/v6", "linux/arm/v5", NULL},
		 "linux/arm/v8"},
		{"linux/arm/v6", {"linux/arm/v6", "linux/arm/v5", NULL}, "linux/arm"},
		{"linux/amd64", {"linux/amd64", NULL}, "windows/amd64"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct platform machine, made;
		unsigned last = 1000;
		struct err e = {0};

		assert_ok(platform_parse(cases[i].machine, &machine, &e));
		for (size_t j = 0; cases[i].runs[j]; j++) {
			unsigned rank;

			assert_ok(platform_parse(cases[i].runs[j], &made, &e));
			rank = platform_match(&machine, &made);
			assert_in_range(rank, 1, last - 1);
			last = rank;
		}
		assert_ok(platform_parse(cases[i].not, &made, &e));
		assert_int_equal(platform_match(&machine, &made), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_written_as_it_was_read),
		cmocka_unit_test(what_is_no_platform_is_refused),
		cmocka_unit_test(this_machine_has_a_name),
		cmocka_unit_test(the_newest_variant_that_runs_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
