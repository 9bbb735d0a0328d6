/* tests/unit/scheduler/index.c - what the index chooses is what a plain scan chooses
 * SPDX-License-Identifier: Apache-2.0
 *
 * Random clusters live for a while: nodes come, go, drain and get attributes, tasks
 * start and end.  Before each RunTask all instances are looked at one by one, as the
 * ECS Developer Guide describes it.
 */
#include "tests/unit/scheduler/driven.h"

#include "scheduler/core/placement.h"
#include "scheduler/core/task.h"

#define NODES      40
#define STEPS      700
#define ARNS       4000
#define FIELDS_MAX 3

static uint64_t state;
static char nodes[NODES][33];
static struct {
	char arn[160];
	int node;
} tasks[ARNS];
static size_t task_count;

static uint32_t below(uint32_t n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(state >> 33) % n;
}

static struct cluster *cluster(void)
{
	return map_find(&core->clusters, "default");
}

/* ---- the plain scan ---- */

struct wanted {
	const char *family, *group;
	int64_t cpu, memory, gpus;
	int port; /* 0: none */
	const char *racks[2];
	bool constrained, alone, idle, distinct;
	size_t count;
	struct {
		const char *type, *field;
	} strategies[FIELDS_MAX];
};

static bool has_task_of(const struct instance *i, const char *group, size_t *ret_count)
{
	size_t count = 0;

	for (const struct task *t = task_at(core, i->first_task); t;
	     t = task_at(core, t->next_there))
		count += t->last_status != TASK_STOPPED &&
			 (!group || strcmp(t->kind->group->name, group) == 0);
	if (ret_count)
		*ret_count = count;
	return count;
}

static bool port_is_free(const struct instance *i, int port)
{
	for (const struct task *t = task_at(core, i->first_task); t;
	     t = task_at(core, t->next_there))
		if ((t->last_status != TASK_STOPPED || t->held) && port &&
		    t->kind->definition->host_port_count &&
		    t->kind->definition->host_ports[0].port == port)
			return false;
	return true;
}

static void left_of(const struct instance *i, int64_t *cpu, int64_t *memory)
{
	*cpu = i->cpu_units;
	*memory = i->memory_mib;
	for (const struct task *t = task_at(core, i->first_task); t;
	     t = task_at(core, t->next_there)) {
		if (t->last_status == TASK_STOPPED && !t->held)
			continue;
		*cpu -= t->kind->demand.cpu_units;
		*memory -= t->kind->demand.memory_mib;
	}
}

/* Its node has the same ones whenever it comes. */
static int64_t free_gpus(const struct instance *i)
{
	int64_t count = (int64_t)json_array_size(json_object_get(i->record.doc, "_gpuIds"));

	for (const struct task *t = task_at(core, i->first_task); t;
	     t = task_at(core, t->next_there))
		if (t->last_status != TASK_STOPPED || t->held)
			count -= t->kind->demand.gpus;
	return count;
}

static bool may_be_there(const struct instance *i, const struct wanted *w)
{
	const char *rack = attribute_of(i, "rack");
	int64_t cpu, memory;

	left_of(i, &cpu, &memory);
	if (!i->connected || !str_eq(doc_string(i->record.doc, "status"), "ACTIVE") ||
	    json_object_get(i->record.doc, "_quietUntil") || cpu < w->cpu || memory < w->memory ||
	    !port_is_free(i, w->port) || (w->gpus && free_gpus(i) < w->gpus))
		return false;
	if (w->constrained && !str_eq(rack, w->racks[0]) && !str_eq(rack, w->racks[1]))
		return false;
	if (w->alone && has_task_of(i, "service:noisy", NULL))
		return false;
	if (w->idle && i->running >= 2)
		return false;
	return !w->distinct || !has_task_of(i, w->group, NULL);
}

/* The less the better. */
static int64_t cost_of(const struct instance *i, const char *type, const char *field,
		       const char *group)
{
	int64_t cpu, memory;
	size_t sum = 0, here;
	struct instance *other;

	left_of(i, &cpu, &memory);
	if (str_eq(type, "binpack"))
		return str_eq(field, "cpu") ? cpu : memory;
	if (str_eq(field, "instanceId")) {
		(void)has_task_of(i, group, &sum);
		return (int64_t)sum;
	}
	for (size_t n = 0; map_next(&cluster()->instances, &n, &other);) {
		const char *mine = attribute_of(i, field + strlen("attribute:")),
			   *its = attribute_of(other, field + strlen("attribute:"));

		if (strcmp(mine ? mine : "", its ? its : "") != 0)
			continue;
		(void)has_task_of(other, group, &here);
		sum += here;
	}
	return (int64_t)sum;
}

