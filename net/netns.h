/* net/netns.h - network namespaces without names, and networks that wait for tasks
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "net/link.h"
#include "net/netlink.h"

/* A namespace, a route socket inside it, and, from the pool, its link with an address of the block. */
struct network {
	int userns_fd; /* that it is to belong to, borrowed; -1: ours */
	int fd;
	struct netlink inside;
	uint32_t address; /* 0: no link yet */
	struct link link; /* as it was made: all but who will have it */
	bool whole;       /* inside it has that address, and its routes, as NET_BRIDGE wants it */
	bool reserved;    /* in the pool, for one alone */
};
#define NETWORK_INIT                                             \
	{                                                        \
		.userns_fd = -1, .fd = -1, .inside = {.fd = -1 } \
	}
#define auto_network __attribute__((cleanup(network_done)))
void network_done(struct network *n);

/*
 * A new one without a link.  It belongs to a user namespace (-1: ours), whose root
 * rules it.  The caller's thread stays where it is.
 */
int netns_make(int userns_fd, struct network *ret, struct err *e);

/*
 * A few networks wait ready made: a namespace and a veth pair take the kernel a
 * millisecond.  They are made by a thread of the pool's own, of addresses that it
 * is offered, and go with the process.
 */
struct netns_pool;
struct netns_pool *netns_pool_new(void);
void netns_pool_free(struct netns_pool *p);

/* How many more addresses it can use; one of them, and the link that it is to make of it. */
size_t netns_pool_room(struct netns_pool *p);
void netns_pool_offer(struct netns_pool *p, uint32_t address, const struct link *l, bool whole);
/* An address of which it could make none, the caller's again; false: no such. */
bool netns_pool_failed(struct netns_pool *p, uint32_t *ret);
/*
 * False: none is ready.  'reserved': by _reserve(), this one if it is there; 0: any
 * other.  'whole' is what is liked best; the caller gets another where that is all.
 */
bool netns_pool_take(struct netns_pool *p, uint32_t reserved, bool whole, struct network *ret);
/*
 * Keep one for later: its number, and a duplicate of its namespace; 0: there is none.
 * Who wants none that is whole gets none.
 */
uint32_t netns_pool_reserve(struct netns_pool *p, bool whole, int *ret_fd);
void netns_pool_release(struct netns_pool *p, uint32_t reserved); /* anybody's again */
/* Does a link of the host belong to one that waits, or is being made? */
bool netns_pool_has(struct netns_pool *p, uint32_t link_index);
