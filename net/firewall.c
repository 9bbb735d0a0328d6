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
#include "net/nf.h"

/* Versions of what this file defines are told apart by the hash; this is for people. */
#define COMMENT_FORMAT "berth, definition %.16s"
#define COMMENT_SIZE   48

/* Priorities of the hooks, linux/netfilter_ipv4.h. */
enum { PRIORITY_RAW = -300, PRIORITY_DNAT = -100, PRIORITY_FILTER = 0, PRIORITY_SNAT = 100 };

/* IPv4 header, and what TCP and UDP have in common. */
enum { SOURCE_ADDRESS = 12, DESTINATION_ADDRESS = 16, DESTINATION_PORT = 2 };

static const struct nf_set quiet_set = {"quiet", NF_TYPE_LINK_NAME, IFNAMSIZ, 0, 0};

static const struct nf_chain chains[] = {
	{"raw", "filter", NF_INET_PRE_ROUTING, PRIORITY_RAW},
	{"prerouting", "nat", NF_INET_PRE_ROUTING, PRIORITY_DNAT},
	{"output", "nat", NF_INET_LOCAL_OUT, PRIORITY_DNAT},
	{"postrouting", "nat", NF_INET_POST_ROUTING, PRIORITY_SNAT},
	{"forward", "filter", NF_INET_FORWARD, PRIORITY_FILTER},
};

/* ---- rules ---- */

static void meta_is(struct nf_rule *r, uint32_t key, enum nft_cmp_ops op, uint32_t value)
{
	nf_meta(r, key, REG_A);
	nf_compare(r, op, REG_A, &value, sizeof(value));
}

static void is_ipv4(struct nf_rule *r, enum nft_cmp_ops op)
{
	const uint8_t family = NFPROTO_IPV4;

	nf_meta(r, NFT_META_NFPROTO, REG_A);
	nf_compare(r, op, REG_A, &family, sizeof(family));
}

static void address_within(struct nf_rule *r, uint32_t offset, const struct block *block)
{
	const uint32_t bits = htonl(~0u << (32 - block->prefix)), base = htonl(block->base);

	is_ipv4(r, NFT_CMP_EQ);
	nf_payload(r, NFT_PAYLOAD_NETWORK_HEADER, offset, sizeof(base), REG_A);
	nf_mask(r, REG_A, &bits, sizeof(bits));
	nf_compare(r, NFT_CMP_EQ, REG_A, &base, sizeof(base));
}

/* Any bit of 'bits' is set in a value of the connection. */
static void ct_has(struct nf_rule *r, enum nft_ct_keys key, uint32_t bits)
{
	const uint32_t none = 0;

	nf_ct(r, key, REG_A);
	nf_mask(r, REG_A, &bits, sizeof(bits));
	nf_compare(r, NFT_CMP_NEQ, REG_A, &none, sizeof(none));
}

static void from_gateway(struct nf_rule *r, const struct firewall *f)
{
	const uint32_t gateway = htonl(block_gateway(&f->block));

	nf_value(r, REG_A, &gateway, sizeof(gateway));
	nf_nat(r, NFT_NAT_SNAT, REG_A, 0);
}

static const struct block loopback = {.base = 0x7f000000, .prefix = 8};

static void not_ours(struct nf_rule *r, const struct firewall *f)
{
	meta_is(r, NFT_META_IIFGROUP, NFT_CMP_NEQ, f->name->group);
	nf_verdict(r, NF_ACCEPT);
}

static void other_protocol(struct nf_rule *r, const struct firewall *f)
{
	(void)f;
	is_ipv4(r, NFT_CMP_NEQ);
	nf_verdict(r, NF_DROP);
}

static void to_loopback(struct nf_rule *r, const struct firewall *f)
{
	(void)f;
	address_within(r, DESTINATION_ADDRESS, &loopback);
	nf_verdict(r, NF_DROP);
}

