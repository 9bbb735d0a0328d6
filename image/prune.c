/* image/prune.c - which images may go
 * SPDX-License-Identifier: Apache-2.0
 *
 * Those that nobody uses, the ones left alone for longest first.  An image that a
 * container has, or that the caller wants to keep, stays with all of its names.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/client.h"
#include "image/store.h"

static int64_t last_ms(const struct image *i)
{
	return i->used_ms > i->pulled_ms ? i->used_ms : i->pulled_ms;
}

static int by_last(const void *a, const void *b)
{
	int64_t x = last_ms(*(struct image *const *)a), y = last_ms(*(struct image *const *)b);

	return x < y ? -1 : x > y;
}

static bool is_used(const struct image_prune *o, const struct image *i)
{
	for (size_t u = 0; u < o->in_use_count; u++)
		if (str_eq(o->in_use[u], i->digest) || str_eq(o->in_use[u], i->manifest))
			return true;
	return false;
}

static bool is_kept(const struct image_prune *o, const struct image *i)
{
	for (size_t k = 0; i->reference && k < o->keep_count; k++) {
		char whole[REFERENCE_SIZE];
		struct reference name;
		struct err ignored;

		if (reference_parse(o->keep[k], &name, &ignored) < 0)
			continue;
		reference_format(&name, whole);
		if (str_eq(whole, i->reference))
			return true;
	}
	return false;
}

static bool may_go(const struct image_prune *o, const struct image *i)
{
	if (is_used(o, i) || is_kept(o, i) || last_ms(i) > o->before_ms)
		return false;
	if (!i->reference)
		return true;
	return !o->nameless_only && (!o->used_only || i->used_ms);
}

static bool is_in(const struct image_list *l, const char *diff_id)
{
	for (size_t i = 0; i < l->count; i++)
		for (size_t p = 0; p < l->items[i]->part_count; p++)
			if (str_eq(l->items[i]->parts[p].diff_id, diff_id))
				return true;
	return false;
}

/* Bytes of layers that 'gone' had and that 'left' does not have. */
static uint64_t bytes_freed(const struct image_list *gone, const struct image_list *left)
{
	struct image_list before = {gone->items, 0};
	uint64_t sum = 0;

	for (; before.count < gone->count; before.count++) {
		const struct image *i = gone->items[before.count];

		for (size_t p = 0; p < i->part_count; p++)
			if (!is_in(left, i->parts[p].diff_id) &&
			    !is_in(&before, i->parts[p].diff_id))
				sum += i->parts[p].size;
	}
	return sum;
}

/* Move what may go from the list to ret->images. */
static int remove_some(struct image_store *s, const struct image_prune *o, struct image_list *all,
		       struct image_pruned *ret, struct err *e)
{
	uint64_t bytes = 0;

	ret->images.items = xcalloc(all->count + 1, sizeof(struct image *));
	for (size_t i = 0; i < all->count; i++) {
		struct image *image = all->items[i];
		int r;

		if ((o->count_max && ret->images.count == o->count_max) ||
		    (o->enough_bytes && bytes >= o->enough_bytes) || !may_go(o, image))
			continue;
		r = o->only_tell       ? 0
		    : image->reference ? store_remove(&s->store, image->reference, o->in_use,
						      o->in_use_count, e)
				       : store_remove_image(&s->store, image, e);
		if (r < 0)
			return r;
		if (r != 0)
			continue;
		bytes += image->size;
		ret->images.items[ret->images.count++] = image;
		memmove(&all->items[i], &all->items[i + 1],
			(--all->count - i) * sizeof(all->items[0]));
		i--;
	}
	return 0;
}

int image_prune(struct image_store *s, const struct image_prune *o, struct image_pruned *ret,
		struct err *e)
{
	struct image_list all;
	int r;

	*ret = (struct image_pruned){.bytes = 0};
	if (image_list(s, &all, e) < 0)
		return -e->code;
	if (all.count)
		qsort(all.items, all.count, sizeof(all.items[0]), by_last);
	r = remove_some(s, o, &all, ret, e);
	if (r == 0)
		ret->bytes = bytes_freed(&ret->images, &all);
	image_list_done(&all);
	if (r == 0 && ret->images.count && !o->only_tell)
		r = client_sweep(s, e);
	if (r < 0)
		image_list_done(&ret->images);
	return r;
}
