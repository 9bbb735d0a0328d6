/* net/elements.c - elements of the sets of our table
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/elements.h"

#include <assert.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"
#include "net/nf.h"

#define FOUR(a, b, c, d)     NF_TYPE_PAIR(NF_TYPE_PAIR(NF_TYPE_PAIR(a, b), c), d)
#define GROUPS_TYPE          FOUR(NF_TYPE_MARK, NF_TYPE_MARK, NF_TYPE_PROTOCOL, NF_TYPE_PORT)
#define RANGES_TYPE(address) FOUR(NF_TYPE_MARK, NF_TYPE_PROTOCOL, NF_TYPE_PORT, address)

/* nft(8) has no type for a family of one byte but that of protocols. */
#define GROUPS(name)                         \
	{                                    \
		name, GROUPS_TYPE, 16, 0, 0, \
		{                            \
			4, 4, 1, 2           \
		}                            \
	}
#define RANGES(name)                                          \
	{                                                     \
		name, RANGES_TYPE(NF_TYPE_ADDRESS), 16, 0, 0, \
		{                                             \
			4, 1, 2, 4                            \
		}                                             \
	}
#define RANGES6(name)                                          \
	{                                                      \
		name, RANGES_TYPE(NF_TYPE_ADDRESS6), 28, 0, 0, \
		{                                              \
			4, 1, 2, 16                            \
		}                                              \
	}

const struct nf_set elements_sets[ELEMENT_SETS] = {
	[ELEMENTS_PORTS] = {"ports",
			    NF_TYPE_PAIR(NF_TYPE_PROTOCOL, NF_TYPE_PORT),
			    8,
			    NF_TYPE_PAIR(NF_TYPE_ADDRESS, NF_TYPE_PORT),
			    8,
			    {0}},
	[ELEMENTS_PORTS6] = {"ports6",
			     NF_TYPE_PAIR(NF_TYPE_PROTOCOL, NF_TYPE_PORT),
			     8,
			     NF_TYPE_PAIR(NF_TYPE_ADDRESS6, NF_TYPE_PORT),
			     20,
			     {0}},
	[ELEMENTS_HAIRPIN] =
		{"hairpin", NF_TYPE_PAIR(NF_TYPE_ADDRESS, NF_TYPE_ADDRESS), 8, 0, 0, {0}},
	[ELEMENTS_HAIRPIN6] =
		{"hairpin6", NF_TYPE_PAIR(NF_TYPE_ADDRESS6, NF_TYPE_ADDRESS6), 32, 0, 0, {0}},
	[ELEMENTS_SECURED] = {"secured", NF_TYPE_ADDRESS, 4, 0, 0, {0}},
	[ELEMENTS_SECURED6] = {"secured6", NF_TYPE_ADDRESS6, 16, 0, 0, {0}},
	[ELEMENTS_ROUTED] =
		{"routed", NF_TYPE_PAIR(NF_TYPE_PROTOCOL, NF_TYPE_ADDRESS), 8, 0, 0, {1, 4}},
	[ELEMENTS_ROUTED6] =
		{"routed6", NF_TYPE_PAIR(NF_TYPE_PROTOCOL, NF_TYPE_ADDRESS6), 20, 0, 0, {1, 16}},
	[ELEMENTS_WITHIN] =
		{"within", NF_TYPE_PAIR(NF_TYPE_ADDRESS, NF_TYPE_ADDRESS), 8, 0, 0, {4, 4}},
	[ELEMENTS_WITHIN6] =
		{"within6", NF_TYPE_PAIR(NF_TYPE_ADDRESS6, NF_TYPE_ADDRESS6), 32, 0, 0, {16, 16}},
	[ELEMENTS_TRUNKED] = {"trunked", NF_TYPE_ADDRESS, 4, 0, 0, {0}},
	[ELEMENTS_TRUNKED6] = {"trunked6", NF_TYPE_ADDRESS6, 16, 0, 0, {0}},
	[ELEMENTS_PUBLIC_IN] = {"public_in", NF_TYPE_ADDRESS, 4, NF_TYPE_ADDRESS, 4, {0}},
	[ELEMENTS_PUBLIC_OUT] = {"public_out", NF_TYPE_ADDRESS, 4, NF_TYPE_ADDRESS, 4, {0}},
	[ELEMENTS_SERVICES] = {"services", NF_TYPE_ADDRESS, 4, NF_TYPE_ADDRESS, 4, {0}},
	[ELEMENTS_SERVICES6] = {"services6", NF_TYPE_ADDRESS6, 16, NF_TYPE_ADDRESS6, 16, {0}},
	[ELEMENTS_SERVING] = {"serving", NF_TYPE_ADDRESS, 4, 0, 0, {0}},
	[ELEMENTS_SERVING6] = {"serving6", NF_TYPE_ADDRESS6, 16, 0, 0, {0}},
	[ELEMENTS_PEERS] = {"peers", NF_TYPE_ADDRESS, 4, 0, 0, {0}},
	[ELEMENTS_PEERS6] = {"peers6", NF_TYPE_ADDRESS6, 16, 0, 0, {0}},
	[ELEMENTS_ELSEWHERE] =
		{"elsewhere", NF_TYPE_PAIR(NF_TYPE_PROTOCOL, NF_TYPE_ADDRESS), 8, 0, 0, {1, 4}},
	[ELEMENTS_ELSEWHERE6] =
		{"elsewhere6", NF_TYPE_PAIR(NF_TYPE_PROTOCOL, NF_TYPE_ADDRESS6), 20, 0, 0, {1, 16}},
	[ELEMENTS_IDENTITIES] = {"identities", NF_TYPE_ADDRESS, 4, NF_TYPE_MARK, 4, {0}},
	[ELEMENTS_IDENTITIES6] = {"identities6", NF_TYPE_ADDRESS6, 16, NF_TYPE_MARK, 4, {0}},
	[ELEMENTS_EGRESS_GROUPS] = GROUPS("egress_groups"),
	[ELEMENTS_INGRESS_GROUPS] = GROUPS("ingress_groups"),
	[ELEMENTS_EGRESS_RANGES] = RANGES("egress_ranges"),
	[ELEMENTS_INGRESS_RANGES] = RANGES("ingress_ranges"),
	[ELEMENTS_EGRESS_RANGES6] = RANGES6("egress_ranges6"),
	[ELEMENTS_INGRESS_RANGES6] = RANGES6("ingress_ranges6"),
	[ELEMENTS_EGRESS_PORTS] = {"egress_ports", GROUPS_TYPE, 16, 0, 0, {0}},
	[ELEMENTS_INGRESS_PORTS] = {"ingress_ports", GROUPS_TYPE, 16, 0, 0, {0}},
	[ELEMENTS_EGRESS_OPEN] =
		{"egress_open", NF_TYPE_PAIR(NF_TYPE_MARK, NF_TYPE_PROTOCOL), 8, 0, 0, {0}},
	[ELEMENTS_INGRESS_OPEN] =
		{"ingress_open", NF_TYPE_PAIR(NF_TYPE_MARK, NF_TYPE_PROTOCOL), 8, 0, 0, {0}},
};

