/* net/tunnel.c - the devices over which tasks of other hosts are reached
 * SPDX-License-Identifier: Apache-2.0
 *
 * One VXLAN, or one WireGuard, for all peers, found again by its name.  In the
 * VXLAN nothing is learned and nothing is asked: each peer's MAC follows from
 * its host's address, and is a permanent neighbour with a permanent place.
 */
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include "base/auto.h"
#include "base/hash.h"
#include "base/text.h"
#include "net/internal.h"
#include "net/peer.h"

static const char *const kinds[] = {[NET_VXLAN] = "vxlan", [NET_WIREGUARD] = "wireguard"};
static const char letters[] = {[NET_VXLAN] = 'x', [NET_WIREGUARD] = 'w'};

void tunnel_name(const struct name *n, enum net_transport transport, char ret[IFNAMSIZ])
{
	(void)snprintf(ret, IFNAMSIZ, "br%c%.*s", letters[transport],
		       (int)strcspn(n->prefix + 3, "-"), n->prefix + 3);
}

/* ---- names of hosts in the VXLAN ---- */

void vxlan_mac(const struct ip_prefix *host, uint8_t ret[6])
{
	unsigned char digest[SHA256_SIZE];

	sha256_of(host->address, sizeof(host->address), digest);
	ret[0] = 0x0a; /* locally administered */
	ret[1] = 0x59;
	memcpy(ret + 2, host->v6 ? digest : host->address, 4);
}

/* Only a name for the MAC: it is on no link and in no packet. */
struct ip_prefix vxlan_next_hop(const struct ip_prefix *host, bool v6)
{
	struct ip_prefix p = {.v6 = v6, .length = v6 ? 128 : 32};
	uint8_t mac[6];

	vxlan_mac(host, mac);
	if (v6) {
		p.address[0] = 0xfe;
		p.address[1] = 0x80;
		memcpy(p.address + 10, mac, 6);
	} else if (!host->v6) {
		return *host;
	} else {
		p.address[0] = 169; /* link-local, RFC 3927 */
		p.address[1] = 254;
		memcpy(p.address + 2, mac + 2, 2);
	}
	return p;
}

static void add_neighbour(struct batch *b, unsigned type, uint32_t index,
			  const struct ip_prefix *to, const uint8_t mac[6])
{
	const struct ndmsg n = {.ndm_family = to->v6 ? AF_INET6 : AF_INET,
				.ndm_ifindex = (int)index,
				.ndm_state = NUD_PERMANENT};

	batch_add(b, type, type == RTM_NEWNEIGH ? NLM_F_CREATE | NLM_F_REPLACE : 0, &n, sizeof(n),
		  "neighbour in the VXLAN");
	batch_put(b, NDA_DST, to->address, to->v6 ? 16 : 4);
	batch_put(b, NDA_LLADDR, mac, 6);
}

static void change_peer(struct batch *b, unsigned type, uint32_t index, const struct peer *p)
{
	const struct ndmsg place = {.ndm_family = AF_BRIDGE,
				    .ndm_ifindex = (int)index,
				    .ndm_state = NUD_PERMANENT,
				    .ndm_flags = NTF_SELF};
	const struct ip_prefix *host = peer_address(p);
	uint8_t mac[6];

	vxlan_mac(host, mac);
	batch_add(b, type, type == RTM_NEWNEIGH ? NLM_F_CREATE | NLM_F_REPLACE : 0, &place,
		  sizeof(place), "place of peer %.40s in the VXLAN", p->id);
	batch_put(b, NDA_LLADDR, mac, 6);
	batch_put(b, NDA_DST, host->address, host->v6 ? 16 : 4);
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		const struct ip_prefix next_hop = vxlan_next_hop(host, v6);
		bool wanted = false;

		for (size_t i = 0; i < p->count; i++)
			wanted |= p->prefixes[i].v6 == v6;
		if (wanted)
			add_neighbour(b, type, index, &next_hop, mac);
	}
}

void vxlan_add_peer(struct batch *b, uint32_t index, const struct peer *p)
{
	change_peer(b, RTM_NEWNEIGH, index, p);
}

void vxlan_drop_peer(struct batch *b, uint32_t index, const struct peer *p)
{
	change_peer(b, RTM_DELNEIGH, index, p);
}

