/* net/peer_route.c - routes to tasks of other hosts
 * SPDX-License-Identifier: Apache-2.0
 *
 * Ours are known by their protocol and by their metric, which is our interface group.
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "net/host.h"
#include "net/internal.h"

struct peer_route {
	struct ip_prefix to;
	uint32_t index;               /* 0: as the next hop says */
	const struct ip_prefix *via;  /* NULL: it is on the link */
	const struct ip_prefix *from; /* our address; length 0: as the kernel likes */
};

static uint8_t scope_of(unsigned type, const struct peer_route *r)
{
	if (type == RTM_DELROUTE)
		return RT_SCOPE_NOWHERE; /* whichever it has */
	return r->via || r->to.v6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
}

static void change_route(struct batch *b, unsigned type, const struct net *net,
			 const struct peer_route *r)
{
	const struct rtmsg route = {.rtm_family = r->to.v6 ? AF_INET6 : AF_INET,
				    .rtm_dst_len = (uint8_t)r->to.length,
				    .rtm_table = RT_TABLE_MAIN,
				    .rtm_protocol = PEER_ROUTE_PROTOCOL,
				    .rtm_scope = scope_of(type, r),
				    .rtm_type = RTN_UNICAST,
				    .rtm_flags = r->via && r->index ? RTNH_F_ONLINK : 0};
	char text[IP_TEXT_MAX];

	ip_prefix_format(&r->to, text);
	batch_add(b, type, type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0, &route,
		  sizeof(route), "route of %s to a peer", text);
	batch_put(b, RTA_DST, r->to.address, r->to.v6 ? 16 : 4);
	batch_u32(b, RTA_PRIORITY, net->name.group);
	if (r->via)
		batch_put(b, RTA_GATEWAY, r->via->address, r->via->v6 ? 16 : 4);
	if (r->from && r->from->length)
		batch_put(b, RTA_PREFSRC, r->from->address, r->from->v6 ? 16 : 4);
	if (r->index)
		batch_u32(b, RTA_OIF, r->index);
}

/* The route that the kernel has for an address, as it was made. */
struct match {
	bool found;
	uint8_t protocol;
	struct ip_prefix to;
};

static int see_match(const struct nlmsghdr *h, void *arg, struct err *e)
{
	const struct rtmsg *route = NLMSG_DATA(h);
	struct nlattr *tb[RTA_MAX + 1];
	struct match *m = arg;
	size_t size;

	(void)e;
	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*route)) ||
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(*route), tb, RTA_MAX, NULL) < 0)
		return 0;
	size = route->rtm_family == AF_INET6 ? 16 : 4;
	if (!tb[RTA_DST] || (size_t)nla_len(tb[RTA_DST]) != size)
		return 0; /* the way to the world */
	*m = (struct match){.found = true,
			    .protocol = route->rtm_protocol,
			    .to = {.v6 = size == 16, .length = route->rtm_dst_len}};
	memcpy(m->to.address, nla_data(tb[RTA_DST]), size);
	return 0;
}

/*
 * What the host has itself stays its own: a network that it is in, or knows a way to, is
 * not led to a peer because somebody has given its addresses to a VPC.  Why is in *why.
 */
static bool is_the_hosts(struct net *net, const struct peer *p, const struct ip_prefix *prefix,
			 struct err *why)
{
	const struct rtmsg route = {.rtm_family = prefix->v6 ? AF_INET6 : AF_INET,
				    .rtm_dst_len = prefix->v6 ? 128 : 32,
				    .rtm_flags = RTM_F_FIB_MATCH};
	struct match m = {.found = false};
	const struct netlink_dump see = {see_match, NULL, &m};
	auto_batch struct batch b = BATCH_INIT;
	char text[IP_TEXT_MAX], theirs[IP_TEXT_MAX];
	struct err nowhere;

	ip_prefix_format(prefix, text);
	batch_add(&b, RTM_GETROUTE, 0, &route, sizeof(route), "find the route of %s", text);
	batch_put(&b, RTA_DST, prefix->address, prefix->v6 ? 16 : 4);
	if (netlink_ask(&net->route, &b, &see, &nowhere) < 0 || !m.found ||
	    m.to.length < ROUTE_PREFIX_MIN || m.protocol == PEER_ROUTE_PROTOCOL ||
	    m.protocol == LINK_ROUTE_PROTOCOL)
		return false;
	ip_prefix_format(&m.to, theirs);
	(void)err_set(
		why, EHOSTUNREACH,
		"tasks of peer %.60s in %s are not reached from here: that is the host's own, "
		"by its route to %s",
		p->id, text, theirs);
	return true;
}

