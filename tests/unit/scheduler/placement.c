/* tests/unit/scheduler/placement.c - constraints, strategies, attributes, draining
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/scheduler/driven.h"

#define HOSTS 4

static char hosts[HOSTS][33]; /* in racks r1, r1, r2, r2 */

static int begin(void **state)
{
	static const char *const racks[HOSTS] = {"r1", "r1", "r2", "r2"};

	(void)state;
	begin_core();
	for (size_t i = 0; i < HOSTS; i++) {
		hosts[i][0] = '\0';
		hello("host", racks[i], hosts[i]);
	}
	do_call("RegisterTaskDefinition",
		"{\"family\":\"web\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\","
		"\"memory\":100,\"cpu\":100}]}");
	return 0;
}

/* Run a task with more of a request; the number of its host, -1: no place, why is in 'reason'. */
static int run_one(const char *more, char reason[100])
{
	auto_json json_t *reply = call("RunTask", "{\"taskDefinition\":\"web\"%s}", more);
	const char *arn;

	if (!reply)
		fail_msg("%s: %s", more, fault.message);
	if (!json_array_size(json_object_get(reply, "tasks"))) {
		(void)snprintf(reason, 100, "%s", text_at(reply, "failures[0].reason"));
		return -1;
	}
	arn = text_at(reply, "tasks[0].containerInstanceArn");
	for (int i = 0; i < HOSTS; i++)
		if (strstr(arn, hosts[i]))
			return i;
	fail_msg("on no host: %s", arn);
	return -1;
}

static void member_of_binds(void **state)
{
	char reason[100];

	(void)state;
	for (int i = 0; i < 6; i++) {
		int host =
			run_one(",\"placementConstraints\":[{\"type\":\"memberOf\",\"expression\":"
				"\"attribute:rack == r2\"}]",
				reason);

		assert_true(host == 2 || host == 3);
	}
	assert_int_equal(run_one(",\"placementConstraints\":[{\"type\":\"memberOf\",\"expression\":"
				 "\"attribute:rack == r3\"}]",
				 reason),
			 -1);
	assert_string_equal(reason, "MemberOf placement constraint unsatisfied.");
}

static void constraints_of_the_definition_bind_too(void **state)
{
	auto_json json_t *reply = NULL;

	(void)state;
	do_call("RegisterTaskDefinition",
		"{\"family\":\"tied\",\"placementConstraints\":[{\"type\":\"memberOf\",\"expression\":"
		"\"attribute:rack == r1\"}],\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\","
		"\"memory\":8}]}");
	reply = call(
		"RunTask",
		"{\"taskDefinition\":\"tied\",\"placementConstraints\":[{\"type\":\"memberOf\","
		"\"expression\":\"attribute:rack == r2\"}]}");
	assert_int_equal(json_array_size(json_object_get(reply, "tasks")), 0);
	assert_int_equal(json_array_size(json_object_get(reply, "failures")), HOSTS);
	assert_null(
		call("RegisterTaskDefinition",
		     "{\"family\":\"bad\",\"placementConstraints\":[{\"type\":\"memberOf\","
		     "\"expression\":\"rack == r1\"}],\"containerDefinitions\":[{\"name\":\"a\","
		     "\"image\":\"i\",\"memory\":8}]}"));
	assert_int_equal(fault.type, ECS_FAULT_CLIENT);
	assert_non_null(strstr(fault.message, "this is not a subject"));
}

static void distinct_instances_are_distinct_for_a_group(void **state)
{
	static const char distinct[] =
		",\"placementConstraints\":[{\"type\":\"distinctInstance\"}]";
	bool used[HOSTS] = {false};
	char reason[100];

	(void)state;
	for (int i = 0; i < HOSTS; i++) {
		int host = run_one(distinct, reason);

		assert_true(host >= 0 && !used[host]);
		used[host] = true;
	}
	assert_int_equal(run_one(distinct, reason), -1);
	assert_string_equal(reason, "DistinctInstance placement constraint unsatisfied.");
	assert_true(run_one(",\"group\":\"other\",\"placementConstraints\":[{\"type\":"
			    "\"distinctInstance\"}]",
			    reason) >= 0);
}

