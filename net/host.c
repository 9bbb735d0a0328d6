/* net/host.c - what a Berth takes of the host: a block, its gateway, forwarding
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/host.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/peer.h"

#define LOOPBACK_INDEX   1
#define FORWARDING_FILE  "/proc/sys/net/ipv4/ip_forward"
#define FORWARDING6_FILE "/proc/sys/net/ipv6/conf/all/forwarding"
#define LINKS_DIR        "/proc/sys/net/ipv6/conf"
#define MTU_DEFAULT      1500

/* ---- the kernel's lists ---- */

bool address_info_parse(const struct nlmsghdr *h, struct address_info *ret)
{
	static struct nla_policy policy[IFA_MAX + 1] = {
		[IFA_LOCAL] = {.type = NLA_U32},
		[IFA_LABEL] = {.type = NLA_STRING, .maxlen = IFNAMSIZ},
	};
	const struct ifaddrmsg *address = NLMSG_DATA(h);
	struct nlattr *tb[IFA_MAX + 1];

	if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*address)) ||
	    address->ifa_family != AF_INET || address->ifa_prefixlen > 32)
		return false;
	if (nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(*address), tb, IFA_MAX, policy) <
		    0 ||
	    !tb[IFA_LOCAL])
		return false;

	*ret = (struct address_info){.address = ntohl(nla_get_u32(tb[IFA_LOCAL])),
				     .prefix = address->ifa_prefixlen,
				     .index = address->ifa_index};
	if (tb[IFA_LABEL])
		(void)snprintf(ret->label, sizeof(ret->label), "%s", nla_get_string(tb[IFA_LABEL]));
	return true;
}

bool route_info_parse(const struct nlmsghdr *h, struct route_info *ret)
{
	static struct nla_policy policy[RTA_MAX + 1] = {
		[RTA_DST] = {.type = NLA_U32},
		[RTA_OIF] = {.type = NLA_U32},
		[RTA_PRIORITY] = {.type = NLA_U32},
		[RTA_TABLE] = {.type = NLA_U32},
	};
	const struct rtmsg *route = NLMSG_DATA(h);
	struct nlattr *tb[RTA_MAX + 1];

	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*route)) ||
	    route->rtm_family != AF_INET || route->rtm_dst_len > 32)
		return false;
	if (nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(*route), tb, RTA_MAX, policy) < 0)
		return false;

	*ret = (struct route_info){.to = {.prefix = route->rtm_dst_len},
				   .table = route->rtm_table,
				   .protocol = route->rtm_protocol,
				   .type = route->rtm_type};
	if (tb[RTA_DST])
		ret->to.base = ntohl(nla_get_u32(tb[RTA_DST]));
	if (tb[RTA_OIF])
		ret->index = nla_get_u32(tb[RTA_OIF]);
	if (tb[RTA_PRIORITY])
		ret->metric = nla_get_u32(tb[RTA_PRIORITY]);
	if (tb[RTA_TABLE])
		ret->table = nla_get_u32(tb[RTA_TABLE]);
	return true;
}

/* What the host has, as far as a claim asks. */
struct picture {
	struct address_info *addresses;
	struct route_info *routes;
	size_t address_count, address_capacity, route_count, route_capacity;
};

static void picture_done(struct picture *p)
{
	free(p->addresses);
	free(p->routes);
}
#define auto_picture __attribute__((cleanup(picture_done)))

static int see(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct picture *p = arg;

	(void)e;
	p->addresses = xgrow(p->addresses, p->address_count, &p->address_capacity,
			     sizeof(*p->addresses));
	p->routes = xgrow(p->routes, p->route_count, &p->route_capacity, sizeof(*p->routes));
	if (address_info_parse(h, &p->addresses[p->address_count]))
		p->address_count++;
	if (route_info_parse(h, &p->routes[p->route_count]))
		p->route_count++;
	return 0;
}

static void see_addresses_again(void *arg)
{
	struct picture *p = arg;

	p->address_count = 0;
}

static void see_routes_again(void *arg)
{
	struct picture *p = arg;

	p->route_count = 0;
}

