/* tests/unit/agent/links.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "agent/internal.h"
#include "base/auto.h"

#define DB                                                                              \
	"{\"containerDefinitions\":[{\"name\":\"db\",\"image\":\"i\",\"environment\":[" \
	"{\"name\":\"MODE\",\"value\":\"fast\"},{\"name\":\"PATH\",\"value\":\"/x\"},"  \
	"{\"name\":\"EMPTY\"}]}]}"

/* What Docker's own links say in the same case. */
static const char *const expected[] = {
	"MY_DB_PORT_80_TCP=tcp://172.28.0.7:80",
	"MY_DB_PORT_80_TCP_ADDR=172.28.0.7",
	"MY_DB_PORT_80_TCP_PORT=80",
	"MY_DB_PORT_80_TCP_PROTO=tcp",
	"MY_DB_PORT_8000_TCP_START=tcp://172.28.0.7:8000",
	"MY_DB_PORT_8000_TCP_ADDR=172.28.0.7",
	"MY_DB_PORT_8000_TCP_PROTO=tcp",
	"MY_DB_PORT_8000_TCP_PORT_START=8000",
	"MY_DB_PORT_8002_TCP_END=tcp://172.28.0.7:8002",
	"MY_DB_PORT_8002_TCP_PORT_END=8002",
	"MY_DB_PORT_8000_TCP=tcp://172.28.0.7:8000",
	"MY_DB_PORT_8000_TCP_ADDR=172.28.0.7",
	"MY_DB_PORT_8000_TCP_PORT=8000",
	"MY_DB_PORT_8000_TCP_PROTO=tcp",
	"MY_DB_PORT_8001_TCP=tcp://172.28.0.7:8001",
	"MY_DB_PORT_8001_TCP_ADDR=172.28.0.7",
	"MY_DB_PORT_8001_TCP_PORT=8001",
	"MY_DB_PORT_8001_TCP_PROTO=tcp",
	"MY_DB_PORT_8002_TCP=tcp://172.28.0.7:8002",
	"MY_DB_PORT_8002_TCP_ADDR=172.28.0.7",
	"MY_DB_PORT_8002_TCP_PORT=8002",
	"MY_DB_PORT_8002_TCP_PROTO=tcp",
	"MY_DB_PORT_53_UDP=udp://172.28.0.7:53",
	"MY_DB_PORT_53_UDP_ADDR=172.28.0.7",
	"MY_DB_PORT_53_UDP_PORT=53",
	"MY_DB_PORT_53_UDP_PROTO=udp",
	"MY_DB_PORT=tcp://172.28.0.7:80",
	"MY_DB_NAME=/web/my-db",
	"MY_DB_ENV_VERSION=9",
	"MY_DB_ENV_MODE=fast",
	"MY_DB_ENV_EMPTY=",
};

static char *of_image[] = {(char[]){"MODE=slow"}, (char[]){"VERSION=9"}, (char[]){"HOME=/root"}};

static void the_variables_are_those_of_dockers_links(void **state)
{
	static struct link_port items[] = {
		{80, false}, {8000, false}, {8001, false}, {8002, false}, {53, true}};
	const struct link_ports ports = {items, ARRAY_COUNT(items), 0};
	const struct js_strings image_env = {of_image, ARRAY_COUNT(of_image)};
	auto_arena struct arena a = {0};
	struct ecs_task_definition t;
	auto_json json_t *doc = NULL;
	struct js_strings list;
	struct err e = {0};

	(void)state;
	assert_ok(js_parse(DB, strlen(DB), 32, &doc, &e));
	assert_ok(ecs_task_definition_decode(doc, &a, &t, &e));
	list = link_variables(
		&(struct link_told){.from = "web",
				    .alias = "my-db",
				    .address = "172.28.0.7",
				    .to = JS_AT(t.containers, struct ecs_container_definition, 0),
				    .ports = &ports,
				    .image_env = &image_env},
		&a);
	for (size_t i = 0; i < list.count && i < ARRAY_COUNT(expected); i++)
		assert_string_equal(list.items[i], expected[i]);
	assert_int_equal(list.count, ARRAY_COUNT(expected));
}

static void a_long_row_is_told_by_its_ends(void **state)
{
	static struct link_port items[20000];
	const struct link_ports ports = {items, ARRAY_COUNT(items), 0};
	const struct js_strings none = {0};
	const struct ecs_container_definition bare = {0};
	auto_arena struct arena a = {0};
	struct js_strings list;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(items); i++)
		items[i].port = (uint16_t)(1000 + i);
	list = link_variables(&(struct link_told){.from = "w",
						  .alias = "d",
						  .address = "1.2.3.4",
						  .to = &bare,
						  .ports = &ports,
						  .image_env = &none},
			      &a);
	assert_true(list.count < 2000);
	assert_string_equal(list.items[4], "D_PORT_20999_TCP_END=tcp://1.2.3.4:20999");
}

#define PAIR                                                                                      \
	"{\"containerDefinitions\":[{\"name\":\"web\",\"image\":\"i\",\"links\":[\"db:store\"]}," \
	"{\"name\":\"db\",\"image\":\"i\"}]}"

static void a_container_waits_for_those_that_it_links_to(void **state)
{
	static const struct {
		enum phase phase;
		bool made, fine;
	} rows[] = {
		{PHASE_PENDING, false, false},  {PHASE_CREATING, false, false},
		{PHASE_STARTING, false, false}, {PHASE_RUNNING, true, true},
		{PHASE_STOPPED, true, false},   {PHASE_CLEAN, true, false},
	};
	struct container containers[2] = {{0}};
	struct task task = {.containers = containers, .count = 2};
	auto_arena struct arena a = {0};
	auto_json json_t *doc = NULL;
	struct err e = {0};

	(void)state;
	assert_ok(js_parse(PAIR, strlen(PAIR), 32, &doc, &e));
	assert_ok(ecs_task_definition_decode(doc, &a, &task.wanted.definition, &e));
	for (size_t i = 0; i < 2; i++) {
		containers[i].task = &task;
		containers[i].def = JS_AT(task.wanted.definition.containers,
					  struct ecs_container_definition, i);
	}
	assert_true(links_may_be_made(&containers[1]));
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		containers[1].phase = rows[i].phase;
		assert_int_equal(links_may_be_made(&containers[0]), rows[i].made);
		assert_int_equal(links_check(&containers[0], &e) == 0, rows[i].fine);
	}
	assert_says("Cannot link to a non running container: /db AS /web/store");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_variables_are_those_of_dockers_links),
		cmocka_unit_test(a_long_row_is_told_by_its_ends),
		cmocka_unit_test(a_container_waits_for_those_that_it_links_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
