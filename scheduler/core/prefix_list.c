/* scheduler/core/prefix_list.c - managed prefix lists: prefixes that rules name together
 * SPDX-License-Identifier: Apache-2.0
 *
 * A host is told of the prefixes, not of the list: when its entries change, the
 * groups whose rules name it are told anew.  Only the version that holds is kept.
 * Source: ManagedPrefixList of the EC2 API reference, "Managed prefix lists" of
 * the VPC User Guide.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

#define ENTRIES_MAX     1000
#define CHANGES_MAX     100 /* entries of a request */
#define NAME_LEN_MAX    255
#define DESCRIPTION_MAX 255

static const struct ec2_filter filters[] = {
	{"prefix-list-id", "prefixListId"},
	{"prefix-list-name", "prefixListName"},
	{"owner-id", "ownerId"},
	{NULL, NULL},
};

const struct ec2_kind prefix_list_kind = {.set = "prefixListSet",
					  .id = "prefixListId",
					  .ids = "PrefixListId",
					  .word = "prefix list ID",
					  .absent = ECS_FAULT_EC2_PREFIX_LIST_NOT_FOUND,
					  .filters = filters};

int prefix_list_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "prefixListId");
	struct record *r;

	if (!id || !json_is_array(json_object_get(own_doc, "_entries")))
		return err_set(e, EUCLEAN, "is not whole");
	r = xcalloc(1, sizeof(*r));
	record_init(r, own_doc, "prefix-list/%s", id);
	(void)map_put(&c->prefix_lists, id, r);
	return 0;
}

const json_t *prefix_list_entries(const struct core *c, const char *id)
{
	const struct record *r = map_find(&c->prefix_lists, id);

	return r ? json_object_get(r->doc, "_entries") : NULL;
}

size_t prefix_list_max(const struct core *c, const char *id)
{
	const struct record *r = map_find(&c->prefix_lists, id);

	return r ? (size_t)doc_integer(r->doc, "maxEntries", 0) : 0;
}

static struct record *find(struct core *c, const json_t *request, struct ecs_fault *f)
{
	return ec2_find(&c->prefix_lists, &prefix_list_kind, doc_string(request, "PrefixListId"),
			f);
}

/* ---- entries ---- */

/* Where a list has a prefix; its size: nowhere. */
static size_t place_of(const json_t *entries, const char *cidr)
{
	json_t *entry;
	size_t i;

	json_array_foreach (entries, i, entry)
		if (str_eq(doc_string(entry, "cidr"), cidr))
			break;
	return i;
}

static int read_cidr(const json_t *entry, bool v6, char ret[IP_TEXT_MAX], struct ecs_fault *f)
{
	const char *text = doc_string(entry, "Cidr");
	struct ip_prefix cidr;

	if (!text || !ip_prefix_parse(text, &cidr) || cidr.v6 != v6)
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "The CIDR '%.100s' is not one of the address family %s.",
				     text ? text : "", v6 ? "IPv6" : "IPv4");
	ip_prefix_format(&cidr, ret);
	return 0;
}

/* An entry that is there gets the new description. */
static int add_entries(json_t *entries, const json_t *added, bool v6, struct ecs_fault *f)
{
	json_t *entry;
	size_t i;

	json_array_foreach (added, i, entry) {
		const char *description = doc_string(entry, "Description");
		char cidr[IP_TEXT_MAX];
		json_t *own;

		if (read_cidr(entry, v6, cidr, f) < 0)
			return -1;
		if (description && strlen(description) > DESCRIPTION_MAX)
			return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
					     "The description of %s has more than %d characters.",
					     cidr, DESCRIPTION_MAX);
		(void)json_array_remove(entries, place_of(entries, cidr));
		own = json_pack("{s:s}", "cidr", cidr);
		doc_set_string(own, "description", description);
		(void)json_array_append_new(entries, own);
	}
	return 0;
}

