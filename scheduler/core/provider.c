/* scheduler/core/provider.c - capacity providers: groups of nodes, and strategies that share tasks among them
 * SPDX-License-Identifier: Apache-2.0
 *
 * There are no Auto Scaling groups here.  What stands in the place of one is a
 * node group: the nodes whose attribute "berth.node-group" is the group's name.
 * A capacity provider names one, and a task that is given to the provider is
 * constrained to that attribute.  Nobody scales a group but its operator, so
 * managed scaling, termination protection and draining can only be DISABLED.
 *
 * The share of a provider counts the tasks of the same group (the family, where
 * nothing else is said) that run in the cluster, not those of one call: a task
 * that is run ten times is spread like ten tasks of one call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/placement.h"
#include "scheduler/core/task.h"

#define STRATEGY_MAX  20
#define OF_GROUP_ARN  "autoScalingGroupName/"
#define GROUP_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

/* ---- providers ---- */

static struct record *find(struct core *c, const char *text)
{
	struct ecs_fault ignored;
	struct ecs_name name;

	if (!text || ecs_name_parse(&c->o.identity, ECS_RESOURCE_CAPACITY_PROVIDER, text, &name,
				    &ignored) < 0)
		return NULL;
	return map_find(&c->providers, name.name);
}

static struct record *named(struct core *c, const char *text, struct ecs_fault *f)
{
	struct record *r = find(c, text);

	if (!r)
		(void)ecs_fault_set(f, ECS_FAULT_CLIENT,
				    "The specified capacity provider '%.300s' was not found. "
				    "Specify a valid name or ARN and try again.",
				    text);
	return r;
}

struct record *provider_by_name(struct core *c, const char *text)
{
	return find(c, text);
}

static const char *name_of(const struct record *r)
{
	return doc_string(r->doc, "name");
}

static void add(struct core *c, json_t *own_doc)
{
	struct record *r = xcalloc(1, sizeof(*r));
	const char *name = doc_string(own_doc, "name");

	record_init(r, own_doc, "capacity-provider/%s", name);
	(void)map_put(&c->providers, name, r);
}

int provider_load(struct core *c, json_t *own_doc, struct err *e)
{
	if (!doc_string(own_doc, "name") || !doc_string(own_doc, "_group"))
		return err_set(e, EUCLEAN, "has no name or no group");
	add(c, own_doc);
	return 0;
}

/* The group that the name or the ARN of an Auto Scaling group means. */
static const char *group_in(const char *text, struct ecs_fault *f)
{
	const char *in_arn = strstr(text, OF_GROUP_ARN);
	const char *group = in_arn ? in_arn + strlen(OF_GROUP_ARN) : text;
	size_t len = strlen(group);

	if (len > 0 && len <= ECS_NAME_MAX && strspn(group, GROUP_LETTERS) == len)
		return group;
	(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
			    "autoScalingGroupArn '%.300s' does not name a node group: letters, "
			    "digits, '-', '_' and '.', which nodes have as their attribute %s.",
			    text, PROVIDER_ATTRIBUTE);
	return NULL;
}

/* What needs something that makes and ends machines. */
static int check_managed(const json_t *group, struct ecs_fault *f)
{
	static const char *const members[] = {"managedTerminationProtection", "managedDraining"};
	const json_t *scaling = json_object_get(group, "managedScaling");

	/* What else stands there is for when it is not. */
	if (json_object_size(scaling) && !str_eq(doc_string(scaling, "status"), "DISABLED"))
		return ecs_fault_set(f, ECS_FAULT_UNSUPPORTED_FEATURE,
				     "managedScaling can only be DISABLED: Berth does not make "
				     "machines.");
	for (size_t i = 0; i < ARRAY_COUNT(members); i++)
		if (doc_string(group, members[i]) &&
		    strcmp(doc_string(group, members[i]), "DISABLED") != 0)
			return ecs_fault_set(f, ECS_FAULT_UNSUPPORTED_FEATURE,
					     "%s can only be DISABLED: Berth does not end "
					     "machines.",
					     members[i]);
	return 0;
}

static int check_name(struct core *c, const char *name, struct ecs_fault *f)
{
	static const char *const reserved[] = {"aws", "ecs", "fargate"};

	if (!ecs_name_is_valid(name))
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "The specified capacity provider name is invalid. Up to 255 "
				     "characters are allowed, including letters (uppercase and "
				     "lowercase), numbers, underscores, and hyphens.");
	for (size_t i = 0; i < ARRAY_COUNT(reserved); i++)
		if (strncasecmp(name, reserved[i], strlen(reserved[i])) == 0)
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "The specified capacity provider name is invalid. The "
					     "name cannot be prefixed with 'aws', 'ecs', or "
					     "'fargate'.");
	if (map_find(&c->providers, name))
		return ecs_fault_set(f, ECS_FAULT_CLIENT,
				     "The specified capacity provider already exists. To change "
				     "the configuration of an existing capacity provider, update "
				     "the capacity provider.");
	return 0;
}

