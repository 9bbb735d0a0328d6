/* net/counters.h - what the links of endpoints have counted
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "net/net.h"
#include "net/netlink.h"

/*
 * Of a task, out of the kernel's answer for the host's end; false: of another kind or broken.
 * *ret_netns: where the other end is; -1: not known.
 */
bool counters_parse(const struct nlmsghdr *h, struct net_counters *ret, int32_t *ret_netns);
/* What eth0 has received, out of the answer for it. */
bool counters_parse_task(const struct nlmsghdr *h, struct net_counters *ret);
