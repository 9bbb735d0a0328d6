/* scheduler/core/order.c - rows in the order of what they have left
 * SPDX-License-Identifier: Apache-2.0
 *
 * A B+ tree whose inner entries say of all that is below them: the last place,
 * the most that any has of the other thing, the needs that any of them meets.  So
 * a search passes over whole branches that cannot have what is wanted.  An entry
 * of a leaf has the same form: what it says of itself.
 *
 * The last place is always right.  The most and the needs may be too much for a
 * while after something was removed: a branch is searched in vain then.
 */
#include "scheduler/core/order.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FANOUT 64               /* three levels for 50,000 rows */
#define FEW    (FANOUT / 4)     /* so small a node looks for another one to be merged with */
#define MANY   (FANOUT * 3 / 4) /* at most so large is what comes of it */

/* A search goes by ranks alone, so they are close together, and so is the rest, each by itself. */
struct order_node {
	unsigned count;
	bool leaf;
	uint64_t ranks[FANOUT]; /* key and other, so that both are compared at once */
	uint32_t rows[FANOUT];
	uint64_t met[FANOUT];
	struct branch {
		int32_t other_max; /* of a leaf's entry it is in the rank */
		struct order_node *child;
	} branches[]; /* FANOUT, unless it is a leaf */
};

/* One of them, taken out of it. */
struct entry {
	uint64_t rank, met;
	uint32_t row;
	int32_t other_max;
};

static struct order_node *new_node(bool leaf)
{
	struct order_node *n = xcalloc(1,
				       sizeof(*n) + (leaf ? 0 : FANOUT * sizeof(n->branches[0])));

	n->leaf = leaf;
	return n;
}

static void free_node(struct order_node *n)
{
	if (!n)
		return;
	for (unsigned i = 0; !n->leaf && i < n->count; i++)
		free_node(n->branches[i].child);
	free(n);
}

void order_done(struct order *o)
{
	free_node(o->root);
	*o = (struct order){0};
}

static uint32_t ordered(int32_t v)
{
	return (uint32_t)v ^ 0x80000000u;
}

static uint64_t rank_of(int32_t key, int32_t other)
{
	return (uint64_t)ordered(key) << 32 | ordered(other);
}

static int32_t key_of(uint64_t rank)
{
	return (int32_t)ordered((int32_t)(rank >> 32));
}

static int32_t other_of(uint64_t rank)
{
	return (int32_t)ordered((int32_t)rank);
}

static struct entry entry_of(const struct order_item *x)
{
	return (struct entry){rank_of(x->key, x->other), x->met, x->row, x->other};
}

static bool is_before(uint64_t rank, uint32_t row, const struct entry *x)
{
	return rank < x->rank || (rank == x->rank && row < x->row);
}

static int32_t other_max(const struct order_node *n, unsigned at)
{
	return n->leaf ? other_of(n->ranks[at]) : n->branches[at].other_max;
}

/* The first place that is not before it. */
static unsigned place_of(const struct order_node *n, const struct entry *x)
{
	const uint64_t *low = n->ranks;
	unsigned count = n->count, at;

	while (count > 1) {
		unsigned half = count / 2;

		low += low[half - 1] < x->rank ? half : 0;
		count -= half;
	}
	at = (unsigned)(low - n->ranks) + (count && *low < x->rank);
	while (at < n->count && is_before(n->ranks[at], n->rows[at], x))
		at++;
	return at;
}

static struct entry sum_of(const struct order_node *n)
{
	const unsigned last = n->count - 1;
	struct entry sum = {n->ranks[last], n->met[last], n->rows[last], other_max(n, last)};

	for (unsigned i = 0; i < last; i++) {
		const int32_t other = other_max(n, i);

		sum.other_max = other > sum.other_max ? other : sum.other_max;
		sum.met |= n->met[i];
	}
	return sum;
}

static void set(struct order_node *n, unsigned at, const struct entry *x)
{
	n->ranks[at] = x->rank;
	n->rows[at] = x->row;
	n->met[at] = x->met;
	if (!n->leaf)
		n->branches[at].other_max = x->other_max;
}

