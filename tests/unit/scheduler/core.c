/* tests/unit/scheduler/core.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * The core is driven by its facade alone: requests and reports in, effects out.
 */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/auto.h"
#include "base/text.h"
#include "ecs/model.h"
#include "scheduler/core/core.h"
#include "tests/disk.h"

#define NOW 1000000000000

static struct core *core;
static struct ecs_fault fault;
static struct core_effects fx;
static const char *instance;

static struct disk disk;

static const struct core_options options = {
	.fetch = disk_fetch,
	.fetch_ctx = &disk,
	.identity = {.region = "us-east-1", .account = "123456789012"},
	.vpc_cidr = "172.31.0.0/16",
	.host_cidr = "100.64.0.0/16",
	.seed = {1, 2, 3, 4},
	.stopped_keep_ms = 3600000,
	.stopped_keep_max = 100,
};

static void take_effects(void)
{
	core_effects_done(&fx);
	core_take_effects(core, &fx);
	disk_write(&disk, &fx);
}

/* The reply to a request that was checked against the model, or NULL. */
static json_t *call(const char *operation, const char *text)
{
	auto_json json_t *request = NULL;
	struct err e = {0};
	json_t *reply;

	assert_ok(js_parse(text, strlen(text), 32, &request, &e));
	fault.message[0] = '\0';
	assert_int_equal(ecs_model_check(ecs_model_find(&ecs_model_ecs, operation)->request,
					 request, &fault),
			 0);
	reply = core_call(core, operation, request, NOW, &fault);
	if (reply)
		take_effects();
	return reply;
}

static void do_call(const char *operation, const char *text)
{
	json_t *reply = call(operation, text);

	if (!reply)
		fail_msg("%s: %s", operation, fault.message);
	json_decref(reply);
}

static void refused(const char *operation, const char *text, enum ecs_fault_type type,
		    const char *says)
{
	json_t *reply = call(operation, text);

	if (reply)
		fail_msg("%s %s was accepted", operation, text);
	if (fault.type != type || !strstr(fault.message, says))
		fail_msg("%s %s: %s: %s", operation, text, ecs_fault_name(fault.type),
			 fault.message);
	take_effects();
	assert_int_equal(fx.count, 0); /* nothing was changed */
}

/* "tasks[0].lastStatus" of a document. */
static json_t *at(json_t *doc, const char *path)
{
	auto_free char *copy = xstrdup(path);
	char *save = NULL;

	for (char *p = strtok_r(copy, ".[]", &save); p && doc; p = strtok_r(NULL, ".[]", &save)) {
		uint32_t i;

		doc = parse_u32(p, 1000, &i) && json_is_array(doc) ? json_array_get(doc, i)
								   : json_object_get(doc, p);
	}
	return doc;
}

static const char *text_at(json_t *doc, const char *path)
{
	const char *text = json_string_value(at(doc, path));

	if (!text)
		fail_msg("no string at %s", path);
	return text;
}

static void node_joins(int64_t cpu, int64_t memory)
{
	const struct ecs_node_hello hello = {.protocol = ECS_NODE_PROTOCOL,
					     .hostname = (char *)(uintptr_t) "host",
					     .boot_id = (char *)(uintptr_t) "b",
					     .version = (char *)(uintptr_t) "1",
					     .cpu_units = cpu,
					     .memory_mib = memory};
	struct err e = {0};

	assert_ok(core_node_hello(core, &hello, NULL, 0, NOW, &instance, &e));
	take_effects();
}

static int begin(void **state)
{
	(void)state;
	core = core_new(&options);
	core_loaded(core, NOW);
	take_effects();
	return 0;
}

static int end(void **state)
{
	(void)state;
	core_effects_done(&fx);
	core_free(core);
	disk_done(&disk);
	return 0;
}

#define DEFINITION                                                                                   \
	"{\"family\":\"web\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"cpu\":100," \
	"\"memory\":64,\"portMappings\":[{\"containerPort\":80,\"hostPort\":8080}]}]}"

