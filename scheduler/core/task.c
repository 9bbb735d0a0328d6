/* scheduler/core/task.c - tasks: found, shown, loaded, sent to their nodes
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

#define DESCRIBE_MAX 100

static const char *const status_names[] = {
	[TASK_PROVISIONING] = "PROVISIONING",     [TASK_PENDING] = "PENDING",
	[TASK_ACTIVATING] = "ACTIVATING",         [TASK_RUNNING] = "RUNNING",
	[TASK_DEACTIVATING] = "DEACTIVATING",     [TASK_STOPPING] = "STOPPING",
	[TASK_DEPROVISIONING] = "DEPROVISIONING", [TASK_STOPPED] = "STOPPED",
};

const char *core_task_status_name(enum task_status s)
{
	return status_names[s];
}

int core_task_status_parse(const char *name)
{
	for (size_t i = 0; name && i < ARRAY_COUNT(status_names); i++)
		if (strcmp(status_names[i], name) == 0)
			return (int)i;
	return -1;
}

void core_task_changed(struct core *c, struct task *t)
{
	json_t *doc = t->record.doc;

	(void)json_object_set_new(doc, "version", json_integer(doc_integer(doc, "version", 0) + 1));
	record_touch(c, &t->record);
}

/* ---- on an instance ---- */

/* The counters that DescribeClusters and DescribeContainerInstances show. */
static void count_status(const struct task *t, int by)
{
	struct instance *i = t->instance;

	if (t->last_status < TASK_RUNNING)
		i->pending += (size_t)by;
	if (t->last_status != TASK_RUNNING)
		return;
	i->running += (size_t)by;
	table_recount(&i->cluster->table, i);
}

/* STOPPED ones are in no group. */
static void join_group(struct task *t)
{
	const char *group = doc_string(t->record.doc, "group");
	struct table *table = &t->cluster->table;

	t->group = table_group(table, group ? group : "");
	table_count(table, t->instance, t->group, 1);
}

static void leave_group(struct task *t)
{
	if (t->group)
		table_count(&t->cluster->table, t->instance, take_ptr(t->group), -1);
}

void core_task_put_on(struct task *t, struct instance *i)
{
	t->instance = i;
	if (!i)
		return;
	t->previous_there = i->last_task;
	t->next_there = NULL;
	*(i->last_task ? &i->last_task->next_there : &i->first_task) = t;
	i->last_task = t;
	i->task_count++;
	count_status(t, 1);
	if (t->last_status != TASK_STOPPED)
		join_group(t);
}

void core_task_take_off(struct task *t)
{
	struct instance *i = t->instance;

	if (!i)
		return;
	count_status(t, -1);
	leave_group(t);
	*(t->previous_there ? &t->previous_there->next_there : &i->first_task) = t->next_there;
	*(t->next_there ? &t->next_there->previous_there : &i->last_task) = t->previous_there;
	i->task_count--;
	t->next_there = t->previous_there = NULL;
	t->instance = NULL;
}

void core_task_set_status(struct task *t, enum task_status status)
{
	if (t->instance)
		count_status(t, -1);
	t->last_status = status;
	if (t->instance)
		count_status(t, 1);
	if (status == TASK_STOPPED)
		leave_group(t);
	doc_set_string(t->record.doc, "lastStatus", status_names[status]);
}

/* ---- its end ---- */

void core_task_stop(struct core *c, struct task *t, const char *code, const char *reason)
{
	json_t *doc = t->record.doc;

	if (t->stop)
		return;
	t->stop = true;
	doc_set_string(doc, "desiredStatus", "STOPPED");
	doc_set_string(doc, "stopCode", code);
	doc_set_string(doc, "stoppedReason", reason);
	doc_set_time(doc, "stoppingAt", c->now_ms);
	core_task_changed(c, t);
	core_task_send(c, t);
}

/* It is shown for a while, then forgotten. */
static void keep_stopped(struct core *c, struct task *t)
{
	t->stopped_at_ms = doc_integer(t->record.doc, "_stoppedAt", c->now_ms);
	(void)json_object_set_new(t->record.doc, "_stoppedAt", json_integer(t->stopped_at_ms));

	t->next_stopped = NULL;
	if (c->last_stopped)
		c->last_stopped->next_stopped = t;
	else
		c->first_stopped = t;
	c->last_stopped = t;
	c->stopped_count++;
}

static void give_back(struct core *c, struct task *t)
{
	if (t->instance && t->definition)
		place_give_back(t->instance, t->definition, &t->demand);
	if (t->definition)
		t->definition->tasks--;
	if (t->interface)
		interface_release(c, take_ptr(t->interface));
}

void core_task_stopped(struct core *c, struct task *t)
{
	give_back(c, t);
	keep_stopped(c, t);
}

void core_task_hold(struct core *c, struct task *t)
{
	t->held = true;
	(void)json_object_set_new(t->record.doc, "_held", json_true());
	keep_stopped(c, t);
}

