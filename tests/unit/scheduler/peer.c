/* tests/unit/scheduler/peer.c - which hosts hear of which others
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/scheduler/driven.h"

#define HOSTS 3

static char hosts[HOSTS][33];
static char *subnet;

/* Reached at 10.0.0.N. */
static void hello_at(int n)
{
	auto_free char *address = xasprintf("10.0.0.%d", n + 1);
	struct ecs_attribute offers[] = {{(char[]){"ecs.capability.task-eni"}, NULL}};
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .instance_id = *hosts[n] ? hosts[n] : NULL,
					 .hostname = (char[]){"h"},
					 .boot_id = (char[]){"b"},
					 .version = (char[]){"1"},
					 .cpu_units = 100000,
					 .memory_mib = 100000,
					 .attributes = {offers, ARRAY_COUNT(offers)},
					 .addresses = {&address, 1}};
	const char *instance;
	struct err e = {0};

	assert_ok(core_node_hello(core, &h, NULL, 0, now_ms, &instance, &e));
	(void)snprintf(hosts[n], sizeof(hosts[n]), "%s", instance);
	take_effects();
}

static int begin(void **state)
{
	auto_json json_t *reply = NULL;

	(void)state;
	begin_core();
	memset(hosts, 0, sizeof(hosts));
	for (int n = 0; n < HOSTS; n++)
		hello_at(n);
	do_call("RegisterTaskDefinition",
		"{\"family\":\"t\",\"networkMode\":\"awsvpc\",\"containerDefinitions\":[{\"name\":"
		"\"a\",\"image\":\"i\",\"memory\":8}]}");
	reply = call("DescribeSubnets", "{}");
	subnet = xstrdup(text_at(reply, "subnetSet[0].subnetId"));
	return 0;
}

static int finish(void **state)
{
	free(subnet);
	return end(state);
}

/* A task on a host, with an address of a subnet; its ARN, the caller's. */
static char *start(int n, const char *in)
{
	auto_json json_t *reply =
		call("StartTask",
		     "{\"taskDefinition\":\"t\",\"containerInstances\":[\"%s\"],"
		     "\"networkConfiguration\":{\"awsvpcConfiguration\":{\"subnets\":[\"%s\"]}}}",
		     hosts[n], in);

	if (!reply)
		fail_msg("%s", fault.message);
	return xstrdup(text_at(reply, "tasks[0].taskArn"));
}

static size_t messages; /* that heard() found */

/*
 * What the last effects tell a host of others: "+N:PREFIXES" with those of tasks, "-N" one
 * that is gone, "full" before them.
 */
static const char *heard(int by)
{
	static char text[1000];
	auto_buf struct buf b = BUF_INIT(1000);

	messages = 0;
	for (size_t i = 0; i < fx.count; i++) {
		auto_json json_t *doc = NULL;
		json_t *peer, *prefix;
		size_t k, p;

		if (fx.items[i].kind != CORE_SEND || strcmp(fx.items[i].key, hosts[by]) != 0)
			continue;
		doc = parse(fx.items[i].text);
		if (strcmp(text_at(doc, "type"), "peers") != 0)
			continue;
		messages++;
		if (json_is_true(value_at(doc, "full")))
			buf_puts(&b, " full");
		json_array_foreach (value_at(doc, "peers"), k, peer) {
			const char *id = text_at(peer, "instanceId");
			int n = 0;

			while (strcmp(hosts[n], id) != 0)
				assert_true(++n < HOSTS);
			buf_printf(&b, " %c%d", json_is_true(value_at(peer, "gone")) ? '-' : '+',
				   n);
			json_array_foreach (value_at(peer, "prefixes"), p, prefix)
				if (!str_starts(json_string_value(prefix), "100.64."))
					buf_printf(&b, ":%s", json_string_value(prefix));
		}
	}
	(void)snprintf(text, sizeof(text), "%s", buf_str(&b));
	return text;
}

/* Whoever is first in a list of two is the map's business. */
static void assert_heard_both(int by, const char *first, const char *second)
{
	auto_free char *one = xasprintf(" full %s %s", first, second),
		       *other = xasprintf(" full %s %s", second, first);
	const char *is = heard(by);

	if (strcmp(is, one) != 0)
		assert_string_equal(is, other);
}

