/* scheduler/core/instance.c - container instances
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"
#include "scheduler/core/vpc.h"

#define DESCRIBE_MAX  100
#define ZONE          "ecs.availability-zone"
#define RESERVED_PORT 22 /* sshd: no task may have it */

void instance_free(struct instance *i)
{
	record_done(&i->record);
	record_done(&i->reported);
	map_done(&i->vpcs);
	peers_forget_words(i);
	host_address_forget_words(i);
	free(i->attributes);
	for (int k = 0; k < PROTOCOLS; k++)
		ports_done(&i->ports[k]);
	gpus_done(i);
	free(i->groups);
	free(i->id);
	table_free_instance(&i->cluster->table, i);
}

static struct instance *add_instance(struct core *c, struct cluster *cl, const char *id,
				     json_t *own_doc)
{
	struct instance *i = table_new_instance(&cl->table);

	i->id = xstrdup(id);
	i->cluster = cl;
	i->cpu_units = (int32_t)doc_integer(own_doc, "_cpu", 0);
	i->memory_mib = (int32_t)doc_integer(own_doc, "_memory", 0);
	i->interfaces = doc_integer(own_doc, "_interfaces", 0);
	i->gone_ms = doc_integer(own_doc, "_goneAt", 0);
	i->connected_at_ms = doc_integer(own_doc, "_connectedAt", 0);
	i->active = str_eq(doc_string(own_doc, "status"), "ACTIVE");
	record_init(&i->record, own_doc, "instance/%s/%s", cl->name, id);
	gpus_set(i);
	attributes_index(c, i);
	(void)map_put(&cl->instances, id, i);
	table_add(&cl->table, i);
	return i;
}

int instance_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "_id"), *cluster = doc_string(own_doc, "_cluster");
	struct cluster *cl = cluster ? map_find(&c->clusters, cluster) : NULL;
	struct instance *i;

	if (!cl || !id)
		return err_set(e, EUCLEAN, "names no cluster of ours");
	flap_load(c, i = add_instance(c, cl, id, own_doc));
	host_address_load(c, i);
	return 0;
}

static void keep_report(struct instance *i, json_t *own_doc)
{
	i->report = doc_integer(own_doc, "report", 0);
	record_init(&i->reported, own_doc, "report/%s", i->id);
}

int instance_load_report(struct core *c, json_t *own_doc, struct err *e)
{
	struct instance *i = instance_by_id(c, doc_string(own_doc, "_instance"));

	if (!i)
		return err_set(e, EUCLEAN, "is of no container instance");
	keep_report(i, own_doc);
	return 0;
}

void instance_set_report(struct core *c, struct instance *i, int64_t number)
{
	if (!i->reported.doc)
		keep_report(i, json_pack("{s:s}", "_instance", i->id));
	i->report = number;
	(void)json_object_set_new(i->reported.doc, "report", json_integer(number));
	record_touch(c, &i->reported);
}

struct instance *instance_find(struct cluster *cl, const struct core *c, const char *text,
			       struct ecs_fault *f)
{
	struct ecs_name name;

	if (cluster_parse_name(c, cl, ECS_RESOURCE_INSTANCE, text, &name, f) != 0)
		return NULL;
	return map_find(&cl->instances, name.name);
}

struct instance *instance_named(struct cluster *cl, const struct core *c, const char *text,
				struct ecs_fault *f)
{
	struct instance *i;

	f->message[0] = '\0';
	i = instance_find(cl, c, text, f);
	if (!i && !f->message[0])
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Referenced container instance %.300s not found.", text);
	return i;
}

/* ---- a node comes and goes ---- */

struct instance *instance_by_id(struct core *c, const char *id)
{
	struct cluster *cl;
	struct instance *i;

	for (size_t n = 0; id && map_next(&c->clusters, &n, &cl);)
		if ((i = map_find(&cl->instances, id)))
			return i;
	return NULL;
}