/* ---- the device ---- */

static void parse_vxlan(struct nlattr *attr, struct tunnel *ret)
{
	static struct nla_policy policy[IFLA_VXLAN_MAX + 1] = {
		[IFLA_VXLAN_ID] = {.type = NLA_U32},
		[IFLA_VXLAN_PORT] = {.type = NLA_U16},
	};
	struct nlattr *tb[IFLA_VXLAN_MAX + 1];

	if (nla_parse_nested(tb, IFLA_VXLAN_MAX, attr, policy) < 0)
		return;
	if (tb[IFLA_VXLAN_ID])
		ret->vxlan_id = nla_get_u32(tb[IFLA_VXLAN_ID]);
	if (tb[IFLA_VXLAN_PORT])
		ret->vxlan_port = nla_get_u16(tb[IFLA_VXLAN_PORT]);
}

bool tunnel_parse(const struct nlmsghdr *h, struct tunnel *ret)
{
	static struct nla_policy policy[IFLA_INFO_MAX + 1] = {
		[IFLA_INFO_KIND] = {.type = NLA_STRING},
	};
	const struct ifinfomsg *link = NLMSG_DATA(h);
	struct nlattr *tb[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1];

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(*link)) ||
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(*link), tb, IFLA_MAX, NULL) < 0 ||
	    link->ifi_index <= 0)
		return false;
	ret->index = (uint32_t)link->ifi_index;
	ret->fits = false;
	if (!tb[IFLA_LINKINFO] ||
	    nla_parse_nested(info, IFLA_INFO_MAX, tb[IFLA_LINKINFO], policy) < 0 ||
	    !info[IFLA_INFO_KIND])
		return true;
	if (tb[IFLA_ADDRESS] && nla_len(tb[IFLA_ADDRESS]) == sizeof(ret->mac))
		memcpy(ret->mac, nla_data(tb[IFLA_ADDRESS]), sizeof(ret->mac));
	ret->fits = str_eq(nla_get_string(info[IFLA_INFO_KIND]), kinds[ret->transport]);
	if (ret->fits && ret->transport == NET_VXLAN && info[IFLA_INFO_DATA])
		parse_vxlan(info[IFLA_INFO_DATA], ret);
	return true;
}

static int see(const struct nlmsghdr *h, void *arg, struct err *e)
{
	(void)e;
	(void)tunnel_parse(h, arg);
	return 0;
}

/* index 0: there is none. */
static int find(struct net *net, enum net_transport transport, struct tunnel *ret, struct err *e)
{
	const struct ifinfomsg any = {.ifi_family = AF_UNSPEC};
	const struct netlink_dump answers = {see, NULL, ret};
	auto_batch struct batch b = BATCH_INIT;
	char name[IFNAMSIZ];
	struct err why;

	*ret = (struct tunnel){.transport = transport};
	tunnel_name(&net->name, transport, name);
	batch_add(&b, RTM_GETLINK, 0, &any, sizeof(any), "find %s", name);
	batch_text(&b, IFLA_IFNAME, name);
	if (netlink_ask(&net->route, &b, &answers, &why) < 0 && why.code != ENODEV) {
		*e = why;
		return -e->code;
	}
	return 0;
}

/* Packets leave under the address that the host's routes say; "::" only says that it is IPv6. */
static void put_vxlan(struct batch *b, const struct net *net)
{
	static const uint8_t unspecified[16];
	const uint16_t port = htons(net->peers.vxlan_port);
	struct nlattr *data = batch_nest(b, IFLA_INFO_DATA);

	batch_u32(b, IFLA_VXLAN_ID, net->peers.vxlan_id);
	batch_put(b, IFLA_VXLAN_PORT, &port, sizeof(port));
	batch_u8(b, IFLA_VXLAN_LEARNING, 0);
	if (net->peers.node.v6)
		batch_put(b, IFLA_VXLAN_LOCAL6, unspecified, sizeof(unspecified));
	batch_nest_end(b, data);
}

