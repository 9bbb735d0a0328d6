/* tests/unit/ecs/node.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/auto.h"
#include "ecs/node.h"

/* Members in the order of their tables, so that a text is its own round trip. */
static void each_message_comes_back_as_it_was(void **state)
{
	static const struct {
		enum ecs_node_type type;
		const char *text;
	} rows[] = {
		{ECS_NODE_HELLO,
		 "{\"type\":\"hello\",\"protocol\":1,\"instanceId\":\"i\",\"hostname\":\"h\","
		 "\"bootId\":\"b\",\"version\":\"0.1\",\"cpu\":2048,\"memory\":1024,"
		 "\"attributes\":[{\"name\":\"ecs.os-type\",\"value\":\"linux\"}]}"},
		{ECS_NODE_WELCOME,
		 "{\"type\":\"welcome\",\"instanceId\":\"i\",\"cluster\":\"c\",\"region\":\"r\","
		 "\"account\":\"a\",\"report\":7,\"answers\":true}"},
		{ECS_NODE_TASKS,
		 "{\"type\":\"tasks\",\"full\":true,\"tasks\":[{\"taskArn\":\"t\","
		 "\"desiredStatus\":\"STOPPED\",\"lastStatus\":\"RUNNING\",\"stopCode\":\"UserInitiated\","
		 "\"stoppedReason\":\"because\",\"definition\":{\"family\":\"f\",\"revision\":1,"
		 "\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"x\"}]},"
		 "\"containers\":[{\"name\":\"c\",\"containerArn\":\"ca\"}]}]}"},
		{ECS_NODE_REPORT,
		 "{\"type\":\"report\",\"number\":3,\"tasks\":[{\"taskArn\":\"t\","
		 "\"lastStatus\":\"STOPPED\",\"stoppedAt\":9,\"containers\":[{\"name\":\"c\","
		 "\"lastStatus\":\"STOPPED\",\"exitCode\":0,\"networkBindings\":[{\"bindIP\":\"0.0.0.0\","
		 "\"containerPort\":80,\"hostPort\":32768,\"protocol\":\"tcp\"}]}],"
		 "\"attributes\":[{\"name\":\"n\",\"value\":\"v\"}]}]}"},
		{ECS_NODE_RESOURCES, "{\"type\":\"resources\",\"gpuIds\":[\"a.b/gpu=0\"]}"},
		{ECS_NODE_ACK, "{\"type\":\"ack\",\"number\":3}"},
		{ECS_NODE_LOG,
		 "{\"type\":\"log\",\"source\":\"t/c\",\"group\":\"g\",\"stream\":\"s\",\"position\":10,"
		 "\"events\":[{\"timestamp\":1,\"position\":10,\"message\":\"a\\u0001b\"}]}"},
		{ECS_NODE_LOG_ACK,
		 "{\"type\":\"log-ack\",\"source\":\"t/c\",\"position\":10,\"error\":\"no\"}"},
		{ECS_NODE_ASK,
		 "{\"type\":\"ask\",\"id\":5,\"operation\":\"ListImages\",\"request\":{\"a\":[1]}}"},
		{ECS_NODE_ANSWER, "{\"type\":\"answer\",\"id\":5,\"response\":{\"images\":[]}}"},
		{ECS_NODE_HOLDS, "{\"type\":\"holds\",\"full\":true,\"digests\":[\"sha256:a\"],"
				 "\"gone\":[\"sha256:b\"]}"},
		{ECS_NODE_WANT, "{\"type\":\"want\",\"digest\":\"sha256:a\",\"size\":7,"
				"\"serves\":true,\"avoid\":[\"i\"]}"},
		{ECS_NODE_SOURCE,
		 "{\"type\":\"source\",\"digest\":\"sha256:a\",\"instanceId\":\"i\","
		 "\"address\":\"10.0.0.1\",\"port\":4568,\"key\":\"k\"}"},
		{ECS_NODE_GOT, "{\"type\":\"got\",\"digest\":\"sha256:a\",\"failed\":true}"},
		{ECS_NODE_INTRODUCE, "{\"type\":\"introduce\",\"key\":\"k\",\"gone\":true}"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_arena struct arena a = {0};
		auto_json json_t *doc = NULL, *again = NULL;
		auto_free char *text = NULL;
		union {
			struct ecs_node_hello hello;
			struct ecs_node_tasks tasks;
			struct ecs_node_log log;
			char room[512];
		} message;
		enum ecs_node_type type;
		struct err e = {0};

		memset(&message, 0, sizeof(message));
		assert_ok(js_parse(rows[i].text, strlen(rows[i].text), ECS_NODE_JSON_DEPTH, &doc,
				   &e));
		assert_ok(ecs_node_type_of(doc, &type, &e));
		assert_int_equal(type, rows[i].type);
		assert_ok(js_decode(doc, ecs_node_shape(type), &a, &message, &e));
		text = ecs_node_dump(type, &message);
		assert_ok(js_parse(text, strlen(text), ECS_NODE_JSON_DEPTH, &again, &e));
		if (!json_equal(doc, again))
			fail_msg("%s\n%s", rows[i].text, text);
	}
}

static void what_is_no_message_is_refused(void **state)
{
	static const char *const rows[] = {
		"{}",
		"[]",
		"\"hello\"",
		"{\"type\":7}",
		"{\"type\":\"\"}",
		"{\"type\":\"hell\"}",
		"{\"type\":\"hello \"}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_json json_t *doc = NULL;
		enum ecs_node_type type;
		struct err e = {0};

		assert_ok(js_parse(rows[i], strlen(rows[i]), ECS_NODE_JSON_DEPTH, &doc, &e));
		assert_true(ecs_node_type_of(doc, &type, &e) < 0);
		assert_true(e.msg[0] != '\0');
	}
}

/* Whoever is at the other end may be broken: what is needed is asked for by name. */
static void a_missing_member_is_named(void **state)
{
	static const struct {
		enum ecs_node_type type;
		const char *text, *member;
	} rows[] = {
		{ECS_NODE_HELLO, "{\"type\":\"hello\",\"protocol\":1}", "hostname"},
		{ECS_NODE_REPORT, "{\"type\":\"report\"}", "number"},
		{ECS_NODE_TASKS, "{\"type\":\"tasks\",\"tasks\":[{\"taskArn\":\"t\"}]}",
		 "desiredStatus"},
		{ECS_NODE_LOG, "{\"type\":\"log\",\"source\":\"s\"}", "group"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_arena struct arena a = {0};
		auto_json json_t *doc = NULL;
		char message[512] = {0};
		struct err e = {0};

		assert_ok(js_parse(rows[i].text, strlen(rows[i].text), ECS_NODE_JSON_DEPTH, &doc,
				   &e));
		assert_true(js_decode(doc, ecs_node_shape(rows[i].type), &a, message, &e) < 0);
		assert_says(rows[i].member);
	}
}

static int64_t acked;
static bool opened;

static int on_ack(void *ctx, const void *message, struct err *e)
{
	assert_ptr_equal(ctx, &acked);
	acked = ((const struct ecs_node_ack *)message)->number;
	return acked < 0 ? err_set(e, ERANGE, "below nothing") : 0;
}

static int on_welcome(void *ctx, const void *message, struct err *e)
{
	(void)ctx;
	(void)message;
	(void)e;
	opened = true;
	return 0;
}

static void a_message_goes_to_its_handler_in_its_turn_only(void **state)
{
	static const struct ecs_node_handler handlers[] = {
		{ECS_NODE_WELCOME, true, sizeof(struct ecs_node_welcome), on_welcome},
		{ECS_NODE_ACK, false, sizeof(struct ecs_node_ack), on_ack},
	};
	static const char ack[] = "{\"type\":\"ack\",\"number\":7}";
	static const char welcome[] = "{\"type\":\"welcome\",\"instanceId\":\"i\","
				      "\"cluster\":\"c\",\"region\":\"r\",\"account\":\"a\"}";
	static const struct {
		bool was_opened;
		const char *text;
		int expected;
	} rows[] = {
		{false, ack, -EPROTO},
		{false, welcome, 0},
		{true, welcome, -EPROTO},
		{true, ack, 0},
		{true, "{\"type\":\"ack\",\"number\":-1}", -ERANGE},
		{true, "{\"type\":\"report\",\"number\":1}", -EPROTO},
		{true, "{\"type\":\"ack\"}", -EINVAL},
		{true, "{\"type\":\"ack\"", -EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct err e = {0};

		opened = rows[i].was_opened;
		acked = 0;
		assert_int_equal(ecs_node_dispatch(handlers, ARRAY_COUNT(handlers), opened, &acked,
						   rows[i].text, strlen(rows[i].text), &e),
				 rows[i].expected);
		assert_int_equal(e.msg[0] != '\0', rows[i].expected != 0);
		assert_int_equal(acked, rows[i].text == ack && !rows[i].expected ? 7
					: rows[i].expected == -ERANGE            ? -1
										 : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_message_comes_back_as_it_was),
		cmocka_unit_test(what_is_no_message_is_refused),
		cmocka_unit_test(a_missing_member_is_named),
		cmocka_unit_test(a_message_goes_to_its_handler_in_its_turn_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
