/* net/trunk.c - tasks that stand on a physical network with a MAC of their own
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/trunk.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"

#define VLAN_MAX 4094
/* Before the main table's rule (32766); two Berths of one host seldom have the same. */
#define PRIORITY_FIRST 5000
#define PRIORITIES     10000

void trunk_name(const struct name *n, unsigned vlan, char ret[IFNAMSIZ])
{
	(void)snprintf(ret, IFNAMSIZ, "brl%.*s-%03x", (int)strcspn(n->prefix + 3, "-"),
		       n->prefix + 3, vlan);
}

/* Address, subnet and router are of the family, or there is none of them. */
static bool fits(const struct net_trunk *t, const struct ip_prefix *address, bool v6)
{
	const struct ip_prefix *subnet = &t->subnet[v6], *gateway = &t->gateway[v6];

	if (!address->length || !subnet->length)
		return address->length == subnet->length;
	return subnet->v6 == v6 && gateway->v6 == v6 && ip_prefix_holds(subnet, address) &&
	       gateway->length == (v6 ? 128 : 32);
}

int trunk_check(const struct net *net, const struct net_request *request, struct err *e)
{
	const struct net_trunk *t = &request->trunk;

	if (!trunk_is_on(t))
		return 0;
	if (!net->trunk[0])
		return err_set(e, ENODEV,
			       "its subnet is VLAN %u of a physical network, and this host has no "
			       "trunk to it ([network] trunk in berth.conf)",
			       t->vlan);
	if (t->vlan > VLAN_MAX)
		return err_set(e, EINVAL, "VLAN %u is over %d", t->vlan, VLAN_MAX);
	if (request->mode != NET_AWSVPC || request->public_address.length)
		return err_set(e, EINVAL,
			       "on a trunk a task has addresses of its own, and no public one");
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		if (!fits(t, &request->addresses[v6], v6))
			return err_set(e, EINVAL,
				       "an address that is not in its subnet on the trunk");
	return 0;
}

/* ---- who is on which wire ---- */

static struct trunk_members list_members(const struct net *net, const struct endpoint *more,
					 const struct endpoint *without)
{
	struct trunk_members m = {
		.items = xcalloc(net->endpoint_count + 2, sizeof(struct endpoint *))};

	for (size_t i = 0; i < net->endpoint_count; i++) {
		const struct endpoint *ep = net->endpoints + i;

		if (ep != without && trunk_is_on(&ep->trunk))
			m.items[m.count++] = ep;
	}
	if (more)
		m.items[m.count++] = more;
	return m;
}

static struct wire *wire_of(struct wire *wires, size_t count, unsigned vlan)
{
	for (size_t i = 0; i < count; i++)
		if (wires[i].vlan == vlan)
			return &wires[i];
	return NULL;
}

/* Each once; malloc'ed. */
static struct wire *list_wires(const struct net *net, const struct trunk_members *m,
			       size_t *ret_count)
{
	struct wire *wires = xcalloc(m->count + 1, sizeof(*wires));

	*ret_count = 0;
	for (size_t i = 0; i < m->count; i++) {
		const struct net_trunk *t = &m->items[i]->trunk;
		struct wire *w = wire_of(wires, *ret_count, t->vlan);

		if (!w) {
			w = &wires[(*ret_count)++];
			w->vlan = t->vlan;
			if (w->vlan)
				trunk_name(&net->name, w->vlan, w->link);
			else
				(void)snprintf(w->link, sizeof(w->link), "%s", net->trunk);
		}
		w->has_v6 |= t->subnet[1].length != 0;
	}
	return wires;
}

/* ---- links ---- */

static const struct link_info *link_named(const struct link_info *links, size_t count,
					  const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq(links[i].name, name))
			return &links[i];
	return NULL;
}

static int make_vlan(struct net *net, const struct wire *w, const struct link_info *parent,
		     struct err *e)
{
	const struct ifinfomsg link = {0};
	auto_batch struct batch b = BATCH_INIT;
	struct nlattr *info, *data;
	const uint16_t id = (uint16_t)w->vlan;

