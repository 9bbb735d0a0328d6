/* tests/unit/scheduler/lost.c - nodes that are not heard of for long
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/scheduler/driven.h"

#define HOSTS 4

static char hosts[HOSTS][33];
static char tasks[HOSTS][200]; /* one on each, with the same host port */

static json_t *start_on(int host)
{
	return call("StartTask", "{\"taskDefinition\":\"port\",\"containerInstances\":[\"%s\"]}",
		    hosts[host]);
}

static int begin(void **state)
{
	(void)state;
	begin_core();
	do_call("RegisterTaskDefinition",
		"{\"family\":\"port\",\"networkMode\":\"bridge\",\"containerDefinitions\":[{\"name\":\"a\","
		"\"image\":\"i\",\"memory\":100,\"portMappings\":[{\"containerPort\":80,\"hostPort\":8080,"
		"\"protocol\":\"tcp\"}]}]}");
	for (int i = 0; i < HOSTS; i++) {
		auto_json json_t *reply = NULL;

		hosts[i][0] = '\0';
		hello("host", "r", hosts[i]);
		reply = start_on(i);
		(void)snprintf(tasks[i], sizeof(tasks[i]), "%s",
			       text_at(reply, "tasks[0].taskArn"));
		report(hosts[i], tasks[i], "RUNNING");
	}
	return 0;
}

static void vanish(int host)
{
	core_node_gone(core, hosts[host], now_ms);
	take_effects();
}

static void pass(int64_t ms)
{
	now_ms += ms;
	core_tick(core, now_ms);
	take_effects();
}

static void assert_task(int i, const char *member, const char *value)
{
	auto_json json_t *reply = call("DescribeTasks", "{\"tasks\":[\"%s\"]}", tasks[i]);
	auto_free char *path = xasprintf("tasks[0].%s", member);

	assert_string_equal(text_at(reply, path), value);
}

static void assert_refused(int host, const char *reason)
{
	auto_json json_t *reply = start_on(host);

	assert_string_equal(text_at(reply, "failures[0].reason"), reason);
}

static void tasks_of_a_lost_node_are_given_up_after_a_while(void **state)
{
	(void)state;
	vanish(0);
	assert_int_equal(core_wake_ms(core), now_ms + options.lost_ms);
	pass(options.lost_ms - 1);
	assert_task(0, "lastStatus", "RUNNING");
	assert_task(0, "connectivity", "DISCONNECTED");
	pass(1);
	assert_task(0, "lastStatus", "STOPPED");
	assert_task(0, "stoppedReason", "Container instance lost: not heard of for 300 seconds");
	assert_task(1, "lastStatus", "RUNNING");
}

static void a_clock_that_is_set_gives_nobody_up_and_keeps_nobody(void **state)
{
	static const int64_t jumps[] = {3600000, -7200000};

	(void)state;
	vanish(0);
	for (size_t i = 0; i < ARRAY_COUNT(jumps); i++) {
		now_ms += jumps[i];
		core_clock_moved(core, jumps[i]);
		pass(options.lost_ms / 2 - 1);
		assert_task(0, "lastStatus", "RUNNING");
	}
	pass(2);
	assert_task(0, "lastStatus", "STOPPED");
}

static void what_they_had_is_nobodys_before_the_node_says_that_they_are_gone(void **state)
{
	(void)state;
	vanish(0);
	pass(options.lost_ms);
	for (int again = 0; again < 2; again++) {
		hello("host", "r", hosts[0]);
		assert_refused(0, "RESOURCE:PORTS");
		restart();
	}
	hello("host", "r", hosts[0]);
	report(hosts[0], tasks[0], "STOPPED");
	{
		auto_json json_t *reply = start_on(0);

		assert_string_equal(text_at(reply, "tasks[0].lastStatus"), "PENDING");
	}
	assert_task(0, "stopCode", "TerminationNotice");
}

static void nothing_is_given_up_when_many_vanish(void **state)
{
	auto_json json_t *reply = NULL;

	(void)state;
	vanish(0);
	vanish(1);
	pass(10 * options.lost_ms);
	assert_task(0, "lastStatus", "RUNNING");
	assert_task(1, "lastStatus", "RUNNING");
	reply = call("DescribeContainerInstances", "{\"containerInstances\":[\"%s\"]}", hosts[0]);
	assert_non_null(strstr(text_at(reply, "containerInstances[0].statusReason"),
			       "their tasks are not given up"));
	hello("host", "r", hosts[1]); /* one alone is no longer many */
	pass(0);
	assert_task(0, "lastStatus", "STOPPED");
	assert_task(1, "lastStatus", "RUNNING");
}

static void after_a_start_of_the_server_all_have_time_to_come_back(void **state)
{
	(void)state;
	restart();
	pass(options.lost_ms - 1);
	for (int i = 0; i < HOSTS; i++)
		assert_task(i, "lastStatus", "RUNNING");
	for (int i = 1; i < HOSTS; i++)
		hello("host", "r", hosts[i]);
	pass(1);
	assert_task(0, "lastStatus", "STOPPED");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tasks_of_a_lost_node_are_given_up_after_a_while,
						begin, end),
		cmocka_unit_test_setup_teardown(
			a_clock_that_is_set_gives_nobody_up_and_keeps_nobody, begin, end),
		cmocka_unit_test_setup_teardown(
			what_they_had_is_nobodys_before_the_node_says_that_they_are_gone, begin,
			end),
		cmocka_unit_test_setup_teardown(nothing_is_given_up_when_many_vanish, begin, end),
		cmocka_unit_test_setup_teardown(
			after_a_start_of_the_server_all_have_time_to_come_back, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
