/* scheduler/core/event.c - what happened, as EventBridge tells it
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each version of a task and of a container instance is one event, whose
 * "detail" is what a description shows of it then.  "_told" in the document is
 * the version of the last one: both are stored in one commit, so that no
 * version is told twice or left out.
 *
 * More events are stored than are ever read, so that of a task is its document as it is
 * stored itself, and the time; the id of the event is made of both the task's and the version.
 */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/text.h"
#include "scheduler/core/internal.h"

static json_t *time_text(int64_t ms)
{
	char text[32];

	clock_format_rfc3339(ms, text);
	return json_string(text);
}

/* A description has its times as numbers, an event as text. */
static void rewrite_times(json_t *doc)
{
	const char *name;
	json_t *value;
	void *next;

	json_object_foreach_safe (doc, next, name, value)
		if (str_ends(name, "At") && json_is_real(value))
			(void)json_object_set_new(
				doc, name,
				time_text((int64_t)(json_real_value(value) * 1000 + 0.5)));
}

bool event_is_due(struct record *r)
{
	int64_t version;

	if (!str_starts(r->key, "task/") && !str_starts(r->key, "instance/"))
		return false;
	version = doc_integer(r->doc, "version", 0);
	if (version <= doc_integer(r->doc, "_told", 0))
		return false;
	(void)json_object_set_new(r->doc, "_told", json_integer(version));
	return true;
}

/* The detail is of the time that the event is. */
static json_t *whole(const struct ecs_identity *id, const char *event_id, int64_t at_ms,
		     const char *type, const char *arn, json_t *own_detail)
{
	auto_json json_t *time = time_text(at_ms);

	(void)json_object_set(own_detail, "updatedAt", time);
	rewrite_times(own_detail);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:O, s:s, s:[s], s:o}", "version", "0", "id",
			 event_id, "detail-type", type, "source", "aws.ecs", "account", id->account,
			 "time", time, "region", id->region, "resources",
			 doc_string(own_detail, arn), "detail", own_detail);
}

char *event_of_instance(struct core *c, struct record *r)
{
	auto_json json_t *event = NULL;
	char id[37];

	core_random_uuid(c, id);
	event = whole(&c->o.identity, id, c->now_ms, "ECS Container Instance State Change",
		      "containerInstanceArn", instance_show(c, (const struct instance *)r, NULL));
	return js_dump(event);
}

/* Each version of a task is told once. */
static void make_id(const json_t *doc, char ret[37])
{
	const char *task = doc_string(doc, "_id");
	char digits[UUID_DIGITS + 1];

	(void)snprintf(digits, sizeof(digits), "%-20.20s%010x", task ? task : "",
		       (unsigned)doc_integer(doc, "version", 0));
	uuid_of_digits(digits, ret);
}

json_t *core_show_event(const struct ecs_identity *id, const char *text, int64_t at_ms,
			struct err *e)
{
	auto_json json_t *doc = NULL;
	char event_id[37];

	if (js_parse(text, strlen(text), STORED_DEPTH, &doc, e) < 0)
		return NULL;
	if (!at_ms)
		return take_ptr(doc);
	make_id(doc, event_id);
	return whole(id, event_id, at_ms, "ECS Task State Change", "taskArn",
		     doc_public(doc, true));
}
