/* net/shortcut_flow.c - which flows have a shortcut (net/shortcut.h)
 * SPDX-License-Identifier: Apache-2.0
 *
 * A sample is put to the endpoints and to the kernel's connection tracking.  What comes of it
 * is a way for each direction, or nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>

#include "base/auto.h"
#include "net/flow.h"
#include "net/internal.h"

#define LINKS_PER_BATCH 64
#define SAMPLES         32 /* that we are woken for, or for what there is after NFLOG_TIMEOUT */

/* ---- connection tracking ---- */

static void add_tuple(struct batch *b, const struct shortcut_key *k)
{
	bool v6 = k->protocol & SHORTCUT_IPV6;
	size_t size = v6 ? 16 : 4;
	struct nlattr *tuple = batch_nest(b, CTA_TUPLE_ORIG), *nest = batch_nest(b, CTA_TUPLE_IP);

	batch_put(b, v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, k->source + 16 - size, size);
	batch_put(b, v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, k->destination + 16 - size, size);
	batch_nest_end(b, nest);
	nest = batch_nest(b, CTA_TUPLE_PROTO);
	batch_u8(b, CTA_PROTO_NUM, (uint8_t)k->protocol);
	batch_put(b, CTA_PROTO_SRC_PORT, k->ports, 2);
	batch_put(b, CTA_PROTO_DST_PORT, k->ports + 2, 2);
	batch_nest_end(b, nest);
	batch_nest_end(b, tuple);
}

/* In either direction: the kernel finds a connection by both. */
static void begin(struct batch *b, unsigned type, const struct shortcut_key *k, const char *note)
{
	const struct nfgenmsg nf = {.nfgen_family = k->protocol & SHORTCUT_IPV6 ? AF_INET6
										: AF_INET,
				    .version = NFNETLINK_V0};

	batch_add(b, NFNL_SUBSYS_CTNETLINK << 8 | type, 0, &nf, sizeof(nf), "%s", note);
	add_tuple(b, k);
}

static uint8_t tcp_state(struct nlattr *protoinfo)
{
	struct nlattr *info[CTA_PROTOINFO_MAX + 1], *tcp[CTA_PROTOINFO_TCP_MAX + 1];

	if (!protoinfo || nla_parse_nested(info, CTA_PROTOINFO_MAX, protoinfo, NULL) < 0 ||
	    !info[CTA_PROTOINFO_TCP] ||
	    nla_parse_nested(tcp, CTA_PROTOINFO_TCP_MAX, info[CTA_PROTOINFO_TCP], NULL) < 0 ||
	    !tcp[CTA_PROTOINFO_TCP_STATE])
		return TCP_CONNTRACK_NONE;
	return nla_get_u8(tcp[CTA_PROTOINFO_TCP_STATE]);
}

bool shortcut_may_have_way(const struct nlmsghdr *h)
{
	struct nlattr *tb[CTA_MAX + 1];
	struct flow_report flow;
	uint32_t status;

	if (!flow_report_parse(h, &flow) || flow.ended ||
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(struct nfgenmsg), tb, CTA_MAX,
			NULL) < 0 ||
	    !tb[CTA_STATUS] || nla_len(tb[CTA_STATUS]) != sizeof(status))
		return false;
	status = ntohl(nla_get_u32(tb[CTA_STATUS]));
	return status & IPS_ASSURED && !(status & (IPS_NAT_MASK | IPS_DYING)) && !tb[CTA_HELP] &&
	       (flow.original.protocol == IPPROTO_UDP ||
		(flow.original.protocol == IPPROTO_TCP &&
		 tcp_state(tb[CTA_PROTOINFO]) == TCP_CONNTRACK_ESTABLISHED));
}

static int see_flow(const struct nlmsghdr *h, void *arg, struct err *e)
{
	(void)e;
	*(bool *)arg |= shortcut_may_have_way(h);
	return 0;
}

