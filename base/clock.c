/* base/clock.c - the two clocks
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

static int64_t now_ns(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts); /* cannot fail for these ids */
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_mono_ns(void)
{
	return now_ns(CLOCK_BOOTTIME);
}

int64_t clock_mono_ms(void)
{
	return clock_mono_ns() / NS_PER_MS;
}

int64_t clock_wall_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}

int64_t clock_wall_ms(void)
{
	return clock_wall_ns() / NS_PER_MS;
}

/*
 * Days since 1970-01-01, in the Gregorian calendar.  gmtime_r() would read the zone
 * of the machine's local time first, in seven system calls.
 */
static void civil_date(int64_t days, unsigned *ret_year, unsigned *ret_month, unsigned *ret_day)
{
	const unsigned day = (unsigned)(days + 719468); /* since 0000-03-01: leap days come last */
	const unsigned era = day / 146097, of_era = day % 146097;
	const unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	const unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
	const unsigned month = (5 * of_year + 2) / 153; /* since March */

	*ret_day = of_year - (153 * month + 2) / 5 + 1;
	*ret_month = month < 10 ? month + 3 : month - 9;
	*ret_year = year + era * 400 + (*ret_month <= 2);
}

void clock_format_rfc3339(int64_t wall_ms, char out[32])
{
	const unsigned ms = (unsigned)(wall_ms % 86400000), second = ms / 1000;
	unsigned year, month, day;
	int len;

	civil_date(wall_ms / 86400000, &year, &month, &day);
	len = snprintf(out, 32, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year, month, day,
		       second / 3600, second / 60 % 60, second % 60, ms % 1000);
	assert(len > 0 && len < 32);
}
