/* tests/bench/decide.c - how many placements are decided in a second
 * SPDX-License-Identifier: Apache-2.0
 *
 *   decide NODES TASKS KIND      binpack, spread-zone, spread-instance, mixed, gpu
 *
 * The choice alone and its accounts: no documents, no messages, no disk.  Services of
 * 100 tasks take turns, ten tasks at a time, as RunTask has them.  Nodes have 16, 32
 * or 64 vCPU, three zones, four types, two architectures.  In "mixed" four of ten
 * services are constrained by expression, one of ten wants distinct instances, one of
 * twenty has a host port, and strategies are of all kinds but random.  "gpu" is the same,
 * with GPUs in one of twenty nodes, as many as it has vCPU (parts of some, that is), and
 * two of a hundred services whose tasks want one or two.  Prints decisions
 * a second of CPU time, tasks that found no place, CPU in use at the end, in percent, bytes of
 * memory that the table has taken for each task, and the milliseconds that it takes to make the
 * table's orders, which is done once, when they are first asked for, and not in the first number.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/js.h"
#include "base/text.h"
#include "scheduler/core/placement.h"
#include "tests/bench/bench.h"

#define NOW       1700000000000LL
#define BATCH     10
#define PER_GROUP 100

static uint64_t state = 1;

static uint32_t below(uint32_t n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)((state >> 33) * n >> 31);
}

/* ---- the cluster ---- */

static void add_node(struct core *c, unsigned number, bool gpus)
{
	char host[16], zone[8], type[8], arch[8];
	struct ecs_attribute a[] = {{(char[]){"zone"}, zone},
				    {(char[]){"type"}, type},
				    {(char[]){"ecs.cpu-architecture"}, arch}};
	const int64_t cpus = 16 << number % 3;
	char *ids[64], texts[64][4];
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .hostname = host,
					 .boot_id = (char[]){"b"},
					 .version = (char[]){"1"},
					 .cpu_units = cpus * 1024,
					 .memory_mib = cpus * 2048,
					 .attributes = {a, ARRAY_COUNT(a)},
					 .gpu_ids = {ids, gpus ? (size_t)cpus : 0}};
	const char *instance;
	struct err e = {0};

	for (unsigned n = 0; n < h.gpu_ids.count; n++) {
		(void)snprintf(texts[n], sizeof(texts[n]), "%u", n);
		ids[n] = texts[n];
	}
	(void)snprintf(host, sizeof(host), "h%u", number);
	(void)snprintf(zone, sizeof(zone), "z%u", below(3));
	(void)snprintf(type, sizeof(type), "t%u", below(4));
	(void)snprintf(arch, sizeof(arch), "%s", below(2) ? "x86_64" : "arm64");
	if (core_node_hello(c, &h, NULL, 0, NOW, &instance, &e) < 0)
		abort();
	drop_effects(c);
}

/* ---- services ---- */

struct service {
	char group[24];
	json_t *request;
	struct definition *definition;
	struct placement placement;
};

static struct definition *define(struct core *c, unsigned number, unsigned port, unsigned gpus)
{
	auto_free char *wanted = gpus ? xasprintf(",\"resourceRequirements\":[{\"type\":\"GPU\","
						  "\"value\":\"%u\"}]",
						  gpus)
				      : xstrdup("");
	auto_free char *text = xasprintf(
		"{\"family\":\"f%u\",\"networkMode\":\"bridge\",\"containerDefinitions\":[{\"name\":\"c\","
		"\"image\":\"i\",\"cpu\":%u,\"memory\":%u,\"essential\":true,\"portMappings\":[{"
		"\"containerPort\":80,\"hostPort\":%u,\"protocol\":\"tcp\"}]%s}]}",
		number, 64 << below(4), 64 << below(5), port, wanted);
	auto_free char *name = xasprintf("f%u", number);
	auto_json json_t *request = json_loads(text, 0, NULL), *reply = NULL;
	struct ecs_fault f = {.message = ""};

	reply = core_call(c, "RegisterTaskDefinition", request, NOW, &f);
	drop_effects(c);
	return definition_find(c, name, &f);
}

static json_t *draw_constraints(void)
{
	json_t *list = json_array();

	if (below(10) < 4) {
		json_t *expression = NULL;

		switch (below(3)) {
		case 0:
			expression = json_sprintf("attribute:zone == z%u", below(3));
			break;
		case 1:
			expression = json_sprintf("attribute:type in [t%u, t3]", below(3));
			break;
		default:
			expression = json_sprintf("attribute:ecs.cpu-architecture == %s and "
						  "attribute:type != t%u",
						  below(2) ? "x86_64" : "arm64", below(4));
		}
		(void)json_array_append_new(list, json_pack("{s:s, s:o}", "type", "memberOf",
							    "expression", expression));
	}
	if (below(10) == 0)
		(void)json_array_append_new(list, json_pack("{s:s}", "type", "distinctInstance"));
	return list;
}

