/* tests/unit/image/serve.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "image/peers.h"
#include "image/serve.h"

#define HEX    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX

static void blobs_and_manifests_are_had_by_digest_under_any_name(void **state)
{
	static const char *const targets[] = {
		"/v2/a/blobs/" DIGEST,
		"/v2/a/manifests/" DIGEST,
		"/v2/library/busybox/blobs/" DIGEST,
		"/v2/blobs/blobs/blobs/" DIGEST,
	};
	char digest[DIGEST_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
		digest[0] = '\0';
		assert_int_equal(serve_parse_target(targets[i], digest), SERVE_DIGEST);
		assert_string_equal(digest, DIGEST);
	}
	assert_int_equal(serve_parse_target("/v2/", digest), SERVE_BASE);
}

static void nothing_else_is_had(void **state)
{
	static const char *const targets[] = {
		"",
		"/",
		"/v2",
		"/v1/",
		"//v2/a/blobs/" DIGEST,
		"/v2/blobs/" DIGEST,
		"/v2/manifests/" DIGEST,
		"/v2/a/tags/list",
		"/v2/_catalog",
		"/v2/a/manifests/latest",
		"/v2/a/blobs/",
		"/v2/a/blobs/sha256:../../../etc/passwd",
		"/v2/a/blobs/" DIGEST "?x=1",
		"/v2/a/blobs/" DIGEST "/",
		"/v2/a/blobs/uploads/" DIGEST,
		"/v2/a/blobs/SHA256:" HEX,
		"/v2/a/referrers/" DIGEST,
		DIGEST,
		"http://a/v2/a/blobs/" DIGEST,
	};
	char digest[DIGEST_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(targets); i++)
		if (serve_parse_target(targets[i], digest) != SERVE_NOTHING)
			fail_msg("'%s' is something", targets[i]);
}

/* RFC 9110, 14.1.2, 14.2: what cannot be read is ignored. */
static void a_range_is_read_as_the_rfc_has_it(void **state)
{
	static const struct {
		const char *range;
		uint64_t bytes;
		enum serve_range is;
		uint64_t offset, size;
	} rows[] = {
		{NULL, 1000, SERVE_WHOLE, 0, 0},
		{"bytes=0-", 1000, SERVE_PART, 0, 1000},
		{"bytes=0-0", 1000, SERVE_PART, 0, 1},
		{"bytes=100-199", 1000, SERVE_PART, 100, 100},
		{"bytes=999-", 1000, SERVE_PART, 999, 1},
		{"bytes=999-999999999", 1000, SERVE_PART, 999, 1},
		{"bytes=0-9223372036854775807", 1000, SERVE_PART, 0, 1000},
		{"bytes=-1", 1000, SERVE_PART, 999, 1},
		{"bytes=-5000", 1000, SERVE_PART, 0, 1000},
		{"bytes=1000-", 1000, SERVE_UNSATISFIED, 0, 0},
		{"bytes=-0", 1000, SERVE_UNSATISFIED, 0, 0},
		{"bytes=0-", 0, SERVE_UNSATISFIED, 0, 0},
		{"bytes=200-100", 1000, SERVE_WHOLE, 0, 0},
		{"bytes=0-1,5-6", 1000, SERVE_WHOLE, 0, 0},
		{"bytes=-", 1000, SERVE_WHOLE, 0, 0},
		{"bytes=", 1000, SERVE_WHOLE, 0, 0},
		{"bytes=x-1", 1000, SERVE_WHOLE, 0, 0},
		{"bytes= 1-2", 1000, SERVE_WHOLE, 0, 0},
		{"bytes=+1-2", 1000, SERVE_WHOLE, 0, 0},
		{"bytes=1--2", 1000, SERVE_WHOLE, 0, 0},
		{"bytes=99999999999999999999-", 1000, SERVE_WHOLE, 0, 0},
		{"bytes=9999999999999999999999999-", 1000, SERVE_WHOLE, 0, 0},
		{"items=0-1", 1000, SERVE_WHOLE, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		uint64_t offset = 0, size = 0;

		if (serve_parse_range(rows[i].range, rows[i].bytes, &offset, &size) != rows[i].is)
			fail_msg("'%s' is something else", rows[i].range);
		assert_int_equal(offset, rows[i].offset);
		assert_int_equal(size, rows[i].size);
	}
}

/* The limits of what a registry's blob may unpack to hold for a node's tar. */
static void a_tar_is_as_large_as_its_blob_could_unpack_to(void **state)
{
	(void)state;
	assert_int_equal(peer_tar_max(0), 64ULL << 20);
	assert_int_equal(peer_tar_max(1000), 64ULL << 20);
	assert_int_equal(peer_tar_max(1000000), 1000000000ULL);
	assert_int_equal(peer_tar_max(1ULL << 40), 256ULL << 30);
	assert_int_equal(peer_tar_max(INT64_MAX), 256ULL << 30);
	assert_int_equal(peer_total_ms(0), 30000);
	assert_int_equal(peer_total_ms(INT64_MAX), 7200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blobs_and_manifests_are_had_by_digest_under_any_name),
		cmocka_unit_test(nothing_else_is_had),
		cmocka_unit_test(a_range_is_read_as_the_rfc_has_it),
		cmocka_unit_test(a_tar_is_as_large_as_its_blob_could_unpack_to),
	};

	return cmocka_run_group_tests_name("image/serve", tests, NULL, NULL);
}
