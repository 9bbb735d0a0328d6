/* net/host.h - what a Berth takes of the host: a block, its gateway, forwarding
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A block is claimed by putting its gateway on `lo`, under a label of ours: the
 * kernel lets only one of two win, and the label says after a crash whose it
 * is.  Then the whole block is made unreachable, so that packets for addresses
 * without a task do not leave by the default route, and so that others (Docker,
 * another Berth) see that the block is taken.  Tasks' /32 routes go before it.
 * A VPC whose addresses tasks have is claimed in the same way.
 *
 * Forwarding is on or off for the whole host.  When it was off we turn it on,
 * and keep the links that were there from becoming a router between
 * themselves: they are "quiet".  Links that come later are their makers'
 * business.
 */
#pragma once

#include "net/link.h"
#include "net/netlink.h"
#include "net/state.h"

/* Routes wider than this are ways to the world (0/0, and 0/1 of VPNs), not blocks in use. */
#define ROUTE_PREFIX_MIN 4

struct host {
	struct netlink *nl;      /* borrowed */
	const struct name *name; /* borrowed */
};

/*
 * Claim 'wanted', or the first candidate that is free when it is NULL.
 * -EADDRINUSE: it overlaps what the host has.
 */
int host_claim(const struct host *h, const struct block *wanted, struct block *ret, struct err *e);

/* Make the claim whole again: gateway and route. Fails as host_claim(). */
int host_reclaim(const struct host *h, const struct block *block, struct err *e);

/* Take back every claim under our label but those of 'keep'. */
int host_release(const struct host *h, const struct block *keep, size_t count, struct err *e);

/*
 * Make the addresses that tasks have towards the world, and no others of that
 * kind, the host's: it answers for them wherever they are asked for.
 */
int host_set_public(const struct host *h, const uint32_t *addresses, size_t count, struct err *e);
/* Is an address of IPv6 on some link that can be reached from elsewhere? */
bool host_has_ipv6(void);

int host_forwarding(bool v6, bool *ret, struct err *e);
int host_set_forwarding(bool v6, bool on, struct err *e);
/* Links that get their address from a router go on to when this host is one, too. */
int host_keep_advertisements(bool router, struct err *e);

/* MTU of the link that the default route leads over; 1500 where there is none. */
int host_uplink_mtu(const struct host *h, uint32_t *ret, struct err *e);

/* Addresses and routes out of the kernel's answers; false: of another kind or broken. */
struct address_info {
	uint32_t address; /* host byte order */
	unsigned prefix;
	uint32_t index;
	char label[IFNAMSIZ];
};
bool address_info_parse(const struct nlmsghdr *h, struct address_info *ret);

struct route_info {
	struct block to;
	uint32_t table, index, metric; /* index 0: it leads over no link */
	uint8_t protocol, type;
};
bool route_info_parse(const struct nlmsghdr *h, struct route_info *ret);
