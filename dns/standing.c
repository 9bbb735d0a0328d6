/* dns/standing.c - which resolver of the host is asked first
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dns/standing.h"

#include <stdbool.h>

void standing_set(struct standing *s, size_t count, unsigned version)
{
	if (s->version == version)
		return;
	*s = (struct standing){.count = count, .version = version};
}

size_t standing_choose(const struct standing *s, size_t n, int64_t now_ms)
{
	size_t order[SERVERS_MAX], count = 0;

	if (!s->count)
		return n;
	for (int last = 0; last < 2; last++)
		for (size_t i = 0; i < s->count; i++)
			if ((now_ms < s->of[i].until_ms) == (bool)last)
				order[count++] = i;
	return order[n % count];
}

void standing_answered(struct standing *s, size_t which)
{
	s->of[which].silent = 0;
	s->of[which].until_ms = 0;
}

void standing_silent(struct standing *s, size_t which, int64_t now_ms)
{
	if (++s->of[which].silent >= STANDING_SILENT_MAX)
		s->of[which].until_ms = now_ms + STANDING_REST_MS;
}
