/* scheduler/core/event.c - what happened, as EventBridge tells it
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each version of a task and of a container instance is one event, whose
 * "detail" is what a description shows of it then.  "_told" in the document is
 * the version of the last one: both are stored in one commit, so that no
 * version is told twice or left out.
 */
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

static json_t *show_task(const struct core *c, const struct record *r)
{
	(void)c;
	return doc_public(r->doc, true);
}

static json_t *show_instance(const struct core *c, const struct record *r)
{
	return instance_show(c, (const struct instance *)r, NULL);
}

static const struct {
	const char *prefix, *type, *arn;
	json_t *(*show)(const struct core *c, const struct record *r);
} kinds[] = {
	{"task/", "ECS Task State Change", "taskArn", show_task},
	{"instance/", "ECS Container Instance State Change", "containerInstanceArn", show_instance},
};

json_t *event_of(struct core *c, struct record *r)
{
	int64_t version = doc_integer(r->doc, "version", 0);
	char id[37];

	for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
		json_t *detail;

		if (!str_starts(r->key, kinds[i].prefix))
			continue;
		if (version <= doc_integer(r->doc, "_told", 0))
			return NULL;
		(void)json_object_set_new(r->doc, "_told", json_integer(version));
		detail = kinds[i].show(c, r);
		doc_set_time(detail, "updatedAt", c->now_ms);
		rewrite_times(detail);
		core_random_uuid(c, id);
		return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:[s], s:o}", "version", "0",
				 "id", id, "detail-type", kinds[i].type, "source", "aws.ecs",
				 "account", c->o.identity.account, "time", time_text(c->now_ms),
				 "region", c->o.identity.region, "resources",
				 doc_string(r->doc, kinds[i].arn), "detail", detail);
	}
	return NULL;
}
