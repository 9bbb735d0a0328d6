/* net/elements.h - elements of the sets of our table
 * SPDX-License-Identifier: Apache-2.0
 *
 * What the firewall knows of endpoints and security groups is elements of sets,
 * never rules.  Keys and data are as in packets, each field padded to four
 * bytes; identities are numbers in the host's byte order.
 */
#pragma once

#include <stdint.h>

#include "net/nf.h"
#include "net/state.h"

enum element_set {
	/* of endpoints */
	ELEMENTS_PORTS, /* protocol . host port : address . container port */
	ELEMENTS_PORTS6,
	ELEMENTS_HAIRPIN, /* address . address of each task that has host ports */
	ELEMENTS_HAIRPIN6,
	ELEMENTS_SECURED, /* addresses here that only their groups let in and out */
	ELEMENTS_SECURED6,
	ELEMENTS_ROUTED, /* family . prefix where those are known by their own address */
	ELEMENTS_ROUTED6,
	ELEMENTS_WITHIN, /* VPC . the same VPC: who may be a neighbour of whom */
	ELEMENTS_WITHIN6,
	ELEMENTS_TRUNKED, /* addresses that go out as they are, to a trunk */
	ELEMENTS_TRUNKED6,
	ELEMENTS_PUBLIC_IN, /* public address : address of the task, and back */
	ELEMENTS_PUBLIC_OUT,
	ELEMENTS_SERVICES, /* address of 'net_local' : address of who serves there */
	ELEMENTS_SERVICES6,
	ELEMENTS_SERVING,
	ELEMENTS_SERVING6,
	/* of peers */
	ELEMENTS_PEERS, /* addresses from which VXLAN packets come */
	ELEMENTS_PEERS6,
	ELEMENTS_ELSEWHERE, /* family . prefix of their tasks */
	ELEMENTS_ELSEWHERE6,
	/* of security groups, net/policy.h */
	ELEMENTS_IDENTITIES,
	ELEMENTS_IDENTITIES6,
	ELEMENTS_EGRESS_GROUPS, /* own identity . other's identity . protocol . port */
	ELEMENTS_INGRESS_GROUPS,
	ELEMENTS_EGRESS_RANGES, /* own identity . protocol . port . other's prefix */
	ELEMENTS_INGRESS_RANGES,
	ELEMENTS_EGRESS_RANGES6,
	ELEMENTS_INGRESS_RANGES6,
	/* Found at once, where the sets above are searched: the same of one port of one protocol; */
	ELEMENTS_EGRESS_PORTS,
	ELEMENTS_INGRESS_PORTS,
	ELEMENTS_EGRESS_OPEN, /* own identity . family: any protocol to and from anywhere */
	ELEMENTS_INGRESS_OPEN,
	ELEMENT_SETS
};
#define ELEMENTS_OF_PEERS  ELEMENTS_PEERS
#define ELEMENTS_OF_POLICY ELEMENTS_IDENTITIES /* and all behind it */

extern const struct nf_set elements_sets[ELEMENT_SETS];

#define ITEM_KEY_MAX  32
#define ITEM_DATA_MAX 20

struct item {
	uint8_t key[ITEM_KEY_MAX], end[ITEM_KEY_MAX]; /* 'end' only where elements are ranges */
	uint8_t data[ITEM_DATA_MAX];
};

struct items {
	struct item *items;
	size_t count, capacity;
};

#define auto_items __attribute__((cleanup(items_done)))
void items_done(struct items *list);
void items_add(struct items *list, const struct item *item);
/* By key, then end, then data. */
void items_sort(struct items *list);
int items_compare(const void *a, const void *b);

/* Those of one of the sets of endpoints. */
void elements_of(enum element_set set, const struct endpoint *endpoints, size_t count,
		 struct items *ret);

/* family . prefix, if it is of the family, and not there yet. */
void elements_add_prefix(const struct ip_prefix *prefix, bool v6, struct items *ret);

/* Add (NFT_MSG_NEWSETELEM) or delete (NFT_MSG_DELSETELEM). */
void elements_change(struct batch *b, unsigned msg, const char *table, enum element_set set,
		     const struct item *items, size_t count);
/* All that these endpoints have in sets. */
void elements_change_endpoints(struct batch *b, unsigned msg, const char *table,
			       const struct endpoint *endpoints, size_t count);

/*
 * Put into a batch what makes the elements of a set of the table the wanted ones,
 * which are sorted.  What is right is not touched.
 */
int elements_compare(struct netlink *nl, const char *table, enum element_set set,
		     const struct items *wanted, struct batch *b, struct err *e);