/* ---- lists ---- */

void items_done(struct items *list)
{
	free(list->items);
	*list = (struct items){0};
}

void items_add(struct items *list, const struct item *item)
{
	list->items = xgrow(list->items, list->count, &list->capacity, sizeof(*list->items));
	list->items[list->count++] = *item;
}

int items_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct item));
}

void items_sort(struct items *list)
{
	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), items_compare);
}

/* ---- from endpoints ---- */

/* Where its ports, or its public address, lead; the size of the address, 0: it has none of this family. */
static size_t port_address(const struct endpoint *ep, bool v6, uint8_t ret[16])
{
	const uint32_t address = htonl(ep->address);

	if (v6) {
		memcpy(ret, ep->own[1].address, 16);
		return ep->own[1].length ? 16 : 0;
	}
	memcpy(ret, ep->public_address.length ? ep->own[0].address : (const uint8_t *)&address,
	       sizeof(address));
	return sizeof(address);
}

static void add_port(const struct endpoint *ep, const struct net_port *port, bool v6,
		     struct items *ret)
{
	for (uint32_t i = 0; i < port->count; i++) {
		const uint16_t host_port = htons((uint16_t)(port->host_port + i));
		const uint16_t container_port = htons((uint16_t)(port->container_port + i));
		struct item x = {0};
		size_t size = port_address(ep, v6, x.data);

		x.key[0] = port->protocol == NET_TCP ? IPPROTO_TCP : IPPROTO_UDP;
		memcpy(x.key + 4, &host_port, sizeof(host_port));
		memcpy(x.data + size, &container_port, sizeof(container_port));
		if (size)
			items_add(ret, &x);
	}
}

/*
 * Each port of a range by itself: a range as one element would be found five
 * times slower in a large map, and the kernel cannot shift one range to another.
 */
static void add_ports(const struct endpoint *ep, bool v6, struct items *ret)
{
	for (size_t i = 0; i < ep->port_count; i++)
		add_port(ep, &ep->ports[i], v6, ret);
}

static void add_hairpin(const struct endpoint *ep, bool v6, struct items *ret)
{
	uint8_t address[16];
	size_t size = port_address(ep, v6, address);
	bool led_to = ep->port_count || (!v6 && ep->public_address.length);
	struct item x = {0};

	if (!led_to || !size)
		return;
	memcpy(x.key, address, size);
	memcpy(x.key + size, address, size);
	items_add(ret, &x);
}