/* Its windows are kept no more. */
static int set_liberal(struct net *net, const struct shortcut_key *k, struct err *e)
{
	const struct nf_ct_tcp_flags liberal = {.flags = IP_CT_TCP_FLAG_BE_LIBERAL,
						.mask = IP_CT_TCP_FLAG_BE_LIBERAL};
	auto_batch struct batch b = BATCH_INIT;
	struct nlattr *info, *tcp;

	begin(&b, IPCTNL_MSG_CT_NEW, k, "flags of a flow");
	info = batch_nest(&b, CTA_PROTOINFO);
	tcp = batch_nest(&b, CTA_PROTOINFO_TCP);
	batch_put(&b, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &liberal, sizeof(liberal));
	batch_put(&b, CTA_PROTOINFO_TCP_FLAGS_REPLY, &liberal, sizeof(liberal));
	batch_nest_end(&b, tcp);
	batch_nest_end(&b, info);
	return netlink_commit(&net->netfilter, &b, 0, e);
}

/* False also where the kernel does not know it. */
static bool is_tracked(struct net *net, const struct shortcut_key *k)
{
	bool found = false;
	const struct netlink_dump answer = {see_flow, NULL, &found};
	auto_batch struct batch b = BATCH_INIT;
	struct err ignored;

	begin(&b, IPCTNL_MSG_CT_GET, k, "find a flow");
	return netlink_ask(&net->netfilter, &b, &answer, &ignored) == 0 && found &&
	       ((uint8_t)k->protocol != IPPROTO_TCP || set_liberal(net, k, &ignored) == 0);
}

/* ---- endpoints ---- */

static bool has_address(const struct endpoint *ep, const struct ip_prefix *address)
{
	const struct ip_prefix bridge = ip_of_v4(ep->address, 32), *own = &ep->own[address->v6];

	if (!address->v6 && ep->mode == NET_BRIDGE)
		own = &bridge;
	return ep->address && own->length &&
	       memcmp(own->address, address->address, address->v6 ? 16 : 4) == 0;
}

/* On a trunk others have a word, and what is logged is counted. */
static bool is_open(const struct net *net, const struct endpoint *ep)
{
	if (!ep || ep->lost || trunk_is_on(&ep->trunk))
		return false;
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		if (net->flows && ep->own[v6].length && net_flows_has(net->flows, &ep->own[v6]))
			return false;
	return true;
}

static struct endpoint *endpoint_at(struct net *net, const struct ip_prefix *address)
{
	for (size_t i = 0; i < net->endpoint_count; i++)
		if (has_address(&net->endpoints[i], address))
			return &net->endpoints[i];
	return NULL;
}

/* ---- ways ---- */

static struct shortcut_way way_to(const struct net *net, const struct endpoint *ep,
				  const struct shortcut_key *key)
{
	const struct link link = net_link(net, ep);
	struct shortcut_way way = {.place = shortcut_place(key, link.index)};

	link_mac(&link, way.macs);
	memcpy(way.macs + 6, name_host_mac, 6);
	return way;
}

/* But for the link. */
static struct shortcut_key key_of(const struct flow_side *s)
{
	const uint16_t ports[] = {htons(s->source_port), htons(s->destination_port)};
	size_t size = s->source.v6 ? 16 : 4;
	struct shortcut_key k = {.protocol = s->protocol | (s->source.v6 ? SHORTCUT_IPV6 : 0)};

	memcpy(k.ports, ports, sizeof(k.ports));
	memcpy(k.source + 16 - size, s->source.address, size);
	memcpy(k.destination + 16 - size, s->destination.address, size);
	return k;
}

static struct shortcut_key answers_to(const struct shortcut_key *k, uint32_t link)
{
	struct shortcut_key back = {.link = link, .protocol = k->protocol};

	memcpy(back.ports, k->ports + 2, 2);
	memcpy(back.ports + 2, k->ports, 2);
	memcpy(back.source, k->destination, 16);
	memcpy(back.destination, k->source, 16);
	return back;
}

