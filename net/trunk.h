/* net/trunk.h - tasks that stand on a physical network with a MAC of their own
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A VLAN of the parent link, or the parent itself, is a wire.  The task keeps its
 * veth pair and its route, and so its security groups, flow logs and protection
 * against false addresses; to the wire the host stands in for it:
 *
 *   eth0 of the task <--veth--> brt-0007 <--routes, groups--> brl-02a <--VLAN 42--> eth1
 *
 * It answers for the task's addresses there (proxy neighbours), and a table of family
 * netdev puts the task's MAC on what leaves, of ARP and advertisements too, and takes in
 * what comes for that MAC and its addresses, and on a VLAN little else.  A MAC follows
 * from the address, so nobody on the wire has to unlearn one; a switch learns the new
 * place from an announcement.  What a task makes of neighbour discovery itself is
 * forwarded if anything, and so has not the hop limit that makes others believe it.
 * A macvlan in the task's namespace would be some microseconds faster, and no group
 * would see its packets.
 *
 * What a task on a wire sends goes to its VPC and to the host's own block as the
 * host's routes say, all else to the wire's gateway, by rules of routing whose table
 * has the number of the subnet's first address.  It leaves under its own address.
 *
 * 1. Everything follows from the endpoints' files and is made anew at each change.
 * 2. What is left over is found by its name (VLANs) and by the priority of its rules,
 *    which is this Berth's own, and goes with the next sweep.
 */
#pragma once

#include "net/internal.h"

/* Could it be one of the endpoints of this host? */
int trunk_check(const struct net *net, const struct net_request *request, struct err *e);

/*
 * Make wires, routes, rules and the table those of all endpoints, of one more and
 * without another (each may be NULL).
 */
int trunk_settle(struct net *net, const struct endpoint *more, const struct endpoint *without,
		 struct err *e);
/* An endpoint comes to its wire, last of all; it goes from there, first of all. */
int trunk_join(struct net *net, const struct endpoint *ep, struct err *e);
int trunk_leave(struct net *net, const struct endpoint *ep, struct err *e);

/* Remove what belongs to no endpoint; all of it. */
int trunk_sweep(struct net *net, struct err *e);
int trunk_destroy(struct net *net, struct err *e);

/* The name of a VLAN's link: "brl-02a". */
void trunk_name(const struct name *n, unsigned vlan, char ret[IFNAMSIZ]);

/* A rule of routing of ours, 'to' of length 0 if to all; false: another one, or broken. */
bool trunk_rule_parse(const struct nlmsghdr *h, struct ip_prefix *ret_subnet,
		      struct ip_prefix *ret_to, uint32_t *ret_table, uint32_t *ret_priority);

/* Requests that make the table of these wires and endpoints. */
struct wire {
	unsigned vlan; /* 0: the parent itself */
	uint32_t index;
	char link[IFNAMSIZ];
	bool speaks; /* it has an address of IPv4 to ask for others with */
	bool has_v6; /* so have tasks on it */
};
struct trunk_members {
	const struct endpoint **items;
	size_t count;
};
void trunk_define(const char *table, const struct wire *wires, size_t count,
		  const struct trunk_members *members, struct batch *b);