static void spread_is_even_and_binpack_is_not(void **state)
{
	size_t per_rack[2] = {0}, per_host[HOSTS] = {0};
	char reason[100];
	int first;

	(void)state;
	for (int i = 0; i < 8; i++) {
		int host = run_one(
			",\"placementStrategy\":[{\"type\":\"spread\",\"field\":"
			"\"attribute:rack\"},{\"type\":\"spread\",\"field\":\"instanceId\"}]",
			reason);

		per_rack[host / 2]++;
		per_host[host]++;
		assert_true(per_rack[0] <= per_rack[1] + 1 && per_rack[1] <= per_rack[0] + 1);
	}
	for (int i = 0; i < HOSTS; i++)
		assert_int_equal(per_host[i], 2);

	first = run_one(",\"placementStrategy\":[{\"type\":\"binpack\",\"field\":\"cpu\"}]",
			reason);
	for (int i = 0; i < 5; i++)
		assert_int_equal(run_one(",\"placementStrategy\":[{\"type\":\"binpack\",\"field\":"
					 "\"MEMORY\"}]",
					 reason),
				 first);
}

static void random_reaches_all(void **state)
{
	bool used[HOSTS] = {false};
	char reason[100];

	(void)state;
	for (int i = 0; i < 100; i++)
		used[run_one(",\"placementStrategy\":[{\"type\":\"random\"}]", reason)] = true;
	for (int i = 0; i < HOSTS; i++)
		assert_true(used[i]);
}

/* Stopped tasks come back, too, some behind the one that has the port now. */
static void a_port_stays_taken_when_the_server_starts_again(void **state)
{
	enum { TASKS = 12 };
	char arn[200];

	(void)state;
	do_call("RegisterTaskDefinition",
		"{\"family\":\"port\",\"networkMode\":\"bridge\",\"containerDefinitions\":[{\"name\":\"a\","
		"\"image\":\"i\",\"memory\":100,\"portMappings\":[{\"containerPort\":80,\"hostPort\":8080,"
		"\"protocol\":\"tcp\"}]}]}");
	for (int i = 0; i < TASKS; i++) {
		auto_json json_t *reply = call(
			"StartTask",
			"{\"taskDefinition\":\"port\",\"containerInstances\":[\"%s\"]}", hosts[0]);

		(void)snprintf(arn, sizeof(arn), "%s", text_at(reply, "tasks[0].taskArn"));
		if (i < TASKS - 1)
			report(hosts[0], arn, "STOPPED");
	}
	restart();
	hello("host", "r1", hosts[0]);
	{
		auto_json json_t *reply = call(
			"StartTask",
			"{\"taskDefinition\":\"port\",\"containerInstances\":[\"%s\"]}", hosts[0]);

		assert_string_equal(text_at(reply, "failures[0].reason"), "RESOURCE:PORTS");
	}
	report(hosts[0], arn, "STOPPED");
	{
		auto_json json_t *reply = call(
			"StartTask",
			"{\"taskDefinition\":\"port\",\"containerInstances\":[\"%s\"]}", hosts[0]);

		assert_string_equal(text_at(reply, "tasks[0].lastStatus"), "PENDING");
	}
}

static void wrong_constraints_and_strategies_are_refused(void **state)
{
	static const char *const rows[] = {
		"\"placementStrategy\":[{\"type\":\"binpack\",\"field\":\"disk\"}]",
		"\"placementStrategy\":[{\"type\":\"binpack\"}]",
		"\"placementStrategy\":[{\"type\":\"spread\",\"field\":\"attribute:\"}]",
		"\"placementStrategy\":[{\"type\":\"random\",\"field\":\"cpu\"}]",
		"\"placementConstraints\":[{\"type\":\"memberOf\"}]",
		"\"placementConstraints\":[{\"type\":\"memberOf\",\"expression\":\"x\"}]",
		"\"placementConstraints\":[{\"type\":\"distinctInstance\",\"expression\":\"x\"}]",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		if (call("RunTask", "{\"taskDefinition\":\"web\",%s}", rows[i]))
			fail_msg("%s was accepted", rows[i]);
		assert_int_equal(fault.type, ECS_FAULT_INVALID_PARAMETER);
		assert_int_equal(fx.count, 0);
	}
}