static void move(struct order_node *to, unsigned at, const struct order_node *from, unsigned first,
		 unsigned count)
{
	memmove(&to->ranks[at], &from->ranks[first], count * sizeof(to->ranks[0]));
	memmove(&to->rows[at], &from->rows[first], count * sizeof(to->rows[0]));
	memmove(&to->met[at], &from->met[first], count * sizeof(to->met[0]));
	if (!to->leaf)
		memmove(&to->branches[at], &from->branches[first], count * sizeof(to->branches[0]));
}

static void put(struct order_node *n, unsigned at, const struct entry *x, struct order_node *child)
{
	move(n, at + 1, n, at, n->count - at);
	set(n, at, x);
	if (!n->leaf)
		n->branches[at].child = child;
	n->count++;
}

static void drop(struct order_node *n, unsigned at)
{
	n->count--;
	move(n, at, n, at + 1, n->count - at);
}

/* ---- add ---- */

/* The upper half becomes a node of its own. */
static struct order_node *split(struct order_node *n)
{
	struct order_node *upper = new_node(n->leaf);

	upper->count = n->count / 2;
	n->count -= upper->count;
	move(upper, 0, n, n->count, upper->count);
	return upper;
}

/* 'x' was added below an entry. */
static void include(struct order_node *n, unsigned at, const struct entry *x)
{
	struct branch *b = &n->branches[at];

	if (is_before(n->ranks[at], n->rows[at], x)) {
		n->ranks[at] = x->rank;
		n->rows[at] = x->row;
	}
	b->other_max = x->other_max > b->other_max ? x->other_max : b->other_max;
	n->met[at] |= x->met;
}

/* Where it goes below an inner node. */
static unsigned branch_of(const struct order_node *n, const struct entry *x)
{
	unsigned at = place_of(n, x);

	return at - (at == n->count);
}

static struct order_node *add(struct order_node *n, const struct entry *x);

/* The node has room for one more. */
static void add_to(struct order_node *n, const struct entry *x)
{
	struct order_node *child, *more;
	struct entry sum;
	unsigned at;

	if (n->leaf) {
		put(n, place_of(n, x), x, NULL);
		return;
	}
	at = branch_of(n, x);
	child = n->branches[at].child;
	more = add(child, x);
	if (!more) {
		include(n, at, x);
		return;
	}
	sum = sum_of(child);
	set(n, at, &sum);
	sum = sum_of(more);
	put(n, at + 1, &sum, more);
}

/* What came of 'n' beside it, when it was full; NULL: nothing. */
static struct order_node *add(struct order_node *n, const struct entry *x)
{
	struct order_node *upper = NULL;
	unsigned last;

	if (n->count == FANOUT) {
		upper = split(n);
		last = n->count - 1;
		if (is_before(n->ranks[last], n->rows[last], x))
			n = upper;
	}
	add_to(n, x);
	return upper;
}

static void add_entry(struct order *o, const struct entry *x)
{
	struct order_node *upper, *root;
	struct entry sum;

	if (!o->root)
		o->root = new_node(true);
	upper = add(o->root, x);
	if (!upper)
		return;
	root = new_node(false);
	sum = sum_of(o->root);
	put(root, 0, &sum, o->root);
	sum = sum_of(upper);
	put(root, 1, &sum, upper);
	o->root = root;
}

void order_add(struct order *o, const struct order_item *x)
{
	const struct entry entry = entry_of(x);

	add_entry(o, &entry);
	o->count++;
}

/* ---- remove ---- */

/* The child becomes one with the next, if both are small. */
static void merge(struct order_node *n, unsigned at)
{
	struct order_node *low, *high;
	struct entry sum;

	if (at + 1 >= n->count)
		return;
	low = n->branches[at].child;
	high = n->branches[at + 1].child;
	if (low->count + high->count > MANY)
		return;
	move(low, low->count, high, 0, high->count);
	low->count += high->count;
	free(high);
	drop(n, at + 1);
	sum = sum_of(low);
	set(n, at, &sum);
}

/* 'x' was removed below an entry. */
static void exclude(struct order_node *n, unsigned at, const struct entry *x)
{
	struct order_node *child = n->branches[at].child;
	struct entry sum;

	if (!child->count) {
		free(child);
		drop(n, at);
		return;
	}
	if (n->rows[at] == x->row || n->branches[at].other_max == x->other_max) {
		sum = sum_of(child);
		set(n, at, &sum);
	}
	if (child->count < FEW) {
		merge(n, at);
		if (at)
			merge(n, at - 1);
	}
}

