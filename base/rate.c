/* base/rate.c - how often somebody may
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/rate.h"

bool rate_take(struct rate *r, int64_t per_s, int64_t burst, int64_t now_ms)
{
	r->left += (now_ms - r->at_ms) * per_s;
	if (r->left > burst * 1000 || !r->at_ms)
		r->left = burst * 1000;
	r->at_ms = now_ms;
	if (r->left < 1000)
		return false;
	r->left -= 1000;
	return true;
}