const char *instance_zone(const struct instance *i)
{
	return attribute_of(i, ZONE);
}

void instance_make_id(struct core *c, char ret[ECS_ID_LEN + 1])
{
	do
		core_random_hex(c, ret, ECS_ID_LEN);
	while (instance_by_id(c, ret) || member_is(c, ret));
}

static struct instance *register_instance(struct core *c, struct cluster *cl, const char *id)
{
	char arn[ECS_ARN_SIZE];
	json_t *doc;

	ecs_arn_instance(&c->o.identity, cl->name, id, arn);
	doc = json_pack("{s:s, s:s, s:s, s:o, s:i, s:s, s:o, s:o}", "_id", id, "_cluster", cl->name,
			"containerInstanceArn", arn, "ec2InstanceId", json_sprintf("mi-%.17s", id),
			"version", 0, "status", "ACTIVE", "attachments", json_array(), "tags",
			json_array());
	doc_set_time(doc, "registeredAt", c->now_ms);
	if (member_tags(c, id))
		tags_merge(doc, member_tags(c, id));
	return add_instance(c, cl, id, doc);
}

static bool names_its_zone(const struct ecs_node_hello *h)
{
	for (size_t i = 0; i < h->attributes.count; i++)
		if (str_eq(JS_AT(h->attributes, struct ecs_attribute, i)->name, ZONE))
			return true;
	return false;
}

static json_t *attributes_of(const struct core *c, const struct ecs_node_hello *h)
{
	json_t *list = json_array();

	if (!names_its_zone(h))
		(void)json_array_append_new(list,
					    json_pack("{s:s, s:o}", "name", ZONE, "value",
						      json_sprintf("%sa", c->o.identity.region)));
	(void)json_array_append_new(
		list, json_pack("{s:s, s:s}", "name", "berth.hostname", "value", h->hostname));
	for (size_t i = 0; i < h->attributes.count; i++) {
		const struct ecs_attribute *a = JS_AT(h->attributes, struct ecs_attribute, i);

		(void)json_array_append_new(
			list, json_pack("{s:s, s:s*}", "name", a->name, "value", a->value));
	}
	return list;
}

static json_t *list_of(const struct js_strings *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->count; i++)
		(void)json_array_append_new(list, json_string(s->items[i]));
	return list;
}

/* By which others reach the host. */
static void take_place(struct core *c, struct instance *i, const struct ecs_node_hello *h)
{
	json_t *doc = i->record.doc, *addresses = list_of(&h->addresses);

	if (!json_equal(addresses, json_object_get(doc, "_addresses")) ||
	    (h->public_key && !str_eq(h->public_key, doc_string(doc, "_publicKey"))))
		peers_changed(c, i);
	(void)json_object_set_new(doc, "_addresses", addresses);
	doc_set_string(doc, "_publicKey", h->public_key);
	if (!h->public_key)
		(void)json_object_del(doc, "_publicKey");
}

static void take_gpus(struct instance *i, const struct js_strings *ids)
{
	(void)json_object_set_new(i->record.doc, "_gpuIds", list_of(ids));
	gpus_set(i);
}

static void new_version(struct core *c, struct instance *i)
{
	json_t *doc = i->record.doc;

	(void)json_object_set_new(doc, "version", json_integer(doc_integer(doc, "version", 0) + 1));
	record_touch(c, &i->record);
}

