/* net/open.c - a struct net from what the files and the kernel say, and its end
 * SPDX-License-Identifier: Apache-2.0
 *
 * Files are believed, and the kernel is made to agree.  What is in the kernel
 * under our names and in no file is removed.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/coexist.h"
#include "net/flow.h"
#include "net/internal.h"
#include "net/trunk.h"
#include "net/watch.h"

#define VXLAN_ID        4226
#define VXLAN_ID_MAX    0xffffff
#define VXLAN_PORT      4789
#define WIREGUARD_PORT  51820
#define IPV6_FILE       "/proc/net/if_inet6"
#define LINKS_PER_BATCH 64
/* The groups of all Berths begin with these seven bits: 0x42, 0x43. */
#define GROUPS_MASK 0xfe000000u
#define GROUPS      0x42000000u

/* ---- open ---- */

/* The block stays while endpoints have addresses of it. */
static int check_change(struct net *net, const struct block *wanted, struct err *e)
{
	char have[BLOCK_TEXT_MAX], want[BLOCK_TEXT_MAX];
	size_t count = 0;

	for (size_t i = 0; i < net->endpoint_count; i++)
		count += !net->endpoints[i].service[0].length; /* of those the next is as good */
	if (!count)
		return 0;
	block_format(&net->host.block, have);
	block_format(wanted, want);
	return err_set(e, EBUSY, "block %s is in use by %zu endpoints and cannot become %s yet",
		       have, count, want);
}

static int settle_block(struct net *net, const struct block *wanted, struct err *e)
{
	const struct host host = net_host(net);
	bool known = net->host.block.prefix != 0;

	if (known && (!wanted || block_same(wanted, &net->host.block)))
		return host_reclaim(&host, &net->host.block, e);
	if (known && check_change(net, wanted, e) < 0)
		return -e->code;
	if (host_release(&host, NULL, 0, e) < 0 ||
	    host_claim(&host, wanted, &net->host.block, e) < 0)
		return -e->code;
	return state_write_host(&net->state, &net->host, e);
}

/* Endpoints and resting addresses of the files; those that make no sense are nobody's. */
static int read_endpoints(struct net *net, struct err *e)
{
	auto_free struct endpoint *list = NULL;
	size_t count;

	if (state_read_endpoints(&net->state, &list, &count, e) < 0)
		return -e->code;
	net->endpoint_count = count;
	net->endpoint_capacity = count;
	net->endpoints = take_ptr(list);
	return 0;
}

static void fill_ipam(struct net *net)
{
	ipam_init(&net->ipam, &net->host.block);
	for (size_t i = net->endpoint_count; i-- > 0;) {
		struct endpoint *ep = &net->endpoints[i];
		struct err ignored;

		if (!ep->address || ipam_mark(&net->ipam, ep->address))
			continue;
		ep->address = 0; /* not ours to rest */
		(void)state_rest_endpoint(&net->state, ep, &ignored);
		endpoint_done(ep);
		*ep = net->endpoints[--net->endpoint_count];
	}
}

static int fill_resting(struct net *net, struct err *e)
{
	auto_free uint32_t *resting = NULL;
	size_t count;

	if (state_read_resting(&net->state, &resting, &count, e) < 0)
		return -e->code;
	for (size_t i = 0; i < count; i++) {
		if (ipam_mark(&net->ipam, resting[i]))
			ipam_release(&net->ipam, resting[i], clock_mono_ms());
		else
			state_forget_resting(&net->state, resting[i]);
	}
	return 0;
}

/* The links that must not begin to forward among themselves. */
static int note_quiet_links(struct net *net, bool v6, struct err *e)
{
	struct forwarding *f = &net->host.forwarding[v6];
	auto_free struct link_info *links = NULL;
	size_t count;

	if (link_list(&net->route, &links, &count, e) < 0)
		return -e->code;
	free(f->quiet);
	f->quiet = xcalloc(count + 1, sizeof(*f->quiet));
	f->quiet_count = 0;
	for (size_t i = 0; i < count; i++) {
		if ((links[i].group & GROUPS_MASK) == GROUPS || name_is_link(links[i].name) ||
		    (links[i].flags & IFF_LOOPBACK))
			continue;
		memcpy(f->quiet[f->quiet_count++], links[i].name, IFNAMSIZ);
	}
	f->is_ours = true;
	return state_write_host(&net->state, &net->host, e);
}

int net_forward(struct net *net, bool v6, struct err *e)
{
	const struct firewall firewall = net_firewall(net);

	if (note_quiet_links(net, v6, e) < 0 ||
	    firewall_replace(&firewall, net->endpoints, net->endpoint_count, &net->host, e) < 0)
		return -e->code;
	return host_set_forwarding(v6, true, e);
}

