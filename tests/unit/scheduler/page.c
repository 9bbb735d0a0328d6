/* tests/unit/scheduler/page.c - lists come in pages, whole and in order
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/scheduler/driven.h"

#define NAMES 137 /* families, and tasks */

static int begin(void **state)
{
	char host[33] = "";

	(void)state;
	begin_core();
	for (int i = 0; i < NAMES; i++) /* in another order than that of their names */
		do_call("RegisterTaskDefinition",
			"{\"family\":\"f%03d\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\","
			"\"memory\":10}]}",
			i * 50 % NAMES);
	hello("h", "r", host);
	for (int i = 0; i < NAMES; i++)
		do_call("RunTask", "{\"taskDefinition\":\"f000\"}");
	return 0;
}

static void pages_have_each_name_once_and_in_order(void **state)
{
	static const struct {
		const char *operation, *member, *more;
		int direction;
	} lists[] = {
		{"ListTaskDefinitionFamilies", "families", "", 1},
		{"ListTaskDefinitions", "taskDefinitionArns", "", 1},
		{"ListTaskDefinitions", "taskDefinitionArns", ",\"sort\":\"DESC\"", -1},
		{"ListTasks", "taskArns", "", 1},
		{"ListTasks", "taskArns", ",\"family\":\"f000\"", 1},
	};
	static const int sizes[] = {1, 2, 7, 99, 100};

	(void)state;
	for (size_t k = 0; k < ARRAY_COUNT(lists) * ARRAY_COUNT(sizes); k++) {
		const int size = sizes[k % ARRAY_COUNT(sizes)];
		const size_t l = k / ARRAY_COUNT(sizes);
		auto_free char *token = xstrdup(""), *last = xstrdup("");
		int count = 0;

		do {
			auto_json json_t *reply = call(lists[l].operation,
						       "{\"maxResults\":%d%s%s}", size,
						       lists[l].more, token);
			const char *next = json_string_value(json_object_get(reply, "nextToken"));
			json_t *name;
			size_t i;

			json_array_foreach (json_object_get(reply, lists[l].member), i, name) {
				if (*last)
					assert_true(strcmp(json_string_value(name), last) *
							    lists[l].direction >
						    0);
				free(last);
				last = xstrdup(json_string_value(name));
				count++;
			}
			assert_true(i == (size_t)size || !next);
			free(token);
			token = next ? xasprintf(",\"nextToken\":\"%s\"", next) : NULL;
		} while (token);
		assert_int_equal(count, NAMES);
	}
}

/* The base64 of "x" and of "families:". */
static void a_token_of_another_list_is_none(void **state)
{
	static const char *const lists[] = {"ListTaskDefinitionFamilies", "ListTaskDefinitions",
					    "ListTasks", "ListClusters", "ListContainerInstances"};
	static const char *const rubbish[] = {"eA==", "ZmFtaWxpZXM6", ""};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		auto_json json_t *reply = call(lists[i], "{\"maxResults\":1}");

		for (size_t k = 0; k < ARRAY_COUNT(lists); k++) {
			auto_json json_t *page = call(lists[k], "{\"nextToken\":\"%s\"}",
						      text_at(reply, "nextToken"));

			assert_int_equal(page != NULL, i == k);
			assert_true(page || fault.type == ECS_FAULT_INVALID_PARAMETER);
		}
	}
	for (size_t i = 0; i < ARRAY_COUNT(lists) * ARRAY_COUNT(rubbish); i++) {
		assert_null(call(lists[i % ARRAY_COUNT(lists)], "{\"nextToken\":\"%s\"}",
				 rubbish[i / ARRAY_COUNT(lists)]));
		assert_int_equal(fault.type, ECS_FAULT_INVALID_PARAMETER);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pages_have_each_name_once_and_in_order, begin, end),
		cmocka_unit_test_setup_teardown(a_token_of_another_list_is_none, begin, end),
	};

	return cmocka_run_group_tests_name("scheduler/page", tests, NULL, NULL);
}
