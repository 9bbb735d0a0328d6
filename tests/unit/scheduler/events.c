/* tests/unit/scheduler/events.c - what happened, read from a cursor on
 * SPDX-License-Identifier: Apache-2.0
 *
 * Calls are ours here: there are no requests behind them, and what is sent is kept.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/text.h"
#include "scheduler/internal.h"
#include "scheduler/store_internal.h"

#define NOW   1000000000000
#define TASKS 5

static const struct ecs_identity identity = {.region = "us-east-1", .account = "123456789012"};
static char dir[] = "/tmp/berth-events-XXXXXX";
static char path[64];
static struct loop *loop;
static struct db *db;
static struct events *events;
static json_t *reply; /* of the last call; NULL: it waits */

/* ---- in the place of api.c ---- */

void call_reply(struct call *call, json_t *own_reply)
{
	(void)call;
	reply = own_reply;
}

void call_fault(struct call *call, const struct ecs_fault *f)
{
	(void)call;
	fail_msg("%s", f->message);
}

/* ---- driving ---- */

static char *document(int task, int version)
{
	return xasprintf("{\"taskArn\":\"arn:aws:ecs:us-east-1:123456789012:task/c/%d\","
			 "\"_id\":\"%032d\",\"version\":%d}",
			 task, task, version);
}

/* All of these tasks have a new version in one event. */
static void write_versions(int version)
{
	static char brief[] = "b";
	struct core_effect items[TASKS];
	const struct core_effects fx = {items, TASKS, 0};
	struct err e = {0};

	for (int i = 0; i < TASKS; i++)
		items[i] = (struct core_effect){.kind = CORE_PUT,
						.key = xasprintf("task/c/%d", i),
						.text = document(i, version),
						.brief = brief,
						.brief_size = 1,
						.event_ms = NOW + version};
	assert_ok(store_write(db, &fx, &e));
	for (int i = 0; i < TASKS; i++) {
		free(items[i].key);
		free(items[i].text);
	}
}

static void write_others(int count)
{
	struct core_effect other = {.kind = CORE_EVENT, .text = (char[]){"{\"detail\":{}}"}};
	const struct core_effects fx = {&other, 1, 1};
	struct err e = {0};

	assert_ok(db_exec(db, "BEGIN", &e));
	for (int i = 0; i < count; i++)
		assert_ok(store_write(db, &fx, &e));
	assert_ok(db_exec(db, "COMMIT", &e));
}

/* "task:version task:version", and *cursor is moved; were some missed before them? */
static bool read_on(int64_t *cursor, int limit, const char *expected)
{
	auto_free char *text = xasprintf("%lld", (long long)*cursor);
	auto_json json_t *request = json_pack("{s:s, s:i}", "cursor", text, "limit", limit);
	auto_buf struct buf b = BUF_INIT(10000);
	json_t *event;
	size_t i;
	bool missed;

	events_call(events, request, NULL);
	json_array_foreach (json_object_get(reply, "events"), i, event) {
		const json_t *detail = json_object_get(event, "detail");
		const char *arn = json_string_value(json_object_get(detail, "taskArn"));

		buf_printf(&b, "%s%s:%lld", i ? " " : "", arn ? strrchr(arn, '/') + 1 : "-",
			   (long long)json_integer_value(json_object_get(detail, "version")));
	}
	assert_string_equal(buf_str(&b), expected);
	assert_true(parse_i64(json_string_value(json_object_get(reply, "cursor")), 0, INT64_MAX,
			      cursor));
	missed = json_is_true(json_object_get(reply, "missed"));
	json_decref(take_ptr(reply));
	return missed;
}

static int begin(void **state)
{
	struct err e = {0};

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/state.db", dir);
	assert_ok(db_open(path, DB_NORMAL, STATE_VERSION, store_schema, &db, &e));
	loop = loop_new();
	assert_ok(events_open(loop, dir, &identity, &events, &e));
	return 0;
}

static int end(void **state)
{
	struct err e;

	(void)state;
	events_close(events);
	loop_free(loop);
	db_close(db);
	return fs_remove_tree(AT_FDCWD, dir, &e);
}

/* ---- what is proved ---- */

/* A page may end in the middle of a row. */
static void each_event_comes_once_whatever_the_page(void **state)
{
	(void)state;
	write_versions(1);
	write_others(1);
	write_versions(2);
	for (int limit = 1; limit <= 12; limit++) {
		static const char *const all[] = {"0:1", "1:1", "2:1", "3:1", "4:1", "-:0",
						  "0:2", "1:2", "2:2", "3:2", "4:2"};
		int64_t cursor = 0;

		for (size_t i = 0; i < ARRAY_COUNT(all); i += (size_t)limit) {
			auto_buf struct buf b = BUF_INIT(1000);

			for (size_t k = i; k < i + (size_t)limit && k < ARRAY_COUNT(all); k++)
				buf_printf(&b, "%s%s", k > i ? " " : "", all[k]);
			assert_false(read_on(&cursor, limit, buf_str(&b)));
		}
		assert_int_equal(cursor, ARRAY_COUNT(all));
		assert_false(read_on(&cursor, limit, ""));
	}
}

static void who_comes_too_late_is_told(void **state)
{
	int64_t cursor = 3, last;

	(void)state;
	assert_false(read_on(&cursor, 2, "3:1 4:1"));
	write_others(EVENTS_KEPT + 2 * EVENTS_PRUNED_EACH);
	cursor = 3;
	assert_true(read_on(&cursor, 1, "-:0"));
	last = cursor;
	assert_false(read_on(&cursor, 1, "-:0"));
	assert_int_equal(cursor, last + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_event_comes_once_whatever_the_page),
		cmocka_unit_test(who_comes_too_late_is_told),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
