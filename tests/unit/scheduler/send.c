/* tests/unit/scheduler/send.c - what a node is told of its tasks when it says hello
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/scheduler/driven.h"

#define KINDS 20 /* more than have a pattern */

static char host[33];

static int begin(void **state)
{
	(void)state;
	begin_core();
	host[0] = '\0';
	hello("host", "r", host);
	do_call("RegisterTaskDefinition",
		"{\"family\":\"two\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"memory\":8,"
		"\"dockerLabels\":{\"containerArn\":\"x\"}},{\"name\":\"b\","
		"\"image\":\"i\",\"memory\":8,\"essential\":false}]}");
	do_call("RegisterTaskDefinition",
		"{\"family\":\"eni\",\"networkMode\":\"awsvpc\",\"containerDefinitions\":"
		"[{\"name\":\"a\",\"image\":\"i\",\"memory\":8}]}");
	return 0;
}

/* What the last effects tell the node of one task. */
static json_t *told_of(const char *arn)
{
	for (size_t i = 0; i < fx.count; i++) {
		auto_json json_t *doc = fx.items[i].kind == CORE_SEND ? parse(fx.items[i].text)
								      : NULL;
		json_t *task;
		size_t k;

		json_array_foreach (json_object_get(doc, "tasks"), k, task)
			if (strcmp(text_at(task, "taskArn"), arn) == 0)
				return json_incref(task);
	}
	fail_msg("nothing is told of %s", arn);
	return NULL;
}

/* With all that makes texts differ; the status that the node has reported since. */
static const struct {
	const char *request, *status;
} rows[] = {
	{"\"taskDefinition\":\"two\"", NULL},
	{"\"taskDefinition\":\"two\"", "RUNNING"},
	{"\"taskDefinition\":\"two\",\"tags\":[{\"key\":\"\\\"_effective\\\":\"}]", "RUNNING"},
	{"\"taskDefinition\":\"two\",\"startedBy\":\"\\\"containerArn\\\":\\\"\"", NULL},
	{"\"taskDefinition\":\"two\",\"overrides\":{\"containerOverrides\":[{\"name\":\"a\","
	 "\"command\":[\"x\"]}]}",
	 "RUNNING"},
	{"\"taskDefinition\":\"eni\",\"networkConfiguration\":{\"awsvpcConfiguration\":"
	 "{\"subnets\":[\"SUBNET\"]}}",
	 "RUNNING"},
};

static char *request_of(size_t row)
{
	auto_json json_t *subnets = call("DescribeSubnets", "{}");
	const char *request = rows[row].request, *at = strstr(request, "SUBNET");

	return at ? xasprintf("{%.*s%s%s}", (int)(at - request), request,
			      text_at(subnets, "subnetSet[0].subnetId"), at + strlen("SUBNET"))
		  : xasprintf("{%s}", request);
}

/* As it was when it was new, but for the status. */
static void the_list_says_of_each_task_what_was_said_of_it(void **state)
{
	json_t *told[ARRAY_COUNT(rows)];
	char *arns[ARRAY_COUNT(rows)];

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_free char *request = request_of(i);
		auto_json json_t *reply = call("RunTask", "%s", request);

		if (!reply)
			fail_msg("%s: %s", request, fault.message);
		arns[i] = xstrdup(text_at(reply, "tasks[0].taskArn"));
		told[i] = told_of(arns[i]);
		if (!rows[i].status)
			continue;
		report(host, arns[i], rows[i].status);
		(void)json_object_set_new(told[i], "lastStatus", json_string(rows[i].status));
	}
	for (int again = 0; again < 2; again++) {
		for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
			auto_json json_t *now = NULL;

			hello("host", "r", host);
			now = told_of(arns[i]);
			if (!json_equal(now, told[i])) {
				auto_free char *is = js_dump(now), *was = js_dump(told[i]);

				assert_string_equal(is, was);
			}
		}
		restart();
	}
	do_call("StopTask", "{\"task\":\"%s\"}", arns[1]);
	hello("host", "r", host);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_json json_t *now = told_of(arns[i]);

		assert_string_equal(text_at(now, "desiredStatus"), i == 1 ? "STOPPED" : "RUNNING");
		json_decref(told[i]);
		free(arns[i]);
	}
}

static void tasks_of_many_kinds_are_in_one_list(void **state)
{
	(void)state;
	for (int i = 0; i < KINDS; i++)
		do_call("RunTask",
			"{\"taskDefinition\":\"two\",\"count\":2,\"startedBy\":\"me%d\"}", i);
	restart();
	hello("host", "r", host);
	for (size_t i = 0; i < fx.count; i++) {
		auto_json json_t *doc = fx.items[i].kind == CORE_SEND ? parse(fx.items[i].text)
								      : NULL;

		if (json_object_get(doc, "tasks")) {
			assert_true(json_is_true(json_object_get(doc, "full")));
			assert_int_equal(json_array_size(json_object_get(doc, "tasks")), 2 * KINDS);
		}
	}
}

static void a_node_without_tasks_hears_that(void **state)
{
	bool heard = false;

	(void)state;
	hello("host", "r", host);
	for (size_t i = 0; i < fx.count; i++)
		heard |= fx.items[i].kind == CORE_SEND &&
			 strcmp(fx.items[i].text,
				"{\"full\":true,\"tasks\":[],\"type\":\"tasks\"}") == 0;
	assert_true(heard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_list_says_of_each_task_what_was_said_of_it,
						begin, end),
		cmocka_unit_test_setup_teardown(tasks_of_many_kinds_are_in_one_list, begin, end),
		cmocka_unit_test_setup_teardown(a_node_without_tasks_hears_that, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
