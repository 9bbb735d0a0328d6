/* net/net.c - endpoints made and taken down
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * attach: hold the ports, take an address, write the file, make the namespace,
 * two batches of rtnetlink (host, then inside), one nf_tables transaction.
 * detach: the same from the end, but for the namespace, which is the caller's.
 *
 * 1. Whatever is in the kernel for an endpoint has a file in the state directory.
 * 2. Traffic is led to an address last when it comes, and first no more when
 *    it goes.
 * 3. An address, and with it a link's name and index, is not used again until
 *    it has rested: the kernel takes its time with links of dead namespaces.
 */
#include "net/net.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/coexist.h"
#include "net/internal.h"
#include "net/netns.h"
#include "net/trunk.h"

#define READY_FREE_MIN    32 /* addresses of a block that are left to who comes */
#define ADDRESS_TRIES_MAX 16 /* links of dead namespaces that are still in the way */

struct host net_host(struct net *net)
{
	return (struct host){.nl = &net->route, .name = &net->name};
}

struct firewall net_firewall(struct net *net)
{
	return (struct firewall){.nl = &net->netfilter,
				 .name = &net->name,
				 .block = net->host.block,
				 .policy = &net->policy,
				 .peers = &net->peers};
}

struct link net_link(const struct net *net, const struct endpoint *ep)
{
	const struct ip_prefix bridge = ip_of_v4(ep->address, 32);

	return (struct link){.name = &net->name,
			     .index = name_link_index(ep->address),
			     .address = ep->own[0].length ? ep->own[0] : bridge,
			     .address6 = ep->own[1],
			     .within = endpoint_has_v6_alone(ep) ? net_local[0]
								 : (struct ip_prefix){0},
			     .gateway = block_gateway(&net->host.block),
			     .host_part = ep->address - net->host.block.base,
			     .mtu = net->mtu,
			     .has_ipv6 = net->has_ipv6,
			     .has_room = net->shortcut.ways_fd >= 0,
			     .alias = ep->id};
}

struct endpoint *net_endpoint(struct net *net, const char *id)
{
	for (size_t i = 0; i < net->endpoint_count; i++)
		if (str_eq(net->endpoints[i].id, id))
			return &net->endpoints[i];
	return NULL;
}

/* ---- what is told ---- */

void net_endpoint_done(struct net_endpoint *endpoint)
{
	close_fd(&endpoint->netns_fd);
	for (size_t i = 0; i < endpoint->held_count; i++)
		close_fd(&endpoint->held_fds[i]);
	endpoint->held_count = 0;
}

/* All but the descriptors. */
static void describe(const struct net *net, const struct endpoint *ep, struct net_endpoint *ret)
{
	const struct link link = net_link(net, ep);
	uint8_t mac[6];

	ret->mode = ep->mode;
	ret->lost = ep->lost;
	ret->port_count = ep->port_count;
	if (ep->port_count)
		memcpy(ret->ports, ep->ports, ep->port_count * sizeof(*ep->ports));
	if (!ep->address)
		return;
	ip_address_format(&link.address, ret->source);
	if (!endpoint_has_v6_alone(ep))
		ip_address_format(&link.address, ret->address);
	if (link.address6.length)
		ip_address_format(&link.address6, ret->address6);
	address_format(link.gateway, ret->gateway, sizeof(ret->gateway));
	name_link(&net->name, link.host_part, ret->link);
	link_mac(&link, mac);
	(void)snprintf(ret->mac, sizeof(ret->mac), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
		       mac[2], mac[3], mac[4], mac[5]);
}

int net_find(struct net *net, const char *id, struct net_endpoint *ret, struct err *e)
{
	const struct endpoint *ep = net_endpoint(net, id);

	(void)e;
	if (!ep)
		return NET_ABSENT;
	*ret = (struct net_endpoint)NET_ENDPOINT_NONE;
	describe(net, ep, ret);
	return 0;
}

int net_warnings(struct net *net, struct buf *ret, struct err *e)
{
	struct err why;

	if (conntrack_failed(&net->conntrack, &why))
		buf_printf(ret, "connections of ended tasks were not forgotten: %s\n", why.msg);
	if (net->trunk_failure.code)
		buf_printf(ret, "%s\n", net->trunk_failure.msg);
	return coexist_warnings(&net->netfilter, &net->name, ret, e);
}

/* ---- attach ---- */

static bool is_address(const struct ip_prefix *p, bool v6)
{
	return p->v6 == v6 && p->length == (v6 ? 128 : 32);
}