static void take_hello(struct core *c, struct instance *i, const struct ecs_node_hello *h)
{
	json_t *doc = i->record.doc;

	i->cpu_units = (int32_t)h->cpu_units; /* at most PLACE_AMOUNT_MAX */
	i->memory_mib = (int32_t)h->memory_mib;
	i->interfaces = h->interfaces;
	if (!i->connected)
		i->connected_at_ms = c->now_ms;
	i->connected = true;
	i->gone_ms = 0;
	(void)json_object_set_new(doc, "_connectedAt", json_integer(i->connected_at_ms));
	(void)json_object_del(doc, "_goneAt");
	(void)json_object_del(doc, "statusReason");
	flap_back(c, i);
	(void)json_object_set_new(doc, "_cpu", json_integer(h->cpu_units));
	(void)json_object_set_new(doc, "_memory", json_integer(h->memory_mib));
	take_gpus(i, &h->gpu_ids);
	(void)json_object_set_new(doc, "_interfaces", json_integer(h->interfaces));
	doc_set_string(doc, "_hostname", h->hostname);
	doc_set_string(doc, "_bootId", h->boot_id);
	(void)json_object_set_new(doc, "versionInfo",
				  json_pack("{s:s}", "agentVersion", h->version));
	(void)json_object_set_new(doc, "attributes", attributes_of(c, h));
	attributes_merge(c, i);
	vpc_add_zone(c, instance_zone(i));
	(void)json_object_set_new(doc, "_publicAddresses", list_of(&h->public_addresses));
	take_place(c, i, h);
	host_address_give(c, i);
	table_describe(&i->cluster->table, i);
	new_version(c, i);
}

/* Its cluster, and whether it may be who it says; NULL: it may not. */
static struct cluster *place_of(struct core *c, const struct ecs_node_hello *h, const char *key)
{
	if (key)
		return member_cluster(c, h->instance_id, key);
	return member_is(c, h->instance_id) ? NULL : map_find(&c->clusters, "default");
}

int core_node_hello(struct core *c, const struct ecs_node_hello *h, const char *key,
		    int64_t heartbeat_ms, int64_t now_ms, const char **ret_instance, struct err *e)
{
	struct instance *i = instance_by_id(c, h->instance_id);
	struct cluster *cl = place_of(c, h, key);
	char id[ECS_ID_LEN + 1];
	struct ecs_node_welcome welcome;

	if (h->protocol != ECS_NODE_PROTOCOL)
		return err_set(e, EPROTO, "node %s speaks protocol %lld, ours is %d", h->hostname,
			       (long long)h->protocol, ECS_NODE_PROTOCOL);
	if (h->cpu_units <= 0 || h->memory_mib <= 0)
		return err_set(e, EPROTO, "node %s has no CPU or no memory", h->hostname);
	if (h->cpu_units > PLACE_AMOUNT_MAX || h->memory_mib > PLACE_AMOUNT_MAX)
		return err_set(e, EPROTO,
			       "node %s says that it has %lld CPU units and %lld MiB; at most %d",
			       h->hostname, (long long)h->cpu_units, (long long)h->memory_mib,
			       PLACE_AMOUNT_MAX);
	if (gpus_check(&h->gpu_ids, e) < 0)
		return err_wrap(e, "node %s", h->hostname);
	if (!cl)
		return err_set(e, ENOENT, "this node is none of the cluster any more");

	c->now_ms = now_ms;
	if (!key && !i)
		instance_make_id(c, id);
	if (!i)
		i = register_instance(c, cl, key ? h->instance_id : id);
	take_hello(c, i, h);

	welcome = (struct ecs_node_welcome){.instance_id = i->id,
					    .cluster = i->cluster->name,
					    .region = (char *)(uintptr_t)c->o.identity.region,
					    .account = (char *)(uintptr_t)c->o.identity.account,
					    .report = i->report,
					    .heartbeat_ms = heartbeat_ms,
					    .shares = true,
					    .answers = true};
	effect_send(c, i, ECS_NODE_WELCOME, &welcome);
	peers_send_all(c, i);
	security_groups_send_all(c, i);
	core_task_send_all(c, i);
	*ret_instance = i->id;
	return 0;
}

int core_node_resources(struct core *c, const char *instance, const struct ecs_node_resources *r,
			int64_t now_ms, struct err *e)
{
	struct instance *i = instance_by_id(c, instance);
	auto_json json_t *ids = list_of(&r->gpu_ids);

	if (gpus_check(&r->gpu_ids, e) < 0)
		return err_wrap(e, "node %s", instance);
	if (!i || json_equal(ids, json_object_get(i->record.doc, "_gpuIds")))
		return 0; /* as its hello said */
	c->now_ms = now_ms;
	take_gpus(i, &r->gpu_ids);
	new_version(c, i);
	return 0;
}

