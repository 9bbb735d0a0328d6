/* tests/unit/scheduler/logs.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * Logs are driven by their facade.  The two functions that answer a caller are
 * ours here: they keep what would have been said.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/text.h"
#include "scheduler/logs_internal.h"

static const struct ecs_identity identity = {.region = "us-east-1", .account = "123456789012"};
static char dir[] = "/tmp/berth-logs-XXXXXX";
static struct loop *loop;
static struct logs *logs;
static int64_t now_ms;
static json_t *reply;
static struct ecs_fault fault;
static char line_error[256];
static int64_t acked;
static bool answered;

void call_reply(struct call *c, json_t *own_reply)
{
	(void)c;
	reply = own_reply;
	answered = true;
}

void call_fault(struct call *c, const struct ecs_fault *f)
{
	(void)c;
	fault = *f;
	answered = true;
}

static void await(void)
{
	while (!answered)
		loop_poll(loop);
}

static struct call *no_call(void)
{
	static struct call c;

	return &c;
}

/* Returns the reply, which the caller owns, or NULL: see 'fault'. */
static json_t *call(const char *operation, const char *text)
{
	auto_json json_t *request = NULL;
	struct err e = {0};

	assert_ok(js_parse(text, strlen(text), 8, &request, &e));
	answered = false;
	reply = NULL;
	fault.message[0] = '\0';
	logs_call(logs, operation, request, no_call());
	await();
	return reply;
}

static void do_call(const char *operation, const char *text)
{
	json_t *r = call(operation, text);

	if (!r)
		fail_msg("%s: %s", operation, fault.message);
	json_decref(r);
}

static void refuse(const char *operation, const char *text, enum ecs_fault_type type)
{
	json_t *r = call(operation, text);

	if (r)
		fail_msg("%s %s was taken", operation, text);
	assert_int_equal(fault.type, type);
}

static void on_lines(void *ctx, const char *source, int64_t position, const char *error)
{
	(void)ctx;
	assert_string_equal(source, "task/c");
	(void)snprintf(line_error, sizeof(line_error), "%s", error ? error : "");
	acked = position;
	answered = true;
}

/* Lines "first" to "last" of a container, each ten bytes long in its output. */
static void put_lines(const char *stream, bool create, int first, int last)
{
	struct ecs_log_event events[32];
	char texts[32][16];
	struct ecs_node_log log = {
		.source = (char *)(uintptr_t) "task/c",
		.group = (char *)(uintptr_t) "/app",
		.stream = (char *)(uintptr_t)stream,
		.create_group = create,
		.position = (last + 1) * 10,
		.events = {.items = events, .count = (size_t)(last - first + 1)}};

	for (int i = first; i <= last; i++) {
		(void)snprintf(texts[i - first], sizeof(texts[0]), "line %d", i);
		events[i - first] = (struct ecs_log_event){.timestamp = 1000 + i,
							   .position = (i + 1) * 10,
							   .message = texts[i - first]};
	}
	answered = false;
	logs_put(logs, &log, on_lines, NULL);
	await();
}

/* The messages of a reply, one word each. */
static void expect_messages(json_t *own_reply, const char *expected)
{
	char got[512] = "";
	json_t *events, *event;
	size_t i;

	if (!own_reply)
		fail_msg("%s", fault.message);
	events = json_object_get(own_reply, "events");
	json_array_foreach (events, i, event)
		(void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? "," : "",
			       json_string_value(json_object_get(event, "message")));
	assert_string_equal(got, expected);
	json_decref(own_reply);
}

static int open_logs(void **state)
{
	char made[] = "/tmp/berth-logs-XXXXXX";
	struct err e = {0};

	(void)state;
	memcpy(dir, made, sizeof(dir));
	assert_non_null(mkdtemp(dir));
	loop = loop_new();
	assert_ok(logs_open(loop, dir, &identity, &logs, &e));
	return 0;
}

static int close_logs(void **state)
{
	struct err e = {0};

	(void)state;
	logs_close(logs);
	loop_free(loop);
	assert_ok(fs_remove_tree(AT_FDCWD, dir, &e));
	return 0;
}

static void each_line_is_kept_once_whatever_batch_it_comes_in(void **state)
{
	(void)state;
	put_lines("s", true, 0, 3);
	assert_string_equal(line_error, "");
	assert_int_equal(acked, 40);
	put_lines("s", true, 0, 3); /* the acknowledgement was lost */
	put_lines("s", true, 2, 5); /* a batch cut elsewhere, after a crash */
	put_lines("s", true, 1, 2); /* an old one */
	assert_string_equal(line_error, "");
	expect_messages(
		call("GetLogEvents",
		     "{\"logGroupName\":\"/app\",\"logStreamName\":\"s\",\"startFromHead\":true}"),
		"line 0,line 1,line 2,line 3,line 4,line 5");
}

