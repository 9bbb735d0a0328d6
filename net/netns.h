/* net/netns.h - network namespaces without names
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "net/netlink.h"

/*
 * A few namespaces wait ready made: making one takes the kernel a millisecond
 * and more.  They are made by a thread of the pool's own.
 */
struct netns_pool;
struct netns_pool *netns_pool_new(void);
void netns_pool_free(struct netns_pool *p);

/*
 * A new namespace, and a route socket inside it; from the pool, or made now
 * when that is empty or NULL.  The caller's thread stays where it is.
 */
int netns_make(struct netns_pool *p, int *ret_fd, struct netlink *ret_inside, struct err *e);
/* The same, never from the pool: it belongs to a user namespace (-1: ours), whose root rules it. */
int netns_make_owned(int userns_fd, int *ret_fd, struct netlink *ret_inside, struct err *e);