/* Run one task of "web" and give its id. */
static void run_one(char id[33])
{
	json_t *reply = call("RunTask", "{\"taskDefinition\":\"web\"}");

	assert_non_null(reply);
	assert_int_equal(json_array_size(at(reply, "failures")), 0);
	(void)snprintf(id, 33, "%s", strrchr(text_at(reply, "tasks[0].taskArn"), '/') + 1);
	json_decref(reply);
}

static void report(int64_t number, const char *id, const char *status, int64_t *exit_code)
{
	char arn[128];
	struct ecs_container_state container = {.name = (char *)(uintptr_t) "a",
						.last_status = (char *)(uintptr_t) "RUNNING",
						.exit_code = exit_code};
	struct ecs_attribute attribute = {.name = (char *)(uintptr_t) "berth.said",
					  .value = (char *)(uintptr_t)status};
	struct ecs_task_state task = {.task_arn = arn,
				      .last_status = (char *)(uintptr_t)status,
				      .containers = {&container, 1},
				      .attributes = {&attribute, 1}};
	const struct ecs_node_report r = {.number = number, .tasks = {&task, 1}};

	(void)snprintf(arn, sizeof(arn), "arn:aws:ecs:us-east-1:123456789012:task/default/%s", id);
	core_node_report(core, instance, &r, NOW + number);
	take_effects();
}

static char *task_status(const char *id)
{
	auto_free char *request = xasprintf("{\"tasks\":[\"%s\"]}", id);
	json_t *reply = call("DescribeTasks", request);
	char *status = json_array_size(at(reply, "tasks"))
			       ? xstrdup(text_at(reply, "tasks[0].lastStatus"))
			       : xstrdup("MISSING");

	json_decref(reply);
	return status;
}

static void assert_status(const char *id, const char *expected)
{
	auto_free char *status = task_status(id);

	assert_string_equal(status, expected);
}

/* ---- clusters ---- */

static void a_default_cluster_is_there(void **state)
{
	json_t *reply = call("DescribeClusters", "{}");

	(void)state;
	assert_string_equal(text_at(reply, "clusters[0].clusterName"), "default");
	assert_string_equal(text_at(reply, "clusters[0].status"), "ACTIVE");
	json_decref(reply);
}

static void making_a_cluster_twice_makes_one(void **state)
{
	json_t *reply;

	(void)state;
	do_call("CreateCluster", "{\"clusterName\":\"c\"}");
	assert_int_equal(fx.count, 1);
	assert_string_equal(fx.items[0].key, "cluster/c");
	do_call("CreateCluster", "{\"clusterName\":\"c\"}");
	assert_int_equal(fx.count, 0);
	do_call("DeleteCluster", "{\"cluster\":\"c\"}");
	refused("DeleteCluster", "{\"cluster\":\"c\"}", ECS_FAULT_CLUSTER_NOT_FOUND,
		"Cluster not found");
	reply = call("DescribeClusters", "{\"clusters\":[\"c\",\"nope\"]}");
	assert_string_equal(text_at(reply, "clusters[0].status"), "INACTIVE");
	assert_string_equal(text_at(reply, "failures[0].reason"), "MISSING");
	assert_string_equal(text_at(reply, "failures[0].arn"),
			    "arn:aws:ecs:us-east-1:123456789012:cluster/nope");
	json_decref(reply);
}

static void a_cluster_in_use_is_not_deleted(void **state)
{
	char id[33];

	(void)state;
	node_joins(2048, 1024);
	refused("DeleteCluster", "{\"cluster\":\"default\"}", ECS_FAULT_CLUSTER_CONTAINS_INSTANCES,
		"Container Instances");
	do_call("RegisterTaskDefinition", DEFINITION);
	run_one(id);
	refused("DeleteCluster", "{\"cluster\":\"default\"}", ECS_FAULT_CLUSTER_CONTAINS_TASKS,
		"Tasks");
}

/* ---- task definitions ---- */

