/* tests/unit/ecs/metadata.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "ecs/metadata.h"

static void paths_are_those_of_ecs(void **state)
{
	static const struct {
		const char *target;
		enum ecs_metadata_topic topic;
		const char *id;
	} rows[] = {
		{"/v4/0af-0", ECS_METADATA_CONTAINER, "0af-0"},
		{"/v3/0af-0", ECS_METADATA_CONTAINER, "0af-0"},
		{"/v4/0af-0/task", ECS_METADATA_TASK, "0af-0"},
		{"/v4/0af-0/taskWithTags", ECS_METADATA_TASK_WITH_TAGS, "0af-0"},
		{"/v4/0af-0/stats", ECS_METADATA_STATS, "0af-0"},
		{"/v3/1/task/stats", ECS_METADATA_TASK_STATS, "1"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		enum ecs_metadata_topic topic = ECS_METADATA_TOPICS;
		char id[ECS_METADATA_ID_SIZE];

		assert_true(ecs_metadata_parse(rows[i].target, &topic, id));
		assert_int_equal(topic, rows[i].topic);
		assert_string_equal(id, rows[i].id);
	}
}

static void what_is_no_path_is_none(void **state)
{
	static const char *const targets[] = {
		"",
		"/",
		"/v4",
		"/v4/",
		"/v4//task",
		"/v4/../task",
		"/v5/0af",
		"/v4/0af/",
		"/v4/0af/tasks",
		"/v4/0af/task/",
		"/v4/0af/stats?x",
		"/v4/0AF",
		"v4/0af",
		"/v4/0123456789012345678901234567890123456789012345678901234567890123",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
		enum ecs_metadata_topic topic;
		char id[ECS_METADATA_ID_SIZE];

		if (ecs_metadata_parse(targets[i], &topic, id))
			fail_msg("%s", targets[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_those_of_ecs),
		cmocka_unit_test(what_is_no_path_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
