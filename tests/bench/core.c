/* tests/bench/core.c - how many placements the core decides in a second
 * SPDX-License-Identifier: Apache-2.0
 *
 *   core NODES TASKS STRATEGY    none, binpack, spread, spread-rack, constraint
 *
 * RunTask with ten tasks each, through the facade: the documents and messages that
 * each placement costs are part of it, the disk is not.  Prints tasks a second of
 * CPU time, and bytes of memory for each node and each task.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/core/core.h"
#include "tests/bench/bench.h"

#define NOW 1700000000000LL

static const struct {
	const char *name, *more;
} strategies[] = {
	{"none", ""},
	{"binpack", ",\"placementStrategy\":[{\"type\":\"binpack\",\"field\":\"memory\"}]"},
	{"spread", ",\"placementStrategy\":[{\"type\":\"spread\",\"field\":\"instanceId\"}]"},
	{"spread-rack",
	 ",\"placementStrategy\":[{\"type\":\"spread\",\"field\":\"attribute:rack\"},"
	 "{\"type\":\"binpack\",\"field\":\"memory\"}]"},
	{"constraint", ",\"placementConstraints\":[{\"type\":\"memberOf\",\"expression\":"
		       "\"attribute:rack in [r1, r2] and runningTasksCount < 1000\"}]"},
};

static void call(struct core *c, const char *operation, const char *text)
{
	auto_json json_t *request = json_loads(text, 0, NULL);
	struct ecs_fault f;
	auto_free char *reply = core_call_text(c, operation, request, NOW, &f);

	if (!reply || (strstr(reply, "\"failures\":") && !strstr(reply, "\"failures\":[]"))) {
		(void)fprintf(stderr, "%s: %s\n", operation, reply ? "no place" : f.message);
		exit(1);
	}
	drop_effects(c);
}

static void add_node(struct core *c, unsigned number)
{
	char host[16], rack[8];
	struct ecs_attribute a[] = {{(char[]){"rack"}, rack},
				    {(char[]){"ecs.os-type"}, (char[]){"linux"}},
				    {(char[]){"ecs.os-family"}, (char[]){"LINUX"}},
				    {(char[]){"ecs.cpu-architecture"}, (char[]){"x86_64"}},
				    {(char[]){"ecs.capability.external"}, NULL},
				    {(char[]){"ecs.capability.task-eni"}, NULL},
				    {(char[]){"ecs.capability.network.container-port-range"}, NULL},
				    {(char[]){"ecs.capability.privileged-container"}, NULL}};
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .hostname = host,
					 .boot_id = (char[]){"b"},
					 .version = (char[]){"1"},
					 .cpu_units = 1 << 20,
					 .memory_mib = 1 << 20,
					 .attributes = {a, ARRAY_COUNT(a)}};
	const char *instance;
	struct err e = {0};

	(void)snprintf(host, sizeof(host), "h%u", number);
	(void)snprintf(rack, sizeof(rack), "r%u", number % 20);
	if (core_node_hello(c, &h, NULL, 0, NOW, &instance, &e) < 0)
		abort();
	drop_effects(c);
}

int main(int argc, char **argv)
{
	const struct core_options o = {
		.identity = {.region = "us-east-1", .account = "123456789012"},
		.seed = {1, 2, 3, 4},
		.vpc_cidr = "172.31.0.0/16",
		.stopped_keep_ms = 3600000,
		.stopped_keep_max = 1000};
	uint32_t nodes = 0, tasks = 0;
	const char *more = NULL;
	struct core *c = core_new(&o);
	auto_free char *request = NULL;
	size_t empty, with_nodes, with_tasks;
	double begun, seconds;

	for (size_t i = 0; argc > 3 && i < ARRAY_COUNT(strategies); i++)
		if (strcmp(argv[3], strategies[i].name) == 0)
			more = strategies[i].more;
	if (!more || !parse_u32(argv[1], 1000000, &nodes) ||
	    !parse_u32(argv[2], 10000000, &tasks)) {
		(void)fputs("core NODES TASKS none|binpack|spread|spread-rack|constraint\n",
			    stderr);
		return 2;
	}
	core_loaded(c, NOW);
	empty = memory_in_use();
	for (unsigned i = 0; i < nodes; i++)
		add_node(c, i);
	with_nodes = memory_in_use();
	call(c, "RegisterTaskDefinition",
	     "{\"family\":\"w\",\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"i\",\"cpu\":10,"
	     "\"memory\":10,\"essential\":true}]}");
	request = xasprintf("{\"taskDefinition\":\"w\",\"count\":10%s}", more);
	begun = cpu_seconds();
	for (unsigned i = 0; i < tasks / 10; i++)
		call(c, "RunTask", request);
	seconds = cpu_seconds() - begun;
	with_tasks = memory_in_use();
	(void)printf("%.0f %zu %zu\n", tasks / seconds, (with_nodes - empty) / nodes,
		     (with_tasks - with_nodes) / tasks);
	core_free(c);
	return 0;
}