void peer_routes_add(struct batch *b, struct net *net, const struct peer *p, uint32_t index,
		     struct err *why)
{
	for (size_t i = 0; i < p->count; i++) {
		bool v6 = p->prefixes[i].v6;
		const struct ip_prefix next_hop = vxlan_next_hop(peer_address(p), v6);
		struct peer_route r = {.to = p->prefixes[i], .index = index};

		if (is_the_hosts(net, p, &r.to, why))
			continue;
		if (peer_is_tunnelled(p))
			r.from = &net->host.self[v6];
		if (p->transport == NET_ROUTES)
			r.via = &p->addresses[v6];
		else if (p->transport == NET_VXLAN)
			r.via = &next_hop;
		change_route(b, RTM_NEWROUTE, net, &r);
	}
}

struct strays {
	const struct net *net;
	struct batch *b;
	struct ip_prefix *wanted; /* sorted */
	size_t count;
};

static int compare(const void *a, const void *b)
{
	const struct ip_prefix *x = a, *y = b;

	if (x->v6 != y->v6)
		return x->v6 ? 1 : -1;
	if (x->length != y->length)
		return x->length < y->length ? -1 : 1;
	return memcmp(x->address, y->address, x->v6 ? 16 : 4);
}

static void list_wanted(const struct net *net, struct strays *ret)
{
	size_t capacity = 0;

	for (size_t i = 0; i < net->peers.count; i++)
		for (size_t k = 0; k < net->peers.items[i].count; k++) {
			ret->wanted = xgrow(ret->wanted, ret->count, &capacity,
					    sizeof(*ret->wanted));
			ret->wanted[ret->count++] = net->peers.items[i].prefixes[k];
		}
	if (ret->count)
		qsort(ret->wanted, ret->count, sizeof(*ret->wanted), compare);
}

static bool is_wanted(const struct strays *s, const struct ip_prefix *to)
{
	return s->count && bsearch(to, s->wanted, s->count, sizeof(*to), compare);
}

bool peer_route_parse(const struct nlmsghdr *h, struct ip_prefix *ret_to, uint32_t *ret_metric)
{
	const struct rtmsg *route = NLMSG_DATA(h);
	struct nlattr *tb[RTA_MAX + 1];

	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*route)) ||
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(*route), tb, RTA_MAX, NULL) < 0 ||
	    route->rtm_protocol != PEER_ROUTE_PROTOCOL || !tb[RTA_DST] || !tb[RTA_PRIORITY] ||
	    nla_len(tb[RTA_PRIORITY]) != sizeof(uint32_t))
		return false;
	*ret_to = (struct ip_prefix){.v6 = route->rtm_family == AF_INET6,
				     .length = route->rtm_dst_len};
	if (nla_len(tb[RTA_DST]) != (ret_to->v6 ? 16 : 4) ||
	    ret_to->length > (ret_to->v6 ? 128u : 32u))
		return false;
	memcpy(ret_to->address, nla_data(tb[RTA_DST]), ret_to->v6 ? 16 : 4);
	*ret_metric = nla_get_u32(tb[RTA_PRIORITY]);
	return true;
}

static int see_stray(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct strays *s = arg;
	struct peer_route r = {0};
	uint32_t metric;

	(void)e;
	if (peer_route_parse(h, &r.to, &metric) && metric == s->net->name.group &&
	    !is_wanted(s, &r.to))
		change_route(s->b, RTM_DELROUTE, s->net, &r);
	return 0;
}

static void see_again(void *arg)
{
	(void)arg; /* one that is deleted twice is passed over */
}

/* Routes of ours that lead to nobody we know. */
int peer_routes_delete_strays(struct net *net, struct err *e)
{
	auto_batch struct batch deletes = BATCH_INIT;
	struct strays s = {.net = net, .b = &deletes};
	auto_free struct ip_prefix *wanted = NULL;
	const struct netlink_dump dump = {see_stray, see_again, &s};

	list_wanted(net, &s);
	wanted = s.wanted;
	for (int v6 = 0; v6 < (net->has_ipv6 ? 2 : 1); v6++) {
		const struct rtmsg any = {.rtm_family = v6 ? AF_INET6 : AF_INET};
		auto_batch struct batch b = BATCH_INIT;

		batch_add(&b, RTM_GETROUTE, 0, &any, sizeof(any), "list routes");
		if (netlink_dump(&net->route, &b, &dump, e) < 0)
			return -e->code;
	}
	return netlink_commit(&net->route, &deletes, ESRCH, e);
}
