/* net/link.c - the veth pair of a task, its addresses, routes and neighbours
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"

#define LOOPBACK_INDEX 1
#define DYING_GROUP    0xbedead00u

#define READY_PAUSE_US  200
#define READY_TRIES_MAX 100

/* ---- requests ---- */

/* No addresses that the kernel makes itself. */
static void put_ipv6_settings(struct batch *b)
{
	struct nlattr *family = batch_nest(b, AF_INET6);

	batch_u8(b, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	batch_nest_end(b, family);
}

static void add_host_settings(struct batch *b, uint32_t index, const struct link *l)
{
	const struct ifinfomsg link = {.ifi_index = (int)index};
	struct nlattr *families, *family, *inet;

	batch_add(b, RTM_SETLINK, 0, &link, sizeof(link), "settings of a task's link");
	batch_u32(b, IFLA_GROUP, l->name->group);
	if (l->alias)
		batch_text(b, IFLA_IFALIAS, l->alias);
	families = batch_nest(b, IFLA_AF_SPEC);
	family = batch_nest(b, AF_INET);
	inet = batch_nest(b, IFLA_INET_CONF);
	batch_u32(b, IPV4_DEVCONF_FORWARDING, 1);
	/* So that answers to 127.0.0.1 may come in; what else comes for it is dropped. */
	batch_u32(b, IPV4_DEVCONF_ROUTE_LOCALNET, 1);
	batch_nest_end(b, inet);
	batch_nest_end(b, family);
	if (l->has_ipv6)
		put_ipv6_settings(b);
	batch_nest_end(b, families);
}

static void add_task_settings(struct batch *b)
{
	const struct ifinfomsg link = {.ifi_index = LINK_TASK_INDEX};
	struct nlattr *families;

	batch_add(b, RTM_SETLINK, 0, &link, sizeof(link), "settings of eth0");
	families = batch_nest(b, IFLA_AF_SPEC);
	put_ipv6_settings(b);
	batch_nest_end(b, families);
}

static void add_up(struct batch *b, uint32_t index, const char *note)
{
	const struct ifinfomsg link = {
		.ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};

	batch_add(b, RTM_SETLINK, 0, &link, sizeof(link), "%s", note);
}

/* The bytes of an address, as in packets. */
static size_t address_size(const struct ip_prefix *a)
{
	return a->v6 ? 16 : 4;
}

static int family_of(const struct ip_prefix *a)
{
	return a->v6 ? AF_INET6 : AF_INET;
}

static void add_neighbour(struct batch *b, uint32_t index, const struct ip_prefix *address,
			  const uint8_t mac[6], const char *note)
{
	const struct ndmsg neighbour = {.ndm_family = (uint8_t)family_of(address),
					.ndm_ifindex = (int)index,
					.ndm_state = NUD_PERMANENT};

	batch_add(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &neighbour, sizeof(neighbour),
		  "%s", note);
	batch_put(b, NDA_DST, address->address, address_size(address));
	batch_put(b, NDA_LLADDR, mac, 6);
}

struct route {
	struct ip_prefix to;         /* length 0: everything */
	const struct ip_prefix *via; /* NULL: it is on the link */
	uint32_t source;             /* IPv4, host byte order; 0: as the kernel likes */
	uint32_t index;
	bool local; /* it is our own */
};

static void add_route(struct batch *b, unsigned type, const struct route *r, const char *note)
{
	const struct rtmsg route = {.rtm_family = (uint8_t)family_of(&r->to),
				    .rtm_dst_len = (uint8_t)r->to.length,
				    .rtm_table = r->local ? RT_TABLE_LOCAL : RT_TABLE_MAIN,
				    .rtm_protocol = LINK_ROUTE_PROTOCOL,
				    .rtm_scope = r->via || r->to.v6 ? RT_SCOPE_UNIVERSE
								    : RT_SCOPE_LINK,
				    .rtm_type = r->local ? RTN_LOCAL : RTN_UNICAST};
	unsigned flags = type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0;

	batch_add(b, type, flags, &route, sizeof(route), "%s", note);
	if (r->to.length)
		batch_put(b, RTA_DST, r->to.address, address_size(&r->to));
	if (r->via)
		batch_put(b, RTA_GATEWAY, r->via->address, address_size(r->via));
	if (r->source)
		batch_u32(b, RTA_PREFSRC, htonl(r->source));
	batch_u32(b, RTA_OIF, r->index);
}

static void put_link(struct batch *b, const char *name, const uint8_t mac[6], uint32_t mtu)
{
	batch_text(b, IFLA_IFNAME, name);
	batch_put(b, IFLA_ADDRESS, mac, 6);
	batch_u32(b, IFLA_MTU, mtu);
	batch_u32(b, IFLA_NUM_TX_QUEUES, 1);
	batch_u32(b, IFLA_NUM_RX_QUEUES, 1);
}

void link_mac(const struct link *l, uint8_t ret[6])
{
	if (l->within.length)
		name_mac6(&l->address6, ret);
	else
		name_mac(ip_v4(&l->address), ret);
}

void link_create(struct batch *b, const struct link *l, int netns_fd)
{
	const struct ifinfomsg link = {.ifi_index = (int)l->index};
	const struct ifinfomsg peer_link = {.ifi_index = LINK_TASK_INDEX};
	struct nlattr *info, *data, *peer;
	char name[IFNAMSIZ];
	uint8_t mac[6];

	name_link(l->name, l->host_part, name);
	link_mac(l, mac);
	batch_add(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof(link), "add link %s",
		  name);
	put_link(b, name, name_host_mac, l->mtu);
	batch_u32(b, IFLA_GROUP, l->name->group);
	info = batch_nest(b, IFLA_LINKINFO);
	batch_text(b, IFLA_INFO_KIND, "veth");
	data = batch_nest(b, IFLA_INFO_DATA);
	peer = batch_nest(b, VETH_INFO_PEER);
	batch_header(b, &peer_link, sizeof(peer_link));
	put_link(b, "eth0", mac, l->mtu);
	batch_u32(b, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	batch_nest_end(b, peer);
	batch_nest_end(b, data);
	batch_nest_end(b, info);
}

/* The addresses that the link has. */
static void addresses_of(const struct link *l, size_t *ret_count, struct ip_prefix ret[2])
{
	*ret_count = 0;
	if (l->address.length)
		ret[(*ret_count)++] = l->address;
	if (l->address6.length)
		ret[(*ret_count)++] = l->address6;
}

static struct route task_route(const struct link *l, const struct ip_prefix *address)
{
	return (struct route){
		.to = *address, .source = address->v6 ? 0 : l->gateway, .index = l->index};
}

void link_set_ipv6(const struct link *l, bool on)
{
	char name[IFNAMSIZ], file[64];
	struct err ignored; /* it is slower with it, and does the same */

	if (!l->has_ipv6)
		return;
	name_link(l->name, l->host_part, name);
	(void)snprintf(file, sizeof(file), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	(void)fs_write_at(AT_FDCWD, file, on ? "0" : "1", &ignored);
}

void link_prepare_host_side(struct batch *b, const struct link *l)
{
	add_host_settings(b, l->index, l);
	add_up(b, l->index, "a task's link up");
}

void link_name_owner(struct batch *b, const struct link *l)
{
	const struct ifinfomsg link = {.ifi_index = (int)l->index};

	batch_add(b, RTM_SETLINK, 0, &link, sizeof(link), "owner of a task's link");
	batch_text(b, IFLA_IFALIAS, l->alias);
}

void link_lead(struct batch *b, const struct link *l)
{
	struct ip_prefix addresses[2];
	size_t count;
	uint8_t mac[6];

	link_mac(l, mac);
	addresses_of(l, &count, addresses);
	for (size_t i = 0; i < count; i++) {
		const struct route route = task_route(l, &addresses[i]);

		add_neighbour(b, l->index, &addresses[i], mac, "neighbour of a task");
		add_route(b, RTM_NEWROUTE, &route, "route to a task");
	}
}

void link_settle(struct batch *b, const struct link *l)
{
	link_prepare_host_side(b, l);
	link_lead(b, l);
}

void link_loopback(struct batch *b)
{
	add_up(b, LOOPBACK_INDEX, "a task's loopback up");
}

static void add_address(struct batch *b, const struct ip_prefix *a)
{
	const struct ifaddrmsg address = {.ifa_family = (uint8_t)family_of(a),
					  .ifa_prefixlen = (uint8_t)a->length,
					  .ifa_flags = IFA_F_NODAD,
					  .ifa_index = LINK_TASK_INDEX};

	batch_add(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &address, sizeof(address),
		  "address of eth0");
	batch_put(b, IFA_LOCAL, a->address, address_size(a));
	batch_put(b, IFA_ADDRESS, a->address, address_size(a));
}

/*
 * The kernel leads packets to an address of IPv6 only when its work queue has had its turn
 * (addrconf_dad_completed(), also where nobody is asked for duplicates): what came before
 * was dropped.
 */
static void receive_at_once(struct batch *b, const struct ip_prefix *a)
{
	const struct route here = {.to = *a, .index = LINK_TASK_INDEX, .local = true};

	if (a->v6)
		add_route(b, RTM_NEWROUTE, &here, "route to eth0's own address");
}

/* The host, as the task sees it: the gateway of the block, and fe80::1. */
static struct ip_prefix gateway_of(const struct link *l, bool v6)
{
	if (!v6)
		return ip_of_v4(l->gateway, 32);
	return (struct ip_prefix){.v6 = true, .length = 128, .address = {0xfe, 0x80, [15] = 1}};
}

void link_prepare_task_side(struct batch *b, const struct link *l)
{
	link_loopback(b);
	if (l->has_ipv6)
		add_task_settings(b);
	add_up(b, LINK_TASK_INDEX, "eth0 up");
}

/* Its MAC is that of its address. */
static void add_mac(struct batch *b, const struct link *l, const struct link *made)
{
	const struct ifinfomsg link = {.ifi_index = LINK_TASK_INDEX};
	uint8_t mac[6], other[6];

	link_mac(l, mac);
	link_mac(made, other);
	if (memcmp(mac, other, sizeof(mac)) == 0)
		return;
	batch_add(b, RTM_SETLINK, 0, &link, sizeof(link), "MAC of eth0");
	batch_put(b, IFLA_ADDRESS, mac, sizeof(mac));
}

void link_task_side(struct batch *b, const struct link *l)
{
	link_prepare_task_side(b, l);
	link_finish_task_side(b, l, l);
}

void link_finish_task_side(struct batch *b, const struct link *l, const struct link *made)
{
	struct ip_prefix addresses[2];
	size_t count;

	add_mac(b, l, made);
	addresses_of(l, &count, addresses);
	for (size_t i = 0; i < count; i++) {
		const struct ip_prefix via = gateway_of(l, addresses[i].v6);
		const struct route gateway = {.to = via, .index = LINK_TASK_INDEX};
		struct route all = {.to = l->within, .via = &via, .index = LINK_TASK_INDEX};

		if (via.v6)
			all.to = (struct ip_prefix){.v6 = true};
		add_address(b, &addresses[i]);
		receive_at_once(b, &addresses[i]);
		add_neighbour(b, LINK_TASK_INDEX, &via, name_host_mac, "gateway of eth0");
		add_route(b, RTM_NEWROUTE, &gateway, "route of eth0 to its gateway");
		add_route(b, RTM_NEWROUTE, &all, "route of eth0 to all else");
	}
}

void link_cut(struct batch *b, const struct link *l)
{
	struct ip_prefix addresses[2];
	size_t count;

	addresses_of(l, &count, addresses);
	for (size_t i = 0; i < count; i++) {
		const struct route route = task_route(l, &addresses[i]);

		add_route(b, RTM_DELROUTE, &route, "delete route to a task");
	}
}

/* ---- all links ---- */

bool link_parse(const struct nlmsghdr *h, struct link_info *ret)
{
	static struct nla_policy policy[IFLA_MAX + 1] = {
		[IFLA_IFNAME] = {.type = NLA_STRING, .maxlen = IFNAMSIZ},
		[IFLA_GROUP] = {.type = NLA_U32},
		[IFLA_MTU] = {.type = NLA_U32},
		[IFLA_LINK] = {.type = NLA_U32},
		[IFLA_OPERSTATE] = {.type = NLA_U8},
	};
	const struct ifinfomsg *link = NLMSG_DATA(h);
	struct nlattr *tb[IFLA_MAX + 1];

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(*link)))
		return false;
	if (nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(*link), tb, IFLA_MAX, policy) < 0 ||
	    !tb[IFLA_IFNAME] || link->ifi_index <= 0)
		return false;

	*ret = (struct link_info){.index = (uint32_t)link->ifi_index, .flags = link->ifi_flags};
	(void)snprintf(ret->name, sizeof(ret->name), "%s", nla_get_string(tb[IFLA_IFNAME]));
	if (tb[IFLA_GROUP])
		ret->group = nla_get_u32(tb[IFLA_GROUP]);
	if (tb[IFLA_LINK])
		ret->parent = nla_get_u32(tb[IFLA_LINK]);
	if (tb[IFLA_MTU])
		ret->mtu = nla_get_u32(tb[IFLA_MTU]);
	if (tb[IFLA_OPERSTATE])
		ret->ready = nla_get_u8(tb[IFLA_OPERSTATE]) == IF_OPER_UP;
	return true;
}

