/* net/elements.h - what the firewall knows of endpoints
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two sets of our table have elements that come from endpoints: `ports`, where
 * a packet to a host port goes, and `hairpin`, the tasks that may reach
 * themselves by one.  Key and data are two fields of four bytes, as in packets.
 */
#pragma once

#include <stdint.h>

#include "net/nf.h"
#include "net/state.h"

enum element_set { ELEMENTS_PORTS, ELEMENTS_HAIRPIN };

extern const struct nf_set elements_sets[2];

struct item {
	uint8_t key[8], data[8];
};

/* The items of one set for these endpoints; malloc'ed. */
struct item *elements_of(enum element_set set, const struct endpoint *endpoints, size_t count,
			 size_t *ret_count);

/* Add (NFT_MSG_NEWSETELEM) or delete (NFT_MSG_DELSETELEM) the elements of these endpoints. */
void elements_change(struct batch *b, unsigned msg, const char *table,
		     const struct endpoint *endpoints, size_t count);

/* Make the elements of the table those of these endpoints; what is right is not touched. */
int elements_reconcile(struct netlink *nl, const char *table, const struct endpoint *endpoints,
		       size_t count, struct err *e);
