/* runtime/netdev.h - interfaces of the host that become a container's
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "base/err.h"
#include "base/js.h"

/*
 * Move each (struct config_net_device) into the network namespace, under its
 * new name, with its global addresses, and up.  When the namespace ends, real
 * interfaces come back to the host, those made of software end with it.
 */
int netdev_move(const struct js_list *devices, int netns_fd, struct err *e);