/* IPv6 is forwarded from the first task on that has an address of it. */
static bool wants_forwarding(const struct net *net, bool v6)
{
	for (size_t i = 0; v6 && !net->no_ipv6_forwarding && i < net->endpoint_count; i++)
		if (net->endpoints[i].own[1].length && !net->endpoints[i].service[1].length)
			return true;
	return !v6;
}

int net_settle_host(struct net *net, struct err *e)
{
	const struct firewall firewall = net_firewall(net);
	bool forwarding[NET_FAMILIES] = {true, true}, whole;

	if (firewall_whole(&firewall, &whole, e) < 0)
		return -e->code;
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		if (!wants_forwarding(net, v6))
			continue;
		if (host_forwarding(v6, &forwarding[v6], e) < 0)
			return -e->code;
		if (forwarding[v6] || net->host.forwarding[v6].is_ours)
			continue;
		if (note_quiet_links(net, v6, e) < 0)
			return -e->code;
		whole = false;
	}
	if (whole ? firewall_reconcile(&firewall, net->endpoints, net->endpoint_count, e) < 0
		  : firewall_replace(&firewall, net->endpoints, net->endpoint_count, &net->host,
				     e) < 0)
		return -e->code;
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		if (!forwarding[v6] && host_set_forwarding(v6, true, e) < 0)
			return -e->code;
	/* Its link may be down or gone: a warning, and the rest of the host goes on. */
	net->trunk_failure = (struct err){0};
	(void)trunk_settle(net, NULL, NULL, &net->trunk_failure);
	return coexist_settle(&net->netfilter, &net->name, e);
}

static int open_parts(struct net *net, const struct net_options *options, struct err *e)
{
	int r;

	if (name_derive(options->name, &net->name, e) < 0 ||
	    port_range_init(&net->ports, options->port_first, options->port_last, e) < 0 ||
	    state_open(options->state_dir, &net->state, e) < 0 ||
	    netlink_open(NETLINK_ROUTE, &net->route, e) < 0 ||
	    netlink_open(NETLINK_NETFILTER, &net->netfilter, e) < 0 ||
	    watch_open(&net->netfilter, &net->watch_fd, e) < 0 ||
	    conntrack_init(&net->conntrack, e) < 0)
		return -e->code;
	r = state_read_host(&net->state, &net->host, e);
	return r < 0 ? r : read_endpoints(net, e);
}

/* Whose groups may be told later: until then nothing passes. */
static void secure_again(struct net *net)
{
	for (size_t i = 0; i < net->endpoint_count; i++)
		for (int v6 = 0; v6 < NET_FAMILIES; v6++)
			if (net->endpoints[i].mode == NET_AWSVPC &&
			    net->endpoints[i].own[v6].length)
				policy_add_local(&net->policy, &net->endpoints[i].own[v6]);
}

/* Do tasks in mode bridge get addresses of it? */
static void look_for_ipv6(struct net *net)
{
	bool forwarding = !net->no_ipv6_forwarding;
	struct err ignored;

	if (!forwarding && net->has_ipv6)
		(void)host_forwarding(true, &forwarding, &ignored);
	net->bridge_has_ipv6 = net->has_ipv6 && forwarding && host_has_ipv6();
}

static int read_peer_options(const struct net_options *o, struct peers *ret, struct err *e)
{
	ret->transport = o->transport;
	ret->vxlan_id = o->vxlan_id ? o->vxlan_id : VXLAN_ID;
	ret->vxlan_port = o->vxlan_port ? o->vxlan_port : VXLAN_PORT;
	ret->wireguard_port = o->wireguard_port ? o->wireguard_port : WIREGUARD_PORT;
	if (ret->vxlan_id > VXLAN_ID_MAX)
		return err_set(e, EINVAL, "number of the VXLAN %u is over %d", ret->vxlan_id,
			       VXLAN_ID_MAX);
	if (o->node_address && !ip_address_parse(o->node_address, &ret->node))
		return err_set(e, EINVAL, "address of this host '%.60s'", o->node_address);
	return 0;
}

static int open_net(struct net *net, const struct net_options *options, struct err *e)
{
	const struct host host = net_host(net);
	struct block wanted;
	struct err unreachable;

	if (read_peer_options(options, &net->peers, e) < 0)
		return -e->code;
	if (options->trunk && strlen(options->trunk) >= IFNAMSIZ)
		return err_set(e, EINVAL, "trunk '%.60s' is no link's name", options->trunk);
	(void)snprintf(net->trunk, sizeof(net->trunk), "%s", options->trunk ? options->trunk : "");
	if (options->bridge_cidr && block_parse(options->bridge_cidr, &wanted, e) < 0)
		return -e->code;
	if (open_parts(net, options, e) < 0 ||
	    settle_block(net, options->bridge_cidr ? &wanted : NULL, e) < 0)
		return -e->code;
	fill_ipam(net);
	secure_again(net);
	net_open_shortcuts(net, !options->no_shortcuts);
	net->has_ipv6 = access(IPV6_FILE, F_OK) == 0;
	net->no_ipv6_forwarding = options->no_ipv6_forwarding;
	look_for_ipv6(net);
	if (fill_resting(net, e) < 0 || peers_load(net, e) < 0 || net_settle_host(net, e) < 0 ||
	    host_uplink_mtu(&host, &net->uplink_mtu, e) < 0)
		return -e->code;
	net->mtu = net->uplink_mtu;
	if (net->peers.transport == NET_WIREGUARD && wireguard_key(net, e) < 0)
		return -e->code;
	return peers_settle(net, &unreachable, e); /* each sweep tries again */
}

