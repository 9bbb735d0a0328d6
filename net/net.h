/* net/net.h - networks of tasks: links, addresses, firewall, host ports
 * SPDX-License-Identifier: Apache-2.0
 *
 * An endpoint is one network namespace and what leads to it: a veth pair, a
 * /32 route, host ports; in IPv6 as well where the host has addresses of it.  There is no Linux bridge: the host routes.
 *
 *   task's eth0 172.28.0.7/32  <--veth-->  brt-0007  <--routes, nftables-->  world
 *
 * In mode NET_AWSVPC eth0 has addresses that the caller chose instead; groups of
 * such addresses say who may talk to whom.
 *
 * Who owns what.  A `struct net` owns, for its name: one block of addresses,
 * whose first one, the gateway, sits on `lo` under a label of ours; the links
 * whose names begin with its prefix; one nftables table of its name; and, where
 * another firewall drops what is forwarded, two rules in it that let those links
 * pass (net/coexist.h); with tasks on a trunk, VLANs, rules and routes of their
 * subnets (net/trunk.h).  Nothing else on the host is touched but the forwarding
 * of IPv4 and, where tasks have addresses of it, of IPv6, which must be on.  Two
 * Berths of other names on one host never meet: a block is taken only when no
 * address or route of the host overlaps it, and taking it is an address add
 * that the kernel grants once.
 *
 * A namespace has no name: it lives as long as a descriptor of it or a process
 * in it, and takes its link along when it goes.  What an endpoint has is
 * written to the state directory before the kernel is asked, so after a crash
 * net_sweep() makes links, routes and rules agree with the files.
 *
 * Calls block for about a millisecond.  One process at a time owns a state
 * directory; a struct net is used by one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"
#include "net/flows.h"
#include "net/peers.h"
#include "net/shortcuts.h"

struct net;

#define NET_ID_MAX       127         /* characters of an endpoint's id: letters, digits, '-', '_' */
#define NET_PORTS_MAX    200         /* mappings of one endpoint, each of a port or a range */
#define NET_RANGES_MAX   131072      /* ports of all of them: more than a host has */
#define NET_ADDRESS_MAX  IP_TEXT_MAX /* bytes of an address as text, with its NUL */
#define NET_LINK_MAX     16
#define NET_GROUP_ID_MAX 31 /* characters of the id of a security group, without spaces */

enum {
	NET_ABSENT = 1,   /* there is no such endpoint */
	NET_REPAIRED = 2, /* somebody had changed what is ours */
};

enum net_mode {
	NET_NONE,   /* a loopback and nothing else */
	NET_BRIDGE, /* an address of the host's own block, masqueraded, reached by host ports */
	NET_AWSVPC, /* addresses of a subnet; its security groups say who may talk to whom */
};

enum net_protocol { NET_TCP, NET_UDP };

struct net_port {
	uint16_t container_port;
	uint16_t host_port; /* 0 in a request: one is chosen */
	enum net_protocol protocol;
	uint32_t count; /* so many in a row, of both; 0 in a request: one */
};

struct net_options {
	/*
	 * "berth", or "berth-" and six hexadecimal digits.  The nftables table
	 * has this name; links are called brt-XXXX or brtDDDDDD-XXXX.
	 */
	const char *name;
	const char *state_dir; /* made when absent; must not survive a reboot (below /run) */
	/*
	 * The block of addresses, "10.9.0.0/16", /12 to /28.  NULL: the first free
	 * one of a list.  A block taken before is kept over restarts.
	 */
	const char *bridge_cidr;
	/* Range of dynamic host ports; both 0: net.ipv4.ip_local_port_range. */
	uint16_t port_first, port_last;

	enum net_transport transport;
	uint32_t vxlan_id;                   /* the same on all hosts; 0: 4226 */
	uint16_t vxlan_port, wireguard_port; /* 0: 4789, 51820 */
	const char *node_address; /* by which the others know this host; NULL: as its routes say */
	bool no_shortcuts;        /* net/shortcuts.h */
	/* The host is not made a router of IPv6: only where it is one do tasks have addresses of it. */
	bool no_ipv6_forwarding;
	/* The link whose VLANs tasks can be on; NULL: none. */
	const char *trunk;
};

/*
 * What is known of an endpoint.  Addresses are text, "" where there is none
 * (NET_NONE; a family that it has not).
 */
