/* scheduler/core/order.c - rows in the order of what they have left
 * SPDX-License-Identifier: Apache-2.0
 *
 * A B+ tree whose inner entries say of all that is below them: the last place,
 * the most that any has of the other thing, the needs that any of them meets.  So
 * a search passes over whole branches that cannot have what is wanted.
 *
 * The last place is always right.  The most and the needs may be too much for a
 * while after something was removed: a branch is searched in vain then.
 */
#include "scheduler/core/order.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "scheduler/core/leaf.h"

#define FANOUT 64 /* three levels for 50,000 rows */

/*
 * A search goes by ranks, so they are close together, and so is the rest, each by itself.
 * Free entries are last, are of no row and have nothing: they need not be told apart.
 */
struct order_node {
	unsigned count;
	uint64_t ranks[FANOUT];
	uint32_t rows[FANOUT];
	int32_t others[FANOUT];
	uint64_t met[FANOUT];
	union order_part parts[FANOUT];
};

static void clear(struct order_node *n, unsigned from)
{
	for (unsigned i = from; i < FANOUT; i++) {
		n->others[i] = INT32_MIN;
		n->met[i] = 0;
	}
}

static struct order_node *new_node(void)
{
	struct order_node *n = xcalloc(1, sizeof(*n));

	clear(n, 0);
	return n;
}

static void free_part(union order_part p, unsigned height)
{
	for (unsigned i = 0; height && i < p.node->count; i++)
		free_part(p.node->parts[i], height - 1);
	if (height)
		free(p.node);
	else
		free(p.leaf);
}

void order_done(struct order *o)
{
	free_part(o->root, o->height);
	*o = (struct order){0};
}

static struct entry entry_of(const struct order_item *x)
{
	return (struct entry){order_rank(x->key, x->other), x->met, x->row, x->other};
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
	while (at < n->count && order_is_before(n->ranks[at], n->rows[at], x))
		at++;
	return at;
}

static unsigned count_of(union order_part p, unsigned height)
{
	return height ? p.node->count : leaf_count(p.leaf);
}

/* At most so many are in one. */
static unsigned most_of(unsigned height)
{
	return height ? FANOUT : LEAF;
}

static struct entry sum_of(union order_part p, unsigned height)
{
	const struct order_node *n = p.node;
	struct entry sum = {.other_max = INT32_MIN};

	if (!height)
		return leaf_sum(p.leaf);
	sum.rank = n->ranks[n->count - 1];
	sum.row = n->rows[n->count - 1];
	for (unsigned i = 0; i < FANOUT; i++)
		sum.other_max = n->others[i] > sum.other_max ? n->others[i] : sum.other_max;
	for (unsigned i = 0; i < FANOUT; i++)
		sum.met |= n->met[i];
	return sum;
}

static void set(struct order_node *n, unsigned at, const struct entry *x)
{
	n->ranks[at] = x->rank;
	n->rows[at] = x->row;
	n->others[at] = x->other_max;
	n->met[at] = x->met;
}

static void move(struct order_node *to, unsigned at, const struct order_node *from, unsigned first,
		 unsigned count)
{
	memmove(&to->ranks[at], &from->ranks[first], count * sizeof(to->ranks[0]));
	memmove(&to->rows[at], &from->rows[first], count * sizeof(to->rows[0]));
	memmove(&to->others[at], &from->others[first], count * sizeof(to->others[0]));
	memmove(&to->met[at], &from->met[first], count * sizeof(to->met[0]));
	memmove(&to->parts[at], &from->parts[first], count * sizeof(to->parts[0]));
}

/* 'part' with what is below it, of this height. */
static void put(struct order_node *n, unsigned at, union order_part part, unsigned height)
{
	const struct entry sum = sum_of(part, height);

	move(n, at + 1, n, at, n->count - at);
	set(n, at, &sum);
	n->parts[at] = part;
	n->count++;
}

static void drop(struct order_node *n, unsigned at)
{
	n->count--;
	move(n, at, n, at + 1, n->count - at);
	clear(n, n->count);
}

/* What an entry says of what is below it is made anew. */
static void sum_up(struct order_node *n, unsigned at, unsigned height)
{
	const struct entry sum = sum_of(n->parts[at], height - 1);

	set(n, at, &sum);
}

/* ---- add ---- */

/* The upper half becomes one of its own. */
static union order_part split(union order_part p, unsigned height)
{
	union order_part upper;

	if (!height) {
		upper.leaf = leaf_split(p.leaf);
		return upper;
	}
	upper.node = new_node();
	upper.node->count = p.node->count / 2;
	p.node->count -= upper.node->count;
	move(upper.node, 0, p.node, p.node->count, upper.node->count);
	clear(p.node, p.node->count);
	return upper;
}