int net_open(const struct net_options *options, struct net **ret, struct err *e)
{
	struct net *net = xcalloc(1, sizeof(*net));

	assert(options->name && options->state_dir);

	net->state = (struct state)STATE_NONE;
	net->namespaces = netns_pool_new();
	net->watch_fd = -1;
	net->route = net->netfilter = net->conntrack.nl = (struct netlink)NETLINK_NONE;
	net->shortcut = (struct shortcut)SHORTCUT_NONE;
	if (open_net(net, options, e) < 0) {
		net_close(net);
		return err_wrap(e, "networks of %.20s", options->name);
	}
	*ret = net;
	return 0;
}

void net_close(struct net *net)
{
	if (!net)
		return;
	netns_pool_free(net->namespaces);
	policy_done(&net->policy);
	conntrack_done(&net->conntrack);
	shortcut_close(&net->shortcut);
	peers_done(&net->peers);
	netlink_close(&net->route);
	netlink_close(&net->netfilter);
	close_fd(&net->watch_fd);
	ipam_done(&net->ipam);
	host_state_done(&net->host);
	state_close(&net->state);
	for (size_t i = 0; i < net->endpoint_count; i++)
		endpoint_done(&net->endpoints[i]);
	free(net->endpoints);
	free(net);
}

/* ---- what others change ---- */

int net_watch_fd(const struct net *net)
{
	return net->watch_fd;
}

int net_on_change(struct net *net, struct err *e)
{
	bool ours = false, theirs = false;

	watch_read(net->watch_fd, net->name.table, &ours, &theirs);
	if (ours || theirs)
		shortcut_forget(&net->shortcut, 0);
	if (ours)
		return net_settle_host(net, e) < 0 ? -e->code : NET_REPAIRED;
	return theirs ? coexist_settle(&net->netfilter, &net->name, e) : 0;
}

/* ---- sweep ---- */

