/* scheduler/core/task_group.c - on which container instances the tasks of a group are
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/core/task_group.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "scheduler/core/table.h"

#define SLOTS_MIN 4

void task_group_free(struct task_group *g)
{
	for (size_t i = 0; g->spreads && i < SPLITS_MAX; i++)
		free(g->spreads[i].counts);
	free(g->spreads);
	free(g->slots);
	free(g->name);
	free(g);
}

static uint32_t home_of(const struct task_group *g, uint32_t row)
{
	return row * 2654435769u & (g->slot_count - 1);
}

/* The slot of the row, or the free one where it would go. */
static uint32_t slot_of(const struct task_group *g, uint32_t row)
{
	uint32_t at = home_of(g, row);

	while (g->slots[at].count && g->slots[at].row != row)
		at = (at + 1) & (g->slot_count - 1);
	return at;
}

uint32_t task_group_count(const struct task_group *g, uint32_t row)
{
	return g->slot_count ? g->slots[slot_of(g, row)].count : 0;
}

static void grow(struct task_group *g)
{
	struct group_slot *old = g->slots;
	uint32_t old_count = g->slot_count;

	g->slot_count = old_count ? old_count * 2 : SLOTS_MIN;
	g->slots = xcalloc(g->slot_count, sizeof(*g->slots));
	for (uint32_t i = 0; i < old_count; i++)
		if (old[i].count)
			g->slots[slot_of(g, old[i].row)] = old[i];
	free(old);
}

/* Those behind a slot that became free come nearer to where they belong. */
static void close_gap(struct task_group *g, uint32_t gap)
{
	const uint32_t mask = g->slot_count - 1;

	for (uint32_t at = (gap + 1) & mask; g->slots[at].count; at = (at + 1) & mask) {
		uint32_t home = home_of(g, g->slots[at].row);

		if (((at - home) & mask) < ((at - gap) & mask))
			continue; /* it is not farther from home than the gap is */
		g->slots[gap] = g->slots[at];
		g->slots[at].count = 0;
		gap = at;
	}
}

uint32_t task_group_add(struct task_group *g, uint32_t row, int by)
{
	struct group_slot *slot;
	uint32_t at;

	if (g->rows * 3 >= g->slot_count * 2)
		grow(g);
	at = slot_of(g, row);
	slot = &g->slots[at];
	assert(by > 0 || slot->count);
	g->rows += !slot->count;
	g->tasks += (size_t)by;
	slot->row = row;
	slot->count += (uint32_t)by;
	if (slot->count)
		return slot->count;
	g->rows--;
	close_gap(g, at);
	return 0;
}
