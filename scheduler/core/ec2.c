/* scheduler/core/ec2.c - what all kinds of EC2 objects have in common
 * SPDX-License-Identifier: Apache-2.0
 *
 * Filters: all of a request have to match, of each at least one of its values;
 * '*' and '?' stand for any characters but behind a backslash, as in Filter of the
 * EC2 API reference.
 */
#include <string.h>

#include "base/auto.h"
#include "base/hash.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

#define FILTERS_MAX   200
#define IDS_MAX       1000
#define EC2_PAGE_MAX  1000
#define TAGS_MAX      50
#define TAG_KEY_MAX   127 /* characters: Tag of the EC2 API reference */
#define TAG_VALUE_MAX 256
#define ID_DIGITS     17

/* ---- filters ---- */

/*
 * Not fnmatch(): brackets stand for themselves.  Only the last star is gone back to, so the
 * cost is at most the product of the lengths.
 */
static bool matches_pattern(const char *text, const char *pattern)
{
	const char *star = NULL, *from = NULL;

	while (*text) {
		const char *p = pattern + (*pattern == '\\' && pattern[1]);

		if (*pattern == '*') {
			star = ++pattern;
			from = text;
		} else if (*pattern == '?' || (*p && *p == *text)) {
			pattern = p + 1;
			text++;
		} else if (star) {
			pattern = star;
			text = ++from;
		} else {
			return false;
		}
	}
	return pattern[strspn(pattern, "*")] == '\0';
}

static bool matches_text(const char *text, const json_t *values)
{
	json_t *value;
	size_t i;

	json_array_foreach (values, i, value)
		if (matches_pattern(text, json_string_value(value)))
			return true;
	return false;
}

static bool matches_leaf(const json_t *v, const json_t *values)
{
	char number[24];

	if (json_is_string(v))
		return matches_text(json_string_value(v), values);
	if (json_is_boolean(v))
		return matches_text(json_is_true(v) ? "true" : "false", values);
	if (!json_is_integer(v))
		return false;
	(void)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
	return matches_text(number, values);
}

/* Any leaf at the path, through every element of the lists on the way. */
static bool matches_path(const json_t *v, const char *path, const json_t *values)
{
	size_t len = strcspn(path, "."), i;
	const json_t *element;

	if (json_is_array(v)) {
		json_array_foreach (v, i, element)
			if (matches_path(element, path, values))
				return true;
		return false;
	}
	if (!*path)
		return matches_leaf(v, values);
	v = json_object_getn(v, path, len);
	return v && matches_path(v, path + len + (path[len] == '.'), values);
}

static bool is_tag_like(const json_t *tag, const char *key, const json_t *values)
{
	return str_eq(doc_string(tag, "key"), key) &&
	       matches_text(doc_string(tag, "value"), values);
}

/* A description of tags is of the tags themselves. */
static bool matches_tag(const struct ec2_kind *kind, const json_t *doc, const char *key,
			const json_t *values)
{
	json_t *tag;
	size_t i;

	if (kind->is_tag)
		return is_tag_like(doc, key, values);
	json_array_foreach (json_object_get(doc, "tagSet"), i, tag)
		if (is_tag_like(tag, key, values))
			return true;
	return false;
}

static const struct ec2_filter *filter_named(const struct ec2_kind *kind, const char *name)
{
	static const struct ec2_filter tag_key = {"tag-key", "tagSet.key"};

	for (const struct ec2_filter *filter = kind->filters; filter->name; filter++)
		if (strcmp(filter->name, name) == 0)
			return filter;
	return strcmp(name, tag_key.name) == 0 ? &tag_key : NULL;
}

static int check_filters(const struct ec2_kind *kind, const json_t *filters, struct ecs_fault *f)
{
	json_t *filter;
	size_t i;

	if (json_array_size(filters) > FILTERS_MAX)
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE, "More than %d filters.",
				     FILTERS_MAX);
	json_array_foreach (filters, i, filter) {
		const char *name = doc_string(filter, "Name");

		if (!name || (!str_starts(name, "tag:") && !filter_named(kind, name)))
			return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
					     "The filter '%.200s' is invalid", name ? name : "");
	}
	return 0;
}

