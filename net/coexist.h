/* net/coexist.h - other firewalls on this host
 * SPDX-License-Identifier: Apache-2.0
 *
 * To accept a packet in one table is not to accept it in another: whoever
 * drops it, it is dropped.  So a chain at the forward hook that drops or rejects
 * whatever it does not know must know the links of tasks:
 *
 *   iifname "brt-*" accept
 *   oifname "brt-*" accept
 *
 * What they let pass our own table has its word on, too.  Where a tool keeps the
 * chain, these two come before its rules; what somebody inserts later stays
 * before ours:
 *
 *   iptables, and so Docker and ufw    ip and ip6 filter, FORWARD
 *   firewalld                          firewalld, filter_FORWARD
 *
 * The rules are made as iptables makes them, so that it lists and saves them.
 * They are known by what they say, and go when the chain drops no more.  Chains
 * that people wrote by hand, and iptables-legacy, are never changed: what in
 * them stops tasks is said.
 */
#pragma once

#include "net/name.h"
#include "net/netlink.h"

/* Chains of tools: put our rules where they are needed, and take them where they are not. */
int coexist_settle(struct netlink *nl, const struct name *name, struct err *e);

/* Take them all. */
int coexist_leave(struct netlink *nl, const struct name *name, struct err *e);

/* Is it a table that coexist_settle() looks at? */
bool coexist_minds(int family, const char *table);

/* One line for each chain that drops what it does not know, and tasks with it. */
int coexist_warnings(struct netlink *nl, const struct name *name, struct buf *ret, struct err *e);
