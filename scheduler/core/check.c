/* scheduler/core/check.c - does what the core decides by agree with the documents?
 * SPDX-License-Identifier: Apache-2.0
 *
 * Everything is counted again from the documents, as slowly and plainly as can be.
 * Tests call it after what they did; the daemon never does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"

/* What an instance should have in use, by the documents of its tasks. */
struct account {
	int64_t cpu, memory, gpus, interfaces;
	size_t running, pending, tasks;
	struct ports ports[PROTOCOLS];
};

static void add_task(struct account *a, const struct task *t)
{
	const struct definition *d = t->kind->definition;

	a->tasks++;
	a->running += t->last_status == TASK_RUNNING;
	a->pending += t->last_status < TASK_RUNNING;
	if ((t->last_status == TASK_STOPPED && !t->held) || !d)
		return;
	a->cpu += t->kind->demand.cpu_units;
	a->memory += t->kind->demand.memory_mib;
	a->gpus += t->kind->demand.gpus;
	a->interfaces += d->interfaces;
	for (size_t k = 0; k < d->host_port_count; k++)
		ports_set(&a->ports[d->host_ports[k].protocol], d->host_ports[k].port, true);
}

static int compare(const struct instance *i, const char *what, int64_t has, int64_t should,
		   struct err *e)
{
	return has == should ? 0
			     : err_set(e, EUCLEAN, "instance %s: %s is %lld, and %lld by documents",
				       i->id, what, (long long)has, (long long)should);
}

static int compare_ports(const struct instance *i, const struct account *a, struct err *e)
{
	for (int k = 0; k < PROTOCOLS; k++) {
		int has = -1, should = -1;

		do {
			has = ports_next(&i->ports[k], has + 1);
			should = ports_next(&a->ports[k], should + 1);
			if (compare(i, "a host port in use", has, should, e) < 0)
				return -EUCLEAN;
		} while (has >= 0);
	}
	return 0;
}

static int compare_account(const struct instance *i, const struct account *a, struct err *e)
{
	const json_t *doc = i->record.doc;
	const struct {
		const char *what;
		int64_t has, should;
	} rows[] = {
		{"CPU", i->cpu_units, doc_integer(doc, "_cpu", 0)},
		{"memory", i->memory_mib, doc_integer(doc, "_memory", 0)},
		{"CPU in use", i->cpu_used, a->cpu},
		{"memory in use", i->memory_used, a->memory},
		{"GPUs in use", gpus_used(i), a->gpus},
		{"interfaces in use", i->interfaces_used, a->interfaces},
		{"running", (int64_t)i->running, (int64_t)a->running},
		{"pending", (int64_t)i->pending, (int64_t)a->pending},
		{"number of tasks", (int64_t)i->task_count, (int64_t)a->tasks},
		{"ACTIVE", i->active, str_eq(doc_string(doc, "status"), "ACTIVE")},
		{"quiet", i->quiet, doc_integer(doc, "_quietUntil", 0) != 0},
	};

	for (size_t k = 0; k < ARRAY_COUNT(rows); k++)
		if (compare(i, rows[k].what, rows[k].has, rows[k].should, e) < 0)
			return -EUCLEAN;
	return compare_ports(i, a, e);
}

static int check_account(const struct core *c, const struct instance *i, struct err *e)
{
	struct account a = {0};
	int r;

	for (const struct task *t = task_at(c, i->first_task); t; t = task_at(c, t->next_there))
		add_task(&a, t);
	r = compare_account(i, &a, e);
	for (int k = 0; k < PROTOCOLS; k++)
		ports_done(&a.ports[k]);
	return r;
}

/* ---- tasks: from here on they are what their documents say ---- */

static int check_document(struct core *c, struct task *t, const void *brief, size_t size,
			  struct err *e)
{
	const json_t *doc = task_doc(c, t);
	const char *instance = doc_string(doc, "_instance");
	auto_free void *should = NULL;
	size_t should_size;

	if (t->instance != map_find(&t->kind->cluster->instances, instance))
		return err_set(e, EUCLEAN, "it is not on %s", instance);
	should = brief_of_doc(doc, t->instance ? instance : NULL, &should_size, e);
	if (!should)
		return -EUCLEAN;
	if (size != should_size || memcmp(brief, should, size) != 0)
		return err_set(e, EUCLEAN, "its document is another: %s", t->kind->key);
	return 0;
}