static bool same_address(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->length && b->length && ip_prefix_overlaps(a, b);
}

/* Each of its family or not there, one at least, within its block, and nobody's. */
static int check_addresses(const struct net *net, const struct net_request *request, struct err *e)
{
	const struct ip_prefix *a = request->addresses;
	char text[IP_TEXT_MAX];

	if (!a[0].length && !a[1].length)
		return err_set(e, EINVAL, "no address");
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		if (!a[v6].length)
			continue;
		ip_address_format(&a[v6], text);
		if (!is_address(&a[v6], v6) || !ip_prefix_holds(&request->vpc[v6], &a[v6]))
			return err_set(e, EINVAL, "address %s is not in its block", text);
		if (!policy_is_local(&net->policy, &a[v6]))
			continue;
		for (size_t i = 0; i < net->endpoint_count; i++)
			if (same_address(&net->endpoints[i].own[v6], &a[v6]))
				return err_set(e, EADDRINUSE, "address %s is that of %s", text,
					       net->endpoints[i].id);
	}
	if (request->public_address.length &&
	    (!is_address(&request->public_address, false) || !a[0].length))
		return err_set(e, EINVAL, "a public address without one of IPv4 behind it");
	for (size_t i = 0; i < net->endpoint_count; i++)
		if (same_address(&net->endpoints[i].public_address, &request->public_address))
			return err_set(e, EADDRINUSE, "the public address is that of %s",
				       net->endpoints[i].id);
	if (a[1].length && !net->has_ipv6)
		return err_set(e, EAFNOSUPPORT, "this kernel has no IPv6, for address %s", text);
	return 0;
}

static int check_service_at(const struct net *net, const struct net_request *request, bool v6,
			    struct err *e)
{
	const struct ip_prefix *service = &request->service[v6];
	char text[IP_TEXT_MAX];

	if (!service->length)
		return 0;
	ip_address_format(service, text);
	if (request->mode != NET_BRIDGE || !is_address(service, v6) ||
	    !ip_prefix_holds(&net_local[v6], service))
		return err_set(e, EINVAL, "service at %s", text);
	for (size_t i = 0; i < net->endpoint_count; i++)
		if (same_address(&net->endpoints[i].service[v6], service))
			return err_set(e, EADDRINUSE, "service at %s is that of %s", text,
				       net->endpoints[i].id);
	if (v6 && !net->has_ipv6)
		return err_set(e, EAFNOSUPPORT, "this kernel has no IPv6, for service at %s", text);
	return 0;
}

static int check_service(const struct net *net, const struct net_request *request, struct err *e)
{
	int r = check_service_at(net, request, false, e);

	return r < 0 ? r : check_service_at(net, request, true, e);
}

static int check_ports(const struct net_request *request, struct err *e)
{
	size_t total = 0;

	if (request->port_count > NET_PORTS_MAX)
		return err_set(e, EINVAL, "%zu port mappings, at most %d are possible",
			       request->port_count, NET_PORTS_MAX);
	for (size_t i = 0; i < request->port_count; i++) {
		const struct net_port *p = &request->ports[i];
		uint32_t more = p->count ? p->count - 1 : 0;

		if (!p->container_port)
			return err_set(e, EINVAL, "container port 0");
		if (more > UINT16_MAX || p->container_port + more > UINT16_MAX ||
		    p->host_port + more > UINT16_MAX)
			return err_set(e, EINVAL, "%u ports from %u:%u", p->count, p->host_port,
				       p->container_port);
		if (p->protocol != NET_TCP && p->protocol != NET_UDP)
			return err_set(e, EINVAL, "protocol %d", p->protocol);
		total += more + 1;
	}
	if (total > NET_RANGES_MAX)
		return err_set(e, EINVAL, "%zu ports, at most %d are possible", total,
			       NET_RANGES_MAX);
	return 0;
}

static int check_request(struct net *net, const struct net_request *request, struct err *e)
{
	if (!endpoint_id_ok(request->id))
		return err_set(e, EINVAL, "endpoint id '%.140s'", request->id);
	if (net_endpoint(net, request->id))
		return err_set(e, EEXIST, "endpoint %s is there already", request->id);
	if (request->mode != NET_NONE && request->mode != NET_BRIDGE && request->mode != NET_AWSVPC)
		return err_set(e, EINVAL, "network mode %d", request->mode);
	if (request->mode != NET_BRIDGE && request->port_count)
		return err_set(e, EINVAL, "host ports without a network that has them");
	if ((request->mode == NET_AWSVPC && check_addresses(net, request, e) < 0) ||
	    trunk_check(net, request, e) < 0 || check_service(net, request, e) < 0)
		return -e->code;
	return check_ports(request, e);
}