static int remove_entries(json_t *entries, const json_t *removed, bool v6, struct ecs_fault *f)
{
	json_t *entry;
	size_t i;

	json_array_foreach (removed, i, entry) {
		char cidr[IP_TEXT_MAX];

		if (read_cidr(entry, v6, cidr, f) < 0)
			return -1;
		if (json_array_remove(entries, place_of(entries, cidr)) < 0)
			return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
					     "The prefix list has no entry %s.", cidr);
	}
	return 0;
}

static int check_max(const json_t *entries, int64_t max, struct ecs_fault *f)
{
	if (max < 1 || max > ENTRIES_MAX)
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Invalid value '%lld' for MaxEntries. It is 1 to %d.",
				     (long long)max, ENTRIES_MAX);
	if ((int64_t)json_array_size(entries) > max)
		return ecs_fault_set(f, ECS_FAULT_EC2_PREFIX_LIST_FULL,
				     "The prefix list would have %zu entries, at most %lld are "
				     "possible.",
				     json_array_size(entries), (long long)max);
	return 0;
}

static int check_name(const char *name, struct ecs_fault *f)
{
	if (!*name || strlen(name) > NAME_LEN_MAX || str_starts(name, "com.amazonaws"))
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Invalid value '%.100s' for PrefixListName. It has 1 to %d "
				     "characters and does not begin with com.amazonaws.",
				     name, NAME_LEN_MAX);
	return 0;
}

/* ---- operations ---- */

static json_t *make_doc(struct core *c, const json_t *request, json_t *entries, json_t *tags)
{
	char id[EC2_ID_SIZE];

	ec2_make_id(c, "pl", &c->prefix_lists, id);
	return json_pack("{s:s, s:O, s:s, s:o, s:O, s:O, s:i, s:s, s:O, s:O}", "prefixListId", id,
			 "addressFamily", json_object_get(request, "AddressFamily"), "state",
			 "create-complete", "prefixListArn",
			 json_sprintf("arn:aws:ec2:%s:%s:prefix-list/%s", c->o.identity.region,
				      c->o.identity.account, id),
			 "prefixListName", json_object_get(request, "PrefixListName"), "maxEntries",
			 json_object_get(request, "MaxEntries"), "version", 1, "ownerId",
			 c->o.identity.account, "tagSet", tags, "_entries", entries);
}

static json_t *reply(const struct record *r)
{
	return json_pack("{s:o}", "prefixList", doc_public(r->doc, false));
}

json_t *create_managed_prefix_list(struct core *c, json_t *request, struct ecs_fault *f)
{
	const json_t *added = json_object_get(request, "Entry");
	bool v6 = str_eq(doc_string(request, "AddressFamily"), "IPv6");
	auto_json json_t *tags = json_object(), *entries = json_array(), *made = NULL;
	struct record *r;
	struct err e;
	json_t *doc;

	if (ec2_token_find(&c->prefix_lists, request, &made, f) < 0)
		return NULL;
	if (made)
		return json_pack("{s:o}", "prefixList", doc_public(json_array_get(made, 0), false));
	if (check_name(doc_string(request, "PrefixListName"), f) < 0 ||
	    add_entries(entries, added, v6, f) < 0 ||
	    check_max(entries, doc_integer(request, "MaxEntries", 0), f) < 0 ||
	    ec2_take_tags(request, "prefix-list", tags, f) < 0)
		return NULL;
	doc = make_doc(c, request, entries, json_object_get(tags, "tagSet"));
	ec2_token_keep(doc, request);
	(void)prefix_list_load(c, doc, &e);
	r = map_find(&c->prefix_lists, doc_string(doc, "prefixListId"));
	record_touch(c, r);
	return reply(r);
}

json_t *describe_managed_prefix_lists(struct core *c, json_t *request, struct ecs_fault *f)
{
	return ec2_describe(c, &prefix_list_kind, &c->prefix_lists, request, f);
}

