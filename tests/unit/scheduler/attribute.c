/* tests/unit/scheduler/attribute.c - attributes that callers give to container instances
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/scheduler/driven.h"

static char hosts[3][33];

static int begin(void **state)
{
	static const char *const racks[] = {"r1", "r2", "r3"};

	(void)state;
	begin_core();
	for (int i = 0; i < 3; i++) {
		hosts[i][0] = '\0';
		hello("h", racks[i], hosts[i]);
	}
	return 0;
}

/* How many instances a filter finds. */
static size_t count(const char *filter)
{
	auto_json json_t *reply = call("ListContainerInstances", "{\"filter\":\"%s\"}", filter);

	return json_array_size(json_object_get(reply, "containerInstanceArns"));
}

static void put(const char *host, const char *name, const char *value)
{
	do_call("PutAttributes",
		"{\"attributes\":[{\"name\":\"%s\",\"value\":\"%s\",\"targetId\":\"%s\"}]}", name,
		value, host);
}

static void what_a_caller_hid_of_the_node_s_is_back_when_he_deletes_his(void **state)
{
	(void)state;
	for (int again = 0; again < 2; again++) {
		put(hosts[0], "rack", "mine");
		put(hosts[0], "rack", "other");
		assert_int_equal(count("attribute:rack == r1"), 0);
		assert_int_equal(count("attribute:rack == other"), 1);
		if (again) {
			hello("h", "r9", hosts[0]); /* it says another one meanwhile */
			restart();
			hello("h", "r9", hosts[0]);
			assert_int_equal(count("attribute:rack == other"), 1);
		}
		do_call("DeleteAttributes",
			"{\"attributes\":[{\"name\":\"rack\",\"targetId\":\"%s\"}]}", hosts[0]);
		assert_int_equal(count("attribute:rack == other"), 0);
		assert_int_equal(count(again ? "attribute:rack == r9" : "attribute:rack == r1"), 1);
		assert_int_equal(count("attribute:rack exists"), 3);
	}
}

static void what_the_node_says_is_not_deleted(void **state)
{
	static const struct {
		const char *name, *says;
	} rows[] = {{"rack", "[node] in berth.conf"}, {"ecs.capability.task-eni", "is reserved"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		assert_null(call("DeleteAttributes",
				 "{\"attributes\":[{\"name\":\"%s\",\"targetId\":\"%s\"}]}",
				 rows[i].name, hosts[0]));
		assert_int_equal(fault.type, ECS_FAULT_INVALID_PARAMETER);
		assert_non_null(strstr(fault.message, rows[i].says));
	}
	do_call("DeleteAttributes", "{\"attributes\":[{\"name\":\"absent\",\"targetId\":\"%s\"}]}",
		hosts[0]);
	assert_int_equal(count("attribute:rack exists"), 3);
}

/* So many attributes in one call; the last two have one name. */
static void put_many(const char *prefix, int count)
{
	auto_buf struct buf b = BUF_INIT(1 << 16);
	json_t *reply;

	for (int i = 0; i < count; i++)
		buf_printf(&b, "%s{\"name\":\"%s%d\",\"targetId\":\"%s\"}", i ? "," : "", prefix,
			   i < count - 1 ? i : i - 1, hosts[0]);
	reply = call("PutAttributes", "{\"attributes\":[%s]}", buf_str(&b));
	json_decref(reply);
}

static void an_instance_has_at_most_ten_of_callers(void **state)
{
	(void)state;
	put_many("a", 9); /* eight */
	put_many("b", 4); /* three more would be eleven */
	assert_int_equal(fault.type, ECS_FAULT_ATTRIBUTE_LIMIT);
	assert_int_equal(count("attribute:b0 exists"), 0);
	put_many("c", 3); /* two */
	assert_int_equal(count("attribute:c1 exists"), 1);
	put_many("a", 9); /* the same again */
	assert_string_equal(fault.message, "");
}

static void pages_go_on_behind_an_instance_that_is_gone(void **state)
{
	auto_json json_t *first = call("ListAttributes",
				       "{\"targetType\":\"container-instance\",\"attributeName\":"
				       "\"rack\",\"maxResults\":1}");
	auto_json json_t *second = NULL;
	const char *seen = text_at(first, "attributes[0].targetId");

	(void)state;
	do_call("DeregisterContainerInstance", "{\"containerInstance\":\"%s\",\"force\":true}",
		seen);
	second = call("ListAttributes",
		      "{\"targetType\":\"container-instance\",\"attributeName\":\"rack\","
		      "\"nextToken\":\"%s\"}",
		      text_at(first, "nextToken"));
	assert_int_equal(json_array_size(json_object_get(second, "attributes")), 2);
	assert_null(json_object_get(second, "nextToken"));
	assert_string_equal(text_at(second, "attributes[1].name"), "rack");
	assert_string_equal(text_at(second, "attributes[1].targetType"), "container-instance");
	assert_true(strcmp(text_at(second, "attributes[0].targetId"), seen) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_a_caller_hid_of_the_node_s_is_back_when_he_deletes_his, begin, end),
		cmocka_unit_test_setup_teardown(what_the_node_says_is_not_deleted, begin, end),
		cmocka_unit_test_setup_teardown(an_instance_has_at_most_ten_of_callers, begin, end),
		cmocka_unit_test_setup_teardown(pages_go_on_behind_an_instance_that_is_gone, begin,
						end),
	};

	return cmocka_run_group_tests_name("scheduler/attribute", tests, NULL, NULL);
}