static int compare_ids(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int take_down_dead(struct net *net, const char *const *live_ids, size_t count, struct err *e)
{
	auto_free const char **sorted = xcalloc(count + 1, sizeof(*sorted));

	memcpy(sorted, live_ids, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_ids);
	for (size_t i = net->endpoint_count; i-- > 0;) {
		const char *id = net->endpoints[i].id;

		if (!bsearch(&id, sorted, count, sizeof(*sorted), compare_ids) &&
		    net_take_down(net, &net->endpoints[i], e) < 0)
			return -e->code;
	}
	return 0;
}

static bool is_our_link(const struct net *net, const struct link_info *link)
{
	return link->group == net->name.group || str_starts(link->name, net->name.prefix);
}

static struct endpoint *endpoint_of_link(struct net *net, uint32_t index)
{
	for (size_t i = 0; i < net->endpoint_count; i++) {
		struct endpoint *ep = &net->endpoints[i];

		if (ep->address && name_link_index(ep->address) == index)
			return ep;
	}
	return NULL;
}

/* Links of the dead go, endpoints without a link are lost, the others are set right. */
static int sweep_links(struct net *net, struct err *e)
{
	auto_free struct link_info *links = NULL;
	auto_batch struct batch b = BATCH_INIT;
	size_t count, orphans = 0;

	if (link_list(&net->route, &links, &count, e) < 0)
		return -e->code;
	for (size_t i = 0; i < net->endpoint_count; i++)
		net->endpoints[i].lost = net->endpoints[i].address != 0;

	for (size_t i = 0; i < count; i++) {
		struct endpoint *ep = endpoint_of_link(net, links[i].index);

		if (ep) {
			const struct link link = net_link(net, ep);

			ep->lost = false;
			link_settle(&b, &link);
		} else if (is_our_link(net, &links[i]) &&
			   !netns_pool_has(net->namespaces, links[i].index)) {
			links[orphans++] = links[i];
		}
		/* ENODEV: it went meanwhile; the next sweep sees that. */
		if ((i % LINKS_PER_BATCH == 0 || i + 1 == count) &&
		    netlink_commit(&net->route, &b, ENODEV, e) < 0)
			return -e->code;
	}
	return link_delete(&net->route, links, orphans, e);
}

/* The blocks that we should have: the host's own, and the VPCs of the living; malloc'ed. */
static struct block *blocks_in_use(const struct net *net, size_t *ret_count)
{
	struct block *blocks = xcalloc(net->endpoint_count + 1, sizeof(*blocks));

	blocks[0] = net->host.block;
	*ret_count = 1;
	for (size_t i = 0; i < net->endpoint_count; i++) {
		const struct block vpc = block_of_vpc(&net->endpoints[i].vpc[0]);
		bool known = !vpc.prefix || trunk_is_on(&net->endpoints[i].trunk);

		for (size_t n = 0; n < *ret_count; n++)
			known |= block_same(&blocks[n], &vpc);
		if (!known)
			blocks[(*ret_count)++] = vpc;
	}
	return blocks;
}

static int settle_blocks(struct net *net, struct err *e)
{
	const struct host host = net_host(net);
	size_t count;
	auto_free struct block *blocks = blocks_in_use(net, &count);

	net->claimed = (struct block){0};
	for (size_t i = 0; i < count; i++)
		if (host_reclaim(&host, &blocks[i], e) < 0)
			return -e->code;
	return host_release(&host, blocks, count, e);
}

int net_settle_public(struct net *net, const struct endpoint *more, struct err *e)
{
	const struct host host = net_host(net);
	auto_free uint32_t *addresses = xcalloc(net->endpoint_count + 1, sizeof(*addresses));
	size_t count = 0;

	if (more && !more->public_address.length)
		return 0;
	for (size_t i = 0; i < net->endpoint_count; i++)
		if (net->endpoints[i].public_address.length)
			addresses[count++] = ip_v4(&net->endpoints[i].public_address);
	if (more)
		addresses[count++] = ip_v4(&more->public_address);
	return host_set_public(&host, addresses, count, e);
}

int net_sweep(struct net *net, const char *const *live_ids, size_t count, struct err *e)
{
	look_for_ipv6(net);
	if (net->host.forwarding[1].is_ours && host_keep_advertisements(true, e) < 0)
		return -e->code;
	if (take_down_dead(net, live_ids, count, e) < 0 || settle_blocks(net, e) < 0 ||
	    net_settle_public(net, NULL, e) < 0 || net_settle_host(net, e) < 0 ||
	    sweep_links(net, e) < 0 || trunk_sweep(net, e) < 0)
		return -e->code;
	return peers_settle_all(net, e);
}

/* ---- destroy ---- */

static bool is_quiet(const struct forwarding *f, const char *name)
{
	for (size_t i = 0; i < f->quiet_count; i++)
		if (str_eq(f->quiet[i], name))
			return true;
	return false;
}

/* A link that came after us may be somebody's who relies on forwarding. */
static int restore_forwarding(struct net *net, bool v6, struct err *e)
{
	const struct forwarding *f = &net->host.forwarding[v6];
	auto_free struct link_info *links = NULL;
	size_t count;

	if (!f->is_ours)
		return 0;
	if (link_list(&net->route, &links, &count, e) < 0)
		return -e->code;
	for (size_t i = 0; i < count; i++)
		if (!(links[i].flags & IFF_LOOPBACK) && !is_quiet(f, links[i].name))
			return 0;
	return host_set_forwarding(v6, false, e);
}

static int delete_links(struct net *net, struct err *e)
{
	auto_free struct link_info *links = NULL;
	size_t count, ours = 0;

	if (link_list(&net->route, &links, &count, e) < 0)
		return -e->code;
	for (size_t i = 0; i < count; i++)
		if (is_our_link(net, &links[i]))
			links[ours++] = links[i];
	return link_delete(&net->route, links, ours, e);
}

int net_destroy(struct net *net, struct err *e)
{
	const struct firewall firewall = net_firewall(net);
	const struct host host = net_host(net);

	for (size_t i = 0; i < net->endpoint_count; i++)
		conntrack_forget_endpoint(&net->conntrack, &net->endpoints[i]);
	netns_pool_free(take_ptr(net->namespaces));
	if (trunk_destroy(net, e) < 0 || coexist_leave(&net->netfilter, &net->name, e) < 0 ||
	    firewall_destroy(&firewall, e) < 0 || delete_links(net, e) < 0 ||
	    peers_destroy(net, e) < 0 || host_set_public(&host, NULL, 0, e) < 0 ||
	    host_release(&host, NULL, 0, e) < 0 || restore_forwarding(net, false, e) < 0 ||
	    restore_forwarding(net, true, e) < 0 || flow_restore_settings(net, e) < 0)
		return err_wrap(e, "remove networks of %s", net->name.table);
	return state_clear(&net->state, e);
}
