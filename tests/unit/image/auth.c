/* tests/unit/image/auth.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "base/mem.h"
#include "image/auth.h"

static void challenges_are_read(void **state)
{
	static const struct {
		const char *header;
		struct challenge is;
	} cases[] = {
		{"", {CHALLENGE_NONE, "", "", ""}},
		{"Basic realm=\"Registry\"", {CHALLENGE_BASIC, "Registry", "", ""}},
		{"basic", {CHALLENGE_BASIC, "", "", ""}},
		{"Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
		 "scope=\"repository:library/busybox:pull\"",
		 {CHALLENGE_BEARER, "https://auth.docker.io/token", "registry.docker.io",
		  "repository:library/busybox:pull"}},
		{"BEARER  Realm = \"https://a/\" ,\tservice=b , error=\"invalid_token\"",
		 {CHALLENGE_BEARER, "https://a/", "b", ""}},
		{"Bearer realm=\"https://a/\\\"x\"", {CHALLENGE_BEARER, "https://a/\"x", "", ""}},
		/* The best of several, wherever it stands. */
		{"Basic realm=\"x\", Bearer realm=\"https://a/\",scope=\"s\"",
		 {CHALLENGE_BEARER, "https://a/", "", "s"}},
		{"Bearer realm=\"https://a/\",scope=\"s\", Basic realm=\"x\"",
		 {CHALLENGE_BEARER, "https://a/", "", "s"}},
		{"Digest realm=\"d\", nonce=\"n\", Basic realm=\"x\"",
		 {CHALLENGE_BASIC, "x", "", ""}},
		/* What is broken gives what stood before it. */
		{"Bearer", {CHALLENGE_NONE, "", "", ""}},
		{"Bearer service=\"no realm\"", {CHALLENGE_NONE, "", "", ""}},
		{"Bearer realm=\"https://a/", {CHALLENGE_NONE, "", "", ""}},
		{"Bearer realm=", {CHALLENGE_NONE, "", "", ""}},
		{"Basic realm=\"x\", \"", {CHALLENGE_BASIC, "x", "", ""}},
		{"Bearer realm=\"https://a/\r\nX: y\"", {CHALLENGE_NONE, "", "", ""}},
		{"=\"x\"", {CHALLENGE_NONE, "", "", ""}},
		{",,,", {CHALLENGE_NONE, "", "", ""}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct challenge c = {.scheme = CHALLENGE_NONE};

		challenge_add(&c, cases[i].header);
		if (c.scheme != cases[i].is.scheme)
			fail_msg("'%s': scheme %d", cases[i].header, c.scheme);
		assert_string_equal(c.realm, cases[i].is.realm);
		assert_string_equal(c.service, cases[i].is.service);
		assert_string_equal(c.scope, cases[i].is.scope);
	}
}

static void several_headers_are_one_choice(void **state)
{
	struct challenge c = {.scheme = CHALLENGE_NONE};

	(void)state;
	challenge_add(&c, "Basic realm=\"x\"");
	challenge_add(&c, "Bearer realm=\"https://a/\"");
	challenge_add(&c, "Basic realm=\"y\"");
	assert_int_equal(c.scheme, CHALLENGE_BEARER);
	assert_string_equal(c.realm, "https://a/");
}

static void a_value_has_a_limit(void **state)
{
	struct challenge c = {.scheme = CHALLENGE_NONE};
	char header[3000];

	(void)state;
	memset(header, 'x', sizeof(header) - 1);
	header[sizeof(header) - 1] = '\0';
	memcpy(header, "Bearer realm=\"", 14);
	header[14 + CHALLENGE_VALUE_MAX - 1] = '"';
	header[14 + CHALLENGE_VALUE_MAX] = '\0';
	challenge_add(&c, header);
	assert_int_equal(c.scheme, CHALLENGE_BEARER);
	assert_int_equal(strlen(c.realm), CHALLENGE_VALUE_MAX - 1);

	c = (struct challenge){.scheme = CHALLENGE_NONE};
	header[14 + CHALLENGE_VALUE_MAX - 1] = 'x';
	header[14 + CHALLENGE_VALUE_MAX] = '"';
	challenge_add(&c, header);
	assert_int_equal(c.scheme, CHALLENGE_NONE);
}

static void tokens_are_taken_from_either_member(void **state)
{
	static const struct {
		const char *text, *token;
	} cases[] = {
		{"{\"token\":\"abc\"}", "abc"},
		{"{\"access_token\":\"def\",\"expires_in\":300}", "def"},
		{"{\"token\":\"abc\",\"access_token\":\"def\"}", "abc"},
		{"{\"token\":\"\",\"access_token\":\"def\"}", "def"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		auto_free char *token = NULL;
		struct err e = {0};

		assert_ok(token_parse(cases[i].text, strlen(cases[i].text), &token, &e));
		assert_string_equal(token, cases[i].token);
	}
}

static void what_is_no_token_is_refused(void **state)
{
	static const char *const cases[] = {
		"",
		"<html>",
		"[]",
		"{}",
		"{\"token\":5}",
		"{\"token\":\"\"}",
		"{\"token\":\"a b\"}",
		"{\"token\":\"a\\r\\nX-Evil: 1\"}",
		"{\"token\":\"\\u00e9\"}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		char *token = NULL;
		struct err e = {0};

		assert_fails(token_parse(cases[i], strlen(cases[i]), &token, &e), EPROTO);
		assert_null(token);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(challenges_are_read),
		cmocka_unit_test(several_headers_are_one_choice),
		cmocka_unit_test(a_value_has_a_limit),
		cmocka_unit_test(tokens_are_taken_from_either_member),
		cmocka_unit_test(what_is_no_token_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
