/* scheduler/core/split.c - rows of the placement table by the values of an attribute
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/core/split.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "scheduler/core/internal.h"

#define COST_OF_NEW 16 /* in searches: what orders that nobody has asked for count as */
#define AHEAD       16 /* rows whose memory is asked for before they are looked at: it is far away */

struct split *split_new(const char *attribute, const struct task_group *group)
{
	struct split *s = xcalloc(1, sizeof(*s));

	s->group = group;
	s->attribute = attribute ? xstrdup(attribute) : NULL;
	return s;
}

void split_free(struct split *s)
{
	if (!s)
		return;
	for (int k = 0; k < FIELDS; k++) {
		for (size_t i = 0; i < s->part_count; i++)
			order_done(&s->parts[i].by[k]);
		free(s->by[k].late);
		free(s->by[k].is_late);
	}
	map_done(&s->values);
	free(s->parts);
	free(s->value_of);
	free(s->attribute);
	free(s);
}

/* ---- values ---- */

static void add_part(struct split *s)
{
	s->parts = xgrow(s->parts, s->part_count, &s->part_capacity, sizeof(*s->parts));
	s->parts[s->part_count++] = (struct part){0};
}

static uint32_t index_of_value(struct split *s, const char *value)
{
	uintptr_t found = (uintptr_t)map_find(&s->values, value);

	if (!found) {
		add_part(s);
		found = s->part_count;
		(void)map_put(&s->values, value, (void *)found);
	}
	return (uint32_t)found - 1;
}

static uint32_t index_of(struct split *s, const struct instance *i)
{
	const char *value = s->attribute ? attribute_of(i, s->attribute) : NULL;
	uint32_t count;

	if (!s->group)
		return index_of_value(s, value ? value : "");
	count = task_group_count(s->group, i->row);
	while (s->part_count <= count)
		add_part(s);
	return count;
}

bool split_set_value(struct split *s, const struct instance *i)
{
	const uint32_t index = index_of(s, i);
	uint32_t old;

	while (i->row >= s->capacity) {
		size_t from = s->capacity;

		s->value_of = xgrow(s->value_of, s->capacity, &s->capacity, sizeof(*s->value_of));
		memset(&s->value_of[from], 0, (s->capacity - from) * sizeof(*s->value_of));
	}
	old = s->value_of[i->row];
	s->value_of[i->row] = index;
	return index != old;
}

/* ---- orders ---- */

static struct order_item item_of(const int32_t left[FIELDS], uint64_t met, uint32_t row,
				 enum field field)
{
	return (struct order_item){
		.key = left[field], .other = left[!field], .row = row, .met = met};
}

static bool set_late(struct sorted *by, uint32_t row)
{
	const uint64_t bit = 1ULL << (row % 64);
	size_t from = by->words;

	while (row / 64 >= by->words)
		by->is_late = xgrow(by->is_late, by->words, &by->words, sizeof(*by->is_late));
	if (by->words > from)
		memset(&by->is_late[from], 0, (by->words - from) * sizeof(*by->is_late));
	if (by->is_late[row / 64] & bit)
		return false;
	by->is_late[row / 64] |= bit;
	return true;
}

void split_note(struct split *s, const struct instance *i)
{
	struct part *part = &s->parts[s->value_of[i->row]];

	part->changes++;
	part->last_changed = i;
	for (int k = 0; k < FIELDS; k++) {
		struct sorted *by = &s->by[k];

		if (!by->kept || !set_late(by, i->row))
			continue;
		by->late = xgrow(by->late, by->late_count, &by->late_capacity, sizeof(*by->late));
		by->late[by->late_count++] = (struct late_row){.row = i->row,
							       .value = s->value_of[i->row],
							       .left = {i->left[0], i->left[1]},
							       .met = i->met,
							       .listed = i->listed};
	}
}

static void fetch(const struct instance *i)
{
	if (i)
		__builtin_prefetch(&i->row);
}

/* One that was noted is as it is now. */
static void put_right(struct split *s, const struct late_row *old, const struct instance *i,
		      enum field field)
{
	const struct order_item before = item_of(old->left, old->met, old->row, field);
	const bool listed = i && i->listed;
	struct order_item after;

	if (!listed) {
		if (old->listed)
			order_remove(&s->parts[old->value].by[field], &before);
		return;
	}
	after = item_of(i->left, i->met, i->row, field);
	if (old->listed && old->value == s->value_of[i->row]) {
		order_change(&s->parts[old->value].by[field], &before, &after);
		return;
	}
	if (old->listed)
		order_remove(&s->parts[old->value].by[field], &before);
	order_add(&s->parts[s->value_of[i->row]].by[field], &after);
}

/* Somebody asks for it for the first time. */
static void keep(struct split *s, struct instance *const *rows, size_t row_count, enum field field)
{
	/* by value: where its items begin, then where they end */
	auto_free size_t *at = xcalloc(s->part_count + 1, sizeof(*at));
	auto_free struct order_item *items = xcalloc(row_count + 1, sizeof(*items));

	s->by[field].kept = true;
	for (size_t row = 0; row < row_count; row++) {
		if (row + AHEAD < row_count)
			fetch(rows[row + AHEAD]);
		at[s->value_of[row] + 1] += rows[row] && rows[row]->listed;
	}
	for (size_t v = 0; v < s->part_count; v++)
		at[v + 1] += at[v];
	for (size_t row = 0; row < row_count; row++) {
		const struct instance *i = rows[row];

		if (i && i->listed)
			items[at[s->value_of[row]]++] = item_of(i->left, i->met, i->row, field);
	}
	for (size_t v = 0; v < s->part_count; v++) {
		const size_t begin = v ? at[v - 1] : 0;

		order_fill(&s->parts[v].by[field], &items[begin], at[v] - begin);
	}
}

size_t split_cost(const struct split *s, enum field field)
{
	return s->by[field].kept ? s->by[field].late_count + s->part_count : COST_OF_NEW;
}

const struct order *split_order(struct split *s, struct instance *const *rows, size_t row_count,
				size_t value, enum field field)
{
	struct sorted *by = &s->by[field];

	if (!by->kept)
		keep(s, rows, row_count, field);
	for (size_t n = 0; n < by->late_count; n++) {
		const struct late_row *old = &by->late[n];

		if (n + AHEAD < by->late_count)
			fetch(rows[by->late[n + AHEAD].row]);
		by->is_late[old->row / 64] &= ~(1ULL << (old->row % 64));
		put_right(s, old, rows[old->row], field);
	}
	by->late_count = 0;
	return value < s->part_count && s->parts[value].by[field].count ? &s->parts[value].by[field]
									: NULL;
}
