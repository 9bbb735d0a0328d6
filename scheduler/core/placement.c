/* scheduler/core/placement.c - which of the container instances that can take a task does
 * SPDX-License-Identifier: Apache-2.0
 *
 * The orders of the table (table.h) give the first row that has enough memory and
 * CPU and meets the need; what else may stand against a row (a host port, a task
 * of the same group) is asked of the rows that come up, and those passed over.
 *
 * Spread over an attribute looks at the values in the order of how many tasks of
 * the group they have.  Spread over instances looks for one that has none of the
 * group, and if each has some, among those of the group.
 */
#include "scheduler/core/placement.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

#define ATTRIBUTE    "attribute:"
#define RANDOM_TRIES 64 /* before all that can be had are listed */

/* ---- strategies ---- */

enum kind { KIND_SPREAD_ATTRIBUTE, KIND_SPREAD_INSTANCE, KIND_BINPACK, KIND_RANDOM };

struct strategy {
	enum kind kind;
	const char *attribute;
	enum field field;
};

static int parse_strategy(const json_t *doc, struct strategy *ret, struct ecs_fault *f)
{
	const char *type = doc_string(doc, "type"), *field = doc_string(doc, "field");

	*ret = (struct strategy){.kind = KIND_RANDOM};
	if (str_eq(type, "random") && (!field || !*field))
		return 0;
	if (str_eq(type, "binpack") && field &&
	    (strcasecmp(field, "cpu") == 0 || strcasecmp(field, "memory") == 0)) {
		ret->kind = KIND_BINPACK;
		ret->field = strcasecmp(field, "cpu") == 0 ? FIELD_CPU : FIELD_MEMORY;
		return 0;
	}
	if (str_eq(type, "spread") && (str_eq(field, "instanceId") || str_eq(field, "host"))) {
		ret->kind = KIND_SPREAD_INSTANCE;
		return 0;
	}
	if (str_eq(type, "spread") && field && str_starts(field, ATTRIBUTE) &&
	    field[strlen(ATTRIBUTE)]) {
		ret->kind = KIND_SPREAD_ATTRIBUTE;
		ret->attribute = field + strlen(ATTRIBUTE);
		return 0;
	}
	return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
			     "Invalid placement strategy: type '%.40s' with field '%.100s'.",
			     type ? type : "", field ? field : "");
}

static void add_strategy(struct plan *plan, const struct strategy *s, bool *packed)
{
	switch (s->kind) {
	case KIND_SPREAD_ATTRIBUTE:
		plan->one_by_one |= plan->attribute || plan->by_instance || *packed;
		plan->attribute = s->attribute;
		return;
	case KIND_SPREAD_INSTANCE:
		plan->one_by_one |= *packed;
		plan->by_instance = true;
		return;
	case KIND_BINPACK:
		/* A second one decides between those that have the same of the first. */
		plan->field = *packed ? plan->field : s->field;
		*packed = true;
		return;
	case KIND_RANDOM:
		plan->one_by_one |= plan->attribute || plan->by_instance || *packed;
		plan->random = true;
		return;
	}
}

static int make_plan(const json_t *strategies, struct plan *ret, struct ecs_fault *f)
{
	struct strategy s;
	bool packed = false;
	json_t *doc;
	size_t i;

	*ret = (struct plan){.field = FIELD_MEMORY};
	if (json_array_size(strategies) > PLACEMENT_STRATEGIES_MAX)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "placementStrategy can have at most %d items.",
				     PLACEMENT_STRATEGIES_MAX);
	json_array_foreach (strategies, i, doc) {
		if (parse_strategy(doc, &s, f) < 0)
			return -1;
		if (!ret->random) /* behind it one is left */
			add_strategy(ret, &s, &packed);
	}
	return 0;
}

/* ---- prepare ---- */

static const json_t *strategies_of(const struct placement *p)
{
	return json_object_get(p->request, "placementStrategy");
}

