/* dns/asker.c - who asks: how often, and how much of the relay each has
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dns/asker.h"

#include <stdlib.h>

#include "base/mem.h"

static void forget(struct askers *a, bool all)
{
	struct asker *k;

	for (size_t i = 0; map_next(&a->by_address, &i, &k);) {
		char key[IP_TEXT_MAX];

		if (!all && (k->held[ASKER_QUERIES] || k->held[ASKER_STREAMS]))
			continue;
		ip_address_format(&k->address, key);
		(void)map_remove(&a->by_address, key);
		free(k);
	}
}

struct asker *askers_get(struct askers *a, const struct ip_prefix *address)
{
	char key[IP_TEXT_MAX];
	struct asker *k;

	ip_address_format(address, key);
	k = map_find(&a->by_address, key);
	if (k)
		return k;
	if (a->by_address.count >= ASKERS_MAX)
		forget(a, false);
	k = xcalloc(1, sizeof(*k));
	*k = (struct asker){.address = *address};
	(void)map_put(&a->by_address, key, k);
	return k;
}

struct asker *askers_greediest(const struct askers *a, enum asker_place place)
{
	struct asker *k, *most = NULL;

	for (size_t i = 0; map_next(&a->by_address, &i, &k);)
		if (!most || k->held[place] > most->held[place])
			most = k;
	return most;
}

void askers_done(struct askers *a)
{
	forget(a, true);
	map_done(&a->by_address);
	*a = (struct askers){0};
}

bool asker_may_ask(struct asker *a, int64_t now_ms)
{
	return rate_take(&a->rate, ASKER_RATE, ASKER_RATE, now_ms);
}