struct net_endpoint {
	enum net_mode mode;
	bool lost; /* seen by a sweep: its link is gone and the task has no network, replace it */
	char address[NET_ADDRESS_MAX], address6[NET_ADDRESS_MAX];
	/* To services of this host in IPv4; of one with IPv6 alone an address that leads nowhere else. */
	char source[NET_ADDRESS_MAX];
	char gateway[NET_ADDRESS_MAX];
	char mac[18];
	char link[NET_LINK_MAX];              /* the host's end */
	struct net_port ports[NET_PORTS_MAX]; /* host_port and count are never 0 */
	size_t port_count;

	/*
	 * Only from net_attach() (and the ports from net_hold()), owned by the
	 * endpoint (net_endpoint_done): the namespace, and for each mapping what
	 * holds its ports on the host, so that nobody else gets them while the
	 * endpoint lives.  Whoever keeps the container keeps duplicates of all.
	 */
	int netns_fd;
	int held_fds[NET_PORTS_MAX];
	size_t held_count;
};

/* A place on the physical network that net_options.trunk leads to (net/trunk.h). */
struct net_trunk {
	uint16_t vlan; /* 0: on the link as it is */
	/* That others there are in, too, and its router; of no family: not on the trunk. */
	struct ip_prefix subnet[NET_FAMILIES], gateway[NET_FAMILIES];
};

struct net_request {
	const char *id;
	enum net_mode mode;
	const struct net_port *ports; /* NET_BRIDGE only */
	size_t port_count;
	/*
	 * NET_AWSVPC only: the address of eth0, of either family or both (length 0:
	 * not of this one), and the blocks within which it is known by that address;
	 * to elsewhere it goes under the host's.
	 */
	struct ip_prefix addresses[NET_FAMILIES], vpc[NET_FAMILIES];
	/* NET_AWSVPC only: an IPv4 address led here, the task's in the world; length 0: none. */
	struct ip_prefix public_address;
	/* NET_BRIDGE only: where tasks here find it whatever their groups say: in 169.254.0.0/16, fd00:ec2::/32. */
	struct ip_prefix service[NET_FAMILIES]; /* length 0: not there */
	/* NET_AWSVPC only: known by a MAC of its own.  -ENODEV: no such link; -EOPNOTSUPP: no VLANs here. */
	struct net_trunk trunk;
	/*
	 * The user namespace that its network namespace belongs to: capabilities of
	 * the task are then rights over its network.  Borrowed; NULL: the host's.
	 */
	const int *userns_fd;
	uint32_t reserved;   /* of net_reserve(), taken if it is still there; 0: none */
	const int *netns_fd; /* NET_NONE only: of net_make_none(); borrowed; NULL: none */
};

/*
 * Security groups.  A rule says who may talk to the members of its group, or,
 * if egress, whom they may talk to; answers always pass.  Nothing passes to or
 * from a task in mode NET_AWSVPC but what a group that its address is in
 * allows, so that a task whose groups are not known here is alone.
 */
struct net_rule {
	bool egress;
	int protocol;           /* of IP; -1: all */
	int from_port, to_port; /* ICMP: type and code; -1: all */
	const char *group;      /* whose members; NULL: 'prefix' */
	struct ip_prefix prefix;
};

struct net_members {
	const char *const *joined, *const *left; /* addresses */
	size_t joined_count, left_count;
};

struct net_group {
	const char *id;
	const struct net_rule *rules;
	size_t rule_count;
	struct net_members members; /* all of them, on whatever host, in 'joined' */
	/*
	 * The next commit forgets connections of members on this host that no rule allows
	 * any more; without, they go on.  That is a walk over all that the kernel knows.
	 */
	bool cut;
};

/*
 * Take what is the host's for this name, or find it: block, gateway, table,
 * forwarding.  Idempotent; the endpoints of the state directory are read, and
 * stay as they are until net_sweep().
 */
int net_open(const struct net_options *options, struct net **ret, struct err *e);

/* Let go of memory and descriptors; everything in the kernel goes on. */
void net_close(struct net *net);

/*
 * Make an endpoint.  *ret is the caller's to net_endpoint_done().
 * Fails with -EADDRINUSE (a host port is taken, or none, or not so many in a
 * row, are free in the range),
 * -EADDRNOTAVAIL (the block is used up), -EEXIST (the id is there), -EINVAL;
 * a failure leaves nothing behind.
 */