static void a_group_is_made_for_lines_only_when_asked(void **state)
{
	(void)state;
	put_lines("s", false, 0, 0);
	assert_non_null(strstr(line_error, "ResourceNotFoundException"));
	assert_non_null(strstr(line_error, "/app"));
	do_call("CreateLogGroup", "{\"logGroupName\":\"/app\"}");
	put_lines("s", false, 0, 0); /* it was not taken: it is taken now */
	assert_string_equal(line_error, "");
	put_lines("a:b", false, 1, 1);
	assert_non_null(strstr(line_error, "a:b"));
}

static void what_is_there_twice_or_not_at_all_is_named(void **state)
{
	(void)state;
	do_call("CreateLogGroup", "{\"logGroupName\":\"g\"}");
	refuse("CreateLogGroup", "{\"logGroupName\":\"g\"}", ECS_FAULT_RESOURCE_EXISTS);
	do_call("CreateLogStream", "{\"logGroupName\":\"g\",\"logStreamName\":\"s\"}");
	refuse("CreateLogStream", "{\"logGroupName\":\"g\",\"logStreamName\":\"s\"}",
	       ECS_FAULT_RESOURCE_EXISTS);
	refuse("CreateLogStream", "{\"logGroupName\":\"h\",\"logStreamName\":\"s\"}",
	       ECS_FAULT_RESOURCE_NOT_FOUND);
	refuse("GetLogEvents", "{\"logGroupName\":\"g\",\"logStreamName\":\"t\"}",
	       ECS_FAULT_RESOURCE_NOT_FOUND);
	refuse("CreateLogGroup", "{\"logGroupName\":\"a b\"}", ECS_FAULT_INVALID_PARAMETER);
	refuse("CreateLogStream", "{\"logGroupName\":\"g\",\"logStreamName\":\"a*\"}",
	       ECS_FAULT_INVALID_PARAMETER);
	refuse("PutRetentionPolicy", "{\"logGroupName\":\"g\",\"retentionInDays\":2}",
	       ECS_FAULT_INVALID_PARAMETER);
	do_call("DeleteLogGroup", "{\"logGroupName\":\"g\"}");
	refuse("DeleteLogGroup", "{\"logGroupName\":\"g\"}", ECS_FAULT_RESOURCE_NOT_FOUND);
}

static void events_are_checked_before_any_is_kept(void **state)
{
	/* An empty message; not in order; more than a day. */
	const struct {
		int64_t first, second;
		const char *message;
	} bad[] = {
		{now_ms, now_ms, ""},
		{now_ms, now_ms - 1, "x"},
		{now_ms - 86400001, now_ms, "x"},
	};
	char request[512];

	(void)state;
	do_call("CreateLogGroup", "{\"logGroupName\":\"g\"}");
	do_call("CreateLogStream", "{\"logGroupName\":\"g\",\"logStreamName\":\"s\"}");
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		(void)snprintf(request, sizeof(request),
			       "{\"logGroupName\":\"g\",\"logStreamName\":\"s\",\"logEvents\":["
			       "{\"timestamp\":%" PRId64 ",\"message\":\"ok\"},"
			       "{\"timestamp\":%" PRId64 ",\"message\":\"%s\"}]}",
			       bad[i].first, bad[i].second, bad[i].message);
		refuse("PutLogEvents", request, ECS_FAULT_INVALID_PARAMETER);
	}
	expect_messages(call("GetLogEvents", "{\"logGroupName\":\"g\",\"logStreamName\":\"s\"}"),
			"");
}

/* CloudWatch Logs takes 14 days back and 2 hours ahead. */
static void events_too_old_or_too_new_are_told_by_index(void **state)
{
	char request[512];
	json_t *r, *info;

	(void)state;
	do_call("CreateLogGroup", "{\"logGroupName\":\"g\"}");
	do_call("CreateLogStream", "{\"logGroupName\":\"g\",\"logStreamName\":\"s\"}");
	(void)snprintf(request, sizeof(request),
		       "{\"logGroupName\":\"g\",\"logStreamName\":\"s\",\"logEvents\":["
		       "{\"timestamp\":%" PRId64 ",\"message\":\"now\"},"
		       "{\"timestamp\":%" PRId64 ",\"message\":\"far\"}]}",
		       now_ms, now_ms + 3 * 3600000);
	r = call("PutLogEvents", request);
	assert_non_null(r);
	info = json_object_get(r, "rejectedLogEventsInfo");
	assert_int_equal(json_integer_value(json_object_get(info, "tooNewLogEventStartIndex")), 1);
	json_decref(r);

	(void)snprintf(request, sizeof(request),
		       "{\"logGroupName\":\"g\",\"logStreamName\":\"s\",\"logEvents\":["
		       "{\"timestamp\":%" PRId64 ",\"message\":\"old\"}]}",
		       now_ms - 15 * 24 * 3600000);
	r = call("PutLogEvents", request);
	assert_non_null(r);
	info = json_object_get(r, "rejectedLogEventsInfo");
	assert_int_equal(json_integer_value(json_object_get(info, "tooOldLogEventEndIndex")), 1);
	json_decref(r);
	expect_messages(call("GetLogEvents", "{\"logGroupName\":\"g\",\"logStreamName\":\"s\"}"),
			"now");
}

