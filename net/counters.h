/* net/counters.h - what the links of endpoints have counted
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "net/net.h"
#include "net/netlink.h"

/* Of a task, out of the kernel's answer for the host's end; false: of another kind or broken. */
bool counters_parse(const struct nlmsghdr *h, struct net_counters *ret);
