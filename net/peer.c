/* net/peer.c - other hosts, and the ways to their tasks
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A peer is another host with the prefixes that its tasks' addresses are of.
 * Each prefix is one route: by the peer's own address where it is on a link with
 * us, else over a tunnel.  Which it is, the kernel's own routes say ("auto"), or
 * the configuration.
 *
 * What is known of peers is in files, as with endpoints, and the kernel is made
 * to agree: by net_peer_set() for one, by net_sweep() for all.  Our routes are
 * known by their protocol and by their metric, which is our interface group.
 *
 * 1. A peer's file is there before anything of it is in the kernel, and goes
 *    after it.
 * 2. Packets that claim a task's address come in only from where the route to
 *    that address leads (firewall: raw), and VXLAN packets of our number only
 *    from peers.
 * 3. The MTU of a tunnel is what the way to the peers has, less the tunnel's
 *    own headers.  Tasks are made with that; for those that were made before
 *    the host tells senders what fits, and the firewall clamps TCP.
 */
#include "net/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/internal.h"

#define MTU_MIN 1280 /* IPv6's */

static const enum net_transport tunnels[] = {NET_VXLAN, NET_WIREGUARD};

void peer_done(struct peer *p)
{
	free(p->prefixes);
	*p = (struct peer){0};
}

void peers_done(struct peers *p)
{
	for (size_t i = 0; i < p->count; i++)
		peer_done(&p->items[i]);
	free(p->items);
	explicit_bzero(p->private_key, sizeof(p->private_key));
	*p = (struct peers){0};
}

static struct peer *find_peer(struct net *net, const char *id)
{
	for (size_t i = 0; i < net->peers.count; i++)
		if (str_eq(net->peers.items[i].id, id))
			return &net->peers.items[i];
	return NULL;
}

const struct ip_prefix *peer_address(const struct peer *p)
{
	return &p->addresses[p->addresses[0].length ? 0 : 1];
}

bool peer_is_tunnelled(const struct peer *p)
{
	return p->transport == NET_VXLAN || p->transport == NET_WIREGUARD;
}

uint32_t peer_overhead(enum net_transport transport, bool v6)
{
	if (transport == NET_VXLAN)
		return v6 ? 70 : 50; /* IP, UDP 8, VXLAN 8, Ethernet 14 */
	return v6 ? 80 : 60;         /* IP, UDP 8, WireGuard 32 */
}

/* ---- the way there ---- */

struct way {
	uint32_t index, mtu;
	bool found, by_gateway;
	struct ip_prefix source;
};

static int see_route(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct nlattr *tb[RTA_MAX + 1];
	struct way *w = arg;

	(void)e;
	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(struct rtmsg)) ||
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(struct rtmsg), tb, RTA_MAX, NULL) <
		    0 ||
	    !tb[RTA_OIF] || nla_len(tb[RTA_OIF]) != sizeof(uint32_t))
		return 0;
	w->found = true;
	w->index = nla_get_u32(tb[RTA_OIF]);
	w->by_gateway = tb[RTA_GATEWAY] || tb[RTA_VIA];
	if (tb[RTA_PREFSRC] && (nla_len(tb[RTA_PREFSRC]) == 4 || nla_len(tb[RTA_PREFSRC]) == 16)) {
		w->source.v6 = nla_len(tb[RTA_PREFSRC]) == 16;
		w->source.length = w->source.v6 ? 128 : 32;
		memcpy(w->source.address, nla_data(tb[RTA_PREFSRC]),
		       (size_t)nla_len(tb[RTA_PREFSRC]));
	}
	return 0;
}

static int see_mtu(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct link_info info;
	struct way *w = arg;

	(void)e;
	if (link_parse(h, &info))
		w->mtu = info.mtu;
	return 0;
}

