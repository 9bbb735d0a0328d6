/* tests/sim/caller.c - users of the API, who repeat what got no answer
 * SPDX-License-Identifier: Apache-2.0
 *
 * A RunTask is repeated with its clientToken until it is answered; the token is
 * its "startedBy" too, so that what came of it can be counted.  On the way a call is
 * late, is lost, comes twice or behind one that was sent after it, or is turned away; an
 * answer is late or lost.
 *
 * A call that placed nothing leaves no token, and whoever repeats it is served anew.  So a
 * second copy of a call that placed nothing is not delivered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define OTHER_MEAN_MS (60 * 1000)
#define RETRY_MS      20000
#define TIMEOUT_MS    30000
#define WAY_MS        100
#define LATE_MS       60000
#define LATE          20 /* of a thousand calls */
#define LOST          20
#define DOUBLED       30
#define TURNED_AWAY   30
#define UNHEARD       20 /* of a thousand answers */
#define RUN_COUNT_MAX 10

/* What of an instance a task may ask for, and what changes. */
enum moving { ANY, DISK, FEW_RUNNING, NO_BIG, MOVING };

struct run {
	unsigned number;
	char token[32];
	json_t *request;
	int64_t count;
	const char *rack; /* it must be placed there; NULL: anywhere */
	bool distinct;
	enum moving moving;
	unsigned tries, executed;
	bool answered;
	struct run *next;
};

/* One of the times that it is sent. */
struct call {
	struct run *run;
	bool copy; /* of one that is sent, too */
	bool unheard;
};

static size_t runs, answered, failed_placements;
static struct run *all_runs;
static char subnet[64];
static struct map open_runs; /* by token: those that have no answer */

static const char *const definitions[] = {
	"{\"family\":\"small\",\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"i\",\"cpu\":64,"
	"\"memory\":64,\"essential\":true}]}",
	"{\"family\":\"big\",\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"i\",\"cpu\":1024,"
	"\"memory\":2048,\"essential\":true}]}",
	"{\"family\":\"port\",\"networkMode\":\"bridge\",\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"i\","
	"\"cpu\":128,\"memory\":128,\"essential\":true,\"portMappings\":[{\"containerPort\":80,\"hostPort\":8080,"
	"\"protocol\":\"tcp\"},{\"containerPort\":53,\"hostPort\":8080,\"protocol\":\"udp\"}]}]}",
	"{\"family\":\"eni\",\"networkMode\":\"awsvpc\",\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"i\","
	"\"cpu\":32,\"memory\":32,\"essential\":true}]}",
	"{\"family\":\"gpu\",\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"i\",\"cpu\":32,"
	"\"memory\":32,\"essential\":true,\"resourceRequirements\":[{\"type\":\"GPU\",\"value\":\"1\"}]},"
	"{\"name\":\"d\",\"image\":\"i\",\"cpu\":32,\"memory\":32,\"essential\":true,"
	"\"resourceRequirements\":[{\"type\":\"GPU\",\"value\":\"1\"}]}]}",
};
static const char *const families[] = {"small", "big", "port", "eni", "gpu"};

size_t callers_runs(void)
{
	return runs;
}

/* ---- RunTask ---- */

static void add_constraints(struct run *r)
{
	json_t *list = json_array();

	if (chance(200)) {
		static const char *const racks[] = {"r0", "r1", "r2", "r3", "r4"};

		r->rack = racks[below(ARRAY_COUNT(racks))];
		(void)json_array_append_new(
			list, json_pack("{s:s, s:o}", "type", "memberOf", "expression",
					json_sprintf("attribute:rack == %s", r->rack)));
	}
	if (chance(100)) {
		static const char *const moving[MOVING] = {
			[DISK] = "attribute:disk == d1 or attribute:disk !exists",
			[FEW_RUNNING] = "runningTasksCount < 2",
			[NO_BIG] = "not task:group == family:big",
		};

		r->moving = (enum moving)between(DISK, NO_BIG);
		(void)json_array_append_new(list, json_pack("{s:s, s:s}", "type", "memberOf",
							    "expression", moving[r->moving]));
	}
	if (chance(150)) {
		r->distinct = true;
		(void)json_array_append_new(list, json_pack("{s:s}", "type", "distinctInstance"));
	}
	(void)json_object_set_new(r->request, "placementConstraints", list);
}