static void revisions_are_never_given_out_twice(void **state)
{
	json_t *reply;

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	do_call("RegisterTaskDefinition", DEFINITION);
	do_call("DeregisterTaskDefinition", "{\"taskDefinition\":\"web:2\"}");
	do_call("DeleteTaskDefinitions", "{\"taskDefinitions\":[\"web:2\"]}");
	core_tick(core, NOW);
	take_effects();
	refused("DescribeTaskDefinition", "{\"taskDefinition\":\"web:2\"}", ECS_FAULT_CLIENT,
		"Unable to describe task definition");
	reply = call("RegisterTaskDefinition", DEFINITION);
	assert_int_equal(json_integer_value(at(reply, "taskDefinition.revision")), 3);
	json_decref(reply);
}

static void a_bare_family_is_the_latest_active_revision(void **state)
{
	json_t *reply;

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	do_call("RegisterTaskDefinition", DEFINITION);
	do_call("DeregisterTaskDefinition", "{\"taskDefinition\":\"web:2\"}");
	reply = call("DescribeTaskDefinition", "{\"taskDefinition\":\"web\"}");
	assert_int_equal(json_integer_value(at(reply, "taskDefinition.revision")), 1);
	json_decref(reply);
	refused("DeregisterTaskDefinition", "{\"taskDefinition\":\"web\"}",
		ECS_FAULT_INVALID_PARAMETER, "Revision is missing");
	refused("DeregisterTaskDefinition", "{\"taskDefinition\":\"web:2\"}", ECS_FAULT_CLIENT,
		"does not exist");
}

static void definitions_are_listed_page_by_page_in_order(void **state)
{
	json_t *reply;
	auto_free char *next = NULL, *again = NULL;

	(void)state;
	for (int i = 0; i < 12; i++)
		do_call("RegisterTaskDefinition", DEFINITION);
	reply = call("ListTaskDefinitions", "{\"sort\":\"DESC\",\"maxResults\":10}");
	assert_true(str_ends(text_at(reply, "taskDefinitionArns[0]"), "/web:12"));
	assert_true(str_ends(text_at(reply, "taskDefinitionArns[9]"), "/web:3"));
	next = xasprintf("{\"sort\":\"DESC\",\"maxResults\":10,\"nextToken\":\"%s\"}",
			 text_at(reply, "nextToken"));
	json_decref(reply);
	reply = call("ListTaskDefinitions", next);
	assert_int_equal(json_array_size(at(reply, "taskDefinitionArns")), 2);
	assert_true(str_ends(text_at(reply, "taskDefinitionArns[1]"), "/web:1"));
	assert_null(at(reply, "nextToken"));
	json_decref(reply);
	refused("ListTaskDefinitions", "{\"nextToken\":\"!\"}", ECS_FAULT_INVALID_PARAMETER,
		"Invalid token");
	refused("ListTaskDefinitions", "{\"maxResults\":101}", ECS_FAULT_INVALID_PARAMETER,
		"maxResults");
}

static void an_active_definition_is_not_deleted(void **state)
{
	json_t *reply;

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	reply = call("DeleteTaskDefinitions", "{\"taskDefinitions\":[\"web:1\",\"web:7\"]}");
	assert_int_equal(json_array_size(at(reply, "taskDefinitions")), 0);
	assert_non_null(strstr(text_at(reply, "failures[0].reason"), "still in ACTIVE status"));
	assert_non_null(strstr(text_at(reply, "failures[1].reason"), "does not exist"));
	json_decref(reply);
}

/* ---- tasks ---- */

