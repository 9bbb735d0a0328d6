/* net/internal.h - a struct net, for the files that work on all of it
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "net/conntrack.h"
#include "net/firewall.h"
#include "net/host.h"
#include "net/ipam.h"
#include "net/netns.h"
#include "net/peer.h"
#include "net/port.h"
#include "net/shortcut.h"
#include "net/state.h"

struct net {
	struct name name;
	struct state state;
	struct netlink route, netfilter;
	int watch_fd; /* tells what others do to nftables */
	struct host_state host;
	struct ipam ipam;
	struct port_range ports;
	struct conntrack conntrack;
	struct netns_pool *namespaces;
	struct policy policy;
	struct endpoint *endpoints;
	size_t endpoint_count, endpoint_capacity;
	struct peers peers;
	struct shortcut shortcut;
	const struct net_flows *flows; /* what is logged; NULL: nothing */
	uint32_t uplink_mtu, mtu; /* of the host's way out; of tasks that are made from now on */
	char trunk[IFNAMSIZ];     /* the link, "": none */
	struct err trunk_failure; /* why what is on it could not be made whole; code 0: it is */
	bool has_ipv6;            /* the kernel */
	bool no_ipv6_forwarding;  /* but where somebody else turned it on */
	bool bridge_has_ipv6;     /* the host: tasks in mode bridge get addresses of it */
	bool wants_bridge;        /* who came last */
	struct block claimed;     /* the last VPC that was, until the next sweep; prefix 0: none */
};

/* The parts, as their files want them. */
struct host net_host(struct net *net);
struct firewall net_firewall(struct net *net);
struct link net_link(const struct net *net, const struct endpoint *ep);

/* NULL: absent. Valid until an endpoint is added or removed. */
struct endpoint *net_endpoint(struct net *net, const char *id);

/*
 * Everything that is on the host but for single tasks, made true: gateway,
 * route of the block, table, forwarding.
 */
int net_settle_host(struct net *net, struct err *e);
/* Make the host a router of a family, but not between links that were there before. */
int net_forward(struct net *net, bool v6, struct err *e);

/* The public addresses of all endpoints, and of one more (NULL: of none), are the host's. */
int net_settle_public(struct net *net, const struct endpoint *more, struct err *e);

/* Connections that changed rules do not allow, where that was asked for (cut.c). */
int net_cut(struct net *net, struct err *e);

/* None of an earlier agent's programs is at a link of ours; the reason why there can be none is kept. */
void net_open_shortcuts(struct net *net, bool wanted);

/* Take an endpoint down and forget it; the struct is no longer valid on success. */
int net_take_down(struct net *net, struct endpoint *ep, struct err *e);
