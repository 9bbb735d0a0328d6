/* scheduler/core/task_run.c - RunTask, StartTask, StopTask
 * SPDX-License-Identifier: Apache-2.0
 *
 * A request is checked whole before anything is made: cluster, definition,
 * overrides, token, tags.  Then each task is placed by itself; one that finds
 * no place is a failure beside those that did.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/launch.h"
#include "scheduler/core/vpc.h"

#define RUN_COUNT_MAX   10
#define START_COUNT_MAX 10
#define REPLY_MAX       (64 << 20)
#define OVERRIDES_SIZE  ECS_DEFINITION_SIZE /* ECS has 8192: what many run into */
#define FAILURES_MAX    100                 /* container instances whose reasons are listed */

static void launch_done(struct launch *l)
{
	task_texts_done(&l->own_texts);
	free(l->time);
	kind_release(l->c, l->kind);
	json_decref(l->effective);
	json_decref(l->overrides);
	free(l->group);
}
#define auto_launch __attribute__((cleanup(launch_done)))

/* ---- overrides ---- */

static json_t *container_named(json_t *containers, const char *name)
{
	json_t *container;
	size_t i;

	json_array_foreach (containers, i, container)
		if (str_eq(doc_string(container, "name"), name))
			return container;
	return NULL;
}

static void merge_environment(json_t *container, const json_t *more)
{
	json_t *environment = json_object_get(container, "environment"), *variable;
	size_t i;

	json_array_foreach (more, i, variable) {
		json_t *old = container_named(environment, doc_string(variable, "name"));

		if (old)
			(void)json_object_update(old, variable);
		else
			(void)json_array_append_new(environment, json_copy(variable));
	}
}

static int merge_container(json_t *containers, const json_t *override, struct ecs_fault *f)
{
	static const char *const replaced[] = {"command", "cpu", "memory", "memoryReservation",
					       "resourceRequirements"};
	const char *name = doc_string(override, "name");
	json_t *container = name ? container_named(containers, name) : NULL;

	if (!container)
		return ecs_fault_set(
			f, ECS_FAULT_INVALID_PARAMETER,
			"Override for container named %.255s is not a container in the "
			"TaskDefinition.",
			name ? name : "");
	for (size_t i = 0; i < ARRAY_COUNT(replaced); i++) {
		json_t *value = json_object_get(override, replaced[i]);

		if (value)
			(void)json_object_set(container, replaced[i], value);
	}
	merge_environment(container, json_object_get(override, "environment"));
	return 0;
}

/* By what a definition has of it nodes are chosen. */
static int merge_storage(struct launch *l, json_t *override, struct ecs_fault *f)
{
	if (!override)
		return 0;
	if (!l->definition->parsed.ephemeral_storage.size_gib)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "ephemeralStorage is overridden, and the task definition has "
				     "none.");
	return json_object_set(l->effective, "ephemeralStorage", override);
}

static void find_demand(struct launch *l, const struct ecs_task_definition *t)
{
	ecs_task_definition_demand(t, &l->demand);
	for (size_t i = 0; i < t->containers.count; i++)
		l->gpus[i] = ecs_container_gpus(
			JS_AT(t->containers, struct ecs_container_definition, i));
}

/* The part of a definition that a node acts on, with the overrides in it. */
static int merge_overrides(struct launch *l, struct ecs_fault *f)
{
	auto_arena struct arena a = {0};
	const json_t *overrides = json_object_get(l->request, "overrides");
	auto_free char *text = NULL;
	json_t *override, *containers;
	struct ecs_task_definition t;
	struct err e = {0};
	size_t i;

	find_demand(l, &l->definition->parsed);
	if (!json_object_size(overrides))
		return 0;
	text = js_dump(overrides);
	if (strlen(text) > OVERRIDES_SIZE)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "Container Overrides length must be at most %d",
				     OVERRIDES_SIZE);
	l->effective = js_encode(&ecs_task_definition_shape, &l->definition->parsed);
	containers = json_object_get(l->effective, "containerDefinitions");
	json_array_foreach (containers, i, override)
		if (!json_object_get(override, "environment"))
			(void)json_object_set_new(override, "environment", json_array());
	json_array_foreach (json_object_get(overrides, "containerOverrides"), i, override)
		if (merge_container(containers, override, f) < 0)
			return -1;
	doc_set_string(l->effective, "cpu", doc_string(overrides, "cpu"));
	doc_set_string(l->effective, "memory", doc_string(overrides, "memory"));
	if (merge_storage(l, json_object_get(overrides, "ephemeralStorage"), f) < 0)
		return -1;

	if (ecs_task_definition_decode(l->effective, &a, &t, &e) < 0)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER, "%s", e.msg);
	if (ecs_task_definition_check(&t, l->c->o.identity.region, f) < 0) {
		f->type = ECS_FAULT_INVALID_PARAMETER;
		return -1;
	}
	find_demand(l, &t);
	return 0;
}