static int take_picture(const struct host *h, struct picture *p, struct err *e)
{
	const struct ifaddrmsg any_address = {.ifa_family = AF_INET};
	const struct rtmsg any_route = {.rtm_family = AF_INET};
	const struct netlink_dump addresses = {see, see_addresses_again, p};
	const struct netlink_dump routes = {see, see_routes_again, p};
	auto_batch struct batch b = BATCH_INIT;

	batch_add(&b, RTM_GETADDR, 0, &any_address, sizeof(any_address), "list addresses");
	if (netlink_dump(h->nl, &b, &addresses, e) < 0)
		return -e->code;
	batch_add(&b, RTM_GETROUTE, 0, &any_route, sizeof(any_route), "list routes");
	return netlink_dump(h->nl, &b, &routes, e);
}

/* ---- claims ---- */

/* Is the address one that we put there? */
static bool is_our_claim(const struct host *h, const struct address_info *a)
{
	return a->index == LOOPBACK_INDEX && str_eq(a->label, h->name->label);
}

static bool has_claim(const struct host *h, const struct picture *p, const struct block *block)
{
	for (size_t i = 0; i < p->address_count; i++)
		if (is_our_claim(h, &p->addresses[i]) &&
		    p->addresses[i].address == block_gateway(block))
			return true;
	return false;
}

/* Our own address in a tunnel to other hosts, or a route to them, lies in a block of ours. */
static bool is_our_peering(const struct host *h, const char *label)
{
	char names[2][IFNAMSIZ];

	tunnel_name(h->name, NET_VXLAN, names[0]);
	tunnel_name(h->name, NET_WIREGUARD, names[1]);
	return str_eq(label, names[0]) || str_eq(label, names[1]);
}

static int check_free(const struct host *h, const struct picture *p, const struct block *block,
		      struct err *e)
{
	char ours[BLOCK_TEXT_MAX], theirs[BLOCK_TEXT_MAX];

	block_format(block, ours);
	for (size_t i = 0; i < p->address_count; i++) {
		const struct block other = {.base = p->addresses[i].address,
					    .prefix = p->addresses[i].prefix};

		if (!block_overlaps(block, &other) || is_our_peering(h, p->addresses[i].label))
			continue;
		block_format(&other, theirs);
		return err_set(e, EADDRINUSE, "block %s overlaps the host's address %s (%s)", ours,
			       theirs, p->addresses[i].label);
	}
	for (size_t i = 0; i < p->route_count; i++) {
		const struct route_info *r = &p->routes[i];

		if (r->protocol == PEER_ROUTE_PROTOCOL && r->metric == h->name->group)
			continue;
		if (r->table == RT_TABLE_LOCAL || r->to.prefix < ROUTE_PREFIX_MIN ||
		    !block_overlaps(block, &r->to))
			continue;
		block_format(&r->to, theirs);
		return err_set(e, EADDRINUSE, "block %s overlaps the host's route to %s", ours,
			       theirs);
	}
	return 0;
}

static void add_address(struct batch *b, unsigned type, uint32_t gateway, const char *label)
{
	const struct ifaddrmsg address = {.ifa_family = AF_INET,
					  .ifa_prefixlen = 32,
					  .ifa_scope = RT_SCOPE_LINK,
					  .ifa_index = LOOPBACK_INDEX};
	unsigned flags = type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_EXCL : 0;
	char text[BLOCK_TEXT_MAX];

	address_format(gateway, text, sizeof(text));
	batch_add(b, type, flags, &address, sizeof(address), "address %s on lo", text);
	batch_u32(b, IFA_LOCAL, htonl(gateway));
	batch_u32(b, IFA_ADDRESS, htonl(gateway));
	batch_text(b, IFA_LABEL, label);
}

static void add_gateway(const struct host *h, struct batch *b, unsigned type, uint32_t gateway)
{
	add_address(b, type, gateway, h->name->label);
}