static const struct {
	const char *kind, *strategies;
} kinds[] = {
	{"binpack", "[{\"type\":\"binpack\",\"field\":\"memory\"}]"},
	{"spread-zone", "[{\"type\":\"spread\",\"field\":\"attribute:zone\"},"
			"{\"type\":\"binpack\",\"field\":\"memory\"}]"},
	{"spread-instance", "[{\"type\":\"spread\",\"field\":\"attribute:zone\"},"
			    "{\"type\":\"spread\",\"field\":\"instanceId\"}]"},
	{"binpack-cpu", "[{\"type\":\"binpack\",\"field\":\"cpu\"}]"},
};

static void make_service(struct core *c, struct service *s, unsigned number, const char *kind)
{
	const bool gpu = strcmp(kind, "gpu") == 0, mixed = gpu || strcmp(kind, "mixed") == 0;
	const char *strategies = NULL;

	for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
		if (strcmp(kinds[i].kind, kind) == 0)
			strategies = kinds[i].strategies;
	if (mixed)
		strategies = kinds[below(ARRAY_COUNT(kinds))].strategies;
	if (!strategies) {
		(void)fputs("decide NODES TASKS binpack|binpack-cpu|spread-zone|spread-instance|"
			    "mixed|gpu\n",
			    stderr);
		exit(2);
	}
	(void)snprintf(s->group, sizeof(s->group), "service:%u", number);
	s->definition = define(c, number, mixed && below(20) == 0 ? 8000 + below(100) : 0,
			       gpu && number % 50 == 0 ? 1 + number / 50 % 2 : 0);
	s->request = json_pack("{s:o}", "placementStrategy", json_loads(strategies, 0, NULL));
	if (mixed)
		(void)json_object_set_new(s->request, "placementConstraints", draw_constraints());
}

/* ---- decisions ---- */

/* As of a request that was read: once for each service. */
static void prepare(struct core *c, struct cluster *cl, struct service *s)
{
	struct ecs_fault f = {.message = ""};

	s->placement = (struct placement){.core = c,
					  .cluster = cl,
					  .definition = s->definition,
					  .request = s->request,
					  .group = s->group};
	ecs_task_definition_demand(&s->definition->parsed, &s->placement.demand);
	if (placement_prepare(&s->placement, &f) < 0)
		abort();
}

/* The id of each is found and written down, as in the document of a task. */
static void take_gpus(struct instance *i, int64_t count)
{
	auto_json json_t *container = count ? json_object() : NULL;

	gpus_take(i, 1, container, count);
}

static size_t place(struct cluster *cl, struct service *s)
{
	size_t placed = 0;
	struct instance *i;

	for (int n = 0; n < BATCH && (i = placement_choose(&s->placement)); n++, placed++) {
		place_take(i, s->definition, &s->placement.demand);
		take_gpus(i, s->placement.demand.gpus);
		if (!s->placement.counted)
			s->placement.counted = table_group(&cl->table, s->group);
		table_count(&cl->table, i, s->placement.counted, 1);
	}
	return placed;
}

/* The orders are there; nothing is placed. */
static void make_orders(struct service *services, uint32_t count)
{
	for (uint32_t i = 0; i < count && i < PER_GROUP; i++)
		(void)placement_choose(&services[i].placement);
}

static int used_percent(const struct cluster *cl)
{
	int64_t used = 0, all = 0;
	struct instance *i;

	for (size_t n = 0; map_next(&cl->instances, &n, &i);) {
		used += i->cpu_used;
		all += i->cpu_units;
	}
	return (int)(used * 100 / all);
}

int main(int argc, char **argv)
{
	const struct core_options o = {
		.identity = {.region = "us-east-1", .account = "123456789012"},
		.seed = {1, 2, 3, 4},
		.vpc_cidr = "172.31.0.0/16"};
	uint32_t nodes = 0, tasks = 0, service_count;
	struct core *c = core_new(&o);
	struct service *services;
	struct cluster *cl;
	size_t placed = 0, before;
	double begun, seconds, orders;

	if (argc < 4 || !parse_u32(argv[1], 1000000, &nodes) ||
	    !parse_u32(argv[2], 10000000, &tasks))
		return 2;
	core_loaded(c, NOW);
	cl = map_find(&c->clusters, "default");
	for (unsigned i = 0; i < nodes; i++)
		add_node(c, i, strcmp(argv[3], "gpu") == 0 && i % 20 == 0);
	service_count = (tasks + PER_GROUP - 1) / PER_GROUP;
	services = xcalloc(service_count, sizeof(*services));
	for (unsigned i = 0; i < service_count; i++)
		make_service(c, &services[i], i, argv[3]);
	for (unsigned i = 0; i < service_count; i++)
		prepare(c, cl, &services[i]);

	before = memory_in_use();
	begun = cpu_seconds();
	make_orders(services, service_count);
	orders = cpu_seconds() - begun;
	begun = cpu_seconds();
	for (unsigned round = 0; round < PER_GROUP / BATCH; round++)
		for (unsigned i = 0; i < service_count; i++)
			placed += place(cl, &services[i]);
	seconds = cpu_seconds() - begun;
	(void)printf("%.0f %zu %d %zu %.0f\n", (double)placed / seconds, tasks - placed,
		     used_percent(cl), (memory_in_use() - before) / (placed + 1), orders * 1000);
	return 0;
}