void core_node_gone(struct core *c, const char *instance, int64_t now_ms)
{
	struct instance *i = instance_by_id(c, instance);

	if (!i)
		return;
	c->now_ms = now_ms;
	flap_gone(c, i);
	i->connected = false;
	i->gone_ms = now_ms;
	table_update(&i->cluster->table, i);
	(void)json_object_set_new(i->record.doc, "_goneAt", json_integer(now_ms));
	if (c->o.lost_ms)
		core_wake_at(c, now_ms + c->o.lost_ms);
	new_version(c, i);
}

/* Who names none means the node beside the server, or the only one that there is. */
static struct instance *instance_meant(const struct cluster *cl, const char *beside,
				       struct ecs_fault *f)
{
	struct instance *i, *only = NULL;

	for (size_t n = 0; map_next(&cl->instances, &n, &i); only = i)
		if (beside && strcmp(i->id, beside) == 0)
			return i;
	if (only && cl->instances.count == 1)
		return only;
	(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
			    only ? "containerInstance: cluster %s has %zu container instances and "
				   "none beside this server: one must be named."
				 : "No Container Instances were found in your cluster.",
			    cl->name, cl->instances.count);
	return NULL;
}

const char *core_find_instance(struct core *c, const char *cluster, const char *instance,
			       const char *beside, struct ecs_fault *f)
{
	struct cluster *cl = cluster_by_name(c, cluster, f);
	struct instance *i;

	if (!cl)
		return NULL;
	i = instance ? instance_named(cl, c, instance, f) : instance_meant(cl, beside, f);
	if (i && i->connected)
		return i->id;
	if (i)
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "The agent of the container instance is not connected.");
	return NULL;
}

/* ---- show ---- */

static json_t *integer_resource(const char *name, int64_t value)
{
	return json_pack("{s:s, s:s, s:f, s:i, s:I}", "name", name, "type", "INTEGER",
			 "doubleValue", 0.0, "longValue", 0, "integerValue", (json_int_t)value);
}

static json_t *set_resource(const char *name, json_t *own_set)
{
	return json_pack("{s:s, s:s, s:f, s:i, s:i, s:o}", "name", name, "type", "STRINGSET",
			 "doubleValue", 0.0, "longValue", 0, "integerValue", 0, "stringSetValue",
			 own_set);
}

/* The ports that cannot be had: those reserved, and those of tasks if 'used'. */
static json_t *port_resource(const struct instance *i, int protocol, bool used)
{
	json_t *ports = json_array();

	if (protocol == 0)
		(void)json_array_append_new(ports, json_sprintf("%d", RESERVED_PORT));
	for (int port = 0; used && (port = ports_next(&i->ports[protocol], port)) >= 0; port++)
		(void)json_array_append_new(ports, json_sprintf("%d", port));
	return set_resource(protocol ? "PORTS_UDP" : "PORTS", ports);
}

/* All that it has, or what of it is left. */
static json_t *show_resources(const struct instance *i, bool left)
{
	const int64_t used = left;
	json_t *list = json_pack(
		"[o, o, o, o]", integer_resource("CPU", i->cpu_units - used * i->cpu_used),
		integer_resource("MEMORY", i->memory_mib - used * i->memory_used),
		port_resource(i, PROTOCOL_TCP, left), port_resource(i, PROTOCOL_UDP, left));
	json_t *gpus = gpus_show(i, left);

	if (gpus)
		(void)json_array_append_new(list, set_resource("GPU", gpus));
	return list;
}

