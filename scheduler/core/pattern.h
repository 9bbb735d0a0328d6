/* scheduler/core/pattern.h - a text that is the same again and again, but for some words
 * SPDX-License-Identifier: Apache-2.0
 *
 * To make the JSON of a document member by member costs ten times what it costs to copy
 * the text.  So documents that differ in a few words are made once, with holes for these.
 */
#pragma once

#include "base/buf.h"

#define PATTERN_MARK 24 /* digits */
#define PATTERN_HOLE (PATTERN_MARK + 2)
#define PATTERN_BARE \
	0x80 /* added to a number: the word stands without the quotes around the hole */

struct pattern {
	char *text; /* without the holes */
	size_t size;
	struct hole {
		size_t at;
		unsigned number;
	} * holes;
	size_t count, capacity;
};

/* How hole 'number', below PATTERN_BARE, is written.  Nobody else may know the mark. */
void pattern_hole(const char mark[PATTERN_MARK + 1], unsigned number, char ret[PATTERN_HOLE + 1]);

/* 'p' is empty, or another text's before. */
void pattern_make(struct pattern *p, const char *text, size_t size,
		  const char mark[PATTERN_MARK + 1]);
/* The text with words in its holes, behind what 'ret' has. */
void pattern_fill(const struct pattern *p, const char *const *words, struct buf *ret);
void pattern_done(struct pattern *p);
