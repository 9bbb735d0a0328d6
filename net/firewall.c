/* net/firewall.c - our nftables table
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/firewall.h"

#include <assert.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

#include "base/auto.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/elements.h"
#include "net/flow.h"
#include "net/nf.h"
#include "net/policy.h"
#include "net/rules.h"

/* Versions of what this file defines are told apart by the hash; this is for people. */
#define COMMENT_FORMAT "berth, definition %.16s"
#define COMMENT_SIZE   48

/* Who sent to a service: as many tasks as a block has addresses; their limits are full again by then. */
#define ASKERS_MAX    65536
#define ASKER_REST_MS 5000

/* Priorities of the hooks, linux/netfilter_ipv4.h. */
enum { PRIORITY_RAW = -300, PRIORITY_DNAT = -100, PRIORITY_FILTER = 0, PRIORITY_SNAT = 100 };

static const struct nf_chain chains[] = {
	{"raw", "filter", NF_INET_PRE_ROUTING, PRIORITY_RAW},
	{"raw_others", NULL, 0, 0},
	{"prerouting", "nat", NF_INET_PRE_ROUTING, PRIORITY_DNAT},
	{"output", "nat", NF_INET_LOCAL_OUT, PRIORITY_DNAT},
	{"postrouting", "nat", NF_INET_POST_ROUTING, PRIORITY_SNAT},
	{"input", "filter", NF_INET_LOCAL_IN, PRIORITY_FILTER},
	{"forward", "filter", NF_INET_FORWARD, PRIORITY_FILTER},
	{"identify", NULL, 0, 0},
	{"egress", NULL, 0, 0},
	{"borders", NULL, 0, 0},
	{"open", NULL, 0, 0},
	{"left", NULL, 0, 0},
	{"ingress", NULL, 0, 0},
	{"let_in", NULL, 0, 0},
	{"refuse_leaving", NULL, 0, 0},
	{"refuse_entering", NULL, 0, 0},
};

size_t firewall_define(const struct firewall *f, const char *comment, struct batch *b)
{
	const char *table = f->name->table;

	nf_table_add(b, table, comment);
	for (uint32_t i = 0; i < ELEMENT_SETS; i++)
		nf_set_add(b, table, &elements_sets[i], i + 1);
	for (uint32_t v6 = 0; v6 < NET_FAMILIES; v6++)
		nf_set_add(b, table, &rules_quiet_sets[v6], ELEMENT_SETS + 1 + v6);
	nf_rates_add(b, table, &rules_askers, ASKER_REST_MS, ASKERS_MAX,
		     ELEMENT_SETS + 1 + NET_FAMILIES);
	for (size_t i = 0; i < ARRAY_COUNT(chains); i++)
		nf_chain_add(b, table, &chains[i], NULL);
	return rules_define(f, b) + rules_define_groups(f, b);
}

/* What the table is known by: the hash of all its requests.  Returns how many rules it has. */
static size_t definition_comment(const struct firewall *f, char ret[COMMENT_SIZE])
{
	auto_batch struct batch b = BATCH_INIT;
	unsigned char digest[SHA256_SIZE];
	char hex[2 * SHA256_SIZE + 1];
	const struct buf *bytes;
	size_t count = firewall_define(f, NULL, &b);

	bytes = batch_bytes(&b);
	sha256_of(bytes->data, bytes->size, digest);
	hex_encode(digest, sizeof(digest), hex);
	(void)snprintf(ret, COMMENT_SIZE, COMMENT_FORMAT, hex);
	return count;
}

/* ---- is it there? ---- */

struct look {
	const char *table, *comment;
	bool table_found;
	size_t rule_count;
};

static void look_again(void *arg)
{
	struct look *look = arg;

	look->table_found = false;
	look->rule_count = 0;
}

static int see_table(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct look *look = arg;
	struct nf_table_info t;

	(void)e;
	if (nf_table_parse(h, &t) && t.family == NFPROTO_INET && str_eq(t.name, look->table))
		look->table_found = t.userdata_size >= 2 &&
				    memmem(t.userdata, t.userdata_size, look->comment,
					   strlen(look->comment)) != NULL;
	return 0;
}

static int see_rule(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct look *look = arg;

	(void)e;
	if (h->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE))
		look->rule_count++;
	return 0;
}

static void ask(struct batch *b, unsigned msg, int family, const char *note)
{
	const struct nfgenmsg nf = {.nfgen_family = (uint8_t)family, .version = NFNETLINK_V0};

	batch_add(b, NFNL_SUBSYS_NFTABLES << 8 | msg, 0, &nf, sizeof(nf), "%s", note);
}

int firewall_whole(const struct firewall *f, bool *ret, struct err *e)
{
	char comment[COMMENT_SIZE];
	struct look look = {.table = f->name->table, .comment = comment};
	const struct netlink_dump tables = {see_table, look_again, &look};
	const struct netlink_dump rule_dump = {see_rule, look_again, &look};
	auto_batch struct batch b = BATCH_INIT;
	size_t rules = definition_comment(f, comment);

	ask(&b, NFT_MSG_GETTABLE, NFPROTO_INET, "list tables");
	if (netlink_dump(f->nl, &b, &tables, e) < 0)
		return -e->code;
	if (!look.table_found) {
		*ret = false;
		return 0;
	}
	ask(&b, NFT_MSG_GETRULE, NFPROTO_INET, "list rules");
	batch_text(&b, NFTA_RULE_TABLE, f->name->table);
	if (netlink_dump(f->nl, &b, &rule_dump, e) < 0)
		return -e->code;
	*ret = look.rule_count == rules;
	return 0;
}

