/* net/conntrack.h - connections that the kernel remembers
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * The kernel goes on sending an established flow to where its first packet
 * went, for up to five days: to a task that is gone, or, for UDP clients that
 * never pause, past a task that has come.  So flows are forgotten when an
 * endpoint ends, and when one takes a UDP port.
 *
 * Finding them is a walk over the kernel's whole table, 10 ms with 262,144
 * buckets even when it is empty.  A thread does it, for all that has been asked
 * for by then in one pass, and ends when nothing is left to do.  Nobody waits:
 * an ended task's address rests for much longer.  So after a walk there is none
 * for WALK_PAUSE_MS, unless it is about ports, which are in use already.
 *
 * An address of IPv4 is written as one of IPv6 here (RFC 4291, 2.5.5.2).
 *
 * The lock guards `wanted`, `rested_ms`, `ending`, `running` and `why`; the socket
 * and what is being looked for are the thread's while it runs.
 */
#pragma once

#include <netinet/in.h>
#include <pthread.h>

#include "net/netlink.h"
#include "net/state.h"

/* What to forget; sorted when it is looked for. */
struct flow_list {
	struct in6_addr *addresses; /* flows that a task began or that lead to it */
	uint16_t *udp_ports;        /* flows that were sent to these ports */
	size_t address_count, address_capacity, port_count, port_capacity;
};

struct conntrack {
	pthread_mutex_t lock;
	pthread_t thread;
	pthread_cond_t hurry; /* do not pause any longer */
	int64_t rested_ms;    /* when there may be another walk, by clock_mono_ms() */
	bool ending;
	bool started; /* there is a thread to join */
	bool running; /* and it will look at 'wanted' again */
	struct netlink nl;
	struct flow_list wanted;
	struct err why; /* of the last pass that failed; code 0: none */
};

/* Opens its socket in the caller's network namespace. */
int conntrack_init(struct conntrack *c, struct err *e);
/* Waits until all that was asked for is done. */
void conntrack_done(struct conntrack *c);

/* The endpoint has ended. */
void conntrack_forget_endpoint(struct conntrack *c, const struct endpoint *ep);
/* The endpoint has begun: what came to its UDP ports before went elsewhere. */
void conntrack_forget_udp_ports(struct conntrack *c, const struct endpoint *ep);

/* True, and a copy, when a pass failed. */
bool conntrack_failed(struct conntrack *c, struct err *ret);

struct flow {
	struct in6_addr source, destination, reply_source;
	uint16_t destination_port;
	uint16_t port; /* where it really leads; of ICMP type and code */
	uint32_t mark;
	uint8_t family, protocol; /* AF_INET, AF_INET6 */
	/* As they came, to name the flow again; in the message. */
	struct nlattr *tuple, *id, *zone;
};
/* False when the message is no flow of IP, or not whole. */
bool flow_parse(const struct nlmsghdr *h, struct flow *ret);
/* Into a batch: forget it.  Pass over ENOENT. */
void flow_delete(struct batch *b, const struct flow *f);