	batch_add(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof(link),
		  "add VLAN %u of %s", w->vlan, parent->name);
	batch_text(&b, IFLA_IFNAME, w->link);
	batch_u32(&b, IFLA_LINK, parent->index);
	info = batch_nest(&b, IFLA_LINKINFO);
	batch_text(&b, IFLA_INFO_KIND, "vlan");
	data = batch_nest(&b, IFLA_INFO_DATA);
	batch_put(&b, IFLA_VLAN_ID, &id, sizeof(id));
	batch_nest_end(&b, data);
	batch_nest_end(&b, info);
	if (netlink_commit(&net->route, &b, 0, e) == 0)
		return 0;
	return e->code == EOPNOTSUPP ? err_wrap(e, "this kernel has no VLANs (8021q)") : -e->code;
}

static int write_setting(const struct wire *w, const char *directory, const char *name,
			 const char *value, struct err *e)
{
	auto_free char *path = xasprintf("/proc/sys/net/%s/%s/%s", directory, w->link, name);

	return fs_write_at(AT_FDCWD, path, value, e);
}

/* By whoever has the link. */
static bool is_off_v6(const struct wire *w)
{
	auto_free char *path = xasprintf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", w->link);
	auto_buf struct buf text = BUF_INIT(16);
	struct err ignored;

	return fs_read(AT_FDCWD, path, &text, &ignored) == 0 && buf_str(&text)[0] == '1';
}

/*
 * It answers for tasks at once.  On a VLAN the host asks for others by an address of the link,
 * which it has without asking around for it, and takes nothing from routers.
 */
static int set_up_v6(const struct wire *w, struct err *e)
{
	static const struct {
		const char *directory, *name, *value;
		bool of_vlan;
	} settings[] = {
		{"ipv6/conf", "accept_ra", "0", true},     {"ipv6/conf", "accept_dad", "0", true},
		{"ipv6/conf", "autoconf", "0", true},      {"ipv6/conf", "disable_ipv6", "0", true},
		{"ipv6/conf", "forwarding", "1", false},   {"ipv6/conf", "proxy_ndp", "1", false},
		{"ipv6/neigh", "proxy_delay", "0", false},
	};
	struct err ignored; /* a kernel without IPv6 */

	if (!w->has_v6) {
		if (w->vlan)
			(void)write_setting(w, "ipv6/conf", "disable_ipv6", "1", &ignored);
		return 0;
	}
	if (!w->vlan && is_off_v6(w))
		return err_set(
			e, EAFNOSUPPORT,
			"IPv6 is off there (net.ipv6.conf.%s.disable_ipv6), and tasks have it",
			w->link);
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++)
		if ((w->vlan || !settings[i].of_vlan) &&
		    write_setting(w, settings[i].directory, settings[i].name, settings[i].value,
				  e) < 0)
			return -e->code;
	return 0;
}

/* Up, forwarding, and it answers for tasks at once. */
static int set_up(struct net *net, const struct wire *w, struct err *e)
{
	const struct ifinfomsg link = {
		.ifi_index = (int)w->index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	struct nlattr *families, *family, *inet;
	auto_batch struct batch b = BATCH_INIT;

	if (write_setting(w, "ipv4/neigh", "proxy_delay", "0", e) < 0 || set_up_v6(w, e) < 0)
		return -e->code;
	batch_add(&b, RTM_SETLINK, 0, &link, sizeof(link), "%s up", w->link);
	families = batch_nest(&b, IFLA_AF_SPEC);
	family = batch_nest(&b, AF_INET);
	inet = batch_nest(&b, IFLA_INET_CONF);
	batch_u32(&b, IPV4_DEVCONF_FORWARDING, 1);
	batch_nest_end(&b, inet);
	batch_nest_end(&b, family);
	batch_nest_end(&b, families);
	return netlink_commit(&net->route, &b, 0, e);
}

static bool has_address(const char *link)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {0};

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", link);
	return fd >= 0 && ioctl(fd, SIOCGIFADDR, &r) == 0;
}