static void remove_from(struct order_node *n, const struct entry *x)
{
	unsigned at = place_of(n, x);

	assert(at < n->count);
	if (n->leaf) {
		assert(n->rows[at] == x->row);
		drop(n, at);
		return;
	}
	remove_from(n->branches[at].child, x);
	exclude(n, at, x);
}

/* A root has two branches, or is a leaf that is not empty. */
static void lower_root(struct order *o)
{
	struct order_node *root = o->root;

	while (!root->leaf && root->count == 1) {
		o->root = root->branches[0].child;
		free(root);
		root = o->root;
	}
	if (!root->count) {
		free(root);
		o->root = NULL;
	}
}

static void remove_entry(struct order *o, const struct entry *x)
{
	assert(o->root);
	remove_from(o->root, x);
	lower_root(o);
}

void order_remove(struct order *o, const struct order_item *x)
{
	const struct entry entry = entry_of(x);

	remove_entry(o, &entry);
	o->count--;
}

/* ---- change ---- */

/* It stays where it is. */
static void set_met(struct order_node *n, const struct entry *x)
{
	unsigned at = place_of(n, x);
	struct entry sum;

	assert(at < n->count);
	if (n->leaf) {
		assert(n->rows[at] == x->row);
		n->met[at] = x->met;
	} else {
		set_met(n->branches[at].child, x);
		sum = sum_of(n->branches[at].child);
		set(n, at, &sum);
	}
}

/* The one at 'at' becomes 'to'. */
static void change_leaf(struct order_node *n, unsigned at, const struct entry *to)
{
	unsigned place = place_of(n, to);

	if (place > at) {
		place--; /* it is gone from before it */
		move(n, at, n, at + 1, place - at);
	} else {
		move(n, place + 1, n, place, at - place);
	}
	set(n, place, to);
}

/* Would it go below this branch? */
static bool belongs_to(const struct order_node *n, unsigned at, const struct entry *x)
{
	return (!at || is_before(n->ranks[at - 1], n->rows[at - 1], x)) &&
	       (at + 1 == n->count || !is_before(n->ranks[at], n->rows[at], x));
}

static bool has_room(const struct order_node *n)
{
	return n->leaf || n->count < FANOUT;
}

/* As far as both have the same way it is gone once.  The node has room. */
static void change(struct order_node *n, const struct entry *from, const struct entry *to)
{
	const unsigned at = place_of(n, from);

	assert(at < n->count);
	if (n->leaf) {
		assert(n->rows[at] == from->row);
		change_leaf(n, at, to);
	} else if (belongs_to(n, at, to) && has_room(n->branches[at].child)) {
		change(n->branches[at].child, from, to);
		include(n, at, to);
		exclude(n, at, from);
	} else {
		remove_from(n, from);
		add_to(n, to);
	}
}

void order_change(struct order *o, const struct order_item *old, const struct order_item *x)
{
	const struct entry from = entry_of(old), to = entry_of(x);

	assert(o->root && from.row == to.row);
	if (from.rank == to.rank) {
		set_met(o->root, &to);
	} else if (has_room(o->root)) {
		change(o->root, &from, &to);
		lower_root(o);
	} else {
		remove_entry(o, &from);
		add_entry(o, &to);
	}
}

/* ---- find ---- */

static bool find(const struct order_node *n, const struct order_query *q, struct order_item *ret)
{
	const struct entry from = {.rank = rank_of(q->key, INT32_MIN)};

	for (unsigned i = place_of(n, &from); i < n->count; i++) {
		if (other_max(n, i) < q->other || (n->met[i] & q->met) != q->met)
			continue;
		if (!n->leaf) {
			if (find(n->branches[i].child, q, ret))
				return true;
			continue;
		}
		*ret = (struct order_item){.key = key_of(n->ranks[i]),
					   .other = other_of(n->ranks[i]),
					   .row = n->rows[i],
					   .met = n->met[i]};
		if (!q->fits || q->fits(q->ctx, ret))
			return true;
	}
	return false;
}

bool order_first(const struct order *o, const struct order_query *q, struct order_item *ret)
{
	struct order_item found;

	if (!o->root || !find(o->root, q, &found))
		return false;
	*ret = found;
	return true;
}
