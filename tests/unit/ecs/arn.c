/* tests/unit/ecs/arn.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "ecs/arn.h"

static const struct ecs_identity us = {.region = "us-east-1", .account = "123456789012"};

static void names_and_arns_are_taken_apart(void **state)
{
	static const struct {
		enum ecs_resource resource;
		const char *text, *cluster, *name;
		uint32_t revision;
	} rows[] = {
		{ECS_RESOURCE_CLUSTER, "default", "", "default", 0},
		{ECS_RESOURCE_CLUSTER, "arn:aws:ecs:us-east-1:123456789012:cluster/c_1-x", "",
		 "c_1-x", 0},
		{ECS_RESOURCE_TASK, "0123456789abcdef0123456789abcdef", "",
		 "0123456789abcdef0123456789abcdef", 0},
		{ECS_RESOURCE_TASK, "arn:aws:ecs:us-east-1:123456789012:task/c/0a", "c", "0a", 0},
		{ECS_RESOURCE_INSTANCE,
		 "arn:aws:ecs:us-east-1:123456789012:container-instance/c/0a", "c", "0a", 0},
		{ECS_RESOURCE_TASK_DEFINITION, "web", "", "web", 0},
		{ECS_RESOURCE_TASK_DEFINITION, "web:12", "", "web", 12},
		{ECS_RESOURCE_TASK_DEFINITION,
		 "arn:aws:ecs:us-east-1:123456789012:task-definition/web:3", "", "web", 3},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ecs_fault f;
		struct ecs_name n;

		assert_int_equal(ecs_name_parse(&us, rows[i].resource, rows[i].text, &n, &f), 0);
		assert_string_equal(n.cluster, rows[i].cluster);
		assert_string_equal(n.name, rows[i].name);
		assert_int_equal(n.revision, rows[i].revision);
	}
}

static void what_cannot_be_a_name_is_refused(void **state)
{
	static const struct {
		enum ecs_resource resource;
		const char *text;
	} rows[] = {
		{ECS_RESOURCE_CLUSTER, ""},
		{ECS_RESOURCE_CLUSTER, "a/b"},
		{ECS_RESOURCE_CLUSTER, "../x"},
		{ECS_RESOURCE_CLUSTER, "arn:aws:ecs:us-east-1:999999999999:cluster/c"},
		{ECS_RESOURCE_CLUSTER, "arn:aws:ecs:eu-west-1:123456789012:cluster/c"},
		{ECS_RESOURCE_CLUSTER, "arn:aws:ecs:us-east-1:123456789012:task/c/0a"},
		{ECS_RESOURCE_TASK, "arn:aws:ecs:us-east-1:123456789012:task/0a"},
		{ECS_RESOURCE_TASK, "arn:aws:ecs:us-east-1:123456789012:task/c/0a/x"},
		{ECS_RESOURCE_TASK_DEFINITION, "web:"},
		{ECS_RESOURCE_TASK_DEFINITION, "web:0"},
		{ECS_RESOURCE_TASK_DEFINITION, "web:-1"},
		{ECS_RESOURCE_TASK_DEFINITION, "web:1:2"},
		{ECS_RESOURCE_TASK_DEFINITION, "web:99999999999"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ecs_name n = {.name = "untouched"};
		struct ecs_fault f;

		if (ecs_name_parse(&us, rows[i].resource, rows[i].text, &n, &f) == 0)
			fail_msg("'%s' was taken for a name", rows[i].text);
		assert_int_equal(f.type, ECS_FAULT_INVALID_PARAMETER);
		assert_string_equal(n.name, "untouched");
	}
}

static void secrets_have_names_or_arns(void **state)
{
	static const struct {
		const char *text, *name; /* NULL: refused */
	} rows[] = {
		{"arn:aws:secretsmanager:us-east-1:123456789012:secret:team/hub-AbCdEf",
		 "team/hub-AbCdEf"},
		{"arn:aws-cn:secretsmanager:cn-north-1:1:secret:x", "x"},
		{"team/hub", "team/hub"},
		{"arn:aws:ssm:us-east-1:1:parameter/x", NULL},
		{"arn:aws:secretsmanager:us-east-1:1:secret:", NULL},
		{"arn:aws:secretsmanager:us-east-1:1:secret:x:key", NULL},
		{"../x", NULL},
		{"a/../x", NULL},
		{"a//x", NULL},
		{"/x", NULL},
		{"x/", NULL},
		{"", NULL},
		{"a b", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char name[ECS_SECRET_NAME_SIZE];
		bool ok = ecs_secret_name(rows[i].text, name);

		if (ok != (rows[i].name != NULL) || (ok && strcmp(name, rows[i].name) != 0))
			fail_msg("%s: %d %s", rows[i].text, ok, ok ? name : "");
	}
}

static void attributes_are_made_of_what_ecs_allows(void **state)
{
	static const char *const names[] = {"rack", "a.b/c-d_1"}, *const no_names[] = {"", "a b",
										       "a=b"};
	static const char *const values[] = {"", "r 1", "a\\b@c:d"}, *const no_values[] = {
									     " r", "r ", "a,b"};
	char longest[ECS_ATTRIBUTE_MAX + 2];

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		assert_true(ecs_attribute_name_is_valid(names[i]));
	for (size_t i = 0; i < ARRAY_COUNT(no_names); i++)
		assert_false(ecs_attribute_name_is_valid(no_names[i]));
	for (size_t i = 0; i < ARRAY_COUNT(values); i++)
		assert_true(ecs_attribute_value_is_valid(values[i]));
	for (size_t i = 0; i < ARRAY_COUNT(no_values); i++)
		assert_false(ecs_attribute_value_is_valid(no_values[i]));
	memset(longest, 'a', sizeof(longest));
	longest[ECS_ATTRIBUTE_MAX + 1] = '\0';
	assert_false(ecs_attribute_name_is_valid(longest));
	longest[ECS_ATTRIBUTE_MAX] = '\0';
	assert_true(ecs_attribute_name_is_valid(longest));
	assert_true(ecs_attribute_is_reserved("ecs.os-type"));
	assert_false(ecs_attribute_is_reserved("ecsrack"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_arns_are_taken_apart),
		cmocka_unit_test(what_cannot_be_a_name_is_refused),
		cmocka_unit_test(secrets_have_names_or_arns),
		cmocka_unit_test(attributes_are_made_of_what_ecs_allows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