static void attributes_are_put_listed_outlive_a_hello_and_are_deleted(void **state)
{
	auto_json json_t *listed = NULL, *filtered = NULL;
	char reason[100];

	(void)state;
	do_call("PutAttributes",
		"{\"attributes\":[{\"name\":\"disk\",\"value\":\"nvme 1\",\"targetId\":\"%s\"}]}",
		hosts[3]);
	restart();
	for (size_t i = 0; i < HOSTS; i++)
		hello("host", "r9", hosts[i]);
	listed = call("ListAttributes",
		      "{\"targetType\":\"container-instance\",\"attributeName\":\"disk\"}");
	assert_int_equal(json_array_size(json_object_get(listed, "attributes")), 1);
	assert_string_equal(text_at(listed, "attributes[0].value"), "nvme 1");
	assert_non_null(strstr(text_at(listed, "attributes[0].targetId"), hosts[3]));
	filtered = call("ListContainerInstances", "{\"filter\":\"attribute:disk exists\"}");
	assert_int_equal(json_array_size(json_object_get(filtered, "containerInstanceArns")), 1);
	assert_int_equal(run_one(",\"placementConstraints\":[{\"type\":\"memberOf\",\"expression\":"
				 "\"attribute:disk == 'nvme 1'\"}]",
				 reason),
			 3);
	do_call("DeleteAttributes", "{\"attributes\":[{\"name\":\"disk\",\"targetId\":\"%s\"}]}",
		hosts[3]);
	assert_int_equal(run_one(",\"placementConstraints\":[{\"type\":\"memberOf\",\"expression\":"
				 "\"attribute:disk exists\"}]",
				 reason),
			 -1);
}

static void wrong_attributes_are_refused(void **state)
{
	static const struct {
		const char *attribute;
		enum ecs_fault_type type;
	} rows[] = {
		{"{\"name\":\"a\",\"targetId\":\"nobody\"}", ECS_FAULT_TARGET_NOT_FOUND},
		{"{\"name\":\"a\"}", ECS_FAULT_TARGET_NOT_FOUND},
		{"{\"name\":\"a b\",\"targetId\":\"H\"}", ECS_FAULT_INVALID_PARAMETER},
		{"{\"name\":\"ecs.os-type\",\"targetId\":\"H\"}", ECS_FAULT_INVALID_PARAMETER},
		{"{\"name\":\"a\",\"value\":\"b;c\",\"targetId\":\"H\"}",
		 ECS_FAULT_INVALID_PARAMETER},
		{"{\"name\":\"a\",\"value\":\" b\",\"targetId\":\"H\"}",
		 ECS_FAULT_INVALID_PARAMETER},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *h = strstr(rows[i].attribute, "\"H\"");
		auto_free char *attribute = h ? xasprintf("%.*s\"%s\"}",
							  (int)(h - rows[i].attribute),
							  rows[i].attribute, hosts[0])
					      : xstrdup(rows[i].attribute);

		if (call("PutAttributes", "{\"attributes\":[%s]}", attribute))
			fail_msg("%s was accepted", attribute);
		assert_int_equal(fault.type, rows[i].type);
	}
	for (int i = 0; i < 10; i++)
		do_call("PutAttributes",
			"{\"attributes\":[{\"name\":\"n%d\",\"targetId\":\"%s\"}]}", i, hosts[0]);
	do_call("PutAttributes",
		"{\"attributes\":[{\"name\":\"n1\",\"value\":\"new\",\"targetId\":\"%s\"}]}",
		hosts[0]);
	assert_null(call("PutAttributes",
			 "{\"attributes\":[{\"name\":\"n10\",\"targetId\":\"%s\"}]}", hosts[0]));
	assert_int_equal(fault.type, ECS_FAULT_ATTRIBUTE_LIMIT);
}

#define LOCAL_ZONE "us-east-1-bos-1a"
#define OUTPOST    "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"

