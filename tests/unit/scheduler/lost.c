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

static int64_t version_of(int i)
{
	auto_json json_t *reply = call("DescribeTasks", "{\"tasks\":[\"%s\"]}", tasks[i]);

	return integer_at(reply, "tasks[0].version");
}

static void assert_connected(int i, const char *connectivity, int64_t since_ms)
{
	auto_json json_t *reply = call("DescribeTasks", "{\"tasks\":[\"%s\"]}", tasks[i]);

	assert_string_equal(text_at(reply, "tasks[0].connectivity"), connectivity);
	assert_int_equal(json_real_value(value_at(reply, "tasks[0].connectivityAt")) * 1000,
			 since_ms);
}

/* It is no new version of them, and no event: only the node has changed. */
static void a_node_that_comes_and_goes_costs_nothing_for_its_tasks(void **state)
{
	const int64_t version = version_of(0);

	(void)state;
	report(hosts[1], tasks[1], "STOPPED");
	for (int i = 0; i < 3; i++) {
		now_ms += 1000;
		vanish(0);
		assert_int_equal(fx.count, 2); /* its document, and an event */
		vanish(1);
		assert_connected(0, "DISCONNECTED", now_ms - 1000);
		assert_connected(1, "CONNECTED", START_MS); /* until it ended */
		hello("host", "r", hosts[0]);
		hello("host", "r", hosts[1]);
		assert_connected(0, "CONNECTED", now_ms);
		assert_connected(1, "CONNECTED", START_MS);
		hello("host", "r", hosts[0]); /* it was there */
		assert_connected(0, "CONNECTED", now_ms);
	}
	assert_int_equal(version_of(0), version);
	vanish(0);
	restart();
	assert_connected(0, "DISCONNECTED", now_ms);
	do_call("StopTask", "{\"task\":\"%s\"}", tasks[0]);
	assert_connected(0, "DISCONNECTED", now_ms); /* as its document says */
}

static size_t count_running(void)
{
	auto_json json_t *reply = call("ListTasks",
				       "{\"containerInstance\":\"%s\","
				       "\"desiredStatus\":\"RUNNING\"}",
				       hosts[0]);

	return json_array_size(value_at(reply, "taskArns"));
}

/* Of tasks. */
static size_t count_versions(void)
{
	size_t count = 0;

	for (size_t i = 0; i < fx.count; i++)
		count += fx.items[i].event_ms != 0;
	return count;
}

static void many_tasks_are_given_up_one_part_after_another(void **state)
{
	size_t parts = 0, running = 1;

	(void)state;
	check_every = 100;
	do_call("RegisterTaskDefinition", "{\"family\":\"w\",\"containerDefinitions\":"
					  "[{\"name\":\"a\",\"image\":\"i\",\"memory\":6}]}");
	for (size_t i = 1; i < HOSTS; i++)
		vanish((int)i);
	hello_with("host", "r", hosts[0], 4096, 65536);
	for (; running < 1200; running += 10)
		do_call("RunTask", "{\"taskDefinition\":\"w\",\"count\":10}");
	for (size_t i = 1; i < HOSTS; i++)
		hello("host", "r", hosts[i]);
	vanish(0);
	for (int64_t ms = options.lost_ms; count_running(); ms = 1, parts++) {
		pass(ms);
		assert_in_range(count_versions(), 0, 500);
		if (count_running())
			assert_int_equal(core_wake_ms(core), now_ms + 1);
	}
	assert_true(parts > 1);
	check_every = 1;
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
			a_node_that_comes_and_goes_costs_nothing_for_its_tasks, begin, end),
		cmocka_unit_test_setup_teardown(many_tasks_are_given_up_one_part_after_another,
						begin, end),
		cmocka_unit_test_setup_teardown(
			after_a_start_of_the_server_all_have_time_to_come_back, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