json_t *create_capacity_provider(struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *name = doc_string(request, "name"), *group;
	json_t *given = json_object_get(request, "autoScalingGroupProvider"), *doc, *shown;
	char arn[ECS_ARN_SIZE];

	if (check_name(c, name, f) < 0 || tags_check(json_object_get(request, "tags"), f) < 0)
		return NULL;
	if (!given) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "autoScalingGroupProvider is required: the name in its "
				    "autoScalingGroupArn is the node group.");
		return NULL;
	}
	group = group_in(doc_string(given, "autoScalingGroupArn"), f);
	if (!group || check_managed(given, f) < 0)
		return NULL;

	ecs_arn_capacity_provider(&c->o.identity, name, arn);
	shown = json_pack("{s:O, s:{s:s}, s:s, s:s}", "autoScalingGroupArn",
			  json_object_get(given, "autoScalingGroupArn"), "managedScaling", "status",
			  "DISABLED", "managedTerminationProtection", "DISABLED", "managedDraining",
			  "DISABLED");
	doc = json_pack("{s:s, s:s, s:s, s:o, s:s, s:[]}", "capacityProviderArn", arn, "name", name,
			"status", "ACTIVE", "autoScalingGroupProvider", shown, "_group", group,
			"tags");
	tags_merge(doc, json_object_get(request, "tags"));
	add(c, doc);
	record_touch(c, find(c, name));
	return json_pack("{s:o}", "capacityProvider", doc_public(doc, true));
}

json_t *update_capacity_provider(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct record *r = named(c, doc_string(request, "name"), f);
	json_t *shown;

	if (!r || check_managed(json_object_get(request, "autoScalingGroupProvider"), f) < 0)
		return NULL;
	shown = doc_public(r->doc, true);
	doc_set_string(shown, "updateStatus", "UPDATE_COMPLETE");
	return json_pack("{s:o}", "capacityProvider", shown);
}

static bool is_among(struct core *c, const json_t *names, const struct record *r)
{
	json_t *name;
	size_t i;

	json_array_foreach (names, i, name)
		if (find(c, json_string_value(name)) == r)
			return true;
	return false;
}

json_t *delete_capacity_provider(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct record *r = named(c, doc_string(request, "capacityProvider"), f);
	struct cluster *cl;
	json_t *shown;

	if (!r)
		return NULL;
	for (size_t i = 0; map_next(&c->clusters, &i, &cl);) {
		if (is_among(c, json_object_get(cl->record.doc, "capacityProviders"), r)) {
			(void)ecs_fault_set(f, ECS_FAULT_CLIENT,
					    "The capacity provider cannot be deleted because it is "
					    "associated with cluster: %s. Remove the capacity "
					    "provider from the cluster and try again.",
					    cl->name);
			return NULL;
		}
	}
	shown = doc_public(r->doc, true);
	doc_set_string(shown, "status", "INACTIVE");
	doc_set_string(shown, "updateStatus", "DELETE_COMPLETE");
	(void)map_remove(&c->providers, name_of(r));
	record_delete(c, r);
	free(r);
	return json_pack("{s:o}", "capacityProvider", shown);
}

/* In the order of the names that were asked for, or all. */
json_t *describe_capacity_providers(struct core *c, json_t *request, struct ecs_fault *f)
{
	const json_t *names = json_object_get(request, "capacityProviders");
	bool tags = doc_includes(request, "TAGS");
	const char *text;
	json_t *list = json_array(), *failures = json_array(), *name, *reply;
	struct record *r;
	size_t i;

	json_array_foreach (names, i, name) {
		char arn[ECS_ARN_SIZE];

		r = find(c, json_string_value(name));
		if (r) {
			(void)json_array_append_new(list, doc_public(r->doc, tags));
			continue;
		}
		text = json_string_value(name);
		ecs_arn_capacity_provider(&c->o.identity, text, arn);
		(void)json_array_append_new(
			failures, doc_failure(str_starts(text, "arn:") ? text : arn, "MISSING"));
	}
	if (!json_array_size(names))
		for (i = 0; map_next(&c->providers, &i, &r);)
			(void)json_array_append_new(list, doc_public(r->doc, tags));
	reply = page_of_objects(list, request, PAGE_MAX_FEWER, "capacityProviders", f);
	if (reply)
		(void)json_object_set_new(reply, "failures", failures);
	else
		json_decref(failures);
	return reply;
}

/* ---- nodes ---- */

const char *provider_of(const struct core *c, const struct instance *i)
{
	const json_t *names = json_object_get(i->cluster->record.doc, "capacityProviders");
	const char *group = attribute_of(i, PROVIDER_ATTRIBUTE);
	json_t *name;
	size_t n;

	json_array_foreach (names, n, name) {
		const struct record *r = map_find(&c->providers, json_string_value(name));

		if (group && r && str_eq(doc_string(r->doc, "_group"), group))
			return json_string_value(name);
	}
	return NULL;
}

/* ---- the providers of a cluster ---- */