static void add_secured(const struct ip_prefix *address, bool v6, struct items *ret)
{
	struct item x = {0};

	if (!address->length || address->v6 != v6)
		return;
	memcpy(x.key, address->address, v6 ? 16 : 4);
	items_add(ret, &x);
}

static void add_trunked(const struct endpoint *ep, bool v6, struct items *ret)
{
	if (ep->trunk.subnet[v6].length)
		add_secured(&ep->own[v6], v6, ret);
}

/* Once, however many endpoints are in the same VPC. */
static void add_once(const struct item *x, struct items *ret)
{
	for (size_t i = 0; i < ret->count; i++)
		if (items_compare(&ret->items[i], x) == 0)
			return;
	items_add(ret, x);
}

static bool of_prefix(const struct ip_prefix *prefix, bool v6, struct item *ret)
{
	*ret = (struct item){0};
	if (!prefix->length || prefix->v6 != v6)
		return false;
	ret->key[0] = ret->end[0] = v6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
	memcpy(ret->key + 4, prefix->address, v6 ? 16 : 4);
	ip_prefix_last(prefix, ret->end + 4);
	return true;
}

void elements_add_prefix(const struct ip_prefix *prefix, bool v6, struct items *ret)
{
	struct item x;

	if (of_prefix(prefix, v6, &x))
		items_add(ret, &x);
}

static void add_routed(const struct ip_prefix *vpc, bool v6, struct items *ret)
{
	struct item x;

	if (of_prefix(vpc, v6, &x))
		add_once(&x, ret);
}

static void add_within(const struct ip_prefix *vpc, bool v6, struct items *ret)
{
	size_t size = v6 ? 16 : 4;
	struct item x = {0};

	if (!vpc->length || vpc->v6 != v6)
		return;
	for (size_t i = 0; i < 2; i++) {
		memcpy(x.key + i * size, vpc->address, size);
		ip_prefix_last(vpc, x.end + i * size);
	}
	add_once(&x, ret);
}

static void add_public(const struct endpoint *ep, bool in, struct items *ret)
{
	const unsigned char *outer = ep->public_address.address, *inner = ep->own[0].address;
	struct item x = {0};

	if (!ep->public_address.length)
		return;
	memcpy(x.key, in ? outer : inner, 4);
	memcpy(x.data, in ? inner : outer, 4);
	items_add(ret, &x);
}

/* Who is one has an address of the block, and one of IPv6 where it serves by that, too. */
static void add_service(const struct endpoint *ep, bool serving, bool v6, struct items *ret)
{
	uint8_t address[16];
	const size_t size = port_address(ep, v6, address);
	struct item x = {0};

	if (!ep->service[v6].length || !size)
		return;
	memcpy(x.key, serving ? address : ep->service[v6].address, size);
	if (!serving)
		memcpy(x.data, address, size);
	items_add(ret, &x);
}

/* Addresses that nothing passes to or from but what groups allow, or, of the block, nothing at all. */
static void add_all_secured(const struct endpoint *ep, bool v6, struct items *ret)
{
	const struct ip_prefix local = ip_of_v4(ep->address, 32);

	for (size_t n = 0; n < NET_FAMILIES; n++)
		add_secured(&ep->own[n], v6, ret);
	if (endpoint_has_v6_alone(ep))
		add_secured(&local, v6, ret);
}

void elements_of(enum element_set set, const struct endpoint *endpoints, size_t count,
		 struct items *ret)
{
	assert(set < ELEMENTS_OF_PEERS);

	for (size_t i = 0; i < count; i++) {
		const struct endpoint *ep = &endpoints[i];

		if (set == ELEMENTS_PORTS || set == ELEMENTS_PORTS6)
			add_ports(ep, set == ELEMENTS_PORTS6, ret);
		else if (set == ELEMENTS_HAIRPIN || set == ELEMENTS_HAIRPIN6)
			add_hairpin(ep, set == ELEMENTS_HAIRPIN6, ret);
		else if (set == ELEMENTS_PUBLIC_IN || set == ELEMENTS_PUBLIC_OUT)
			add_public(ep, set == ELEMENTS_PUBLIC_IN, ret);
		else if (set == ELEMENTS_SERVICES || set == ELEMENTS_SERVING)
			add_service(ep, set == ELEMENTS_SERVING, false, ret);
		else if (set == ELEMENTS_SERVICES6 || set == ELEMENTS_SERVING6)
			add_service(ep, set == ELEMENTS_SERVING6, true, ret);
		else if (ep->mode != NET_AWSVPC)
			continue;
		else if (set == ELEMENTS_SECURED || set == ELEMENTS_SECURED6)
			add_all_secured(ep, set == ELEMENTS_SECURED6, ret);
		else if (set == ELEMENTS_TRUNKED || set == ELEMENTS_TRUNKED6)
			add_trunked(ep, set == ELEMENTS_TRUNKED6, ret);
		else if (set == ELEMENTS_WITHIN || set == ELEMENTS_WITHIN6)
			for (size_t n = 0; n < NET_FAMILIES; n++)
				add_within(&ep->vpc[n], set == ELEMENTS_WITHIN6, ret);
		else
			for (size_t n = 0; n < NET_FAMILIES; n++)
				add_routed(&ep->vpc[n], set == ELEMENTS_ROUTED6, ret);
	}
}

