/* base/map.h - names to pointers, in the order of insertion
 * SPDX-License-Identifier: Apache-2.0
 *
 * Iteration follows the order of insertion and not the hash, so that what a
 * state machine does depends on its input only.  Keys are copied; values are
 * borrowed.  A map of all zero bytes is empty and valid.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_entry {
	char *key; /* NULL: removed */
	void *value;
	uint64_t hash;
};

struct map {
	struct map_entry *entries;
	size_t used, capacity; /* of entries, removed ones included */
	uint32_t *slots;       /* 1 + index into entries; 0: free */
	size_t slot_count;     /* a power of two */
	size_t count;
};

void map_done(struct map *m); /* the values are the caller's to free before */

void *map_find(const struct map *m, const char *key); /* NULL: absent */
/* Add, or replace the value of a key that is there; returns the old value or NULL. */
void *map_put(struct map *m, const char *key, void *value);
void *map_remove(struct map *m, const char *key); /* the value, or NULL */

/*
 * for (size_t i = 0; map_next(&m, &i, &value);)
 * Removing the entry just given is fine; adding during iteration is not.
 */
bool map_next_(const struct map *m, size_t *i, void **ret_value);
#define map_next(m, i, ret_value) map_next_((m), (i), (void **)(ret_value))