/* How the host itself would send to an address. */
static int find_way(struct net *net, const struct ip_prefix *to, struct way *ret, struct err *e)
{
	const struct rtmsg route = {.rtm_family = to->v6 ? AF_INET6 : AF_INET,
				    .rtm_dst_len = (uint8_t)to->length};
	const struct netlink_dump routes = {see_route, NULL, ret}, links = {see_mtu, NULL, ret};
	auto_batch struct batch b = BATCH_INIT;
	struct ifinfomsg link = {0};
	char text[IP_TEXT_MAX];

	*ret = (struct way){0};
	ip_address_format(to, text);
	batch_add(&b, RTM_GETROUTE, 0, &route, sizeof(route), "find the way to %s", text);
	batch_put(&b, RTA_DST, to->address, to->v6 ? 16 : 4);
	if (netlink_ask(&net->route, &b, &routes, e) < 0)
		return -e->code;
	if (!ret->found)
		return err_set(e, EHOSTUNREACH, "no way leads to %s", text);
	link.ifi_index = (int)ret->index;
	batch_add(&b, RTM_GETLINK, 0, &link, sizeof(link), "link to %s", text);
	return netlink_ask(&net->route, &b, &links, e);
}

static bool has_prefix(const struct peer *p, bool v6)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->prefixes[i].v6 == v6)
			return true;
	return false;
}

/* 0: each prefix can be led to an address of its family on a link that we share. */
static int check_routes(struct net *net, const struct peer *p, struct err *e)
{
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		char text[IP_TEXT_MAX];
		struct way way;

		if (!has_prefix(p, v6))
			continue;
		if (!p->addresses[v6].length)
			return err_set(e, EHOSTUNREACH, "peer %.60s has no %s address", p->id,
				       v6 ? "IPv6" : "IPv4");
		if (find_way(net, &p->addresses[v6], &way, e) < 0)
			return -e->code;
		ip_address_format(&p->addresses[v6], text);
		if (way.by_gateway)
			return err_set(e, EHOSTUNREACH,
				       "peer %.60s at %s is on no link that we share", p->id, text);
	}
	return 0;
}

static int choose_transport(struct net *net, struct peer *p, struct way *ret_way, struct err *e)
{
	enum net_transport wanted = net->peers.transport;
	struct err why;

	if (find_way(net, peer_address(p), ret_way, e) < 0)
		return -e->code;
	p->transport = wanted == NET_AUTO ? NET_ROUTES : wanted;
	if (p->transport == NET_ROUTES && check_routes(net, p, &why) < 0) {
		if (wanted == NET_ROUTES || why.code != EHOSTUNREACH) {
			*e = why;
			return -e->code;
		}
		p->transport = NET_VXLAN;
	}
	p->path_mtu = ret_way->mtu ? ret_way->mtu : net->uplink_mtu;
	return 0;
}

/* ---- MTU ---- */

static uint32_t tunnel_mtu(const struct net *net, enum net_transport transport)
{
	uint32_t mtu = UINT32_MAX;

	for (size_t i = 0; i < net->peers.count; i++) {
		const struct peer *p = &net->peers.items[i];
		uint32_t overhead = peer_overhead(transport, peer_address(p)->v6), fits;

		if (p->transport != transport)
			continue;
		fits = p->path_mtu > MTU_MIN + overhead ? p->path_mtu - overhead : MTU_MIN;
		if (fits < mtu)
			mtu = fits;
	}
	return mtu;
}

/* What tasks that are made from now on have. */
static void settle_mtu(struct net *net)
{
	enum net_transport wanted = net->peers.transport;

	net->mtu = net->uplink_mtu;
	if (wanted == NET_VXLAN || wanted == NET_WIREGUARD)
		net->mtu -= peer_overhead(wanted, false);
	for (size_t i = 0; i < ARRAY_COUNT(tunnels); i++)
		if (tunnel_mtu(net, tunnels[i]) < net->mtu)
			net->mtu = tunnel_mtu(net, tunnels[i]);
}

/* ---- one peer, in the kernel ---- */