static int hold_port(struct net *net, struct net_port *p, struct net_endpoint *ret, struct err *e)
{
	int *fd = &ret->held_fds[ret->held_count];
	int r = p->host_port ? port_hold(p->protocol, p->host_port, (uint16_t)p->count, fd, e)
			     : port_hold_any(&net->ports, p->protocol, (uint16_t)p->count,
					     &p->host_port, fd, e);

	if (r == 0)
		ret->held_count++;
	return r;
}

/* Static ports first, so that no dynamic one is in their way. */
static int hold_ports(struct net *net, const struct net_request *request, struct endpoint *ep,
		      struct net_endpoint *ret, struct err *e)
{
	ep->port_count = request->port_count;
	ep->ports = xcalloc(request->port_count + 1, sizeof(*ep->ports));
	if (request->port_count)
		memcpy(ep->ports, request->ports, request->port_count * sizeof(*ep->ports));

	for (size_t i = 0; i < ep->port_count; i++)
		if (!ep->ports[i].count)
			ep->ports[i].count = 1;
	for (size_t i = 0; i < ep->port_count; i++)
		if (request->ports[i].host_port && hold_port(net, &ep->ports[i], ret, e) < 0)
			return -e->code;
	for (size_t i = 0; i < ep->port_count; i++)
		if (!request->ports[i].host_port && hold_port(net, &ep->ports[i], ret, e) < 0)
			return -e->code;
	return 0;
}

int net_hold(struct net *net, const char *id, struct net_endpoint *ret, struct err *e)
{
	auto_endpoint struct net_endpoint out = NET_ENDPOINT_NONE;
	struct endpoint *ep = net_endpoint(net, id);

	if (!ep)
		return NET_ABSENT;
	for (size_t i = 0; i < ep->port_count; i++)
		if (hold_port(net, &ep->ports[i], &out, e) < 0)
			return err_wrap(e, "network of %s", id);
	describe(net, ep, &out);
	*ret = out;
	out = (struct net_endpoint)NET_ENDPOINT_NONE;
	return 0;
}

static int take_address(struct net *net, struct endpoint *ep, struct err *e)
{
	char block[BLOCK_TEXT_MAX];
	uint32_t rested;

	while (ipam_wake(&net->ipam, clock_mono_ms(), &rested))
		state_forget_resting(&net->state, rested);
	if (ipam_take(&net->ipam, &ep->address))
		return 0;
	block_format(&net->host.block, block);
	return err_set(e, EADDRNOTAVAIL, "no address of block %s is left", block);
}

/* One that waited: it only has to be reached. */
static int finish_network(struct net *net, const struct endpoint *ep, struct network *n,
			  struct err *e)
{
	const struct link link = net_link(net, ep);
	auto_batch struct batch b = BATCH_INIT;

	if (ep->mode == NET_NONE)
		return 0;
	if (n->whole) {
		link_lead(&b, &link);
		return netlink_commit(&net->route, &b, 0, e);
	}
	if (link.address6.length)
		link_set_ipv6(&link, true);
	link_finish_task_side(&b, &link, &n->link);
	if (netlink_commit(&n->inside, &b, 0, e) < 0)
		return -e->code;
	link_settle(&b, &link);
	return netlink_commit(&net->route, &b, 0, e);
}

static int make_none(struct network *n, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	if (netns_make(n->userns_fd, n, e) < 0)
		return -e->code;
	link_loopback(&b);
	return netlink_commit(&n->inside, &b, 0, e);
}

/* The namespace with its link; nothing is left in the host when that fails. */
static int make_network(struct net *net, const struct endpoint *ep, struct network *n,
			struct err *e)
{
	const struct link link = net_link(net, ep);
	auto_batch struct batch b = BATCH_INIT;

	if (ep->mode == NET_NONE)
		return make_none(n, e);
	if (netns_make(n->userns_fd, n, e) < 0)
		return -e->code;
	link_create(&b, &link, n->fd);
	if (netlink_commit(&net->route, &b, 0, e) < 0)
		return -e->code;
	link_set_ipv6(&link, link.address6.length != 0);
	link_task_side(&b, &link);
	if (netlink_commit(&n->inside, &b, 0, e) < 0)
		return -e->code;
	if (link.has_room)
		shortcut_make_room(&net->route, link.index);
	link_settle(&b, &link);
	if (netlink_commit(&net->route, &b, 0, e) < 0)
		return -e->code;
	return link_wait(&n->inside, e);
}

