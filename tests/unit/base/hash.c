/* tests/unit/base/hash.c - digests, base64, ids, times
 * SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256 by FIPS 180-4's examples, HMAC by RFC 4231, base64 by RFC 4648.
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/text.h"

static void sha256_is_that_of_the_standard(void **state)
{
	struct sha256 *h = sha256_new();
	char hex[SHA256_HEX];

	(void)state;
	sha256_add(h, "a", 1);
	sha256_add(h, "bc", 2);
	sha256_hex(h, hex);
	assert_string_equal(hex,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	sha256_hex(h, hex); /* empty again */
	assert_string_equal(hex,
			    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sha256_free(h);
}

static void hmac_is_that_of_the_standard(void **state)
{
	unsigned char mac[SHA256_SIZE];
	char hex[SHA256_HEX];

	(void)state;
	hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
	hex_encode(mac, sizeof(mac), hex);
	assert_string_equal(hex,
			    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	assert_true(equal_in_constant_time("abc", "abc", 3));
	assert_false(equal_in_constant_time("abc", "abd", 3));
}

static void base64_goes_there_and_back(void **state)
{
	static const char *const rows[][2] = {{"", ""},
					      {"f", "Zg=="},
					      {"fo", "Zm8="},
					      {"foo", "Zm9v"},
					      {"foob", "Zm9vYg=="},
					      {"fooba", "Zm9vYmE="},
					      {"foobar", "Zm9vYmFy"}};
	size_t size;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_free char *text = base64_encode(rows[i][0], strlen(rows[i][0]));
		auto_free unsigned char *back = base64_decode(rows[i][1], &size);

		assert_string_equal(text, rows[i][1]);
		assert_non_null(back);
		assert_int_equal(size, strlen(rows[i][0]));
		assert_memory_equal(back, rows[i][0], size);
	}
	assert_null(base64_decode("!", &size));
}

static void ids_look_as_they_should(void **state)
{
	char hex[33], uuid[37];

	(void)state;
	random_hex(hex, 32);
	assert_int_equal(strspn(hex, "0123456789abcdef"), 32);
	random_uuid(uuid);
	assert_int_equal(strlen(uuid), 36);
	assert_int_equal(uuid[14], '4');
	assert_non_null(strchr("89ab", uuid[19]));
}

static void times_are_written_as_rfc_3339(void **state)
{
	char text[32];

	(void)state;
	clock_format_rfc3339(0, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000Z");
	clock_format_rfc3339(1557119253821, text);
	assert_string_equal(text, "2019-05-06T05:07:33.821Z");
	assert_true(clock_mono_ns() <= clock_mono_ns());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_is_that_of_the_standard),
		cmocka_unit_test(hmac_is_that_of_the_standard),
		cmocka_unit_test(base64_goes_there_and_back),
		cmocka_unit_test(ids_look_as_they_should),
		cmocka_unit_test(times_are_written_as_rfc_3339),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
