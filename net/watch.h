/* net/watch.h - what others do to nftables of this host
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

#include "net/netlink.h"

/*
 * A socket that hears of every change of nftables but those that are made by
 * 'own', which it is told apart by in the kernel already.
 */
int watch_open(const struct netlink *own, int *ret_fd, struct err *e);

/*
 * Read all that is there.  *ret_ours is set when it was about the table of that
 * name, *ret_theirs when about one that net/coexist.h minds; both when some was
 * lost because it was too much.
 */
void watch_read(int fd, const char *table, bool *ret_ours, bool *ret_theirs);

/* One datagram of it. */
void watch_look(const void *data, size_t size, const char *table, bool *ret_ours, bool *ret_theirs);
