/* dns/asker.h - who asks: how often, and how much of the relay each has
 * SPDX-License-Identifier: Apache-2.0
 *
 * A task is known by its address, which it cannot choose.  When all places are taken whoever
 * has most of them gives one to who has fewer, so nobody can keep others from asking.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/map.h"
#include "base/rate.h"
#include "ecs/resolver.h"

#define ASKER_RATE 1024 /* messages a second of one address, as EC2 has it for an interface */
#define ASKERS_MAX 8192 /* that are remembered though they have nothing */

enum asker_place { ASKER_QUERIES, ASKER_STREAMS, ASKER_PLACES };

struct asker {
	struct ip_prefix address;
	struct rate rate;
	unsigned held[ASKER_PLACES];
	/* In which VPC it is, as the agent said; until then. */
	int64_t known_until_ms;
	struct ip_prefix vpc;
	char domain[ECS_DOMAIN_SIZE];
};

struct askers {
	struct map by_address;
};

/* It is there as long as it holds something, or nobody else is looked for. */
struct asker *askers_get(struct askers *a, const struct ip_prefix *address);
/* Who holds most. */
struct asker *askers_greediest(const struct askers *a, enum asker_place place);
void askers_done(struct askers *a);

/* One more message of it: false, it is one too many. */
bool asker_may_ask(struct asker *a, int64_t now_ms);
