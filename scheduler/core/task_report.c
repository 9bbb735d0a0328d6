/* scheduler/core/task_report.c - what nodes say of their tasks
 * SPDX-License-Identifier: Apache-2.0
 *
 * A report carries the whole state of the tasks that changed, so that the last
 * one is the truth whatever was lost on the way.  Reports are numbered; one
 * that was taken before is acknowledged again and changes nothing.  A state
 * never goes backwards.
 */
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"
#include "scheduler/core/vpc.h"

#define REASON_MAX 1024 /* characters, as the ECS agent trims them */

static const struct {
	const char *name;
	size_t offset;
} times[] = {
	{"pullStartedAt", offsetof(struct ecs_task_state, pull_started_at)},
	{"pullStoppedAt", offsetof(struct ecs_task_state, pull_stopped_at)},
	{"startedAt", offsetof(struct ecs_task_state, started_at)},
	{"stoppingAt", offsetof(struct ecs_task_state, stopping_at)},
	{"executionStoppedAt", offsetof(struct ecs_task_state, execution_stopped_at)},
	{"stoppedAt", offsetof(struct ecs_task_state, stopped_at)},
};

static void set_reason(json_t *doc, const char *name, const char *reason)
{
	if (!reason)
		return;
	if (strlen(reason) <= REASON_MAX) {
		doc_set_string(doc, name, reason);
	} else {
		auto_free char *cut = xstrndup(reason, REASON_MAX);

		/* Not in the middle of a character. */
		for (size_t len = REASON_MAX; len && ((unsigned char)cut[len - 1] & 0x80); len--)
			cut[len - 1] = '\0';
		doc_set_string(doc, name, cut);
	}
}

static json_t *show_bindings(const struct ecs_container_state *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->network_bindings.count; i++) {
		const struct ecs_network_binding *b = JS_AT(s->network_bindings,
							    struct ecs_network_binding, i);

		json_t *doc = json_pack("{s:s*, s:s*, s:s*, s:s*}", "bindIP", b->bind_ip,
					"containerPortRange", b->container_port_range,
					"hostPortRange", b->host_port_range, "protocol",
					b->protocol);

		if (!b->container_port_range) {
			(void)json_object_set_new(doc, "containerPort",
						  json_integer(b->container_port));
			(void)json_object_set_new(doc, "hostPort", json_integer(b->host_port));
		}
		(void)json_array_append_new(list, doc);
	}
	return list;
}

/* All of them, or none: nobody else sets any. */
static void take_attributes(json_t *doc, const struct ecs_task_state *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->attributes.count; i++) {
		const struct ecs_attribute *a = JS_AT(s->attributes, struct ecs_attribute, i);

		(void)json_array_append_new(
			list, json_pack("{s:s, s:s*}", "name", a->name, "value", a->value));
	}
	(void)json_object_set_new(doc, "attributes", list);
}

static void take_container(json_t *containers, const struct ecs_container_state *s)
{
	json_t *doc;
	size_t i;

	json_array_foreach (containers, i, doc) {
		if (!str_eq(doc_string(doc, "name"), s->name))
			continue;
		doc_set_string(doc, "lastStatus", s->last_status);
		doc_set_string(doc, "imageDigest", s->image_digest);
		doc_set_string(doc, "runtimeId", s->runtime_id);
		set_reason(doc, "reason", s->reason);
		if (s->exit_code)
			(void)json_object_set_new(doc, "exitCode", json_integer(*s->exit_code));
		if (s->network_bindings.count)
			(void)json_object_set_new(doc, "networkBindings", show_bindings(s));
		return;
	}
}

static const char *attachment_status(enum task_status s)
{
	if (s < TASK_ACTIVATING)
		return "PRECREATED";
	if (s < TASK_DEPROVISIONING)
		return "ATTACHED";
	return s == TASK_STOPPED ? "DELETED" : "DETACHING";
}

static void take_task(struct core *c, struct task *t, const struct ecs_task_state *s)
{
	json_t *doc;
	int status = core_task_status_parse(s->last_status);

	if (t->last_status == TASK_STOPPED && status == TASK_STOPPED)
		core_task_release(c, t); /* it was given up, and now it is gone */
	if (status < (int)t->last_status || t->last_status == TASK_STOPPED)
		return;

	doc = task_edit(c, t);
	for (size_t i = 0; i < s->containers.count; i++)
		take_container(json_object_get(doc, "containers"),
			       JS_AT(s->containers, struct ecs_container_state, i));
	if (s->attributes.count)
		take_attributes(doc, s);
	for (size_t i = 0; i < ARRAY_COUNT(times); i++)
		if (!json_object_get(doc, times[i].name))
			doc_set_time(doc, times[i].name,
				     *(const int64_t *)(const void *)((const char *)s +
								      times[i].offset));
	if (!doc_string(doc, "stopCode")) {
		doc_set_string(doc, "stopCode", s->stop_code);
		set_reason(doc, "stoppedReason", s->stopped_reason);
	}
	core_task_set_status(c, t, (enum task_status)status);
	if (t->interface)
		interface_set_attachment(doc, attachment_status(t->last_status));
	if (status >= TASK_DEACTIVATING && !t->stop) {
		t->stop = true;
		doc_set_string(doc, "desiredStatus", "STOPPED");
	}
	if (status == TASK_STOPPED)
		core_task_stopped(c, t);
	core_task_changed(c, t);
}

void core_node_report(struct core *c, const char *instance, const struct ecs_node_report *r,
		      int64_t now_ms)
{
	struct instance *i = instance_by_id(c, instance);
	struct ecs_node_ack ack = {.number = r->number};

	if (!i)
		return;
	c->now_ms = now_ms;
	if (r->number > i->report) {
		for (size_t n = 0; n < r->tasks.count; n++) {
			const struct ecs_task_state *s = JS_AT(r->tasks, struct ecs_task_state, n);
			struct ecs_name name;
			struct ecs_fault ignored;
			struct task *t = NULL;

			if (ecs_name_parse(&c->o.identity, ECS_RESOURCE_TASK, s->task_arn, &name,
					   &ignored) == 0)
				t = task_named(c, i->cluster, name.name);
			if (t && t->instance == i)
				take_task(c, t, s);
		}
		instance_set_report(c, i, r->number);
	}
	effect_send(c, i, ECS_NODE_ACK, &ack);
}