static void a_task_needs_an_instance_and_a_definition(void **state)
{
	(void)state;
	refused("RunTask", "{\"taskDefinition\":\"web\"}", ECS_FAULT_CLIENT,
		"TaskDefinition not found");
	do_call("RegisterTaskDefinition", DEFINITION);
	refused("RunTask", "{\"taskDefinition\":\"web\"}", ECS_FAULT_INVALID_PARAMETER,
		"No Container Instances were found");
	node_joins(2048, 1024);
	refused("RunTask", "{\"taskDefinition\":\"web\",\"count\":11}", ECS_FAULT_INVALID_PARAMETER,
		"Count");
	refused("RunTask", "{\"taskDefinition\":\"web\",\"cluster\":\"nope\"}",
		ECS_FAULT_CLUSTER_NOT_FOUND, "");
	refused("RunTask", "{\"taskDefinition\":\"web\",\"launchType\":\"FARGATE\"}",
		ECS_FAULT_UNSUPPORTED_FEATURE, "FARGATE");
	refused("RunTask",
		"{\"taskDefinition\":\"web\",\"overrides\":{\"containerOverrides\":[{\"name\":\"b\"}]}}",
		ECS_FAULT_INVALID_PARAMETER, "container named b is not a container");
	do_call("DeregisterTaskDefinition", "{\"taskDefinition\":\"web:1\"}");
	refused("RunTask", "{\"taskDefinition\":\"web:1\"}", ECS_FAULT_INVALID_PARAMETER,
		"TaskDefinition is inactive");
}

static void what_was_accepted_is_stored_before_it_is_sent(void **state)
{
	char id[33];

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	run_one(id);
	assert_int_equal(fx.count, 2);
	assert_int_equal(fx.items[0].kind, CORE_PUT);
	assert_non_null(strstr(fx.items[0].key, id));
	assert_int_equal(fx.items[0].event_ms, NOW); /* and an event */
	assert_int_equal(fx.items[1].kind,
			 CORE_SEND); /* the shell sends when all of it is durable */
	assert_string_equal(fx.items[1].key, instance);
	assert_non_null(strstr(fx.items[1].text, id));
	assert_status(id, "PENDING");
}

/* A task of this request, now: its time, who started it, and how many tags it has. */
static void assert_runs(const char *request, int64_t now_ms, const char *started_by, size_t tags)
{
	auto_json json_t *parsed = json_loads(request, 0, NULL), *reply = NULL;
	struct err e = {0};
	json_t *task;

	reply = core_call(core, "RunTask", parsed, now_ms, &fault);
	task = at(reply, "tasks[0]");
	if (!task)
		fail_msg("%s: %s", request, fault.message);
	assert_int_equal(json_real_value(at(task, "createdAt")) * 1000, now_ms);
	assert_int_equal(json_real_value(at(task, "connectivityAt")) * 1000, now_ms);
	if (started_by)
		assert_string_equal(text_at(task, "startedBy"), started_by);
	else
		assert_null(at(task, "startedBy"));
	assert_int_equal(json_array_size(at(task, "tags")), tags);
	take_effects();
	assert_ok(core_check(core, &e));
}

/* Whatever was asked for in between. */
static void a_request_is_answered_as_if_it_was_the_first(void **state)
{
	static const char definition[] = "{\"family\":\"web\",\"containerDefinitions\":"
					 "[{\"name\":\"a\",\"image\":\"i\",\"memory\":8}]}",
			  plain[] = "{\"taskDefinition\":\"web\"}";

	(void)state;
	do_call("RegisterTaskDefinition", definition);
	node_joins(204800, 102400);
	for (int64_t i = 0; i < 40; i++) {
		auto_free char *who = xasprintf("me%lld", (long long)i % 20),
			       *of = xasprintf("{\"taskDefinition\":\"web\",\"startedBy\":\"%s\"}",
					       who);

		assert_runs(plain, NOW + i, NULL, 0);
		assert_runs(of, NOW + i, who, 0);
		assert_runs("{\"taskDefinition\":\"web\",\"tags\":[{\"key\":\"a\"}]}", NOW + i,
			    NULL, 1);
	}
	do_call("RegisterTaskDefinition", definition);
	assert_runs(plain, NOW + 1, NULL, 0);
}