json_t *launch_defined(const struct launch *l, const char *member)
{
	return json_object_get(l->effective ? l->effective : l->definition->record.doc, member);
}

/* "overrides" of a task: every container is named, whether something is overridden or not. */
static json_t *show_overrides(const struct launch *l)
{
	const json_t *given = json_object_get(l->request, "overrides");
	json_t *shown = given ? json_deep_copy(given) : json_object(), *list, *container;
	size_t i;

	list = json_object_get(shown, "containerOverrides");
	if (!list) {
		list = json_array();
		(void)json_object_set_new(shown, "containerOverrides", list);
	}
	json_array_foreach (launch_defined(l, "containerDefinitions"), i, container)
		if (!container_named(list, doc_string(container, "name")))
			(void)json_array_append_new(
				list,
				json_pack("{s:O}", "name", json_object_get(container, "name")));
	(void)json_object_set_new(shown, "inferenceAcceleratorOverrides", json_array());
	return shown;
}

/* ---- checks ---- */

static int check_request(struct launch *l, struct ecs_fault *f)
{
	const char *launch_type = doc_string(l->request, "launchType"),
		   *group = doc_string(l->request, "group"),
		   *started_by = doc_string(l->request, "startedBy"),
		   *propagate = doc_string(l->request, "propagateTags");

	if (launch_type && strcmp(launch_type, "EC2") != 0 && strcmp(launch_type, "EXTERNAL") != 0)
		return ecs_fault_set(
			f, ECS_FAULT_UNSUPPORTED_FEATURE,
			"launchType %s is not supported by this version of Berth: use EC2 or "
			"EXTERNAL.",
			launch_type);
	if (group && (!*group || strlen(group) > 255))
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "group must have 1 to 255 characters.");
	if (started_by && strlen(started_by) > 128)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "startedBy must have at most 128 characters.");
	if (propagate && strcmp(propagate, "SERVICE") == 0)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "propagateTags SERVICE is for tasks of a service.");
	return tags_check(json_object_get(l->request, "tags"), f);
}

static char *group_of(const struct launch *l)
{
	const char *group = doc_string(l->request, "group");

	return group ? xstrdup(group) : xasprintf("family:%s", l->definition->family->name);
}

static int prepare_placement(struct launch *l, struct ecs_fault *f)
{
	l->placement = (struct placement){.core = l->c,
					  .cluster = l->cluster,
					  .definition = l->definition,
					  .demand = l->demand,
					  .request = l->request,
					  .group = l->group};
	/* A task of a capacity provider goes to nodes of its group. */
	if (l->provider)
		l->placement.node_group = provider_group(l->c, l->provider);
	return placement_prepare(&l->placement, f);
}

/* The strategy of the request, or that of the cluster where nothing else is said. */
static int find_strategy(struct launch *l, struct ecs_fault *f)
{
	const json_t *given = json_object_get(l->request, "capacityProviderStrategy"),
		     *cluster = l->cluster->record.doc;
	bool launch_type = doc_string(l->request, "launchType") != NULL;

	if (json_array_size(given) && launch_type)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "Specifying both a launch type and capacity provider strategy "
				     "is not supported. Remove one and try again.");
	if (!json_array_size(given))
		given = launch_type ? NULL
				    : json_object_get(cluster, "defaultCapacityProviderStrategy");
	if (!json_array_size(given))
		return 0;
	l->strategy = given;
	return provider_check_strategy(l->c, given, json_object_get(cluster, "capacityProviders"),
				       f);
}

