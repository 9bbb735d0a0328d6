/* tests/unit/image/reference.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "base/mem.h"
#include "image/reference.h"

#define HEX    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX

static void names_are_made_whole(void **state)
{
	static const struct {
		const char *text, *whole;
	} cases[] = {
		{"busybox", "docker.io/library/busybox:latest"},
		{"busybox:1.35", "docker.io/library/busybox:1.35"},
		{"team/app", "docker.io/team/app:latest"},
		{"docker.io/busybox", "docker.io/library/busybox:latest"},
		{"index.docker.io/a/b", "docker.io/a/b:latest"},
		{"localhost/a", "localhost/a:latest"},
		{"localhost:5000/a", "localhost:5000/a:latest"},
		{"127.0.0.1:5000/a:b", "127.0.0.1:5000/a:b"},
		{"[::1]:5000/a", "[::1]:5000/a:latest"},
		{"[2001:db8::1]/a", "[2001:db8::1]/a:latest"},
		{"Registry/a", "Registry/a:latest"},
		{"r.example/a/b/c-d__e.f---g:T_1.x-", "r.example/a/b/c-d__e.f---g:T_1.x-"},
		{"r.example:443/a@" DIGEST, "r.example:443/a@" DIGEST},
		{"r.example/a:tag@" DIGEST, "r.example/a@" DIGEST},
		{"foo", "docker.io/library/foo:latest"},
		{"foo:5000", "docker.io/library/foo:5000"},
	};
	char whole[REFERENCE_SIZE];
	struct reference r;
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		assert_ok(reference_parse(cases[i].text, &r, &e));
		reference_format(&r, whole);
		assert_string_equal(whole, cases[i].whole);

		/* And a whole name stays what it is. */
		assert_ok(reference_parse(whole, &r, &e));
		reference_format(&r, whole);
		assert_string_equal(whole, cases[i].whole);
	}
}

static void what_is_no_name_is_refused(void **state)
{
	static const char *const cases[] = {
		"",
		":",
		"/",
		"a/",
		"/a",
		"a//b",
		"A",
		"a/B",
		"r.example/",
		"r.example/A",
		"-a",
		"a-",
		"a..b",
		"a___b",
		"a._b",
		"a b",
		"a\n",
		"a:",
		"a:.b",
		"a:-b",
		"a:b/c:",
		"a:t g",
		"a@",
		"a@sha256:",
		"a@sha256:" HEX "0",
		"a@sha512:" HEX,
		"a@SHA256:" HEX,
		"a@sha256:../../../../etc/passwd",
		"a@" DIGEST "@" DIGEST,
		"@" DIGEST,
		"r.example:0/a",
		"r.example:65536/a",
		"r.example:x/a",
		"r.example:/a",
		".example/a",
		"r..example/a",
		"-r.example/a",
		"r-.example/a",
		"[::1/a",
		"[zz]/a",
		"[::1]x/a",
		"https://r.example/a",
		"user@r.example/a",
		"../a",
		"r.example/../a",
		"r.example/a%2f..",
	};
	struct reference r;
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		assert_fails(reference_parse(cases[i], &r, &e), EINVAL);
}

static void long_names_are_refused(void **state)
{
	auto_free char *part = xcalloc(1, 600);
	auto_free char *text = NULL;
	struct reference r;
	struct err e = {0};

	(void)state;
	memset(part, 'a', 300);
	assert_fails(reference_parse(part, &r, &e), EINVAL);
	part[245] = '\0';
	text = xasprintf("r.example/%s", part); /* 255 */
	assert_ok(reference_parse(text, &r, &e));
	part[245] = 'a';
	part[246] = '\0';
	free(text);
	text = xasprintf("r.example/%s", part);
	assert_fails(reference_parse(text, &r, &e), EINVAL);
	assert_says("255");

	free(text);
	text = xasprintf("%s.%s/a", part, part); /* the host alone */
	assert_fails(reference_parse(text, &r, &e), EINVAL);
	assert_says("255");

	part[128] = '\0';
	free(text);
	text = xasprintf("a:%s", part);
	assert_ok(reference_parse(text, &r, &e));
	part[128] = 'a';
	part[129] = '\0';
	free(text);
	text = xasprintf("a:%s", part);
	assert_fails(reference_parse(text, &r, &e), EINVAL);

	memset(part, 'a', 599);
	assert_fails(reference_parse(part, &r, &e), EINVAL);
}

static void only_sha256_digests_are_valid(void **state)
{
	(void)state;
	assert_true(digest_valid(DIGEST));
	assert_string_equal(digest_hex(DIGEST), HEX);
	assert_false(digest_valid(""));
	assert_false(digest_valid(HEX));
	assert_false(digest_valid("sha256:0123456789ABCDEF0123456789abcdef"
				  "0123456789abcdef0123456789abcdef"));
	assert_false(digest_valid(DIGEST "\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_made_whole),
		cmocka_unit_test(what_is_no_name_is_refused),
		cmocka_unit_test(long_names_are_refused),
		cmocka_unit_test(only_sha256_digests_are_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
