/* scheduler/core/placement.c - which of the instances that can take a task does
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/core/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"

#define REQUEST_CONSTRAINTS_MAX 10
#define ATTRIBUTE               "attribute:"

void placement_done(struct placement *p)
{
	for (size_t i = 0; i < p->member_count; i++)
		expression_free(p->members[i]);
	*p = (struct placement){0};
}

/* ---- constraints ---- */

int placement_add_expression(struct placement *p, const char *expression, struct ecs_fault *f)
{
	p->members[p->member_count] = expression_parse(expression, f);
	if (!p->members[p->member_count])
		return -1;
	p->member_count++;
	return 0;
}

int placement_add_constraints(struct placement *p, const json_t *constraints, struct ecs_fault *f)
{
	json_t *constraint;
	size_t i;

	if (json_array_size(constraints) > REQUEST_CONSTRAINTS_MAX)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "placementConstraints can have at most %d items.",
				     REQUEST_CONSTRAINTS_MAX);
	json_array_foreach (constraints, i, constraint) {
		const char *type = doc_string(constraint, "type"),
			   *expression = doc_string(constraint, "expression");

		if (str_eq(type, "distinctInstance")) {
			if (expression)
				return ecs_fault_set(
					f, ECS_FAULT_INVALID_PARAMETER,
					"A distinctInstance placement constraint has no "
					"expression.");
			p->distinct = true;
			continue;
		}
		if (!type || !expression)
			return ecs_fault_set(
				f, ECS_FAULT_INVALID_PARAMETER,
				"A memberOf placement constraint needs an expression.");
		if (placement_add_expression(p, expression, f) < 0)
			return -1;
	}
	return 0;
}

/* Each group that has tasks there, once. */
static void each_group(const struct instance *i, expression_see *fn, void *ctx)
{
	for (size_t n = 0; n < i->groups.used; n++)
		if (i->groups.entries[n].key)
			fn(ctx, i->groups.entries[n].key);
}

/* Values of a subject of the query language, of an instance. */
static void each_value(const void *object, const char *subject, expression_see *fn, void *ctx)
{
	const struct instance *i = object;
	const json_t *doc = i->record.doc;
	char text[40];

	if (str_starts(subject, ATTRIBUTE)) {
		const char *value = attribute_of(i, subject + strlen(ATTRIBUTE));

		if (value)
			fn(ctx, value);
	} else if (str_eq(subject, "task:group")) {
		each_group(i, fn, ctx);
	} else if (str_eq(subject, "agentConnected")) {
		fn(ctx, i->connected ? "true" : "false");
	} else if (str_eq(subject, "agentVersion")) {
		fn(ctx, doc_string(json_object_get(doc, "versionInfo"), "agentVersion"));
	} else if (str_eq(subject, "ec2InstanceId")) {
		fn(ctx, doc_string(doc, "ec2InstanceId"));
	} else if (str_eq(subject, "runningTasksCount")) {
		(void)snprintf(text, sizeof(text), "%zu", i->running);
		fn(ctx, text);
	} else if (str_eq(subject, "registeredAt")) {
		time_t at = (time_t)json_number_value(json_object_get(doc, "registeredAt"));
		struct tm tm;

		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
		fn(ctx, text);
	}
}

bool placement_matches(const struct expression *x, const struct instance *i)
{
	return expression_holds(x, each_value, i);
}

/* Tasks of the group on an instance. */
static size_t count_group(const struct instance *i, const char *group)
{
	return (uintptr_t)map_find(&i->groups, group);
}

const char *placement_refusal(const struct placement *p, const struct instance *i)
{
	for (size_t n = 0; n < p->member_count; n++)
		if (!placement_matches(p->members[n], i))
			return "MemberOf placement constraint unsatisfied.";
	if (p->distinct && count_group(i, p->group))
		return "DistinctInstance placement constraint unsatisfied.";
	return NULL;
}

/* ---- strategies ---- */

int placement_check_strategies(const json_t *strategies, struct ecs_fault *f)
{
	json_t *strategy;
	size_t i;

	if (json_array_size(strategies) > PLACEMENT_STRATEGIES_MAX)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "placementStrategy can have at most %d items.",
				     PLACEMENT_STRATEGIES_MAX);
	json_array_foreach (strategies, i, strategy) {
		const char *type = doc_string(strategy, "type"),
			   *field = doc_string(strategy, "field");
		bool good = false;

		if (str_eq(type, "random"))
			good = !field || !*field;
		else if (str_eq(type, "binpack"))
			good = field &&
			       (strcasecmp(field, "cpu") == 0 || strcasecmp(field, "memory") == 0);
		else if (str_eq(type, "spread"))
			good = field &&
			       (str_eq(field, "instanceId") || str_eq(field, "host") ||
				(str_starts(field, ATTRIBUTE) && field[strlen(ATTRIBUTE)]));
		if (!good)
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "Invalid placement strategy: type '%.40s' with field "
					     "'%.100s'.",
					     type ? type : "", field ? field : "");
	}
	return 0;
}

/* What the instance is told apart by. */
static const char *value_of(const struct instance *i, const char *field)
{
	const char *value = str_starts(field, ATTRIBUTE)
				    ? attribute_of(i, field + strlen(ATTRIBUTE))
				    : i->id;

	return value ? value : "";
}

/* By value: tasks of the group on all instances of the cluster that have it, as a number. */
static struct map count_spread(const struct placement *p, const struct cluster *cl,
			       const char *field)
{
	struct map sums = {0};
	struct instance *i;

	for (size_t n = 0; map_next(&cl->instances, &n, &i);) {
		uintptr_t tasks = count_group(i, p->group);
		const char *value = value_of(i, field);

		if (tasks)
			(void)map_put(&sums, value,
				      (void *)((uintptr_t)map_find(&sums, value) + tasks));
	}
	return sums;
}

/* The less the better. */
static int64_t cost_of(const struct instance *i, const char *field, const struct map *sums)
{
	if (sums)
		return (int64_t)(uintptr_t)map_find(sums, value_of(i, field));
	return strcasecmp(field, "cpu") == 0 ? i->cpu_units - i->cpu_used
					     : i->memory_mib - i->memory_used;
}

/* Keep those that cost least, in front; how many. */
static size_t narrow(const struct placement *p, const json_t *strategy, struct instance **list,
		     size_t count)
{
	const char *field = doc_string(strategy, "field");
	bool spread = str_eq(doc_string(strategy, "type"), "spread");
	struct map sums = {0};
	int64_t best = INT64_MAX;
	size_t kept = 0;

	if (spread)
		sums = count_spread(p, list[0]->cluster, field);
	for (size_t i = 0; i < count; i++) {
		int64_t cost = cost_of(list[i], field, spread ? &sums : NULL);

		if (cost > best)
			continue;
		if (cost < best)
			kept = 0;
		best = cost;
		list[kept++] = list[i];
	}
	map_done(&sums);
	return kept;
}

struct instance *placement_choose(struct core *c, const struct placement *p,
				  struct instance **candidates, size_t count)
{
	json_t *strategy;
	size_t i;

	json_array_foreach (p->strategies, i, strategy) {
		if (str_eq(doc_string(strategy, "type"), "random")) {
			candidates[0] = candidates[core_random_below(c, count)];
			count = 1;
		} else {
			count = narrow(p, strategy, candidates, count);
		}
	}
	return candidates[0];
}