/* None, one, or two that are tried one after the other. */
static void add_strategies(json_t *request)
{
	static const struct {
		const char *type, *field;
	} strategies[] = {{"binpack", "memory"},        {"binpack", "cpu"},
			  {"spread", "instanceId"},     {"spread", "attribute:rack"},
			  {"spread", "attribute:disk"}, {"random", NULL}};
	json_t *list = json_array();

	for (uint64_t n = below(3); n; n--) {
		uint64_t i = below(ARRAY_COUNT(strategies));

		(void)json_array_append_new(list,
					    json_pack("{s:s, s:s*}", "type", strategies[i].type,
						      "field", strategies[i].field));
	}
	(void)json_object_set_new(request, "placementStrategy", list);
}

static void send_run(void *ctx, uint64_t arg);

static void check_moving(const struct run *r, const char *task, const char *instance)
{
	const char *disk = check_disk(instance);

	if (r->moving == DISK && *disk && !str_eq(disk, "d1"))
		broken("%s: run %u wants disk d1 or none, not %s", task, r->number, disk);
	if (r->moving == FEW_RUNNING && check_running(instance) >= 2)
		broken("%s: run %u wants less than two running, and %zu are", task, r->number,
		       check_running(instance));
	if (r->moving == NO_BIG && check_group(instance, "family:big"))
		broken("%s: run %u wants none of family:big beside it", task, r->number);
}

void callers_check_place(const char *token, const char *task, const char *instance, size_t of_group)
{
	const struct run *r = map_find(&open_runs, token);
	const char *rack = nodes_rack(instance);

	if (!r)
		broken("%s: there is no %s that has no answer", task, token);
	if (r->rack && (!rack || strcmp(rack, r->rack) != 0))
		broken("%s: run %u wants rack %s, not %s", task, r->number, r->rack,
		       rack ? rack : "none");
	if (r->distinct && of_group)
		broken("%s: run %u wants an instance of its own, and %zu are on %s", task,
		       r->number, of_group, instance);
	check_moving(r, task, instance);
}

/* What a reply says: it is read as it was written, because there are many. */
struct placed {
	struct {
		char id[33], instance[33];
	} tasks[RUN_COUNT_MAX];
	size_t count, failed;
};

/* The last part of the ARN that is the member's value. */
static void read_id(const char *text, const char *member, char ret[33])
{
	const char *arn = strstr(text, member), *end = arn + strlen(member);

	for (arn = end; *end != '"'; end++)
		if (*end == '/')
			arn = end + 1;
	(void)snprintf(ret, 33, "%.*s", (int)(end - arn), arn);
}

static void read_placed(const struct run *r, const char *reply, struct placed *ret)
{
	static const char task[] = "{\"taskArn\":\"", failure[] = "{\"arn\":\"";

	*ret = (struct placed){.count = 0};
	for (const char *at = reply; (at = strstr(at, task)); at += strlen(task)) {
		if (ret->count == RUN_COUNT_MAX)
			broken("run %u: more than %d tasks", r->number, RUN_COUNT_MAX);
		read_id(at, task, ret->tasks[ret->count].id);
		read_id(at, "\"containerInstanceArn\":\"", ret->tasks[ret->count].instance);
		ret->count++;
	}
	for (const char *at = reply; (at = strstr(at, failure)); at += strlen(failure))
		ret->failed++;
}

static void check_placed(const struct run *r, const struct placed *p)
{
	for (size_t i = 0; i < p->count; i++) {
		const char *instance = p->tasks[i].instance, *rack = nodes_rack(instance);
		auto_free char *key = xasprintf("task/default/%s", p->tasks[i].id);

		if (!durable_read(key))
			broken("run %u: %s was promised and is not stored", r->number, key);
		/* A repeated call is answered by what was placed then. */
		if (r->rack && rack && strcmp(rack, r->rack) != 0)
			broken("run %u: placed in rack %s, not %s", r->number, rack, r->rack);
		for (size_t k = 0; r->distinct && k < i; k++)
			if (strcmp(instance, p->tasks[k].instance) == 0)
				broken("run %u: two tasks on %s", r->number, instance);
	}
}

/* Unless it was answered, or sent again, since. */
static void send_again(void *ctx, uint64_t tries)
{
	struct run *r = ctx;

	if (!r->answered && r->tries == tries)
		send_run(r, 0);
}

static void answer(struct run *r, const char *reply, const struct ecs_fault *f)
{
	struct placed p;

	if (f && !strstr(f->message, "No Container Instances"))
		broken("run %u: %s", r->number, f->message);
	read_placed(r, reply ? reply : "", &p);
	trace("run %u: %zu of %lld placed, %zu reasons, after %u tries", r->number, p.count,
	      (long long)r->count, p.failed, r->tries);
	for (size_t i = 0; i < p.count; i++)
		trace("run %u: has %.16s on %.8s", r->number, p.tasks[i].id, p.tasks[i].instance);
	if (reply && ((int64_t)p.count > r->count || ((int64_t)p.count < r->count && !p.failed)))
		broken("run %u: %zu tasks and %zu failures for %lld", r->number, p.count, p.failed,
		       (long long)r->count);
	check_placed(r, &p);
	if (reply && r->executed == 1 && check_started(r->token) != p.count)
		broken("run %u: %zu tasks are told, and there are others", r->number, p.count);
	failed_placements += p.failed != 0;
	answered++;
	r->answered = true;
	(void)map_remove(&open_runs, r->token);
}