/* With its MAC: to set one later makes the kernel forget all neighbours. */
static int create(struct net *net, enum net_transport transport, struct err *e)
{
	const struct ifinfomsg link = {0};
	auto_batch struct batch b = BATCH_INIT;
	struct nlattr *info;
	char name[IFNAMSIZ];
	uint8_t mac[6];

	tunnel_name(&net->name, transport, name);
	batch_add(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof(link), "add link %s",
		  name);
	batch_text(&b, IFLA_IFNAME, name);
	if (transport == NET_VXLAN) {
		vxlan_mac(&net->peers.node, mac);
		batch_put(&b, IFLA_ADDRESS, mac, sizeof(mac));
	}
	info = batch_nest(&b, IFLA_LINKINFO);
	batch_text(&b, IFLA_INFO_KIND, kinds[transport]);
	if (transport == NET_VXLAN)
		put_vxlan(&b, net);
	batch_nest_end(&b, info);
	if (netlink_commit(&net->route, &b, 0, e) == 0)
		return 0;
	if (e->code == EOPNOTSUPP)
		return err_set(e, EOPNOTSUPP, "this kernel has no %s", kinds[transport]);
	return -e->code;
}

void tunnel_address(struct batch *b, unsigned type, uint32_t index, const struct ip_prefix *a)
{
	const struct ifaddrmsg address = {.ifa_family = a->v6 ? AF_INET6 : AF_INET,
					  .ifa_prefixlen = (uint8_t)a->length,
					  .ifa_flags = IFA_F_NODAD,
					  .ifa_index = index};

	batch_add(b, type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0, &address,
		  sizeof(address), "our own address in a tunnel");
	batch_put(b, IFA_LOCAL, a->address, a->v6 ? 16 : 4);
	batch_put(b, IFA_ADDRESS, a->address, a->v6 ? 16 : 4);
}

/* Settings, our own address, up. */
static int settle(struct net *net, const struct tunnel *t, uint32_t mtu, struct err *e)
{
	const struct ifinfomsg link = {
		.ifi_index = (int)t->index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	auto_batch struct batch b = BATCH_INIT;
	struct nlattr *families, *family, *inet;

	batch_add(&b, RTM_SETLINK, 0, &link, sizeof(link), "settings of a tunnel");
	batch_u32(&b, IFLA_MTU, mtu);
	families = batch_nest(&b, IFLA_AF_SPEC);
	family = batch_nest(&b, AF_INET);
	inet = batch_nest(&b, IFLA_INET_CONF);
	batch_u32(&b, IPV4_DEVCONF_FORWARDING, 1);
	batch_nest_end(&b, inet);
	batch_nest_end(&b, family);
	batch_nest_end(&b, families);
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		if (net->host.self[v6].length)
			tunnel_address(&b, RTM_NEWADDR, t->index, &net->host.self[v6]);
	return netlink_commit(&net->route, &b, 0, e);
}

static bool is_as_wanted(const struct net *net, const struct tunnel *t)
{
	uint8_t mac[6];

	vxlan_mac(&net->peers.node, mac);
	return t->fits &&
	       (t->transport != NET_VXLAN || (t->vxlan_id == net->peers.vxlan_id &&
					      t->vxlan_port == htons(net->peers.vxlan_port) &&
					      memcmp(t->mac, mac, sizeof(mac)) == 0));
}

int tunnel_make(struct net *net, enum net_transport transport, uint32_t mtu, uint32_t *ret_index,
		bool *ret_new, struct err *e)
{
	struct tunnel t = {0};

	if (find(net, transport, &t, e) < 0)
		return -e->code;
	*ret_new = !t.index || !is_as_wanted(net, &t);
	if (*ret_new && ((t.index && tunnel_delete(net, transport, e) < 0) ||
			 create(net, transport, e) < 0 || find(net, transport, &t, e) < 0))
		return -e->code;
	if (!t.index)
		return err_set(e, ENODEV, "tunnel vanished");
	if (transport == NET_WIREGUARD && wireguard_set_device(net, t.index, e) < 0)
		return -e->code;
	*ret_index = t.index;
	return settle(net, &t, mtu, e);
}

int tunnel_delete(struct net *net, enum net_transport transport, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;
	struct ifinfomsg link = {0};
	struct tunnel t = {0};

	if (find(net, transport, &t, e) < 0)
		return -e->code;
	if (!t.index)
		return 0;
	link.ifi_index = (int)t.index;
	batch_add(&b, RTM_DELLINK, 0, &link, sizeof(link), "delete a tunnel");
	return netlink_commit(&net->route, &b, ENODEV, e);
}