void core_task_release(struct core *c, struct task *t)
{
	if (!t->held)
		return;
	t->held = false;
	(void)json_object_del(t->record.doc, "_held");
	record_touch(c, &t->record);
	give_back(c, t);
}

void core_task_free(struct task *t)
{
	record_done(&t->record);
	free(t->id);
	free(t);
}

void tasks_tick(struct core *c)
{
	struct task *t;

	while ((t = c->first_stopped) && (t->stopped_at_ms + c->o.stopped_keep_ms <= c->now_ms ||
					  c->stopped_count > c->o.stopped_keep_max)) {
		c->first_stopped = t->next_stopped;
		if (!c->first_stopped)
			c->last_stopped = NULL;
		c->stopped_count--;
		core_task_release(c, t);
		core_task_take_off(t);
		(void)map_remove(&t->cluster->tasks, t->id);
		record_delete(c, &t->record);
		free(t->id);
		free(t);
	}
}

/* ---- loading ---- */

int core_task_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "_id"), *cluster = doc_string(own_doc, "_cluster");
	const char *definition = doc_string(own_doc, "_definition"),
		   *instance = doc_string(own_doc, "_instance");
	struct cluster *cl = cluster ? map_find(&c->clusters, cluster) : NULL;
	int status = core_task_status_parse(doc_string(own_doc, "lastStatus"));
	struct ecs_fault ignored;
	struct task *t;

	if (!cl || !id || !definition || status < 0)
		return err_set(e, EUCLEAN, "is not whole");

	t = xcalloc(1, sizeof(*t));
	t->id = xstrdup(id);
	t->cluster = cl;
	t->definition = definition_find(c, definition, &ignored);
	t->stop = str_eq(doc_string(own_doc, "desiredStatus"), "STOPPED");
	t->demand.cpu_units = doc_integer(own_doc, "_cpu", 0);
	t->demand.memory_mib = doc_integer(own_doc, "_memory", 0);
	record_init(&t->record, own_doc, "task/%s/%s", cl->name, id);
	(void)map_put(&cl->tasks, id, t);

	t->last_status = (enum task_status)status;
	core_task_put_on(t, instance ? map_find(&cl->instances, instance) : NULL);
	t->held = doc_true(own_doc, "_held");
	if (t->last_status == TASK_STOPPED) {
		keep_stopped(c, t); /* it holds nothing: a port may be another's by now */
		if (!t->held)
			return 0;
	}
	if (t->definition)
		t->definition->tasks++;
	if (t->instance && t->definition)
		place_take(t->instance, t->definition, &t->demand);
	return 0;
}

/* ---- to the node ---- */

/* A task in the words of the channel; the names are borrowed from its documents. */
static void describe_to_node(struct core *c, const struct task *t, struct arena *a,
			     struct ecs_node_task *ret)
{
	const json_t *doc = t->record.doc, *containers = json_object_get(doc, "containers"),
		     *effective = json_object_get(doc, "_effective"), *container;
	struct ecs_node_container *items;
	struct err e;
	size_t i;

	*ret = (struct ecs_node_task){
		.task_arn = (char *)(uintptr_t)doc_string(doc, "taskArn"),
		.desired_status = (char *)(uintptr_t)(t->stop ? "STOPPED" : "RUNNING"),
		.last_status = (char *)(uintptr_t)core_task_status_name(t->last_status),
		.stop_code = (char *)(uintptr_t)doc_string(doc, "stopCode"),
		.stopped_reason = (char *)(uintptr_t)doc_string(doc, "stoppedReason"),
	};
	/* With overrides in it, or as it was registered; the former was decoded before it was kept. */
	if (effective)
		(void)ecs_task_definition_decode(effective, a, &ret->definition, &e);
	else if (t->definition)
		ret->definition = t->definition->parsed;

	if (t->interface) {
		ret->network_interface = arena_alloc(a, sizeof(*ret->network_interface));
		interface_describe_to_node(c, t->interface, a, ret->network_interface);
	}
	ret->containers.count = json_array_size(containers);
	ret->containers.items = items = arena_alloc(a,
						    (ret->containers.count + 1) * sizeof(*items));
	json_array_foreach (containers, i, container) {
		items[i].name = (char *)(uintptr_t)doc_string(container, "name");
		items[i].container_arn = (char *)(uintptr_t)doc_string(container, "containerArn");
	}
}

void core_task_send(struct core *c, const struct task *t)
{
	auto_arena struct arena a = {0};
	struct ecs_node_task task;
	struct ecs_node_tasks message = {.tasks = {.items = &task, .count = 1}};

	if (!t->instance)
		return;
	describe_to_node(c, t, &a, &task);
	effect_send(c, t->instance, ECS_NODE_TASKS, &message);
}