int net_make_none(int *ret_netns_fd, struct err *e)
{
	auto_network struct network n = NETWORK_INIT;

	if (make_none(&n, e) < 0)
		return -e->code;
	*ret_netns_fd = take_fd(n.fd);
	return 0;
}

static bool is_service(const struct endpoint *ep)
{
	return ep->service[0].length || ep->service[1].length;
}

/* Is there anything of it in the firewall's sets? */
static bool has_elements(const struct endpoint *ep)
{
	return ep->port_count || is_service(ep) || ep->mode == NET_AWSVPC;
}

/* The kernel has the rules of its groups, and lets nothing else pass, before it has a link. */
static int secure(struct net *net, const struct endpoint *ep, struct err *e)
{
	const struct firewall firewall = net_firewall(net);

	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		if (ep->own[v6].length)
			policy_add_local(&net->policy, &ep->own[v6]);
	if (net_settle_public(net, ep, e) < 0 || firewall_add(&firewall, ep, e) < 0)
		return -e->code;
	return net->policy.told ? firewall_apply_policy(&firewall, e) : 0;
}

/* Kernel and file; the endpoint is not in our list yet. */
static int undo(struct net *net, const struct endpoint *ep, struct err *e)
{
	const struct firewall firewall = net_firewall(net);
	const struct link link = net_link(net, ep);
	auto_batch struct batch b = BATCH_INIT;

	if (trunk_leave(net, ep, e) < 0 &&
	    e->code != ENODEV) /* its link is gone: so is all on it */
		return -e->code;
	if (has_elements(ep) && firewall_drop(&firewall, ep, e) < 0)
		return -e->code;
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		if (ep->mode == NET_AWSVPC && ep->own[v6].length)
			policy_remove_local(&net->policy, &ep->own[v6]);
	if (ep->address) {
		link_cut(&b, &link);
		/* ESRCH: no route; ENODEV: no link any more. */
		if (netlink_commit(&net->route, &b, ESRCH, e) < 0 && e->code != ENODEV)
			return -e->code;
	}
	conntrack_forget_endpoint(&net->conntrack, ep);
	if (ep->has_programs)
		shortcut_forget(&net->shortcut, name_link_index(ep->address));
	if (state_rest_endpoint(&net->state, ep, e) < 0)
		return -e->code;
	if (ep->address)
		ipam_release(&net->ipam, ep->address, clock_mono_ms());
	return 0;
}

/* The first task with an address of IPv6 makes the host a router of it: who would ask a service before? */
static int forward_ipv6(struct net *net, const struct endpoint *ep, struct err *e)
{
	bool forwarding;

	if (!ep->own[1].length || ep->service[1].length || net->host.forwarding[1].is_ours)
		return 0;
	if (host_forwarding(true, &forwarding, e) < 0)
		return -e->code;
	if (!forwarding && net->no_ipv6_forwarding)
		return err_set(e, EPERM,
			       "an address of IPv6 on a host that does not forward it ([network] "
			       "ipv6-forwarding in berth.conf)");
	return forwarding ? 0 : net_forward(net, true, e);
}

/* What a claim would take is the router of somebody on the trunk. */
static int check_gateways(const struct net *net, const struct block *vpc, struct err *e)
{
	for (size_t i = 0; i < net->endpoint_count; i++) {
		const struct net_trunk *t = &net->endpoints[i].trunk;

		if (t->subnet[0].length && ip_v4(&t->gateway[0]) == block_gateway(vpc))
			return err_set(e, EADDRINUSE,
				       "the first address of its VPC is the gateway of VLAN %u: "
				       "subnets that are on no trunk need a VPC of their own",
				       t->vlan);
	}
	return 0;
}

/*
 * The sweep gives it back when its last endpoint is gone.  On a trunk the subnet is
 * somebody else's network, which the operator answers for.
 */
static int claim_vpc(struct net *net, const struct endpoint *ep, struct err *e)
{
	const struct host host = net_host(net);
	const struct block vpc = block_of_vpc(&ep->vpc[0]);

	if (trunk_is_on(&ep->trunk))
		return 0;
	if (vpc.prefix && check_gateways(net, &vpc, e) < 0)
		return -e->code;
	for (size_t i = 0; i < net->endpoint_count; i++)
		if (net->endpoints[i].vpc[0].length && !trunk_is_on(&net->endpoints[i].trunk) &&
		    ip_prefix_overlaps(&net->endpoints[i].vpc[0], &ep->vpc[0]))
			return 0; /* VPCs do not overlap: it is the same */
	if (!vpc.prefix || block_same(&vpc, &net->claimed))
		return 0;
	if (host_reclaim(&host, &vpc, e) < 0)
		return err_wrap(e, "VPC");
	net->claimed = vpc;
	return 0;
}