/* Those that are left when the strategies have been tried; random leaves all. */
static size_t scan(const struct wanted *w, struct instance *left[NODES])
{
	size_t count = 0;
	struct instance *i;

	for (size_t n = 0; map_next(&cluster()->instances, &n, &i);)
		if (may_be_there(i, w))
			left[count++] = i;
	for (size_t s = 0; s < w->count && strcmp(w->strategies[s].type, "random") != 0; s++) {
		int64_t least = INT64_MAX;
		size_t kept = 0;

		for (size_t n = 0; n < count; n++) {
			int64_t cost = cost_of(left[n], w->strategies[s].type,
					       w->strategies[s].field, w->group);

			kept = cost < least ? 0 : kept;
			least = cost < least ? cost : least;
			if (cost == least)
				left[kept++] = left[n];
		}
		count = kept;
	}
	return count;
}

/* What is left over goes where least memory, then least CPU is left, then to the lowest row. */
static const struct instance *plain_choice(struct instance *left[NODES], size_t count)
{
	const struct instance *best = NULL;
	int64_t best_cpu = 0, best_memory = 0;

	for (size_t n = 0; n < count; n++) {
		int64_t cpu, memory;

		left_of(left[n], &cpu, &memory);
		if (best && (memory > best_memory ||
			     (memory == best_memory &&
			      (cpu > best_cpu || (cpu == best_cpu && left[n]->row > best->row)))))
			continue;
		best = left[n];
		best_cpu = cpu;
		best_memory = memory;
	}
	return best;
}

/* ---- requests ---- */

static const struct {
	const char *family;
	int64_t cpu, memory;
	int port;
	int64_t gpus;
} families[] = {{"small", 10, 20, 0, 0}, {"even", 50, 50, 0, 0}, {"big", 400, 300, 0, 0},
		{"web", 20, 10, 80, 0},  {"gpu", 10, 30, 0, 1},  {"gpus", 30, 10, 0, 3},
		{"most", 10, 10, 0, 10}};

static void define_families(void)
{
	for (size_t i = 0; i < ARRAY_COUNT(families); i++) {
		auto_free char *gpus =
			families[i].gpus ? xasprintf(",\"resourceRequirements\":[{\"type\":\"GPU\","
						     "\"value\":\"%d\"}]",
						     (int)families[i].gpus)
					 : xstrdup("");

		do_call("RegisterTaskDefinition",
			"{\"family\":\"%s\",\"networkMode\":\"bridge\",\"containerDefinitions\":[{\"name\":"
			"\"a\",\"image\":\"i\",\"cpu\":%d,\"memory\":%d,\"portMappings\":[{\"containerPort\":"
			"80,\"hostPort\":%d,\"protocol\":\"tcp\"}]%s}]}",
			families[i].family, (int)families[i].cpu, (int)families[i].memory,
			families[i].port, gpus);
	}
}

static void draw_strategies(struct wanted *w)
{
	static const struct {
		const char *type, *field;
	} all[] = {{"binpack", "cpu"},           {"binpack", "memory"},
		   {"spread", "instanceId"},     {"spread", "attribute:rack"},
		   {"spread", "attribute:disk"}, {"random", ""}};

	w->count = below(FIELDS_MAX + 1);
	for (size_t i = 0; i < w->count; i++) {
		size_t k = below(ARRAY_COUNT(all) - (below(4) != 0));

		w->strategies[i].type = all[k].type;
		w->strategies[i].field = all[k].field;
	}
}

static struct wanted draw_wanted(void)
{
	static const char *const racks[] = {"r0", "r1", "r2", "none"}, *const groups[] = {
									       "service:a",
									       "service:b",
									       "service:noisy"};
	size_t k = below(ARRAY_COUNT(families));
	struct wanted w = {.family = families[k].family,
			   .cpu = families[k].cpu,
			   .memory = families[k].memory,
			   .port = families[k].port,
			   .gpus = families[k].gpus,
			   .group = groups[below(ARRAY_COUNT(groups))],
			   .racks = {racks[below(4)], racks[below(4)]},
			   .constrained = below(4) == 0,
			   .alone = below(5) == 0,
			   .idle = below(5) == 0,
			   .distinct = below(5) == 0};