static void add_unreachable(struct batch *b, unsigned type, const struct block *block)
{
	const struct rtmsg route = {.rtm_family = AF_INET,
				    .rtm_dst_len = (uint8_t)block->prefix,
				    .rtm_table = RT_TABLE_MAIN,
				    .rtm_protocol = LINK_ROUTE_PROTOCOL,
				    .rtm_scope = RT_SCOPE_UNIVERSE,
				    .rtm_type = RTN_UNREACHABLE};
	unsigned flags = type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0;
	char text[BLOCK_TEXT_MAX];

	block_format(block, text);
	batch_add(b, type, flags, &route, sizeof(route), "route of block %s", text);
	batch_u32(b, RTA_DST, htonl(block->base));
}

static int claim(const struct host *h, const struct picture *p, const struct block *block,
		 struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	if (!has_claim(h, p, block)) {
		if (check_free(h, p, block, e) < 0)
			return -e->code;
		/* Here one of two Berths wins; the other gets EEXIST. */
		add_gateway(h, &b, RTM_NEWADDR, block_gateway(block));
		if (netlink_commit(h->nl, &b, 0, e) < 0) {
			if (e->code == EEXIST)
				e->code = EADDRINUSE;
			return -e->code;
		}
	}
	add_unreachable(&b, RTM_NEWROUTE, block);
	return netlink_commit(h->nl, &b, 0, e);
}

int host_claim(const struct host *h, const struct block *wanted, struct block *ret, struct err *e)
{
	auto_picture struct picture p = {0};
	struct block block;
	int r;

	if (take_picture(h, &p, e) < 0)
		return -e->code;
	if (wanted) {
		*ret = *wanted;
		return claim(h, &p, wanted, e);
	}

	for (size_t i = 0; block_candidate(h->name->tag, i, &block); i++) {
		r = claim(h, &p, &block, e);
		if (r == -EADDRINUSE)
			continue;
		if (r == 0)
			*ret = block;
		return r;
	}
	return err_set(e, EADDRINUSE,
		       "no block of addresses is free on this host: configure one that it has no "
		       "route to");
}

int host_reclaim(const struct host *h, const struct block *block, struct err *e)
{
	auto_picture struct picture p = {0};

	if (take_picture(h, &p, e) < 0)
		return -e->code;
	return claim(h, &p, block, e);
}

static bool is_kept(const struct block *keep, size_t count, uint32_t gateway)
{
	for (size_t i = 0; i < count; i++)
		if (block_gateway(&keep[i]) == gateway)
			return true;
	return false;
}

int host_release(const struct host *h, const struct block *keep, size_t count, struct err *e)
{
	auto_picture struct picture p = {0};
	auto_batch struct batch b = BATCH_INIT;

	if (take_picture(h, &p, e) < 0)
		return -e->code;
	for (size_t i = 0; i < p.address_count; i++) {
		uint32_t gateway = p.addresses[i].address;

		if (!is_our_claim(h, &p.addresses[i]) || is_kept(keep, count, gateway))
			continue;
		for (size_t k = 0; k < p.route_count; k++)
			if (p.routes[k].protocol == LINK_ROUTE_PROTOCOL &&
			    p.routes[k].type == RTN_UNREACHABLE &&
			    p.routes[k].to.base == gateway - 1)
				add_unreachable(&b, RTM_DELROUTE, &p.routes[k].to);
		add_gateway(h, &b, RTM_DELADDR, gateway);
	}
	return netlink_commit(h->nl, &b, ESRCH, e);
}

static bool is_among(const uint32_t *addresses, size_t count, uint32_t address)
{
	for (size_t i = 0; i < count; i++)
		if (addresses[i] == address)
			return true;
	return false;
}

int host_set_public(const struct host *h, const uint32_t *addresses, size_t count, struct err *e)
{
	auto_free bool *there = xcalloc(count + 1, sizeof(*there));
	auto_picture struct picture p = {0};
	auto_batch struct batch b = BATCH_INIT;

	if (take_picture(h, &p, e) < 0)
		return -e->code;
	for (size_t i = 0; i < p.address_count; i++) {
		const struct address_info *a = &p.addresses[i];

		for (size_t n = 0; n < count; n++)
			there[n] |= addresses[n] == a->address; /* under whatever label */
		if (a->index == LOOPBACK_INDEX && str_eq(a->label, h->name->public_label) &&
		    !is_among(addresses, count, a->address))
			add_address(&b, RTM_DELADDR, a->address, h->name->public_label);
	}
	for (size_t n = 0; n < count; n++)
		if (!there[n])
			add_address(&b, RTM_NEWADDR, addresses[n], h->name->public_label);
	return netlink_commit(h->nl, &b, 0, e);
}

