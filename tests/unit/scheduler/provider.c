/* tests/unit/scheduler/provider.c - capacity providers: groups of nodes, base and weight
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/scheduler/driven.h"

#define HOSTS 4

static char hosts[HOSTS][33]; /* of groups edge, edge, core, none */

#define GROUP "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:u:autoScalingGroupName/"

static void make_provider(const char *name, const char *group)
{
	do_call("CreateCapacityProvider",
		"{\"name\":\"%s\",\"autoScalingGroupProvider\":{\"autoScalingGroupArn\":\"%s\"}}",
		name, group);
}

static int begin(void **state)
{
	static const char *const groups[HOSTS] = {"edge", "edge", "core", NULL};

	(void)state;
	begin_core();
	for (size_t i = 0; i < HOSTS; i++) {
		hosts[i][0] = '\0';
		hello("host", "r", hosts[i]);
		if (groups[i])
			do_call("PutAttributes",
				"{\"attributes\":[{\"name\":\"berth.node-group\",\"value\":\"%s\","
				"\"targetId\":\"%s\"}]}",
				groups[i], hosts[i]);
	}
	do_call("RegisterTaskDefinition",
		"{\"family\":\"web\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\","
		"\"memory\":100,\"cpu\":100}]}");
	make_provider("at-the-edge", GROUP "edge");
	make_provider("in-the-core", "core");
	do_call("PutClusterCapacityProviders",
		"{\"cluster\":\"default\",\"capacityProviders\":[\"at-the-edge\",\"in-the-core\"],"
		"\"defaultCapacityProviderStrategy\":[]}");
	return 0;
}

/* How many of 'count' tasks, run one by one or at once, went to the provider at the edge. */
static size_t run(size_t calls, size_t count, const char *more)
{
	size_t edge = 0;

	for (size_t n = 0; n < calls; n++) {
		auto_json json_t *reply = call(
			"RunTask", "{\"taskDefinition\":\"web\",\"count\":%zu%s}", count, more);
		json_t *task;
		size_t i;

		if (!reply)
			fail_msg("%s", fault.message);
		assert_int_equal(json_array_size(json_object_get(reply, "tasks")), count);
		json_array_foreach (json_object_get(reply, "tasks"), i, task) {
			const char *arn = text_at(task, "containerInstanceArn");
			bool there = strstr(arn, hosts[0]) || strstr(arn, hosts[1]);

			assert_string_equal(text_at(task, "capacityProviderName"),
					    there ? "at-the-edge" : "in-the-core");
			assert_null(strstr(arn, hosts[3]));
			edge += there;
		}
	}
	return edge;
}

#define STRATEGY(edge, core)                                                         \
	",\"capacityProviderStrategy\":[{\"capacityProvider\":\"at-the-edge\"," edge \
	"},{\"capacityProvider\":\"in-the-core\"," core "}]"

static void weights_share_tasks_of_one_call_and_of_many(void **state)
{
	(void)state;
	assert_int_equal(run(1, 8, STRATEGY("\"weight\":3", "\"weight\":1")), 6);
	assert_int_equal(run(8, 1, STRATEGY("\"weight\":3", "\"weight\":1")), 6);
}

static void a_base_comes_first(void **state)
{
	(void)state;
	assert_int_equal(run(1, 3, STRATEGY("\"weight\":1", "\"weight\":0,\"base\":2")), 1);
	assert_int_equal(run(4, 1, STRATEGY("\"weight\":1", "\"weight\":0,\"base\":2")), 4);
}

static void the_cluster_has_a_strategy_for_who_names_none(void **state)
{
	auto_json json_t *reply = NULL;

	(void)state;
	do_call("PutClusterCapacityProviders",
		"{\"cluster\":\"default\",\"capacityProviders\":[\"at-the-edge\",\"in-the-core\"],"
		"\"defaultCapacityProviderStrategy\":[{\"capacityProvider\":\"in-the-core\","
		"\"weight\":1}]}");
	assert_int_equal(run(3, 1, ""), 0);
	reply = call("RunTask", "{\"taskDefinition\":\"web\",\"launchType\":\"EC2\"}");
	assert_null(json_object_get(json_array_get(json_object_get(reply, "tasks"), 0),
				    "capacityProviderName"));
}

static void a_cluster_counts_its_tasks_by_launch_type(void **state)
{
	auto_json json_t *reply = NULL, *counts = json_object();
	json_t *pair;
	size_t i;

	(void)state;
	(void)run(1, 3, STRATEGY("\"weight\":1", "\"weight\":1"));
	do_call("RunTask", "{\"taskDefinition\":\"web\",\"launchType\":\"EXTERNAL\"}");
	reply = call("DescribeClusters", "{\"include\":[\"STATISTICS\"]}");
	json_array_foreach (json_object_get(json_array_get(json_object_get(reply, "clusters"), 0),
					    "statistics"),
			    i, pair)
		(void)json_object_set(counts, text_at(pair, "name"),
				      json_object_get(pair, "value"));
	assert_string_equal(text_at(counts, "pendingEC2TasksCount"), "3");
	assert_string_equal(text_at(counts, "pendingExternalTasksCount"), "1");
	assert_string_equal(text_at(counts, "runningEC2TasksCount"), "0");
	assert_string_equal(text_at(counts, "activeEC2ServiceCount"), "0");
}