/* Our own address: the one that was configured, or else what the first peer sees. */
static int settle_node(struct net *net, const struct peer *p, const struct way *way, struct err *e)
{
	struct ip_prefix *node = &net->peers.node;

	if (!node->length)
		*node = way->source;
	if (!node->length || node->v6 != peer_address(p)->v6)
		return err_set(e, EADDRNOTAVAIL, "we have no %s address to reach peer %.60s",
			       peer_address(p)->v6 ? "IPv6" : "IPv4", p->id);
	return 0;
}

static int install(struct net *net, struct peer *p, bool *ret_new, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;
	struct err why = {0};
	uint32_t index = 0;
	struct way way;

	*ret_new = p->settled = false;
	if (choose_transport(net, p, &way, e) < 0)
		return -e->code;
	settle_mtu(net);
	if (peer_is_tunnelled(p)) {
		if (settle_node(net, p, &way, e) < 0 ||
		    tunnel_make(net, p->transport, tunnel_mtu(net, p->transport), &index, ret_new,
				e) < 0)
			return -e->code;
	}
	if (p->transport == NET_VXLAN)
		vxlan_add_peer(&b, index, p);
	if (p->transport == NET_WIREGUARD && wireguard_set_peer(net, index, p, e) < 0)
		return -e->code;
	peer_routes_add(&b, net, p, index, &why);
	if (netlink_commit(&net->route, &b, 0, e) < 0)
		return -e->code;
	p->settled = !why.code;
	if (why.code)
		*e = why;
	return -why.code;
}

/* Tunnels that lead to nobody go, but for one that was asked for. */
static int delete_tunnels(struct net *net, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(tunnels); i++)
		if (tunnel_mtu(net, tunnels[i]) == UINT32_MAX &&
		    tunnels[i] != net->peers.transport && tunnel_delete(net, tunnels[i], e) < 0)
			return -e->code;
	return 0;
}

/* One that cannot be reached now is no reason not to reach the others; the first error is told. */
static void install_all(struct net *net, struct err *ret_first)
{
	bool again = true;

	*ret_first = (struct err){0};
	for (int pass = 0; again && pass < 2; pass++) {
		again = false;
		for (size_t i = 0; i < net->peers.count; i++) {
			struct err why = {0};
			bool is_new;

			if (install(net, &net->peers.items[i], &is_new, &why) < 0)
				*ret_first = ret_first->code ? *ret_first : why;
			again |= is_new && i > 0; /* what was before it is gone */
		}
	}
}

int peers_settle(struct net *net, struct err *ret_unreachable, struct err *e)
{
	install_all(net, ret_unreachable);
	settle_mtu(net);
	return peer_routes_delete_strays(net, e) < 0 ? -e->code : delete_tunnels(net, e);
}

int peers_settle_all(struct net *net, struct err *e)
{
	struct err unreachable;

	if (peers_settle(net, &unreachable, e) < 0)
		return -e->code;
	if (!unreachable.code)
		return 0;
	*e = unreachable;
	return -e->code;
}

/* ---- files ---- */

static char *file_of(const char *id)
{
	return xasprintf("peers/%s", id);
}

static int write_file(const struct net *net, const struct peer *p, struct err *e)
{
	auto_free char *path = file_of(p->id), *text = peer_encode(p);
	auto_close int dir = -1;

	if (fs_open_dir(net->state.dir_fd, "peers", 0700, &dir, e) < 0)
		return -e->code;
	return fs_replace(net->state.dir_fd, path, text, strlen(text), 0600, FS_QUICK, e);
}