/* ---- changes ---- */

/* Links between which nothing was forwarded before us. */
static void add_quiet(const struct firewall *f, struct batch *b, const struct nf_set *set,
		      const struct forwarding *forwarding)
{
	auto_free struct nf_element *items = xcalloc(forwarding->quiet_count + 1, sizeof(*items));

	for (size_t i = 0; i < forwarding->quiet_count; i++)
		items[i] = (struct nf_element){.key = forwarding->quiet[i], .key_size = IFNAMSIZ};
	nf_elements_change(b, NFT_MSG_NEWSETELEM, f->name->table, set->name, items,
			   forwarding->quiet_count);
}

static void add_peer_address(const struct peer *p, bool v6, struct items *ret)
{
	const struct ip_prefix *a = &p->addresses[v6];
	struct item x = {0};

	if (!a->length)
		return;
	memcpy(x.key, a->address, v6 ? 16 : 4);
	items_add(ret, &x);
}

/* Of one of the sets of peers, sorted. */
static void peer_items(const struct firewall *f, enum element_set set, struct items *ret)
{
	for (size_t i = 0; f->peers && i < f->peers->count; i++) {
		const struct peer *p = &f->peers->items[i];

		if (set == ELEMENTS_PEERS || set == ELEMENTS_PEERS6)
			add_peer_address(p, set == ELEMENTS_PEERS6, ret);
		else
			for (size_t n = 0; n < p->count; n++)
				elements_add_prefix(&p->prefixes[n], set == ELEMENTS_ELSEWHERE6,
						    ret);
	}
	items_sort(ret);
}

int firewall_replace(const struct firewall *f, const struct endpoint *endpoints, size_t count,
		     const struct host_state *host, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;
	char comment[COMMENT_SIZE];

	(void)definition_comment(f, comment);
	nf_table_add(&b, f->name->table, NULL); /* so that there is one to delete */
	nf_table_delete(&b, f->name->table);
	firewall_define(f, comment, &b);
	elements_change_endpoints(&b, NFT_MSG_NEWSETELEM, f->name->table, endpoints, count);
	for (enum element_set set = ELEMENTS_OF_PEERS; set < ELEMENTS_OF_POLICY; set++) {
		auto_items struct items peers = {0};

		peer_items(f, set, &peers);
		elements_change(&b, NFT_MSG_NEWSETELEM, f->name->table, set, peers.items,
				peers.count);
	}
	policy_change(f->policy, &b, f->name->table, true);
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		add_quiet(f, &b, &rules_quiet_sets[v6], &host->forwarding[v6]);
	if (netlink_commit(f->nl, &b, 0, e) < 0)
		return -e->code;
	policy_changed(f->policy);
	return 0;
}

int firewall_apply_policy(const struct firewall *f, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	policy_change(f->policy, &b, f->name->table, false);
	if (netlink_commit(f->nl, &b, 0, e) < 0)
		return -e->code;
	policy_changed(f->policy);
	return 0;
}

int firewall_add(const struct firewall *f, const struct endpoint *ep, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	elements_change_endpoints(&b, NFT_MSG_NEWSETELEM, f->name->table, ep, 1);
	return netlink_commit(f->nl, &b, 0, e);
}

/*
 * Deleting an element that is not there fails the whole transaction, so each is
 * added first; that changes nothing where it is there.
 */
int firewall_drop(const struct firewall *f, const struct endpoint *ep, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	elements_change_endpoints(&b, NFT_MSG_NEWSETELEM, f->name->table, ep, 1);
	elements_change_endpoints(&b, NFT_MSG_DELSETELEM, f->name->table, ep, 1);
	return netlink_commit(f->nl, &b, ENOENT, e); /* ENOENT: the table is gone */
}

static int compare_set(const struct firewall *f, enum element_set set,
		       const struct endpoint *endpoints, size_t count, struct batch *b,
		       struct err *e)
{
	auto_items struct items wanted = {0};

	if (set < ELEMENTS_OF_PEERS) {
		elements_of(set, endpoints, count, &wanted);
		items_sort(&wanted);
	} else if (set < ELEMENTS_OF_POLICY) {
		peer_items(f, set, &wanted);
	} else {
		policy_elements(f->policy, set, &wanted);
	}
	return elements_compare(f->nl, f->name->table, set, &wanted, b, e);
}

int firewall_apply_peers(const struct firewall *f, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	for (enum element_set set = ELEMENTS_OF_PEERS; set < ELEMENTS_OF_POLICY; set++)
		if (compare_set(f, set, NULL, 0, &b, e) < 0)
			return -e->code;
	return netlink_commit(f->nl, &b, 0, e);
}

/* In one transaction: what a number means, and what it may do, changes at once. */
int firewall_reconcile(const struct firewall *f, const struct endpoint *endpoints, size_t count,
		       struct err *e)
{
	enum element_set end = f->policy->told ? ELEMENT_SETS : ELEMENTS_OF_POLICY;
	auto_batch struct batch b = BATCH_INIT;

	for (enum element_set set = 0; set < end; set++)
		if (compare_set(f, set, endpoints, count, &b, e) < 0)
			return -e->code;
	if (netlink_commit(f->nl, &b, 0, e) < 0)
		return -e->code;
	if (f->policy->told)
		policy_reconciled(f->policy);
	return 0;
}

int firewall_destroy(const struct firewall *f, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	nf_table_add(&b, f->name->table, NULL);
	nf_table_delete(&b, f->name->table);
	return netlink_commit(f->nl, &b, 0, e);
}