static uint64_t hash_of(const uint8_t *bytes, size_t size)
{
	uint64_t hash = 14695981039346656037ULL;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 1099511628211ULL;
	return hash;
}

/* Its brief is that of its document; unless neither can have changed since they were compared. */
static int check_task(struct core *c, struct task *t, struct err *e)
{
	size_t size;
	auto_free void *brief = brief_of_task(t, &size);
	uint64_t hash = hash_of(brief, size);

	if (t->checked && c->checked[t->number] == hash)
		return 0;
	if (check_document(c, t, brief, size, e) < 0)
		return -EUCLEAN;
	t->checked = true;
	c->checked[t->number] = hash;
	return 0;
}

static void make_room(struct core *c)
{
	const size_t count = (size_t)c->roster.used + 1;

	if (count > c->checked_count) {
		c->checked_count = 2 * count;
		c->checked = xrealloc(c->checked, c->checked_count, sizeof(*c->checked));
	}
}

static int check_tasks(struct core *c, struct err *e)
{
	struct task *t;

	make_room(c);
	for (uint32_t n = 0; (t = roster_next(&c->roster, &n)); task_docs_trim(c)) {
		if (check_task(c, t, e) < 0) {
			auto_free char *key = task_key(t);

			return err_wrap(e, "%s", key);
		}
	}
	return 0;
}

/* ---- the table ---- */

struct one_row {
	uint32_t row;
};

static bool is_row(void *ctx, const struct order_item *x)
{
	return x->row == ((const struct one_row *)ctx)->row;
}

static int check_order(const struct instance *i, const struct order *o, enum field field,
		       struct err *e)
{
	struct one_row one = {i->row};
	const struct order_query q = {
		i->left[field], i->left[!field], i->met, NULL, is_row, &one,
	};
	struct order_item found;

	if (!order_first(o, &q, &found) || found.key != i->left[field] ||
	    found.other != i->left[!field] || found.met != i->met)
		return err_set(e, EUCLEAN, "instance %s is not in its order", i->id);
	return 0;
}

static int check_split(const struct split *s, const struct instance *i, struct err *e)
{
	const char *value = s->attribute ? attribute_of(i, s->attribute) : NULL;
	size_t index = s->group ? task_group_count(s->group, i->row)
				: (uintptr_t)map_find(&s->values, value ? value : "") - 1;

	if (index != s->value_of[i->row])
		return err_set(e, EUCLEAN, "instance %s: another value of %s", i->id,
			       s->group ? s->group->name : s->attribute);
	for (int k = 0; i->listed && k < FIELDS; k++)
		if (s->by[k].kept && check_order(i, &s->parts[index].by[k], (enum field)k, e) < 0)
			return -EUCLEAN;
	return 0;
}

static int check_row(const struct table *t, const struct instance *i, struct err *e)
{
	int32_t left[FIELDS];
	uint64_t bits = 0;

	if (t->rows[i->row] != i || i->listed != place_is_open(i))
		return err_set(e, EUCLEAN, "instance %s is listed wrongly", i->id);
	place_left(i, left);
	if (i->listed && memcmp(left, i->left, sizeof(left)) != 0)
		return err_set(e, EUCLEAN, "instance %s is listed with another amount", i->id);
	for (size_t k = 0; i->listed && k < t->need_count; k++) {
		const struct need *n = t->needs[k];
		const bool met = n && need_is_met(n, i);

		if (n && met != need_has_row(n, i->row))
			return err_set(e, EUCLEAN, "instance %s: need %s", i->id, n->key);
		bits |= (uint64_t)met << (k % NEED_BITS);
	}
	bits |= table_gpu_bits(gpus_free(i));
	if (i->listed && bits != i->met)
		return err_set(e, EUCLEAN, "instance %s: its bits are wrong", i->id);
	for (int k = 0; k < SPLITS_MAX; k++)
		if (t->splits[k] && check_split(t->splits[k], i, e) < 0)
			return -EUCLEAN;
	for (size_t k = 0; k < t->crowd_count; k++)
		if (check_split(t->crowds[k], i, e) < 0)
			return -EUCLEAN;
	return 0;
}