static int see_ready(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct link_info info;

	(void)e;
	if (link_parse(h, &info))
		*(bool *)arg = info.ready;
	return 0;
}

int link_wait(struct netlink *inside, struct err *e)
{
	const struct timespec pause = {.tv_nsec = READY_PAUSE_US * 1000};
	const struct ifinfomsg link = {.ifi_index = LINK_TASK_INDEX};
	bool ready = false;
	const struct netlink_dump answer = {see_ready, NULL, &ready};
	auto_batch struct batch b = BATCH_INIT;

	for (int i = 0; i < READY_TRIES_MAX; i++) {
		batch_add(&b, RTM_GETLINK, 0, &link, sizeof(link), "state of eth0");
		batch_u32(&b, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
		if (netlink_ask(inside, &b, &answer, e) < 0)
			return -e->code;
		if (ready)
			return 0;
		(void)nanosleep(&pause, NULL);
	}
	return 0; /* it will come */
}

struct link_array {
	struct link_info *items;
	size_t count, capacity;
};

static int see_link(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct link_array *a = arg;

	(void)e;
	a->items = xgrow(a->items, a->count, &a->capacity, sizeof(*a->items));
	if (link_parse(h, &a->items[a->count]))
		a->count++;
	return 0;
}

static void look_again(void *arg)
{
	struct link_array *a = arg;

	a->count = 0;
}

int link_list(struct netlink *nl, struct link_info **ret, size_t *ret_count, struct err *e)
{
	const struct ifinfomsg any = {.ifi_family = AF_UNSPEC};
	struct link_array a = {0};
	const struct netlink_dump dump = {see_link, look_again, &a};
	auto_batch struct batch b = BATCH_INIT;

	batch_add(&b, RTM_GETLINK, 0, &any, sizeof(any), "list links");
	batch_u32(&b, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	if (netlink_dump(nl, &b, &dump, e) < 0) {
		free(a.items);
		return -e->code;
	}
	*ret = a.items;
	*ret_count = a.count;
	return 0;
}

int link_delete(struct netlink *nl, const struct link_info *links, size_t count, struct err *e)
{
	const struct ifinfomsg any = {.ifi_family = AF_UNSPEC};
	auto_batch struct batch b = BATCH_INIT;

	if (!count)
		return 0;
	for (size_t i = 0; i < count; i++) {
		const struct ifinfomsg link = {.ifi_index = (int)links[i].index};

		batch_add(&b, RTM_SETLINK, 0, &link, sizeof(link), "link %s", links[i].name);
		batch_u32(&b, IFLA_GROUP, DYING_GROUP);
	}
	if (netlink_commit(nl, &b, ENODEV, e) < 0) /* some may go by themselves */
		return -e->code;

	batch_add(&b, RTM_DELLINK, 0, &any, sizeof(any), "delete links");
	batch_u32(&b, IFLA_GROUP, DYING_GROUP);
	return netlink_commit(nl, &b, ENODEV, e);
}
