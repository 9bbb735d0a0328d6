/* tests/unit/base/random.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/random.h"

static void ids_have_their_form_and_never_meet(void **state)
{
	char hex[2][33], uuid[2][37];

	(void)state;
	for (int i = 0; i < 2; i++) {
		random_hex(hex[i], 32);
		random_uuid(uuid[i]);
		assert_int_equal(strlen(hex[i]), 32);
		assert_int_equal(strspn(hex[i], "0123456789abcdef"), 32);
		assert_int_equal(strlen(uuid[i]), 36);
		assert_int_equal(strspn(uuid[i], "0123456789abcdef-"), 36);
	}
	assert_string_not_equal(hex[0], hex[1]);
	assert_string_not_equal(uuid[0], uuid[1]);
}

/* RFC 9562, 5.4: version 4, variant 10. */
static void a_uuid_says_how_it_was_made(void **state)
{
	char uuid[37];

	(void)state;
	for (int i = 0; i < 64; i++) {
		random_uuid(uuid);
		assert_int_equal(uuid[14], '4');
		assert_non_null(strchr("89ab", uuid[19]));
		for (size_t k = 8; k <= 23; k += 5)
			assert_int_equal(uuid[k], '-');
	}
}

static void an_odd_number_of_digits_is_fine_and_nothing_follows_them(void **state)
{
	char hex[8];

	(void)state;
	memset(hex, 'x', sizeof(hex));
	random_hex(hex, 5);
	assert_int_equal(strlen(hex), 5);
	assert_int_equal(hex[6], 'x');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_have_their_form_and_never_meet),
		cmocka_unit_test(a_uuid_says_how_it_was_made),
		cmocka_unit_test(an_odd_number_of_digits_is_fine_and_nothing_follows_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
