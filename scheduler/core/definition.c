/* scheduler/core/definition.c - task definitions: families and their revisions
 * SPDX-License-Identifier: Apache-2.0
 *
 * A revision number is never given out twice in a family, not even after its
 * definition was deleted: the family's record remembers the last one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"

#define DELETE_MAX 10

static const char *const statuses[] = {"ACTIVE", "INACTIVE", "DELETE_IN_PROGRESS"};

struct family *family_named(struct core *c, const char *name)
{
	struct family *family = map_find(&c->families, name);

	if (family)
		return family;
	family = xcalloc(1, sizeof(*family));
	family->name = xstrdup(name);
	record_init(&family->record, json_pack("{s:s, s:i}", "family", name, "last", 0),
		    "family/%s", name);
	(void)map_put(&c->families, name, family);
	return family;
}

static void definition_free(struct definition *d)
{
	record_done(&d->record);
	arena_done(&d->arena);
	free(d->host_ports);
	free(d->name);
	free(d);
}

void family_free(struct family *family)
{
	for (size_t i = 0; i < family->count; i++)
		definition_free(family->revisions[i]);
	free(family->revisions);
	record_done(&family->record);
	free(family->name);
	free(family);
}

/* The document becomes an object of its family; the document is consumed on success only. */
static struct definition *add_definition(struct core *c, json_t *doc, struct err *e)
{
	struct definition *d = xcalloc(1, sizeof(*d));
	const char *status = doc_string(doc, "status");

	if (ecs_task_definition_decode(doc, &d->arena, &d->parsed, e) < 0 || !d->parsed.family ||
	    d->parsed.revision < 1) {
		arena_done(&d->arena);
		free(d);
		return NULL;
	}
	d->family = family_named(c, d->parsed.family);
	d->revision = (uint32_t)d->parsed.revision;
	d->status = str_eq(status, "ACTIVE")     ? DEFINITION_ACTIVE
		    : str_eq(status, "INACTIVE") ? DEFINITION_INACTIVE
						 : DEFINITION_DELETED;
	d->name = xasprintf("%s:%u", d->family->name, d->revision);
	record_init(&d->record, doc, "definition/%s:%010u", d->family->name, d->revision);
	place_name_demand(d);
	need_name_definition(d);

	d->family->revisions = xgrow(d->family->revisions, d->family->count, &d->family->capacity,
				     sizeof(struct definition *));
	d->family->revisions[d->family->count++] = d;
	return d;
}

int definition_load(struct core *c, json_t *own_doc, struct err *e)
{
	return add_definition(c, own_doc, e) ? 0 : -EUCLEAN;
}

int family_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *name = doc_string(own_doc, "family");
	struct family *family;

	if (!name)
		return err_set(e, EUCLEAN, "has no name");
	family = family_named(c, name);
	json_decref(family->record.doc);
	family->record.doc = own_doc;
	return 0;
}

static struct definition *latest_active(const struct family *family)
{
	for (size_t i = family->count; i; i--)
		if (family->revisions[i - 1]->status == DEFINITION_ACTIVE)
			return family->revisions[i - 1];
	return NULL;
}

struct definition *definition_find(struct core *c, const char *text, struct ecs_fault *f)
{
	struct ecs_name name;
	struct family *family;

	if (ecs_name_parse(&c->o.identity, ECS_RESOURCE_TASK_DEFINITION, text, &name, f) < 0)
		return NULL;
	family = map_find(&c->families, name.name);
	if (!family)
		return NULL;
	if (!name.revision)
		return latest_active(family);
	for (size_t i = 0; i < family->count; i++)
		if (family->revisions[i]->revision == name.revision)
			return family->revisions[i];
	return NULL;
}

/* ---- register ---- */

static void require(json_t *list, bool needed, const char *name)
{
	if (needed)
		(void)json_array_append_new(list, json_pack("{s:s}", "name", name));
}

/* What a node must offer; it becomes "requiresAttributes". */
static json_t *required_attributes(const struct ecs_task_definition *t)
{
	json_t *list = json_array();
	bool awslogs = false, json_file = false, privileged = false, port_range = false;

	for (size_t i = 0; i < t->containers.count; i++) {
		const struct ecs_container_definition *d =
			JS_AT(t->containers, struct ecs_container_definition, i);

		privileged |= d->privileged;
		for (size_t k = 0; k < d->port_mappings.count; k++)
			port_range |= JS_AT(d->port_mappings, struct ecs_port_mapping, k)
					      ->container_port_range != NULL;
		if (d->log_configuration) {
			awslogs |= str_eq(d->log_configuration->log_driver, "awslogs");
			json_file |= str_eq(d->log_configuration->log_driver, "json-file");
		}
	}
	require(list, awslogs, "com.amazonaws.ecs.capability.logging-driver.awslogs");
	require(list, json_file, "com.amazonaws.ecs.capability.logging-driver.json-file");
	require(list, privileged, "com.amazonaws.ecs.capability.privileged-container");
	require(list, str_eq(t->network_mode, "awsvpc"), "ecs.capability.task-eni");
	require(list, port_range, "ecs.capability.network.container-port-range");
	require(list, t->ephemeral_storage.size_gib, "ecs.capability.extensible-ephemeral-storage");
	return list;
}

