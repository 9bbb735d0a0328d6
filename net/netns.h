/* net/netns.h - network namespaces without names
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "net/netlink.h"

/* A new namespace, and a route socket inside it.  The caller's thread stays where it is. */
int netns_make(int *ret_fd, struct netlink *ret_inside, struct err *e);