static int settle_wire(struct net *net, struct wire *w, struct err *e)
{
	auto_free struct link_info *links = NULL;
	const struct link_info *parent, *own;
	size_t count;

	if (link_list(&net->route, &links, &count, e) < 0)
		return -e->code;
	parent = link_named(links, count, net->trunk);
	if (!parent)
		return err_set(e, ENODEV, "there is no link %s", net->trunk);
	own = w->vlan ? link_named(links, count, w->link) : parent;
	if (own && w->vlan && own->parent != parent->index) {
		if (link_delete(&net->route, own, 1, e) < 0)
			return -e->code;
		own = NULL;
	}
	if (!own && make_vlan(net, w, parent, e) < 0)
		return -e->code;
	w->index = own ? own->index : if_nametoindex(w->link);
	w->speaks = !w->vlan && has_address(w->link);
	return set_up(net, w, e);
}

/* ---- routes and rules ---- */

static uint32_t priority_of(const struct name *n)
{
	return PRIORITY_FIRST + 2 * (n->tag % PRIORITIES);
}

/* Of a subnet: no other of its family has it, and small numbers are the host's. */
static uint32_t table_of(const struct ip_prefix *subnet)
{
	uint32_t last;

	if (!subnet->v6)
		return ip_v4(subnet);
	memcpy(&last, subnet->address + 4, sizeof(last));
	return ntohl(last) | 1u << 31;
}

static int family_of(const struct ip_prefix *p)
{
	return p->v6 ? AF_INET6 : AF_INET;
}

static size_t size_of(const struct ip_prefix *p)
{
	return p->v6 ? 16 : 4;
}

static void add_route(struct batch *b, unsigned type, const struct ip_prefix *subnet,
		      const struct ip_prefix *to, const struct ip_prefix *gateway, uint32_t index)
{
	const struct rtmsg route = {.rtm_family = (uint8_t)family_of(subnet),
				    .rtm_dst_len = (uint8_t)(to ? to->length : 0),
				    .rtm_protocol = LINK_ROUTE_PROTOCOL,
				    .rtm_scope = type == RTM_DELROUTE ? RT_SCOPE_NOWHERE /* any */
						 : gateway || subnet->v6 ? RT_SCOPE_UNIVERSE
									 : RT_SCOPE_LINK,
				    .rtm_type = RTN_UNICAST,
				    .rtm_flags = gateway ? RTNH_F_ONLINK : 0};
	unsigned flags = type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0;
	char text[IP_TEXT_MAX];

	ip_prefix_format(subnet, text);
	batch_add(b, type, flags, &route, sizeof(route), "route of %s on the trunk", text);
	batch_u32(b, RTA_TABLE, table_of(subnet));
	if (to)
		batch_put(b, RTA_DST, to->address, size_of(to));
	if (gateway)
		batch_put(b, RTA_GATEWAY, gateway->address, size_of(gateway));
	if (index)
		batch_u32(b, RTA_OIF, index);
}

/* From the subnet, to a prefix or to all, by a table. */
static void add_rule(struct batch *b, unsigned type, const struct ip_prefix *subnet,
		     const struct ip_prefix *to, uint32_t table, uint32_t priority)
{
	const struct fib_rule_hdr rule = {.family = (uint8_t)family_of(subnet),
					  .src_len = (uint8_t)subnet->length,
					  .dst_len = (uint8_t)(to ? to->length : 0),
					  .action = FR_ACT_TO_TBL};
	unsigned flags = type == RTM_NEWRULE ? NLM_F_CREATE | NLM_F_EXCL : 0;
	char text[IP_TEXT_MAX];

	ip_prefix_format(subnet, text);
	batch_add(b, type, flags, &rule, sizeof(rule), "rule of %s on the trunk", text);
	batch_put(b, FRA_SRC, subnet->address, size_of(subnet));
	if (to)
		batch_put(b, FRA_DST, to->address, size_of(to));
	batch_u32(b, FRA_TABLE, table);
	batch_u32(b, FRA_PRIORITY, priority);
	batch_u8(b, FRA_PROTOCOL, LINK_ROUTE_PROTOCOL);
}

static void add_routes(struct batch *b, const struct wire *w, const struct endpoint *ep, bool v6)
{
	const struct ip_prefix *subnet = &ep->trunk.subnet[v6];

	add_route(b, RTM_NEWROUTE, subnet, subnet, NULL, w->index);
	add_route(b, RTM_NEWROUTE, subnet, NULL, &ep->trunk.gateway[v6], w->index);
}