static int check_item(struct core *c, const json_t *item, const json_t *names, struct ecs_fault *f)
{
	const char *text = doc_string(item, "capacityProvider");
	const struct record *r = named(c, text, f);

	if (!r)
		return -1;
	if (!is_among(c, names, r))
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "The specified capacity provider strategy cannot contain a "
				     "capacity provider that is not associated with the cluster. "
				     "Associate the capacity provider '%.255s' with the cluster "
				     "and try again.",
				     text);
	return 0;
}

int provider_check_strategy(struct core *c, const json_t *strategy, const json_t *names,
			    struct ecs_fault *f)
{
	size_t bases = 0, i;
	int64_t weights = 0;
	json_t *item;

	if (json_array_size(strategy) > STRATEGY_MAX)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "A capacity provider strategy can have at most %d items.",
				     STRATEGY_MAX);
	json_array_foreach (strategy, i, item) {
		if (check_item(c, item, names, f) < 0)
			return -1;
		bases += doc_integer(item, "base", 0) > 0;
		weights += doc_integer(item, "weight", 0);
	}
	if (bases > 1)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "The specified capacity provider strategy can have only one "
				     "item with a base greater than 0.");
	if (json_array_size(strategy) && !weights)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "The specified capacity provider strategy must contain at "
				     "least one capacity provider with a weight value greater than "
				     "0.");
	return 0;
}

/* The same providers by their names, each once. */
static json_t *names_of(struct core *c, const json_t *given, struct ecs_fault *f)
{
	json_t *names = json_array(), *text;
	size_t i;

	json_array_foreach (given, i, text) {
		const struct record *r = named(c, json_string_value(text), f);

		if (!r) {
			json_decref(names);
			return NULL;
		}
		if (!is_among(c, names, r))
			(void)json_array_append_new(names, json_string(name_of(r)));
	}
	return names;
}

static bool has_tasks(struct core *c, const struct cluster *cl, const struct record *r)
{
	struct task *t;

	for (uint32_t n = 0; (t = roster_next(&c->roster, &n));)
		if (t->kind->cluster == cl && t->last_status != TASK_STOPPED && t->kind->provider &&
		    find(c, t->kind->provider) == r)
			return true;
	return false;
}

/* A provider that has tasks stays. */
static int check_removed(struct core *c, const struct cluster *cl, const json_t *names,
			 struct ecs_fault *f)
{
	json_t *name;
	size_t i;

	json_array_foreach (json_object_get(cl->record.doc, "capacityProviders"), i, name) {
		const struct record *r = find(c, json_string_value(name));

		if (r && !is_among(c, names, r) && has_tasks(c, cl, r))
			return ecs_fault_set(f, ECS_FAULT_RESOURCE_IN_USE,
					     "The specified capacity provider is in use and cannot "
					     "be removed.");
	}
	return 0;
}

int provider_set(struct core *c, json_t *cluster_doc, const json_t *request, struct ecs_fault *f)
{
	const json_t *given = json_object_get(request, "capacityProviders"),
		     *strategy = json_object_get(request, "defaultCapacityProviderStrategy");
	json_t *names = names_of(c, given, f);

	if (!names || provider_check_strategy(c, strategy, names, f) < 0) {
		json_decref(names);
		return -1;
	}
	(void)json_object_set_new(cluster_doc, "capacityProviders", names);
	(void)json_object_set_new(cluster_doc, "defaultCapacityProviderStrategy",
				  strategy ? json_deep_copy(strategy) : json_array());
	return 0;
}

json_t *put_cluster_capacity_providers(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	auto_json json_t *names = NULL;

	if (!cl || !(names = names_of(c, json_object_get(request, "capacityProviders"), f)) ||
	    check_removed(c, cl, names, f) < 0 || provider_set(c, cl->record.doc, request, f) < 0)
		return NULL;
	record_touch(c, &cl->record);
	return json_pack("{s:o}", "cluster", cluster_show(c, cl, NULL));
}

/* ---- whose turn it is ---- */

/* Tasks of the group that run on nodes of the provider. */
static int64_t count_tasks(const struct core *c, const struct cluster *cl, const char *provider,
			   const char *group)
{
	const struct task_group *g = map_find(&cl->table.groups, group);
	int64_t count = 0;

	for (uint32_t n = 0; g && n < g->slot_count; n++)
		if (g->slots[n].count &&
		    str_eq(provider_of(c, cl->table.rows[g->slots[n].row]), provider))
			count += g->slots[n].count;
	return count;
}

const char *provider_next(struct core *c, const struct cluster *cl, const json_t *strategy,
			  const char *group)
{
	const char *best = NULL;
	double least = 0;
	json_t *item;
	size_t i;

	json_array_foreach (strategy, i, item) {
		const char *name = name_of(find(c, doc_string(item, "capacityProvider")));
		int64_t weight = doc_integer(item, "weight", 0),
			base = doc_integer(item, "base", 0),
			count = count_tasks(c, cl, name, group);
		double share = weight ? (double)(count - base + 1) / (double)weight : 0;

		if (count < base)
			return name; /* the only base comes before all shares */
		if (weight && (!best || share < least)) {
			best = name;
			least = share;
		}
	}
	return best;
}

const char *provider_group(struct core *c, const char *provider)
{
	return doc_string(find(c, provider)->doc, "_group");
}