static int check_placement(const json_t *constraints, struct ecs_fault *f)
{
	bool distinct;

	if (need_check_constraints(constraints, &distinct, f) == 0 &&
	    need_check_expressions(constraints, f) == 0)
		return 0;
	f->type = ECS_FAULT_CLIENT;
	return -1;
}

static int check_new(struct core *c, const json_t *request, struct ecs_task_definition *ret,
		     struct arena *a, struct ecs_fault *f)
{
	auto_free char *text = js_dump(request);
	struct err e = {0};

	if (strlen(text) > ECS_DEFINITION_SIZE)
		return ecs_fault_set(f, ECS_FAULT_CLIENT,
				     "Task definition is larger than %d bytes.",
				     ECS_DEFINITION_SIZE);
	if (ecs_task_definition_decode(request, a, ret, &e) < 0)
		return ecs_fault_set(f, ECS_FAULT_CLIENT, "%s", e.msg);
	if (ecs_task_definition_check(ret, c->o.identity.region, f) < 0 ||
	    check_placement(json_object_get(request, "placementConstraints"), f) < 0)
		return -1;
	return tags_check(json_object_get(request, "tags"), f);
}

json_t *register_task_definition(struct core *c, json_t *request, struct ecs_fault *f)
{
	auto_arena struct arena scratch = {0};
	struct ecs_task_definition t;
	struct family *family;
	struct definition *d;
	struct err e = {0};
	char arn[ECS_ARN_SIZE];
	json_t *doc, *reply;
	uint32_t revision;
	int64_t size;

	if (check_new(c, request, &t, &scratch, f) < 0)
		return NULL;

	family = family_named(c, t.family);
	revision = (uint32_t)doc_integer(family->record.doc, "last", 0) + 1;
	ecs_arn_task_definition(&c->o.identity, t.family, revision, arn);

	doc = json_deep_copy(request);
	ecs_task_definition_set_defaults(doc);
	doc_set_string(doc, "taskDefinitionArn", arn);
	(void)json_object_set_new(doc, "revision", json_integer(revision));
	doc_set_string(doc, "status", "ACTIVE");
	if (t.cpu && ecs_parse_cpu(t.cpu, &size))
		(void)json_object_set_new(doc, "cpu", json_sprintf("%lld", (long long)size));
	if (t.memory && ecs_parse_memory(t.memory, &size))
		(void)json_object_set_new(doc, "memory", json_sprintf("%lld", (long long)size));
	(void)json_object_set_new(doc, "requiresAttributes", required_attributes(&t));
	(void)json_object_set_new(doc, "compatibilities", json_pack("[s, s]", "EXTERNAL", "EC2"));
	doc_set_time(doc, "registeredAt", c->now_ms);
	(void)json_object_set_new(doc, "registeredBy",
				  json_sprintf("arn:aws:iam::%s:root", c->o.identity.account));

	d = add_definition(c, doc, &e);
	if (!d) {
		json_decref(doc);
		(void)ecs_fault_set(f, ECS_FAULT_CLIENT, "%s", e.msg);
		return NULL;
	}
	(void)json_object_set_new(family->record.doc, "last", json_integer(revision));
	record_touch(c, &family->record);
	record_touch(c, &d->record);

	reply = json_pack("{s:o}", "taskDefinition", doc_public(doc, false));
	if (json_object_get(request, "tags"))
		(void)json_object_set(reply, "tags", json_object_get(request, "tags"));
	return reply;
}

/* ---- describe, list ---- */

json_t *describe_task_definition(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct definition *d = definition_find(c, doc_string(request, "taskDefinition"), f);
	json_t *reply, *tags;

	if (!d) {
		(void)ecs_fault_set(f, ECS_FAULT_CLIENT, "Unable to describe task definition.");
		return NULL;
	}
	reply = json_pack("{s:o}", "taskDefinition", doc_public(d->record.doc, false));
	if (doc_includes(request, "TAGS")) {
		tags = json_object_get(d->record.doc, "tags");
		(void)json_object_set_new(reply, "tags",
					  tags ? json_deep_copy(tags) : json_array());
	}
	return reply;
}

/* Up to the last colon; what a caller's token has may have none. */
static size_t family_len(const char *arn)
{
	const char *colon = strrchr(arn, ':');

	return colon ? (size_t)(colon - arn) : strlen(arn);
}

static unsigned long revision_in(const char *arn, size_t len)
{
	return arn[len] ? strtoul(arn + len + 1, NULL, 10) : 0;
}

