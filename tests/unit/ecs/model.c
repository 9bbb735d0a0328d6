/* tests/unit/ecs/model.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/js.h"
#include "ecs/model.h"

static int check(const struct ecs_model *m, const char *operation, const char *text,
		 char **ret_after, struct ecs_fault *f)
{
	const struct ecs_operation *o = ecs_model_find(m, operation);
	auto_json json_t *doc = NULL;
	struct err e = {0};
	int r;

	assert_non_null(o);
	assert_ok(js_parse(text, strlen(text), 32, &doc, &e));
	f->message[0] = '\0';
	r = ecs_model_check(o->request, doc, f);
	if (ret_after)
		*ret_after = js_dump(doc);
	return r;
}

static void every_operation_of_ecs_is_known(void **state)
{
	(void)state;
	assert_int_equal(ecs_model_ecs.count, 77);
	assert_non_null(ecs_model_find(&ecs_model_ecs, "RunTask"));
	assert_null(ecs_model_find(&ecs_model_ecs, "runTask"));
	assert_null(ecs_model_find(&ecs_model_ecs, "RunTaskRequest"));
}

static void a_wrong_member_is_named(void **state)
{
	static const struct {
		const char *operation, *text;
		enum ecs_fault_type type;
		const char *says;
	} rows[] = {
		{"RunTask", "[]", ECS_FAULT_SERIALIZATION,
		 "START_ARRAY can not be converted to a Structure"},
		{"RunTask", "{}", ECS_FAULT_INVALID_PARAMETER,
		 "taskDefinition should not be null or empty"},
		{"RunTask", "{\"taskDefinition\":1}", ECS_FAULT_SERIALIZATION,
		 "taskDefinition: NUMBER_VALUE can not be converted to a String"},
		{"RunTask", "{\"taskDefinition\":\"x\",\"count\":\"1\"}", ECS_FAULT_SERIALIZATION,
		 "count: STRING_VALUE can not be converted to an Integer"},
		{"RunTask", "{\"taskDefinition\":\"x\",\"count\":2147483648}",
		 ECS_FAULT_SERIALIZATION, "count"},
		{"RunTask", "{\"taskDefinition\":\"x\",\"count\":1.5}", ECS_FAULT_SERIALIZATION,
		 "DECIMAL_VALUE"},
		{"RunTask", "{\"taskDefinition\":\"x\",\"launchType\":\"MOON\"}",
		 ECS_FAULT_INVALID_PARAMETER, "Invalid value 'MOON' for launchType"},
		{"RegisterTaskDefinition",
		 "{\"family\":\"f\",\"containerDefinitions\":[{},{\"portMappings\":[{\"containerPort\":true}]}]}",
		 ECS_FAULT_SERIALIZATION,
		 "containerDefinitions[1].portMappings[0].containerPort: TRUE_VALUE"},
		{"RegisterTaskDefinition", "{\"family\":\"f\",\"containerDefinitions\":{}}",
		 ECS_FAULT_SERIALIZATION, "START_OBJECT can not be converted to a List"},
		{"RegisterTaskDefinition",
		 "{\"family\":\"f\",\"containerDefinitions\":[{\"dockerLabels\":{\"a\":1}}]}",
		 ECS_FAULT_SERIALIZATION, "containerDefinitions[0].dockerLabels.a"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ecs_fault f;

		assert_int_equal(check(&ecs_model_ecs, rows[i].operation, rows[i].text, NULL, &f),
				 -1);
		if (f.type != rows[i].type || !strstr(f.message, rows[i].says))
			fail_msg("%s: %s: %s", rows[i].text, ecs_fault_name(f.type), f.message);
	}
}

static void what_berth_cannot_honour_is_refused_by_name(void **state)
{
	struct ecs_fault f;

	(void)state;
	assert_int_equal(
		check(&ecs_model_ecs, "RegisterTaskDefinition",
		      "{\"family\":\"f\",\"containerDefinitions\":[{\"name\":\"a\",\"healthCheck\":"
		      "{\"command\":[\"CMD\",\"true\"]}}]}",
		      NULL, &f),
		-1);
	assert_int_equal(f.type, ECS_FAULT_CLIENT);
	assert_non_null(strstr(f.message, "containerDefinitions[0].healthCheck is not supported"));
}

static void what_says_nothing_is_passed_over(void **state)
{
	struct ecs_fault f;
	char *after;

	(void)state;
	assert_int_equal(
		check(&ecs_model_ecs, "RunTask",
		      "{\"taskDefinition\":\"x\",\"enableExecuteCommand\":false,"
		      "\"volumeConfigurations\":[],\"startedBy\":null,\"fromTheFuture\":{\"a\":1}}",
		      &after, &f),
		0);
	assert_string_equal(after, "{\"taskDefinition\":\"x\"}");
	free(after);
}

static void bounds_are_of_values_and_of_counts(void **state)
{
	struct ecs_fault f;

	(void)state;
	assert_int_equal(check(&ecs_model_logs, "GetLogEvents",
			       "{\"logStreamName\":\"s\",\"logGroupName\":\"g\",\"limit\":0}", NULL,
			       &f),
			 -1);
	assert_non_null(strstr(f.message, "limit is 0. It must be from 1 to 10000"));
	assert_int_equal(check(&ecs_model_logs, "PutLogEvents",
			       "{\"logGroupName\":\"g\",\"logStreamName\":\"s\",\"logEvents\":[]}",
			       NULL, &f),
			 -1);
	assert_non_null(strstr(f.message, "number of elements of logEvents is 0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_of_ecs_is_known),
		cmocka_unit_test(a_wrong_member_is_named),
		cmocka_unit_test(what_berth_cannot_honour_is_refused_by_name),
		cmocka_unit_test(what_says_nothing_is_passed_over),
		cmocka_unit_test(bounds_are_of_values_and_of_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
