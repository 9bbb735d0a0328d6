/* net/peer.h - other hosts, and the ways to their tasks
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "net/name.h"
#include "net/net.h"
#include "net/netlink.h"

/* Routes to tasks of other hosts are marked with this number, and with our group as their metric. */
#define PEER_ROUTE_PROTOCOL 191

struct peer {
	char id[NET_ID_MAX + 1];
	struct ip_prefix addresses[NET_FAMILIES]; /* of the host; length 0: none */
	struct ip_prefix *prefixes;
	size_t count;
	char key[NET_KEY_MAX]; /* WireGuard's; "": none */
	/* Not in the file: found out. */
	enum net_transport transport;
	uint32_t path_mtu;
	bool settled; /* it is in the kernel as it should be */
};

struct peers {
	struct peer *items;
	size_t count, capacity;
	enum net_transport transport;
	struct ip_prefix node; /* by which the others know this host */
	uint32_t vxlan_id;
	uint16_t vxlan_port, wireguard_port;
	uint8_t private_key[32];
	char public_key[NET_KEY_MAX];
	bool has_key;
};

void peer_done(struct peer *p);
void peers_done(struct peers *p);

/* The text of a peer's file, malloc'ed, and back. */
char *peer_encode(const struct peer *p);
int peer_decode(const char *text, size_t size, const char *id, struct peer *ret, struct err *e);

/* The address that a tunnel to it leads to. */
const struct ip_prefix *peer_address(const struct peer *p);
bool peer_is_tunnelled(const struct peer *p);
/* What a tunnel adds to each packet, bytes. */
uint32_t peer_overhead(enum net_transport transport, bool v6);

/* What the files say; then everything made true, but for who cannot be reached now: why not. */
int peers_load(struct net *net, struct err *e);
int peers_settle(struct net *net, struct err *ret_unreachable, struct err *e);
/* The same; it fails when somebody cannot be reached. */
int peers_settle_all(struct net *net, struct err *e);
/* A route of ours to a peer; false: it is another one, or broken. */
bool peer_route_parse(const struct nlmsghdr *h, struct ip_prefix *ret_to, uint32_t *ret_metric);
int peers_destroy(struct net *net, struct err *e);

/* ---- peer_route.c ---- */

/* Routes of its prefixes, but those that are the host's own: why is in *why then. */
void peer_routes_add(struct batch *b, struct net *net, const struct peer *p, uint32_t index,
		     struct err *why);
/* Routes of ours that lead to nobody we know go. */
int peer_routes_delete_strays(struct net *net, struct err *e);

/* ---- tunnels: tunnel.c, wireguard.c ---- */

/* "brx1a2b3c", "brw1a2b3c". */
void tunnel_name(const struct name *n, enum net_transport transport, char ret[IFNAMSIZ]);
/* The MAC of a host's end of the VXLAN, of its address; and an address for it as a next hop. */
void vxlan_mac(const struct ip_prefix *host, uint8_t ret[6]);
struct ip_prefix vxlan_next_hop(const struct ip_prefix *host, bool v6);

struct tunnel {
	enum net_transport transport;
	uint32_t index; /* 0: there is none */
	uint32_t vxlan_id;
	uint16_t vxlan_port; /* as in packets */
	uint8_t mac[6];
	bool fits; /* it is what it is called */
};
bool tunnel_parse(const struct nlmsghdr *h, struct tunnel *ret);

/*
 * The device is there as it should be; *ret_new: it was not, and what led over
 * it is gone.
 */
int tunnel_make(struct net *net, enum net_transport transport, uint32_t mtu, uint32_t *ret_index,
		bool *ret_new, struct err *e);
/* The host's own address there comes or goes: RTM_NEWADDR, RTM_DELADDR. */
void tunnel_address(struct batch *b, unsigned type, uint32_t index,
		    const struct ip_prefix *address);
int tunnel_delete(struct net *net, enum net_transport transport, struct err *e);

/* The other end of the VXLAN: where its MAC is, and who has it. */
void vxlan_add_peer(struct batch *b, uint32_t index, const struct peer *p);
void vxlan_drop_peer(struct batch *b, uint32_t index, const struct peer *p);

/* The key of this host, made when there is none yet. */
int wireguard_key(struct net *net, struct err *e);
/* The device's own key and port. */
int wireguard_set_device(struct net *net, uint32_t index, struct err *e);
int wireguard_set_peer(struct net *net, uint32_t index, const struct peer *p, struct err *e);
int wireguard_drop_peer(struct net *net, uint32_t index, const struct peer *p, struct err *e);
