/* scheduler/core/task.c - tasks: found, shown, loaded
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"
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
	t->version++;
	(void)json_object_set_new(task_edit(c, t), "version", json_integer(t->version));
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

/* STOPPED ones are not counted in their group. */
static void count_in_group(const struct task *t, int by)
{
	if (t->last_status != TASK_STOPPED)
		table_count(&t->kind->cluster->table, t->instance, t->kind->group, by);
}

void core_task_put_on(struct core *c, struct task *t, struct instance *i)
{
	t->instance = i;
	if (!i)
		return;
	t->previous_there = i->last_task;
	t->next_there = 0;
	*(i->last_task ? &task_at(c, i->last_task)->next_there : &i->first_task) = t->number;
	i->last_task = t->number;
	i->task_count++;
	count_status(t, 1);
	count_in_group(t, 1);
}

void core_task_take_off(struct core *c, struct task *t)
{
	struct instance *i = t->instance;

	if (!i)
		return;
	count_status(t, -1);
	count_in_group(t, -1);
	*(t->previous_there ? &task_at(c, t->previous_there)->next_there
			    : &i->first_task) = t->next_there;
	*(t->next_there ? &task_at(c, t->next_there)->previous_there
			: &i->last_task) = t->previous_there;
	i->task_count--;
	t->next_there = t->previous_there = 0;
	t->instance = NULL;
}

void core_task_set_status(struct core *c, struct task *t, enum task_status status)
{
	if (t->instance) {
		count_status(t, -1);
		if (status == TASK_STOPPED)
			count_in_group(t, -1);
	}
	t->last_status = (uint8_t)status;
	if (t->instance)
		count_status(t, 1);
	doc_set_string(task_edit(c, t), "lastStatus", status_names[status]);
}

/* ---- its end ---- */

void core_task_stop(struct core *c, struct task *t, const char *code, const char *reason)
{
	json_t *doc;

	if (t->stop)
		return;
	t->stop = true;
	doc = task_edit(c, t);
	doc_set_string(doc, "desiredStatus", "STOPPED");
	doc_set_string(doc, "stopCode", code);
	doc_set_string(doc, "stoppedReason", reason);
	doc_set_time(doc, "stoppingAt", c->now_ms);
	core_task_changed(c, t);
	core_task_send(c, t);
}

static void queue_stopped(struct core *c, struct task *t)
{
	t->next_stopped = 0;
	*(c->last_stopped ? &task_at(c, c->last_stopped)->next_stopped
			  : &c->first_stopped) = t->number;
	c->last_stopped = t->number;
	c->stopped_count++;
}

/* It is shown for a while, then forgotten. */
static void keep_stopped(struct core *c, struct task *t)
{
	t->stopped_at_ms = c->now_ms;
	(void)json_object_set_new(task_edit(c, t), "_stoppedAt", json_integer(t->stopped_at_ms));
	queue_stopped(c, t);
}

static void give_back(struct core *c, struct task *t)
{
	struct definition *d = t->kind->definition;

	if (t->instance)
		gpus_give_back(t->instance, t->number);
	if (t->instance && d)
		place_give_back(t->instance, d, &t->kind->demand);
	if (d)
		d->tasks--;
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
	(void)json_object_set_new(task_edit(c, t), "_held", json_true());
	keep_stopped(c, t);
}

void core_task_release(struct core *c, struct task *t)
{
	if (!t->held)
		return;
	t->held = false;
	(void)json_object_del(task_edit(c, t), "_held");
	give_back(c, t);
}

/* All memory of it goes. */
static void forget(struct core *c, struct task *t)
{
	struct task_kind *k = t->kind;

	task_doc_close(c, t);
	roster_remove(&c->roster, t);
	kind_release(c, k);
}

void tasks_tick(struct core *c)
{
	struct task *t;

	while ((t = task_at(c, c->first_stopped)) &&
	       (t->stopped_at_ms + c->o.stopped_keep_ms <= c->now_ms ||
		c->stopped_count > c->o.stopped_keep_max)) {
		c->first_stopped = t->next_stopped;
		if (!c->first_stopped)
			c->last_stopped = 0;
		c->stopped_count--;
		core_task_release(c, t);
		core_task_take_off(c, t);
		effect_delete(c, task_key(t));
		forget(c, t);
	}
}

/* ---- loading ---- */

void core_task_restore(struct core *c, struct task_kind *own_kind, const struct task *from,
		       const uint8_t id[TASK_ID_SIZE], const char *instance)
{
	struct task *t = roster_add(&c->roster, id);
	struct definition *d = own_kind->definition;

	t->kind = own_kind;
	t->version = from->version;
	t->last_status = from->last_status;
	t->stop = from->stop;
	t->held = from->held;
	t->stopped_at_ms = from->stopped_at_ms;
	core_task_put_on(c, t, instance ? map_find(&own_kind->cluster->instances, instance) : NULL);
	if (t->last_status == TASK_STOPPED && !t->held)
		return; /* it holds nothing: a port may be another's by now */
	if (d)
		d->tasks++;
	if (t->instance && d)
		place_take(t->instance, d, &own_kind->demand);
}

