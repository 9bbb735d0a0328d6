/* net/peers.h - the part of the facade that is about other hosts
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/ip.h"

struct net;

#define NET_FAMILIES 2

/* How tasks of other hosts are reached. */
enum net_transport {
	NET_AUTO,      /* by routes where the hosts share a link, else by a VXLAN */
	NET_ROUTES,    /* plain routes; hosts must share a link */
	NET_VXLAN,     /* UDP, in the clear */
	NET_WIREGUARD, /* UDP, encrypted, where the kernel has it */
};

/*
 * Other hosts: prefixes of their tasks' addresses lead there.  What is told is
 * true at once, found again after a crash, and put right by net_sweep(); who may
 * talk to whom say the security groups, whose members are of all hosts.
 * -EHOSTUNREACH, -EOPNOTSUPP: no way, or no such tunnel in this kernel, now; each
 * sweep tries again.  Refused: -EADDRINUSE (a prefix is another peer's), -EINVAL.
 */
#define NET_PEER_PREFIXES_MAX 128
#define NET_KEY_MAX           45 /* bytes of a key of WireGuard as text, with its NUL */

/* "auto", "routes", "vxlan", "wireguard"; false: none of these. */
bool net_transport_parse(const char *text, enum net_transport *ret);

struct net_peer {
	const char *id;                           /* as of endpoints */
	struct ip_prefix addresses[NET_FAMILIES]; /* of the host; length 0: none */
	const struct ip_prefix *prefixes;
	size_t count;
	const char *public_key; /* its net_public_key(); NULL: it has none */
};
/*
 * The host's own address of each family (length 0: none), which the others have as a
 * prefix of it: what the host itself sends over a tunnel to their tasks comes from there.
 * Nothing but answers is let in by it.  Kept over restarts.
 */
int net_set_self(struct net *net, const struct ip_prefix self[NET_FAMILIES], struct err *e);

int net_peer_set(struct net *net, const struct net_peer *peer, struct err *e); /* or replace */
/* Many at once, as if by net_peer_set(); 'on_failed' hears which were not taken, or not led to. */
typedef void net_peer_fn(void *ctx, const struct net_peer *peer, const struct err *why);
int net_peers_set(struct net *net, const struct net_peer *peers, size_t count,
		  net_peer_fn *on_failed, void *ctx, struct err *e);
int net_peer_remove(struct net *net, const char *id, struct err *e); /* absent is fine */
int net_peers_keep_only(struct net *net, const char *const *ids, size_t count, struct err *e);
int net_public_key(struct net *net, char ret[NET_KEY_MAX], struct err *e);
enum net_transport net_peer_transport(struct net *net, const char *id); /* NET_AUTO: not known */
