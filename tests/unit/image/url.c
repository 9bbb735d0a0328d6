/* tests/unit/image/url.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "image/url.h"

static void an_origin_is_scheme_host_and_port(void **state)
{
	(void)state;
	assert_int_equal(url_origin_len("https://a.b:5000/v2/"), 16);
	assert_int_equal(url_origin_len("http://a?x"), 8);
	assert_int_equal(url_origin_len("http:///x"), 0);
	assert_int_equal(url_origin_len("ftp://a/"), 0);
	assert_int_equal(url_origin_len("/v2/"), 0);
	assert_true(url_same_origin("https://a/x", "HTTPS://A/y"));
	assert_false(url_same_origin("https://a/x", "http://a/x"));
	assert_false(url_same_origin("https://a/x", "https://a:443/x"));
	assert_false(url_same_origin("https://a/x", "https://a.evil/x"));
	assert_false(url_same_origin("x", "x"));
}

static void redirects_are_resolved(void **state)
{
	static const struct {
		const char *from, *location, *to;
	} cases[] = {
		{"https://a:1/v2/x", "/y?z=1", "https://a:1/y?z=1"},
		{"https://a:1/v2/x", "https://b/y", "https://b/y"},
		{"http://a:1/v2/x", "https://b/y", "https://b/y"},
		{"http://a:1/v2/x", "http://b/y", "http://b/y"},
		{"https://a:1/v2/x", "//b/y", "https://b/y"},
		{"https://a/x", "https://b/y@z", "https://b/y@z"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		auto_free char *to = NULL;
		struct err e = {0};

		assert_ok(url_redirect(cases[i].from, cases[i].location, &to, &e));
		assert_string_equal(to, cases[i].to);
	}
}

static void bad_redirects_are_refused(void **state)
{
	static const struct {
		const char *from, *location, *says;
	} cases[] = {
		{"https://a/x", "http://a/x", "from https to http"},
		{"https://a/x", "ftp://a/x", "not an http"},
		{"https://a/x", "file:///etc/passwd", "not an http"},
		{"https://a/x", "x/y", "not an http"},
		{"https://a/x", "", "not an http"},
		{"https://a/x", "https://user:secret@b/x", "a user"},
		{"https://a/x", "https://b/\r\nX: y", "not a URL"},
		{"https://a/x", "https://b/x y", "not a URL"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		char *to = NULL;
		struct err e = {0};

		assert_fails(url_redirect(cases[i].from, cases[i].location, &to, &e), EPROTO);
		assert_says(cases[i].says);
	}
}

static void loopback_is_told_by_its_name(void **state)
{
	static const char *const yes[] = {"localhost",   "localhost:5000", "LocalHost", "127.0.0.1",
					  "127.9.8.7:1", "[::1]",          "[::1]:5000"};
	static const char *const no[] = {"localhost.evil.com", "127.0.0.1.evil.com",
					 "128.0.0.1",          "[::2]:5000",
					 "10.0.0.1",           "::1",
					 "docker.io",          ""};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(yes); i++)
		assert_true(host_is_loopback(yes[i]));
	for (size_t i = 0; i < ARRAY_COUNT(no); i++)
		assert_false(host_is_loopback(no[i]));
	assert_true(url_is_loopback("http://localhost/x"));
	assert_true(url_is_loopback("https://[::1]:5000/x"));
	assert_false(url_is_loopback("https://localhost.example/x"));
	assert_false(url_is_loopback("https://example/localhost"));
}

static void what_is_special_is_escaped(void **state)
{
	auto_free char *text = url_escape("repository:a/b-c_d.e~f:pull&x=y %\xc3\xa9");

	(void)state;
	assert_string_equal(text, "repository%3Aa%2Fb-c_d.e~f%3Apull%26x%3Dy%20%25%C3%A9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_origin_is_scheme_host_and_port),
		cmocka_unit_test(redirects_are_resolved),
		cmocka_unit_test(bad_redirects_are_refused),
		cmocka_unit_test(loopback_is_told_by_its_name),
		cmocka_unit_test(what_is_special_is_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
