/* base/text.h - strings and numbers read strictly
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool str_eq(const char *a, const char *b)
{
	return a && b && __builtin_strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* In characters. */
size_t utf8_length(const char *utf8);

/*
 * Read the whole of 's' as a decimal number in [min, max].  Signs other than a
 * leading '-' for negatives, blanks, an empty string and anything behind the
 * digits are refused.  Returns false and leaves *ret alone.
 */
bool parse_i64(const char *s, int64_t min, int64_t max, int64_t *ret);
bool parse_u64(const char *s, uint64_t max, uint64_t *ret);
bool parse_u32(const char *s, uint32_t max, uint32_t *ret);

/* Lower-case hexadecimal; 'out' has room for 2 * size + 1 bytes. */
void hex_encode(const void *data, size_t size, char *out);
/* Exactly 2 * size digits of either case, then the end. */
bool hex_decode(const char *s, void *ret, size_t size);