static bool matches(const struct ec2_kind *kind, const json_t *doc, const json_t *filters)
{
	json_t *filter;
	size_t i;

	json_array_foreach (filters, i, filter) {
		const char *name = doc_string(filter, "Name");
		const json_t *values = json_object_get(filter, "Value");

		if (str_starts(name, "tag:")
			    ? !matches_tag(kind, doc, name + 4, values)
			    : !matches_path(doc, filter_named(kind, name)->path, values))
			return false;
	}
	return true;
}

/* ---- descriptions ---- */

/* Of some kinds EC2 says when an id cannot be one. */
static int absent(const struct ec2_kind *kind, const char *id, struct ecs_fault *f)
{
	if (kind->prefix && !str_starts(id, kind->prefix))
		return ecs_fault_set(f, kind->malformed,
				     "Invalid id: \"%.200s\" (expecting \"%s...\")", id,
				     kind->prefix);
	return ecs_fault_set(f, kind->absent, "The %s '%.200s' does not exist", kind->word, id);
}

void *ec2_find(const struct map *objects, const struct ec2_kind *kind, const char *id,
	       struct ecs_fault *f)
{
	void *object = id ? map_find(objects, id) : NULL;

	if (!object)
		(void)absent(kind, id ? id : "", f);
	return object;
}

static bool is_wanted(const json_t *ids, const char *id)
{
	json_t *wanted;
	size_t i;

	json_array_foreach (ids, i, wanted)
		if (str_eq(json_string_value(wanted), id))
			return true;
	return !json_array_size(ids);
}

static const json_t *doc_named(const json_t *docs, const struct ec2_kind *kind, const char *id)
{
	json_t *doc;
	size_t i;

	json_array_foreach (docs, i, doc)
		if (str_eq(doc_string(doc, kind->id), id))
			return doc;
	return NULL;
}

static int check_ids(const struct ec2_kind *kind, const json_t *docs, const json_t *ids,
		     struct ecs_fault *f)
{
	json_t *id;
	size_t i;

	if (json_array_size(ids) > IDS_MAX)
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE, "More than %d ids.", IDS_MAX);
	json_array_foreach (ids, i, id)
		if (!doc_named(docs, kind, json_string_value(id)))
			return absent(kind, json_string_value(id), f);
	return 0;
}

/* The page's first place, from a token that an earlier page gave: "@" and a number. */
static int open_token(const json_t *request, uint32_t *ret, struct ecs_fault *f)
{
	const char *token = doc_string(request, "NextToken");
	auto_free char *text = NULL;
	size_t size;

	*ret = 0;
	if (!token)
		return 0;
	text = (char *)base64_decode(token, &size);
	if (!text || text[0] != '@' || strlen(text) != size ||
	    !parse_u32(text + 1, UINT32_MAX, ret))
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Invalid value '%.200s' for NextToken", token);
	return 0;
}

json_t *ec2_describe_list(const struct ec2_kind *kind, json_t *own_docs, const json_t *request,
			  struct ecs_fault *f)
{
	auto_json json_t *docs = own_docs;
	const json_t *ids = json_object_get(request, kind->ids),
		     *filters = json_object_get(request, "Filter");
	int64_t limit = doc_integer(request, "MaxResults", EC2_PAGE_MAX);
	json_t *set, *reply, *doc;
	uint32_t first, seen = 0;
	size_t i;

	if (check_ids(kind, docs, ids, f) < 0 || check_filters(kind, filters, f) < 0 ||
	    open_token(request, &first, f) < 0)
		return NULL;
	set = json_array();
	reply = json_pack("{s:o}", kind->set, set);
	json_array_foreach (docs, i, doc) {
		if (!is_wanted(ids, doc_string(doc, kind->id)) || !matches(kind, doc, filters) ||
		    seen++ < first)
			continue;
		if ((int64_t)json_array_size(set) == limit) {
			auto_free char *text = xasprintf("@%u", first + (uint32_t)limit);
			auto_free char *token = base64_encode(text, strlen(text));

			doc_set_string(reply, "nextToken", token);
			break;
		}
		(void)json_array_append(set, doc);
	}
	return reply;
}

json_t *ec2_describe(struct core *c, const struct ec2_kind *kind, const struct map *objects,
		     const json_t *request, struct ecs_fault *f)
{
	json_t *docs = json_array(), *doc;
	void *object;

	for (size_t i = 0; map_next(objects, &i, &object);)
		if ((doc = kind->show ? kind->show(c, object)
				      : doc_public(((struct record *)object)->doc, false)))
			(void)json_array_append_new(docs, doc);
	return ec2_describe_list(kind, docs, request, f);
}