static int find_need(struct placement *p, const json_t *constraints, struct ecs_fault *f)
{
	auto_json json_t *zones = interface_zones(p->core, p->request);
	auto_free char *key = need_key(p->definition, constraints, zones, p->node_group);
	struct table *t = &p->cluster->table;

	p->need = table_need(t, key);
	if (p->need)
		return 0;
	p->need = need_new(key, p->definition, constraints, take_ptr(zones), p->node_group, f);
	if (!p->need)
		return -1;
	table_add_need(t, p->need);
	return 0;
}

int placement_prepare(struct placement *p, struct ecs_fault *f)
{
	const json_t *constraints = json_object_get(p->request, "placementConstraints");
	bool distinct = false;

	if (make_plan(strategies_of(p), &p->plan, f) < 0 ||
	    need_check_constraints(constraints, &p->distinct, f) < 0 ||
	    need_check_constraints(
		    json_object_get(p->definition->record.doc, "placementConstraints"), &distinct,
		    f) < 0)
		return -1;
	p->distinct |= distinct;
	p->public_address = interface_wants_public(p->request);
	return find_need(p, constraints, f);
}

/* ---- refusal ---- */

static size_t count_group(const struct placement *p, const struct instance *i)
{
	const struct task_group *g = map_find(&p->cluster->table.groups, p->group);

	return g ? task_group_count(g, i->row) : 0;
}

static bool lacks_public(const struct placement *p, const struct instance *i)
{
	return p->public_address && !interface_has_public(p->core, i);
}

const char *placement_refusal(const struct placement *p, const struct instance *i)
{
	const char *refusal;

	if (place_is_open(i) && !need_has_attributes(p->need, i))
		return "ATTRIBUTE";
	refusal = place_refusal(i, p->definition, &p->demand);
	if (!refusal && lacks_public(p, i))
		refusal = "RESOURCE:ENI";
	if (!refusal)
		refusal = need_refusal(p->need, i);
	if (!refusal && p->distinct && count_group(p, i))
		refusal = "DistinctInstance placement constraint unsatisfied.";
	return refusal;
}

/* ---- the search ---- */

static uint32_t count_of(const uint32_t *counts, size_t value)
{
	return counts ? counts[value] : 0;
}

struct search {
	struct placement *p;
	struct table *table;
	struct task_group *group;   /* NULL: it has no tasks */
	int32_t wanted[FIELDS];     /* of each */
	bool avoid_group;           /* what has tasks of it does not fit */
	size_t skipped;             /* because of it */
	const struct split *values; /* only those whose value has 'level' tasks fit; NULL: all do */
	const uint32_t *counts;
	uint32_t level;
	struct instance **all; /* NULL, or what fits is listed here and passed over */
	size_t count;
};

static bool fits(void *ctx, const struct order_item *x)
{
	struct search *s = ctx;
	struct instance *i = s->table->rows[x->row];

	__builtin_prefetch(&i->cluster); /* the line of it that is looked at in the end */
	if (!need_has_row(s->p->need, x->row))
		return false; /* it has the bit for another one */
	if (s->avoid_group && s->group && task_group_count(s->group, x->row)) {
		s->skipped++;
		return false;
	}
	if (s->values && count_of(s->counts, s->values->value_of[x->row]) != s->level)
		return false;
	if (place_shortage(i, s->p->definition, &s->p->demand) || lacks_public(s->p, i))
		return false;
	if (!s->all)
		return true;
	s->all[s->count++] = i;
	return false;
}

static bool is_before(const struct order_item *a, const struct order_item *b)
{
	if (a->key != b->key)
		return a->key < b->key;
	return a->other != b->other ? a->other < b->other : a->row < b->row;
}

