/* scheduler/core/attribute.c - attributes of container instances, and their status
 * SPDX-License-Identifier: Apache-2.0
 *
 * "attributes" of an instance are what its node says of itself, and behind them
 * what callers have put there; the latter are kept in "_custom" by themselves,
 * because a node says everything anew at each hello, and what they hide of the
 * node's in "_hidden".  Nodes are much alike: those that have the same attribute
 * share its document, which nobody changes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/internal.h"

#define CALL_MAX 10 /* attributes of a request, and custom ones of an instance */

static json_t *list_of(const struct instance *i, const char *name)
{
	json_t *list = json_object_get(i->record.doc, name);

	if (!list) {
		list = json_array();
		(void)json_object_set_new(i->record.doc, name, list);
	}
	return list;
}

static json_t *custom_of(const struct instance *i)
{
	return list_of(i, "_custom");
}

static bool find_named(const json_t *attributes, const char *name, size_t *ret_place)
{
	json_t *attribute;
	size_t i;

	json_array_foreach (attributes, i, attribute) {
		if (str_eq(doc_string(attribute, "name"), name)) {
			*ret_place = i;
			return true;
		}
	}
	return false;
}

/* ---- shared ---- */

/* The one that all instances with this attribute have; a reference for the caller. */
static json_t *shared(struct core *c, json_t *attribute)
{
	const char *name = doc_string(attribute, "name"), *value = doc_string(attribute, "value");
	auto_free char *key = xasprintf("%zu %s%s%s", strlen(name), name, value ? "=" : "",
					value ? value : "");
	json_t *known = map_find(&c->attributes, key);

	if (!known) {
		known = json_incref(attribute);
		(void)map_put(&c->attributes, key, known);
	}
	return json_incref(known);
}

static void share(struct core *c, json_t *list)
{
	json_t *attribute;
	size_t n;

	json_array_foreach (list, n, attribute)
		(void)json_array_set_new(list, n, shared(c, attribute));
}

void attributes_tick(struct core *c)
{
	for (size_t i = 0; i < c->attributes.used; i++) {
		json_t *attribute = c->attributes.entries[i].value;

		if (!attribute || attribute->refcount > 1)
			continue;
		(void)map_remove(&c->attributes, c->attributes.entries[i].key);
		json_decref(attribute);
	}
}

void attributes_done(struct core *c)
{
	json_t *attribute;

	for (size_t i = 0; map_next(&c->attributes, &i, &attribute);)
		json_decref(attribute);
	map_done(&c->attributes);
}

/* ---- of an instance ---- */

void attributes_index(struct core *c, struct instance *i)
{
	json_t *list = json_object_get(i->record.doc, "attributes"), *attribute;
	size_t n;

	share(c, list);
	share(c, json_object_get(i->record.doc, "_custom"));
	share(c, json_object_get(i->record.doc, "_hidden"));
	free(i->attributes);
	i->attribute_count = json_array_size(list);
	i->attributes = xcalloc(i->attribute_count + 1, sizeof(*i->attributes));
	json_array_foreach (list, n, attribute) {
		const char *value = doc_string(attribute, "value");

		i->attributes[n] = (struct attribute){doc_string(attribute, "name"),
						      value ? value : ""};
	}
}

const char *attribute_of(const struct instance *i, const char *name)
{
	for (size_t n = i->attribute_count; n; n--)
		if (strcmp(i->attributes[n - 1].name, name) == 0)
			return i->attributes[n - 1].value;
	return NULL;
}

/* From one list to the other, where it replaces what has its name. */
static void move(json_t *from, json_t *to, const char *name)
{
	size_t place, old;

	if (!find_named(from, name, &place))
		return;
	if (find_named(to, name, &old))
		(void)json_array_remove(to, old);
	(void)json_array_append(to, json_array_get(from, place));
	(void)json_array_remove(from, place);
}

void attributes_merge(struct core *c, struct instance *i)
{
	json_t *all = json_object_get(i->record.doc, "attributes"), *hidden, *attribute;
	size_t n;

	(void)json_object_del(i->record.doc, "_hidden");
	hidden = list_of(i, "_hidden");
	json_array_foreach (custom_of(i), n, attribute) {
		move(all, hidden, doc_string(attribute, "name"));
		(void)json_array_append(all, attribute);
	}
	attributes_index(c, i);
}