static void an_event_shows_the_task_as_it_was(void **state)
{
	auto_json json_t *event = NULL, *reply = NULL;
	auto_free char *request = NULL;
	struct err e = {0};
	json_t *detail, *task, *value;
	const char *name;
	char id[33];

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	run_one(id);
	event = core_show_event(&options.identity, fx.items[0].text, fx.items[0].event_ms, &e);
	detail = json_object_get(event, "detail");
	request = xasprintf("{\"tasks\":[\"%s\"],\"include\":[\"TAGS\"]}", id);
	reply = call("DescribeTasks", request);
	task = at(reply, "tasks[0]");
	assert_string_equal(text_at(event, "detail-type"), "ECS Task State Change");
	assert_string_equal(text_at(event, "resources[0]"), text_at(task, "taskArn"));
	assert_string_equal(text_at(event, "time"), "2001-09-09T01:46:40.000Z");
	assert_string_equal(text_at(detail, "updatedAt"), "2001-09-09T01:46:40.000Z");
	assert_string_equal(text_at(detail, "createdAt"), "2001-09-09T01:46:40.000Z");
	assert_int_equal(json_object_size(detail), json_object_size(task) + 1);
	json_object_foreach (task, name, value)
		if (!json_is_real(value))
			assert_true(json_equal(json_object_get(detail, name), value));
}

static void resources_are_counted_until_the_task_is_gone(void **state)
{
	static const struct {
		const char *definition, *refusal;
	} rows[] = {
		{"{\"family\":\"f\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"cpu\":1000,"
		 "\"memory\":8}]}",
		 "RESOURCE:CPU"},
		{"{\"family\":\"f\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"memory\":100}]}",
		 "RESOURCE:MEMORY"},
		{"{\"family\":\"f\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"memory\":8,"
		 "\"portMappings\":[{\"containerPort\":1,\"hostPort\":8080}]}]}",
		 "RESOURCE:PORTS"},
	};
	json_t *reply;
	int64_t exit_code = 0;
	char id[33];

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(1024, 128);
	run_one(id);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		do_call("RegisterTaskDefinition", rows[i].definition);
		reply = call("RunTask", "{\"taskDefinition\":\"f\"}");
		assert_int_equal(json_array_size(at(reply, "tasks")), 0);
		assert_string_equal(text_at(reply, "failures[0].reason"), rows[i].refusal);
		json_decref(reply);
	}

	report(1, id, "STOPPING", NULL);
	reply = call("RunTask", "{\"taskDefinition\":\"web\"}");
	assert_int_equal(json_array_size(at(reply, "tasks")), 0); /* STOPPING still counts */
	json_decref(reply);
	report(2, id, "STOPPED", &exit_code);
	run_one(id);
}

static void a_disconnected_node_gets_no_task(void **state)
{
	json_t *reply;

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(1024, 128);
	core_node_gone(core, instance, NOW);
	reply = call("RunTask", "{\"taskDefinition\":\"web\"}");
	assert_string_equal(text_at(reply, "failures[0].reason"), "AGENT");
	json_decref(reply);
}

static void a_repeated_call_does_its_work_once(void **state)
{
	static const char once[] =
		"{\"taskDefinition\":\"web\",\"clientToken\":\"t1\",\"startedBy\":\"me\"}";
	static const char reordered[] =
		"{\"startedBy\":\"me\",\"clientToken\":\"t1\",\"taskDefinition\":\"web\"}";
	json_t *first, *second;

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	first = call("RunTask", once);
	second = call("RunTask", reordered);
	assert_string_equal(text_at(first, "tasks[0].taskArn"),
			    text_at(second, "tasks[0].taskArn"));
	assert_int_equal(fx.count, 0);
	refused("RunTask", "{\"taskDefinition\":\"web\",\"clientToken\":\"t1\",\"count\":2}",
		ECS_FAULT_CONFLICT, "other parameters");
	assert_int_equal(json_array_size(fault.resource_ids), 1);
	assert_string_equal(json_string_value(json_array_get(fault.resource_ids, 0)),
			    text_at(first, "tasks[0].taskArn"));
	refused("RunTask", "{\"taskDefinition\":\"nope\"}", ECS_FAULT_CLIENT, "not found");
	assert_null(fault.resource_ids);
	json_decref(first);
	json_decref(second);
}