/* No route leads back over the link that it came from. */
static void wrong_source(struct nf_rule *r, const struct firewall *f)
{
	const uint32_t none = 0;

	(void)f;
	nf_fib(r, NFT_FIB_RESULT_OIF, NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT,
	       REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &none, sizeof(none));
	nf_verdict(r, NF_DROP);
}

static void host_port(struct nf_rule *r, const struct firewall *f)
{
	const uint32_t local = RTN_LOCAL;

	(void)f;
	is_ipv4(r, NFT_CMP_EQ);
	nf_fib(r, NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &local, sizeof(local));
	nf_meta(r, NFT_META_L4PROTO, REG_A);
	nf_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT, sizeof(uint16_t), REG_B);
	nf_in_map(r, "ports", REG_A, REG_A);
	nf_nat(r, NFT_NAT_DNAT, REG_A, REG_B);
}

static void hairpin(struct nf_rule *r, const struct firewall *f)
{
	is_ipv4(r, NFT_CMP_EQ);
	nf_payload(r, NFT_PAYLOAD_NETWORK_HEADER, SOURCE_ADDRESS, sizeof(uint32_t), REG_A);
	nf_payload(r, NFT_PAYLOAD_NETWORK_HEADER, DESTINATION_ADDRESS, sizeof(uint32_t), REG_B);
	nf_in_set(r, "hairpin", REG_A);
	from_gateway(r, f);
}

static void from_loopback(struct nf_rule *r, const struct firewall *f)
{
	address_within(r, SOURCE_ADDRESS, &loopback);
	meta_is(r, NFT_META_OIFGROUP, NFT_CMP_EQ, f->name->group);
	from_gateway(r, f);
}

static void egress(struct nf_rule *r, const struct firewall *f)
{
	address_within(r, SOURCE_ADDRESS, &f->block);
	meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	nf_masquerade(r);
}

static void between_quiet(struct nf_rule *r, const struct firewall *f)
{
	(void)f;
	nf_meta(r, NFT_META_IIFNAME, REG_A);
	nf_in_set(r, "quiet", REG_A);
	nf_meta(r, NFT_META_OIFNAME, REG_A);
	nf_in_set(r, "quiet", REG_A);
	nf_verdict(r, NF_DROP);
}

static void to_elsewhere(struct nf_rule *r, const struct firewall *f)
{
	meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	nf_verdict(r, NF_ACCEPT);
}

static void answer(struct nf_rule *r, const struct firewall *f)
{
	(void)f;
	ct_has(r, NFT_CT_STATE,
	       NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED));
	nf_verdict(r, NF_ACCEPT);
}

static void between_tasks(struct nf_rule *r, const struct firewall *f)
{
	meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
	nf_verdict(r, NF_ACCEPT);
}

static void by_host_port(struct nf_rule *r, const struct firewall *f)
{
	(void)f;
	ct_has(r, NFT_CT_STATUS, IPS_DST_NAT);
	nf_verdict(r, NF_ACCEPT);
}

static void all_else(struct nf_rule *r, const struct firewall *f)
{
	(void)f;
	nf_verdict(r, NF_DROP);
}

static const struct {
	const char *chain, *comment;
	void (*build)(struct nf_rule *r, const struct firewall *f);
} rules[] = {
	{"raw", "not from a task", not_ours},
	{"raw", "tasks speak IPv4", other_protocol},
	{"raw", "the host's loopback is not theirs", to_loopback},
	{"raw", "not the task's own address", wrong_source},
	{"prerouting", "host ports", host_port},
	{"output", "host ports", host_port},
	{"postrouting", "a task to itself by a host port", hairpin},
	{"postrouting", "the host's loopback to a task", from_loopback},
	{"postrouting", "tasks to the world", egress},
	{"forward", "the host was no router before us", between_quiet},
	{"forward", "not to a task", to_elsewhere},
	{"forward", "answers", answer},
	{"forward", "between tasks", between_tasks},
	{"forward", "host ports", by_host_port},
	{"forward", "nothing else to tasks", all_else},
};

