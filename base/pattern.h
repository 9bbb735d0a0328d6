/* base/pattern.h - regular expressions of callers (PCRE2)
 * SPDX-License-Identifier: Apache-2.0
 *
 * Patterns and texts are hostile.  What a pattern may cost is bounded: its
 * length, what it compiles to, and the steps and the memory of a match.  A
 * pattern that has once gone beyond that matches nothing any more, so that
 * it cannot cost as much for each of many texts.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct pattern;

/*
 * The syntax is Perl's, which that of java.util.regex is taken from.  -EINVAL:
 * it is none, or too long; the error says why and where.  *ret is the caller's.
 */
int pattern_parse(const char *text, struct pattern **ret, struct err *e);
void pattern_free(struct pattern *p); /* NULL is fine */

/* Does all of the text match? UTF-8; bytes that are none match nothing. */
bool pattern_matches(struct pattern *p, const char *text);
/* It took too long, and what was asked since was not answered. */
bool pattern_gave_up(const struct pattern *p);
