/* net/port.h - host ports, held by sockets
 * SPDX-License-Identifier: Apache-2.0
 *
 * A port belongs to a task while a socket is bound to it.  The socket never
 * listens: packets are sent elsewhere before they could reach it.  It speaks
 * IPv6 and IPv4 at once where the kernel has both, so that one descriptor
 * holds the port on every address, and neither another program's bind() nor
 * the kernel's own choice for connect() gets it.
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

/* -EADDRINUSE: somebody has it. */
int port_hold(enum net_protocol protocol, uint16_t port, int *ret_fd, struct err *e);

/* A free one of the range. -EADDRINUSE: none. */
int port_hold_any(struct port_range *r, enum net_protocol protocol, uint16_t *ret_port, int *ret_fd,
		  struct err *e);