/* What runs containers is part of the agent: it works where that one answers, and elsewhere nobody knows. */
static json_t *show_health(const struct core *c, const struct instance *i)
{
	const char *status = i->connected ? "OK" : "INSUFFICIENT_DATA";
	json_t *runtime = json_pack("{s:s, s:s}", "type", "CONTAINER_RUNTIME", "status", status);

	doc_set_time(runtime, "lastUpdated", i->connected ? c->now_ms : i->gone_ms);
	doc_set_time(runtime, "lastStatusChange", i->connected ? i->connected_at_ms : i->gone_ms);
	return json_pack("{s:s, s:[o]}", "overallStatus", status, "details", runtime);
}

json_t *instance_show(const struct core *c, const struct instance *i, const json_t *request)
{
	json_t *doc = doc_public(i->record.doc, doc_includes(request, "TAGS"));

	if (doc_includes(request, "CONTAINER_INSTANCE_HEALTH"))
		(void)json_object_set_new(doc, "healthStatus", show_health(c, i));
	drain_show(i, doc);
	(void)json_object_set_new(doc, "registeredResources", show_resources(i, false));
	(void)json_object_set_new(doc, "remainingResources", show_resources(i, true));
	doc_set_string(doc, "capacityProviderName", provider_of(c, i));
	(void)json_object_set_new(doc, "agentConnected", json_boolean(i->connected));
	(void)json_object_set_new(doc, "runningTasksCount", json_integer((json_int_t)i->running));
	(void)json_object_set_new(doc, "pendingTasksCount", json_integer((json_int_t)i->pending));
	return doc;
}

json_t *list_container_instances(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	const char *status = doc_string(request, "status"), *filter = doc_string(request, "filter");
	struct expression *x = NULL;
	struct page page = {0};
	struct instance *i;

	if (!cl || (filter && !(x = expression_parse(filter, f))))
		return NULL;
	if (x && expression_mentions(x, TASK_GROUP))
		table_note_groups(&cl->table);
	for (size_t n = 0; map_next(&cl->instances, &n, &i);)
		if ((!status || str_eq(doc_string(i->record.doc, "status"), status)) &&
		    (!x || need_matches(x, i)))
			page_add(&page, doc_string(i->record.doc, "containerInstanceArn"));
	if (x && expression_gave_up(x)) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Invalid expression: a pattern in it takes too long.");
		expression_free(x);
		page_done(&page);
		return NULL;
	}
	expression_free(x);
	return page_reply(&page, request, false, strcmp, "containerInstanceArns", f);
}

json_t *instance_failure(const struct core *c, const struct cluster *cl, const char *text,
			 const char *reason)
{
	char arn[ECS_ARN_SIZE];

	if (str_starts(text, "arn:"))
		return doc_failure(text, reason);
	ecs_arn_instance(&c->o.identity, cl->name, text, arn);
	return doc_failure(arn, reason);
}

json_t *describe_container_instances(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	json_t *names = json_object_get(request, "containerInstances"), *name;
	json_t *found = json_array(), *failures = json_array();
	auto_json json_t *reply = json_pack("{s:o, s:o}", "containerInstances", found, "failures",
					    failures);
	size_t n;

	if (!cl)
		return NULL;
	if (json_array_size(names) < 1 || json_array_size(names) > DESCRIBE_MAX) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Container instances must have 1 to %d elements.",
				    DESCRIBE_MAX);
		return NULL;
	}
	json_array_foreach (names, n, name) {
		const char *text = json_string_value(name);
		struct ecs_name parsed;
		int r = cluster_parse_name(c, cl, ECS_RESOURCE_INSTANCE, text, &parsed, f);
		struct instance *i = r == 0 ? map_find(&cl->instances, parsed.name) : NULL;

		if (r == CLUSTER_ANOTHER)
			return NULL;
		if (i)
			(void)json_array_append_new(found, instance_show(c, i, request));
		else
			(void)json_array_append_new(failures,
						    instance_failure(c, cl, text, "MISSING"));
	}
	return take_ptr(reply);
}
