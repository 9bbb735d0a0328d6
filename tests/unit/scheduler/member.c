/* tests/unit/scheduler/member.c - nodes join with an activation, are known by their key, and leave
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <jansson.h>

#include "base/auto.h"
#include "base/js.h"
#include "scheduler/core/core.h"
#include "tests/disk.h"

#define NOW     1000000000000
#define HOUR_MS 3600000
#define KEY     "aa00000000000000000000000000000000000000000000000000000000000000"
#define KEY2    "bb00000000000000000000000000000000000000000000000000000000000000"

static struct disk disk;

static const struct core_options options = {
	.fetch = disk_fetch,
	.fetch_ctx = &disk,
	.identity = {.region = "us-east-1", .account = "123456789012"},
	.seed = {1, 2, 3, 4},
	.vpc_cidr = "172.31.0.0/16",
	.stopped_keep_ms = HOUR_MS,
	.stopped_keep_max = 100};
static struct core *core;
static struct core_effects fx;
static struct ecs_fault fault;
static int64_t now_ms;

static int start(void **state)
{
	(void)state;
	now_ms = NOW;
	core = core_new(&options);
	core_loaded(core, now_ms);
	core_take_effects(core, &fx);
	disk_write(&disk, &fx);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	core_effects_done(&fx);
	core_free(core);
	disk_done(&disk);
	return 0;
}

static void take_effects(void)
{
	core_effects_done(&fx);
	core_take_effects(core, &fx);
	disk_write(&disk, &fx);
}

static json_t *call(const char *operation, json_t *own_request)
{
	json_t *reply = core_call(core, operation, own_request, now_ms, &fault);

	json_decref(own_request);
	if (!reply)
		fail_msg("%s: %s", operation, fault.message);
	take_effects();
	return reply;
}

/* The id of a new activation whose code is "secret". */
static char *activate(int limit, int expires_s)
{
	auto_json json_t *reply = call("CreateNodeToken",
				       json_pack("{s:s, s:i, s:i}", "_code", "secret",
						 "registrationLimit", limit, "expiresInSeconds",
						 expires_s));

	return xstrdup(json_string_value(json_object_get(reply, "activationId")));
}

static int join(const char *id, const char *code, const char *key, char ret[33], struct err *e)
{
	const struct ecs_node_join j = {.protocol = ECS_NODE_PROTOCOL,
					.activation_id = (char *)(uintptr_t)id,
					.code = (char *)(uintptr_t)code,
					.request = (char[]){""},
					.hostname = (char[]){"host"}};
	const char *instance;
	int r = core_node_join(core, &j, key, now_ms, &instance, e);

	if (r == 0)
		(void)snprintf(ret, 33, "%s", instance);
	take_effects();
	return r;
}

static int hello(const char *name, const char *key, struct err *e)
{
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .instance_id = (char *)(uintptr_t)name,
					 .hostname = (char[]){"host"},
					 .boot_id = (char[]){"b"},
					 .version = (char[]){"1"},
					 .cpu_units = 1024,
					 .memory_mib = 1024};
	const char *instance;
	int r = core_node_hello(core, &h, key, 0, now_ms, &instance, e);

	take_effects();
	return r;
}

static void a_code_is_not_stored_and_a_node_gets_a_name_by_it(void **state)
{
	auto_free char *id = activate(1, 60);
	char name[33], again[33];
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < fx.count; i++)
		assert_null(strstr(fx.items[i].text, "\"secret\""));
	assert_ok(join(id, "secret", KEY, name, &e));
	assert_int_equal(strlen(name), 32);
	assert_ok(join(id, "secret", KEY, again, &e)); /* its answer was lost */
	assert_string_equal(name, again);
	assert_ok(hello(name, KEY, &e));
}

static void a_token_is_for_so_many_nodes_and_so_long(void **state)
{
	auto_free char *id = activate(1, 60);
	auto_free char *late = activate(5, 60);
	char name[33];
	struct err e = {0};

	(void)state;
	assert_fails(join(id, "Secret", KEY, name, &e), EACCES);
	assert_fails(join("no-such-id", "secret", KEY, name, &e), EACCES);
	assert_ok(join(id, "secret", KEY, name, &e));
	assert_fails(join(id, "secret", KEY2, name, &e), EACCES);
	assert_says("used by 1 of 1");
	assert_fails(join(late, "secret", KEY, name, &e), EEXIST);
	now_ms += 60000;
	assert_fails(join(late, "secret", KEY2, name, &e), EACCES);
	assert_says("expired");
}

static void a_name_is_worth_nothing_without_its_key(void **state)
{
	auto_free char *id = activate(2, 60);
	char one[33], two[33];
	struct err e = {0};

	(void)state;
	assert_ok(join(id, "secret", KEY, one, &e));
	assert_ok(join(id, "secret", KEY2, two, &e));
	assert_fails(hello(one, KEY2, &e), ENOENT);
	assert_fails(hello("00000000000000000000000000000000", KEY, &e), ENOENT);
	assert_fails(hello(NULL, KEY, &e), ENOENT);
	assert_fails(hello(one, NULL, &e), ENOENT); /* nor is it the one on the server's machine */
	assert_ok(hello(one, KEY, &e));
}

static void who_was_removed_is_nobody(void **state)
{
	auto_free char *id = activate(1, 60);
	auto_json json_t *reply = NULL;
	char name[33];
	struct err e = {0};
	bool refused = false;

	(void)state;
	assert_ok(join(id, "secret", KEY, name, &e));
	assert_ok(hello(name, KEY, &e));
	reply = call("DeregisterContainerInstance", json_pack("{s:s}", "containerInstance", name));
	assert_string_equal(json_string_value(json_object_get(
				    json_object_get(reply, "containerInstance"), "status")),
			    "INACTIVE");
	for (size_t i = 0; i < fx.count; i++)
		refused |= fx.items[i].kind == CORE_REFUSE && strcmp(fx.items[i].key, name) == 0;
	assert_true(refused);
	assert_fails(hello(name, KEY, &e), ENOENT);
	assert_fails(join(id, "secret", KEY, name, &e), EACCES); /* and its token was used */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_code_is_not_stored_and_a_node_gets_a_name_by_it,
						start, stop),
		cmocka_unit_test_setup_teardown(a_token_is_for_so_many_nodes_and_so_long, start,
						stop),
		cmocka_unit_test_setup_teardown(a_name_is_worth_nothing_without_its_key, start,
						stop),
		cmocka_unit_test_setup_teardown(who_was_removed_is_nobody, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
