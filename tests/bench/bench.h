/* tests/bench/bench.h - what programs that measure the core share
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "scheduler/core/core.h"

static inline double cpu_seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline size_t memory_in_use(void)
{
	const struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* A node "hNUMBER" with room for a million small tasks says hello. */
static inline int say_hello(struct core *c, unsigned number, int64_t now_ms, struct err *e)
{
	char host[16];
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .hostname = host,
					 .boot_id = (char[]){"b"},
					 .version = (char[]){"1"},
					 .cpu_units = 1 << 20,
					 .memory_mib = 1 << 20};
	const char *instance;

	(void)snprintf(host, sizeof(host), "h%u", number);
	return core_node_hello(c, &h, NULL, 0, now_ms, &instance, e);
}

static inline void drop_effects(struct core *c)
{
	struct core_effects fx;

	core_take_effects(c, &fx);
	core_effects_done(&fx);
}