/* As its operator says where it stands; outpost NULL: in none. */
static void hello_from(const char *id, const char *zone, const char *outpost)
{
	struct ecs_attribute places[] = {
		{(char[]){"ecs.availability-zone"}, (char *)(uintptr_t)zone},
		{(char[]){"ecs.outpost-arn"}, (char *)(uintptr_t)outpost}};
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .instance_id = (char *)(uintptr_t)id,
					 .hostname = (char[]){"host"},
					 .boot_id = (char[]){"b"},
					 .version = (char[]){"1"},
					 .cpu_units = 100000,
					 .memory_mib = 100000,
					 .attributes = {places, outpost ? 2 : 1}};
	struct err e = {0};
	const char *instance;

	assert_ok(core_node_hello(core, &h, NULL, 0, now_ms, &instance, &e));
	take_effects();
}

static const char *attribute_in(const json_t *attributes, const char *name)
{
	json_t *a;
	size_t n;

	json_array_foreach (attributes, n, a)
		if (strcmp(text_at(a, "name"), name) == 0)
			return text_at(a, "value");
	fail_msg("no %s", name);
	return NULL;
}

static size_t count_matching(const char *filter)
{
	auto_json json_t *reply = call("ListContainerInstances", "{\"filter\":\"%s\"}", filter);

	return json_array_size(json_object_get(reply, "containerInstanceArns"));
}

static void local_zones_and_outposts_are_attributes(void **state)
{
	static const char member_of[] =
		",\"placementConstraints\":[{\"type\":\"memberOf\",\"expression\":\"%s\"}]";
	static const struct {
		const char *expression;
		int host;
	} rows[] = {
		{"attribute:ecs.availability-zone == " LOCAL_ZONE, 2},
		{"attribute:ecs.availability-zone =~ us-east-1-bos-.*", 2},
		{"attribute:ecs.availability-zone in [us-east-1c, " LOCAL_ZONE "]", 2},
		{"attribute:ecs.outpost-arn exists", 3},
		{"attribute:ecs.outpost-arn == " OUTPOST, 3},
		{"attribute:ecs.outpost-arn == '" OUTPOST "'", 3},
		{"attribute:ecs.outpost-arn !exists and attribute:ecs.availability-zone == us-east-1b",
		 1},
		{"attribute:ecs.availability-zone == us-east-1-bos-1b", -1},
	};
	auto_json json_t *listed = NULL, *described = NULL, *run = NULL;
	size_t per_host[HOSTS] = {0};
	char reason[100];

	(void)state;
	hello_from(hosts[1], "us-east-1b", NULL); /* the first says nothing: us-east-1a */
	hello_from(hosts[2], LOCAL_ZONE, NULL);
	hello_from(hosts[3], "us-east-1b", OUTPOST);
	restart();
	hello_from(hosts[1], "us-east-1b", NULL);
	hello_from(hosts[2], LOCAL_ZONE, NULL);
	hello_from(hosts[3], "us-east-1b", OUTPOST);
	hello("host", "r1", hosts[0]);

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_free char *more = xasprintf(member_of, rows[i].expression);

		assert_int_equal(run_one(more, reason), rows[i].host);
		assert_int_equal(count_matching(rows[i].expression), rows[i].host >= 0);
	}

	/* Three zones, and two hosts in one of them. */
	for (int i = 0; i < 9; i++)
		per_host[run_one(",\"group\":\"even\",\"placementStrategy\":[{\"type\":\"spread\","
				 "\"field\":\"attribute:ecs.availability-zone\"}]",
				 reason)]++;
	assert_int_equal(per_host[0], 3);
	assert_int_equal(per_host[1] + per_host[3], 3);
	assert_int_equal(per_host[2], 3);

	run = call("RunTask",
		   "{\"taskDefinition\":\"web\",\"placementConstraints\":[{\"type\":"
		   "\"memberOf\",\"expression\":\"attribute:ecs.availability-zone == " LOCAL_ZONE
		   "\"}]}");
	assert_string_equal(text_at(run, "tasks[0].availabilityZone"), LOCAL_ZONE);
	listed = call("ListAttributes", "{\"targetType\":\"container-instance\","
					"\"attributeName\":\"ecs.outpost-arn\"}");
	assert_int_equal(json_array_size(json_object_get(listed, "attributes")), 1);
	assert_string_equal(text_at(listed, "attributes[0].value"), OUTPOST);
	assert_non_null(strstr(text_at(listed, "attributes[0].targetId"), hosts[3]));
	described = call("DescribeContainerInstances", "{\"containerInstances\":[\"%s\"]}",
			 hosts[2]);
	assert_string_equal(attribute_in(value_at(described, "containerInstances[0].attributes"),
					 "ecs.availability-zone"),
			    LOCAL_ZONE);
	/* They are where the host stands: nobody else can put them. */
	assert_null(call("PutAttributes",
			 "{\"attributes\":[{\"name\":\"ecs.outpost-arn\",\"value\":\"%s\","
			 "\"targetId\":\"%s\"}]}",
			 OUTPOST, hosts[0]));
}

