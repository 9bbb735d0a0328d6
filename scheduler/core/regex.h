/* scheduler/core/regex.h - patterns of the cluster query language
 * SPDX-License-Identifier: Apache-2.0
 *
 * What of java.util.regex a filter needs: . [a-z] [^a-z] \d \w \s and their
 * opposites, ( ) (?: ) | * + ? {2} {2,} {2,5} and their lazy forms, ^ and $.
 * The rest (references back, looking around, flags, possessive repetition) is
 * refused: nothing that is accepted takes longer than the length of the pattern
 * times that of the text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"

struct regex;

/* It lives in the arena.  NULL: *ret_why says what is wrong. */
const struct regex *regex_parse(const char *pattern, struct arena *a, const char **ret_why);
/* How much work a character of a text is. */
size_t regex_size(const struct regex *r);
/* Does the whole text match? */
bool regex_matches(const struct regex *r, const char *text);
