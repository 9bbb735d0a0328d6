/* scheduler/core/explain.c - why a task goes where it goes, and not elsewhere
 * SPDX-License-Identifier: Apache-2.0
 *
 * For people who ask, and for refusals: all instances are looked at one by one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/text.h"
#include "scheduler/core/placement.h"

#define ATTRIBUTE "attribute:"
#define BEST_MAX  5 /* candidates that are told of */
#define TELL_SIZE 2000

/* ---- refusals ---- */

static void count_refusal(struct refusals *r, const char *reason)
{
	size_t n = 0;

	while (n < r->count && strcmp(r->items[n].reason, reason) != 0)
		n++;
	if (n == REFUSALS_MAX)
		return;
	r->count += n == r->count;
	r->items[n].reason = reason;
	r->items[n].count++;
}

static int compare_refusals(const void *a, const void *b)
{
	const struct refusal *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return strcmp(x->reason, y->reason);
}

void placement_count_refusals(const struct placement *p, struct refusals *ret)
{
	struct instance *i;

	*ret = (struct refusals){.instances = p->cluster->instances.count};
	for (size_t n = 0; map_next(&p->cluster->instances, &n, &i);) {
		const char *reason = placement_refusal(p, i);

		if (reason)
			count_refusal(ret, reason);
	}
	qsort(ret->items, ret->count, sizeof(ret->items[0]), compare_refusals);
}

/* ECS's words for two of the reasons say little. */
static const char *means(const char *reason)
{
	return str_eq(reason, "INACTIVE") ? " (draining)"
	       : str_eq(reason, "AGENT")  ? " (not connected)"
					  : "";
}

char *placement_tell_refusals(const struct refusals *r)
{
	auto_buf struct buf b = {0};

	buf_init(&b, TELL_SIZE);
	buf_printf(&b, "none of %zu container instances", r->instances);
	for (size_t n = 0; n < r->count; n++)
		buf_printf(&b, "%s %zu %s%s", n ? "," : ":", r->items[n].count, r->items[n].reason,
			   means(r->items[n].reason));
	return xstrdup(buf_str(&b));
}

/* ---- candidates ---- */

struct candidate {
	struct instance *instance;
	int64_t costs[PLACEMENT_STRATEGIES_MAX];
};

/* What strategies narrow one after the other is what is sorted by one after the other. */
static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	for (size_t n = 0; n < PLACEMENT_STRATEGIES_MAX; n++)
		if (x->costs[n] != y->costs[n])
			return x->costs[n] < y->costs[n] ? -1 : 1;
	for (int k = 0; k < FIELDS; k++)
		if (x->instance->left[k] != y->instance->left[k])
			return x->instance->left[k] < y->instance->left[k] ? -1 : 1;
	return x->instance->row < y->instance->row ? -1 : 1;
}

static struct candidate *sorted_candidates(struct placement *p, size_t *ret_count)
{
	auto_free struct instance **all = placement_candidates(p, ret_count);
	struct candidate *list = xcalloc(*ret_count + 1, sizeof(*list));

	for (size_t n = 0; n < *ret_count; n++) {
		list[n].instance = all[n];
		for (size_t k = 0; k < PLACEMENT_STRATEGIES_MAX; k++)
			if (!placement_cost(p, k, all[n], &list[n].costs[k]))
				break;
	}
	qsort(list, *ret_count, sizeof(*list), compare_candidates);
	return list;
}

/*
 * Each strategy with what it saw: "value" is the tasks of the group there, or what is
 * left; of a spread over an attribute "attributeValue" says where.
 */
static json_t *show_strategies(struct placement *p, const struct candidate *x)
{
	json_t *shown = json_array(), *strategy;
	size_t n;

	json_array_foreach (json_object_get(p->request, "placementStrategy"), n, strategy) {
		json_t *copy = json_copy(strategy);

		const char *field = doc_string(strategy, "field");

		(void)json_object_set_new(copy, "value", json_integer(x->costs[n]));
		if (field && str_starts(field, ATTRIBUTE))
			doc_set_string(copy, "attributeValue",
				       attribute_of(x->instance, field + strlen(ATTRIBUTE)));
		(void)json_array_append_new(shown, copy);
	}
	return shown;
}

static json_t *show_candidate(struct placement *p, const struct candidate *x)
{
	const struct instance *i = x->instance;
	const size_t there = p->counted ? task_group_count(p->counted, i->row) : 0;

	return json_pack("{s:O, s:s*, s:i, s:i, s:I, s:o}", "containerInstanceArn",
			 json_object_get(i->record.doc, "containerInstanceArn"), "hostname",
			 doc_string(i->record.doc, "_hostname"), "remainingCpu", i->left[FIELD_CPU],
			 "remainingMemory", i->left[FIELD_MEMORY], "tasksOfGroup",
			 (json_int_t)there, "strategies", show_strategies(p, x));
}

json_t *placement_explain(struct placement *p)
{
	size_t count;
	auto_free struct candidate *list = sorted_candidates(p, &count);
	json_t *best = json_array(), *reasons = json_array();
	struct refusals r;

	placement_count_refusals(p, &r);
	for (size_t n = 0; n < r.count; n++)
		(void)json_array_append_new(reasons,
					    json_pack("{s:s, s:I}", "reason", r.items[n].reason,
						      "count", (json_int_t)r.items[n].count));
	for (size_t n = 0; n < count && n < BEST_MAX; n++)
		(void)json_array_append_new(best, show_candidate(p, &list[n]));
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:o}", "group", p->group, "cpu",
			 (json_int_t)p->demand.cpu_units, "memory",
			 (json_int_t)p->demand.memory_mib, "containerInstances",
			 (json_int_t)r.instances, "candidates", (json_int_t)count, "refusals",
			 reasons, "best", best);
}