static void on_run(void *ctx, const char *reply, const struct ecs_fault *f)
{
	struct call *call = ctx;
	struct run *r = call->run;

	if (reply && call->unheard)
		trace("run %u: the answer is lost", r->number);
	else if ((reply || f) && !r->answered)
		answer(r, reply, f);
	else if (!reply && !f && !call->copy)
		world_after(between(100, RETRY_MS), send_again, r, r->tries);
	free(call);
}

static void arrive(void *ctx, uint64_t arg)
{
	struct call *call = ctx;
	struct run *r = call->run;

	(void)arg;
	if ((call->copy || r->answered) && !check_started(r->token)) {
		free(call);
		return;
	}
	r->executed += shell_is_up();
	shell_call("RunTask", json_deep_copy(r->request), on_run, call);
}

static void post(struct run *r, bool copy)
{
	const bool faults = world_has_faults();
	const int64_t way_ms = faults && (copy || chance(LATE)) ? between(0, LATE_MS)
								: between(0, WAY_MS);
	struct call *call = xcalloc(1, sizeof(*call));

	*call = (struct call){r, copy, faults && chance(UNHEARD)};
	world_after(way_ms, arrive, call, 0);
}

static void send_run(void *ctx, uint64_t arg)
{
	struct run *r = ctx;

	(void)arg;
	r->tries++;
	if (world_has_faults() && chance(TURNED_AWAY)) {
		trace("run %u: turned away, because too many ask", r->number);
		world_after(between(100, RETRY_MS), send_again, r, r->tries);
		return;
	}
	world_after(TIMEOUT_MS, send_again, r, r->tries);
	if (world_has_faults() && chance(LOST)) {
		trace("run %u: the call is lost", r->number);
		return;
	}
	post(r, false);
	if (world_has_faults() && chance(DOUBLED))
		post(r, true);
}

static const char *const moving_words[MOVING] = {
	[ANY] = "",
	[DISK] = ", on disk d1 or none",
	[FEW_RUNNING] = ", where less than two run",
	[NO_BIG] = ", where no big one is",
};

static void begin_run(void *ctx, uint64_t arg)
{
	struct run *r;
	const char *family = families[below(ARRAY_COUNT(families))];
	int64_t mean_ms = 3600000 / ((int64_t)world->runs_per_node_hour * world->nodes);

	(void)ctx;
	(void)arg;
	if (!world_has_faults())
		return;
	world_after(about(mean_ms) + 1, begin_run, NULL, 0);
	r = xcalloc(1, sizeof(*r));
	r->number = (unsigned)++runs;
	r->count = chance(700) ? 1 : between(1, RUN_COUNT_MAX);
	r->next = all_runs;
	all_runs = r;
	(void)snprintf(r->token, sizeof(r->token), "run-%u-%lld", r->number, (long long)r->count);
	r->request = json_pack("{s:s, s:I, s:s, s:s}", "taskDefinition", family, "count",
			       (json_int_t)r->count, "clientToken", r->token, "startedBy",
			       r->token);
	if (strcmp(family, "eni") == 0)
		(void)json_object_set_new(
			r->request, "networkConfiguration",
			json_pack("{s:{s:[s]}}", "awsvpcConfiguration", "subnets", subnet));
	add_constraints(r);
	add_strategies(r->request);
	(void)map_put(&open_runs, r->token, r);
	trace("run %u: %lld of %s%s%s%s%s", r->number, (long long)r->count, family,
	      r->rack ? " in rack " : "", r->rack ? r->rack : "",
	      r->distinct ? ", each on its own" : "", moving_words[r->moving]);
	send_run(r, 0);
}

/* ---- what else people do ---- */

static void ignore(void *ctx, const char *reply, const struct ecs_fault *f)
{
	(void)ctx;
	(void)reply;
	(void)f;
}

static char picked[64];
static uint64_t pick_at, pick_count;

static void pick(const char *key, const char *text)
{
	(void)text;
	if (pick_count++ == pick_at)
		(void)snprintf(picked, sizeof(picked), "%s", strrchr(key, '/') + 1);
}

