/* net/boxes.c - rules that overlap, cut into boxes that do not
 * SPDX-License-Identifier: Apache-2.0
 *
 * Protocols are cut at every edge of a box, the boxes of each piece at every
 * edge of their ports; within a piece only prefixes are left, and of two that
 * overlap one holds the other.  Pieces of ports that came out the same and
 * touch are put together again.
 */
#include "net/boxes.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"

void boxes_done(struct boxes *b)
{
	free(b->items);
	*b = (struct boxes){0};
}

void boxes_add(struct boxes *b, const struct box *box)
{
	b->items = xgrow(b->items, b->count, &b->capacity, sizeof(*b->items));
	b->items[b->count++] = *box;
}

/* ---- edges ---- */

static const struct span *span_of(const struct box *b, bool port)
{
	return port ? &b->port : &b->protocol;
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Where pieces begin, and one behind the last; malloc'ed. */
static uint32_t *edges_of(const struct boxes *b, bool port, size_t *ret_count)
{
	uint32_t *edges = xcalloc(2 * b->count + 1, sizeof(*edges));
	size_t count = 0;

	for (size_t i = 0; i < b->count; i++) {
		edges[2 * i] = span_of(&b->items[i], port)->first;
		edges[2 * i + 1] = span_of(&b->items[i], port)->last + 1;
	}
	if (b->count)
		qsort(edges, 2 * b->count, sizeof(*edges), compare_numbers);
	for (size_t i = 0; i < 2 * b->count; i++)
		if (!count || edges[count - 1] != edges[i])
			edges[count++] = edges[i];
	*ret_count = count;
	return edges;
}

static void covering(const struct boxes *b, bool port, uint32_t at, struct boxes *ret)
{
	ret->count = 0;
	for (size_t i = 0; i < b->count; i++) {
		const struct span *s = span_of(&b->items[i], port);

		if (s->first <= at && at <= s->last)
			boxes_add(ret, &b->items[i]);
	}
}

/* ---- prefixes ---- */

/* What holds others comes before them. */
static int compare_prefixes(const void *a, const void *b)
{
	const struct ip_prefix *x = &((const struct box *)a)->prefix,
			       *y = &((const struct box *)b)->prefix;
	int r = memcmp(x->address, y->address, sizeof(x->address));

	return r ? r : (x->length > y->length) - (x->length < y->length);
}

/* Only prefixes that no other one holds stay. */
static void keep_largest(struct boxes *b)
{
	size_t count = 0;

	if (b->count)
		qsort(b->items, b->count, sizeof(*b->items), compare_prefixes);
	for (size_t i = 0; i < b->count; i++)
		if (!count || !ip_prefix_holds(&b->items[count - 1].prefix, &b->items[i].prefix))
			b->items[count++] = b->items[i];
	b->count = count;
}

static bool same_prefixes(const struct boxes *a, const struct boxes *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (compare_prefixes(&a->items[i], &b->items[i]) != 0)
			return false;
	return true;
}

/* ---- pieces ---- */

static void say(const struct boxes *prefixes, const struct span *protocol, const struct span *port,
		void (*on_box)(const struct box *box, void *arg), void *arg)
{
	for (size_t i = 0; i < prefixes->count; i++) {
		const struct box b = {*protocol, *port, prefixes->items[i].prefix};

		on_box(&b, arg);
	}
}

static void cut_ports(const struct boxes *b, const struct span *protocol,
		      void (*on_box)(const struct box *box, void *arg), void *arg)
{
	size_t count;
	auto_free uint32_t *edges = edges_of(b, true, &count);
	auto_boxes struct boxes now = {0}, before = {0};
	struct span port = {0};

	for (size_t i = 0; i + 1 < count; i++) {
		covering(b, true, edges[i], &now);
		keep_largest(&now);
		if (i && same_prefixes(&now, &before)) {
			port.last = edges[i + 1] - 1;
			continue;
		}
		say(&before, protocol, &port, on_box, arg);
		port = (struct span){edges[i], edges[i + 1] - 1};
		before.count = 0;
		for (size_t n = 0; n < now.count; n++)
			boxes_add(&before, &now.items[n]);
	}
	say(&before, protocol, &port, on_box, arg);
}

void boxes_cut(const struct boxes *b, void (*on_box)(const struct box *box, void *arg), void *arg)
{
	size_t count;
	auto_free uint32_t *edges = edges_of(b, false, &count);
	auto_boxes struct boxes piece = {0};

	for (size_t i = 0; i + 1 < count; i++) {
		const struct span protocol = {edges[i], edges[i + 1] - 1};

		covering(b, false, edges[i], &piece);
		cut_ports(&piece, &protocol, on_box, arg);
	}
}
