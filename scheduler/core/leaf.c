/* scheduler/core/leaf.c - some rows of an order, side by side
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/core/leaf.h"

#include <assert.h>
#include <stdlib.h>

#define NO_ROW UINT32_MAX /* of a free place */

/* Loops over all places, without branches and with these, are loops of vectors for the compiler. */
#define FOUR(n) 1u << (n), 2u << (n), 4u << (n), 8u << (n)
static const uint32_t bit_of[LEAF] = {FOUR(0),  FOUR(4),  FOUR(8),  FOUR(12),
				      FOUR(16), FOUR(20), FOUR(24), FOUR(28)};

static uint32_t places_of_row(const struct leaf *l, uint32_t row)
{
	uint32_t places = 0;

	for (unsigned i = 0; i < LEAF; i++)
		places |= l->rows[i] == row ? bit_of[i] : 0;
	return places;
}

static uint32_t places_of_key(const struct leaf *l, int32_t key)
{
	uint32_t places = 0;

	for (unsigned i = 0; i < LEAF; i++)
		places |= l->keys[i] == key ? bit_of[i] : 0;
	return places;
}

/* Those that have enough of both. */
static uint32_t places_with(const struct leaf *l, int32_t key, int32_t other)
{
	uint32_t places = 0;

	for (unsigned i = 0; i < LEAF; i++)
		places |= (l->keys[i] >= key) & (l->others[i] >= other) ? bit_of[i] : 0;
	return places;
}

static int32_t most_of(const int32_t values[LEAF])
{
	int32_t most = INT32_MIN;

	for (unsigned i = 0; i < LEAF; i++)
		most = values[i] > most ? values[i] : most;
	return most;
}

static uint64_t rank_at(const struct leaf *l, unsigned at)
{
	return order_rank(l->keys[at], l->others[at]);
}

static struct entry entry_at(const struct leaf *l, unsigned at)
{
	return (struct entry){rank_at(l, at), l->met[at], l->rows[at], l->others[at]};
}

static void set(struct leaf *l, unsigned at, const struct entry *x)
{
	l->keys[at] = (int32_t)order_bits((int32_t)(x->rank >> 32));
	l->others[at] = x->other_max;
	l->rows[at] = x->row;
	l->met[at] = x->met;
}

static void vacate(struct leaf *l, unsigned at)
{
	l->keys[at] = INT32_MIN;
	l->others[at] = INT32_MIN;
	l->rows[at] = NO_ROW;
	l->met[at] = 0;
}

static unsigned place_of(const struct leaf *l, uint32_t row)
{
	const uint32_t places = places_of_row(l, row);

	assert(places);
	return (unsigned)__builtin_ctz(places);
}

struct leaf *leaf_new(void)
{
	struct leaf *l = aligned_alloc(LEAF_ALIGN, sizeof(*l));

	if (!l)
		abort();
	for (unsigned i = 0; i < LEAF; i++)
		vacate(l, i);
	return l;
}

unsigned leaf_count(const struct leaf *l)
{
	return LEAF - (unsigned)__builtin_popcount(places_of_row(l, NO_ROW));
}

bool leaf_put(struct leaf *l, const struct entry *x)
{
	const uint32_t free_places = places_of_row(l, NO_ROW);

	if (free_places)
		set(l, (unsigned)__builtin_ctz(free_places), x);
	return free_places;
}

void leaf_set(struct leaf *l, const struct entry *x)
{
	set(l, place_of(l, x->row), x);
}

void leaf_drop(struct leaf *l, uint32_t row)
{
	vacate(l, place_of(l, row));
}

struct entry leaf_sum(const struct leaf *l)
{
	const int32_t last_key = most_of(l->keys);
	struct entry sum = {0};

	/* A free place is before any row. */
	for (uint32_t places = places_of_key(l, last_key); places; places &= places - 1) {
		const unsigned at = (unsigned)__builtin_ctz(places);

		if (!order_is_before(rank_at(l, at), l->rows[at], &sum))
			sum = entry_at(l, at);
	}
	sum.other_max = most_of(l->others);
	sum.met = 0;
	for (unsigned i = 0; i < LEAF; i++)
		sum.met |= l->met[i];
	return sum;
}

/* ---- to two, and to one ---- */

/* The places in the order of their rows. */
static void sort(const struct leaf *l, uint8_t ret[LEAF])
{
	for (unsigned i = 0; i < LEAF; i++) {
		const struct entry x = entry_at(l, i);
		unsigned at = i;

		for (; at && !order_is_before(rank_at(l, ret[at - 1]), l->rows[ret[at - 1]], &x);
		     at--)
			ret[at] = ret[at - 1];
		ret[at] = (uint8_t)i;
	}
}

struct leaf *leaf_split(struct leaf *l)
{
	struct leaf *upper = leaf_new();
	uint8_t order[LEAF];

	sort(l, order);
	for (unsigned i = LEAF / 2; i < LEAF; i++) {
		const struct entry x = entry_at(l, order[i]);

		set(upper, i - LEAF / 2, &x);
		vacate(l, order[i]);
	}
	return upper;
}

void leaf_take(struct leaf *l, struct leaf *own_from)
{
	for (unsigned i = 0; i < LEAF; i++) {
		const struct entry x = entry_at(own_from, i);

		if (x.row != NO_ROW)
			(void)leaf_put(l, &x);
	}
	free(own_from);
}

/* ---- find ---- */

/* Of these places, the needs met and not before 'from'. */
static uint32_t those_that_meet(const struct leaf *l, uint32_t places, uint64_t met,
				const struct entry *from)
{
	uint32_t meet = 0;

	for (; places; places &= places - 1) {
		const unsigned at = (unsigned)__builtin_ctz(places);

		meet |= (l->met[at] & met) == met &&
					!order_is_before(rank_at(l, at), l->rows[at], from)
				? bit_of[at]
				: 0;
	}
	return meet;
}

static unsigned first_of(const struct leaf *l, uint32_t places)
{
	unsigned first = (unsigned)__builtin_ctz(places);
	struct entry best = entry_at(l, first);

	while (places &= places - 1) {
		const unsigned at = (unsigned)__builtin_ctz(places);

		if (!order_is_before(rank_at(l, at), l->rows[at], &best))
			continue;
		best = entry_at(l, at);
		first = at;
	}
	return first;
}

/* What is looked at after the amounts: the memory is far away, and this is all of it at once. */
static void fetch(const struct leaf *l)
{
	for (size_t at = offsetof(struct leaf, rows); at < sizeof(*l); at += LEAF_ALIGN)
		__builtin_prefetch((const char *)l + at);
}

bool leaf_find(const struct leaf *l, const struct order_query *q, const struct entry *from,
	       struct order_item *ret)
{
	const int32_t key = (int32_t)order_bits((int32_t)(from->rank >> 32));
	uint32_t places;

	fetch(l);
	places = those_that_meet(l, places_with(l, key, q->other), q->met, from);

	while (places) {
		const unsigned at = first_of(l, places);

		*ret = (struct order_item){.key = l->keys[at],
					   .other = l->others[at],
					   .row = l->rows[at],
					   .met = l->met[at]};
		if (!q->fits || q->fits(q->ctx, ret))
			return true;
		places &= ~bit_of[at];
	}
	return false;
}