/* The first in an order that fits; not before 'from', if there is one. */
static bool find_first(struct search *s, const struct order *o, const struct order_item *from,
		       struct order_item *ret)
{
	const enum field field = s->p->plan.field;
	const struct order_query q = {.key = s->wanted[field],
				      .other = s->wanted[!field],
				      .met = 1ULL << s->p->need->bit |
					     table_gpu_bits(s->p->demand.gpus),
				      .from = from,
				      .fits = fits,
				      .ctx = s};

	return o && order_first(o, &q, ret);
}

static bool has_enough(const struct search *s, const struct instance *i)
{
	return i->listed && i->left[FIELD_CPU] >= s->wanted[FIELD_CPU] &&
	       i->left[FIELD_MEMORY] >= s->wanted[FIELD_MEMORY] && need_has_row(s->p->need, i->row);
}

static struct order_item item_of(const struct search *s, const struct instance *i)
{
	const enum field field = s->p->plan.field;

	return (struct order_item){i->left[field], i->left[!field], i->row, i->met};
}

/* ---- by values ---- */

/* Has nothing changed there but the one that was found, which has no more than it had? */
static bool is_known(const struct search *s, const struct found *found, const struct part *part)
{
	const enum field field = s->p->plan.field;
	const struct instance *i = found->instance;

	if (!i || found->changes == part->changes)
		return i;
	return found->changes + 1 == part->changes && part->last_changed == i &&
	       i->left[field] <= found->at.key && i->left[!field] <= found->at.other;
}

/* The first of a value, by what was found there before. */
static bool first_of_value(struct search *s, struct split *split, size_t v, struct order_item *ret)
{
	struct found *found = v < VALUES_KNOWN && split == s->p->split ? &s->p->found[v] : NULL;
	const struct part *part = &split->parts[v];
	const bool known = found && is_known(s, found, part);

	if (known && has_enough(s, found->instance)) {
		*ret = item_of(s, found->instance);
		if (fits(s, ret)) {
			found->changes = part->changes;
			return true;
		}
	}
	if (!find_first(s, table_order(s->table, split, v, s->p->plan.field),
			known ? &found->at : NULL, ret))
		return false;
	if (found)
		*found = (struct found){s->table->rows[ret->row], *ret, part->changes};
	return true;
}

/* Of the values that have this many tasks. */
static struct instance *first_of_level(struct search *s, struct split *split,
				       const uint32_t *counts, uint32_t level)
{
	struct order_item item, best = {0};
	bool found = false;

	for (size_t v = 0; v < split->part_count; v++) {
		if (count_of(counts, v) != level || !first_of_value(s, split, v, &item) ||
		    (found && !is_before(&item, &best)))
			continue;
		best = item;
		found = true;
	}
	return found ? s->table->rows[best.row] : NULL;
}

/* The same, of the instances that have tasks of the group: the one that has fewest. */
static struct instance *fewest_of_level(struct search *s, const struct split *split,
					const uint32_t *counts, uint32_t level)
{
	struct order_item best_item = {0};
	uint32_t fewest = UINT32_MAX;
	struct instance *best = NULL;

	s->skipped += s->group ? s->group->slot_count : 0;
	for (uint32_t n = 0; s->group && n < s->group->slot_count; n++) {
		const struct group_slot *slot = &s->group->slots[n];
		struct instance *i;
		struct order_item x;

		/* the instance is looked at last: its memory is far away */
		if (!slot->count || slot->count > fewest ||
		    count_of(counts, split->value_of[slot->row]) != level ||
		    !need_has_row(s->p->need, slot->row))
			continue;
		i = s->table->rows[slot->row];
		if (!has_enough(s, i))
			continue;
		x = item_of(s, i);
		if ((slot->count == fewest && !is_before(&x, &best_item)) || !fits(s, &x))
			continue;
		fewest = slot->count;
		best_item = x;
		best = i;
	}
	return best;
}

