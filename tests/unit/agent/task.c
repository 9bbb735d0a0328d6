/* tests/unit/agent/task.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"

#define ID  "0123456789abcdef0123456789abcdef"
#define ARN "arn:aws:ecs:us-east-1:123456789012:task/default/" ID

static const char record[] =
	"{\"wanted\":{\"taskArn\":\"" ARN
	"\",\"desiredStatus\":\"RUNNING\",\"lastStatus\":\"PENDING\","
	"\"definition\":{\"family\":\"f\",\"networkMode\":\"bridge\","
	"\"ephemeralStorage\":{\"sizeInGiB\":21},\"containerDefinitions\":["
	"{\"name\":\"a\",\"image\":\"i\",\"memory\":64,\"essential\":true},"
	"{\"name\":\"b\",\"image\":\"j\",\"cpu\":5,\"memoryReservation\":8,\"essential\":false}]},"
	"\"containers\":[{\"name\":\"a\",\"containerArn\":\"x/a\"},{\"name\":\"b\",\"containerArn\":\"x/b\"}]},"
	"\"state\":{\"taskArn\":\"" ARN
	"\",\"lastStatus\":\"RUNNING\",\"startedAt\":1700000000123,\"containers\":["
	"{\"name\":\"a\",\"lastStatus\":\"RUNNING\",\"networkBindings\":[{\"bindIP\":\"0.0.0.0\","
	"\"containerPort\":80,\"hostPort\":32768,\"protocol\":\"tcp\"}]},"
	"{\"name\":\"b\",\"lastStatus\":\"STOPPED\",\"exitCode\":0,\"reason\":\"r\"}]},"
	"\"containers\":[{\"phase\":\"RUNNING\",\"imageDigest\":\"sha256:1\",\"stopSignal\":\"SIGQUIT\","
	"\"stdoutRecord\":3,\"stdoutOffset\":4,\"stdoutBytes\":5,\"stderrBytes\":7,\"mapped\":true},"
	"{\"phase\":\"CLEAN\",\"failed\":true,\"unmapped\":\"privileged\"}],\"stop\":true,"
	"\"firstId\":589824,\"project\":1073741825}";

static void forget(struct agent *a, struct task *t)
{
	(void)map_remove(&a->tasks, t->id);
	task_free(t);
	map_done(&a->tasks);
	map_done(&a->containers);
}

static void a_task_comes_back_from_its_record_as_it_was(void **state)
{
	auto_json json_t *doc = NULL, *again = NULL;
	struct agent a = {0};
	struct err e = {0};
	struct task *t;

	(void)state;
	assert_ok(js_parse(record, strlen(record), 32, &doc, &e));
	t = task_from_record(&a, doc, &e);
	if (!t)
		fail_msg("%s", e.msg);
	assert_string_equal(t->id, ID);
	assert_ptr_equal(map_find(&a.tasks, ID), t);
	assert_ptr_equal(map_find(&a.containers, ID "-1"), &t->containers[1]);
	assert_int_equal(t->containers[0].phase, PHASE_RUNNING);
	assert_int_equal(t->containers[1].phase, PHASE_CLEAN);
	assert_int_equal(t->containers[0].shipped[1].bytes, 7);
	assert_int_equal(*t->containers[1].state->exit_code, 0);
	assert_true(t->stop && t->untold);
	assert_int_equal(ids_take(&a.ranges), 589824 + 65536);
	assert_true(t->containers[0].mapped && !t->containers[0].unmapped);
	assert_string_equal(t->containers[1].unmapped, "privileged");

	again = task_to_record(t);
	if (!json_equal(doc, again)) {
		auto_free char *text = js_dump(again);

		fail_msg("%s", text);
	}
	forget(&a, t);
}

static void a_record_that_is_not_whole_is_refused(void **state)
{
	static const char *const gone[][2] = {{"wanted", "taskArn"},
					      {"state", "containers"},
					      {NULL, "containers"},
					      {NULL, "wanted"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(gone); i++) {
		auto_json json_t *doc = NULL;
		struct agent a = {0};
		struct err e = {0};

		assert_ok(js_parse(record, strlen(record), 32, &doc, &e));
		(void)json_object_del(gone[i][0] ? json_object_get(doc, gone[i][0]) : doc,
				      gone[i][1]);
		assert_null(task_from_record(&a, doc, &e));
		assert_true(e.msg[0] != '\0');
		map_done(&a.tasks);
		map_done(&a.containers);
	}
}

struct seen {
	size_t count;
	int64_t last;
};

static int see(void *ctx, const json_t *doc, struct err *e)
{
	struct seen *s = ctx;

	(void)e;
	s->count++;
	s->last = json_integer_value(json_object_get(doc, "v"));
	return 0;
}

static void records_are_kept_replaced_and_dropped(void **state)
{
	char dir[] = "/tmp/berth-unit-XXXXXX";
	auto_free char *path = NULL, *value = NULL;
	struct records *r;
	struct err e = {0};

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = xasprintf("%s/agent.db", dir);
	for (int i = 0; i < 3; i++) {
		auto_json json_t *doc = json_pack("{s:i}", "v", i);
		struct seen s = {0};

		assert_ok(records_open(path, &r, &e));
		assert_ok(records_put_task(r, "one", doc, &e));
		assert_ok(records_put_task(r, "two", doc, &e));
		assert_ok(records_drop_task(r, "one", &e));
		assert_ok(records_drop_task(r, "never", &e));
		assert_ok(records_each_task(r, see, &s, &e));
		assert_int_equal(s.count, 1);
		assert_int_equal(s.last, i);
		records_close(r);
	}
	assert_ok(records_open(path, &r, &e));
	assert_null(records_get_meta(r, "boot"));
	assert_ok(records_put_meta(r, "boot", "a", &e));
	assert_ok(records_put_meta(r, "boot", "b", &e));
	value = records_get_meta(r, "boot");
	assert_string_equal(value, "b");
	records_close(r);
	assert_ok(fs_remove_tree(AT_FDCWD, dir, &e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_comes_back_from_its_record_as_it_was),
		cmocka_unit_test(a_record_that_is_not_whole_is_refused),
		cmocka_unit_test(records_are_kept_replaced_and_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