/* By family, then by number: "…/web:9" before "…/web:10". */
static int compare_arns(const char *a, const char *b)
{
	size_t len_a = family_len(a), len_b = family_len(b);
	size_t len = len_a < len_b ? len_a : len_b;
	int r = strncmp(a, b, len);
	unsigned long rev_a, rev_b;

	if (r || len_a != len_b)
		return r ? r : len_a < len_b ? -1 : 1;
	rev_a = revision_in(a, len);
	rev_b = revision_in(b, len);
	return rev_a < rev_b ? -1 : rev_a > rev_b;
}

json_t *list_task_definitions(struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *prefix = doc_string(request, "familyPrefix");
	const char *status = doc_string(request, "status");
	struct page page = {0};
	struct family *family;

	for (size_t i = 0; map_next(&c->families, &i, &family);) {
		if (prefix &&
		    strcmp(family->name, prefix) != 0) /* a whole name, whatever it is called */
			continue;
		for (size_t j = 0; j < family->count; j++)
			if (str_eq(statuses[family->revisions[j]->status],
				   status ? status : "ACTIVE"))
				page_add(&page, doc_string(family->revisions[j]->record.doc,
							   "taskDefinitionArn"));
	}
	return page_reply(&page, request, str_eq(doc_string(request, "sort"), "DESC"), compare_arns,
			  "taskDefinitionArns", f);
}

json_t *list_task_definition_families(struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *prefix = doc_string(request, "familyPrefix");
	const char *status = doc_string(request, "status");
	struct page page = {0};
	struct family *family;

	for (size_t i = 0; map_next(&c->families, &i, &family);) {
		bool active = latest_active(family) != NULL;

		if (!family->count || (prefix && !str_starts(family->name, prefix)) ||
		    (str_eq(status, "ACTIVE") && !active) || (str_eq(status, "INACTIVE") && active))
			continue;
		page_add(&page, family->name);
	}
	return page_reply(&page, request, false, strcmp, "families", f);
}

/* ---- deregister, delete ---- */

json_t *deregister_task_definition(struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *text = doc_string(request, "taskDefinition");
	struct definition *d;
	struct ecs_name name;

	if (ecs_name_parse(&c->o.identity, ECS_RESOURCE_TASK_DEFINITION, text, &name, f) < 0)
		return NULL;
	if (!name.revision) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER, "Revision is missing.");
		return NULL;
	}
	d = definition_find(c, text, f);
	if (!d || d->status != DEFINITION_ACTIVE) {
		(void)ecs_fault_set(
			f, ECS_FAULT_CLIENT,
			"The specified task definition does not exist. Specify a valid account, "
			"family, revision and try again.");
		return NULL;
	}
	d->status = DEFINITION_INACTIVE;
	doc_set_string(d->record.doc, "status", statuses[d->status]);
	doc_set_time(d->record.doc, "deregisteredAt", c->now_ms);
	record_touch(c, &d->record);
	return json_pack("{s:o}", "taskDefinition", doc_public(d->record.doc, false));
}

static const char *delete_refusal(const struct definition *d)
{
	if (!d)
		return "The specified task definition does not exist. Specify a valid account, family, "
		       "revision and try again.";
	if (d->status == DEFINITION_ACTIVE)
		return "The specified task definition is still in ACTIVE status. Please deregister the "
		       "target and try again.";
	return NULL;
}

json_t *delete_task_definitions(struct core *c, json_t *request, struct ecs_fault *f)
{
	json_t *names = json_object_get(request, "taskDefinitions"), *name;
	json_t *deleted = json_array(), *failures = json_array(), *reply;
	size_t i;

	reply = json_pack("{s:o, s:o}", "taskDefinitions", deleted, "failures", failures);
	if (json_array_size(names) < 1 || json_array_size(names) > DELETE_MAX) {
		json_decref(reply);
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Task definitions must have 1 to %d elements.", DELETE_MAX);
		return NULL;
	}
	json_array_foreach (names, i, name) {
		struct definition *d = definition_find(c, json_string_value(name), f);
		const char *refusal = delete_refusal(d);

		if (refusal) {
			(void)json_array_append_new(failures,
						    doc_failure(json_string_value(name), refusal));
			continue;
		}
		d->status = DEFINITION_DELETED;
		doc_set_string(d->record.doc, "status", statuses[d->status]);
		doc_set_time(d->record.doc, "deleteRequestedAt", c->now_ms);
		record_touch(c, &d->record);
		(void)json_array_append_new(deleted, doc_public(d->record.doc, false));
	}
	return reply;
}

void definitions_tick(struct core *c)
{
	struct family *family;

	for (size_t i = 0; map_next(&c->families, &i, &family);) {
		size_t kept = 0;

		for (size_t j = 0; j < family->count; j++) {
			struct definition *d = family->revisions[j];

			if (d->status != DEFINITION_DELETED || d->tasks) {
				family->revisions[kept++] = d;
				continue;
			}
			kinds_forget(c, d); /* of tasks that have ended */
			record_delete(c, &d->record);
			definition_free(d);
		}
		family->count = kept;
	}
}
