/* scheduler/core/table.c - what placement knows of the container instances of a cluster
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/core/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "scheduler/core/internal.h"

#define BLOCK       32 /* instances */
#define CROWD_COST  8 /* rows that can be passed over in the time that a split takes for each row */
#define PARTS_SPARE 64 /* values of a split that no row has any more, beyond as many as rows */

/* ---- memory of instances ---- */

static void add_block(struct table *t)
{
	struct instance *block = aligned_alloc(CACHE_LINE, BLOCK * sizeof(*block));

	if (!block)
		abort();
	t->blocks = xgrow(t->blocks, t->block_count, &t->block_capacity, sizeof(*t->blocks));
	t->blocks[t->block_count++] = block;
	for (int n = BLOCK; n--;) {
		block[n].next_dirty = t->unused;
		t->unused = &block[n];
	}
}

struct instance *table_new_instance(struct table *t)
{
	struct instance *i;

	if (!t->unused)
		add_block(t);
	i = t->unused;
	t->unused = i->next_dirty;
	memset(i, 0, sizeof(*i));
	return i;
}

void table_free_instance(struct table *t, struct instance *i)
{
	i->next_dirty = t->unused;
	t->unused = i;
}

/* ---- listed rows ---- */

static void judge(struct need *n, const struct instance *i)
{
	need_set_row(n, i->row, need_is_met(n, i));
}

/* These bits of needs anew, the others as they were. */
static uint64_t bits_of(const struct table *t, const struct instance *i, uint64_t bits)
{
	uint64_t met = i->met & ~bits;

	for (; bits; bits &= bits - 1) {
		const unsigned bit = (unsigned)__builtin_ctzll(bits);

		for (size_t k = bit; k < t->need_count && !(met >> bit & 1); k += NEED_BITS)
			if (t->needs[k] && need_has_row(t->needs[k], i->row))
				met |= 1ULL << bit;
	}
	return met;
}

/* Those of GPUs anew. */
static uint64_t with_gpus(const struct instance *i, uint64_t met)
{
	return (met & ~table_gpu_bits(GPU_BITS)) | table_gpu_bits(gpus_free(i));
}

/* Before it changes. */
static void note(struct table *t, const struct instance *i)
{
	t->changes++;
	t->last_changed = i;
	for (int k = 0; k < SPLITS_MAX; k++)
		if (t->splits[k])
			split_note(t->splits[k], i);
	for (size_t k = 0; k < t->crowd_count; k++)
		split_note(t->crowds[k], i);
}

static void list(struct table *t, struct instance *i)
{
	note(t, i);
	i->listed = true;
	t->listed++;
	place_left(i, i->left);
	for (size_t k = 0; k < t->need_count; k++)
		if (t->needs[k])
			judge(t->needs[k], i);
	i->met = with_gpus(i, bits_of(t, i, ~table_gpu_bits(GPU_BITS)));
}

static void unlist(struct table *t, struct instance *i)
{
	note(t, i);
	i->listed = false;
	t->listed--;
}

/* A listed row is different from now on. */
static void relist(struct table *t, struct instance *i, const int32_t left[FIELDS], uint64_t met)
{
	if (memcmp(i->left, left, sizeof(i->left)) == 0 && i->met == met)
		return;
	note(t, i);
	memmove(i->left, left, sizeof(i->left));
	i->met = met;
}

/* Needs that move with something of the row that has changed. */
static void judge_again(struct table *t, struct instance *i, unsigned moves)
{
	uint64_t bits = 0;

	if (!i->listed || !t->moving)
		return;
	for (size_t k = 0; k < t->need_count; k++) {
		if (!t->needs[k] || !(t->needs[k]->moves & moves))
			continue;
		judge(t->needs[k], i);
		bits |= 1ULL << (k % NEED_BITS);
	}
	relist(t, i, i->left, bits_of(t, i, bits));
}

/* ---- splits ---- */

/* The row is not listed. */
static void set_value(struct table *t, struct split *s, const struct instance *i)
{
	if (split_set_value(s, i) && i->group_count)
		s->serial = ++t->clock; /* groups have to count it anew */
}

/* The place of the one that was not asked for longest; never that of the first. */
static struct split **oldest_split(struct table *t)
{
	struct split **oldest = &t->splits[1];

	for (int i = 1; i < SPLITS_MAX; i++) {
		if (!t->splits[i])
			return &t->splits[i];
		if (t->splits[i]->used < (*oldest)->used)
			oldest = &t->splits[i];
	}
	return oldest;
}

static struct split *new_split(struct table *t, const char *attribute, struct task_group *g)
{
	struct split *s = split_new(attribute, g);

	s->serial = ++t->clock;
	for (size_t row = 0; row < t->row_count; row++)
		if (t->rows[row])
			set_value(t, s, t->rows[row]);
	return s;
}

static struct split **find_split(struct table *t, const char *attribute)
{
	if (!attribute)
		return &t->splits[0];
	for (int i = 1; i < SPLITS_MAX; i++)
		if (t->splits[i] && strcmp(t->splits[i]->attribute, attribute) == 0)
			return &t->splits[i];
	return oldest_split(t);
}