/* ---- checks ---- */

static int check_attribute(const json_t *a, struct ecs_fault *f)
{
	const char *name = doc_string(a, "name"), *value = doc_string(a, "value");

	if (!ecs_attribute_name_is_valid(name))
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "Attribute name '%.130s' must have 1 to %d letters, numbers, "
				     "hyphens, underscores, forward slashes or periods.",
				     name, ECS_ATTRIBUTE_MAX);
	if (ecs_attribute_is_reserved(name))
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "Attribute name '%.130s' is reserved.", name);
	if (value && !ecs_attribute_value_is_valid(value))
		return ecs_fault_set(
			f, ECS_FAULT_INVALID_PARAMETER,
			"The value of attribute '%.130s' must have at most %d letters, "
			"numbers, hyphens, underscores, periods, at signs, slashes, "
			"colons or spaces.",
			name, ECS_ATTRIBUTE_MAX);
	return 0;
}

/* What the node says of itself is not a caller's to delete: it would be back with its next hello. */
static int check_deleted(const struct instance *i, const char *name, struct ecs_fault *f)
{
	size_t place;

	if (find_named(custom_of(i), name, &place) ||
	    !find_named(json_object_get(i->record.doc, "attributes"), name, &place))
		return 0;
	if (ecs_attribute_is_reserved(name))
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "Attribute name '%.130s' is reserved.", name);
	return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
			     "Attribute '%.130s' of container instance %s is one that the node has "
			     "in its own configuration, [node] in berth.conf.",
			     name, i->id);
}

/* The instance that an attribute is for; NULL and the fault. */
static struct instance *target_of(const struct core *c, struct cluster *cl, const json_t *a,
				  struct ecs_fault *f)
{
	const char *id = doc_string(a, "targetId");
	struct ecs_fault ignored;
	struct instance *i = id ? instance_find(cl, c, id, &ignored) : NULL;

	if (!i)
		(void)ecs_fault_set(f, ECS_FAULT_TARGET_NOT_FOUND,
				    "The specified target wasn't found: '%.300s'", id ? id : "");
	return i;
}

/* Of an instance, with those that the first of a request's attributes add. */
static size_t count_custom(const struct core *c, struct cluster *cl, const struct instance *i,
			   const json_t *attributes, size_t first)
{
	auto_json json_t *added = json_object();
	struct ecs_fault ignored;
	size_t place;

	for (size_t n = 0; n < first; n++) {
		const json_t *a = json_array_get(attributes, n);

		if (target_of(c, cl, a, &ignored) == i &&
		    !find_named(custom_of(i), doc_string(a, "name"), &place))
			(void)json_object_set_new(added, doc_string(a, "name"), json_true());
	}
	return json_array_size(custom_of(i)) + json_object_size(added);
}

/* Every part is right, or nothing is done. */
static struct cluster *check_request(struct core *c, const json_t *request, bool put,
				     struct ecs_fault *f)
{
	const json_t *attributes = json_object_get(request, "attributes");
	struct cluster *cl = cluster_of(c, request, f);
	json_t *a;
	size_t n;

	if (!cl)
		return NULL;
	if (json_array_size(attributes) < 1 || json_array_size(attributes) > CALL_MAX) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Attributes must have 1 to %d elements.", CALL_MAX);
		return NULL;
	}
	json_array_foreach (attributes, n, a) {
		struct instance *i = target_of(c, cl, a, f);

		if (!i ||
		    (put ? check_attribute(a, f) : check_deleted(i, doc_string(a, "name"), f)) < 0)
			return NULL;
		if (put && count_custom(c, cl, i, attributes, n + 1) > CALL_MAX) {
			(void)ecs_fault_set(
				f, ECS_FAULT_ATTRIBUTE_LIMIT,
				"Container instance %s can have at most %d custom attributes.",
				i->id, CALL_MAX);
			return NULL;
		}
	}
	return cl;
}