static int remove_file(const struct net *net, const char *id, struct err *e)
{
	auto_free char *path = file_of(id);

	if (unlinkat(net->state.dir_fd, path, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove state of peer %s", id);
	return 0;
}

static void keep(struct net *net, struct peer *own_p)
{
	struct peers *all = &net->peers;

	all->items = xgrow(all->items, all->count, &all->capacity, sizeof(*all->items));
	all->items[all->count++] = *own_p;
	*own_p = (struct peer){0};
}

int peers_load(struct net *net, struct err *e)
{
	auto_close int fd = -1;
	auto_closedir DIR *dir = NULL;
	struct dirent *entry;

	if (fs_open_dir(net->state.dir_fd, "peers", 0700, &fd, e) < 0)
		return -e->code;
	dir = fdopendir(dup(fd));
	if (!dir)
		return err_sys(e, "read peers");
	while ((entry = readdir(dir))) {
		auto_buf struct buf b = BUF_INIT(1 << 20);
		struct peer p = {0};
		struct err ignored = {0};

		if (entry->d_name[0] == '.')
			continue;
		if (fs_read(fd, entry->d_name, &b, &ignored) == 0 &&
		    peer_decode(buf_str(&b), b.size, entry->d_name, &p, &ignored) == 0)
			keep(net, &p);
		else
			(void)unlinkat(fd, entry->d_name, 0); /* it will be told again */
	}
	return 0;
}

/* ---- the facade ---- */

static int check_peer(struct net *net, const struct net_peer *p, struct err *e)
{
	char text[IP_TEXT_MAX];

	if (!endpoint_id_ok(p->id))
		return err_set(e, EINVAL, "id of a peer '%.140s'", p->id);
	if (!p->addresses[0].length && !p->addresses[1].length)
		return err_set(e, EINVAL, "peer %s has no address", p->id);
	if (p->count > NET_PEER_PREFIXES_MAX)
		return err_set(e, EINVAL, "peer %s has %zu prefixes, at most %d are possible",
			       p->id, p->count, NET_PEER_PREFIXES_MAX);
	for (size_t i = 0; i < p->count; i++) {
		for (size_t n = 0; n < net->peers.count; n++)
			for (size_t k = 0; k < net->peers.items[n].count; k++)
				if (!str_eq(net->peers.items[n].id, p->id) &&
				    ip_prefix_overlaps(&net->peers.items[n].prefixes[k],
						       &p->prefixes[i])) {
					ip_prefix_format(&p->prefixes[i], text);
					return err_set(e, EADDRINUSE,
						       "prefix %s of peer %s is one of peer %s",
						       text, p->id, net->peers.items[n].id);
				}
	}
	return 0;
}

/* What the kernel cannot have is left out. */
static void copy_peer(const struct net *net, const struct net_peer *p, struct peer *ret)
{
	*ret = (struct peer){.count = 0};
	(void)snprintf(ret->id, sizeof(ret->id), "%s", p->id);
	(void)snprintf(ret->key, sizeof(ret->key), "%s", p->public_key ? p->public_key : "");
	memcpy(ret->addresses, p->addresses, sizeof(ret->addresses));
	ret->prefixes = xcalloc(p->count + 1, sizeof(*ret->prefixes));
	for (size_t i = 0; i < p->count; i++)
		if (!p->prefixes[i].v6 || net->has_ipv6)
			ret->prefixes[ret->count++] = p->prefixes[i];
}

/* Its place in the tunnel, if it has one. */
static int leave_tunnel(struct net *net, const struct peer *p, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;
	char name[IFNAMSIZ];
	uint32_t index;

	if (!peer_is_tunnelled(p))
		return 0;
	tunnel_name(&net->name, p->transport, name);
	index = if_nametoindex(name);
	if (!index)
		return 0;
	if (p->transport == NET_WIREGUARD)
		return wireguard_drop_peer(net, index, p, e);
	vxlan_drop_peer(&b, index, p);
	return netlink_commit(&net->route, &b, ENOENT, e);
}

static int apply_firewall(struct net *net, struct err *e)
{
	const struct firewall firewall = net_firewall(net);

	return firewall_apply_peers(&firewall, e);
}

static bool is_same(const struct peer *a, const struct peer *b)
{
	return a->count == b->count && str_eq(a->key, b->key) &&
	       memcmp(a->addresses, b->addresses, sizeof(a->addresses)) == 0 &&
	       memcmp(a->prefixes, b->prefixes, a->count * sizeof(*a->prefixes)) == 0;
}

static bool same_place(const struct peer *a, const struct peer *b)
{
	return ip_prefix_holds(peer_address(a), peer_address(b)) && str_eq(a->key, b->key);
}

/* What of a message changes something. */
struct taken {
	bool is_other; /* than what was known of it, or was done about it */
	bool was_known;
};

/* It is known, and on record. */
static int take_peer(struct net *net, const struct net_peer *peer, struct taken *ret, struct err *e)
{
	struct peer *p = find_peer(net, peer->id), now;

	*ret = (struct taken){.was_known = p != NULL};
	if (check_peer(net, peer, e) < 0)
		return -e->code;
	copy_peer(net, peer, &now);
	if (p && p->settled && is_same(p, &now)) { /* told again; the sweep looks after it */
		peer_done(&now);
		return 0;
	}
	if (write_file(net, &now, e) < 0 ||
	    (p && !same_place(p, &now) && leave_tunnel(net, p, e) < 0)) {
		peer_done(&now);
		return err_wrap(e, "peer %s", peer->id);
	}
	ret->is_other = true;
	if (p) {
		peer_done(p);
		*p = now;
	} else {
		keep(net, &now);
	}
	return 0;
}

/* What was a peer's may be another one's in the same message. */
static void let_go_of_prefixes(struct net *net, const struct net_peer *peers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct peer *p = find_peer(net, peers[i].id), now;

		if (!p)
			continue;
		copy_peer(net, &peers[i], &now);
		if (!p->settled || !is_same(p, &now)) {
			p->settled = false;
			p->count = 0;
		}
		peer_done(&now);
	}
}

/* The firewall has them all before a route leads to one. */
static int lead_to(struct net *net, const struct net_peer *peers, size_t count,
		   const struct taken *taken, net_peer_fn *on_failed, void *ctx, struct err *e)
{
	bool stray = false, again = false, is_new;

	if (apply_firewall(net, e) < 0)
		return -e->code;
	for (size_t i = 0; i < count; i++) {
		struct err why = {0};

		stray |= taken[i].is_other && taken[i].was_known;
		if (!taken[i].is_other)
			continue;
		if (install(net, find_peer(net, peers[i].id), &is_new, &why) < 0)
			on_failed(ctx, &peers[i], &why);
		again |= is_new;
	}
	if (again)
		return peers_settle(net, &(struct err){0}, e); /* those in its tunnel, too */
	settle_mtu(net);
	return stray && (peer_routes_delete_strays(net, e) < 0 || delete_tunnels(net, e) < 0)
		       ? -e->code
		       : 0;
}

int net_peers_set(struct net *net, const struct net_peer *peers, size_t count,
		  net_peer_fn *on_failed, void *ctx, struct err *e)
{
	auto_free struct taken *taken = xcalloc(count + 1, sizeof(*taken));
	bool any = false;

	let_go_of_prefixes(net, peers, count);
	for (size_t i = 0; i < count; i++) {
		struct err why = {0};

		if (take_peer(net, &peers[i], &taken[i], &why) < 0)
			on_failed(ctx, &peers[i], &why);
		any |= taken[i].is_other;
	}
	return any ? lead_to(net, peers, count, taken, on_failed, ctx, e) : 0;
}

static void note_failure(void *ctx, const struct net_peer *peer, const struct err *why)
{
	struct err *e = ctx;

	*e = *why;
	if (!strstr(e->msg, peer->id))
		(void)err_wrap(e, "peer %s", peer->id);
}

int net_peer_set(struct net *net, const struct net_peer *peer, struct err *e)
{
	struct err failure = {0};

	if (net_peers_set(net, peer, 1, note_failure, &failure, e) < 0)
		return -e->code;
	if (failure.code)
		*e = failure;
	return -failure.code;
}

/* Of who is not known any more nothing is in the kernel, and then no file. */
static int forget(struct net *net, char (*ids)[NET_ID_MAX + 1], size_t count, struct err *e)
{
	if (!count)
		return 0;
	if (peer_routes_delete_strays(net, e) < 0 || delete_tunnels(net, e) < 0 ||
	    apply_firewall(net, e) < 0)
		return -e->code;
	for (size_t i = 0; i < count; i++)
		if (remove_file(net, ids[i], e) < 0)
			return -e->code;
	settle_mtu(net);
	return 0;
}

static int let_go(struct net *net, struct peer *p, char ret_id[NET_ID_MAX + 1], struct err *e)
{
	memcpy(ret_id, p->id, sizeof(p->id));
	if (leave_tunnel(net, p, e) < 0)
		return err_wrap(e, "peer %s", p->id);
	peer_done(p);
	*p = net->peers.items[--net->peers.count];
	return 0;
}

int net_peer_remove(struct net *net, const char *id, struct err *e)
{
	struct peer *p = find_peer(net, id);
	char ids[1][NET_ID_MAX + 1];

	if (!p)
		return 0;
	if (let_go(net, p, ids[0], e) < 0)
		return -e->code;
	return forget(net, ids, 1, e) < 0 ? err_wrap(e, "peer %s", id) : 0;
}

int net_peers_keep_only(struct net *net, const char *const *ids, size_t count, struct err *e)
{
	char(*gone)[NET_ID_MAX + 1] = xcalloc(net->peers.count + 1, sizeof(*gone));
	size_t gone_count = 0;
	int r = 0;

	for (size_t i = net->peers.count; r == 0 && i-- > 0;) {
		bool wanted = false;

		for (size_t k = 0; k < count && !wanted; k++)
			wanted = str_eq(ids[k], net->peers.items[i].id);
		if (!wanted)
			r = let_go(net, &net->peers.items[i], gone[gone_count++], e);
	}
	if (r == 0)
		r = forget(net, gone, gone_count, e);
	free(gone);
	return r;
}

/* The old one goes from where it stands, whoever may come behind it. */
static int drop_self(struct net *net, const struct ip_prefix *old, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	for (size_t i = 0; i < ARRAY_COUNT(tunnels); i++) {
		char name[IFNAMSIZ];
		uint32_t index;

		tunnel_name(&net->name, tunnels[i], name);
		index = if_nametoindex(name);
		if (index)
			tunnel_address(&b, RTM_DELADDR, index, old);
	}
	return netlink_commit(&net->route, &b, EADDRNOTAVAIL, e);
}

int net_set_self(struct net *net, const struct ip_prefix self[NET_FAMILIES], struct err *e)
{
	struct err unreachable;
	bool same = true;

	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		struct ip_prefix *is = &net->host.self[v6];

		if (memcmp(is, &self[v6], sizeof(*is)) == 0)
			continue;
		same = false;
		if (is->length && drop_self(net, is, e) < 0)
			return err_wrap(e, "our own address");
		*is = self[v6];
	}
	if (same)
		return 0;
	if (state_write_host(&net->state, &net->host, e) < 0 ||
	    peers_settle(net, &unreachable, e) < 0)
		return err_wrap(e, "our own address");
	return 0; /* who cannot be reached now is tried by each sweep */
}

bool net_transport_parse(const char *text, enum net_transport *ret)
{
	static const char *const names[] = {[NET_AUTO] = "auto",
					    [NET_ROUTES] = "routes",
					    [NET_VXLAN] = "vxlan",
					    [NET_WIREGUARD] = "wireguard"};

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		if (!str_eq(text, names[i]))
			continue;
		*ret = (enum net_transport)i;
		return true;
	}
	return false;
}

enum net_transport net_peer_transport(struct net *net, const char *id)
{
	const struct peer *p = find_peer(net, id);

	return p ? p->transport : NET_AUTO;
}

int net_public_key(struct net *net, char ret[NET_KEY_MAX], struct err *e)
{
	if (wireguard_key(net, e) < 0)
		return -e->code;
	memcpy(ret, net->peers.public_key, NET_KEY_MAX);
	return 0;
}

int peers_destroy(struct net *net, struct err *e)
{
	while (net->peers.count)
		peer_done(&net->peers.items[--net->peers.count]);
	net->peers.transport = NET_AUTO; /* no tunnel is wanted any more */
	return peer_routes_delete_strays(net, e) < 0 ? -e->code : delete_tunnels(net, e);
}
