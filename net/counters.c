/* net/counters.c - what the links of endpoints have counted
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "base/auto.h"
#include "net/counters.h"
#include "net/internal.h"

static bool parse(const struct nlmsghdr *h, struct nlattr *tb[IFLA_MAX + 1],
		  struct rtnl_link_stats64 *ret)
{
	size_t size;

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg)) ||
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(struct ifinfomsg), tb, IFLA_MAX,
			NULL) < 0 ||
	    !tb[IFLA_STATS64])
		return false;
	size = (size_t)nla_len(tb[IFLA_STATS64]);
	if (size < offsetof(struct rtnl_link_stats64, multicast))
		return false;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret, nla_data(tb[IFLA_STATS64]), size < sizeof(*ret) ? size : sizeof(*ret));
	return true;
}

bool counters_parse(const struct nlmsghdr *h, struct net_counters *ret, int32_t *ret_netns)
{
	struct nlattr *tb[IFLA_MAX + 1];
	struct rtnl_link_stats64 s;

	if (!parse(h, tb, &s))
		return false;
	/* The host's end sends what the task receives. */
	*ret = (struct net_counters){.rx_bytes = s.tx_bytes,
				     .rx_packets = s.tx_packets,
				     .rx_dropped = s.tx_dropped,
				     .tx_bytes = s.rx_bytes,
				     .tx_packets = s.rx_packets,
				     .tx_dropped = s.rx_dropped};
	*ret_netns = tb[IFLA_LINK_NETNSID] && nla_len(tb[IFLA_LINK_NETNSID]) == sizeof(int32_t)
			     ? nla_get_s32(tb[IFLA_LINK_NETNSID])
			     : -1;
	return true;
}

bool counters_parse_task(const struct nlmsghdr *h, struct net_counters *ret)
{
	struct nlattr *tb[IFLA_MAX + 1];
	struct rtnl_link_stats64 s;

	if (!parse(h, tb, &s))
		return false;
	ret->rx_bytes = s.rx_bytes;
	ret->rx_packets = s.rx_packets;
	return true;
}

struct answer {
	struct net_counters *ret;
	int32_t netns;
	bool found;
};

static int see(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct answer *a = arg;

	(void)e;
	a->found |= counters_parse(h, a->ret, &a->netns);
	return 0;
}

static int see_task(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct answer *a = arg;

	(void)e;
	a->found |= counters_parse_task(h, a->ret);
	return 0;
}

/* A link of the host, or of a namespace by its number here. */
static int ask(struct net *net, uint32_t index, int32_t netns, struct answer *a,
	       int (*on_object)(const struct nlmsghdr *h, void *arg, struct err *e), struct err *e)
{
	const struct ifinfomsg link = {.ifi_index = (int)index};
	const struct netlink_dump answers = {on_object, NULL, a};
	auto_batch struct batch b = BATCH_INIT;

	batch_add(&b, RTM_GETLINK, 0, &link, sizeof(link), "counters of link %u", index);
	if (netns >= 0)
		batch_u32(&b, IFLA_TARGET_NETNSID, (uint32_t)netns);
	a->found = false;
	if (netlink_ask(&net->route, &b, &answers, e) < 0)
		return e->code == ENODEV ? NET_ABSENT : -e->code;
	return a->found ? 0 : NET_ABSENT;
}

/* What came by a shortcut was never sent by the host's end: eth0 has counted it. */
int net_counters(struct net *net, const char *id, struct net_counters *ret, struct err *e)
{
	const struct endpoint *ep = net_endpoint(net, id);
	struct answer a = {.ret = ret, .netns = -1};
	int r;

	if (!ep || !ep->address)
		return NET_ABSENT;
	r = ask(net, name_link_index(ep->address), -1, &a, see, e);
	return r || a.netns < 0 ? r : ask(net, LINK_TASK_INDEX, a.netns, &a, see_task, e);
}
