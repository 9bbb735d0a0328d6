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

#define FANOUT 32
#define FEW    (FANOUT / 4)     /* so small a node looks for another one to be merged with */
#define MANY   (FANOUT * 3 / 4) /* at most so large is what comes of it */

struct entry {
	uint64_t rank; /* key and other, so that it is compared at once */
	uint32_t row;
	int32_t other_max;
	uint64_t met;
};

struct order_node {
	unsigned count;
	bool leaf;
	struct entry entries[FANOUT];
	struct order_node *children[]; /* FANOUT, unless it is a leaf */
};

static struct order_node *new_node(bool leaf)
{
	struct order_node *n = xcalloc(1,
				       sizeof(*n) + (leaf ? 0 : FANOUT * sizeof(n->children[0])));

	n->leaf = leaf;
	return n;
}

static void free_node(struct order_node *n)
{
	if (!n)
		return;
	for (unsigned i = 0; !n->leaf && i < n->count; i++)
		free_node(n->children[i]);
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

static struct entry entry_of(const struct order_item *x)
{
	return (struct entry){rank_of(x->key, x->other), x->row, x->other, x->met};
}

static struct order_item item_of(const struct entry *leaf)
{
	return (struct order_item){.key = (int32_t)ordered((int32_t)(leaf->rank >> 32)),
				   .other = leaf->other_max,
				   .row = leaf->row,
				   .met = leaf->met};
}

/* Without a branch: which it is cannot be guessed. */
static bool is_before(const struct entry *a, const struct entry *b)
{
	return (a->rank < b->rank) | ((a->rank == b->rank) & (a->row < b->row));
}

/* The first place that is not before it. */
static unsigned place_of(const struct order_node *n, const struct entry *x)
{
	const struct entry *low = n->entries;
	unsigned count = n->count;

	while (count > 1) {
		unsigned half = count / 2;

		low += is_before(&low[half - 1], x) ? half : 0;
		count -= half;
	}
	return (unsigned)(low - n->entries) + (count && is_before(low, x));
}

static struct entry sum_of(const struct order_node *n)
{
	struct entry sum = n->entries[n->count - 1];

	for (unsigned i = 0; i + 1 < n->count; i++) {
		if (n->entries[i].other_max > sum.other_max)
			sum.other_max = n->entries[i].other_max;
		sum.met |= n->entries[i].met;
	}
	return sum;
}

static void move(struct order_node *to, unsigned at, const struct order_node *from, unsigned first,
		 unsigned count)
{
	memmove(&to->entries[at], &from->entries[first], count * sizeof(to->entries[0]));
	if (!to->leaf)
		memmove(&to->children[at], &from->children[first], count * sizeof(to->children[0]));
}

static void put(struct order_node *n, unsigned at, const struct entry *x, struct order_node *child)
{
	move(n, at + 1, n, at, n->count - at);
	n->entries[at] = *x;
	if (!n->leaf)
		n->children[at] = child;
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

/* The sum of a branch that 'x' was added to. */
static void include(struct entry *sum, const struct entry *x)
{
	if (is_before(sum, x)) {
		sum->rank = x->rank;
		sum->row = x->row;
	}
	if (x->other_max > sum->other_max)
		sum->other_max = x->other_max;
	sum->met |= x->met;
}

/* What came of 'n' beside it, when it was full; NULL: nothing. */
static struct order_node *add(struct order_node *n, const struct entry *x)
{
	struct order_node *upper = NULL, *more;
	unsigned at;

	if (n->count == FANOUT) {
		upper = split(n);
		if (is_before(&n->entries[n->count - 1], x))
			n = upper;
	}
	at = place_of(n, x);
	if (n->leaf) {
		put(n, at, x, NULL);
		return upper;
	}
	at -= at == n->count;
	more = add(n->children[at], x);
	if (more) {
		const struct entry sum = sum_of(more);

		n->entries[at] = sum_of(n->children[at]);
		put(n, at + 1, &sum, more);
	} else {
		include(&n->entries[at], x);
	}
	return upper;
}

void order_add(struct order *o, const struct order_item *x)
{
	const struct entry entry = entry_of(x);
	struct order_node *upper, *root;

	if (!o->root)
		o->root = new_node(true);
	upper = add(o->root, &entry);
	if (upper) {
		const struct entry sums[] = {sum_of(o->root), sum_of(upper)};

		root = new_node(false);
		put(root, 0, &sums[0], o->root);
		put(root, 1, &sums[1], upper);
		o->root = root;
	}
	o->count++;
}

/* ---- remove ---- */

/* The child becomes one with the next, if both are small. */
static void merge(struct order_node *n, unsigned at)
{
	struct order_node *low, *high;

	if (at + 1 >= n->count)
		return;
	low = n->children[at];
	high = n->children[at + 1];
	if (low->count + high->count > MANY)
		return;
	move(low, low->count, high, 0, high->count);
	low->count += high->count;
	free(high);
	drop(n, at + 1);
	n->entries[at] = sum_of(low);
}

static void remove_entry(struct order_node *n, const struct entry *x)
{
	unsigned at = place_of(n, x);
	struct order_node *child;

	assert(at < n->count);
	if (n->leaf) {
		assert(n->entries[at].row == x->row);
		drop(n, at);
		return;
	}
	child = n->children[at];
	remove_entry(child, x);
	if (!child->count) {
		free(child);
		drop(n, at);
		return;
	}
	if (n->entries[at].row == x->row || n->entries[at].other_max == x->other_max)
		n->entries[at] = sum_of(child);
	if (child->count < FEW) {
		merge(n, at);
		if (at)
			merge(n, at - 1);
	}
}

void order_remove(struct order *o, const struct order_item *x)
{
	const struct entry entry = entry_of(x);
	struct order_node *root = o->root;

	assert(root);
	remove_entry(root, &entry);
	o->count--;
	while (!root->leaf && root->count == 1) {
		o->root = root->children[0];
		free(root);
		root = o->root;
	}
	if (!root->count) {
		free(root);
		o->root = NULL;
	}
}

/* ---- change ---- */

/* It stays where it is. */
static void set_met(struct order_node *n, const struct entry *x)
{
	unsigned at = place_of(n, x);

	assert(at < n->count);
	if (n->leaf) {
		assert(n->entries[at].row == x->row);
		n->entries[at].met = x->met;
	} else {
		set_met(n->children[at], x);
		n->entries[at] = sum_of(n->children[at]);
	}
}

void order_change(struct order *o, const struct order_item *old, const struct order_item *x)
{
	const struct entry entry = entry_of(x);

	assert(o->root && old->row == x->row);
	if (old->key == x->key && old->other == x->other) {
		set_met(o->root, &entry);
		return;
	}
	order_remove(o, old);
	order_add(o, x);
}

/* ---- find ---- */

static bool find(const struct order_node *n, const struct order_query *q, struct order_item *ret)
{
	const struct entry from = {.rank = rank_of(q->key, INT32_MIN)};

	for (unsigned i = place_of(n, &from); i < n->count; i++) {
		const struct entry *x = &n->entries[i];

		if (x->other_max < q->other || (x->met & q->met) != q->met)
			continue;
		if (!n->leaf) {
			if (find(n->children[i], q, ret))
				return true;
			continue;
		}
		*ret = item_of(x);
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