int net_attach(struct net *net, const struct net_request *request, struct net_endpoint *ret,
	       struct err *e);

/* After a start that net_attach() was for: names its link, begins networks for those to come. */
void net_follow(struct net *net);
/*
 * Set one of the networks that wait ready made aside for a request of this mode to come: its
 * number, and a duplicate of its namespace, the caller's.  0: none waits.  It ends with 'net'.
 */
uint32_t net_reserve(struct net *net, enum net_mode mode, int *ret_netns_fd);
void net_release(struct net *net, uint32_t reserved); /* 0, and gone already, are fine */
int net_make_none(int *ret_netns_fd, struct err *e);  /* context: any thread */
/* A socket that hears a port of a namespace, on all its addresses (ip_of_socket); does not block; the caller's. */
int net_listen(int netns_fd, enum net_protocol protocol, uint16_t port, int *ret_fd, struct err *e);
/*
 * Take an endpoint down: its ports and route first; its connections are
 * forgotten within some milliseconds, by a thread, and the address rests before
 * it is handed out again.  The link goes when the last descriptor of the
 * namespace does, and the ports are free when the held sockets are closed.
 * Absent is fine.
 */
int net_detach(struct net *net, const char *id, struct err *e);

/* 0, or NET_ABSENT.  *ret holds no descriptors. */
int net_find(struct net *net, const char *id, struct net_endpoint *ret, struct err *e);

/* What a task has received and sent on its link; 0, or NET_ABSENT. */
struct net_counters {
	uint64_t rx_bytes, rx_packets, rx_dropped;
	uint64_t tx_bytes, tx_packets, tx_dropped;
};
int net_counters(struct net *net, const char *id, struct net_counters *ret, struct err *e);

/*
 * Hold the ports of an endpoint anew, because who held them has died.  0 or
 * NET_ABSENT; *ret is as from net_find(), with held_fds, the caller's to
 * net_endpoint_done().  -EADDRINUSE: they are held, or somebody was quicker.
 */
int net_hold(struct net *net, const char *id, struct net_endpoint *ret, struct err *e);

/*
 * After a start, and whenever somebody may have changed what is ours: detach
 * every endpoint that is not among 'live_ids', remove links, addresses and rules
 * of ours that belong to none, and put back what is missing for the living
 * (route, neighbour, link settings, rules, table).  What is right is not touched.
 */
int net_sweep(struct net *net, const char *const *live_ids, size_t count, struct err *e);

/*
 * A descriptor that can be read when somebody else has changed nftables of this
 * host, borrowed.  net_on_change() then reads it and puts back at once what
 * was ours (a flushed ruleset), or lets tasks pass a firewall that came.
 * Returns 0 or NET_REPAIRED.  The sweep would find the same, but later.
 */
int net_watch_fd(const struct net *net);
int net_on_change(struct net *net, struct err *e);

/*
 * Make a group known or replace it, change its members, forget it.  Nothing of
 * that reaches the kernel before net_groups_commit(), which sends what changed
 * in one transaction; connections that are open go on.  The first one after
 * net_open() makes the kernel agree with what is known, whatever it had from
 * before; until then it is left as it is.  -EINVAL: something of
 * the group is not what it should be, and nothing was changed.  -ENOENT: members
 * of a group that is not known.
 */
int net_group_set(struct net *net, const struct net_group *group, struct err *e);
int net_group_change(struct net *net, const char *id, const struct net_members *change,
		     struct err *e);
void net_group_remove(struct net *net, const char *id);
int net_groups_commit(struct net *net, struct err *e);

/* A line for each thing on this host that stops tasks' traffic and is not ours to change. */
int net_warnings(struct net *net, struct buf *ret, struct err *e);

/*
 * Remove everything of this name from the kernel and the state directory, for
 * quickstart-stop and uninstall.  Forwarding is turned off again if we turned
 * it on and no link has come since.  'net' can only be closed afterwards.
 */
int net_destroy(struct net *net, struct err *e);

/* Close the descriptors of an endpoint and forget them; twice is fine. */
void net_endpoint_done(struct net_endpoint *endpoint);

#define NET_ENDPOINT_NONE      \
	{                      \
		.netns_fd = -1 \
	}
#define auto_endpoint __attribute__((cleanup(net_endpoint_done)))

/* "tcp", "udp" */
const char *net_protocol_name(enum net_protocol protocol);