/* 'x' was added below an entry. */
static void include(struct order_node *n, unsigned at, const struct entry *x)
{
	if (order_is_before(n->ranks[at], n->rows[at], x)) {
		n->ranks[at] = x->rank;
		n->rows[at] = x->row;
	}
	n->others[at] = x->other_max > n->others[at] ? x->other_max : n->others[at];
	n->met[at] |= x->met;
}

/* Where it goes below a node. */
static unsigned branch_of(const struct order_node *n, const struct entry *x)
{
	unsigned at = place_of(n, x);

	return at - (at == n->count);
}

static bool add(union order_part p, unsigned height, const struct entry *x,
		union order_part *ret_upper);

/* False: there was no room for one more. */
static bool add_to(union order_part p, unsigned height, const struct entry *x)
{
	union order_part more;
	unsigned at;

	if (!height)
		return leaf_put(p.leaf, x);
	if (p.node->count == FANOUT)
		return false;
	at = branch_of(p.node, x);
	if (add(p.node->parts[at], height - 1, x, &more)) {
		sum_up(p.node, at, height);
		put(p.node, at + 1, more, height - 1);
	} else {
		include(p.node, at, x);
	}
	return true;
}

/* True: it was full, and half of it is *ret_upper now. */
static bool add(union order_part p, unsigned height, const struct entry *x,
		union order_part *ret_upper)
{
	struct entry low;

	if (add_to(p, height, x))
		return false;
	*ret_upper = split(p, height);
	low = sum_of(p, height);
	(void)add_to(order_is_before(low.rank, low.row, x) ? *ret_upper : p, height, x);
	return true;
}

static void add_entry(struct order *o, const struct entry *x)
{
	union order_part upper, low = o->root;

	if (!o->root.leaf)
		o->root.leaf = leaf_new();
	if (!add(o->root, o->height, x, &upper))
		return;
	low = o->root;
	o->root.node = new_node();
	put(o->root.node, 0, low, o->height);
	put(o->root.node, 1, upper, o->height);
	o->height++;
}

void order_add(struct order *o, const struct order_item *x)
{
	const struct entry entry = entry_of(x);

	add_entry(o, &entry);
	o->count++;
}

/* ---- many at once ---- */

static int compare(const void *a, const void *b)
{
	const struct order_item *x = a;
	const struct entry y = entry_of(b);

	return order_is_before(order_rank(x->key, x->other), x->row, &y) ? -1 : 1;
}

/* The n-th of 'parts' equal shares of 'count' things begins there. */
static size_t share(size_t n, size_t parts, size_t count)
{
	return n * count / parts;
}

static size_t parts_of(size_t count, unsigned most)
{
	return (count + most * 3 / 4 - 1) / (most * 3 / 4);
}

void order_fill(struct order *o, struct order_item *items, size_t count)
{
	size_t parts = parts_of(count, LEAF), above;
	auto_free union order_part *all = xcalloc(parts + 1, sizeof(*all));

	assert(!o->count);
	qsort(items, count, sizeof(*items), compare);
	for (size_t n = 0; n < parts; n++) {
		all[n].leaf = leaf_new();
		for (size_t i = share(n, parts, count); i < share(n + 1, parts, count); i++) {
			const struct entry x = entry_of(&items[i]);

			(void)leaf_put(all[n].leaf, &x);
		}
	}
	for (; parts > 1; parts = above, o->height++) {
		above = parts_of(parts, FANOUT);
		for (size_t n = 0; n < above; n++) {
			struct order_node *node = new_node();

			for (size_t i = share(n, above, parts); i < share(n + 1, above, parts); i++)
				put(node, node->count, all[i], o->height);
			all[n].node = node;
		}
	}
	o->root = all[0];
	o->count = count;
}

/* ---- remove ---- */

/* What is at 'at' becomes one with the next, if both are small. */
static void merge(struct order_node *n, unsigned at, unsigned height)
{
	union order_part low, high;
	unsigned count;

	if (at + 1 >= n->count)
		return;
	low = n->parts[at];
	high = n->parts[at + 1];
	count = count_of(low, height - 1);
	if (count + count_of(high, height - 1) > most_of(height - 1) * 3 / 4)
		return;
	if (height == 1) {
		leaf_take(low.leaf, high.leaf);
	} else {
		move(low.node, count, high.node, 0, high.node->count);
		low.node->count += high.node->count;
		free(high.node);
	}
	drop(n, at + 1);
	sum_up(n, at, height);
}