static int build(struct net *net, const struct endpoint *ep, struct network *n, struct err *e)
{
	const struct firewall firewall = net_firewall(net);

	if (state_write_endpoint(&net->state, ep, e) < 0 || claim_vpc(net, ep, e) < 0 ||
	    forward_ipv6(net, ep, e) < 0 || (ep->mode == NET_AWSVPC && secure(net, ep, e) < 0) ||
	    (n->fd >= 0 ? finish_network : make_network)(net, ep, n, e) < 0 ||
	    (ep->mode == NET_BRIDGE && has_elements(ep) && firewall_add(&firewall, ep, e) < 0) ||
	    trunk_join(net, ep, e) < 0)
		return -e->code;
	conntrack_forget_udp_ports(&net->conntrack, ep);
	return 0;
}

/* In mode bridge. */
static bool has_address6(const struct net *net, const struct endpoint *ep)
{
	return net->bridge_has_ipv6 || ep->service[1].length;
}

/* What waits is of this MTU still, and has no address that it is not to have. */
static bool fits(const struct net *net, const struct endpoint *ep, const struct network *n)
{
	return n->link.mtu == net->mtu &&
	       (!n->whole || (ep->mode == NET_BRIDGE &&
			      (n->link.address6.length != 0) == has_address6(net, ep)));
}

/* One that waits, with its address; false: none does. */
static bool take_ready(struct net *net, struct endpoint *ep, uint32_t reserved, struct network *ret)
{
	if (!netns_pool_take(net->namespaces, reserved, ep->mode == NET_BRIDGE, ret))
		return false;
	if (fits(net, ep, ret)) {
		ep->address = ret->address;
		return true;
	}
	ipam_release(&net->ipam, ret->address, clock_mono_ms()); /* for another mode, or time */
	network_done(ret);
	return false;
}

/*
 * Addresses for those that are to wait, where there are plenty.  Whoever comes next
 * is likely to want what the last one did.
 */
static void offer_addresses(struct net *net)
{
	uint32_t address;
	size_t room;

	while (netns_pool_failed(net->namespaces, &address))
		ipam_release(&net->ipam, address, clock_mono_ms());
	room = netns_pool_room(net->namespaces);

	while (room-- && net->ipam.free > READY_FREE_MIN && ipam_take(&net->ipam, &address)) {
		struct endpoint nobody = {.mode = NET_BRIDGE, .address = address};
		struct link link;

		if (net->wants_bridge && net->bridge_has_ipv6)
			nobody.own[1] = name_address6(&net->name, address);
		link = net_link(net, &nobody);
		link.alias = NULL;
		netns_pool_offer(net->namespaces, address, &link, net->wants_bridge);
	}
}

/* For people; the kernel tells whoever listens, which takes as long as neighbour and route. */
static void name_owners(struct net *net)
{
	auto_batch struct batch b = BATCH_INIT;
	struct err ignored; /* the sweep does it, too */

	for (size_t i = 0; i < net->endpoint_count; i++) {
		struct endpoint *ep = &net->endpoints[i];
		struct link link;

		if (!ep->unnamed)
			continue;
		link = net_link(net, ep);
		link_name_owner(&b, &link);
		ep->unnamed = false;
	}
	(void)netlink_commit(&net->route, &b, ENODEV, &ignored);
}

void net_follow(struct net *net)
{
	name_owners(net);
	offer_addresses(net);
}

/* With one address; -EEXIST: its link is still in the way. */
static int attach_once(struct net *net, struct endpoint *ep, const struct net_request *request,
		       int *ret_netns_fd, struct err *e)
{
	auto_network struct network n = NETWORK_INIT;
	struct err ignored = {0};
	int r;

	/* What waits is the host's. */
	if (ep->mode != NET_NONE &&
	    (request->userns_fd || !take_ready(net, ep, request->reserved, &n)) &&
	    take_address(net, ep, e) < 0)
		return -e->code;
	if (request->userns_fd)
		n.userns_fd = *request->userns_fd;
	if (ep->mode == NET_NONE && request->netns_fd) {
		n.fd = fcntl(*request->netns_fd, F_DUPFD_CLOEXEC, 3);
		if (n.fd < 0)
			return err_sys(e, "network namespace descriptor");
	}
	if (ep->mode == NET_BRIDGE && has_address6(net, ep))
		ep->own[1] = name_address6(&net->name, ep->address);
	r = build(net, ep, &n, e);
	if (r < 0) {
		network_done(&n);
		(void)undo(net, ep, &ignored); /* the first error is the one to tell */
		return r;
	}
	ep->unnamed = n.whole;
	*ret_netns_fd = take_fd(n.fd);
	return 0;
}

