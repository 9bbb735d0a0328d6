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
		p->members[p->member_count] = expression_parse(expression, f);
		if (!p->members[p->member_count])
			return -1;
		p->member_count++;
	}
	return 0;
}

static void each_group(const struct instance *i, expression_see *fn, void *ctx)
{
	struct task *t;

	for (size_t n = 0; map_next(&i->cluster->tasks, &n, &t);)
		if (t->instance == i && t->last_status != TASK_STOPPED)
			fn(ctx, doc_string(t->record.doc, "group"));
}

/* Values of a subject of the query language, of an instance. */
static void each_value(const void *object, const char *subject, expression_see *fn, void *ctx)
{
	const struct instance *i = object;
	const json_t *doc = i->record.doc;
	char text[40];
	json_t *a;
	size_t n;

	if (str_starts(subject, ATTRIBUTE)) {
		json_array_foreach (json_object_get(doc, "attributes"), n, a)
			if (str_eq(doc_string(a, "name"), subject + strlen(ATTRIBUTE)))
				fn(ctx, doc_string(a, "value") ? doc_string(a, "value") : "");
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

struct same_group {
	const char *group;
	size_t count;
};

static void count_same(void *ctx, const char *group)
{
	struct same_group *s = ctx;

	s->count += str_eq(s->group, group);
}

/* Tasks of the group on an instance. */
static size_t count_group(const struct instance *i, const char *group)
{
	struct same_group s = {.group = group};

	each_group(i, count_same, &s);
	return s.count;
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

struct first_value {
	char text[256];
	bool found;
};

static void take_first(void *ctx, const char *value)
{
	struct first_value *v = ctx;

	if (!v->found)
		(void)snprintf(v->text, sizeof(v->text), "%s", value);
	v->found = true;
}

/* What the instance is told apart by. */
static struct first_value value_of(const struct instance *i, const char *field)
{
	struct first_value v = {.text = ""};

	if (str_starts(field, ATTRIBUTE))
		each_value(i, field, take_first, &v);
	else
		take_first(&v, i->id);
	return v;
}

/* Tasks of the group on all instances of the cluster with this value. */
static size_t count_spread(const struct placement *p, const struct instance *of, const char *field)
{
	const struct first_value value = value_of(of, field);
	struct instance *i;
	size_t count = 0;

	for (size_t n = 0; map_next(&of->cluster->instances, &n, &i);)
		if (strcmp(value_of(i, field).text, value.text) == 0)
			count += count_group(i, p->group);
	return count;
}

/* The less the better. */
static int64_t cost_of(const struct placement *p, const struct instance *i, const json_t *strategy)
{
	const char *field = doc_string(strategy, "field");

	if (str_eq(doc_string(strategy, "type"), "spread"))
		return (int64_t)count_spread(p, i, field);
	return strcasecmp(field, "cpu") == 0 ? i->cpu_units - i->cpu_used
					     : i->memory_mib - i->memory_used;
}

/* Keep those that cost least, in front; how many. */
static size_t narrow(const struct placement *p, const json_t *strategy, struct instance **list,
		     size_t count)
{
	int64_t best = INT64_MAX;
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		int64_t cost = cost_of(p, list[i], strategy);

		if (cost > best)
			continue;
		if (cost < best)
			kept = 0;
		best = cost;
		list[kept++] = list[i];
	}
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
