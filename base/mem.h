/* base/mem.h - memory: small allocations that cannot fail, and arenas
 * SPDX-License-Identifier: Apache-2.0
 *
 * Small allocations abort when memory is gone: every daemon of ours may die at
 * any instruction and is started again, so a half-handled failure would only
 * hide.  A size that comes from input is bounded by its parser first.
 *
 * None of these may be called between clone and exec.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t count, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t len);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Make room for one more element of an array that doubles.  Returns the array,
 * with at least 'count' + 1 elements; *capacity is kept by the caller.
 */
void *xgrow(void *array, size_t count, size_t *capacity, size_t size);

/*
 * An arena owns everything that was allocated from it and lets go of it at
 * once.  Memory from it is zeroed.  An arena of all zero bytes is empty and
 * valid.
 */
struct arena {
	struct arena_block *head;
};

void arena_done(struct arena *a);
void *arena_alloc(struct arena *a, size_t size);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t len);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define auto_arena __attribute__((cleanup(arena_done)))
