/* dns/dns.h - the resolver that tasks find at 169.254.169.253
 * SPDX-License-Identifier: Apache-2.0
 *
 *   task ── datagram or stream ── relay ── datagram or stream ── a resolver of the host
 *                                   │ "a socket to the second one"
 *                                 dialer
 *
 * Two processes.  The relay reads what tasks and resolvers send, and has nothing but
 * descriptors.  The dialer reads which resolvers the host has and opens sockets to them, in the
 * host's network; of strangers it reads nothing.
 *
 * What is relayed is not looked into beyond its header and its question.  Names of a
 * task's own VPC are answered by the relay itself.
 */
#pragma once

#include "base/err.h"

struct dns_relay_options {
	int udp_fd, tcp_fd; /* of tasks: port 53 of the address */
	int agent_fd;       /* seqpacket: questions to the agent (ecs/resolver.h) */
	int dialer_fd;      /* seqpacket: to dns_dial() */
};

/*
 * Relay until the dialer is gone: tasks ask for names whether there is an agent or not.  The
 * descriptors are borrowed.  Returns a failure only.
 */
int dns_relay(const struct dns_relay_options *o, struct err *e);

/*
 * The dialer's: give away every right but to read files that all may read and to open
 * sockets of the internet.  Context: one thread, root.
 */
int dns_dial_confine(struct err *e);
/* Open sockets for the relay at the other end of 'fd' until it is gone. */
void dns_dial(int fd);
