/* tests/unit/scheduler/gpu.c - which task has which GPUs
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/scheduler/driven.h"

static char host[33];

/* What the node says; "" in ids: nothing. */
static int say(const char *ids, struct err *e)
{
	auto_free char *copy = xstrdup(ids);
	char *items[ECS_GPUS_MAX + 2], *save = NULL;
	struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
				   .instance_id = *host ? host : NULL,
				   .hostname = (char[]){"host"},
				   .boot_id = (char[]){"b"},
				   .version = (char[]){"1"},
				   .cpu_units = 100000,
				   .memory_mib = 100000,
				   .gpu_ids = {.items = items}};
	const char *instance = host;
	int r;

	for (char *id = strtok_r(copy, " ", &save); id; id = strtok_r(NULL, " ", &save))
		items[h.gpu_ids.count++] = id;
	r = core_node_hello(core, &h, NULL, 0, now_ms, &instance, e);
	(void)snprintf(host, sizeof(host), "%s", instance);
	take_effects();
	return r;
}

static void hello_of(const char *ids)
{
	struct err e = {0};

	assert_ok(say(ids, &e));
}

static int begin(void **state)
{
	(void)state;
	begin_core();
	host[0] = '\0';
	hello_of("");
	do_call("RegisterTaskDefinition",
		"{\"family\":\"gpu\",\"containerDefinitions\":["
		"{\"name\":\"a\",\"image\":\"i\",\"memory\":10,\"resourceRequirements\":"
		"[{\"type\":\"GPU\",\"value\":\"1\"}]},"
		"{\"name\":\"b\",\"image\":\"i\",\"memory\":10}]}");
	return 0;
}

/* The reply, whose task's ARN is in 'arn', or the reason of the failure. */
static json_t *run(const char *more, char arn[200])
{
	json_t *reply = call("RunTask", "{\"taskDefinition\":\"gpu\"%s}", more);

	if (!reply)
		fail_msg("%s", fault.message);
	(void)snprintf(arn, 200, "%s",
		       json_array_size(json_object_get(reply, "tasks"))
			       ? text_at(reply, "tasks[0].taskArn")
			       : text_at(reply, "failures[0].reason"));
	return reply;
}

/* "A B" of a container of a task, as DescribeTasks has them; "-": it has no such member. */
static const char *gpus_of(const char *arn, int container)
{
	auto_json json_t *reply = call("DescribeTasks", "{\"tasks\":[\"%s\"]}", arn);
	auto_free char *path = xasprintf("tasks[0].containers[%d].gpuIds", container);
	json_t *ids = value_at(reply, path), *id;
	static char text[200];
	size_t i;

	(void)snprintf(text, sizeof(text), "%s", ids ? "" : "-");
	json_array_foreach (ids, i, id)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
			       i ? " " : "", json_string_value(id));
	return text;
}

/* The same of the container instance; 'resources': "registeredResources", ... */
static const char *gpus_of_host(const char *resources)
{
	auto_json json_t *reply = call("DescribeContainerInstances",
				       "{\"containerInstances\":[\"%s\"]}", host);
	auto_free char *path = xasprintf("containerInstances[0].%s", resources);
	json_t *resource, *id;
	static char text[200];
	size_t i, k;

	(void)snprintf(text, sizeof(text), "-");
	json_array_foreach (value_at(reply, path), i, resource) {
		if (strcmp(text_at(resource, "name"), "GPU") != 0)
			continue;
		assert_string_equal(text_at(resource, "type"), "STRINGSET");
		text[0] = '\0';
		json_array_foreach (value_at(resource, "stringSetValue"), k, id)
			(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
				       k ? " " : "", json_string_value(id));
	}
	return text;
}

static void a_host_shows_its_gpus_and_those_left(void **state)
{
	auto_json json_t *reply = NULL;
	char arn[200];

	(void)state;
	assert_string_equal(gpus_of_host("registeredResources"), "-");
	hello_of("g2 g1");
	reply = run("", arn);
	assert_string_equal(gpus_of_host("registeredResources"), "g1 g2");
	assert_string_equal(gpus_of_host("remainingResources"), "g2");
	assert_string_equal(gpus_of(arn, 0), "g1");
	assert_string_equal(gpus_of(arn, 1), "-");
}

static void no_gpu_is_given_twice(void **state)
{
	char arns[2][200], reason[200];

	(void)state;
	json_decref(run("", reason));
	assert_string_equal(reason, "RESOURCE:GPU");
	hello_of("g1 g2");
	for (int i = 0; i < 2; i++)
		json_decref(run("", arns[i]));
	assert_string_equal(gpus_of(arns[0], 0), "g1");
	assert_string_equal(gpus_of(arns[1], 0), "g2");
	json_decref(run("", reason));
	assert_string_equal(reason, "RESOURCE:GPU");

	restart();
	json_decref(run("", reason));
	assert_string_equal(reason, "AGENT");
	hello_of("g2 g1");
	json_decref(run("", reason));
	assert_string_equal(reason, "RESOURCE:GPU");
	do_call("StopTask", "{\"task\":\"%s\"}", arns[0]);
	json_decref(run("", reason));
	assert_string_equal(reason, "RESOURCE:GPU"); /* it is not gone yet */
	report(host, arns[0], "STOPPED");
	assert_string_equal(gpus_of_host("remainingResources"), "g1");
	json_decref(run("", arns[0]));
	assert_string_equal(gpus_of(arns[0], 0), "g1");
}

