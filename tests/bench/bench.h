/* tests/bench/bench.h - what programs that measure the core share
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <malloc.h>
#include <stddef.h>
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

static inline void drop_effects(struct core *c)
{
	struct core_effects fx;

	core_take_effects(c, &fx);
	core_effects_done(&fx);
}