static bool bind_link(struct net *net, struct endpoint *ep)
{
	struct err e = {0};
	int r = ep->has_programs ? 0
				 : shortcut_bind(&net->shortcut, &net->route,
						 name_link_index(ep->address), &e);

	if (r != -ENODEV) /* it is ending */
		net->shortcut.why = e;
	ep->has_programs = r == 0;
	return r == 0;
}

/* Among the last samples; this is one of them from now on. */
static bool is_busy(struct shortcut *s, const struct shortcut_key *k)
{
	int times = 1;

	for (size_t i = 0; i < SHORTCUT_RECENT; i++)
		times += memcmp(&s->recent[i], k, sizeof(*k)) == 0;
	s->recent[s->samples_seen++ % SHORTCUT_RECENT] = *k;
	return times >= SHORTCUT_BUSY;
}

static void make_ways(struct net *net, struct endpoint *from, struct endpoint *to,
		      const struct shortcut_key *key)
{
	const struct shortcut_key answers = answers_to(key, name_link_index(to->address));
	const struct shortcut_way there = way_to(net, to, key), back = way_to(net, from, &answers);

	if (!is_tracked(net, key) || !bind_link(net, from) || !bind_link(net, to))
		return;
	shortcut_put(&net->shortcut, key, &there);
	shortcut_put(&net->shortcut, &answers, &back);
}

static void take_sample(void *ctx, const struct nlmsghdr *h)
{
	struct net *net = ctx;
	struct endpoint *from, *to;
	struct flow_packet packet;
	struct shortcut_key key;

	if (!flow_packet_parse(h, &packet))
		return;
	key = key_of(&packet.side);
	if (!is_busy(&net->shortcut, &key))
		return;
	from = endpoint_at(net, &packet.side.source);
	to = endpoint_at(net, &packet.side.destination);
	if (from == to || !is_open(net, from) || !is_open(net, to))
		return;
	key.link = name_link_index(from->address);
	make_ways(net, from, to, &key);
}

uint16_t shortcut_group(const struct name *n)
{
	return (uint16_t)(0x4000 | ((n->tag ^ n->tag >> 14) & 0x3fff));
}

static void unbind_links(struct net *net)
{
	auto_batch struct batch b = BATCH_INIT;
	struct err ignored; /* most have no programs */

	for (size_t i = 0; i < net->endpoint_count; i++) {
		if (net->endpoints[i].address)
			shortcut_unbind(&b, name_link_index(net->endpoints[i].address));
		if (i % LINKS_PER_BATCH == 0 || i + 1 == net->endpoint_count)
			(void)netlink_commit(&net->route, &b, 0, &ignored);
	}
}

void net_open_shortcuts(struct net *net, bool wanted)
{
	struct shortcut *s = &net->shortcut;
	struct err why = {0};

	unbind_links(net);
	if (!wanted)
		(void)err_set(&why, EPERM, "[network] shortcuts = no");
	else if (shortcut_open(s, &why) < 0 ||
		 netlink_open(NETLINK_NETFILTER, &s->samples, &why) < 0 ||
		 flow_join(&s->samples, shortcut_group(&net->name), SAMPLES, &why) < 0)
		shortcut_close(s);
	s->why = why;
}

int net_shortcut_fd(const struct net *net)
{
	return net->shortcut.samples.fd;
}

void net_shortcut_read(struct net *net)
{
	struct err ignored; /* there will be more samples */
	bool lost;

	(void)flow_receive(net->shortcut.samples.fd, take_sample, net, &lost, &ignored);
}

void net_shortcut_forget(struct net *net)
{
	shortcut_forget(&net->shortcut, 0);
}

const char *net_shortcut_why_not(const struct net *net)
{
	return net->shortcut.why.code ? net->shortcut.why.msg : NULL;
}