/* What it asked for may be otherwise by now. */
static void a_repeated_call_does_not_ask_what_is_there_now(void **state)
{
	static const char once[] = "{\"taskDefinition\":\"web\",\"clientToken\":\"t1\"}";
	auto_json json_t *first = NULL, *second = NULL;

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	first = call("RunTask", once);
	do_call("DeregisterTaskDefinition", "{\"taskDefinition\":\"web:1\"}");
	second = call("RunTask", once);
	assert_string_equal(text_at(first, "tasks[0].taskArn"),
			    text_at(second, "tasks[0].taskArn"));
	refused("RunTask", "{\"taskDefinition\":\"web:1\",\"clientToken\":\"t2\"}",
		ECS_FAULT_INVALID_PARAMETER, "inactive");
}

static void a_token_is_of_printable_characters(void **state)
{
	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	refused("RunTask", "{\"taskDefinition\":\"web\",\"clientToken\":\"\"}",
		ECS_FAULT_INVALID_PARAMETER, "1 to 64");
	refused("RunTask", "{\"taskDefinition\":\"web\",\"clientToken\":\"a b\"}",
		ECS_FAULT_INVALID_PARAMETER, "no space");
}

static void a_repeated_call_is_told_again_what_was_not_placed(void **state)
{
	static const char twice[] =
		"{\"taskDefinition\":\"web\",\"clientToken\":\"t1\",\"count\":10}";
	auto_json json_t *first = NULL, *second = NULL;

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	first = call("RunTask", twice);
	assert_true(json_array_size(at(first, "tasks")) > 0);
	assert_int_equal(json_array_size(at(first, "failures")), 1);
	second = call("RunTask", twice);
	assert_true(json_equal(at(first, "failures"), at(second, "failures")));
	assert_int_equal(json_array_size(at(first, "tasks")), json_array_size(at(second, "tasks")));
}

static void a_state_never_goes_backwards(void **state)
{
	int64_t exit_code = 7;
	char id[33];

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	run_one(id);
	report(1, id, "RUNNING", NULL);
	assert_status(id, "RUNNING");
	report(2, id, "PENDING", NULL); /* late */
	assert_status(id, "RUNNING");
	report(3, id, "STOPPED", &exit_code);
	report(2, id, "RUNNING", NULL); /* a number that was taken: only acknowledged */
	assert_int_equal(fx.count, 1);
	assert_int_equal(fx.items[0].kind, CORE_SEND);
	assert_status(id, "STOPPED");
}

static void what_a_node_says_of_a_task_is_its_attribute(void **state)
{
	static const char *const statuses[] = {"RUNNING", "DEPROVISIONING"};
	char id[33];

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	run_one(id);
	for (size_t i = 0; i < 2; i++) {
		auto_free char *request = xasprintf("{\"tasks\":[\"%s\"]}", id);
		json_t *reply;

		report((int64_t)i + 1, id, statuses[i], NULL);
		reply = call("DescribeTasks", request);
		assert_int_equal(json_array_size(at(reply, "tasks[0].attributes")), 1);
		assert_string_equal(text_at(reply, "tasks[0].attributes[0].name"), "berth.said");
		assert_string_equal(text_at(reply, "tasks[0].attributes[0].value"), statuses[i]);
		json_decref(reply);
	}
}

static void stopping_twice_keeps_the_first_reason(void **state)
{
	auto_free char *one = NULL, *two = NULL;
	json_t *reply;
	char id[33];

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	run_one(id);
	one = xasprintf("{\"task\":\"%s\",\"reason\":\"enough\"}", id);
	two = xasprintf("{\"task\":\"%s\",\"reason\":\"again\"}", id);
	do_call("StopTask", one);
	reply = call("StopTask", two);
	assert_string_equal(text_at(reply, "task.stoppedReason"), "enough");
	assert_string_equal(text_at(reply, "task.stopCode"), "UserInitiated");
	assert_string_equal(text_at(reply, "task.desiredStatus"), "STOPPED");
	json_decref(reply);
	refused("StopTask", "{\"task\":\"ffff\"}", ECS_FAULT_INVALID_PARAMETER,
		"task was not found");
}