/* Below an entry 'x' is not any more what it was. */
static void forget(struct order_node *n, unsigned at, unsigned height, const struct entry *x)
{
	if (n->rows[at] == x->row || n->others[at] == x->other_max)
		sum_up(n, at, height);
}

/* 'x' was removed below an entry. */
static void exclude(struct order_node *n, unsigned at, unsigned height, const struct entry *x)
{
	const unsigned count = count_of(n->parts[at], height - 1);

	if (!count) {
		free_part(n->parts[at], height - 1);
		drop(n, at);
		return;
	}
	forget(n, at, height, x);
	if (count < most_of(height - 1) / 4) {
		merge(n, at, height);
		if (at)
			merge(n, at - 1, height);
	}
}

static void remove_from(union order_part p, unsigned height, const struct entry *x)
{
	unsigned at;

	if (!height) {
		leaf_drop(p.leaf, x->row);
		return;
	}
	at = place_of(p.node, x);
	assert(at < p.node->count);
	remove_from(p.node->parts[at], height - 1, x);
	exclude(p.node, at, height, x);
}

/* A root has two branches, or is a leaf that is not empty. */
static void lower_root(struct order *o)
{
	while (o->height && o->root.node->count == 1) {
		struct order_node *root = o->root.node;

		o->root = root->parts[0];
		o->height--;
		free(root);
	}
	if (!count_of(o->root, o->height)) {
		free_part(o->root, o->height);
		o->root.leaf = NULL;
		o->height = 0;
	}
}

static void remove_entry(struct order *o, const struct entry *x)
{
	assert(o->root.leaf);
	remove_from(o->root, o->height, x);
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
static void set_met(union order_part p, unsigned height, const struct entry *x)
{
	unsigned at;

	if (!height) {
		leaf_set(p.leaf, x);
		return;
	}
	at = place_of(p.node, x);
	assert(at < p.node->count);
	set_met(p.node->parts[at], height - 1, x);
	sum_up(p.node, at, height);
}

/* Would it go below this branch? */
static bool belongs_to(const struct order_node *n, unsigned at, const struct entry *x)
{
	return (!at || order_is_before(n->ranks[at - 1], n->rows[at - 1], x)) &&
	       (at + 1 == n->count || !order_is_before(n->ranks[at], n->rows[at], x));
}

static bool has_room(union order_part p, unsigned height)
{
	return !height || p.node->count < FANOUT;
}

/* As far as both have the same way it is gone once.  There is room. */
static void change(union order_part p, unsigned height, const struct entry *from,
		   const struct entry *to)
{
	unsigned at;

	if (!height) {
		leaf_set(p.leaf, to);
		return;
	}
	at = place_of(p.node, from);
	assert(at < p.node->count);
	if (belongs_to(p.node, at, to) && has_room(p.node->parts[at], height - 1)) {
		change(p.node->parts[at], height - 1, from, to);
		include(p.node, at, to);
		if (height > 1)
			exclude(p.node, at, height, from);
		else
			forget(p.node, at, height, from); /* its leaf has as many as before */
	} else {
		remove_from(p, height, from);
		(void)add_to(p, height, to);
	}
}

void order_change(struct order *o, const struct order_item *old, const struct order_item *x)
{
	const struct entry from = entry_of(old), to = entry_of(x);

	assert(o->root.leaf && from.row == to.row);
	if (from.rank == to.rank) {
		set_met(o->root, o->height, &to);
	} else if (has_room(o->root, o->height)) {
		change(o->root, o->height, &from, &to);
		lower_root(o);
	} else {
		remove_entry(o, &from);
		add_entry(o, &to);
	}
}

/* ---- find ---- */

static bool find(union order_part p, unsigned height, const struct order_query *q,
		 const struct entry *from, struct order_item *ret)
{
	const struct order_node *n = p.node;

	if (!height)
		return leaf_find(p.leaf, q, from, ret);
	for (unsigned i = place_of(n, from); i < n->count; i++)
		if (n->others[i] >= q->other && (n->met[i] & q->met) == q->met &&
		    find(n->parts[i], height - 1, q, from, ret))
			return true;
	return false;
}

/* Before it there is nothing for the query. */
static struct entry start_of(const struct order_query *q)
{
	const struct entry least = {.rank = order_rank(q->key, INT32_MIN)};
	struct entry from;

	if (!q->from)
		return least;
	from = entry_of(q->from);
	return order_is_before(from.rank, from.row, &least) ? least : from;
}

bool order_first(const struct order *o, const struct order_query *q, struct order_item *ret)
{
	const struct entry from = start_of(q);
	struct order_item found;

	if (!o->root.leaf || !find(o->root, o->height, q, &from, &found))
		return false;
	*ret = found;
	return true;
}
