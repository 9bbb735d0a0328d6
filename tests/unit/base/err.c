/* tests/unit/base/err.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

static void context_is_put_in_front(void **state)
{
	struct err e = {0};

	(void)state;
	errno = EACCES;
	assert_int_equal(err_sys(&e, "open blob %s", "9c1e"), -EACCES);
	assert_string_equal(e.msg, "open blob 9c1e: Permission denied");
	assert_int_equal(err_wrap(&e, "layer %d", 2), -EACCES);
	assert_int_equal(err_wrap(&e, "task %s", "3f2a"), -EACCES);
	assert_string_equal(e.msg, "task 3f2a: layer 2: open blob 9c1e: Permission denied");
}

static void a_message_over_its_size_is_cut(void **state)
{
	struct err e = {0};
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(err_set(&e, EINVAL, "%s", text), -EINVAL);
	assert_int_equal(strlen(e.msg), ERR_MSG_SIZE - 1);
	assert_int_equal(err_wrap(&e, "%s", text), -EINVAL);
	assert_int_equal(strlen(e.msg), ERR_MSG_SIZE - 1);
	errno = ENOENT;
	assert_int_equal(err_sys(&e, "%s", text), -ENOENT);
	assert_int_equal(strlen(e.msg), ERR_MSG_SIZE - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(context_is_put_in_front),
		cmocka_unit_test(a_message_over_its_size_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