static void a_stopped_task_is_shown_until_its_time_is_over(void **state)
{
	char id[33];

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	run_one(id);
	report(1, id, "STOPPED", NULL);
	core_tick(core, NOW + options.stopped_keep_ms - 1000);
	assert_status(id, "STOPPED");
	core_tick(core, NOW + options.stopped_keep_ms + 1000);
	take_effects();
	assert_int_equal(fx.items[fx.count - 1].kind, CORE_DELETE);
	assert_status(id, "MISSING");
}

static void overrides_reach_the_node(void **state)
{
	(void)state;
	do_call("RegisterTaskDefinition",
		"{\"family\":\"e\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"memory\":8,"
		"\"command\":[\"x\"],\"environment\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":"
		"\"2\"}]}]}");
	node_joins(2048, 1024);
	do_call("RunTask",
		"{\"taskDefinition\":\"e\",\"overrides\":{\"containerOverrides\":[{\"name\":\"a\",\"command\":"
		"[\"y\",\"z\"],\"environment\":[{\"name\":\"B\",\"value\":\"3\"},{\"name\":\"C\",\"value\":"
		"\"4\"}]}]}}");
	assert_non_null(strstr(fx.items[0].text, "\"command\":[\"y\",\"z\"]"));
	assert_non_null(strstr(
		fx.items[0].text,
		"\"environment\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":\"3\"},"
		"{\"name\":\"C\",\"value\":\"4\"}]"));
}

/* ---- what is stored ---- */

static void a_core_is_rebuilt_from_what_it_stored(void **state)
{
	static const char *const questions[][2] = {
		{"DescribeClusters", "{\"clusters\":[\"default\",\"c\"],\"include\":[\"TAGS\"]}"},
		{"DescribeTaskDefinition", "{\"taskDefinition\":\"web:1\"}"},
		{"ListTasks", "{\"family\":\"web\"}"},
		{"ListTasks", "{\"desiredStatus\":\"STOPPED\"}"},
		{"ListContainerInstances", "{}"},
	};
	json_t *before[5], *after;
	struct err e = {0};
	char id[33];

	(void)state;
	do_call("CreateCluster",
		"{\"clusterName\":\"c\",\"tags\":[{\"key\":\"k\",\"value\":\"v\"}]}");
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	run_one(id);
	report(1, id, "STOPPED", NULL);
	run_one(id);
	report(2, id, "RUNNING", NULL);
	for (size_t i = 0; i < 5; i++)
		before[i] = call(questions[i][0], questions[i][1]);

	core_free(core);
	core = core_new(&options);
	assert_ok(disk_load(&disk, core, &e));
	core_loaded(core, NOW);
	take_effects();
	assert_ok(core_check(core, &e));
	for (size_t i = 0; i < 5; i++) {
		auto_free char *b = js_dump(before[i]), *a = NULL;

		after = call(questions[i][0], questions[i][1]);
		a = js_dump(after);
		assert_string_equal(a, b);
		json_decref(after);
	}
	for (size_t i = 0; i < 5; i++)
		json_decref(before[i]);
	/* The accounts are as they were: the host port is taken. */
	node_joins(2048, 1024);
	after = call("RunTask", "{\"taskDefinition\":\"web\"}");
	assert_int_equal(json_array_size(at(after, "tasks")), 1); /* on the second instance */
	json_decref(after);
	after = call("RunTask", "{\"taskDefinition\":\"web\"}");
	assert_int_equal(json_array_size(at(after, "tasks")), 0);
	json_decref(after);
}

