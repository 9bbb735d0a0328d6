/* net/counters.c - what the links of endpoints have counted
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "base/auto.h"
#include "net/counters.h"
#include "net/internal.h"

bool counters_parse(const struct nlmsghdr *h, struct net_counters *ret)
{
	struct nlattr *tb[IFLA_MAX + 1];
	struct rtnl_link_stats64 s;

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg)) ||
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(struct ifinfomsg), tb, IFLA_MAX,
			NULL) < 0 ||
	    !tb[IFLA_STATS64] ||
	    (size_t)nla_len(tb[IFLA_STATS64]) < offsetof(struct rtnl_link_stats64, multicast))
		return false;
	memset(&s, 0, sizeof(s));
	memcpy(&s, nla_data(tb[IFLA_STATS64]),
	       (size_t)nla_len(tb[IFLA_STATS64]) < sizeof(s) ? (size_t)nla_len(tb[IFLA_STATS64])
							     : sizeof(s));
	/* The host's end sends what the task receives. */
	*ret = (struct net_counters){.rx_bytes = s.tx_bytes,
				     .rx_packets = s.tx_packets,
				     .rx_dropped = s.tx_dropped,
				     .tx_bytes = s.rx_bytes,
				     .tx_packets = s.rx_packets,
				     .tx_dropped = s.rx_dropped};
	return true;
}

struct answer {
	struct net_counters *ret;
	bool found;
};

static int see(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct answer *a = arg;

	(void)e;
	a->found |= counters_parse(h, a->ret);
	return 0;
}

int net_counters(struct net *net, const char *id, struct net_counters *ret, struct err *e)
{
	const struct endpoint *ep = net_endpoint(net, id);
	struct answer a = {.ret = ret};
	const struct netlink_dump answers = {see, NULL, &a};
	auto_batch struct batch b = BATCH_INIT;
	struct ifinfomsg link = {0};

	if (!ep || !ep->address)
		return NET_ABSENT;
	link.ifi_index = (int)name_link_index(ep->address);
	batch_add(&b, RTM_GETLINK, 0, &link, sizeof(link), "counters of %s", ep->id);
	if (netlink_ask(&net->route, &b, &answers, e) < 0)
		return e->code == ENODEV ? NET_ABSENT : -e->code;
	return a.found ? 0 : NET_ABSENT;
}