/* The provider that the next task is for. */
static int turn_to_provider(struct launch *l, struct ecs_fault *f)
{
	const char *next = l->strategy ? provider_next(l->c, l->cluster, l->strategy, l->group)
				       : NULL;

	if (next == l->provider || str_eq(next, l->provider))
		return 0;
	l->provider = next;
	return prepare_placement(l, f);
}

static int launch_prepare(struct launch *l, struct core *c, const json_t *request,
			  struct ecs_fault *f)
{
	*l = (struct launch){.c = c, .request = request, .cluster = cluster_of(c, request, f)};
	if (!l->cluster || check_request(l, f) < 0)
		return -1;

	f->message[0] = '\0';
	l->definition = definition_find(c, doc_string(request, "taskDefinition"), f);
	if (!l->definition)
		return f->message[0]
			       ? -1
			       : ecs_fault_set(f, ECS_FAULT_CLIENT, "TaskDefinition not found.");
	if (l->definition->status != DEFINITION_ACTIVE)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER, "TaskDefinition is inactive");
	if (tags_check_sum(str_eq(doc_string(request, "propagateTags"), "TASK_DEFINITION")
				   ? json_object_get(l->definition->record.doc, "tags")
				   : NULL,
			   json_object_get(request, "tags"), f) < 0)
		return -1;
	if (interface_check(c, l->cluster, request, l->definition->parsed.network_mode, f) < 0 ||
	    merge_overrides(l, f) < 0)
		return -1;
	l->overrides = show_overrides(l);
	l->group = group_of(l);
	return prepare_placement(l, f);
}

/* ---- what callers are told ---- */

/* The same again for a call that was repeated; tasks forgotten since are left out. */
static char *show_again(struct core *c, const struct cluster *cl, const json_t *token)
{
	json_t *tasks = json_array(), *failures = json_object_get(token, "failures"), *id;
	auto_json json_t *reply = NULL;
	size_t i;

	json_array_foreach (json_object_get(token, "tasks"), i, id) {
		struct task *t = task_named(c, cl, json_string_value(id));

		if (t)
			(void)json_array_append_new(tasks, task_show(c, t, true));
	}
	reply = json_pack("{s:o, s:o}", "tasks", tasks, "failures",
			  failures ? json_incref(failures) : json_array());
	return js_dump(reply);
}

/* Why it is none of them: each has its reason, and the first one says it of all. */
static void say_refusals(const struct launch *l, json_t *failures)
{
	auto_free char *told = NULL;
	struct refusals refusals;
	struct instance *i;
	size_t first = json_array_size(failures);

	placement_count_refusals(&l->placement, &refusals);
	told = placement_tell_refusals(&refusals);
	for (size_t n = 0;
	     json_array_size(failures) < FAILURES_MAX && map_next(&l->cluster->instances, &n, &i);)
		(void)json_array_append_new(
			failures, doc_failure(doc_string(i->record.doc, "containerInstanceArn"),
					      placement_refusal(&l->placement, i)));
	doc_set_string(json_array_get(failures, first), "detail", told);
}

struct reply {
	struct buf tasks; /* their texts */
	json_t *failures;
	json_t *ids; /* of the tasks */
};

static struct reply no_reply(void)
{
	return (struct reply){BUF_INIT(REPLY_MAX), json_array(), json_array()};
}

static void reply_done(struct reply *r)
{
	buf_done(&r->tasks);
	json_decref(r->failures);
	json_decref(r->ids);
}
#define auto_reply __attribute__((cleanup(reply_done)))

static char *reply_text(const struct reply *r)
{
	auto_free char *failures = js_dump(r->failures);

	return xasprintf("{\"tasks\":[%s],\"failures\":%s}", buf_str(&r->tasks), failures);
}

