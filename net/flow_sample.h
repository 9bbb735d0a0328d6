/* net/flow_sample.h - what open connections have counted, by a walk over all of them
 * SPDX-License-Identifier: Apache-2.0
 *
 * A walk takes 10 ms even where there are none, and a second with a million: a thread
 * does it.  Counters of connections of the addresses are set to zero.
 */
#pragma once

#include "net/flow.h"

struct flow_sample;

/* The socket, which it has until the end, and a copy of the addresses. */
int flow_sample_begin(struct netlink *nl, const struct ip_prefix *addresses, size_t count,
		      struct flow_sample **ret, struct err *e);
/* Readable when the walk is over. */
int flow_sample_fd(const struct flow_sample *s);
/* Wait until it is over, and hear what it saw; 'on_report' NULL: nothing. *ret_lost: not all. */
int flow_sample_end(struct flow_sample *own_s,
		    void (*on_report)(void *ctx, const struct flow_report *r), void *ctx,
		    bool *ret_lost, struct err *e);
