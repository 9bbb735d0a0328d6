/* net/port.h - host ports, held by sockets
 * SPDX-License-Identifier: Apache-2.0
 *
 * A port belongs to a task while a socket is bound to it.  The socket never
 * listens: packets are sent elsewhere before they could reach it.  It speaks
 * IPv6 and IPv4 at once where the kernel has both, so that one descriptor
 * holds the port on every address, and neither another program's bind() nor
 * the kernel's own choice for connect() gets it.  Of several ports in a row the
 * sockets lie in the queue of another socket, as descriptors under way that
 * nobody ever receives: they live as long as that one.
 */
#pragma once

#include <stdint.h>

#include "net/net.h"

struct port_range {
	uint16_t first, last;
	uint16_t next; /* where the search begins; in a circle, so ports rest too */
};

/* The range of options, or the kernel's for outgoing connections. */
int port_range_init(struct port_range *r, uint16_t first, uint16_t last, struct err *e);

/*
 * Hold 'count' ports from 'first' on, all or none.  One descriptor holds them,
 * however many they are.  -EADDRINUSE: somebody has one of them.
 */
int port_hold(enum net_protocol protocol, uint16_t first, uint16_t count, int *ret_fd,
	      struct err *e);

/* So many free ones of the range, in a row. -EADDRINUSE: there are none. */
int port_hold_any(struct port_range *r, enum net_protocol protocol, uint16_t count,
		  uint16_t *ret_first, int *ret_fd, struct err *e);