static void overrides_say_how_many(void **state)
{
	char arn[200];

	(void)state;
	hello_of("g1 g2 g3 g4");
	json_decref(run(",\"overrides\":{\"containerOverrides\":[{\"name\":\"b\","
			"\"resourceRequirements\":[{\"type\":\"GPU\",\"value\":\"2\"}]}]}",
			arn));
	assert_string_equal(gpus_of(arn, 0), "g1");
	assert_string_equal(gpus_of(arn, 1), "g2 g3");
	json_decref(run(",\"overrides\":{\"containerOverrides\":[{\"name\":\"a\","
			"\"resourceRequirements\":[{\"type\":\"GPU\",\"value\":\"2\"}]}]}",
			arn));
	assert_string_equal(arn, "RESOURCE:GPU");
	restart();
	hello_of("g1 g2 g3 g4");
	assert_string_equal(gpus_of_host("remainingResources"), "g4");
	assert_null(call("RunTask",
			 "{\"taskDefinition\":\"gpu\",\"overrides\":{\"containerOverrides\":[{"
			 "\"name\":\"a\",\"resourceRequirements\":[{\"type\":"
			 "\"InferenceAccelerator\",\"value\":\"d\"}]}]}}"));
	assert_non_null(strstr(fault.message, "InferenceAccelerator"));
}

static void its_node_hears_of_the_gpus_of_a_container(void **state)
{
	char arn[200];
	bool told = false;

	(void)state;
	hello_of("g1");
	json_decref(run("", arn));
	for (size_t i = 0; i < fx.count; i++)
		told |= fx.items[i].kind == CORE_SEND &&
			strstr(fx.items[i].text, "\"gpuIds\":[\"g1\"]");
	assert_true(told);
}

static void one_that_goes_stays_taken_until_its_task_has_ended(void **state)
{
	char arn[200];

	(void)state;
	hello_of("g1 g2");
	json_decref(run("", arn));
	hello_of("g2");
	assert_string_equal(gpus_of_host("registeredResources"), "g2");
	assert_string_equal(gpus_of_host("remainingResources"), "g2");
	restart();
	hello_of("g1 g2");
	assert_string_equal(gpus_of_host("remainingResources"), "g2");
	hello_of("");
	report(host, arn, "STOPPED");
	assert_string_equal(gpus_of_host("registeredResources"), "-");
}

static void a_node_can_say_later_what_it_has(void **state)
{
	char *ids[] = {(char[]){"g3"}, (char[]){"g1"}};
	const struct ecs_node_resources r = {{ids, 2}}, twice = {{(char *[]){ids[0], ids[0]}, 2}};
	char arn[200];
	struct err e = {0};

	(void)state;
	hello_of("g1");
	json_decref(run("", arn));
	assert_ok(core_node_resources(core, host, &r, now_ms, &e));
	take_effects();
	assert_string_equal(gpus_of_host("registeredResources"), "g1 g3");
	assert_string_equal(gpus_of_host("remainingResources"), "g3");
	assert_ok(core_node_resources(core, host, &r, now_ms, &e));
	take_effects();
	assert_int_equal(fx.count, 0); /* nothing new is no event */
	assert_fails(core_node_resources(core, host, &twice, now_ms, &e), EPROTO);
}

static void what_a_lost_node_had_is_nobody_elses(void **state)
{
	char arn[200], reason[200];

	(void)state;
	hello_of("g1");
	json_decref(run("", arn));
	core_node_gone(core, host, now_ms);
	now_ms += options.lost_ms + 1;
	core_tick(core, now_ms);
	take_effects();
	hello_of("g1");
	json_decref(run("", reason));
	assert_string_equal(reason, "RESOURCE:GPU");
	restart();
	hello_of("g1");
	json_decref(run("", reason));
	assert_string_equal(reason, "RESOURCE:GPU");
	report(host, arn, "STOPPED");
	json_decref(run("", arn));
	assert_string_equal(gpus_of(arn, 0), "g1");
}

static void ids_that_cannot_be_told_apart_are_refused(void **state)
{
	auto_buf struct buf many = BUF_INIT(4096);
	struct err e = {0};

	(void)state;
	assert_fails(say("g1 g1", &e), EPROTO);
	assert_non_null(strstr(e.msg, "two GPUs g1"));
	assert_fails(say("g\x01", &e), EPROTO);
	for (int i = 0; i <= ECS_GPUS_MAX; i++)
		buf_printf(&many, "g%d ", i);
	assert_fails(say(buf_str(&many), &e), EPROTO);
	assert_non_null(strstr(e.msg, "257 GPUs"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_host_shows_its_gpus_and_those_left, begin, end),
		cmocka_unit_test_setup_teardown(no_gpu_is_given_twice, begin, end),
		cmocka_unit_test_setup_teardown(overrides_say_how_many, begin, end),
		cmocka_unit_test_setup_teardown(its_node_hears_of_the_gpus_of_a_container, begin,
						end),
		cmocka_unit_test_setup_teardown(one_that_goes_stays_taken_until_its_task_has_ended,
						begin, end),
		cmocka_unit_test_setup_teardown(a_node_can_say_later_what_it_has, begin, end),
		cmocka_unit_test_setup_teardown(what_a_lost_node_had_is_nobody_elses, begin, end),
		cmocka_unit_test_setup_teardown(ids_that_cannot_be_told_apart_are_refused, begin,
						end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
