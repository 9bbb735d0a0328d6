/* scheduler/core/roster.c - all tasks, by number and by id
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tasks lie in blocks that never move, in the order of their numbers, and a number that
 * is free again is given to the next one: what is done to all of them is done in an order
 * that depends on nothing but the events.  Ids are drawn by us and not chosen by callers,
 * so the first bytes of one are its hash.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/core/task.h"

#define SLOTS_MIN 64

static size_t home_of(const struct roster *r, const uint8_t *id)
{
	uint64_t hash;

	memcpy(&hash, id, sizeof(hash));
	return hash & (r->slot_count - 1);
}

static struct task *at(const struct roster *r, uint32_t number)
{
	return &r->blocks[(number - 1) / ROSTER_BLOCK][(number - 1) % ROSTER_BLOCK];
}

/* The slot of the id, or the free one where it would go. */
static size_t slot_of(const struct roster *r, const uint8_t *id)
{
	size_t slot = home_of(r, id);

	while (r->slots[slot] && memcmp(at(r, r->slots[slot])->id, id, TASK_ID_SIZE) != 0)
		slot = (slot + 1) & (r->slot_count - 1);
	return slot;
}

/* At most three of four slots are taken. */
static void make_room(struct roster *r)
{
	if (((size_t)r->count + 1) * 4 <= r->slot_count * 3)
		return;
	free(r->slots);
	r->slot_count = r->slot_count ? r->slot_count * 2 : SLOTS_MIN;
	r->slots = xcalloc(r->slot_count, sizeof(*r->slots));
	for (uint32_t n = 1; n <= r->used; n++)
		if (at(r, n)->number)
			r->slots[slot_of(r, at(r, n)->id)] = n;
}

static uint32_t take_number(struct roster *r)
{
	uint32_t number = r->first_free;

	if (number) {
		r->first_free = at(r, number)->next_there;
		return number;
	}
	assert(r->used < UINT32_MAX);
	if (r->used == r->block_count * ROSTER_BLOCK) {
		r->blocks = xgrow(r->blocks, r->block_count, &r->block_capacity,
				  sizeof(struct task *));
		r->blocks[r->block_count++] = xcalloc(ROSTER_BLOCK, sizeof(struct task));
	}
	return ++r->used;
}

struct task *roster_add(struct roster *r, const uint8_t id[TASK_ID_SIZE])
{
	uint32_t number;
	struct task *t;

	make_room(r);
	number = take_number(r);
	t = at(r, number);
	*t = (struct task){.number = number};
	memcpy(t->id, id, TASK_ID_SIZE);
	r->slots[slot_of(r, id)] = number;
	r->count++;
	return t;
}

/* Those behind a slot that became free come nearer to where they belong. */
static void close_gap(struct roster *r, size_t gap)
{
	const size_t mask = r->slot_count - 1;

	for (size_t slot = (gap + 1) & mask; r->slots[slot]; slot = (slot + 1) & mask) {
		size_t home = home_of(r, at(r, r->slots[slot])->id);

		if (((slot - home) & mask) < ((slot - gap) & mask))
			continue; /* it is not farther from home than the gap is */
		r->slots[gap] = r->slots[slot];
		r->slots[slot] = 0;
		gap = slot;
	}
}

void roster_remove(struct roster *r, struct task *t)
{
	uint32_t number = t->number;
	size_t slot = slot_of(r, t->id);

	r->slots[slot] = 0;
	close_gap(r, slot);
	*t = (struct task){.next_there = r->first_free};
	r->first_free = number;
	r->count--;
}

struct task *roster_find(const struct roster *r, const uint8_t id[TASK_ID_SIZE])
{
	uint32_t number = r->slot_count ? r->slots[slot_of(r, id)] : 0;

	return number ? at(r, number) : NULL;
}

struct task *roster_next(const struct roster *r, uint32_t *n)
{
	while (*n < r->used) {
		struct task *t = at(r, ++*n);

		if (t->number)
			return t;
	}
	return NULL;
}

void roster_done(struct roster *r)
{
	for (size_t i = 0; i < r->block_count; i++)
		free(r->blocks[i]);
	free(r->blocks);
	free(r->slots);
	*r = (struct roster){0};
}

/* ---- ids ---- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool task_id_parse(const char *text, uint8_t ret[TASK_ID_SIZE])
{
	for (size_t i = 0; i < TASK_ID_SIZE; i++) {
		int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);

		if (low < 0)
			return false;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return !text[ECS_ID_LEN];
}

void task_id_format(const uint8_t id[TASK_ID_SIZE], char ret[ECS_ID_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < TASK_ID_SIZE; i++) {
		ret[2 * i] = digits[id[i] >> 4];
		ret[2 * i + 1] = digits[id[i] & 15];
	}
	ret[ECS_ID_LEN] = '\0';
}
