/* net/elements.c - what the firewall knows of endpoints
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/elements.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"
#include "net/nf.h"

const struct nf_set elements_sets[2] = {
	[ELEMENTS_PORTS] = {"ports", NF_TYPE_PAIR(NF_TYPE_PROTOCOL, NF_TYPE_PORT), 8,
			    NF_TYPE_PAIR(NF_TYPE_ADDRESS, NF_TYPE_PORT), 8},
	[ELEMENTS_HAIRPIN] = {"hairpin", NF_TYPE_PAIR(NF_TYPE_ADDRESS, NF_TYPE_ADDRESS), 8, 0, 0},
};

/* ---- from endpoints ---- */

static struct item port_item(uint32_t address, const struct net_port *port)
{
	const uint16_t host_port = htons(port->host_port);
	const uint16_t container_port = htons(port->container_port);
	struct item x = {0};

	x.key[0] = port->protocol == NET_TCP ? IPPROTO_TCP : IPPROTO_UDP;
	memcpy(x.key + 4, &host_port, sizeof(host_port));
	memcpy(x.data, &address, sizeof(address));
	memcpy(x.data + 4, &container_port, sizeof(container_port));
	return x;
}

static struct item hairpin_item(uint32_t address)
{
	struct item x = {0};

	memcpy(x.key, &address, sizeof(address));
	memcpy(x.key + 4, &address, sizeof(address));
	return x;
}

struct item *elements_of(enum element_set set, const struct endpoint *endpoints, size_t count,
			 size_t *ret_count)
{
	struct item *items;
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		n += endpoints[i].port_count;
	items = xcalloc(n + 1, sizeof(*items));

	n = 0;
	for (size_t i = 0; i < count; i++) {
		const struct endpoint *ep = &endpoints[i];
		uint32_t address = htonl(ep->address);

		if (set == ELEMENTS_HAIRPIN && ep->port_count)
			items[n++] = hairpin_item(address);
		for (size_t p = 0; set == ELEMENTS_PORTS && p < ep->port_count; p++)
			items[n++] = port_item(address, &ep->ports[p]);
	}
	*ret_count = n;
	return items;
}

static void change_items(struct batch *b, unsigned msg, const char *table, enum element_set set,
			 const struct item *items, size_t count)
{
	auto_free struct nf_element *list = xcalloc(count + 1, sizeof(*list));
	const struct nf_set *s = &elements_sets[set];

	for (size_t i = 0; i < count; i++)
		list[i] = (struct nf_element){.key = items[i].key,
					      .key_size = s->key_size,
					      .data = s->data_size ? items[i].data : NULL,
					      .data_size = s->data_size};
	nf_elements_change(b, msg, table, s->name, list, count);
}

void elements_change(struct batch *b, unsigned msg, const char *table,
		     const struct endpoint *endpoints, size_t count)
{
	for (enum element_set set = ELEMENTS_PORTS; set <= ELEMENTS_HAIRPIN; set++) {
		size_t n;
		auto_free struct item *items = elements_of(set, endpoints, count, &n);

		change_items(b, msg, table, set, items, n);
	}
}

/* ---- reconciling ---- */

struct difference {
	const struct item *wanted; /* sorted; borrowed */
	bool *there;               /* for each of them */
	size_t wanted_count;
	struct item *strays; /* there, and not wanted */
	size_t stray_count, stray_capacity;
};

static void difference_done(struct difference *d)
{
	free(d->there);
	free(d->strays);
}

static int compare_keys(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return memcmp(x->key, y->key, sizeof(x->key));
}

static void see_element(const struct nf_element *element, void *arg)
{
	struct difference *d = arg;
	struct item x = {0};
	const struct item *found;

	if (element->key_size != sizeof(x.key) ||
	    (element->data && element->data_size != sizeof(x.data)))
		return;
	memcpy(x.key, element->key, sizeof(x.key));
	if (element->data)
		memcpy(x.data, element->data, sizeof(x.data));

	found = bsearch(&x, d->wanted, d->wanted_count, sizeof(x), compare_keys);
	if (found && memcmp(found->data, x.data, sizeof(x.data)) == 0) {
		d->there[found - d->wanted] = true;
		return;
	}
	d->strays = xgrow(d->strays, d->stray_count, &d->stray_capacity, sizeof(x));
	d->strays[d->stray_count++] = x;
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

	memset(d->there, 0, d->wanted_count * sizeof(*d->there));
	d->stray_count = 0;
}

static int list_elements(struct netlink *nl, const char *table, enum element_set set,
			 struct difference *d, struct err *e)
{
	const struct nfgenmsg nf = {.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0};
	const struct netlink_dump dump = {see_message, look_again, d};
	auto_batch struct batch b = BATCH_INIT;

	batch_add(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM, 0, &nf, sizeof(nf),
		  "list %s of table %s", elements_sets[set].name, table);
	batch_text(&b, NFTA_SET_ELEM_LIST_TABLE, table);
	batch_text(&b, NFTA_SET_ELEM_LIST_SET, elements_sets[set].name);
	return netlink_dump(nl, &b, &dump, e);
}

static int reconcile_set(struct netlink *nl, const char *table, enum element_set set,
			 const struct endpoint *endpoints, size_t count, struct err *e)
{
	size_t n, missing = 0;
	auto_free struct item *wanted = elements_of(set, endpoints, count, &n);
	__attribute__((cleanup(difference_done))) struct difference d = {
		.wanted = wanted, .wanted_count = n, .there = xcalloc(n + 1, sizeof(bool))};
	auto_batch struct batch b = BATCH_INIT;

	qsort(wanted, n, sizeof(*wanted), compare_keys);
	if (list_elements(nl, table, set, &d, e) < 0)
		return -e->code;

	for (size_t i = 0; i < n; i++)
		if (!d.there[i])
			wanted[missing++] = wanted[i];
	change_items(&b, NFT_MSG_DELSETELEM, table, set, d.strays, d.stray_count);
	change_items(&b, NFT_MSG_NEWSETELEM, table, set, wanted, missing);
	return netlink_commit(nl, &b, 0, e);
}

int elements_reconcile(struct netlink *nl, const char *table, const struct endpoint *endpoints,
		       size_t count, struct err *e)
{
	for (enum element_set set = ELEMENTS_PORTS; set <= ELEMENTS_HAIRPIN; set++)
		if (reconcile_set(nl, table, set, endpoints, count, e) < 0)
			return -e->code;
	return 0;
}