/* ---- settings ---- */

#define ADDRESSES6_FILE "/proc/net/if_inet6"
#define ADDRESSES6_SIZE (4u << 20)

bool host_has_ipv6(void)
{
	auto_buf struct buf b = BUF_INIT(ADDRESSES6_SIZE);
	char *save = NULL, *text;
	struct err ignored;
	bool found = false;

	if (fs_read(AT_FDCWD, ADDRESSES6_FILE, &b, &ignored) < 0)
		return false;
	text = (char *)(uintptr_t)buf_str(&b);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned scope;
		char name[IFNAMSIZ];

		/* address, index, prefix length, scope, flags, link */
		found |= sscanf(line, "%*s %*s %*s %x %*s %15s", &scope, name) == 2 && scope == 0 &&
			 strcmp(name, "lo") != 0;
	}
	return found;
}

static const char *const forwarding_files[] = {FORWARDING_FILE, FORWARDING6_FILE};

int host_forwarding(bool v6, bool *ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(16);

	if (fs_read(AT_FDCWD, forwarding_files[v6], &b, e) < 0)
		return -e->code;
	*ret = buf_str(&b)[0] != '0';
	return 0;
}

/*
 * A router takes no router's advice, unless its links are told to all the same
 * ("2", Documentation/networking/ip-sysctl: accept_ra), which hosts that get
 * their address that way rely on.
 */
static int set_advertisements(const char *link, bool router, struct err *e)
{
	auto_free char *file = xasprintf("%s/%s/accept_ra", LINKS_DIR, link);
	auto_buf struct buf b = BUF_INIT(16);
	struct err gone = {0}; /* links come and go */

	if (fs_read(AT_FDCWD, file, &b, &gone) < 0 || buf_str(&b)[0] != (router ? '1' : '2'))
		return 0;
	if (fs_write_at(AT_FDCWD, file, router ? "2" : "1", &gone) == 0 || gone.code == ENOENT)
		return 0;
	*e = gone;
	return -e->code;
}

int host_keep_advertisements(bool router, struct err *e)
{
	auto_closedir DIR *dir = opendir(LINKS_DIR);
	struct dirent *entry;

	if (!dir)
		return err_sys(e, "open %s", LINKS_DIR);
	if (set_advertisements("default", router, e) < 0) /* of links that come meanwhile */
		return -e->code;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && !name_is_link(entry->d_name) &&
		    set_advertisements(entry->d_name, router, e) < 0)
			return -e->code;
	return 0;
}

int host_set_forwarding(bool v6, bool on, struct err *e)
{
	/* A router that does not heed others loses its default route at once. */
	if (v6 && on && host_keep_advertisements(true, e) < 0)
		return -e->code;
	if (fs_write_at(AT_FDCWD, forwarding_files[v6], on ? "1" : "0", e) < 0)
		return -e->code;
	return v6 && !on ? host_keep_advertisements(false, e) : 0;
}

int host_uplink_mtu(const struct host *h, uint32_t *ret, struct err *e)
{
	auto_picture struct picture p = {0};
	auto_free struct link_info *links = NULL;
	const struct route_info *best = NULL;
	size_t link_count;

	*ret = MTU_DEFAULT;
	if (take_picture(h, &p, e) < 0 || link_list(h->nl, &links, &link_count, e) < 0)
		return -e->code;
	for (size_t i = 0; i < p.route_count; i++) {
		const struct route_info *r = &p.routes[i];

		if (r->to.prefix == 0 && r->table == RT_TABLE_MAIN && r->index &&
		    (!best || r->metric < best->metric))
			best = r;
	}
	for (size_t i = 0; best && i < link_count; i++)
		if (links[i].index == best->index && links[i].mtu)
			*ret = links[i].mtu;
	return 0;
}
