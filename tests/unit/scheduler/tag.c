/* tests/unit/scheduler/tag.c - what tags may be, and how many
 * SPDX-License-Identifier: Apache-2.0
 *
 * Expected values: "Tagging your Amazon ECS resources" of the Developer Guide.
 */
#include "tests/unit/scheduler/driven.h"

#define ACCOUNT "arn:aws:ecs:us-east-1:123456789012:"
#define CLUSTER ACCOUNT "cluster/default"
#define ID      "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"

static char host[33];

static int begin(void **state)
{
	(void)state;
	begin_core();
	host[0] = '\0';
	hello("h", "r", host);
	return 0;
}

/* "PREFIX0", "PREFIX1" and so on, as tags; the caller's. */
static char *tags(const char *prefix, int count)
{
	auto_buf struct buf b = BUF_INIT(1 << 16);

	for (int i = 0; i < count; i++)
		buf_printf(&b, "%s{\"key\":\"%s%d\",\"value\":\"\"}", i ? "," : "", prefix, i);
	return xstrdup(buf_str(&b));
}

static char *repeated(const char *text, int times)
{
	auto_buf struct buf b = BUF_INIT(1 << 16);

	for (int i = 0; i < times; i++)
		buf_puts(&b, text);
	return xstrdup(buf_str(&b));
}

static bool is_accepted(const char *key, const char *value)
{
	json_t *reply = call("TagResource",
			     "{\"resourceArn\":\"" CLUSTER "\",\"tags\":[{\"key\":\"%s\","
			     "\"value\":\"%s\"}]}",
			     key, value);

	json_decref(reply);
	if (!reply)
		assert_int_equal(fault.type, ECS_FAULT_INVALID_PARAMETER);
	return reply;
}

static void lengths_are_counted_in_characters(void **state)
{
	auto_free char *key = repeated("\xc3\xa9", 128), *value = repeated("\xe2\x82\xac", 256);
	auto_free char *long_key = repeated("\xc3\xa9", 129),
		       *long_value = repeated("\xe2\x82\xac", 257);

	(void)state;
	assert_true(is_accepted(key, value));
	assert_false(is_accepted(long_key, ""));
	assert_false(is_accepted("k", long_value));
	assert_false(is_accepted("", "v"));
}

static void the_prefix_of_aws_is_nobody_else_s_in_any_case(void **state)
{
	static const char *const keys[] = {"aws:a", "AWS:a", "Aws:a"};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
		assert_false(is_accepted(keys[i], "v"));
	assert_true(is_accepted("awsome", "v"));
}

static json_t *run(const char *more)
{
	return call("RunTask", "{\"taskDefinition\":\"t\",\"enableECSManagedTags\":true%s}", more);
}

static void fifty_are_a_resource_s_own_beside_those_of_ecs(void **state)
{
	auto_free char *all = tags("a", 50), *one = tags("b", 1);
	auto_free char *more = xasprintf(",\"tags\":[%s]", all);
	auto_free char *too_many = xasprintf("%s,\"propagateTags\":\"TASK_DEFINITION\"", more);
	auto_json json_t *reply = NULL, *listed = NULL;
	const char *arn;

	(void)state;
	do_call("RegisterTaskDefinition",
		"{\"family\":\"t\",\"tags\":[%s],\"containerDefinitions\":[{\"name\":\"a\","
		"\"image\":\"i\",\"memory\":10}]}",
		one);
	assert_null(run(too_many));
	assert_int_equal(fault.type, ECS_FAULT_INVALID_PARAMETER);
	reply = run(more);
	assert_non_null(reply);
	arn = text_at(reply, "tasks[0].taskArn");
	do_call("TagResource", "{\"resourceArn\":\"%s\",\"tags\":[%s]}", arn, all);
	assert_null(call("TagResource", "{\"resourceArn\":\"%s\",\"tags\":[%s]}", arn, one));
	assert_null(call("UntagResource",
			 "{\"resourceArn\":\"%s\",\"tagKeys\":[\"a0\",\"aws:ecs:clusterName\"]}",
			 arn));
	assert_int_equal(fault.type, ECS_FAULT_INVALID_PARAMETER);
	listed = call("ListTagsForResource", "{\"resourceArn\":\"%s\"}", arn);
	assert_int_equal(json_array_size(json_object_get(listed, "tags")), 51);
}

static void only_arns_name_what_is_tagged(void **state)
{
	static const char *const elsewhere[] = {"cluster/nope", "task/nope/" ID,
						"container-instance/nope/" ID};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(elsewhere); i++) {
		assert_null(call("ListTagsForResource", "{\"resourceArn\":\"" ACCOUNT "%s\"}",
				 elsewhere[i]));
		assert_int_equal(fault.type, ECS_FAULT_CLUSTER_NOT_FOUND);
	}
	assert_null(call("ListTagsForResource",
			 "{\"resourceArn\":\"" ACCOUNT "task/default/" ID "\"}"));
	assert_int_equal(fault.type, ECS_FAULT_INVALID_PARAMETER);
	assert_null(call("ListTagsForResource", "{\"resourceArn\":\"default\"}"));
	assert_int_equal(fault.type, ECS_FAULT_INVALID_PARAMETER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lengths_are_counted_in_characters, begin, end),
		cmocka_unit_test_setup_teardown(the_prefix_of_aws_is_nobody_else_s_in_any_case,
						begin, end),
		cmocka_unit_test_setup_teardown(fifty_are_a_resource_s_own_beside_those_of_ecs,
						begin, end),
		cmocka_unit_test_setup_teardown(only_arns_name_what_is_tagged, begin, end),
	};

	return cmocka_run_group_tests_name("scheduler/tag", tests, NULL, NULL);
}
