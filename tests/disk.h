/* tests/disk.h - what a core has given out to be stored, for those who run one without a server
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/core/core.h"

struct disk_item {
	char *text;
	void *brief; /* NULL: it has none */
	size_t brief_size;
};

struct disk {
	struct map items; /* by key */
};

static inline void disk_item_free(struct disk_item *item)
{
	if (item) {
		free(item->text);
		free(item->brief);
	}
	free(item);
}

static inline void *disk_copy(const void *bytes, size_t size)
{
	return bytes ? memcpy(xcalloc(1, size), bytes, size) : NULL;
}

static inline void disk_write(struct disk *d, const struct core_effects *fx)
{
	for (size_t i = 0; i < fx->count; i++) {
		const struct core_effect *x = &fx->items[i];
		struct disk_item *item;

		if (x->kind == CORE_DELETE)
			disk_item_free(map_remove(&d->items, x->key));
		if (x->kind != CORE_PUT)
			continue;
		item = xcalloc(1, sizeof(*item));
		*item = (struct disk_item){xstrdup(x->text), disk_copy(x->brief, x->brief_size),
					   x->brief_size};
		disk_item_free(map_put(&d->items, x->key, item));
	}
}

static inline const char *disk_read(const struct disk *d, const char *key)
{
	const struct disk_item *item = map_find(&d->items, key);

	return item ? item->text : NULL;
}

/* core_options.fetch; the context is the disk. */
static inline char *disk_fetch(void *ctx, const char *key)
{
	const char *text = disk_read(ctx, key);

	return text ? xstrdup(text) : NULL;
}

static inline int disk_compare_keys(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The keys that begin so, in order; malloc'ed, *ret_count of them and NULL. */
static inline char **disk_keys(const struct disk *d, const char *prefix, size_t *ret_count)
{
	char **keys = xcalloc(d->items.count + 1, sizeof(char *));

	*ret_count = 0;
	for (size_t i = 0; i < d->items.used; i++)
		if (d->items.entries[i].key && str_starts(d->items.entries[i].key, prefix))
			keys[(*ret_count)++] = d->items.entries[i].key;
	qsort(keys, *ret_count, sizeof(*keys), disk_compare_keys);
	return keys;
}

/* As the server does it when it starts. */
static inline int disk_load(const struct disk *d, struct core *c, struct err *e)
{
	size_t count;
	auto_free char **keys = disk_keys(d, "", &count);
	int r = 0;

	for (int briefs = 0; briefs < 2; briefs++) {
		for (size_t i = 0; i < count && r == 0; i++) {
			const struct disk_item *item = map_find(&d->items, keys[i]);

			if (briefs && item->brief)
				r = core_load_brief(c, item->brief, item->brief_size, e);
			else if (!briefs && !item->brief)
				r = core_load(c, keys[i], item->text, e);
		}
	}
	return r;
}

static inline void disk_done(struct disk *d)
{
	struct disk_item *item;

	for (size_t i = 0; map_next(&d->items, &i, &item);)
		disk_item_free(item);
	map_done(&d->items);
}
