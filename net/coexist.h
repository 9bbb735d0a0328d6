/* net/coexist.h - other firewalls on this host
 * SPDX-License-Identifier: Apache-2.0
 *
 * To accept a packet in one table is not to accept it in another: whoever
 * drops it, it is dropped.  Other tables are never changed; what in them stops
 * tasks is said.
 */
#pragma once

#include "net/name.h"
#include "net/netlink.h"

/* One line for each chain that drops what it does not know. */
int coexist_warnings(struct netlink *nl, const struct name *name, struct buf *ret, struct err *e);
