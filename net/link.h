/* net/link.h - the veth pair of a task, its addresses, routes and neighbours
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * Both ends know each other's MAC from the beginning, as permanent neighbours:
 * nothing is ever asked on the link, nobody can answer falsely, and the host's
 * neighbour table has no limit for permanent entries.  The task sends all it
 * has to the gateway's MAC; the host has one /32 route for each task, and by
 * the same route the firewall knows the right source address.
 *
 * One queue each way is asked for: with the default the kernel makes one for
 * each CPU and then shrinks them, which waits for a grace period at each end.
 * IPv6 makes itself no addresses here, so nothing waits for their detection.
 *
 * A link that gets a carrier sends nothing before a work queue of the kernel
 * has come round to it, some milliseconds later when many links come and go; a
 * first packet that meets it costs its sender a second.  To ask for the link's
 * state makes the kernel do that work at once, since 6.8; before, it is asked
 * until the work was done.
 *
 * The link is never deleted one by one, which would block for tens of
 * milliseconds: it goes with the namespace, in the kernel's own time.
 */
#pragma once

#include "base/ip.h"
#include "net/name.h"
#include "net/netlink.h"

/* Routes of ours are marked with this number (ip route: "proto 190"). */
#define LINK_ROUTE_PROTOCOL 190

/*
 * The task's end has this index in its namespace, above all that the kernel
 * makes there by itself (tunl0, sit0 ...).  It must not be the host end's: a
 * link that is its own lower one counts as not stacked, and news of its
 * carrier then wait up to a second.
 */
#define LINK_TASK_INDEX 64

struct link {
	const struct name *name;            /* borrowed */
	uint32_t index, host_part;          /* of the host's end, and in its name */
	struct ip_prefix address, address6; /* of the task's end; length 0: none */
	struct ip_prefix within;            /* where 'address' leads; length 0: everywhere */
	uint32_t gateway;                   /* host byte order */
	uint32_t mtu;
	bool has_ipv6;     /* the kernel speaks it */
	bool has_room;     /* for shortcuts (net/shortcut.h) */
	const char *alias; /* the endpoint's id, for people; borrowed */
};

/* The MAC of the task's end. */
void link_mac(const struct link *l, uint8_t ret[6]);

/* In the host: the pair, its other end in the namespace. */
void link_create(struct batch *b, const struct link *l, int netns_fd);
/*
 * In the host: who has no address of IPv6 needs no IPv6 there.  The kernel would keep
 * a route for multicast of each link, all of them in one list that it walks whenever
 * a link comes.  Off is for before the link is up.
 */
void link_set_ipv6(const struct link *l, bool on);
/* In the host: settings and owner, neighbour, route.  Idempotent. */
void link_settle(struct batch *b, const struct link *l);
/*
 * In the namespace: everything; what of it does not depend on who has the link; the
 * rest, of one that was made for 'made'.
 */
void link_task_side(struct batch *b, const struct link *l);
void link_prepare_task_side(struct batch *b, const struct link *l);
void link_finish_task_side(struct batch *b, const struct link *l, const struct link *made);
/* In the host: what does not depend on that; who has the link; what leads to it. */
void link_prepare_host_side(struct batch *b, const struct link *l);
void link_name_owner(struct batch *b, const struct link *l);
void link_lead(struct batch *b, const struct link *l);
/* In the namespace, when both ends are up: wait until it sends. */
int link_wait(struct netlink *inside, struct err *e);
/* In a namespace of its own: the loopback, and that is all. */
void link_loopback(struct batch *b);

/* In the host: nothing reaches the task any more, nor comes from it. Pass over ESRCH. */
void link_cut(struct batch *b, const struct link *l);

struct link_info {
	uint32_t index, group, mtu, parent; /* parent: of a VLAN */
	unsigned flags;                     /* IFF_UP ... */
	bool ready;                         /* it sends: its operational state is up */
	char name[IFNAMSIZ];
};
/* False when the message is no link, or not whole. */
bool link_parse(const struct nlmsghdr *h, struct link_info *ret);

/* All links of the namespace; malloc'ed. */
int link_list(struct netlink *nl, struct link_info **ret, size_t *ret_count, struct err *e);

/*
 * Delete links at once: a group of their own first, then the group.  Blocks
 * for a few tens of milliseconds, however many.
 */
int link_delete(struct netlink *nl, const struct link_info *links, size_t count, struct err *e);
