/* scheduler/core/cluster.c - clusters
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"

#define DESCRIBE_MAX 100

struct cluster *cluster_make(struct core *c, const char *name, json_t *own_doc)
{
	struct cluster *cl = xcalloc(1, sizeof(*cl));

	cl->name = xstrdup(name);
	record_init(&cl->record, own_doc, "cluster/%s", name);
	(void)map_put(&c->clusters, name, cl);
	return cl;
}

void cluster_free(struct cluster *cl)
{
	struct instance *i;

	for (size_t n = 0; map_next(&cl->instances, &n, &i);)
		instance_free(i);
	table_done(&cl->table);
	map_done(&cl->instances);
	record_done(&cl->record);
	free(cl->name);
	free(cl);
}

static bool is_active(const struct cluster *cl)
{
	return str_eq(doc_string(cl->record.doc, "status"), "ACTIVE");
}

struct cluster *cluster_by_name(struct core *c, const char *text, struct ecs_fault *f)
{
	struct ecs_name name;
	struct cluster *cl;

	if (ecs_name_parse(&c->o.identity, ECS_RESOURCE_CLUSTER, text ? text : "default", &name,
			   f) < 0)
		return NULL;
	cl = map_find(&c->clusters, name.name);
	if (cl && is_active(cl))
		return cl;
	(void)ecs_fault_set(f, ECS_FAULT_CLUSTER_NOT_FOUND, "Cluster not found.");
	return NULL;
}

int cluster_parse_name(const struct core *c, const struct cluster *cl, enum ecs_resource resource,
		       const char *text, struct ecs_name *ret, struct ecs_fault *f)
{
	if (ecs_name_parse(&c->o.identity, resource, text, ret, f) < 0)
		return -1;
	if (!*ret->cluster || strcmp(ret->cluster, cl->name) == 0)
		return 0;
	(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
			    "Invalid identifier: Identifier is for cluster %s. Your cluster is %s",
			    ret->cluster, cl->name);
	return CLUSTER_ANOTHER;
}

struct cluster *cluster_of(struct core *c, const json_t *request, struct ecs_fault *f)
{
	return cluster_by_name(c, doc_string(request, "cluster"), f);
}

/* Tasks by launch type; services come with what runs them. */
static json_t *statistics(const struct core *c, const struct cluster *cl)
{
	static const char *const states[] = {"running", "pending"},
				 *const types[] = {"EC2", "Fargate", "External"},
				 *const services[] = {"activeEC2ServiceCount",
						      "activeFargateServiceCount",
						      "activeExternalServiceCount",
						      "drainingEC2ServiceCount",
						      "drainingFargateServiceCount",
						      "drainingExternalServiceCount"};
	size_t counts[ARRAY_COUNT(states)][ARRAY_COUNT(types)] = {{0}};
	json_t *list = json_array();
	struct task *t;

	for (uint32_t n = 0; (t = roster_next(&c->roster, &n));)
		if (t->kind->cluster == cl && t->last_status < TASK_DEACTIVATING)
			counts[t->last_status != TASK_RUNNING][t->kind->external ? 2 : 0]++;
	for (size_t s = 0; s < ARRAY_COUNT(states); s++)
		for (size_t k = 0; k < ARRAY_COUNT(types); k++)
			(void)json_array_append_new(
				list, json_pack("{s:o, s:o}", "name",
						json_sprintf("%s%sTasksCount", states[s], types[k]),
						"value", json_sprintf("%zu", counts[s][k])));
	for (size_t k = 0; k < ARRAY_COUNT(services); k++)
		(void)json_array_append_new(
			list, json_pack("{s:s, s:s}", "name", services[k], "value", "0"));
	return list;
}

json_t *cluster_show(const struct core *c, const struct cluster *cl, const json_t *describe)
{
	json_t *doc = doc_public(cl->record.doc, !describe || doc_includes(describe, "TAGS"));
	size_t running = 0, pending = 0;
	struct instance *i;

	for (size_t n = 0; map_next(&cl->instances, &n, &i);) {
		running += i->running;
		pending += i->pending;
	}
	(void)json_object_set_new(doc, "registeredContainerInstancesCount",
				  json_integer((json_int_t)cl->instances.count));
	(void)json_object_set_new(doc, "runningTasksCount", json_integer((json_int_t)running));
	(void)json_object_set_new(doc, "pendingTasksCount", json_integer((json_int_t)pending));
	(void)json_object_set_new(doc, "activeServicesCount", json_integer(0));
	(void)json_object_set_new(doc, "statistics",
				  doc_includes(describe, "STATISTICS") ? statistics(c, cl)
								       : json_array());
	if (!json_object_get(doc, "capacityProviders")) { /* none was ever set */
		(void)json_object_set_new(doc, "capacityProviders", json_array());
		(void)json_object_set_new(doc, "defaultCapacityProviderStrategy", json_array());
	}
	if (describe && !doc_includes(describe, "SETTINGS"))
		(void)json_object_set_new(doc, "settings", json_array());
	return doc;
}

