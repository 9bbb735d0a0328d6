/* scheduler/core/drain.c - container instances are emptied, and used again
 * SPDX-License-Identifier: Apache-2.0
 *
 * What drains gets nothing new.  Tasks that were run by hand go on until they
 * end, or until a deadline: ECS has none, berth node drain may say one.
 */
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "scheduler/core/task.h"

#define STATES_MAX 10 /* container instances in one request */

static void set_status(struct core *c, struct instance *i, const char *status, int64_t deadline_ms)
{
	json_t *doc = i->record.doc;

	doc_set_string(doc, "status", status);
	i->active = str_eq(status, "ACTIVE");
	table_update(&i->cluster->table, i);
	(void)json_object_del(doc, "_drainUntil");
	if (deadline_ms)
		(void)json_object_set_new(doc, "_drainUntil", json_integer(deadline_ms));
	(void)json_object_set_new(doc, "version", json_integer(doc_integer(doc, "version", 0) + 1));
	record_touch(c, &i->record);
	core_wake_at(c, deadline_ms);
}

void drain_show(const struct instance *i, json_t *doc)
{
	const int64_t until_ms = doc_integer(i->record.doc, "_drainUntil", 0);
	char time[32];

	if (!until_ms || doc_string(doc, "statusReason"))
		return;
	clock_format_rfc3339(until_ms, time);
	(void)json_object_set_new(
		doc, "statusReason",
		json_sprintf("Draining: tasks that still run at %s are stopped.", time));
}

static int check_status(const char *status, struct ecs_fault *f)
{
	if (strcmp(status, "ACTIVE") == 0 || strcmp(status, "DRAINING") == 0)
		return 0;
	return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
			     "Container instance status must be ACTIVE or DRAINING.");
}

json_t *update_container_instances_state(struct core *c, json_t *request, struct ecs_fault *f)
{
	const json_t *names = json_object_get(request, "containerInstances");
	const char *status = doc_string(request, "status");
	struct cluster *cl = cluster_of(c, request, f);
	json_t *changed, *failures, *name;
	size_t n;

	if (!cl || check_status(status, f) < 0)
		return NULL;
	if (json_array_size(names) < 1 || json_array_size(names) > STATES_MAX) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Container instances must have 1 to %d elements.", STATES_MAX);
		return NULL;
	}
	changed = json_array();
	failures = json_array();
	json_array_foreach ((json_t *)(uintptr_t)names, n, name) {
		struct ecs_fault ignored;
		struct instance *i = instance_find(cl, c, json_string_value(name), &ignored);

		if (!i) {
			(void)json_array_append_new(
				failures,
				instance_failure(c, cl, json_string_value(name), "MISSING"));
			continue;
		}
		set_status(c, i, status, 0);
		(void)json_array_append_new(changed, instance_show(c, i, request));
	}
	return json_pack("{s:o, s:o}", "containerInstances", changed, "failures", failures);
}

json_t *drain_container_instance(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	int64_t deadline_s = doc_integer(request, "deadlineSeconds", -1);
	const char *status = doc_string(request, "status");
	struct instance *i;

	if (!cl || check_status(status, f) < 0 ||
	    !(i = instance_named(cl, c, doc_string(request, "containerInstance"), f)))
		return NULL;
	set_status(c, i, status,
		   deadline_s >= 0 && str_eq(status, "DRAINING") ? c->now_ms + deadline_s * 1000
								 : 0);
	return json_pack("{s:o}", "containerInstance", instance_show(c, i, request));
}

static void stop_rest(struct core *c, const struct instance *i)
{
	for (struct task *t = task_at(c, i->first_task); t; t = task_at(c, t->next_there))
		if (t->last_status != TASK_STOPPED)
			core_task_stop(c, t, "UserInitiated",
				       "Container instance drained: its deadline has passed");
}

void drains_tick(struct core *c)
{
	struct cluster *cl;
	struct instance *i;

	for (size_t n = 0; map_next(&c->clusters, &n, &cl);) {
		for (size_t k = 0; map_next(&cl->instances, &k, &i);) {
			int64_t until_ms = doc_integer(i->record.doc, "_drainUntil", 0);

			if (until_ms > c->now_ms) {
				core_wake_at(c, until_ms);
			} else if (until_ms) {
				(void)json_object_del(i->record.doc, "_drainUntil");
				record_touch(c, &i->record);
				stop_rest(c, i);
			}
		}
	}
}

void drain_move(struct core *c, struct instance *i, int64_t by_ms)
{
	int64_t until_ms = doc_integer(i->record.doc, "_drainUntil", 0);

	if (!until_ms)
		return;
	(void)json_object_set_new(i->record.doc, "_drainUntil", json_integer(until_ms + by_ms));
	record_touch(c, &i->record);
	core_wake_at(c, until_ms + by_ms);
}
