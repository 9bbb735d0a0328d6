/* scheduler/core/need.c - what a task needs of a container instance, but amounts
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/core/need.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/text.h"
#include "scheduler/core/internal.h"

#define ATTRIBUTE "attribute:"
#define KEY_MAX   (1 << 20) /* of what was checked before: far less */

/* ---- constraints ---- */

/* The expression of a memberOf; NULL with 0: it is distinctInstance. */
static int read_constraint(const json_t *constraint, const char **ret_text, struct ecs_fault *f)
{
	const char *type = doc_string(constraint, "type"),
		   *text = doc_string(constraint, "expression");

	*ret_text = text;
	if (str_eq(type, "distinctInstance")) {
		if (!text)
			return 0;
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "A distinctInstance placement constraint has no expression.");
	}
	if (type && text)
		return 0;
	return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
			     "A memberOf placement constraint needs an expression.");
}

int need_check_constraints(const json_t *constraints, bool *ret_distinct, struct ecs_fault *f)
{
	json_t *constraint;
	const char *text;
	size_t i;

	*ret_distinct = false;
	if (json_array_size(constraints) > CONSTRAINTS_MAX)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "placementConstraints can have at most %d items.",
				     CONSTRAINTS_MAX);
	json_array_foreach (constraints, i, constraint) {
		if (read_constraint(constraint, &text, f) < 0)
			return -1;
		*ret_distinct |= !text;
	}
	return 0;
}

static void free_members(struct need *n)
{
	for (size_t i = 0; i < n->member_count; i++)
		expression_free(n->members[i]);
}

static int add_members(struct need *n, const json_t *constraints, struct ecs_fault *f)
{
	json_t *constraint;
	size_t i;

	json_array_foreach (constraints, i, constraint) {
		const char *text = doc_string(constraint, "expression");

		if (!text)
			continue;
		n->members[n->member_count] = expression_parse(text, f);
		if (!n->members[n->member_count])
			return -1;
		n->member_count++;
	}
	return 0;
}

int need_check_expressions(const json_t *constraints, struct ecs_fault *f)
{
	struct need scratch = {0};
	int r = add_members(&scratch, constraints, f);

	free_members(&scratch);
	return r;
}

/* ---- keys ---- */

static void put_members(struct buf *b, const json_t *constraints)
{
	json_t *constraint;
	size_t i;

	json_array_foreach (constraints, i, constraint) {
		const char *text = doc_string(constraint, "expression");

		if (text)
			buf_printf(b, "\nmember of %s", text);
	}
}

void need_name_definition(struct definition *d)
{
	auto_free char *attributes = NULL;
	const char *cpu = d->parsed.runtime_platform.cpu_architecture;
	const json_t *required = json_object_get(d->record.doc, "requiresAttributes");
	unsigned char digest[SHA256_SIZE];
	auto_buf struct buf b = {0};

	buf_init(&b, KEY_MAX);
	attributes = required ? js_dump(required) : xstrdup("");
	buf_printf(&b, "%s\n%s", cpu ? cpu : "", attributes);
	put_members(&b, json_object_get(d->record.doc, "placementConstraints"));
	sha256_of(buf_str(&b), strlen(buf_str(&b)), digest);
	hex_encode(digest, sizeof(d->need) / 2, d->need);
}

char *need_key(const struct definition *d, const json_t *constraints, const json_t *zones,
	       const char *node_group)
{
	auto_buf struct buf b = {0};
	json_t *zone;
	size_t i;

	buf_init(&b, KEY_MAX);
	buf_puts(&b, d->need);
	put_members(&b, constraints);
	json_array_foreach ((json_t *)(uintptr_t)zones, i, zone)
		buf_printf(&b, "\nin %s", json_string_value(zone));
	if (node_group)
		buf_printf(&b, "\nof %s", node_group);
	return xstrdup(buf_str(&b));
}

/* ---- life ---- */

static bool mentions(const struct need *n, const char *subject)
{
	for (size_t i = 0; i < n->member_count; i++)
		if (expression_mentions(n->members[i], subject))
			return true;
	return false;
}