void ec2_make_id(struct core *c, const char *prefix, const struct map *objects,
		 char ret[EC2_ID_SIZE])
{
	char digits[ID_DIGITS + 1];

	do {
		core_random_hex(c, digits, ID_DIGITS);
		(void)snprintf(ret, EC2_ID_SIZE, "%s-%s", prefix, digits);
	} while (objects && map_find(objects, ret));
}

/* "Constraints" of GroupName, GroupDescription and IpRange of the EC2 API reference. */
int ec2_check_plain(const char *text, const char *what, size_t max, struct ecs_fault *f)
{
	static const char set[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789. _-:/()#,@[]+=&;{}"
		"!$*";

	if (strlen(text) <= max && !text[strspn(text, set)])
		return 0;
	return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
			     "Invalid %s. Valid %ss are strings less than %zu characters from the "
			     "following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
			     what, strrchr(what, ' ') + 1, max + 1);
}

int ec2_parse_cidr(const char *text, bool v6, const char *parameter, struct ip_prefix *ret,
		   struct ecs_fault *f)
{
	if (ip_prefix_parse(text, ret) && ret->v6 == v6)
		return 0;
	return ecs_fault_set(
		f, ECS_FAULT_EC2_INVALID_VALUE,
		"Value (%.100s) for parameter %s is invalid. This is not a valid %sCIDR "
		"block.",
		text, parameter, v6 ? "IPv6 " : "");
}

/* ---- calls that are repeated ---- */

/* The parameters as text that does not depend on the order of members. */
static char *parameters(const json_t *request)
{
	auto_json json_t *copy = json_copy((json_t *)(uintptr_t)request);

	(void)json_object_del(copy, "ClientToken");
	return json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
}

int ec2_token_find(const struct map *records, const json_t *request, json_t **ret,
		   struct ecs_fault *f)
{
	const char *token = doc_string(request, "ClientToken");
	auto_free char *now = parameters(request);
	auto_json json_t *docs = json_array();
	struct record *r;

	*ret = NULL;
	for (size_t i = 0; token && map_next(records, &i, &r);) {
		if (!str_eq(doc_string(r->doc, "_clientToken"), token))
			continue;
		if (!str_eq(doc_string(r->doc, "_parameters"), now))
			return ecs_fault_set(f, ECS_FAULT_EC2_TOKEN_MISMATCH,
					     "The client token '%.64s' was used before with other "
					     "parameters.",
					     token);
		(void)json_array_append(docs, r->doc);
	}
	if (json_array_size(docs))
		*ret = take_ptr(docs);
	return 0;
}

void ec2_token_keep(json_t *doc, const json_t *request)
{
	const char *token = doc_string(request, "ClientToken");
	auto_free char *now = parameters(request);

	if (!token)
		return;
	doc_set_string(doc, "_clientToken", token);
	doc_set_string(doc, "_parameters", now);
}

/* ---- tags ---- */

/* Those that Berth goes by have values that it understands. */
static bool means_something(const char *key, const char *value)
{
	struct ip_prefix address;
	int64_t number;

	if (str_eq(key, EC2_TAG_VLAN))
		return value && parse_i64(value, 0, EC2_VLAN_MAX, &number);
	if (str_eq(key, EC2_TAG_GATEWAY))
		return value && ip_address_parse(value, &address) && !address.v6;
	if (str_eq(key, EC2_TAG_GATEWAY6))
		return value && ip_address_parse(value, &address) && address.v6;
	if (str_eq(key, EC2_TAG_CUT))
		return str_eq(value, "true") || str_eq(value, "false");
	return true;
}

static int check_tag(const json_t *tag, struct ecs_fault *f)
{
	const char *key = doc_string(tag, "Key"), *value = doc_string(tag, "Value");

	if (!key || !*key || utf8_length(key) > TAG_KEY_MAX ||
	    (value && utf8_length(value) > TAG_VALUE_MAX))
		return ecs_fault_set(
			f, ECS_FAULT_EC2_INVALID_VALUE,
			"Tag '%.130s': a key has 1 to %d characters, a value at most %d.",
			key ? key : "", TAG_KEY_MAX, TAG_VALUE_MAX);
	if (!means_something(key, value))
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Tag '%s' cannot have the value '%.100s'.", key,
				     value ? value : "");
	if (str_starts(key, "aws:"))
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Tag keys starting with 'aws:' are reserved for internal use");
	return 0;
}

