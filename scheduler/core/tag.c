/* scheduler/core/tag.c - tags of every kind of resource
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"

#define TAGS_MAX      50
#define TAG_KEY_MAX   128
#define TAG_VALUE_MAX 256

static json_t *find_tag(json_t *tags, const char *key, size_t *ret_index)
{
	json_t *tag;
	size_t i;

	json_array_foreach (tags, i, tag) {
		if (str_eq(doc_string(tag, "key"), key)) {
			if (ret_index)
				*ret_index = i;
			return tag;
		}
	}
	return NULL;
}

/* Whatever the letters' case: nobody else gives, changes or takes away such a tag. */
static bool is_of_aws(const char *key)
{
	return strncasecmp(key, "aws:", strlen("aws:")) == 0;
}

int tags_check(const json_t *tags, struct ecs_fault *f)
{
	json_t *tag;
	size_t i, first;

	json_array_foreach (tags, i, tag) {
		const char *key = doc_string(tag, "key"), *value = doc_string(tag, "value");

		if (!key || !*key || utf8_length(key) > TAG_KEY_MAX)
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "A tag key must have 1 to %d characters.",
					     TAG_KEY_MAX);
		if (is_of_aws(key))
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "A tag key must not begin with 'aws:': '%.128s'", key);
		if (value && utf8_length(value) > TAG_VALUE_MAX)
			return ecs_fault_set(
				f, ECS_FAULT_INVALID_PARAMETER,
				"The value of tag '%.128s' has more than %d characters.", key,
				TAG_VALUE_MAX);
		if (find_tag((json_t *)(uintptr_t)tags, key, &first) && first != i)
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "Duplicate tag keys: '%.128s'", key);
	}
	return 0;
}

void tags_merge(json_t *doc, const json_t *more)
{
	json_t *tags = json_object_get(doc, "tags"), *tag;
	size_t i;

	if (!tags) {
		tags = json_array();
		(void)json_object_set_new(doc, "tags", tags);
	}
	json_array_foreach (more, i, tag) {
		json_t *old = find_tag(tags, doc_string(tag, "key"), NULL);
		json_t *value = json_object_get(tag, "value");

		if (old && value)
			(void)json_object_set(old, "value", value);
		else if (!old)
			(void)json_array_append_new(tags, json_copy(tag));
	}
}

int tags_check_sum(const json_t *some, const json_t *more, struct ecs_fault *f)
{
	auto_json json_t *doc = NULL;
	size_t count = 0, i;
	json_t *tag;

	if (json_array_size(some) + json_array_size(more) <= TAGS_MAX)
		return 0;
	doc = json_pack("{s:o}", "tags", some ? json_deep_copy(some) : json_array());
	tags_merge(doc, more);
	json_array_foreach (json_object_get(doc, "tags"), i, tag)
		count += !is_of_aws(doc_string(tag, "key"));
	return count <= TAGS_MAX ? 0
				 : ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
						 "More than %d tags.", TAGS_MAX);
}

/* The cluster that an ARN of this kind names, or what it names is in; *ret_none: there is none. */
static struct cluster *cluster_in(struct core *c, enum ecs_resource kind, const char *arn,
				  struct ecs_name *ret_name, bool *ret_none)
{
	struct ecs_fault ignored;
	struct cluster *cl;

	if (ecs_name_parse(&c->o.identity, kind, arn, ret_name, &ignored) < 0)
		return NULL;
	cl = map_find(&c->clusters,
		      kind == ECS_RESOURCE_CLUSTER ? ret_name->name : ret_name->cluster);
	*ret_none |= !cl;
	return cl;
}

/* The record that an ARN names, whatever it is. */
static struct record *resource(struct core *c, const json_t *request, struct ecs_fault *f)
{
	const char *arn = doc_string(request, "resourceArn");
	struct ecs_fault ignored;
	struct ecs_name name;
	struct cluster *cl;
	struct definition *d;
	struct task *t;
	struct instance *i;
	struct record *provider;
	bool no_cluster = false;

	if (!str_starts(arn, "arn:")) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "resourceArn is not an ARN: '%.300s'", arn);
		return NULL;
	}
	if ((cl = cluster_in(c, ECS_RESOURCE_CLUSTER, arn, &name, &no_cluster)))
		return &cl->record;
	if ((d = definition_find(c, arn, &ignored)))
		return &d->record;
	if ((cl = cluster_in(c, ECS_RESOURCE_TASK, arn, &name, &no_cluster)) &&
	    (t = task_named(c, cl, name.name)))
		return task_record(c, t);
	if ((cl = cluster_in(c, ECS_RESOURCE_INSTANCE, arn, &name, &no_cluster)) &&
	    (i = map_find(&cl->instances, name.name)))
		return &i->record;
	if ((provider = provider_by_name(c, arn)))
		return provider;
	if (no_cluster)
		(void)ecs_fault_set(f, ECS_FAULT_CLUSTER_NOT_FOUND, "Cluster not found.");
	else
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "The specified resource was not found: '%.300s'", arn);
	return NULL;
}

json_t *tag_resource(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct record *r = resource(c, request, f);
	const json_t *tags = json_object_get(request, "tags");
	json_t *old;

	if (!r || tags_check(tags, f) < 0)
		return NULL;
	old = json_object_get(r->doc, "tags");
	if (tags_check_sum(old, tags, f) < 0)
		return NULL;
	/* The list may be a reply's, too. */
	(void)json_object_set_new(r->doc, "tags", old ? json_deep_copy(old) : json_array());
	tags_merge(r->doc, tags);
	record_touch(c, r);
	return json_object();
}

json_t *untag_resource(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct record *r = resource(c, request, f);
	json_t *tags, *key;
	size_t i, at;

	if (!r)
		return NULL;
	json_array_foreach (json_object_get(request, "tagKeys"), i, key) {
		if (is_of_aws(json_string_value(key))) {
			(void)ecs_fault_set(
				f, ECS_FAULT_INVALID_PARAMETER,
				"Tags that begin with 'aws:' cannot be removed: '%.128s'",
				json_string_value(key));
			return NULL;
		}
	}
	tags = json_object_get(r->doc, "tags");
	json_array_foreach (json_object_get(request, "tagKeys"), i, key)
		if (find_tag(tags, json_string_value(key), &at))
			(void)json_array_remove(tags, at);
	record_touch(c, r);
	return json_object();
}

json_t *list_tags_for_resource(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct record *r = resource(c, request, f);
	json_t *tags = r ? json_object_get(r->doc, "tags") : NULL;

	if (!r)
		return NULL;
	return json_pack("{s:o}", "tags", tags ? json_deep_copy(tags) : json_array());
}