static int compare_ends(const void *a, const void *b)
{
	const struct task *x = *(struct task *const *)a, *y = *(struct task *const *)b;

	if (x->stopped_at_ms != y->stopped_at_ms)
		return x->stopped_at_ms < y->stopped_at_ms ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

/* Those that have ended are forgotten in the order of their end. */
void core_tasks_loaded(struct core *c)
{
	struct task **stopped = NULL, *t;
	size_t count = 0, capacity = 0;

	for (uint32_t n = 0; (t = roster_next(&c->roster, &n));) {
		if (t->last_status != TASK_STOPPED)
			continue;
		stopped = xgrow(stopped, count, &capacity, sizeof(struct task *));
		stopped[count++] = t;
	}
	if (count)
		qsort(stopped, count, sizeof(struct task *), compare_ends);
	for (size_t i = 0; i < count; i++)
		queue_stopped(c, stopped[i]);
	free(stopped);
}

void core_tasks_done(struct core *c)
{
	while (c->oldest_doc)
		task_doc_close(c, c->oldest_doc->task);
	roster_done(&c->roster);
	kinds_done(c);
}

/* ---- found and shown ---- */

struct task *task_named(const struct core *c, const struct cluster *cl, const char *id)
{
	uint8_t bytes[TASK_ID_SIZE];
	struct task *t = id && task_id_parse(id, bytes) ? roster_find(&c->roster, bytes) : NULL;

	return t && t->kind->cluster == cl ? t : NULL;
}

struct task *core_task_find(struct core *c, const json_t *request, const char *text,
			    struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	struct ecs_name name;
	struct task *t;

	if (!cl || cluster_parse_name(c, cl, ECS_RESOURCE_TASK, text, &name, f) != 0)
		return NULL;
	t = task_named(c, cl, name.name);
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
	return task_show(c, t, false);
}

json_t *core_task_tags(struct core *c, const char *instance, const char *task, struct ecs_fault *f)
{
	const struct instance *i = instance_by_id(c, instance);
	auto_json json_t *request = json_pack("{s:s*}", "cluster", i ? i->cluster->name : NULL);
	struct task *t = i ? core_task_find(c, request, task, f) : NULL;
	auto_json json_t *doc = NULL;

	if (!t || t->instance != i) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "The task is not on this container instance.");
		return NULL;
	}
	doc = task_show(c, t, true);
	return json_pack("{s:O*, s:O*}", "taskTags", json_object_get(doc, "tags"),
			 "containerInstanceTags", json_object_get(i->record.doc, "tags"));
}

int core_find_version(struct core *c, const char *cluster, const char *task, int64_t *ret_version,
		      bool *ret_stopped, struct ecs_fault *f)
{
	auto_json json_t *request = json_pack("{s:s*}", "cluster", cluster);
	const struct task *t = core_task_find(c, request, task, f);

	if (!t)
		return -1;
	*ret_version = t->version;
	*ret_stopped = t->last_status == TASK_STOPPED;
	return 0;
}

static int add_found(struct core *c, const json_t *request, const struct cluster *cl,
		     const char *text, json_t *reply, struct ecs_fault *f)
{
	json_t *tasks = json_object_get(reply, "tasks"),
	       *failures = json_object_get(reply, "failures");
	char arn[ECS_ARN_SIZE];
	struct ecs_name name;
	int r = cluster_parse_name(c, cl, ECS_RESOURCE_TASK, text, &name, f);
	struct task *t = r == 0 ? task_named(c, cl, name.name) : NULL;

	if (r == CLUSTER_ANOTHER)
		return -1;
	if (t) {
		(void)json_array_append_new(tasks, task_show(c, t, doc_includes(request, "TAGS")));
		return 0;
	}
	ecs_arn_task(&c->o.identity, cl->name, text, arn);
	(void)json_array_append_new(failures,
				    doc_failure(str_starts(text, "arn:") ? text : arn, "MISSING"));
	return 0;
}

json_t *describe_tasks(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	json_t *names = json_object_get(request, "tasks"), *name;
	auto_json json_t *reply = json_pack("{s:[], s:[]}", "tasks", "failures");
	size_t i;

	if (!cl)
		return NULL;
	if (json_array_size(names) < 1 || json_array_size(names) > DESCRIBE_MAX) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Tasks must have 1 to %d elements.", DESCRIBE_MAX);
		return NULL;
	}
	json_array_foreach (names, i, name)
		if (add_found(c, request, cl, json_string_value(name), reply, f) < 0)
			return NULL;
	return take_ptr(reply);
}