static int check_settings(const json_t *request, struct ecs_fault *f)
{
	json_t *setting;
	size_t i;

	json_array_foreach (json_object_get(request, "settings"), i, setting)
		if (!str_eq(doc_string(setting, "value"), "disabled"))
			return ecs_fault_set(
				f, ECS_FAULT_CLIENT,
				"settings[%zu]: %s can only be 'disabled' in this version of Berth",
				i, doc_string(setting, "name") ? doc_string(setting, "name") : "");
	return 0;
}

json_t *create_cluster(struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *text = doc_string(request, "clusterName");
	const char *name = text && *text ? text : "default";
	json_t *settings = json_object_get(request, "settings"), *doc;
	struct cluster *cl = map_find(&c->clusters, name);
	char arn[ECS_ARN_SIZE];

	if (!ecs_name_is_valid(name)) {
		(void)ecs_fault_set(
			f, ECS_FAULT_INVALID_PARAMETER,
			"Cluster name must be 1 to 255 letters, numbers, hyphens or underscores.");
		return NULL;
	}
	if (check_settings(request, f) < 0 || tags_check(json_object_get(request, "tags"), f) < 0)
		return NULL;
	if (cl && is_active(cl))
		return json_pack("{s:o}", "cluster", cluster_show(c, cl, NULL));

	ecs_arn_cluster(&c->o.identity, name, arn);
	doc = json_pack("{s:s, s:s, s:s, s:O*, s:O*}", "clusterArn", arn, "clusterName", name,
			"status", "ACTIVE", "settings", settings, "tags",
			json_object_get(request, "tags"));
	if (!settings)
		(void)json_object_set_new(doc, "settings",
					  json_pack("[{s:s, s:s}]", "name", "containerInsights",
						    "value", "disabled"));
	if (provider_set(c, doc, request, f) < 0) {
		json_decref(doc);
		return NULL;
	}
	if (cl) {
		json_decref(cl->record.doc);
		cl->record.doc = doc;
	} else {
		cl = cluster_make(c, name, doc);
	}
	record_touch(c, &cl->record);
	return json_pack("{s:o}", "cluster", cluster_show(c, cl, NULL));
}

/* UpdateCluster, and UpdateClusterSettings, which is a part of it. */
json_t *update_cluster(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	json_t *settings = json_object_get(request, "settings");

	if (!cl || check_settings(request, f) < 0)
		return NULL;
	if (settings) {
		(void)json_object_set(cl->record.doc, "settings", settings);
		record_touch(c, &cl->record);
	}
	return json_pack("{s:o}", "cluster", cluster_show(c, cl, NULL));
}

json_t *describe_clusters(struct core *c, json_t *request, struct ecs_fault *f)
{
	json_t *names = json_object_get(request, "clusters"), *name;
	json_t *clusters = json_array(), *failures = json_array();
	auto_json json_t *fallback = json_pack("[s]", "default");
	json_t *reply = json_pack("{s:o, s:o}", "clusters", clusters, "failures", failures);
	size_t i;

	if (json_array_size(names) > DESCRIBE_MAX) {
		json_decref(reply);
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "At most %d clusters can be described.", DESCRIBE_MAX);
		return NULL;
	}
	json_array_foreach (json_array_size(names) ? names : fallback, i, name) {
		const char *text = json_string_value(name);
		struct ecs_name parsed;
		struct cluster *cl = NULL;
		char arn[ECS_ARN_SIZE];

		if (ecs_name_parse(&c->o.identity, ECS_RESOURCE_CLUSTER, text, &parsed, f) == 0) {
			cl = map_find(&c->clusters, parsed.name);
			ecs_arn_cluster(&c->o.identity, parsed.name, arn);
		} else {
			(void)snprintf(arn, sizeof(arn), "%s", text);
		}
		if (cl)
			(void)json_array_append_new(clusters, cluster_show(c, cl, request));
		else
			(void)json_array_append_new(failures, doc_failure(arn, "MISSING"));
	}
	return reply;
}

json_t *list_clusters(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct page page = {0};
	struct cluster *cl;

	for (size_t i = 0; map_next(&c->clusters, &i, &cl);)
		if (is_active(cl))
			page_add(&page, doc_string(cl->record.doc, "clusterArn"));
	return page_reply(&page, request, false, strcmp, "clusterArns", f);
}

json_t *delete_cluster(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	struct task *t;

	if (!cl)
		return NULL;
	for (uint32_t n = 0; (t = roster_next(&c->roster, &n));) {
		if (t->kind->cluster == cl && t->last_status != TASK_STOPPED) {
			(void)ecs_fault_set(
				f, ECS_FAULT_CLUSTER_CONTAINS_TASKS,
				"The Cluster cannot be deleted while Tasks are active.");
			return NULL;
		}
	}
	if (cl->instances.count) {
		(void)ecs_fault_set(
			f, ECS_FAULT_CLUSTER_CONTAINS_INSTANCES,
			"The Cluster cannot be deleted while Container Instances are active or "
			"draining.");
		return NULL;
	}
	doc_set_string(cl->record.doc, "status", "INACTIVE");
	record_touch(c, &cl->record);
	return json_pack("{s:o}", "cluster", cluster_show(c, cl, NULL));
}
