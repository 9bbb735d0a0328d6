/* base/clock.h - the two clocks
 * SPDX-License-Identifier: Apache-2.0
 *
 * Durations come from clock_mono_ns() only; clock_wall_ms() is for stamps that
 * people and protocols see.  Code that decides takes the time as a parameter.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS 1000000LL
#define NS_PER_S  1000000000LL

int64_t clock_mono_ns(void); /* CLOCK_BOOTTIME: goes on while the host sleeps */
int64_t clock_mono_ms(void);
int64_t clock_wall_ms(void); /* since 1970, UTC */
int64_t clock_wall_ns(void);

/* RFC 3339 in UTC with milliseconds, "2026-01-02T03:04:05.678Z"; 'out' has 32 bytes. */
void clock_format_rfc3339(int64_t wall_ms, char out[32]);