static void stop_one(void)
{
	picked[0] = '\0';
	pick_count = 0;
	pick_at = below(check_tasks() + 1);
	durable_each("task/", pick);
	if (!*picked)
		return;
	trace("somebody stops %.16s", picked);
	shell_call("StopTask", json_pack("{s:s}", "task", picked), ignore, NULL);
}

/* What a constraint asks for, and tasks are spread over. */
static void change_attribute(const char *node)
{
	json_t *attribute = json_pack("{s:s, s:s}", "name", "disk", "targetId", node);
	bool put = chance(700);

	if (put)
		(void)json_object_set_new(attribute, "value",
					  json_sprintf("d%u", (unsigned)below(3)));
	trace("attribute disk of %.8s %s", node, put ? "is put" : "is deleted");
	shell_call(put ? "PutAttributes" : "DeleteAttributes",
		   json_pack("{s:[o]}", "attributes", attribute), ignore, NULL);
}

/* Of an instance it is counted what runs there. */
struct counts {
	char instance[33];
	size_t running, pending;
};

static void on_described(void *ctx, const char *reply, const struct ecs_fault *f)
{
	struct counts *c = ctx;
	auto_json json_t *doc = json_loads(reply ? reply : "{}", 0, NULL);
	const json_t *i = json_array_get(json_object_get(doc, "containerInstances"), 0);
	const size_t running = (size_t)json_integer_value(json_object_get(i, "runningTasksCount")),
		     pending = (size_t)json_integer_value(json_object_get(i, "pendingTasksCount"));

	(void)f;
	if (i && (running != c->running || pending != c->pending))
		broken("%s is said to have %zu tasks running and %zu pending, and has %zu and %zu",
		       c->instance, running, pending, c->running, c->pending);
	free(c);
}

static void describe_one(const char *node)
{
	struct counts *c = xcalloc(1, sizeof(*c));

	(void)snprintf(c->instance, sizeof(c->instance), "%s", node);
	c->running = check_running(node);
	c->pending = check_pending(node);
	shell_call("DescribeContainerInstances", json_pack("{s:[s]}", "containerInstances", node),
		   on_described, c);
}

static void other(void *ctx, uint64_t arg)
{
	const char *node = nodes_any(), *status;

	(void)ctx;
	(void)arg;
	if (!world_has_faults())
		return;
	world_after(about(world_mean_ms(OTHER_MEAN_MS)), other, NULL, 0);
	if (chance(TURNED_AWAY))
		return;
	if (node)
		describe_one(node);
	if (chance(600)) {
		stop_one();
	} else if (node && chance(400)) {
		change_attribute(node);
	} else if (node && chance(950)) {
		status = chance(300) ? "DRAINING" : "ACTIVE";
		trace("%.8s is to be %s", node, status);
		shell_call("UpdateContainerInstancesState",
			   json_pack("{s:[s], s:s}", "containerInstances", node, "status", status),
			   ignore, NULL);
	} else if (node) {
		trace("%.8s is removed", node);
		shell_call("DeregisterContainerInstance",
			   json_pack("{s:s, s:b}", "containerInstance", node, "force", chance(500)),
			   ignore, NULL);
	}
}

/* ---- life ---- */

static void find_subnet(const char *key, const char *text)
{
	(void)text;
	(void)snprintf(subnet, sizeof(subnet), "%s", strrchr(key, '/') + 1);
}

static void on_definition(void *ctx, const char *reply, const struct ecs_fault *f);

static void define(void *ctx, uint64_t index)
{
	(void)ctx;
	if (index == ARRAY_COUNT(definitions)) {
		durable_each("subnet/", find_subnet);
		begin_run(NULL, 0);
		other(NULL, 0);
		return;
	}
	shell_call("RegisterTaskDefinition", json_loads(definitions[index], 0, NULL), on_definition,
		   (void *)(uintptr_t)index);
}

static void on_definition(void *ctx, const char *reply, const struct ecs_fault *f)
{
	uint64_t index = (uintptr_t)ctx;

	if (f)
		broken("definition %llu: %s", (unsigned long long)index, f->message);
	world_after(between(1, 1000), define, NULL, reply ? index + 1 : index);
}

void callers_begin(void)
{
	runs = answered = failed_placements = 0;
	world_after(1, define, NULL, 0);
}

void callers_check_settled(void)
{
	if (open_runs.count || answered != runs)
		broken("settled: %zu of %zu runs have no answer", runs - answered, runs);
}

void callers_end(void)
{
	struct run *r;

	while ((r = all_runs)) {
		all_runs = r->next;
		json_decref(r->request);
		free(r);
	}
	map_done(&open_runs);
}