static void add_rules(struct batch *b, const struct net *net, const struct endpoint *ep, bool v6)
{
	const struct ip_prefix block = v6 ? name_block6(&net->name)
					  : ip_of_v4(net->host.block.base, net->host.block.prefix),
			       *subnet = &ep->trunk.subnet[v6],
			       *const ours[] = {&ep->vpc[v6], &block};
	uint32_t priority = priority_of(&net->name);

	for (size_t i = 0; i < ARRAY_COUNT(ours); i++) {
		add_rule(b, RTM_NEWRULE, subnet, ours[i], RT_TABLE_MAIN, priority);
		batch_u32(b, FRA_SUPPRESS_PREFIXLEN, 0); /* all but the host's default route */
	}
	add_rule(b, RTM_NEWRULE, subnet, NULL, table_of(subnet), priority + 1);
}

/* ---- the host in the task's place ---- */

static void answer_for(struct batch *b, unsigned type, const struct wire *w,
		       const struct endpoint *ep)
{
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		const struct ip_prefix *own = &ep->own[v6];
		const struct ndmsg proxy = {.ndm_family = (uint8_t)family_of(own),
					    .ndm_ifindex = (int)w->index,
					    .ndm_flags = NTF_PROXY};

		if (!own->length)
			continue;
		batch_add(b, type, type == RTM_NEWNEIGH ? NLM_F_CREATE | NLM_F_REPLACE : 0, &proxy,
			  sizeof(proxy), "answer for a task on %s", w->link);
		batch_put(b, NDA_DST, own->address, size_of(own));
	}
}

/* A network card that sorts by MAC lets it in. */
static void take_frames(struct batch *b, unsigned type, const struct wire *w,
			const struct endpoint *ep)
{
	const struct ndmsg filter = {.ndm_family = AF_BRIDGE,
				     .ndm_ifindex = (int)w->index,
				     .ndm_state = NUD_PERMANENT,
				     .ndm_flags = NTF_SELF};
	uint8_t mac[ETH_ALEN];

	name_own_mac(ep->own, mac);
	batch_add(b, type, type == RTM_NEWNEIGH ? NLM_F_CREATE | NLM_F_EXCL : 0, &filter,
		  sizeof(filter), "take frames for a task on %s", w->link);
	batch_put(b, NDA_LLADDR, mac, sizeof(mac));
}

static int stand_aside(struct net *net, const struct wire *w, const struct endpoint *ep,
		       struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	answer_for(&b, RTM_DELNEIGH, w, ep);
	take_frames(&b, RTM_DELNEIGH, w, ep);
	return netlink_commit(&net->route, &b, ENOENT, e);
}

struct announcement {
	struct ethhdr ethernet;
	struct arphdr arp;
	uint8_t from_mac[ETH_ALEN], from[4], to_mac[ETH_ALEN], to[4];
} __attribute__((packed));

/* RFC 4861, 4.4 and 7.2.6. */
struct announcement6 {
	struct ethhdr ethernet;
	struct ip6_hdr ip;
	struct nd_neighbor_advert advert;
	struct nd_opt_hdr option;
	uint8_t mac[ETH_ALEN];
} __attribute__((packed));

static void send_frame(const struct wire *w, uint16_t protocol, const void *frame, size_t size)
{
	auto_close int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)w->index,
				 .sll_protocol = htons(protocol),
				 .sll_halen = ETH_ALEN};

	if (fd >= 0) /* lost, it is asked for instead */
		(void)sendto(fd, frame, size, MSG_DONTWAIT, (const struct sockaddr *)&to,
			     sizeof(to));
}

/* Who is told: switches, and whoever remembers another MAC. RFC 5227, 2.3. */
static void announce_v4(const struct wire *w, const struct endpoint *ep)
{
	struct announcement a = {.ethernet = {.h_proto = htons(ETH_P_ARP)},
				 .arp = {.ar_hrd = htons(ARPHRD_ETHER),
					 .ar_pro = htons(ETH_P_IP),
					 .ar_hln = ETH_ALEN,
					 .ar_pln = 4,
					 .ar_op = htons(ARPOP_REQUEST)}};

	name_own_mac(ep->own, a.from_mac);
	memset(a.ethernet.h_dest, 0xff, ETH_ALEN);
	memcpy(a.ethernet.h_source, a.from_mac, ETH_ALEN);
	memcpy(a.from, ep->own[0].address, sizeof(a.from));
	memcpy(a.to, ep->own[0].address, sizeof(a.to));
	send_frame(w, ETH_P_ARP, &a, sizeof(a));
}

