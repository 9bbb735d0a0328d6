/* tests/unit/scheduler/flap.c - nodes that come and go get no new tasks for a while
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/scheduler/driven.h"

#define HOSTS  4
#define SECOND 1000LL

static char hosts[HOSTS][33];

static int begin(void **state)
{
	(void)state;
	begin_core();
	do_call("RegisterTaskDefinition",
		"{\"family\":\"web\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"memory\":10}]}");
	for (int i = 0; i < HOSTS; i++) {
		hosts[i][0] = '\0';
		hello("host", "r", hosts[i]);
	}
	return 0;
}

/* It was there for so long, and is back after a second. */
static void flap(int host, int64_t after_ms)
{
	now_ms += after_ms;
	core_node_gone(core, hosts[host], now_ms);
	take_effects();
	now_ms += SECOND;
	hello("host", "r", hosts[host]);
}

static void pass(int64_t ms)
{
	now_ms += ms;
	core_tick(core, now_ms);
	take_effects();
}

/* NULL: a task can be started there. */
static void assert_refused(int host, const char *reason)
{
	auto_json json_t *reply =
		call("StartTask", "{\"taskDefinition\":\"web\",\"containerInstances\":[\"%s\"]}",
		     hosts[host]);

	if (reason)
		assert_string_equal(text_at(reply, "failures[0].reason"), reason);
	else
		assert_int_equal(json_array_size(json_object_get(reply, "tasks")), 1);
}

static void assert_told(int host, bool told)
{
	auto_json json_t *reply = call("DescribeContainerInstances",
				       "{\"containerInstances\":[\"%s\"]}", hosts[host]);
	json_t *reason = value_at(reply, "containerInstances[0].statusReason");

	assert_int_equal(reason && str_starts(json_string_value(reason), "Flapping"), told);
}

static void who_flaps_gets_no_tasks_before_it_was_quiet(void **state)
{
	(void)state;
	flap(0, 10 * SECOND);
	flap(0, 10 * SECOND);
	assert_refused(0, NULL);
	flap(0, 10 * SECOND);
	assert_refused(0, "AGENT:FLAPPING");
	assert_told(0, true);
	assert_refused(1, NULL);
	assert_int_equal(core_wake_ms(core), now_ms + 30 * SECOND);
	pass(30 * SECOND - 1);
	assert_refused(0, "AGENT:FLAPPING");
	pass(1);
	assert_told(0, false);
	assert_refused(0, NULL);
}

/* How long it is held back from now on; 0: it is not. */
static int64_t quiet_ms(int host)
{
	auto_free char *key = xasprintf("instance/default/%s", hosts[host]);
	auto_json json_t *doc = parse(disk_read(&disk, key));
	json_t *until = json_object_get(doc, "_quietUntil");

	return until ? json_integer_value(until) - now_ms : 0;
}

static void it_takes_longer_each_time_and_not_for_ever(void **state)
{
	static const int64_t seconds[] = {0, 0, 30, 60, 120, 240, 480, 960, 1800, 1800, 1800};

	(void)state;
	for (size_t n = 0; n < ARRAY_COUNT(seconds); n++) {
		flap(0, SECOND);
		assert_int_equal(quiet_ms(0), seconds[n] * SECOND);
	}
}

static void a_server_that_starts_again_goes_on_where_it_was(void **state)
{
	(void)state;
	for (int n = 0; n < 4; n++)
		flap(0, SECOND);
	restart();
	now_ms += SECOND;
	hello("host", "r", hosts[0]); /* nobody was gone */
	assert_int_equal(quiet_ms(0), 59 * SECOND);
	pass(59 * SECOND);
	assert_refused(0, NULL);
	flap(0, SECOND);
	assert_int_equal(quiet_ms(0), 120 * SECOND);
}

static void who_stays_for_long_begins_anew(void **state)
{
	(void)state;
	for (int n = 0; n < 5; n++)
		flap(0, SECOND);
	assert_refused(0, "AGENT:FLAPPING");
	flap(0, 600 * SECOND);
	assert_refused(0, NULL);

	for (int n = 0; n < 5; n++)
		flap(0, SECOND);
	pass(600 * SECOND);
	restart(); /* and so it is known to the next server */
	hello("host", "r", hosts[0]);
	flap(0, SECOND);
	assert_refused(0, NULL);
}

static void when_many_flap_nobody_else_is_held_back(void **state)
{
	(void)state;
	for (int n = 0; n < 3; n++)
		for (int i = 0; i < HOSTS; i++)
			flap(i, SECOND);
	assert_refused(0, "AGENT:FLAPPING");
	for (int i = 1; i < HOSTS; i++)
		assert_refused(i, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_flaps_gets_no_tasks_before_it_was_quiet, begin,
						end),
		cmocka_unit_test_setup_teardown(it_takes_longer_each_time_and_not_for_ever, begin,
						end),
		cmocka_unit_test_setup_teardown(a_server_that_starts_again_goes_on_where_it_was,
						begin, end),
		cmocka_unit_test_setup_teardown(who_stays_for_long_begins_anew, begin, end),
		cmocka_unit_test_setup_teardown(when_many_flap_nobody_else_is_held_back, begin,
						end),
	};

	return cmocka_run_group_tests_name("scheduler/flap", tests, NULL, NULL);
}