/* The shell ends then, and stores nothing of what comes of it. */
static void a_document_that_cannot_be_read_is_no_end_of_the_core(void **state)
{
	auto_free char *tasks = NULL, *task = NULL;
	json_t *reply;
	char id[33];

	(void)state;
	do_call("RegisterTaskDefinition", DEFINITION);
	node_joins(2048, 1024);
	run_one(id);
	tasks = xasprintf("{\"tasks\":[\"%s\"]}", id);
	task = xasprintf("{\"task\":\"%s\"}", id);
	for (int i = 0; i < 4; i++) {
		disk_done(&disk);
		switch (i) {
		case 0:
			reply = call("DescribeTasks", tasks);
			assert_int_equal(json_array_size(json_object_get(reply, "tasks")), 1);
			json_decref(reply);
			break;
		case 1:
			report(1, id, "RUNNING", NULL);
			break;
		case 2:
			do_call("StopTask", task);
			break;
		default:
			core_node_gone(core, instance, NOW);
			take_effects();
		}
	}
}

static void a_damaged_document_is_named(void **state)
{
	struct err e = {0};

	(void)state;
	assert_fails(core_load(core, "interface/x", "{}", &e), EUCLEAN);
	assert_says("stored interface/x: is not whole");
	assert_fails(core_load(core, "cluster/x", "{", &e), EINVAL);
	assert_fails(core_load(core, "moon/x", "{}", &e), EUCLEAN);
	assert_says("not a document of ours");
}

/* ---- tags ---- */

static void tags_are_added_replaced_and_taken_away(void **state)
{
#define CLUSTER_ARN "\"resourceArn\":\"arn:aws:ecs:us-east-1:123456789012:cluster/default\""
	json_t *reply;

	(void)state;
	do_call("TagResource",
		"{" CLUSTER_ARN ",\"tags\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"b\"}]}");
	do_call("TagResource", "{" CLUSTER_ARN ",\"tags\":[{\"key\":\"a\",\"value\":\"2\"}]}");
	do_call("UntagResource", "{" CLUSTER_ARN ",\"tagKeys\":[\"b\",\"absent\"]}");
	reply = call("ListTagsForResource", "{" CLUSTER_ARN "}");
	assert_int_equal(json_array_size(at(reply, "tags")), 1);
	assert_string_equal(text_at(reply, "tags[0].value"), "2");
	json_decref(reply);
	refused("TagResource", "{" CLUSTER_ARN ",\"tags\":[{\"key\":\"aws:x\"}]}",
		ECS_FAULT_INVALID_PARAMETER, "must not begin with 'aws:'");
	refused("TagResource",
		"{\"resourceArn\":\"arn:aws:ecs:us-east-1:123456789012:cluster/x\",\"tags\":[]}",
		ECS_FAULT_CLUSTER_NOT_FOUND, "Cluster not found");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(a_default_cluster_is_there),
		TEST(making_a_cluster_twice_makes_one),
		TEST(a_cluster_in_use_is_not_deleted),
		TEST(revisions_are_never_given_out_twice),
		TEST(a_bare_family_is_the_latest_active_revision),
		TEST(definitions_are_listed_page_by_page_in_order),
		TEST(an_active_definition_is_not_deleted),
		TEST(a_task_needs_an_instance_and_a_definition),
		TEST(what_was_accepted_is_stored_before_it_is_sent),
		TEST(resources_are_counted_until_the_task_is_gone),
		TEST(a_disconnected_node_gets_no_task),
		TEST(a_repeated_call_does_its_work_once),
		TEST(a_repeated_call_does_not_ask_what_is_there_now),
		TEST(a_token_is_of_printable_characters),
		TEST(a_repeated_call_is_told_again_what_was_not_placed),
		TEST(a_state_never_goes_backwards),
		TEST(what_a_node_says_of_a_task_is_its_attribute),
		TEST(stopping_twice_keeps_the_first_reason),
		TEST(a_stopped_task_is_shown_until_its_time_is_over),
		TEST(overrides_reach_the_node),
		TEST(a_request_is_answered_as_if_it_was_the_first),
		TEST(an_event_shows_the_task_as_it_was),
		TEST(a_core_is_rebuilt_from_what_it_stored),
		TEST(a_document_that_cannot_be_read_is_no_end_of_the_core),
		TEST(a_damaged_document_is_named),
		TEST(tags_are_added_replaced_and_taken_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