/* RFC 1071, of an even number of bytes. */
static uint32_t add_words(uint32_t sum, const void *bytes, size_t size)
{
	const uint8_t *b = bytes;

	for (size_t i = 0; i + 1 < size; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	return sum;
}

static void announce_v6(const struct wire *w, const struct endpoint *ep)
{
	static const uint8_t to_mac[ETH_ALEN] = {0x33, 0x33, [5] = 1}, to[16] = {0xff, 2, [15] = 1};
	const uint16_t size = sizeof(struct announcement6) - offsetof(struct announcement6, advert);
	struct announcement6 a = {
		.ethernet = {.h_proto = htons(ETH_P_IPV6)},
		.ip = {.ip6_plen = htons(size), .ip6_nxt = IPPROTO_ICMPV6, .ip6_hlim = 255},
		.option = {ND_OPT_TARGET_LINKADDR, 1}};
	uint32_t sum;

	a.ip.ip6_vfc = 6 << 4;
	a.advert.nd_na_type = ND_NEIGHBOR_ADVERT;
	a.advert.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
	name_own_mac(ep->own, a.mac);
	memcpy(a.ethernet.h_source, a.mac, ETH_ALEN);
	memcpy(a.ethernet.h_dest, to_mac, ETH_ALEN);
	memcpy(&a.ip.ip6_src, ep->own[1].address, 16);
	memcpy(&a.ip.ip6_dst, to, sizeof(to));
	memcpy(&a.advert.nd_na_target, ep->own[1].address, 16);
	sum = add_words(size + IPPROTO_ICMPV6, &a.ip.ip6_src, 2 * sizeof(to));
	sum = add_words(sum, &a.advert, size);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	a.advert.nd_na_cksum = htons((uint16_t)~sum);
	send_frame(w, ETH_P_IPV6, &a, sizeof(a));
}

static void announce(const struct wire *w, const struct endpoint *ep)
{
	if (ep->own[0].length)
		announce_v4(w, ep);
	if (ep->own[1].length)
		announce_v6(w, ep);
}

/* ---- all of it ---- */

static bool is_first_of_subnet(const struct trunk_members *m, size_t i, bool v6)
{
	const struct ip_prefix *subnet = &m->items[i]->trunk.subnet[v6];

	for (size_t n = 0; n < i; n++)
		if (m->items[n]->trunk.subnet[v6].length &&
		    ip_prefix_overlaps(&m->items[n]->trunk.subnet[v6], subnet))
			return false;
	return subnet->length != 0;
}

/* What is there already is passed over, so each kind has a batch of its own. */
static int settle_members(struct net *net, const struct trunk_members *m, struct wire *wires,
			  size_t count, struct err *e)
{
	auto_batch struct batch made = BATCH_INIT, rules = BATCH_INIT, filters = BATCH_INIT;

	for (size_t i = 0; i < m->count; i++) {
		const struct wire *w = wire_of(wires, count, m->items[i]->trunk.vlan);

		for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
			if (!is_first_of_subnet(m, i, v6))
				continue;
			add_routes(&made, w, m->items[i], v6);
			add_rules(&rules, net, m->items[i], v6);
		}
		answer_for(&made, RTM_NEWNEIGH, w, m->items[i]);
		take_frames(&filters, RTM_NEWNEIGH, w, m->items[i]);
	}
	if (netlink_commit(&net->route, &made, 0, e) < 0 ||
	    netlink_commit(&net->route, &rules, EEXIST, e) < 0)
		return -e->code;
	return netlink_commit(&net->route, &filters, EEXIST, e);
}