void core_task_send_all(struct core *c, const struct instance *i)
{
	auto_arena struct arena a = {0};
	struct ecs_node_tasks message = {.full = true};
	struct ecs_node_task *items = arena_alloc(&a, (i->task_count + 1) * sizeof(*items));

	message.tasks.items = items;
	for (const struct task *t = i->first_task; t; t = t->next_there)
		if (t->last_status != TASK_STOPPED || t->held)
			describe_to_node(c, t, &a, &items[message.tasks.count++]);
	effect_send(c, i, ECS_NODE_TASKS, &message);
}

/* ---- found and shown ---- */

struct task *core_task_find(struct core *c, const json_t *request, const char *text,
			    struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	struct ecs_name name;
	struct task *t;

	if (!cl || ecs_name_parse(&c->o.identity, ECS_RESOURCE_TASK, text, &name, f) < 0)
		return NULL;
	if (*name.cluster && strcmp(name.cluster, cl->name) != 0) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Identifier is for cluster %s. Your cluster is %s",
				    name.cluster, cl->name);
		return NULL;
	}
	t = map_find(&cl->tasks, name.name);
	if (!t)
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "The referenced task was not found.");
	return t;
}

json_t *core_find_task(struct core *c, const char *cluster, const char *task,
		       const char **ret_instance, struct ecs_fault *f)
{
	auto_json json_t *request = json_pack("{s:s*}", "cluster", cluster);
	struct task *t = core_task_find(c, request, task, f);

	if (!t)
		return NULL;
	*ret_instance = t->instance ? t->instance->id : NULL;
	return doc_public(t->record.doc, false);
}

static void add_found(struct core *c, const json_t *request, const struct cluster *cl,
		      const char *text, json_t *tasks, json_t *failures)
{
	char arn[ECS_ARN_SIZE];
	struct ecs_fault ignored;
	struct task *t = core_task_find(c, request, text, &ignored);

	if (t) {
		(void)json_array_append_new(
			tasks, doc_public(t->record.doc, doc_includes(request, "TAGS")));
		return;
	}
	if (str_starts(text, "arn:"))
		(void)snprintf(arn, sizeof(arn), "%s", text);
	else
		ecs_arn_task(&c->o.identity, cl->name, text, arn);
	(void)json_array_append_new(failures, doc_failure(arn, "MISSING"));
}

json_t *describe_tasks(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	json_t *names = json_object_get(request, "tasks"), *name, *tasks, *failures;
	size_t i;

	if (!cl)
		return NULL;
	if (json_array_size(names) < 1 || json_array_size(names) > DESCRIBE_MAX) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Tasks must have 1 to %d elements.", DESCRIBE_MAX);
		return NULL;
	}
	tasks = json_array();
	failures = json_array();
	json_array_foreach (names, i, name)
		add_found(c, request, cl, json_string_value(name), tasks, failures);
	return json_pack("{s:o, s:o}", "tasks", tasks, "failures", failures);
}

/* The filters of ListTasks, read once. */
struct filter {
	const struct instance *instance;
	const char *family, *started_by, *service, *launch_type;
	bool stopped;
};

static bool matches(const struct filter *filter, const struct task *t)
{
	const json_t *doc = t->record.doc;
	const char *definition = doc_string(doc, "_definition");
	size_t len = filter->family ? strlen(filter->family) : 0;

	if (t->stop != filter->stopped || filter->service)
		return false; /* no service has tasks yet */
	if (filter->instance && t->instance != filter->instance)
		return false;
	if (filter->family &&
	    (strncmp(definition, filter->family, len) != 0 || definition[len] != ':'))
		return false;
	if (filter->started_by && !str_eq(doc_string(doc, "startedBy"), filter->started_by))
		return false;
	return !filter->launch_type || str_eq(doc_string(doc, "launchType"), filter->launch_type);
}

json_t *list_tasks(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	const char *instance = doc_string(request, "containerInstance");
	struct filter filter = {
		.family = doc_string(request, "family"),
		.started_by = doc_string(request, "startedBy"),
		.service = doc_string(request, "serviceName"),
		.launch_type = doc_string(request, "launchType"),
		.stopped = str_eq(doc_string(request, "desiredStatus"), "STOPPED"),
	};
	struct page page = {0};
	struct task *t;

	if (!cl)
		return NULL;
	f->message[0] = '\0';
	if (instance && !(filter.instance = instance_find(cl, c, instance, f))) {
		if (!f->message[0])
			(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					    "The container instance was not found: '%.300s'",
					    instance);
		return NULL;
	}
	if (!str_eq(doc_string(request, "desiredStatus"), "PENDING")) /* accepted, matches none */
		for (size_t i = 0; map_next(&cl->tasks, &i, &t);)
			if (matches(&filter, t))
				page_add(&page, doc_string(t->record.doc, "taskArn"));
	return page_reply(&page, request, false, strcmp, "taskArns", f);
}