static json_t *tag_with(json_t *tags, const char *key, size_t *ret_index)
{
	json_t *tag;
	size_t i;

	json_array_foreach (tags, i, tag) {
		if (str_eq(doc_string(tag, "key"), key)) {
			*ret_index = i;
			return tag;
		}
	}
	return NULL;
}

const char *ec2_tag(const json_t *doc, const char *key)
{
	size_t i;

	return doc_string(tag_with(json_object_get(doc, "tagSet"), key, &i), "value");
}

/* Add or replace; the set is the document's own. */
static int add_tags(json_t *doc, const json_t *tags, struct ecs_fault *f)
{
	json_t *set = json_object_get(doc, "tagSet"), *tag;
	size_t i, at;

	json_array_foreach (tags, i, tag) {
		const char *key = doc_string(tag, "Key"), *value = doc_string(tag, "Value");

		if (check_tag(tag, f) < 0)
			return -1;
		if (tag_with(set, key, &at))
			(void)json_array_remove(set, at);
		(void)json_array_append_new(
			set, json_pack("{s:s, s:s}", "key", key, "value", value ? value : ""));
	}
	if (json_array_size(set) > TAGS_MAX)
		return ecs_fault_set(f, ECS_FAULT_EC2_TAGS_EXCEEDED, "More than %d tags.",
				     TAGS_MAX);
	return 0;
}

int ec2_take_tags(const json_t *request, const char *resource_type, json_t *doc,
		  struct ecs_fault *f)
{
	json_t *specification;
	size_t i;

	(void)json_object_set_new(doc, "tagSet", json_array());
	json_array_foreach (json_object_get(request, "TagSpecification"), i, specification) {
		if (!str_eq(doc_string(specification, "ResourceType"), resource_type))
			return ecs_fault_set(
				f, ECS_FAULT_EC2_INVALID_VALUE,
				"'%.100s' is not a valid taggable resource type for this operation.",
				doc_string(specification, "ResourceType"));
		if (add_tags(doc, json_object_get(specification, "Tag"), f) < 0)
			return -1;
	}
	return 0;
}

/* What can be tagged: what has a document, an interface, or a rule in the record of its group. */
struct tagged {
	const struct ec2_kind *kind; /* of the id, by how it begins; NULL: it is of none */
	struct record *record;
	struct interface *interface;
	json_t *rule;
};

static const struct {
	const char *prefix, *type;
	const struct ec2_kind *kind;
	size_t objects; /* offset in struct core; of a map of records */
} kinds[] = {
	{"vpc-", "vpc", &vpc_kind, offsetof(struct core, vpcs)},
	{"subnet-", "subnet", &subnet_kind, offsetof(struct core, subnets)},
	{"sg-", "security-group", &security_group_kind, offsetof(struct core, security_groups)},
	{"fl-", "vpc-flow-log", &flow_log_kind, offsetof(struct core, flow_logs)},
	{"pl-", "prefix-list", &prefix_list_kind, offsetof(struct core, prefix_lists)},
};

static const struct map *objects_of(const struct core *c, size_t kind)
{
	return (const struct map *)(const void *)((const char *)c + kinds[kind].objects);
}

/* By the beginning of its id. */
static bool find_tagged(const struct core *c, const char *id, struct tagged *ret)
{
	struct interface *n = map_find(&c->interfaces, id);

	*ret = (struct tagged){0};
	if (n && !n->released_ms)
		ret->interface = n;
	if (str_starts(id, "eni-"))
		ret->kind = &interface_kind;
	if (str_starts(id, "sgr-")) {
		ret->kind = &rule_kind;
		ret->rule = security_group_rule(c, id, &ret->record);
	}
	for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
		if (!str_starts(id, kinds[i].prefix))
			continue;
		ret->kind = kinds[i].kind;
		ret->record = map_find(objects_of(c, i), id);
	}
	return ret->record || ret->interface;
}

/* What its tags are in; not of an interface. */
static json_t *tagged_doc(const struct tagged *t)
{
	return t->rule ? t->rule : t->record->doc;
}

/* The caller's, to be changed. */
static json_t *copy_tags(const struct tagged *t)
{
	json_t *tags = t->interface ? t->interface->tags : json_object_get(tagged_doc(t), "tagSet");

	return tags ? json_deep_copy(tags) : json_array();
}