static int settle(struct net *net, const struct trunk_members *m, struct wire *wires, size_t count,
		  struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	for (size_t i = 0; i < count; i++)
		if (settle_wire(net, &wires[i], e) < 0)
			return -e->code;
	trunk_define(net->name.table, wires, count, m, &b);
	/* Nothing to define, and no family netdev either, is fine. */
	if (netlink_commit(&net->netfilter, &b, count ? 0 : EOPNOTSUPP, e) < 0)
		return -e->code;
	return settle_members(net, m, wires, count, e);
}

int trunk_settle(struct net *net, const struct endpoint *more, const struct endpoint *without,
		 struct err *e)
{
	struct trunk_members m = list_members(net, more, without);
	auto_free const struct endpoint **members = m.items;
	auto_free struct wire *wires = NULL;
	size_t count;

	(void)members;
	if (!m.count && !without)
		return 0;
	if (!net->trunk[0] && m.count)
		return err_set(e, ENODEV, "%zu tasks are on a trunk and berth.conf names none",
			       m.count);
	wires = list_wires(net, &m, &count);
	return settle(net, &m, wires, count, e) < 0 ? err_wrap(e, "trunk %s", net->trunk) : 0;
}

static bool find_wire(const struct net *net, const struct endpoint *ep, struct wire *ret)
{
	*ret = (struct wire){.vlan = ep->trunk.vlan};
	if (ep->trunk.vlan)
		trunk_name(&net->name, ep->trunk.vlan, ret->link);
	else
		(void)snprintf(ret->link, sizeof(ret->link), "%s", net->trunk);
	ret->index = if_nametoindex(ret->link);
	return ret->index != 0;
}

int trunk_join(struct net *net, const struct endpoint *ep, struct err *e)
{
	struct wire w;

	if (!trunk_is_on(&ep->trunk))
		return 0;
	if (trunk_settle(net, ep, NULL, e) < 0)
		return -e->code;
	if (find_wire(net, ep, &w))
		announce(&w, ep);
	return 0;
}

int trunk_leave(struct net *net, const struct endpoint *ep, struct err *e)
{
	struct wire w;

	if (!trunk_is_on(&ep->trunk))
		return 0;
	if (find_wire(net, ep, &w) && stand_aside(net, &w, ep, e) < 0)
		return -e->code;
	return trunk_settle(net, NULL, ep, e);
}

/* ---- what is left over ---- */

struct leftover {
	const struct net *net;
	struct trunk_members members;
	struct batch deletes;
};

static bool is_wanted(const struct leftover *l, const struct ip_prefix *subnet)
{
	for (size_t i = 0; i < l->members.count; i++)
		if (l->members.items[i]->trunk.subnet[subnet->v6].length &&
		    ip_prefix_overlaps(&l->members.items[i]->trunk.subnet[subnet->v6], subnet))
			return true;
	return false;
}

static struct ip_prefix prefix_of(const struct nlattr *attr, bool v6, unsigned length)
{
	struct ip_prefix p = {.v6 = v6, .length = length};

	memcpy(p.address, nla_data(attr), size_of(&p));
	return p;
}

bool trunk_rule_parse(const struct nlmsghdr *h, struct ip_prefix *ret_subnet,
		      struct ip_prefix *ret_to, uint32_t *ret_table, uint32_t *ret_priority)
{
	static struct nla_policy policy[FRA_MAX + 1] = {
		[FRA_TABLE] = {.type = NLA_U32},
		[FRA_PRIORITY] = {.type = NLA_U32},
		[FRA_PROTOCOL] = {.type = NLA_U8},
	};
	const struct fib_rule_hdr *rule = NLMSG_DATA(h);
	struct nlattr *tb[FRA_MAX + 1];
	size_t size;
	bool v6;

	if (h->nlmsg_type != RTM_NEWRULE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*rule)))
		return false;
	v6 = rule->family == AF_INET6;
	size = v6 ? 16 : 4;
	if ((!v6 && rule->family != AF_INET) || rule->src_len > 8 * size ||
	    rule->dst_len > 8 * size ||
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(*rule), tb, FRA_MAX, policy) < 0 ||
	    !tb[FRA_SRC] || (size_t)nla_len(tb[FRA_SRC]) != size ||
	    (tb[FRA_DST] && (size_t)nla_len(tb[FRA_DST]) != size) || !tb[FRA_TABLE] ||
	    !tb[FRA_PRIORITY] || !tb[FRA_PROTOCOL] ||
	    nla_get_u8(tb[FRA_PROTOCOL]) != LINK_ROUTE_PROTOCOL)
		return false;
	*ret_subnet = prefix_of(tb[FRA_SRC], v6, rule->src_len);
	*ret_to = (struct ip_prefix){0};
	if (tb[FRA_DST])
		*ret_to = prefix_of(tb[FRA_DST], v6, rule->dst_len);
	*ret_table = nla_get_u32(tb[FRA_TABLE]);
	*ret_priority = nla_get_u32(tb[FRA_PRIORITY]);
	return true;
}