static void add_task(struct launch *l, struct instance *i, struct reply *r)
{
	json_t *failure;

	if (task_make(l, i, &r->tasks, r->ids))
		return;
	failure = doc_failure(doc_string(i->record.doc, "containerInstanceArn"), "RESOURCE:ENI");
	doc_set_string(failure, "detail",
		       "None of the subnets has enough free addresses to satisfy the request "
		       "(ErrorCode: InsufficientFreeAddressesInSubnet)");
	(void)json_array_append_new(r->failures, failure);
}

/* ---- RunTask ---- */

static void run_tasks(struct launch *l, int64_t count, struct reply *r, struct ecs_fault *f)
{
	struct instance *i;

	for (; count && turn_to_provider(l, f) == 0 && (i = placement_choose(&l->placement));
	     count--)
		add_task(l, i, r);
	if (count)
		say_refusals(l, r->failures);
	if (json_array_size(r->ids)) /* else nothing was done: a repeated call tries again */
		token_keep(l->c, l->cluster, l->request, r->ids, r->failures);
}

char *run_task(struct core *c, json_t *request, struct ecs_fault *f)
{
	auto_launch struct launch l = {0};
	int64_t count = doc_integer(request, "count", 1);
	auto_reply struct reply reply = no_reply();
	auto_json json_t *again = NULL;
	struct cluster *cl;

	if (count < 1 || count > RUN_COUNT_MAX) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Count must be between 1 and %d.", RUN_COUNT_MAX);
		return NULL;
	}
	cl = cluster_of(c, request, f);
	if (!cl)
		return NULL;
	/* Before what may be otherwise by now: the definition, the providers of the cluster. */
	again = token_find(c, cl, request, f);
	if (again || f->message[0])
		return again ? show_again(c, cl, again) : NULL;
	if (launch_prepare(&l, c, request, f) < 0 || find_strategy(&l, f) < 0 ||
	    turn_to_provider(&l, f) < 0)
		return NULL;
	if (!l.cluster->instances.count) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "No Container Instances were found in your cluster.");
		return NULL;
	}
	run_tasks(&l, count, &reply, f);
	return reply_text(&reply);
}

/* Where a task of a RunTask would go, and why not elsewhere; nothing is done. */
json_t *explain_placement(struct core *c, json_t *request, struct ecs_fault *f)
{
	auto_launch struct launch l = {0};

	if (launch_prepare(&l, c, request, f) < 0 || find_strategy(&l, f) < 0 ||
	    turn_to_provider(&l, f) < 0)
		return NULL;
	return placement_explain(&l.placement);
}

/* ---- StartTask ---- */

static void start_on(struct launch *l, const char *name, struct reply *r)
{
	struct ecs_fault ignored;
	struct instance *i = instance_find(l->cluster, l->c, name, &ignored);
	const char *refusal = i ? placement_refusal(&l->placement, i) : "MISSING";

	if (!refusal)
		add_task(l, i, r);
	else
		(void)json_array_append_new(r->failures,
					    instance_failure(l->c, l->cluster, name, refusal));
}

char *start_task(struct core *c, json_t *request, struct ecs_fault *f)
{
	auto_launch struct launch l = {0};
	json_t *names = json_object_get(request, "containerInstances"), *name;
	auto_reply struct reply reply = no_reply();
	size_t i;

	if (json_array_size(names) < 1 || json_array_size(names) > START_COUNT_MAX) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Container instances must have 1 to %d elements.",
				    START_COUNT_MAX);
		return NULL;
	}
	if (launch_prepare(&l, c, request, f) < 0)
		return NULL;
	json_array_foreach (names, i, name)
		start_on(&l, json_string_value(name), &reply);
	return reply_text(&reply);
}

/* ---- StopTask ---- */

json_t *stop_task(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct task *t = core_task_find(c, request, doc_string(request, "task"), f);
	const char *reason = doc_string(request, "reason");

	if (!t)
		return NULL;
	if (reason && strlen(reason) > 1024) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "reason must have at most 1024 characters.");
		return NULL;
	}
	core_task_stop(c, t, "UserInitiated", reason ? reason : "Task stopped by user");
	return json_pack("{s:o}", "task", task_show(c, t, false));
}