	draw_strategies(&w);
	return w;
}

static char *request_of(const struct wanted *w)
{
	struct buf b;
	char *text;

	buf_init(&b, 10000);
	buf_printf(&b, "{\"taskDefinition\":\"%s\",\"group\":\"%s\",\"placementConstraints\":[",
		   w->family, w->group);
	if (w->constrained)
		buf_printf(&b,
			   "{\"type\":\"memberOf\",\"expression\":\"attribute:rack in [%s, %s]\"},",
			   w->racks[0], w->racks[1]);
	if (w->alone)
		buf_puts(&b, "{\"type\":\"memberOf\",\"expression\":\"task:group != "
			     "service:noisy\"},");
	if (w->idle)
		buf_puts(&b, "{\"type\":\"memberOf\",\"expression\":\"runningTasksCount < 2\"},");
	if (w->distinct)
		buf_puts(&b, "{\"type\":\"distinctInstance\"},");
	text = xstrdup(buf_str(&b));
	if (text[strlen(text) - 1] == ',')
		text[strlen(text) - 1] = '\0';
	buf_reset(&b);
	buf_printf(&b, "%s],\"placementStrategy\":[", text);
	free(text);
	for (size_t i = 0; i < w->count; i++)
		buf_printf(&b, "%s{\"type\":\"%s\",\"field\":\"%s\"}", i ? "," : "",
			   w->strategies[i].type, w->strategies[i].field);
	buf_puts(&b, "]}");
	text = xstrdup(buf_str(&b));
	buf_done(&b);
	return text;
}

static int node_of(const char *arn)
{
	for (int i = 0; i < NODES; i++)
		if (*nodes[i] && strstr(arn, nodes[i]))
			return i;
	fail_msg("on no node: %s", arn);
	return -1;
}

static bool is_random(const struct wanted *w)
{
	for (size_t i = 0; i < w->count; i++)
		if (strcmp(w->strategies[i].type, "random") == 0)
			return true;
	return false;
}

static void run(void)
{
	const struct wanted w = draw_wanted();
	auto_free char *request = request_of(&w);
	struct instance *left[NODES];
	const size_t count = scan(&w, left);
	const struct instance *best = plain_choice(left, count);
	auto_json json_t *reply = call("RunTask", "%s", request);
	bool among = false;
	int node;

	if (!reply)
		fail_msg("%s: %s", request, fault.message);
	if (!json_array_size(json_object_get(reply, "tasks"))) {
		if (count)
			fail_msg("%s: refused, and %s would do", request, best->id);
		return;
	}
	node = node_of(text_at(reply, "tasks[0].containerInstanceArn"));
	for (size_t n = 0; n < count; n++)
		among |= strcmp(left[n]->id, nodes[node]) == 0;
	if (!among || (!is_random(&w) && strcmp(best->id, nodes[node]) != 0))
		fail_msg("%s: %s, and a scan chooses %s", request, nodes[node],
			 best ? best->id : "none");
	(void)snprintf(tasks[task_count].arn, sizeof(tasks[0].arn), "%s",
		       text_at(reply, "tasks[0].taskArn"));
	tasks[task_count++].node = node;
}

static void tell(size_t n, const char *status)
{
	report(nodes[tasks[n].node], tasks[n].arn, status);
	if (strcmp(status, "STOPPED") == 0)
		tasks[n] = tasks[--task_count];
}

static void move_on(void)
{
	if (task_count)
		tell(below((uint32_t)task_count), below(2) ? "RUNNING" : "STOPPED");
}

/* One that a search has found and that may not have been chosen has more than it had. */
static void end_one_on(const struct instance *i)
{
	for (size_t n = 0; i && n < task_count; n++) {
		if (strcmp(nodes[tasks[n].node], i->id) != 0)
			continue;
		tell(n, "STOPPED");
		return;
	}
}