/* ---- changes ---- */

void elements_change(struct batch *b, unsigned msg, const char *table, enum element_set set,
		     const struct item *items, size_t count)
{
	auto_free struct nf_element *list = xcalloc(count + 1, sizeof(*list));
	const struct nf_set *s = &elements_sets[set];

	for (size_t i = 0; i < count; i++)
		list[i] = (struct nf_element){.key = items[i].key,
					      .key_size = s->key_size,
					      .end = s->fields[0] ? items[i].end : NULL,
					      .data = s->data_size ? items[i].data : NULL,
					      .data_size = s->data_size};
	nf_elements_change(b, msg, table, s->name, list, count);
}

void elements_change_endpoints(struct batch *b, unsigned msg, const char *table,
			       const struct endpoint *endpoints, size_t count)
{
	for (enum element_set set = 0; set < ELEMENTS_OF_PEERS; set++) {
		auto_items struct items items = {0};

		/* Others may be of the same VPC; the next reconciliation knows. */
		if (msg == NFT_MSG_DELSETELEM && set >= ELEMENTS_ROUTED && set <= ELEMENTS_WITHIN6)
			continue;
		elements_of(set, endpoints, count, &items);
		elements_change(b, msg, table, set, items.items, items.count);
	}
}

/* ---- reconciling ---- */

struct difference {
	const struct nf_set *set;
	const struct items *wanted; /* sorted; borrowed */
	bool *there;                /* for each of them */
	struct items strays;        /* there, and not wanted */
};

static void difference_done(struct difference *d)
{
	free(d->there);
	items_done(&d->strays);
}

static void see_element(const struct nf_element *element, void *arg)
{
	struct difference *d = arg;
	struct item x = {0};
	const struct item *found;

	if (element->key_size != d->set->key_size ||
	    (element->data && element->data_size != d->set->data_size))
		return;
	memcpy(x.key, element->key, element->key_size);
	if (d->set->fields[0]) /* where the ends are the same the kernel tells only the key */
		memcpy(x.end, element->end ? element->end : element->key, element->key_size);
	if (element->data)
		memcpy(x.data, element->data, element->data_size);

	found = d->wanted->count
			? bsearch(&x, d->wanted->items, d->wanted->count, sizeof(x), items_compare)
			: NULL;
	if (found)
		d->there[found - d->wanted->items] = true;
	else
		items_add(&d->strays, &x);
}

static int see_message(const struct nlmsghdr *h, void *arg, struct err *e)
{
	return nf_elements_parse(h, see_element, arg)
		       ? 0
		       : err_set(e, EBADMSG, "list of elements is broken");
}

static void look_again(void *arg)
{
	struct difference *d = arg;

	memset(d->there, 0, d->wanted->count * sizeof(*d->there));
	d->strays.count = 0;
}

static int list_elements(struct netlink *nl, const char *table, struct difference *d, struct err *e)
{
	const struct nfgenmsg nf = {.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0};
	const struct netlink_dump dump = {see_message, look_again, d};
	auto_batch struct batch b = BATCH_INIT;

	batch_add(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM, 0, &nf, sizeof(nf),
		  "list %s of table %s", d->set->name, table);
	batch_text(&b, NFTA_SET_ELEM_LIST_TABLE, table);
	batch_text(&b, NFTA_SET_ELEM_LIST_SET, d->set->name);
	return netlink_dump(nl, &b, &dump, e);
}

int elements_compare(struct netlink *nl, const char *table, enum element_set set,
		     const struct items *wanted, struct batch *b, struct err *e)
{
	__attribute__((cleanup(difference_done))) struct difference d = {
		.set = &elements_sets[set],
		.wanted = wanted,
		.there = xcalloc(wanted->count + 1, sizeof(bool))};
	auto_items struct items missing = {0};

	if (list_elements(nl, table, &d, e) < 0)
		return -e->code;
	for (size_t i = 0; i < wanted->count; i++)
		if (!d.there[i])
			items_add(&missing, &wanted->items[i]);
	elements_change(b, NFT_MSG_DELSETELEM, table, set, d.strays.items, d.strays.count);
	elements_change(b, NFT_MSG_NEWSETELEM, table, set, missing.items, missing.count);
	return 0;
}