static int check_version(const struct record *r, const json_t *request, const char *member,
			 struct ecs_fault *f)
{
	int64_t version = doc_integer(r->doc, "version", 1);

	if (doc_integer(request, member, version) != version)
		return ecs_fault_set(f, ECS_FAULT_EC2_PREFIX_LIST_VERSION,
				     "The prefix list has the incorrect version number: it is %lld "
				     "now, and no other is kept.",
				     (long long)version);
	return 0;
}

json_t *get_managed_prefix_list_entries(struct core *c, json_t *request, struct ecs_fault *f)
{
	static const struct ec2_filter none[] = {{NULL, NULL}};
	static const struct ec2_kind kind = {
		.set = "entrySet", .id = "cidr", .ids = "Cidr", .filters = none};
	const struct record *r = find(c, request, f);

	if (!r || check_version(r, request, "TargetVersion", f) < 0)
		return NULL;
	return ec2_describe_list(&kind, json_incref(json_object_get(r->doc, "_entries")), request,
				 f);
}

/* The entries that the request leaves; NULL and the fault. */
static json_t *changed_entries(const struct record *r, const json_t *request, struct ecs_fault *f)
{
	const json_t *added = json_object_get(request, "AddEntry"),
		     *removed = json_object_get(request, "RemoveEntry");
	auto_json json_t *entries = json_copy(json_object_get(r->doc, "_entries"));
	bool v6 = str_eq(doc_string(r->doc, "addressFamily"), "IPv6");

	if (json_array_size(added) + json_array_size(removed) > CHANGES_MAX)
		(void)ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE, "More than %d entries.",
				    CHANGES_MAX);
	else if ((added || removed) && !json_object_get(request, "CurrentVersion"))
		(void)ecs_fault_set(f, ECS_FAULT_EC2_MISSING_PARAMETER,
				    "The request must contain the parameter CurrentVersion");
	else if (remove_entries(entries, removed, v6, f) == 0 &&
		 add_entries(entries, added, v6, f) == 0)
		return take_ptr(entries);
	return NULL;
}

json_t *modify_managed_prefix_list(struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *name = doc_string(request, "PrefixListName");
	struct record *r = find(c, request, f);
	auto_json json_t *entries = NULL;
	int64_t max;

	if (!r || check_version(r, request, "CurrentVersion", f) < 0 ||
	    (name && check_name(name, f) < 0))
		return NULL;
	max = doc_integer(request, "MaxEntries", doc_integer(r->doc, "maxEntries", 0));
	entries = changed_entries(r, request, f);
	if (!entries || check_max(entries, max, f) < 0)
		return NULL;
	if (name)
		doc_set_string(r->doc, "prefixListName", name);
	(void)json_object_set_new(r->doc, "maxEntries", json_integer(max));
	(void)json_object_set_new(r->doc, "state", json_string("modify-complete"));
	if (!json_equal(entries, json_object_get(r->doc, "_entries"))) {
		(void)json_object_set(r->doc, "_entries", entries);
		(void)json_object_set_new(r->doc, "version",
					  json_integer(doc_integer(r->doc, "version", 1) + 1));
		security_groups_send_naming(c, doc_string(r->doc, "prefixListId"));
	}
	record_touch(c, r);
	return reply(r);
}

json_t *delete_managed_prefix_list(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct record *r = find(c, request, f);
	const char *id = r ? doc_string(r->doc, "prefixListId") : NULL, *user;
	json_t *answer;

	if (!r)
		return NULL;
	user = security_group_naming(c, id);
	if (user) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_DEPENDENCY,
				    "The prefix list '%s' is named by rules of %s and cannot be "
				    "deleted.",
				    id, user);
		return NULL;
	}
	(void)json_object_set_new(r->doc, "state", json_string("delete-complete"));
	answer = reply(r);
	(void)map_remove(&c->prefix_lists, id);
	record_delete(c, r);
	record_done(r);
	free(r);
	return answer;
}