static void a_draining_instance_gets_nothing_new(void **state)
{
	char reason[100];
	auto_json json_t *reply = NULL;

	(void)state;
	for (size_t i = 1; i < HOSTS; i++)
		do_call("UpdateContainerInstancesState",
			"{\"containerInstances\":[\"%s\"],\"status\":\"DRAINING\"}", hosts[i]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(run_one("", reason), 0);
	reply = call("ListContainerInstances", "{\"status\":\"DRAINING\"}");
	assert_int_equal(json_array_size(json_object_get(reply, "containerInstanceArns")),
			 HOSTS - 1);
	do_call("UpdateContainerInstancesState",
		"{\"containerInstances\":[\"%s\"],\"status\":\"DRAINING\"}", hosts[0]);
	assert_int_equal(run_one("", reason), -1);
	do_call("UpdateContainerInstancesState",
		"{\"containerInstances\":[\"%s\"],\"status\":\"ACTIVE\"}", hosts[2]);
	assert_int_equal(run_one("", reason), 2);
	assert_null(call("UpdateContainerInstancesState",
			 "{\"containerInstances\":[\"%s\"],\"status\":\"INACTIVE\"}", hosts[2]));
}

/* The first host has room for one network interface of a task. */
static void hello_with_one_interface(void)
{
	struct ecs_attribute offers[] = {{(char[]){"ecs.capability.task-eni"}, NULL},
					 {(char[]){"rack"}, (char[]){"r1"}}};
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .instance_id = hosts[0],
					 .hostname = (char[]){"host"},
					 .boot_id = (char[]){"b"},
					 .version = (char[]){"1"},
					 .cpu_units = 100000,
					 .memory_mib = 100000,
					 .interfaces = 1,
					 .attributes = {offers, ARRAY_COUNT(offers)}};
	struct err e = {0};
	const char *instance;

	assert_ok(core_node_hello(core, &h, NULL, 0, now_ms, &instance, &e));
	take_effects();
}

/* On the first host; the task's ARN, or "" and the reason. */
static void start_there(const char *family, const char *more, char arn[200], char reason[100])
{
	auto_json json_t *reply =
		call("StartTask", "{\"taskDefinition\":\"%s\",\"containerInstances\":[\"%s\"]%s}",
		     family, hosts[0], more);

	arn[0] = reason[0] = '\0';
	if (!reply)
		fail_msg("%s", fault.message);
	if (json_array_size(json_object_get(reply, "tasks")))
		(void)snprintf(arn, 200, "%s", text_at(reply, "tasks[0].taskArn"));
	else
		(void)snprintf(reason, 100, "%s", text_at(reply, "failures[0].reason"));
}

static void network_interfaces_are_counted_where_there_is_a_limit(void **state)
{
	auto_json json_t *subnets = call("DescribeSubnets", "{}");
	auto_free char *more = xasprintf(",\"networkConfiguration\":{\"awsvpcConfiguration\":{"
					 "\"subnets\":[\"%s\"]}}",
					 text_at(subnets, "subnetSet[0].subnetId"));
	char first[200], arn[200], reason[100];

	(void)state;
	do_call("RegisterTaskDefinition",
		"{\"family\":\"eni\",\"networkMode\":\"awsvpc\",\"containerDefinitions\":[{\"name\":\"a\","
		"\"image\":\"i\",\"memory\":10}]}");
	hello_with_one_interface();
	start_there("eni", more, first, reason);
	assert_true(*first);
	start_there("eni", more, arn, reason);
	assert_string_equal(reason, "RESOURCE:ENI");
	report(hosts[0], first, "STOPPED");
	start_there("eni", more, arn, reason);
	assert_true(*arn);
}