static void hosts_without_tasks_have_nothing_to_say_to_each_other(void **state)
{
	(void)state;
	hello_at(1);
	assert_string_equal(heard(0), "");
	assert_string_equal(heard(1), " full");
	assert_string_equal(heard(2), "");
}

static void a_host_without_tasks_hears_of_those_that_have_some(void **state)
{
	auto_free char *arn = start(0, subnet), *second = NULL;

	(void)state;
	assert_string_equal(heard(1), " +0:172.31.0.0/28");
	assert_string_equal(heard(2), " +0:172.31.0.0/28");
	/* Its tasks answer to all hosts. */
	assert_heard_both(0, "+1", "+2");
	hello_at(1);
	assert_string_equal(heard(1), " full +0:172.31.0.0/28");
	assert_string_equal(heard(0), "");
	second = start(1, subnet);
	assert_string_equal(heard(0), " +1:172.31.0.16/28");
	assert_string_equal(heard(2), " +1:172.31.0.16/28");
	assert_heard_both(1, "+0:172.31.0.0/28", "+2");
}

static void a_change_is_one_message_to_each_and_no_list(void **state)
{
	char *arns[13]; /* four addresses of a subnet are nobody's */

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(arns); i++)
		arns[i] = start(0, subnet); /* the last one is in a second block */
	assert_string_equal(heard(0), "");
	assert_string_equal(heard(1), " +0:172.31.0.0/27");
	assert_int_equal(messages, 1);
	for (size_t i = 0; i < ARRAY_COUNT(arns); i++)
		free(arns[i]);
}

static void of_all_vpcs(void **state)
{
	auto_json json_t *vpc = call("CreateVpc", "{\"CidrBlock\":\"10.8.0.0/16\"}"),
			 *in = call("CreateSubnet",
				    "{\"VpcId\":\"%s\",\"CidrBlock\":\"10.8.0.0/24\"}",
				    text_at(vpc, "vpc.vpcId"));
	auto_free char *arn = start(0, subnet), *other = NULL;

	(void)state;
	other = start(1, text_at(in, "subnet.subnetId"));
	assert_string_equal(heard(0), " +1:10.8.0.4/32");
	assert_string_equal(heard(2), " +1:10.8.0.4/32");
	assert_heard_both(1, "+0:172.31.0.0/28", "+2");
}

static void with_its_last_task_a_host_is_gone_for_those_without(void **state)
{
	auto_free char *arn = start(0, subnet), *second = start(1, subnet);

	(void)state;
	report(hosts[0], arn, "STOPPED");
	now_ms += 61000; /* the address rests for a minute */
	core_tick(core, now_ms);
	take_effects();
	assert_string_equal(heard(2), " -0");
	assert_string_equal(heard(1), " +0");
	assert_string_equal(heard(0), " full +1:172.31.0.16/28");
}

static void a_removed_host_is_gone_for_all(void **state)
{
	auto_free char *arn = start(0, subnet);

	(void)state;
	do_call("DeregisterContainerInstance", "{\"containerInstance\":\"%s\",\"force\":true}",
		hosts[0]);
	assert_non_null(strstr(heard(1), " -0"));
	assert_non_null(strstr(heard(2), " -0"));
}

static void after_a_restart_a_list_says_the_same(void **state)
{
	auto_free char *arn = start(0, subnet);

	(void)state;
	restart();
	hello_at(2);
	assert_string_equal(heard(2), " full +0:172.31.0.0/28");
	hello_at(0);
	assert_heard_both(0, "+1", "+2");
	assert_string_equal(heard(2), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			hosts_without_tasks_have_nothing_to_say_to_each_other, begin, finish),
		cmocka_unit_test_setup_teardown(a_host_without_tasks_hears_of_those_that_have_some,
						begin, finish),
		cmocka_unit_test_setup_teardown(a_change_is_one_message_to_each_and_no_list, begin,
						finish),
		cmocka_unit_test_setup_teardown(of_all_vpcs, begin, finish),
		cmocka_unit_test_setup_teardown(with_its_last_task_a_host_is_gone_for_those_without,
						begin, finish),
		cmocka_unit_test_setup_teardown(a_removed_host_is_gone_for_all, begin, finish),
		cmocka_unit_test_setup_teardown(after_a_restart_a_list_says_the_same, begin,
						finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