/* The same of a group that is on many rows: by how many tasks of it they have. */
static struct instance *first_of_crowd(struct search *s, struct split *crowd, struct split *split,
				       const uint32_t *counts, uint32_t level)
{
	struct order_item item = {0};
	bool found = false;

	if (counts)
		s->values = split;
	s->counts = counts;
	s->level = level;
	for (size_t n = 0; !found && n < (s->p->distinct ? 1 : crowd->part_count); n++)
		found = find_first(s, table_order(s->table, crowd, n, s->p->plan.field), NULL,
				   &item);
	s->values = NULL;
	return found ? s->table->rows[item.row] : NULL;
}

static struct instance *choose_of_level(struct search *s, struct split *split,
					const uint32_t *counts, uint32_t level)
{
	const bool apart = s->p->distinct || s->p->plan.by_instance;
	struct split *crowd = apart && s->group ? table_crowd(s->table, s->group) : NULL;
	struct instance *i;

	if (crowd)
		return first_of_crowd(s, crowd, split, counts, level);
	s->avoid_group = apart;
	i = first_of_level(s, split, counts, level);
	if (i || s->p->distinct || !s->p->plan.by_instance)
		return i;
	s->avoid_group = false;
	return fewest_of_level(s, split, counts, level);
}

/* The least number of tasks that a value has, of those from 'level' on; false: there is none. */
static bool next_level(const struct split *split, const uint32_t *counts, uint32_t *level)
{
	uint32_t least = UINT32_MAX;
	bool found = false;

	for (size_t v = 0; v < split->part_count; v++) {
		uint32_t count = count_of(counts, v);

		if (count >= *level && count <= least) {
			least = count;
			found = true;
		}
	}
	*level = least;
	return found;
}

/* By the attribute of the plan. */
static struct split *split_of(struct search *s)
{
	struct placement *p = s->p;

	if (p->split && p->splits_made == s->table->splits_made)
		return p->split;
	p->split = table_split(s->table, p->plan.attribute);
	p->splits_made = s->table->splits_made;
	memset(p->found, 0, sizeof(p->found));
	return p->split;
}

static struct instance *choose_by_levels(struct search *s)
{
	const struct plan *plan = &s->p->plan;
	struct split *split = plan->attribute ? split_of(s) : table_whole(s->table, plan->field);
	const uint32_t *counts = plan->attribute ? table_spread(s->table, s->group, split) : NULL;
	struct instance *i = NULL;

	for (uint32_t level = 0; !i && next_level(split, counts, &level); level++)
		i = choose_of_level(s, split, counts, level);
	if (s->group)
		s->group->skipped += s->skipped;
	return i;
}

/* ---- one by one ---- */

/* All that fit, in their order. */
static void find_all(struct search *s)
{
	struct split *whole = table_split(s->table, NULL);
	struct order_item ignored;

	s->all = xcalloc(s->table->listed + 1, sizeof(struct instance *));
	s->count = 0;
	s->avoid_group = s->p->distinct;
	(void)find_first(s, table_order(s->table, whole, 0, s->p->plan.field), NULL, &ignored);
}

/* The less the better. */
static int64_t cost_of(struct search *s, const struct strategy *by, struct instance *i)
{
	struct split *split;
	const uint32_t *counts;

	if (by->kind == KIND_BINPACK)
		return i->left[by->field];
	if (!s->group)
		return 0;
	if (by->kind == KIND_SPREAD_INSTANCE)
		return task_group_count(s->group, i->row);
	split = table_split(s->table, by->attribute);
	counts = table_spread(s->table, s->group, split);
	return counts[split->value_of[i->row]];
}

/* Keep those that cost least, in front. */
static void narrow(struct search *s, const struct strategy *by)
{
	int64_t least = INT64_MAX;
	size_t kept = 0;

	if (by->kind == KIND_RANDOM) {
		s->all[0] = s->all[core_random_below(s->p->core, s->count)];
		s->count = 1;
		return;
	}
	for (size_t n = 0; n < s->count; n++) {
		int64_t cost = cost_of(s, by, s->all[n]);

		if (cost > least)
			continue;
		if (cost < least)
			kept = 0;
		least = cost;
		s->all[kept++] = s->all[n];
	}
	s->count = kept;
}