/* ---- operations ---- */

static void set(struct core *c, struct instance *i, const json_t *a, bool put)
{
	json_t *lists[] = {custom_of(i), json_object_get(i->record.doc, "attributes")};
	const char *name = doc_string(a, "name"), *value = doc_string(a, "value");
	bool custom;
	size_t place;

	custom = find_named(lists[0], name, &place);
	if (!put && !custom)
		return;
	if (!custom)
		move(lists[1], list_of(i, "_hidden"), name);
	for (size_t n = 0; n < 2; n++) {
		if (find_named(lists[n], name, &place))
			(void)json_array_remove(lists[n], place);
		if (put)
			(void)json_array_append_new(
				lists[n], json_pack("{s:s, s:s*}", "name", name, "value", value));
	}
	if (!put)
		move(list_of(i, "_hidden"), lists[1], name);
	attributes_index(c, i);
	table_describe(&i->cluster->table, i);
	record_touch(c, &i->record);
}

static json_t *change(struct core *c, const json_t *request, bool put, struct ecs_fault *f)
{
	struct cluster *cl = check_request(c, request, put, f);
	json_t *changed, *a;
	size_t n;

	if (!cl)
		return NULL;
	changed = json_array();
	json_array_foreach (json_object_get(request, "attributes"), n, a) {
		struct instance *i = target_of(c, cl, a, f);
		const char *name = doc_string(a, "name"), *value = doc_string(a, "value");

		set(c, i, a, put);
		(void)json_array_append_new(
			changed, json_pack("{s:s, s:s*, s:s, s:O}", "name", name, "value", value,
					   "targetType", "container-instance", "targetId",
					   json_object_get(i->record.doc, "containerInstanceArn")));
	}
	return json_pack("{s:o}", "attributes", changed);
}

json_t *put_attributes(struct core *c, json_t *request, struct ecs_fault *f)
{
	return change(c, request, true, f);
}

json_t *delete_attributes(struct core *c, json_t *request, struct ecs_fault *f)
{
	return change(c, request, false, f);
}

static json_t *show(const struct instance *i, const json_t *a)
{
	return json_pack("{s:O, s:s*, s:s, s:O}", "name", json_object_get(a, "name"), "value",
			 doc_string(a, "value"), "targetType", "container-instance", "targetId",
			 json_object_get(i->record.doc, "containerInstanceArn"));
}

/* Names of a page are "ID/NAME": a page goes on behind one whatever was there is gone by then. */
static void show_page(const struct cluster *cl, json_t *names)
{
	json_t *name;
	size_t n, place;

	json_array_foreach (names, n, name) {
		const char *text = json_string_value(name);
		char id[ECS_ID_LEN + 1];
		struct instance *i;
		json_t *list;

		(void)snprintf(id, sizeof(id), "%s", text);
		i = map_find(&cl->instances, id);
		list = json_object_get(i->record.doc, "attributes");
		if (find_named(list, text + ECS_ID_LEN + 1, &place))
			(void)json_array_set_new(names, n, show(i, json_array_get(list, place)));
	}
}

json_t *list_attributes(struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *name = doc_string(request, "attributeName"),
		   *value = doc_string(request, "attributeValue");
	struct cluster *cl = cluster_of(c, request, f);
	struct page page = {0};
	struct instance *i;
	json_t *reply, *a;
	size_t k;

	if (!cl)
		return NULL;
	if (value && !name) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "attributeValue needs an attributeName.");
		return NULL;
	}
	for (size_t n = 0; map_next(&cl->instances, &n, &i);)
		json_array_foreach (json_object_get(i->record.doc, "attributes"), k, a) {
			auto_free char *key = NULL;

			if ((name && !str_eq(doc_string(a, "name"), name)) ||
			    (value && !str_eq(doc_string(a, "value"), value)))
				continue;
			key = xasprintf("%s/%s", i->id, doc_string(a, "name"));
			page_add(&page, key);
		}
	reply = page_reply(&page, request, false, strcmp, "attributes", f);
	if (reply)
		show_page(cl, json_object_get(reply, "attributes"));
	return reply;
}