void firewall_define(const struct firewall *f, const char *comment, struct batch *b)
{
	const char *table = f->name->table;

	nf_table_add(b, table, comment);
	for (uint32_t i = 0; i < ARRAY_COUNT(elements_sets); i++)
		nf_set_add(b, table, &elements_sets[i], i + 1);
	nf_set_add(b, table, &quiet_set, ARRAY_COUNT(elements_sets) + 1);
	for (size_t i = 0; i < ARRAY_COUNT(chains); i++)
		nf_chain_add(b, table, &chains[i]);
	for (size_t i = 0; i < ARRAY_COUNT(rules); i++) {
		struct nf_rule r;

		nf_rule_begin(&r, b, table, rules[i].chain, rules[i].comment);
		rules[i].build(&r, f);
		nf_rule_end(&r);
	}
}

/* What the table is known by: the hash of all its requests. */
static void definition_comment(const struct firewall *f, char ret[COMMENT_SIZE])
{
	auto_batch struct batch b = BATCH_INIT;
	unsigned char digest[SHA256_SIZE];
	char hex[2 * SHA256_SIZE + 1];
	const struct buf *bytes;

	firewall_define(f, NULL, &b);
	bytes = batch_bytes(&b);
	sha256_of(bytes->data, bytes->size, digest);
	hex_encode(digest, sizeof(digest), hex);
	(void)snprintf(ret, COMMENT_SIZE, COMMENT_FORMAT, hex);
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

	definition_comment(f, comment);
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
	*ret = look.rule_count == ARRAY_COUNT(rules);
	return 0;
}

/* ---- changes ---- */

/* Links between which nothing was forwarded before us. */
static void add_quiet(const struct firewall *f, struct batch *b, const struct host_state *host)
{
	auto_free struct nf_element *items = xcalloc(host->quiet_count + 1, sizeof(*items));

	for (size_t i = 0; i < host->quiet_count; i++)
		items[i] = (struct nf_element){.key = host->quiet[i], .key_size = IFNAMSIZ};
	nf_elements_change(b, NFT_MSG_NEWSETELEM, f->name->table, quiet_set.name, items,
			   host->quiet_count);
}

int firewall_replace(const struct firewall *f, const struct endpoint *endpoints, size_t count,
		     const struct host_state *host, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;
	char comment[COMMENT_SIZE];

	definition_comment(f, comment);
	nf_table_add(&b, f->name->table, NULL); /* so that there is one to delete */
	nf_table_delete(&b, f->name->table);
	firewall_define(f, comment, &b);
	elements_change(&b, NFT_MSG_NEWSETELEM, f->name->table, endpoints, count);
	add_quiet(f, &b, host);
	return netlink_commit(f->nl, &b, 0, e);
}

int firewall_add(const struct firewall *f, const struct endpoint *ep, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	elements_change(&b, NFT_MSG_NEWSETELEM, f->name->table, ep, 1);
	return netlink_commit(f->nl, &b, 0, e);
}

/*
 * Deleting an element that is not there fails the whole transaction, so each is
 * added first; that changes nothing where it is there.
 */
int firewall_drop(const struct firewall *f, const struct endpoint *ep, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	elements_change(&b, NFT_MSG_NEWSETELEM, f->name->table, ep, 1);
	elements_change(&b, NFT_MSG_DELSETELEM, f->name->table, ep, 1);
	return netlink_commit(f->nl, &b, ENOENT, e); /* ENOENT: the table is gone */
}

int firewall_reconcile(const struct firewall *f, const struct endpoint *endpoints, size_t count,
		       struct err *e)
{
	return elements_reconcile(f->nl, f->name->table, endpoints, count, e);
}

int firewall_destroy(const struct firewall *f, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	nf_table_add(&b, f->name->table, NULL);
	nf_table_delete(&b, f->name->table);
	return netlink_commit(f->nl, &b, 0, e);
}