static bool is_good(const struct table *t, const struct split *s, const char *attribute)
{
	return s && (!attribute || strcmp(s->attribute, attribute) == 0) &&
	       s->part_count <= 2 * t->row_count + PARTS_SPARE;
}

struct split *table_split(struct table *t, const char *attribute)
{
	struct split **place = find_split(t, attribute);

	if (!is_good(t, *place, attribute)) {
		split_free(*place);
		*place = new_split(t, attribute, NULL);
		t->splits_made++;
	}
	(*place)->used = ++t->clock;
	return *place;
}

struct split *table_whole(struct table *t, enum field field)
{
	struct split *best = table_split(t, NULL);

	for (int i = 1; i < SPLITS_MAX; i++)
		if (t->splits[i] && split_cost(t->splits[i], field) < split_cost(best, field))
			best = t->splits[i];
	return best;
}

static struct split **oldest_crowd(struct table *t)
{
	struct split **oldest = &t->crowds[0];

	if (t->crowd_count < CROWDS_MAX)
		return &t->crowds[t->crowd_count++];
	for (size_t k = 1; k < t->crowd_count; k++)
		if (t->crowds[k]->used < (*oldest)->used)
			oldest = &t->crowds[k];
	return oldest;
}

struct split *table_crowd(struct table *t, struct task_group *g)
{
	struct split **place = NULL;

	for (size_t k = 0; !place && k < t->crowd_count; k++)
		if (t->crowds[k]->group == g)
			place = &t->crowds[k];
	if (!place && g->skipped <= CROWD_COST * t->listed)
		return NULL;
	if (!place) {
		g->skipped = 0;
		place = oldest_crowd(t);
		split_free(*place);
		*place = new_split(t, NULL, g);
	}
	(*place)->used = ++t->clock;
	return *place;
}

/* The group is on a row more, or on one less. */
static void count_crowd(struct table *t, const struct task_group *g, const struct instance *i)
{
	for (size_t k = 0; k < t->crowd_count; k++) {
		if (t->crowds[k]->group != g)
			continue;
		split_note(t->crowds[k], i);
		(void)split_set_value(t->crowds[k], i);
	}
}

static void drop_crowd(struct table *t, const struct task_group *g)
{
	for (size_t k = 0; k < t->crowd_count; k++) {
		if (t->crowds[k]->group != g)
			continue;
		split_free(t->crowds[k]);
		t->crowds[k] = t->crowds[--t->crowd_count];
		t->crowds[t->crowd_count] = NULL;
		return;
	}
}

const struct order *table_order(const struct table *t, struct split *s, size_t value,
				enum field field)
{
	return split_order(s, t->rows, t->row_count, value, field);
}

/* ---- rows ---- */

void table_done(struct table *t)
{
	struct task_group *g;

	for (size_t i = 0; i < t->need_count; i++)
		need_free(t->needs[i]);
	for (int i = 0; i < SPLITS_MAX; i++)
		split_free(t->splits[i]);
	for (size_t i = 0; i < t->crowd_count; i++)
		split_free(t->crowds[i]);
	for (size_t i = 0; map_next(&t->groups, &i, &g);)
		task_group_free(g);
	map_done(&t->groups);
	map_done(&t->needs_by_key);
	for (size_t i = 0; i < t->block_count; i++)
		free(t->blocks[i]);
	free(t->blocks);
	free(t->rows);
	free(t->free_rows);
}

static void set_values(struct table *t, const struct instance *i)
{
	for (int k = 0; k < SPLITS_MAX; k++)
		if (t->splits[k])
			set_value(t, t->splits[k], i);
	for (size_t k = 0; k < t->crowd_count; k++)
		set_value(t, t->crowds[k], i);
}

void table_add(struct table *t, struct instance *i)
{
	if (t->free_count) {
		i->row = t->free_rows[--t->free_count];
	} else {
		t->rows = xgrow(t->rows, t->row_count, &t->row_capacity, sizeof(struct instance *));
		i->row = (uint32_t)t->row_count++;
	}
	t->rows[i->row] = i;
	set_values(t, i);
	table_update(t, i);
}

void table_remove(struct table *t, struct instance *i)
{
	assert(!i->group_count);
	if (i->listed)
		unlist(t, i);
	t->rows[i->row] = NULL;
	t->free_rows = xgrow(t->free_rows, t->free_count, &t->free_capacity, sizeof(*t->free_rows));
	t->free_rows[t->free_count++] = i->row;
}

void table_update(struct table *t, struct instance *i)
{
	int32_t left[FIELDS];

	if (!place_is_open(i)) {
		if (i->listed)
			unlist(t, i);
	} else if (!i->listed) {
		list(t, i);
	} else {
		place_left(i, left);
		relist(t, i, left, with_gpus(i, i->met));
	}
}

void table_describe(struct table *t, struct instance *i)
{
	if (i->listed)
		unlist(t, i);
	set_values(t, i);
	table_update(t, i);
}

void table_recount(struct table *t, struct instance *i)
{
	judge_again(t, i, NEED_MOVES_RUNNING);
}

