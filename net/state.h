/* net/state.h - the truth about endpoints, in files
 * SPDX-License-Identifier: Apache-2.0
 *
 *   host               what was taken of the host: block, forwarding
 *   endpoints/ID       one endpoint: {"mode":"bridge","address":"172.28.0.7","ports":[...]}
 *   resting/ADDRESS    an address that was given back a short while ago
 *
 * 1. An endpoint's file is there before anything of it is in the kernel.
 * 2. It is renamed into resting/ when nothing of it is in the kernel any more.
 *
 * The directory lies on a tmpfs: it must vanish with the kernel's objects, and
 * nothing is synced.  A file that cannot be read is nobody's: it is removed,
 * and what it stood for is swept as an orphan.
 */
#pragma once

#include <net/if.h>

#include "base/mem.h"
#include "net/block.h"
#include "net/net.h"

struct endpoint {
	char id[NET_ID_MAX + 1];
	enum net_mode mode;
	uint32_t address; /* of the block, host byte order; 0: none */
	/*
	 * NET_AWSVPC: what eth0 has instead, and the prefixes that are routed to it
	 * as it is; by family, length 0: not of this one.  The address of the block
	 * only gives the link its name and its index then, and leads to services of
	 * this host, if it has none of IPv4.
	 * NET_BRIDGE: of IPv6 what eth0 has, too.
	 */
	struct ip_prefix own[NET_FAMILIES], vpc[NET_FAMILIES], public_address;
	/* NET_BRIDGE: where tasks of this host find it; length 0: not there. */
	struct ip_prefix service[NET_FAMILIES];
	struct net_trunk trunk; /* NET_AWSVPC */
	struct net_port *ports;
	size_t port_count;
	bool lost;         /* not in the file */
	bool unnamed;      /* not in the file: its link does not say yet whose it is */
	bool has_programs; /* not in the file: its link has those of net/shortcut.h */
};

/* Where hosts and clouds have services: 169.254.0.0/16 (RFC 3927), and EC2's fd00:ec2::/32. */
extern const struct ip_prefix net_local[NET_FAMILIES];

/* Has a task IPv6 alone?  Services of this host know it by the address of the block then. */
bool endpoint_has_v6_alone(const struct endpoint *ep);
bool trunk_is_on(const struct net_trunk *t); /* in one family, or both */

/* Frees what the endpoint owns. */
void endpoint_done(struct endpoint *ep);
bool endpoint_id_ok(const char *id);

/* The text of an endpoint's file, malloc'ed, and back. */
char *endpoint_encode(const struct endpoint *ep);
int endpoint_decode(const char *text, size_t size, const char *id, struct endpoint *ret,
		    struct err *e);

/* What was taken of the host. */
struct forwarding {
	bool is_ours; /* we turned it on */
	/* The links that were there then: between them nothing is forwarded. */
	char (*quiet)[IFNAMSIZ];
	size_t quiet_count;
};

struct host_state {
	struct block block;
	struct forwarding forwarding[NET_FAMILIES];
	struct ip_prefix self[NET_FAMILIES]; /* net_set_self(); length 0: none */
};

void host_state_done(struct host_state *h);
char *host_encode(const struct host_state *h);
int host_decode(const char *text, size_t size, struct host_state *ret, struct err *e);

struct state {
	int dir_fd, endpoints_fd, resting_fd;
};
#define STATE_NONE                                                 \
	{                                                          \
		.dir_fd = -1, .endpoints_fd = -1, .resting_fd = -1 \
	}

int state_open(const char *path, struct state *ret, struct err *e);
void state_close(struct state *s);

/* 0, or NET_ABSENT when nothing was taken yet. */
int state_read_host(const struct state *s, struct host_state *ret, struct err *e);
int state_write_host(const struct state *s, const struct host_state *h, struct err *e);

/* Array of all endpoints, malloc'ed; each is the caller's. */
int state_read_endpoints(const struct state *s, struct endpoint **ret, size_t *ret_count,
			 struct err *e);
int state_write_endpoint(const struct state *s, const struct endpoint *ep, struct err *e);
/* The endpoint is gone; its address, if it had one, rests. */
int state_rest_endpoint(const struct state *s, const struct endpoint *ep, struct err *e);

/* Array of the addresses that rest, malloc'ed. */
int state_read_resting(const struct state *s, uint32_t **ret, size_t *ret_count, struct err *e);
void state_forget_resting(const struct state *s, uint32_t address);

/* Remove all files; the directory itself stays. */
int state_clear(const struct state *s, struct err *e);