/* Several in a row for one placement, as a RunTask with a count does. */
static void run_several(void)
{
	struct wanted w = draw_wanted();
	auto_free char *text = NULL;
	auto_json json_t *request = NULL;
	struct placement p;

	while (is_random(&w))
		draw_strategies(&w);
	if (below(2)) {
		w.strategies[0].type = "spread";
		w.strategies[0].field = "attribute:rack";
		w.count += !w.count;
	}
	text = request_of(&w);
	request = parse(text);
	p = (struct placement){.core = core,
			       .cluster = cluster(),
			       .definition = definition_find(core, w.family, &fault),
			       .request = request,
			       .group = w.group};
	ecs_task_definition_demand(&p.definition->parsed, &p.demand);
	assert_int_equal(placement_prepare(&p, &fault), 0);
	for (int n = 0; n < 20 && task_count < ARNS; n++) {
		struct instance *left[NODES];
		const struct instance *best = plain_choice(left, scan(&w, left));
		struct instance *chosen = placement_choose(&p);
		auto_json json_t *reply = NULL;

		if (chosen != best)
			fail_msg("%s: number %d on %s, and a scan chooses %s", text, n,
				 chosen ? chosen->id : "none", best ? best->id : "none");
		if (!chosen)
			return;
		reply = call(
			"StartTask",
			"{\"taskDefinition\":\"%s\",\"group\":\"%s\",\"containerInstances\":[\"%s\"]}",
			w.family, w.group, chosen->id);
		(void)snprintf(tasks[task_count].arn, sizeof(tasks[0].arn), "%s",
			       text_at(reply, "tasks[0].taskArn"));
		tasks[task_count++].node = node_of(chosen->id);
		for (uint32_t k = below(4); k > 1; k--)
			move_on(); /* something else happens meanwhile */
		if (below(3) == 0)
			end_one_on(p.found[below(3)].instance);
	}
}

/* ---- what else happens ---- */

/* One of four has GPUs, 12 at most. */
static void come(int node)
{
	static const char *const racks[] = {"r0", "r1", "r2"};
	static char names[][2] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
	char *ids[ARRAY_COUNT(names)];
	const struct js_strings gpus = {
		.items = ids, .count = node % 4 ? 0 : 1 + (size_t)node % ARRAY_COUNT(ids)};

	for (size_t n = 0; n < ARRAY_COUNT(ids); n++)
		ids[n] = names[n];

	hello_with_gpus("host", racks[below(3)], nodes[node], 200 + 200 * below(4),
			200 + 100 * below(6), &gpus);
}

static void change_node(void)
{
	const int node = (int)below(NODES);
	const char *id = nodes[node];

	switch (below(6)) {
	case 0:
		core_node_gone(core, id, now_ms);
		take_effects();
		return;
	case 1:
		do_call("UpdateContainerInstancesState",
			"{\"containerInstances\":[\"%s\"],\"status\":\"%s\"}", id,
			below(3) ? "ACTIVE" : "DRAINING");
		return;
	case 2:
		do_call("PutAttributes",
			"{\"attributes\":[{\"name\":\"disk\",\"value\":\"d%u\",\"targetId\":\"%s\"}]}",
			below(3), id);
		return;
	case 3:
		do_call("DeleteAttributes",
			"{\"attributes\":[{\"name\":\"disk\",\"targetId\":\"%s\"}]}", id);
		return;
	case 4:
		now_ms += 60000;
		core_tick(core, now_ms);
		take_effects();
		return;
	default:
		come(node);
	}
}

static void begin_with(uint64_t seed)
{
	state = seed;
	now_ms = START_MS;
	task_count = 0;
	core = core_new(&options);
	core_loaded(core, now_ms);
	take_effects();
	define_families();
	for (int i = 0; i < NODES; i++) {
		nodes[i][0] = '\0';
		come(i);
	}
}

static void what_the_index_chooses_is_what_a_scan_chooses(void **unused)
{
	(void)unused;
	check_every = 13; /* a check brings up to date what is late */
	for (uint64_t seed = 1; seed <= 5; seed++) {
		begin_with(seed);
		for (int n = 0; n < STEPS && task_count < ARNS; n++) {
			uint32_t what = below(20);

			if (what < 10)
				run();
			else if (what < 12)
				run_several();
			else if (what < 18)
				move_on();
			else
				change_node();
			if (n % 500 == 499) {
				restart();
				for (int k = 0; k < NODES; k++)
					come(k);
			}
		}
		(void)end(NULL);
		fx = (struct core_effects){0};
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_index_chooses_is_what_a_scan_chooses),
	};

	return cmocka_run_group_tests_name("scheduler/index", tests, NULL, NULL);
}