uint32_t net_reserve(struct net *net, enum net_mode mode, int *ret_netns_fd)
{
	uint32_t reserved = netns_pool_reserve(net->namespaces, mode == NET_BRIDGE, ret_netns_fd);
	struct network other = NETWORK_INIT;

	net->wants_bridge = mode == NET_BRIDGE;
	if (!reserved && !net->wants_bridge &&
	    netns_pool_take(net->namespaces, 0, net->wants_bridge, &other)) {
		/* They are for the other mode: one goes, so that there is room. */
		ipam_release(&net->ipam, other.address, clock_mono_ms());
		network_done(&other);
	}
	offer_addresses(net);
	return reserved;
}

void net_release(struct net *net, uint32_t reserved)
{
	if (reserved)
		netns_pool_release(net->namespaces, reserved);
}

static void keep(struct net *net, struct endpoint *ep)
{
	net->endpoints = xgrow(net->endpoints, net->endpoint_count, &net->endpoint_capacity,
			       sizeof(*net->endpoints));
	net->endpoints[net->endpoint_count++] = *ep;
	*ep = (struct endpoint){0};
}

int net_attach(struct net *net, const struct net_request *request, struct net_endpoint *ret,
	       struct err *e)
{
	__attribute__((cleanup(endpoint_done))) struct endpoint ep = {.mode = request->mode};
	auto_endpoint struct net_endpoint out = NET_ENDPOINT_NONE;
	int r = -EEXIST;

	if (check_request(net, request, e) < 0 || hold_ports(net, request, &ep, &out, e) < 0)
		return -e->code;
	(void)snprintf(ep.id, sizeof(ep.id), "%s", request->id);
	if (request->mode == NET_AWSVPC) {
		memcpy(ep.own, request->addresses, sizeof(ep.own));
		memcpy(ep.vpc, request->vpc, sizeof(ep.vpc));
		ep.public_address = request->public_address;
		ep.trunk = request->trunk;
	}
	memcpy(ep.service, request->service, sizeof(ep.service));
	for (int i = 0; r == -EEXIST && i < ADDRESS_TRIES_MAX; i++)
		r = attach_once(net, &ep, request, &out.netns_fd, e);
	if (r < 0)
		return err_wrap(e, "network of %s", request->id);

	describe(net, &ep, &out);
	if (ep.mode != NET_NONE)
		net->wants_bridge = ep.mode == NET_BRIDGE;
	keep(net, &ep);
	*ret = out;
	out = (struct net_endpoint)NET_ENDPOINT_NONE;
	return 0;
}

/* ---- detach ---- */

int net_take_down(struct net *net, struct endpoint *ep, struct err *e)
{
	if (undo(net, ep, e) < 0)
		return err_wrap(e, "network of %s", ep->id);
	endpoint_done(ep);
	*ep = net->endpoints[--net->endpoint_count];
	return 0;
}

int net_detach(struct net *net, const char *id, struct err *e)
{
	struct endpoint *ep = net_endpoint(net, id);

	return ep ? net_take_down(net, ep, e) : 0;
}

/* ---- security groups ---- */

int net_group_set(struct net *net, const struct net_group *group, struct err *e)
{
	return policy_set_group(&net->policy, group, e);
}

int net_group_change(struct net *net, const char *id, const struct net_members *change,
		     struct err *e)
{
	return policy_change_members(&net->policy, id, change, e);
}

void net_group_remove(struct net *net, const char *id)
{
	policy_remove_group(&net->policy, id);
}

int net_groups_commit(struct net *net, struct err *e)
{
	const struct firewall firewall = net_firewall(net);

	if (net->policy.told) {
		if (firewall_apply_policy(&firewall, e) < 0)
			return -e->code;
	} else {
		net->policy.told = true;
		if (net_settle_host(net, e) < 0)
			return -e->code;
	}
	return net_cut(net, e);
}