static void a_node_shows_its_provider(void **state)
{
	auto_json json_t *reply = call("DescribeContainerInstances",
				       "{\"containerInstances\":[\"%s\"]}", hosts[1]);

	(void)state;
	assert_string_equal(text_at(reply, "containerInstances[0].capacityProviderName"),
			    "at-the-edge");
}

static void wrong_ones_are_refused_by_name(void **state)
{
#define PROVIDER(more) \
	"{\"name\":\"p\",\"autoScalingGroupProvider\":{\"autoScalingGroupArn\":\"g\"" more "}}"
#define RUN(more) "{\"taskDefinition\":\"web\"" more "}"
	static const struct {
		const char *operation, *request, *says;
	} rows[] = {
		{"CreateCapacityProvider", "{\"name\":\"aws-p\"}", "cannot be prefixed"},
		{"CreateCapacityProvider", "{\"name\":\"a b\"}", "name is invalid"},
		{"CreateCapacityProvider", "{\"name\":\"at-the-edge\"}", "already exists"},
		{"CreateCapacityProvider", "{\"name\":\"p\"}",
		 "autoScalingGroupProvider is required"},
		{"CreateCapacityProvider",
		 "{\"name\":\"p\",\"autoScalingGroupProvider\":{\"autoScalingGroupArn\":\"a b\"}}",
		 "does not name a node group"},
		{"CreateCapacityProvider", PROVIDER(",\"managedScaling\":{\"status\":\"ENABLED\"}"),
		 "managedScaling can only be DISABLED"},
		{"CreateCapacityProvider", PROVIDER(",\"managedScaling\":{\"targetCapacity\":90}"),
		 "managedScaling can only be DISABLED"},
		{"CreateCapacityProvider", PROVIDER(",\"managedDraining\":\"ENABLED\""),
		 "managedDraining can only be DISABLED"},
		{"UpdateCapacityProvider", "{\"name\":\"nobody\"}", "was not found"},
		{"DeleteCapacityProvider", "{\"capacityProvider\":\"at-the-edge\"}",
		 "associated with cluster: default"},
		{"RunTask",
		 RUN(",\"capacityProviderStrategy\":[{\"capacityProvider\":\"nobody\",\"weight\":1}]"),
		 "'nobody' was not found"},
		{"RunTask", RUN(STRATEGY("\"weight\":0", "\"weight\":0")), "weight value greater"},
		{"RunTask", RUN(STRATEGY("\"base\":1,\"weight\":1", "\"base\":1")),
		 "only one item"},
		{"RunTask", RUN(",\"launchType\":\"EC2\"" STRATEGY("\"weight\":1", "\"weight\":1")),
		 "both a launch type and capacity provider strategy"},
		{"CreateCluster", "{\"clusterName\":\"c\",\"capacityProviders\":[\"nobody\"]}",
		 "was not found"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_json json_t *reply = call(rows[i].operation, "%s", rows[i].request);

		if (reply)
			fail_msg("%s was accepted", rows[i].request);
		if (!strstr(fault.message, rows[i].says))
			fail_msg("%s: %s", rows[i].request, fault.message);
	}
}

static void one_that_has_tasks_stays_and_all_of_it_survives(void **state)
{
	auto_json json_t *reply = NULL;

	(void)state;
	(void)run(1, 1, STRATEGY("\"weight\":1", "\"weight\":0"));
	assert_null(call("PutClusterCapacityProviders",
			 "{\"cluster\":\"default\",\"capacityProviders\":[\"in-the-core\"],"
			 "\"defaultCapacityProviderStrategy\":[]}"));
	assert_int_equal(fault.type, ECS_FAULT_RESOURCE_IN_USE);
	do_call("PutClusterCapacityProviders",
		"{\"cluster\":\"default\",\"capacityProviders\":[\"at-the-edge\"],"
		"\"defaultCapacityProviderStrategy\":[]}");
	do_call("DeleteCapacityProvider", "{\"capacityProvider\":\"in-the-core\"}");
	restart();
	reply = call("DescribeCapacityProviders",
		     "{\"capacityProviders\":[\"at-the-edge\",\"in-the-core\"]}");
	assert_string_equal(text_at(reply, "capacityProviders[0].autoScalingGroupProvider."
					   "autoScalingGroupArn"),
			    GROUP "edge");
	assert_string_equal(text_at(reply, "failures[0].reason"), "MISSING");
	assert_string_equal(text_at(reply, "failures[0].arn"),
			    "arn:aws:ecs:us-east-1:123456789012:capacity-provider/in-the-core");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(weights_share_tasks_of_one_call_and_of_many, begin,
						end),
		cmocka_unit_test_setup_teardown(a_base_comes_first, begin, end),
		cmocka_unit_test_setup_teardown(the_cluster_has_a_strategy_for_who_names_none,
						begin, end),
		cmocka_unit_test_setup_teardown(a_node_shows_its_provider, begin, end),
		cmocka_unit_test_setup_teardown(a_cluster_counts_its_tasks_by_launch_type, begin,
						end),
		cmocka_unit_test_setup_teardown(wrong_ones_are_refused_by_name, begin, end),
		cmocka_unit_test_setup_teardown(one_that_has_tasks_stays_and_all_of_it_survives,
						begin, end),
	};

	return cmocka_run_group_tests_name("scheduler/provider", tests, NULL, NULL);
}