/* The token of the last page comes back as it is when there is nothing more. */
static void pages_go_on_where_the_last_one_ended(void **state)
{
	static const char next[] = "{\"logGroupName\":\"/app\",\"logStreamName\":\"s\",\"limit\":3,"
				   "\"startFromHead\":true,\"nextToken\":\"%s\"}";
	static const char *const pages[] = {"line 3,line 4,line 5", "line 6", "", "line 7"};
	char request[512], token[128], before[128];
	json_t *r;

	(void)state;
	put_lines("s", true, 0, 6);
	r = call("GetLogEvents", "{\"logGroupName\":\"/app\",\"logStreamName\":\"s\",\"limit\":3,"
				 "\"startFromHead\":true}");
	assert_non_null(r);
	for (size_t i = 0; i < ARRAY_COUNT(pages); i++) {
		(void)snprintf(token, sizeof(token), "%s",
			       json_string_value(json_object_get(r, "nextForwardToken")));
		json_decref(r);
		if (i == 3) {
			assert_string_equal(token, before);
			put_lines("s", true, 7, 7); /* who follows meets what came since */
		}
		memcpy(before, token, sizeof(before));
		(void)snprintf(request, sizeof(request), next, token);
		r = call("GetLogEvents", request);
		expect_messages(json_incref(r), pages[i]);
	}
	json_decref(r);
}

static void a_filter_reads_all_streams_in_order_of_time(void **state)
{
	(void)state;
	put_lines("a", true, 0, 1);
	put_lines("b", true, 2, 3);
	put_lines("a", true, 4, 4);
	expect_messages(call("FilterLogEvents", "{\"logGroupName\":\"/app\"}"),
			"line 0,line 1,line 2,line 3,line 4");
	expect_messages(
		call("FilterLogEvents", "{\"logGroupName\":\"/app\",\"logStreamNames\":[\"b\"]}"),
		"line 2,line 3");
	expect_messages(call("FilterLogEvents",
			     "{\"logGroupName\":\"/app\",\"startTime\":1002,\"endTime\":1004,"
			     "\"filterPattern\":\"?3 ?4 ?1\"}"),
			"line 3,line 4");
}

static void what_is_kept_is_there_after_a_restart(void **state)
{
	struct err e = {0};

	(void)state;
	put_lines("s", true, 0, 2);
	do_call("PutRetentionPolicy", "{\"logGroupName\":\"/app\",\"retentionInDays\":30}");
	logs_close(logs);
	assert_ok(logs_open(loop, dir, &identity, &logs, &e));
	put_lines("s", true, 1, 3); /* positions too */
	expect_messages(
		call("GetLogEvents",
		     "{\"logGroupName\":\"/app\",\"logStreamName\":\"s\",\"startFromHead\":true}"),
		"line 0,line 1,line 2,line 3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_line_is_kept_once_whatever_batch_it_comes_in,
						open_logs, close_logs),
		cmocka_unit_test_setup_teardown(a_group_is_made_for_lines_only_when_asked,
						open_logs, close_logs),
		cmocka_unit_test_setup_teardown(what_is_there_twice_or_not_at_all_is_named,
						open_logs, close_logs),
		cmocka_unit_test_setup_teardown(events_are_checked_before_any_is_kept, open_logs,
						close_logs),
		cmocka_unit_test_setup_teardown(events_too_old_or_too_new_are_told_by_index,
						open_logs, close_logs),
		cmocka_unit_test_setup_teardown(pages_go_on_where_the_last_one_ended, open_logs,
						close_logs),
		cmocka_unit_test_setup_teardown(a_filter_reads_all_streams_in_order_of_time,
						open_logs, close_logs),
		cmocka_unit_test_setup_teardown(what_is_kept_is_there_after_a_restart, open_logs,
						close_logs),
	};

	now_ms = clock_wall_ms();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