static void set_tags(struct core *c, const struct tagged *t, json_t *own_tags)
{
	if (t->interface) {
		interface_set_tags(c, t->interface, own_tags);
		return;
	}
	(void)json_object_set_new(tagged_doc(t), "tagSet", own_tags);
	record_touch(c, t->record);
}

/* Every object is there, or nothing is changed. */
static int check_resources(struct core *c, const json_t *request, struct ecs_fault *f)
{
	struct tagged t;
	json_t *id;
	size_t i;

	json_array_foreach (json_object_get(request, "ResourceId"), i, id) {
		if (find_tagged(c, json_string_value(id), &t))
			continue;
		if (t.kind)
			return absent(t.kind, json_string_value(id), f);
		return ecs_fault_set(f, ECS_FAULT_EC2_ID_NOT_FOUND, "The ID '%.200s' is not valid",
				     json_string_value(id));
	}
	return 0;
}

json_t *create_tags(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct tagged t;
	json_t *id;
	size_t i;

	if (check_resources(c, request, f) < 0)
		return NULL;
	json_array_foreach (json_object_get(request, "ResourceId"), i, id) {
		auto_json json_t *copy = NULL;

		(void)find_tagged(c, json_string_value(id), &t);
		copy = json_pack("{s:o}", "tagSet", copy_tags(&t));
		if (add_tags(copy, json_object_get(request, "Tag"), f) < 0)
			return NULL;
		set_tags(c, &t, json_incref(json_object_get(copy, "tagSet")));
	}
	return json_pack("{s:b}", "return", 1);
}

/* Without tags all go; a tag with a value goes only if it has that value. */
json_t *delete_tags(struct core *c, json_t *request, struct ecs_fault *f)
{
	const json_t *tags = json_object_get(request, "Tag");
	json_t *id, *tag, *old;
	struct tagged t;
	size_t i, n, at;

	if (check_resources(c, request, f) < 0)
		return NULL;
	json_array_foreach (json_object_get(request, "ResourceId"), i, id) {
		json_t *set;

		(void)find_tagged(c, json_string_value(id), &t);
		set = tags ? copy_tags(&t) : json_array();
		json_array_foreach (tags, n, tag) {
			const char *value = doc_string(tag, "Value");

			old = tag_with(set, doc_string(tag, "Key"), &at);
			if (old && (!value || str_eq(doc_string(old, "value"), value)))
				(void)json_array_remove(set, at);
		}
		set_tags(c, &t, set);
	}
	return json_pack("{s:b}", "return", 1);
}

static void list_tags(const json_t *tags, const char *id, const char *type, json_t *docs)
{
	json_t *tag;
	size_t n;

	json_array_foreach (tags, n, tag)
		(void)json_array_append_new(docs, json_pack("{s:s, s:s, s:O, s:O}", "resourceId",
							    id, "resourceType", type, "key",
							    json_object_get(tag, "key"), "value",
							    json_object_get(tag, "value")));
}

static void list_rule_tags(const json_t *rule, void *docs)
{
	list_tags(json_object_get(rule, "tagSet"), doc_string(rule, rule_kind.id),
		  "security-group-rule", docs);
}

static void list_all_tags(const struct core *c, json_t *docs)
{
	struct interface *n;
	struct record *r;

	for (size_t k = 0; k < ARRAY_COUNT(kinds); k++)
		for (size_t i = 0; map_next(objects_of(c, k), &i, &r);)
			list_tags(json_object_get(r->doc, "tagSet"),
				  doc_string(r->doc, kinds[k].kind->id), kinds[k].type, docs);
	security_groups_each_rule(c, list_rule_tags, docs);
	for (size_t i = 0; map_next(&c->interfaces, &i, &n);)
		if (!n->released_ms)
			list_tags(n->tags, n->id, "network-interface", docs);
}

json_t *describe_tags(struct core *c, json_t *request, struct ecs_fault *f)
{
	static const struct ec2_filter filters[] = {{"key", "key"},
						    {"value", "value"},
						    {"resource-id", "resourceId"},
						    {"resource-type", "resourceType"},
						    {NULL, NULL}};
	static const struct ec2_kind kind = {.set = "tagSet",
					     .id = "resourceId",
					     .ids = "ResourceId",
					     .filters = filters,
					     .is_tag = true};
	json_t *docs = json_array();

	list_all_tags(c, docs);
	return ec2_describe_list(&kind, docs, request, f);
}
