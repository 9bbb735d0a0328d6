/* net/firewall.h - our nftables table
 * SPDX-License-Identifier: Apache-2.0
 *
 * What the table does, as nft(8) would have it (G is our interface group):
 *
 *   map ports    protocol . host port : address . container port; ports6 as well
 *   set hairpin  address . address of each task that has ports
 *   set quiet    links between which nothing was forwarded before us
 *   map services local address : address of who serves tasks of this host there; services6 as well
 *   set askers   links of tasks that have sent there lately, each with its own limit
 *
 *   raw          from G: not to 127.0.0.0/8, from the right address, not too often to services; from others
 *                (raw_others): with addresses of tasks only from where the route to them leads
 *   prerouting   from G to a service, from all to an address of the host: dnat by the maps
 *   output       the same for the host's own packets, 127.0.0.1 included, ::1 not
 *   postrouting  hairpin and 127.0.0.0/8 to G: snat to the gateway, in IPv6 to an
 *                address of the host; from the block to elsewhere: masquerade
 *   input        VXLAN of our number: from peers only; from secured tasks: drop, but for answers
 *   forward      established to G: accept; quiet to quiet: drop; from G to a service, but for what
 *                prerouting led there: drop; from secured: egress, which
 *                lets pass what goes to a service; to another local address: drop;
 *                to secured: ingress; to G: from G, or by a port; else drop
 *
 * Tasks in security groups (secured) pass two chains more: egress, for the own
 * rules of who sends, then ingress, for those of who receives; each ends with a
 * drop.  Which identities the two addresses have is looked up in the first of them,
 * and what one task here says to another goes from the one to the other (left, let_in).
 * Both ask one set for rules that name groups and one for those that name prefixes.
 * Between the two egress refuses what goes to another VPC: what is no pair of `within`
 * (borders) and has an address of `routed` or `elsewhere`.
 *
 * There are no rules of single tasks: a port costs one element whatever there
 * are.  A wrong source address is found by the route that leads back (fib), so
 * nothing is kept for that either.
 *
 * The table carries a hash of its own definition as a comment.  One that was
 * made by another version, or that somebody changed, is replaced with all its
 * elements in one transaction.
 */
#pragma once

#include "net/name.h"
#include "net/netlink.h"
#include "net/peer.h"
#include "net/policy.h"
#include "net/state.h"

struct firewall {
	struct netlink *nl;      /* borrowed */
	const struct name *name; /* borrowed */
	struct block block;
	struct policy *policy;     /* borrowed */
	const struct peers *peers; /* borrowed; NULL: as if there were none */
};

/* Is the table there, and as we would make it? */
int firewall_whole(const struct firewall *f, bool *ret, struct err *e);

/* Make the table anew with the elements of these endpoints and links. */
int firewall_replace(const struct firewall *f, const struct endpoint *endpoints, size_t count,
		     const struct host_state *host, struct err *e);

/* The elements of one endpoint.  Dropping what is not there is fine. */
int firewall_add(const struct firewall *f, const struct endpoint *ep, struct err *e);
int firewall_drop(const struct firewall *f, const struct endpoint *ep, struct err *e);

/* Who the peers are now. */
int firewall_apply_peers(const struct firewall *f, struct err *e);

/* What changed in the policy since it was sent last, in one transaction. */
int firewall_apply_policy(const struct firewall *f, struct err *e);

/* Make the elements those of these endpoints, without touching what is right. */
int firewall_reconcile(const struct firewall *f, const struct endpoint *endpoints, size_t count,
		       struct err *e);

/* Absent is fine. */
int firewall_destroy(const struct firewall *f, struct err *e);

/* Requests that make table, sets, chains and rules; how many rules. */
size_t firewall_define(const struct firewall *f, const char *comment, struct batch *b);
