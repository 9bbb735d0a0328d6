/* base/rate.h - how often somebody may
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* All zero bytes: a whole burst is left. */
struct rate {
	int64_t left; /* thousandths of one */
	int64_t at_ms;
};

/*
 * Once more, of 'per_s' in each second and at most 'burst' together; 'now_ms' is that of
 * clock_mono_ms().  False: not now, and nothing is taken.
 */
bool rate_take(struct rate *r, int64_t per_s, int64_t burst, int64_t now_ms);