static void a_refusal_says_how_many_have_which_reason(void **state)
{
	auto_json json_t *reply = NULL;

	(void)state;
	do_call("RegisterTaskDefinition",
		"{\"family\":\"huge\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\","
		"\"memory\":200000}]}");
	do_call("UpdateContainerInstancesState",
		"{\"containerInstances\":[\"%s\"],\"status\":\"DRAINING\"}", hosts[0]);
	core_node_gone(core, hosts[1], now_ms);
	reply = call("RunTask", "{\"taskDefinition\":\"huge\"}");
	assert_int_equal(json_array_size(json_object_get(reply, "failures")), HOSTS);
	assert_string_equal(
		text_at(reply, "failures[0].detail"),
		"none of 4 container instances: 2 RESOURCE:MEMORY, 1 AGENT (not connected), 1 "
		"INACTIVE (draining)");
}

static void an_explanation_names_what_is_chosen_and_what_is_not(void **state)
{
	static const char *const rows[] = {
		"",
		",\"placementStrategy\":[{\"type\":\"spread\",\"field\":\"attribute:rack\"}]",
		",\"placementStrategy\":[{\"type\":\"spread\",\"field\":\"instanceId\"},{\"type\":"
		"\"binpack\",\"field\":\"cpu\"}]",
		",\"placementConstraints\":[{\"type\":\"memberOf\",\"expression\":\"attribute:rack == "
		"r2\"}],\"placementStrategy\":[{\"type\":\"spread\",\"field\":\"instanceId\"}]",
	};

	(void)state;
	for (size_t n = 0; n < 5 * ARRAY_COUNT(rows); n++) {
		const char *more = rows[n % ARRAY_COUNT(rows)];
		auto_json json_t *told = call("ExplainPlacement", "{\"taskDefinition\":\"web\"%s}",
					      more);
		char reason[100];

		assert_int_equal(fx.count, 0); /* nothing is done */
		assert_non_null(strstr(text_at(told, "best[0].containerInstanceArn"),
				       hosts[run_one(more, reason)]));
		if (strstr(more, "attribute:rack\""))
			assert_int_equal(text_at(told, "best[0].strategies[0].attributeValue")[0],
					 'r');
		if (strstr(more, "memberOf")) {
			assert_string_equal(text_at(told, "refusals[0].reason"),
					    "MemberOf placement constraint unsatisfied.");
			assert_int_equal(integer_at(told, "refusals[0].count"), 2);
			assert_int_equal(integer_at(told, "candidates"), 2);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(member_of_binds, begin, end),
		cmocka_unit_test_setup_teardown(constraints_of_the_definition_bind_too, begin, end),
		cmocka_unit_test_setup_teardown(distinct_instances_are_distinct_for_a_group, begin,
						end),
		cmocka_unit_test_setup_teardown(spread_is_even_and_binpack_is_not, begin, end),
		cmocka_unit_test_setup_teardown(random_reaches_all, begin, end),
		cmocka_unit_test_setup_teardown(a_port_stays_taken_when_the_server_starts_again,
						begin, end),
		cmocka_unit_test_setup_teardown(wrong_constraints_and_strategies_are_refused, begin,
						end),
		cmocka_unit_test_setup_teardown(
			attributes_are_put_listed_outlive_a_hello_and_are_deleted, begin, end),
		cmocka_unit_test_setup_teardown(wrong_attributes_are_refused, begin, end),
		cmocka_unit_test_setup_teardown(local_zones_and_outposts_are_attributes, begin,
						end),
		cmocka_unit_test_setup_teardown(a_draining_instance_gets_nothing_new, begin, end),
		cmocka_unit_test_setup_teardown(
			network_interfaces_are_counted_where_there_is_a_limit, begin, end),
		cmocka_unit_test_setup_teardown(a_refusal_says_how_many_have_which_reason, begin,
						end),
		cmocka_unit_test_setup_teardown(an_explanation_names_what_is_chosen_and_what_is_not,
						begin, end),
	};

	return cmocka_run_group_tests_name("scheduler/placement", tests, NULL, NULL);
}
