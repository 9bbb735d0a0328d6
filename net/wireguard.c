/* net/wireguard.c - the encrypted tunnel
 * SPDX-License-Identifier: Apache-2.0
 *
 * The key is this host's own and lives as long as its boot: others hear the
 * public half with everything else they hear of a host.  It is the kernel that
 * computes it, so the device is there before the first peer.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/random.h"
#include "net/internal.h"
#include "net/peer.h"

#define KEY_FILE "wireguard.key"

/* ---- the kernel's number for it ---- */

static int see_family(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct nlattr *tb[CTRL_ATTR_MAX + 1];

	(void)e;
	if (h->nlmsg_type == GENL_ID_CTRL && h->nlmsg_len >= NLMSG_LENGTH(GENL_HDRLEN) &&
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, GENL_HDRLEN, tb, CTRL_ATTR_MAX, NULL) ==
		    0 &&
	    tb[CTRL_ATTR_FAMILY_ID] && nla_len(tb[CTRL_ATTR_FAMILY_ID]) == sizeof(uint16_t))
		*(uint16_t *)arg = nla_get_u16(tb[CTRL_ATTR_FAMILY_ID]);
	return 0;
}

static int open_family(struct netlink *ret, uint16_t *ret_family, struct err *e)
{
	const struct genlmsghdr header = {.cmd = CTRL_CMD_GETFAMILY, .version = 1};
	const struct netlink_dump answers = {see_family, NULL, ret_family};
	auto_batch struct batch b = BATCH_INIT;

	*ret_family = 0;
	if (netlink_open(NETLINK_GENERIC, ret, e) < 0)
		return -e->code;
	batch_add(&b, GENL_ID_CTRL, 0, &header, sizeof(header), "find WireGuard");
	batch_text(&b, CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);
	if (netlink_ask(ret, &b, &answers, e) < 0)
		return -e->code;
	return *ret_family ? 0 : err_set(e, EOPNOTSUPP, "this kernel has no wireguard");
}

static void begin(struct batch *b, uint16_t family, uint8_t command, uint32_t index,
		  const char *note)
{
	const struct genlmsghdr header = {.cmd = command, .version = WG_GENL_VERSION};

	batch_add(b, family, 0, &header, sizeof(header), "%s", note);
	batch_u32(b, WGDEVICE_A_IFINDEX, index);
}

/* ---- the device ---- */

static int read_key(struct net *net, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(64);
	struct peers *p = &net->peers;

	if (p->has_key)
		return 0;
	if (faccessat(net->state.dir_fd, KEY_FILE, F_OK, 0) == 0 &&
	    fs_read(net->state.dir_fd, KEY_FILE, &b, e) < 0)
		return -e->code;
	if (b.size == sizeof(p->private_key)) {
		memcpy(p->private_key, b.data, b.size);
	} else {
		random_bytes(p->private_key, sizeof(p->private_key));
		if (fs_replace(net->state.dir_fd, KEY_FILE, p->private_key, sizeof(p->private_key),
			       0600, FS_QUICK, e) < 0)
			return -e->code;
	}
	p->has_key = true;
	return 0;
}

static int see_public(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct nlattr *tb[WGDEVICE_A_MAX + 1];
	struct peers *p = arg;

	(void)e;
	if (h->nlmsg_len >= NLMSG_LENGTH(GENL_HDRLEN) &&
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, GENL_HDRLEN, tb, WGDEVICE_A_MAX, NULL) ==
		    0 &&
	    tb[WGDEVICE_A_PUBLIC_KEY] && nla_len(tb[WGDEVICE_A_PUBLIC_KEY]) == WG_KEY_LEN) {
		auto_free char *text = base64_encode(nla_data(tb[WGDEVICE_A_PUBLIC_KEY]),
						     WG_KEY_LEN);

		(void)snprintf(p->public_key, sizeof(p->public_key), "%s", text);
	}
	return 0;
}

static void see_again(void *arg)
{
	(void)arg;
}