/* No order has more rows than are listed.  It is brought up to date, as if it was asked for. */
static int check_counts(const struct table *t, struct split *s, struct err *e)
{
	for (int field = 0; s && field < FIELDS; field++) {
		size_t count = 0;

		if (!s->by[field].kept)
			continue;
		(void)table_order(t, s, 0, (enum field)field);
		for (size_t v = 0; v < s->part_count; v++)
			count += s->parts[v].by[field].count;
		if (count != t->listed)
			return err_set(e, EUCLEAN, "%zu rows in an order, %zu are listed", count,
				       t->listed);
	}
	return 0;
}

static int check_splits(const struct table *t, struct err *e)
{
	for (int k = 0; k < SPLITS_MAX; k++)
		if (check_counts(t, t->splits[k], e) < 0)
			return -EUCLEAN;
	for (size_t k = 0; k < t->crowd_count; k++)
		if (check_counts(t, t->crowds[k], e) < 0)
			return -EUCLEAN;
	return 0;
}

/* ---- groups ---- */

static int check_spread(const struct cluster *cl, const struct task_group *g, int k, struct err *e)
{
	const struct split *s = cl->table.splits[k];
	const struct group_spread *spread = &g->spreads[k];
	size_t sum = 0;

	if (!s || spread->serial != s->serial)
		return 0;
	for (size_t v = 0; v < spread->count; v++) {
		size_t count = 0;

		for (uint32_t n = 0; n < g->slot_count; n++)
			if (s->value_of[g->slots[n].row] == v)
				count += g->slots[n].count;
		if (count != spread->counts[v])
			return err_set(e, EUCLEAN, "group %s has %zu tasks of a value, not %u",
				       g->name, count, spread->counts[v]);
		sum += count;
	}
	return sum == g->tasks ? 0 : err_set(e, EUCLEAN, "group %s: a value is missing", g->name);
}

static int check_group(const struct core *c, const struct cluster *cl, const struct task_group *g,
		       struct err *e)
{
	size_t count = 0, rows = 0;
	struct instance *i;

	for (size_t n = 0; map_next(&cl->instances, &n, &i);) {
		uint32_t there = 0;
		bool noted = false;
		const bool notes = cl->table.groups_noted;

		for (const struct task *t = task_at(c, i->first_task); t;
		     t = task_at(c, t->next_there))
			there += t->last_status != TASK_STOPPED && t->kind->group == g;
		for (size_t k = 0; k < i->noted_count; k++)
			noted |= i->groups[k] == g;
		if (task_group_count(g, i->row) != there || noted != (notes && there > 0) ||
		    (notes && i->noted_count != i->group_count))
			return err_set(e, EUCLEAN, "instance %s has %u tasks of group %s", i->id,
				       there, g->name);
		count += there;
		rows += there > 0;
	}
	if (count != g->tasks || rows != g->rows)
		return err_set(e, EUCLEAN, "group %s has %zu tasks", g->name, count);
	for (int k = 0; g->spreads && k < SPLITS_MAX; k++)
		if (check_spread(cl, g, k, e) < 0)
			return -EUCLEAN;
	return 0;
}

static int check_holder(const struct core *c, const struct instance *i, struct err *e)
{
	const bool has_blocks = i->vpcs.count, is_holder = map_find(&c->block_holders, i->id);

	return has_blocks == is_holder
		       ? 0
		       : err_set(e, EUCLEAN,
				 "instance %s has blocks, or has none, and is not listed so",
				 i->id);
}

static int check_cluster(const struct core *c, const struct cluster *cl, struct err *e)
{
	struct task_group *g;
	struct instance *i;

	if (check_splits(&cl->table, e) < 0)
		return -EUCLEAN;
	for (size_t n = 0; map_next(&cl->instances, &n, &i);)
		if (check_account(c, i, e) < 0 || check_row(&cl->table, i, e) < 0 ||
		    check_holder(c, i, e) < 0)
			return -EUCLEAN;
	for (size_t n = 0; map_next(&cl->table.groups, &n, &g);)
		if (check_group(c, cl, g, e) < 0)
			return -EUCLEAN;
	return 0;
}

int core_check(struct core *c, struct err *e)
{
	struct cluster *cl;

	if (check_tasks(c, e) < 0)
		return -EUCLEAN;
	for (size_t n = 0; map_next(&c->clusters, &n, &cl);)
		if (check_cluster(c, cl, e) < 0)
			return err_wrap(e, "cluster %s", cl->name);
	return 0;
}
