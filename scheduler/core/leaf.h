/* scheduler/core/leaf.h - some rows of an order (order.h), side by side
 * SPDX-License-Identifier: Apache-2.0
 *
 * They are not sorted: a row that has something else left, and stays, is written over, and
 * what a search wants of all of them is compared by the vector.  Little memory is touched by
 * either, which is what counts: of many rows most leaves are in no near cache.
 */
#pragma once

#include "scheduler/core/order.h"

#define LEAF       32 /* rows */
#define LEAF_ALIGN 64 /* each array begins with a line of a cache */

struct leaf {
	_Alignas(LEAF_ALIGN) int32_t keys[LEAF];
	int32_t others[LEAF]; /* INT32_MIN: a free place, so no row has so little left */
	uint32_t rows[LEAF];
	uint64_t met[LEAF];
};

/* A row as it is sorted; or what inner nodes say of many: the last place, the most, any. */
struct entry {
	uint64_t rank, met; /* rank: key and other, so that both are compared at once */
	uint32_t row;
	int32_t other_max;
};

static inline uint32_t order_bits(int32_t v)
{
	return (uint32_t)v ^ 0x80000000u;
}

static inline uint64_t order_rank(int32_t key, int32_t other)
{
	return (uint64_t)order_bits(key) << 32 | order_bits(other);
}

static inline bool order_is_before(uint64_t rank, uint32_t row, const struct entry *x)
{
	return rank < x->rank || (rank == x->rank && row < x->row);
}

struct leaf *leaf_new(void);
unsigned leaf_count(const struct leaf *l);
bool leaf_put(struct leaf *l, const struct entry *x); /* false: it is full */
void leaf_set(struct leaf *l, const struct entry *x); /* of a row that is there */
void leaf_drop(struct leaf *l, uint32_t row);
struct entry leaf_sum(const struct leaf *l); /* it is not empty */
struct leaf *leaf_split(struct leaf *l);     /* the upper half of a full one goes to a new one */
void leaf_take(struct leaf *l, struct leaf *own_from); /* all of them; there is room */
/* The first that the query may have, and that is not before 'from'. */
bool leaf_find(const struct leaf *l, const struct order_query *q, const struct entry *from,
	       struct order_item *ret);