/* ---- groups of tasks ---- */

static void note_group(struct instance *i, struct task_group *g)
{
	i->groups = xgrow(i->groups, i->noted_count, &i->noted_capacity,
			  sizeof(struct task_group *));
	i->groups[i->noted_count++] = g;
}

static void forget_group(struct instance *i, const struct task_group *g)
{
	size_t n = 0;

	while (i->groups[n] != g)
		n++;
	i->groups[n] = i->groups[--i->noted_count];
}

void table_note_groups(struct table *t)
{
	struct task_group *g;

	for (size_t k = 0; !t->groups_noted && map_next(&t->groups, &k, &g);)
		for (uint32_t n = 0; n < g->slot_count; n++)
			if (g->slots[n].count)
				note_group(t->rows[g->slots[n].row], g);
	t->groups_noted = true;
}

static void count_spreads(struct table *t, struct task_group *g, uint32_t row, int by)
{
	for (int k = 0; g->spreads && k < SPLITS_MAX; k++) {
		const struct split *s = t->splits[k];
		struct group_spread *spread = &g->spreads[k];

		if (s && spread->serial == s->serial && s->value_of[row] < spread->count)
			spread->counts[s->value_of[row]] += (uint32_t)by;
		else
			spread->serial = 0; /* it is counted again when it is asked for */
	}
}

struct task_group *table_group(struct table *t, const char *name)
{
	struct task_group *g = map_find(&t->groups, name);

	if (!g) {
		g = xcalloc(1, sizeof(*g));
		g->name = xstrdup(name);
		(void)map_put(&t->groups, name, g);
	}
	g->users++;
	return g;
}

void table_release(struct table *t, struct task_group *g)
{
	if (--g->users)
		return;
	assert(!g->tasks);
	drop_crowd(t, g);
	(void)map_remove(&t->groups, g->name);
	task_group_free(g);
}

void table_count(struct table *t, struct instance *i, struct task_group *g, int by)
{
	uint32_t there;

	there = task_group_add(g, i->row, by);
	count_spreads(t, g, i->row, by);
	count_crowd(t, g, i);
	if (there && (by < 0 || there != (uint32_t)by))
		return; /* it had some before, and has some */
	i->group_count += there ? 1 : -1;
	if (t->groups_noted && there)
		note_group(i, g);
	else if (t->groups_noted)
		forget_group(i, g);
	judge_again(t, i, NEED_MOVES_GROUPS);
	if (!g->tasks)
		drop_crowd(t, g);
}

static void count_anew(const struct task_group *g, const struct split *s,
		       struct group_spread *spread)
{
	free(spread->counts);
	*spread = (struct group_spread){.serial = s->serial, .count = s->part_count};
	spread->counts = xcalloc(s->part_count + 1, sizeof(*spread->counts));
	for (uint32_t n = 0; n < g->slot_count; n++)
		if (g->slots[n].count)
			spread->counts[s->value_of[g->slots[n].row]] += g->slots[n].count;
}

const uint32_t *table_spread(struct table *t, struct task_group *g, const struct split *s)
{
	int k = 0;

	if (!g)
		return NULL;
	if (!g->spreads)
		g->spreads = xcalloc(SPLITS_MAX, sizeof(*g->spreads));
	while (t->splits[k] != s)
		k++;
	if (g->spreads[k].serial != s->serial || g->spreads[k].count < s->part_count)
		count_anew(g, s, &g->spreads[k]);
	return g->spreads[k].counts;
}

/* ---- needs ---- */

struct need *table_need(struct table *t, const char *key)
{
	struct need *n = map_find(&t->needs_by_key, key);

	if (n)
		n->used = ++t->clock;
	return n;
}

/* A free place, or that of the one that was not asked for longest. */
static size_t place_for_need(struct table *t)
{
	size_t oldest = 0;

	for (size_t k = 0; k < t->need_count; k++) {
		if (!t->needs[k])
			return k;
		if (t->needs[k]->used < t->needs[oldest]->used)
			oldest = k;
	}
	return t->need_count < NEEDS_MAX ? t->need_count++ : oldest;
}

static void drop_need(struct table *t, size_t place)
{
	struct need *n = t->needs[place];

	if (!n)
		return;
	(void)map_remove(&t->needs_by_key, n->key);
	need_free(n);
	t->needs[place] = NULL;
}

void table_add_need(struct table *t, struct need *own_need)
{
	const size_t place = place_for_need(t);
	struct need *n = own_need;

	drop_need(t, place);
	t->needs[place] = n;
	(void)map_put(&t->needs_by_key, n->key, n);
	n->bit = (unsigned)(place % NEED_BITS);
	n->used = ++t->clock;
	t->moving |= n->moves != 0;
	if (n->moves & NEED_MOVES_GROUPS)
		table_note_groups(t);
	for (size_t row = 0; row < t->row_count; row++) {
		struct instance *i = t->rows[row];

		if (!i || !i->listed)
			continue;
		judge(n, i);
		relist(t, i, i->left, bits_of(t, i, 1ULL << n->bit));
	}
}