struct need *need_new(const char *key, const struct definition *d, const json_t *constraints,
		      json_t *own_zones, const char *node_group, struct ecs_fault *f)
{
	const char *cpu = d->parsed.runtime_platform.cpu_architecture;
	struct need *n = xcalloc(1, sizeof(*n));

	n->key = xstrdup(key);
	n->cpu = !cpu ? NULL : str_eq(cpu, "ARM64") ? "arm64" : "x86_64";
	n->attributes = json_incref(json_object_get(d->record.doc, "requiresAttributes"));
	n->zones = own_zones;
	n->node_group = node_group ? xstrdup(node_group) : NULL;
	if (add_members(n, json_object_get(d->record.doc, "placementConstraints"), f) < 0 ||
	    add_members(n, constraints, f) < 0) {
		need_free(n);
		return NULL;
	}
	n->moves = (mentions(n, TASK_GROUP) ? NEED_MOVES_GROUPS : 0) |
		   (mentions(n, "runningTasksCount") ? NEED_MOVES_RUNNING : 0);
	return n;
}

void need_free(struct need *n)
{
	if (!n)
		return;
	free_members(n);
	json_decref(n->attributes);
	json_decref(n->zones);
	free(n->rows);
	free(n->node_group);
	free(n->key);
	free(n);
}

/* ---- of an instance ---- */

static bool has_attribute(const struct instance *i, const char *name, const char *value)
{
	const char *has = attribute_of(i, name);

	return has && (!value || strcmp(has, value) == 0);
}

bool need_has_attributes(const struct need *n, const struct instance *i)
{
	json_t *required;
	size_t k;

	if (n->cpu && !has_attribute(i, "ecs.cpu-architecture", n->cpu))
		return false;
	json_array_foreach (n->attributes, k, required)
		if (!has_attribute(i, doc_string(required, "name"), doc_string(required, "value")))
			return false;
	return true;
}

/* Values of a subject of the query language, of an instance. */
static void each_value(const void *object, const char *subject, expression_see *fn, void *ctx)
{
	const struct instance *i = object;
	const json_t *doc = i->record.doc;
	const char *value = NULL;
	char text[40];

	if (str_starts(subject, ATTRIBUTE)) {
		value = attribute_of(i, subject + strlen(ATTRIBUTE));
	} else if (str_eq(subject, TASK_GROUP)) {
		for (size_t n = 0; n < i->noted_count; n++)
			fn(ctx, i->groups[n]->name);
	} else if (str_eq(subject, "agentConnected")) {
		value = i->connected ? "true" : "false";
	} else if (str_eq(subject, "agentVersion")) {
		value = doc_string(json_object_get(doc, "versionInfo"), "agentVersion");
	} else if (str_eq(subject, "ec2InstanceId")) {
		value = doc_string(doc, "ec2InstanceId");
	} else if (str_eq(subject, "runningTasksCount")) {
		(void)snprintf(text, sizeof(text), "%zu", i->running);
		value = text;
	} else if (str_eq(subject, "registeredAt")) {
		time_t at = (time_t)json_number_value(json_object_get(doc, "registeredAt"));
		struct tm tm;

		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
		value = text;
	}
	if (value)
		fn(ctx, value);
}

bool need_matches(const struct expression *x, const struct instance *i)
{
	return expression_holds(x, each_value, i);
}

static bool is_in_zone(const struct need *n, const struct instance *i)
{
	json_t *zone;
	size_t k;

	json_array_foreach (n->zones, k, zone)
		if (str_eq(json_string_value(zone), instance_zone(i)))
			return true;
	return !n->zones;
}

const char *need_refusal(const struct need *n, const struct instance *i)
{
	if (!is_in_zone(n, i))
		return "LOCATION";
	if (n->node_group && !has_attribute(i, PROVIDER_ATTRIBUTE, n->node_group))
		return "MemberOf placement constraint unsatisfied.";
	for (size_t k = 0; k < n->member_count; k++)
		if (!need_matches(n->members[k], i))
			return "MemberOf placement constraint unsatisfied.";
	return NULL;
}

bool need_is_met(const struct need *n, const struct instance *i)
{
	return need_has_attributes(n, i) && !need_refusal(n, i);
}

void need_set_row(struct need *n, uint32_t row, bool met)
{
	const uint64_t bit = 1ULL << (row % 64);
	size_t from = n->words;

	while (row / 64 >= n->words)
		n->rows = xgrow(n->rows, n->words, &n->words, sizeof(*n->rows));
	if (n->words > from)
		memset(&n->rows[from], 0, (n->words - from) * sizeof(*n->rows));
	n->rows[row / 64] = met ? n->rows[row / 64] | bit : n->rows[row / 64] & ~bit;
}