static int see_rule(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct leftover *l = arg;
	uint32_t table, priority, own = priority_of(&l->net->name);
	struct ip_prefix subnet, to;

	(void)e;
	if (!trunk_rule_parse(h, &subnet, &to, &table, &priority) || is_wanted(l, &subnet) ||
	    (priority != own && priority != own + 1))
		return 0;
	add_rule(&l->deletes, RTM_DELRULE, &subnet, to.length ? &to : NULL, table, priority);
	if (priority == own + 1) {
		add_route(&l->deletes, RTM_DELROUTE, &subnet, &subnet, NULL, 0);
		add_route(&l->deletes, RTM_DELROUTE, &subnet, NULL, NULL, 0);
	}
	return 0;
}

static void see_again(void *arg)
{
	(void)arg; /* what is deleted twice is passed over */
}

static int drop_rules(struct net *net, struct leftover *l, struct err *e)
{
	const struct netlink_dump dump = {see_rule, see_again, l};

	for (int v6 = 0; v6 < (net->has_ipv6 ? NET_FAMILIES : 1); v6++) {
		const struct fib_rule_hdr any = {.family = v6 ? AF_INET6 : AF_INET};
		auto_batch struct batch b = BATCH_INIT;

		batch_add(&b, RTM_GETRULE, 0, &any, sizeof(any), "list rules of routing");
		if (netlink_dump(&net->route, &b, &dump, e) < 0)
			return -e->code;
	}
	return netlink_commit(&net->route, &l->deletes, ESRCH, e);
}

static int drop_vlans(struct net *net, const struct trunk_members *m, struct err *e)
{
	auto_free struct link_info *links = NULL;
	char name[IFNAMSIZ];
	size_t count, orphans = 0;
	size_t prefix;

	trunk_name(&net->name, 0, name);
	prefix = strlen(name) - 3; /* without its digits */
	if (link_list(&net->route, &links, &count, e) < 0)
		return -e->code;
	for (size_t i = 0; i < count; i++) {
		bool wanted = strncmp(links[i].name, name, prefix) != 0;

		for (size_t n = 0; n < m->count && !wanted; n++) {
			char own[IFNAMSIZ];

			trunk_name(&net->name, m->items[n]->trunk.vlan, own);
			wanted = str_eq(own, links[i].name);
		}
		if (!wanted)
			links[orphans++] = links[i];
	}
	return link_delete(&net->route, links, orphans, e);
}

static int drop_leftovers(struct net *net, struct trunk_members m, struct err *e)
{
	struct leftover l = {.net = net, .members = m, .deletes = BATCH_INIT};
	int r = drop_rules(net, &l, e);

	if (r == 0)
		r = drop_vlans(net, &m, e);
	batch_done(&l.deletes);
	return r;
}

int trunk_sweep(struct net *net, struct err *e)
{
	struct trunk_members m = list_members(net, NULL, NULL);
	int r = drop_leftovers(net, m, e);

	free(m.items);
	return r;
}

int trunk_destroy(struct net *net, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;
	const struct trunk_members none = {0};

	for (size_t i = 0; i < net->endpoint_count; i++) {
		const struct endpoint *ep = &net->endpoints[i];
		struct wire w;

		if (trunk_is_on(&ep->trunk) && find_wire(net, ep, &w) &&
		    stand_aside(net, &w, ep, e) < 0)
			return -e->code;
	}
	trunk_define(net->name.table, NULL, 0, &none, &b);
	if (netlink_commit(&net->netfilter, &b, EOPNOTSUPP, e) < 0)
		return -e->code;
	return drop_leftovers(net, none, e);
}