int wireguard_set_device(struct net *net, uint32_t index, struct err *e)
{
	const struct netlink_dump answers = {see_public, see_again, &net->peers};
	auto_netlink struct netlink nl = NETLINK_NONE;
	auto_batch struct batch b = BATCH_INIT;
	uint16_t family;

	if (read_key(net, e) < 0 || open_family(&nl, &family, e) < 0)
		return -e->code;
	begin(&b, family, WG_CMD_SET_DEVICE, index, "key of WireGuard");
	batch_put(&b, WGDEVICE_A_PRIVATE_KEY, net->peers.private_key,
		  sizeof(net->peers.private_key));
	batch_put(&b, WGDEVICE_A_LISTEN_PORT, &net->peers.wireguard_port,
		  sizeof(net->peers.wireguard_port));
	if (netlink_commit(&nl, &b, 0, e) < 0)
		return -e->code;
	begin(&b, family, WG_CMD_GET_DEVICE, index, "public key of WireGuard");
	return netlink_dump(&nl, &b, &answers, e);
}

int wireguard_key(struct net *net, struct err *e)
{
	uint32_t index;
	bool is_new;

	if (*net->peers.public_key)
		return 0;
	if (net->peers.transport != NET_WIREGUARD)
		return err_set(e, EINVAL, "transport is not wireguard");
	return tunnel_make(net, NET_WIREGUARD, net->mtu, &index, &is_new, e);
}

/* ---- peers ---- */

static void put_endpoint(struct batch *b, const struct ip_prefix *a, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	memcpy(&in.sin_addr, a->address, sizeof(in.sin_addr));
	memcpy(&in6.sin6_addr, a->address, sizeof(in6.sin6_addr));
	if (a->v6)
		batch_put(b, WGPEER_A_ENDPOINT, &in6, sizeof(in6));
	else
		batch_put(b, WGPEER_A_ENDPOINT, &in, sizeof(in));
}

static void put_prefixes(struct batch *b, const struct peer *p)
{
	struct nlattr *list = batch_nest(b, WGPEER_A_ALLOWEDIPS);

	for (size_t i = 0; i < p->count; i++) {
		const struct ip_prefix *prefix = &p->prefixes[i];
		const uint16_t family = prefix->v6 ? AF_INET6 : AF_INET;
		struct nlattr *item = batch_nest(b, 0);

		batch_put(b, WGALLOWEDIP_A_FAMILY, &family, sizeof(family));
		batch_put(b, WGALLOWEDIP_A_IPADDR, prefix->address, prefix->v6 ? 16 : 4);
		batch_u8(b, WGALLOWEDIP_A_CIDR_MASK, (uint8_t)prefix->length);
		batch_nest_end(b, item);
	}
	batch_nest_end(b, list);
}

static int change_peer(struct net *net, uint32_t index, const struct peer *p, bool drop,
		       struct err *e)
{
	auto_netlink struct netlink nl = NETLINK_NONE;
	auto_batch struct batch b = BATCH_INIT;
	auto_free unsigned char *key = NULL;
	struct nlattr *list, *item;
	uint16_t family;
	size_t size = 0;

	key = base64_decode(p->key, &size);
	if (!key || size != WG_KEY_LEN)
		return err_set(e, EINVAL, "peer %s has no key of WireGuard", p->id);
	if (open_family(&nl, &family, e) < 0)
		return -e->code;
	begin(&b, family, WG_CMD_SET_DEVICE, index, "peer of WireGuard");
	list = batch_nest(&b, WGDEVICE_A_PEERS);
	item = batch_nest(&b, 0);
	batch_put(&b, WGPEER_A_PUBLIC_KEY, key, size);
	batch_u32(&b, WGPEER_A_FLAGS, drop ? WGPEER_F_REMOVE_ME : WGPEER_F_REPLACE_ALLOWEDIPS);
	if (!drop) {
		put_endpoint(&b, peer_address(p), net->peers.wireguard_port);
		put_prefixes(&b, p);
	}
	batch_nest_end(&b, item);
	batch_nest_end(&b, list);
	return netlink_commit(&nl, &b, 0, e);
}

int wireguard_set_peer(struct net *net, uint32_t index, const struct peer *p, struct err *e)
{
	return change_peer(net, index, p, false, e);
}

int wireguard_drop_peer(struct net *net, uint32_t index, const struct peer *p, struct err *e)
{
	return change_peer(net, index, p, true, e);
}
