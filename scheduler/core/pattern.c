/* scheduler/core/pattern.c - a text that is the same again and again, but for some words
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/core/pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void pattern_hole(const char mark[PATTERN_MARK + 1], unsigned number, char ret[PATTERN_HOLE + 1])
{
	(void)snprintf(ret, PATTERN_HOLE + 1, "%s%02x", mark, number & 0xff);
}

static unsigned number_of(const char *digits)
{
	const char text[] = {digits[0], digits[1], '\0'};

	return (unsigned)strtoul(text, NULL, 16);
}

static void add_text(struct pattern *p, const char *text, const char *end)
{
	memcpy(p->text + p->size, text, (size_t)(end - text));
	p->size += (size_t)(end - text);
}

void pattern_make(struct pattern *p, const char *text, size_t size,
		  const char mark[PATTERN_MARK + 1])
{
	const char *end = text + size, *found;

	p->text = xrealloc(p->text, size + 1, 1);
	p->size = p->count = 0;
	while ((found = memmem(text, (size_t)(end - text), mark, PATTERN_MARK))) {
		const unsigned number = number_of(found + PATTERN_MARK);
		const size_t quote = (number & PATTERN_BARE) != 0;

		add_text(p, text, found - quote);
		p->holes = xgrow(p->holes, p->count, &p->capacity, sizeof(*p->holes));
		p->holes[p->count++] = (struct hole){p->size, number & ~PATTERN_BARE};
		text = found + PATTERN_HOLE + quote;
	}
	add_text(p, text, end);
}

void pattern_fill(const struct pattern *p, const char *const *words, struct buf *ret)
{
	size_t size = p->size, at = 0;
	char *end;

	for (size_t i = 0; i < p->count; i++)
		size += strlen(words[p->holes[i].number]);
	end = buf_reserve(ret, size);
	if (!end)
		return;
	for (size_t i = 0; i < p->count; i++) {
		end = mempcpy(end, p->text + at, p->holes[i].at - at);
		end = stpcpy(end, words[p->holes[i].number]);
		at = p->holes[i].at;
	}
	memcpy(end, p->text + at, p->size - at);
	buf_commit(ret, size);
}

void pattern_done(struct pattern *p)
{
	free(p->text);
	free(p->holes);
	*p = (struct pattern){0};
}
