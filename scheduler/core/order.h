/* scheduler/core/order.h - rows in the order of what they have left
 * SPDX-License-Identifier: Apache-2.0
 *
 * The index of placement: the first row that has enough of two things and meets
 * some needs is found without looking at those before it.  Ascending by 'key',
 * then by 'other', then by 'row'.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct order_item {
	int32_t key, other; /* what is left of what it is sorted by, and of the other thing */
	uint32_t row;
	uint64_t met; /* the needs that the row meets, a bit each */
};

struct leaf;
struct order_node;

/* A leaf (leaf.h), or a node that has more of them below it. */
union order_part {
	struct leaf *leaf;
	struct order_node *node;
};

/* All zero bytes: an empty one. */
struct order {
	union order_part root;
	unsigned height; /* 0: the root is a leaf, or not there */
	size_t count;
};

void order_done(struct order *o);
/* So many at once, of an empty one; they are sorted in their place. */
void order_fill(struct order *o, struct order_item *items, size_t count);
void order_add(struct order *o, const struct order_item *x);
/* The item is there, with this key, other and row. */
void order_remove(struct order *o, const struct order_item *x);
/* The same as to remove 'old' and add 'x', which is of the same row. */
void order_change(struct order *o, const struct order_item *old, const struct order_item *x);

/* Of a row that has enough: may it be this one?  What does not fit is passed over. */
typedef bool order_fits(void *ctx, const struct order_item *x);

struct order_query {
	int32_t key, other;            /* at least */
	uint64_t met;                  /* all of them */
	const struct order_item *from; /* and not before it; NULL: from the first one on */
	order_fits *fits;              /* NULL: each does */
	void *ctx;
};

/* The first; false: there is none. */
bool order_first(const struct order *o, const struct order_query *q, struct order_item *ret);