static struct instance *choose_one_by_one(struct search *s)
{
	auto_free struct instance **all = NULL;
	struct strategy by;
	struct ecs_fault f;
	json_t *doc;
	size_t i;

	find_all(s);
	all = s->all;
	if (!s->count)
		return NULL;
	json_array_foreach (strategies_of(s->p), i, doc) {
		(void)parse_strategy(doc, &by, &f); /* it was checked */
		narrow(s, &by);
	}
	return s->all[0];
}

/* Where nothing stands against most of them the first tries find one. */
static struct instance *choose_random(struct search *s)
{
	s->avoid_group = s->p->distinct;
	for (int n = 0; n < RANDOM_TRIES && s->table->row_count; n++) {
		struct instance *i =
			s->table->rows[core_random_below(s->p->core, s->table->row_count)];
		const struct order_item x = {.row = i ? i->row : 0};

		if (i && has_enough(s, i) && fits(s, &x))
			return i;
	}
	return choose_one_by_one(s);
}

/* ---- choose ---- */

static int32_t bounded(int64_t amount)
{
	return amount > PLACE_AMOUNT_MAX ? INT32_MAX : (int32_t)amount;
}

static struct search begin(struct placement *p)
{
	struct table *t = &p->cluster->table;

	if (!p->counted)
		p->counted = map_find(&t->groups, p->group);
	return (struct search){.p = p,
			       .table = t,
			       .group = p->counted,
			       .wanted = {[FIELD_CPU] = bounded(p->demand.cpu_units),
					  [FIELD_MEMORY] = bounded(p->demand.memory_mib)}};
}

/*
 * Tasks that are packed one after the other go to the same instance until it is
 * full: it was the first, those before it still cannot have one, and it has come
 * no later in the order by what it has taken since.
 */
static bool is_still_first(struct search *s)
{
	const struct placement *p = s->p;
	const struct instance *i = p->last;
	const struct table *t = s->table;
	const struct order_item x = {.row = i ? i->row : 0};

	if (!i || p->plan.one_by_one || p->plan.random || p->plan.attribute ||
	    p->plan.by_instance || p->distinct)
		return false;
	if (t->changes - p->last_changes > 1 ||
	    (t->changes != p->last_changes && t->last_changed != i))
		return false;
	return i->left[FIELD_CPU] <= p->last_left[FIELD_CPU] &&
	       i->left[FIELD_MEMORY] <= p->last_left[FIELD_MEMORY] && has_enough(s, i) &&
	       fits(s, &x);
}

static struct instance *choose(struct search *s)
{
	if (is_still_first(s))
		return s->p->last;
	if (s->p->plan.one_by_one)
		return choose_one_by_one(s);
	return s->p->plan.random ? choose_random(s) : choose_by_levels(s);
}

struct instance *placement_choose(struct placement *p)
{
	struct search s = begin(p);
	struct instance *i = choose(&s);

	p->last = i;
	p->last_changes = s.table->changes;
	if (i)
		memcpy(p->last_left, i->left, sizeof(i->left));
	return i;
}

struct instance **placement_candidates(struct placement *p, size_t *ret_count)
{
	struct search s = begin(p);

	find_all(&s);
	*ret_count = s.count;
	return s.all;
}

bool placement_cost(struct placement *p, size_t n, struct instance *i, int64_t *ret)
{
	struct search s = begin(p);
	struct strategy by;
	struct ecs_fault f;

	if (n >= json_array_size(strategies_of(p)))
		return false;
	(void)parse_strategy(json_array_get(strategies_of(p), n), &by, &f);
	if (by.kind == KIND_RANDOM)
		return false;
	*ret = cost_of(&s, &by, i);
	return true;
}
