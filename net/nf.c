/* net/nf.c - nf_tables objects as netlink requests
 * SPDX-License-Identifier: Apache-2.0
 *
 * Names of attributes and what they hold: linux/netfilter/nf_tables.h.  The
 * numbers are big endian; data are as they stand in packets, except marks,
 * groups and states, which are the host's.
 */
#include "net/nf.h"

#include <assert.h>
#include <endian.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/auto.h"

#define USERDATA_COMMENT   0 /* nft(8)'s type byte of a comment; of a set's order of keys */
#define USERDATA_KEY_ORDER 0
#define ICMP6_CHECKSUM     2 /* its place there */
#define COMMENT_MAX        128
#define ELEMENTS_PER_ITEM  64 /* of one request: far below the 64 KiB of a nest */

static void request(struct batch *b, unsigned msg, unsigned flags, const char *note,
		    const char *table, const char *name)
{
	const struct nfgenmsg nf = {.nfgen_family = b->nf_family ? b->nf_family : NFPROTO_INET,
				    .version = NFNETLINK_V0};

	batch_add(b, NFNL_SUBSYS_NFTABLES << 8 | msg, flags, &nf, sizeof(nf), "%s %s%s%s", note,
		  table, name ? " " : "", name ? name : "");
}

/* A comment as nft(8) keeps it: type, length, text with its NUL. */
static void put_comment(struct batch *b, int type, const char *comment)
{
	uint8_t data[2 + COMMENT_MAX];
	size_t size = strlen(comment) + 1;

	assert(size <= COMMENT_MAX);
	data[0] = USERDATA_COMMENT;
	data[1] = (uint8_t)size;
	memcpy(data + 2, comment, size);
	batch_put(b, type, data, 2 + size);
}

void nf_table_add(struct batch *b, const char *table, const char *comment)
{
	request(b, NFT_MSG_NEWTABLE, NLM_F_CREATE, "add table", table, NULL);
	batch_text(b, NFTA_TABLE_NAME, table);
	batch_be32(b, NFTA_TABLE_FLAGS, 0);
	if (comment)
		put_comment(b, NFTA_TABLE_USERDATA, comment);
}

void nf_table_delete(struct batch *b, const char *table)
{
	request(b, NFT_MSG_DELTABLE, 0, "delete table", table, NULL);
	batch_text(b, NFTA_TABLE_NAME, table);
}

static void put_be64(struct batch *b, int type, uint64_t value)
{
	const uint64_t bits = htobe64(value);

	batch_put(b, type, &bits, sizeof(bits));
}

static void put_fields(struct batch *b, const struct nf_set *set)
{
	struct nlattr *description = batch_nest(b, NFTA_SET_DESC),
		      *fields = batch_nest(b, NFTA_SET_DESC_CONCAT);

	for (size_t i = 0; i < NF_FIELDS_MAX && set->fields[i]; i++) {
		struct nlattr *field = batch_nest(b, NFTA_LIST_ELEM);

		batch_be32(b, NFTA_SET_FIELD_LEN, set->fields[i]);
		batch_nest_end(b, field);
	}
	batch_nest_end(b, fields);
	batch_nest_end(b, description);
}

static void begin_set(struct batch *b, const char *table, const struct nf_set *set, uint32_t flags,
		      uint32_t id)
{
	request(b, NFT_MSG_NEWSET, NLM_F_CREATE, "add set", table, set->name);
	batch_text(b, NFTA_SET_TABLE, table);
	batch_text(b, NFTA_SET_NAME, set->name);
	batch_be32(b, NFTA_SET_FLAGS, flags);
	batch_be32(b, NFTA_SET_KEY_TYPE, set->key_type);
	batch_be32(b, NFTA_SET_KEY_LEN, set->key_size);
	if (set->data_size) {
		batch_be32(b, NFTA_SET_DATA_TYPE, set->data_type);
		batch_be32(b, NFTA_SET_DATA_LEN, set->data_size);
	}
	batch_be32(b, NFTA_SET_ID, id);
}

void nf_set_add(struct batch *b, const char *table, const struct nf_set *set, uint32_t id)
{
	begin_set(b, table, set,
		  (set->data_size ? NFT_SET_MAP : 0) |
			  (set->fields[0] ? NFT_SET_INTERVAL | NFT_SET_CONCAT : 0),
		  id);
	if (set->fields[0])
		put_fields(b, set);
}

void nf_rates_add(struct batch *b, const char *table, const struct nf_set *set, uint32_t rest_ms,
		  uint32_t size_max, uint32_t id)
{
	/* nft(8)'s type, size and value of the order of keys, by which it prints them. */
	const struct {
		uint8_t type, size;
		uint32_t host_endian;
	} __attribute__((packed)) order = {USERDATA_KEY_ORDER, sizeof(uint32_t), 1};
	struct nlattr *description;

	begin_set(b, table, set, NFT_SET_TIMEOUT | NFT_SET_EVAL, id);
	description = batch_nest(b, NFTA_SET_DESC);
	batch_be32(b, NFTA_SET_DESC_SIZE, size_max);
	batch_nest_end(b, description);
	put_be64(b, NFTA_SET_TIMEOUT, rest_ms);
	batch_put(b, NFTA_SET_USERDATA, &order, sizeof(order));
}

void nf_chain_add(struct batch *b, const char *table, const struct nf_chain *chain,
		  const char *device)
{
	struct nlattr *hook;

	request(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, "add chain", table, chain->name);
	batch_text(b, NFTA_CHAIN_TABLE, table);
	batch_text(b, NFTA_CHAIN_NAME, chain->name);
	if (!chain->type)
		return;
	hook = batch_nest(b, NFTA_CHAIN_HOOK);
	batch_be32(b, NFTA_HOOK_HOOKNUM, chain->hook);
	batch_be32(b, NFTA_HOOK_PRIORITY, (uint32_t)chain->priority);
	if (device)
		batch_text(b, NFTA_HOOK_DEV, device);
	batch_nest_end(b, hook);
	batch_be32(b, NFTA_CHAIN_POLICY, NF_ACCEPT);
	batch_text(b, NFTA_CHAIN_TYPE, chain->type);
}

/* ---- rules ---- */

void nf_rule_begin(struct nf_rule *r, struct batch *b, const char *table, const char *chain,
		   const char *comment)
{
	request(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, "add rule", table, comment);
	batch_text(b, NFTA_RULE_TABLE, table);
	batch_text(b, NFTA_RULE_CHAIN, chain);
	put_comment(b, NFTA_RULE_USERDATA, comment);
	r->batch = b;
	r->expressions = batch_nest(b, NFTA_RULE_EXPRESSIONS);
}

void nf_rule_end(struct nf_rule *r)
{
	batch_nest_end(r->batch, r->expressions);
}

static void foreign_request(struct batch *b, unsigned msg, unsigned flags, const char *note,
			    const struct nf_rule_place *at)
{
	const struct nfgenmsg nf = {.nfgen_family = (uint8_t)at->family, .version = NFNETLINK_V0};

	batch_add(b, NFNL_SUBSYS_NFTABLES << 8 | msg, flags, &nf, sizeof(nf), "%s %s %s", note,
		  at->table, at->chain);
	batch_text(b, NFTA_RULE_TABLE, at->table);
	batch_text(b, NFTA_RULE_CHAIN, at->chain);
}

void nf_rule_insert(struct nf_rule *r, struct batch *b, const struct nf_rule_place *at)
{
	foreign_request(b, NFT_MSG_NEWRULE, NLM_F_CREATE, "insert rule", at);
	r->batch = b;
	r->expressions = batch_nest(b, NFTA_RULE_EXPRESSIONS);
}

void nf_rule_delete(struct batch *b, const struct nf_rule_place *at)
{
	const uint64_t handle = htobe64(at->handle);

	foreign_request(b, NFT_MSG_DELRULE, 0, "delete rule", at);
	batch_put(b, NFTA_RULE_HANDLE, &handle, sizeof(handle));
}

void nf_rules_ask(struct batch *b, const struct nf_rule_place *at)
{
	foreign_request(b, NFT_MSG_GETRULE, 0, "list rules", at);
}

/* One instruction: its name and numbers. */
struct expression {
	struct nlattr *item, *data;
};

static struct expression expression_begin(struct nf_rule *r, const char *name)
{
	struct expression x = {.item = batch_nest(r->batch, NFTA_LIST_ELEM)};

	batch_text(r->batch, NFTA_EXPR_NAME, name);
	x.data = batch_nest(r->batch, NFTA_EXPR_DATA);
	return x;
}

static void expression_end(struct nf_rule *r, struct expression x)
{
	batch_nest_end(r->batch, x.data);
	batch_nest_end(r->batch, x.item);
}

static void put_value(struct batch *b, int type, const void *value, size_t size)
{
	struct nlattr *data = batch_nest(b, type);

	batch_put(b, NFTA_DATA_VALUE, value, size);
	batch_nest_end(b, data);
}

struct number {
	int type;
	uint32_t value;
};

/* An instruction that is numbers only. */
static void expression(struct nf_rule *r, const char *name, const struct number *numbers,
		       size_t count)
{
	struct expression x = expression_begin(r, name);

	for (size_t i = 0; i < count; i++)
		batch_be32(r->batch, numbers[i].type, numbers[i].value);
	expression_end(r, x);
}

void nf_meta(struct nf_rule *r, uint32_t key, uint32_t reg)
{
	const struct number n[] = {{NFTA_META_KEY, key}, {NFTA_META_DREG, reg}};

	expression(r, "meta", n, ARRAY_COUNT(n));
}

void nf_ct(struct nf_rule *r, uint32_t key, uint32_t reg)
{
	const struct number n[] = {{NFTA_CT_KEY, key}, {NFTA_CT_DREG, reg}};

	expression(r, "ct", n, ARRAY_COUNT(n));
}

void nf_meta_set(struct nf_rule *r, uint32_t key, uint32_t reg)
{
	const struct number n[] = {{NFTA_META_KEY, key}, {NFTA_META_SREG, reg}};

	expression(r, "meta", n, ARRAY_COUNT(n));
}

void nf_ct_set(struct nf_rule *r, uint32_t key, uint32_t reg)
{
	const struct number n[] = {{NFTA_CT_KEY, key}, {NFTA_CT_SREG, reg}};

	expression(r, "ct", n, ARRAY_COUNT(n));
}

void nf_fib(struct nf_rule *r, uint32_t result, uint32_t flags, uint32_t reg)
{
	const struct number n[] = {
		{NFTA_FIB_DREG, reg}, {NFTA_FIB_RESULT, result}, {NFTA_FIB_FLAGS, flags}};

	expression(r, "fib", n, ARRAY_COUNT(n));
}

void nf_payload(struct nf_rule *r, uint32_t base, uint32_t offset, uint32_t size, uint32_t reg)
{
	const struct number n[] = {{NFTA_PAYLOAD_DREG, reg},
				   {NFTA_PAYLOAD_BASE, base},
				   {NFTA_PAYLOAD_OFFSET, offset},
				   {NFTA_PAYLOAD_LEN, size}};

	expression(r, "payload", n, ARRAY_COUNT(n));
}

void nf_payload_set(struct nf_rule *r, uint32_t base, uint32_t offset, uint32_t size, uint32_t reg)
{
	const struct number n[] = {{NFTA_PAYLOAD_SREG, reg},
				   {NFTA_PAYLOAD_BASE, base},
				   {NFTA_PAYLOAD_OFFSET, offset},
				   {NFTA_PAYLOAD_LEN, size}};

	expression(r, "payload", n, ARRAY_COUNT(n));
}

void nf_payload_set_icmp6(struct nf_rule *r, uint32_t base, uint32_t offset, uint32_t size,
			  uint32_t reg)
{
	const bool own = base == NFT_PAYLOAD_TRANSPORT_HEADER;
	const struct number n[] = {
		{NFTA_PAYLOAD_SREG, reg},
		{NFTA_PAYLOAD_BASE, base},
		{NFTA_PAYLOAD_OFFSET, offset},
		{NFTA_PAYLOAD_LEN, size},
		{NFTA_PAYLOAD_CSUM_TYPE, own ? NFT_PAYLOAD_CSUM_INET : NFT_PAYLOAD_CSUM_NONE},
		{NFTA_PAYLOAD_CSUM_OFFSET, own ? ICMP6_CHECKSUM : 0},
		{NFTA_PAYLOAD_CSUM_FLAGS, own ? 0 : NFT_PAYLOAD_L4CSUM_PSEUDOHDR}};

	expression(r, "payload", n, ARRAY_COUNT(n));
}

void nf_value(struct nf_rule *r, uint32_t reg, const void *value, size_t size)
{
	struct expression x = expression_begin(r, "immediate");

	batch_be32(r->batch, NFTA_IMMEDIATE_DREG, reg);
	put_value(r->batch, NFTA_IMMEDIATE_DATA, value, size);
	expression_end(r, x);
}

void nf_mask(struct nf_rule *r, uint32_t reg, const void *bits, size_t size)
{
	static const uint8_t zero[16];
	struct expression x = expression_begin(r, "bitwise");

	assert(size <= sizeof(zero));
	batch_be32(r->batch, NFTA_BITWISE_SREG, reg);
	batch_be32(r->batch, NFTA_BITWISE_DREG, reg);
	batch_be32(r->batch, NFTA_BITWISE_LEN, (uint32_t)size);
	put_value(r->batch, NFTA_BITWISE_MASK, bits, size);
	put_value(r->batch, NFTA_BITWISE_XOR, zero, size);
	expression_end(r, x);
}

void nf_compare(struct nf_rule *r, enum nft_cmp_ops op, uint32_t reg, const void *value,
		size_t size)
{
	struct expression x = expression_begin(r, "cmp");

	batch_be32(r->batch, NFTA_CMP_SREG, reg);
	batch_be32(r->batch, NFTA_CMP_OP, op);
	put_value(r->batch, NFTA_CMP_DATA, value, size);
	expression_end(r, x);
}

void nf_in_set(struct nf_rule *r, const char *set, uint32_t reg)
{
	struct expression x = expression_begin(r, "lookup");

	batch_text(r->batch, NFTA_LOOKUP_SET, set);
	batch_be32(r->batch, NFTA_LOOKUP_SREG, reg);
	expression_end(r, x);
}

void nf_not_in_set(struct nf_rule *r, const char *set, uint32_t reg)
{
	struct expression x = expression_begin(r, "lookup");

	batch_text(r->batch, NFTA_LOOKUP_SET, set);
	batch_be32(r->batch, NFTA_LOOKUP_SREG, reg);
	batch_be32(r->batch, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
	expression_end(r, x);
}

void nf_in_map(struct nf_rule *r, const char *map, uint32_t reg, uint32_t data_reg)
{
	struct expression x = expression_begin(r, "lookup");

	batch_text(r->batch, NFTA_LOOKUP_SET, map);
	batch_be32(r->batch, NFTA_LOOKUP_SREG, reg);
	batch_be32(r->batch, NFTA_LOOKUP_DREG, data_reg);
	expression_end(r, x);
}

static void verdict(struct nf_rule *r, uint32_t code, const char *chain)
{
	struct expression x = expression_begin(r, "immediate");
	struct nlattr *data, *inner;

	batch_be32(r->batch, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = batch_nest(r->batch, NFTA_IMMEDIATE_DATA);
	inner = batch_nest(r->batch, NFTA_DATA_VERDICT);
	batch_be32(r->batch, NFTA_VERDICT_CODE, code);
	if (chain)
		batch_text(r->batch, NFTA_VERDICT_CHAIN, chain);
	batch_nest_end(r->batch, inner);
	batch_nest_end(r->batch, data);
	expression_end(r, x);
}

#define TCP_OPTION_SEGMENT 2 /* RFC 9293: its kind; its value is two bytes behind two */

void nf_clamp_segments(struct nf_rule *r, uint32_t reg)
{
	const struct number route[] = {{NFTA_RT_DREG, reg}, {NFTA_RT_KEY, NFT_RT_TCPMSS}};
	struct expression x;

	expression(r, "rt", route, ARRAY_COUNT(route));
	x = expression_begin(r, "exthdr");
	batch_be32(r->batch, NFTA_EXTHDR_SREG, reg);
	batch_u8(r->batch, NFTA_EXTHDR_TYPE, TCP_OPTION_SEGMENT);
	batch_be32(r->batch, NFTA_EXTHDR_OFFSET, 2);
	batch_be32(r->batch, NFTA_EXTHDR_LEN, 2);
	batch_be32(r->batch, NFTA_EXTHDR_OP, NFT_EXTHDR_OP_TCPOPT);
	expression_end(r, x);
}

static void put_limit(struct batch *b, uint64_t per_s, uint32_t flags)
{
	put_be64(b, NFTA_LIMIT_RATE, per_s);
	put_be64(b, NFTA_LIMIT_UNIT, 1);
	batch_be32(b, NFTA_LIMIT_BURST, (uint32_t)per_s);
	batch_be32(b, NFTA_LIMIT_TYPE, NFT_LIMIT_PKTS);
	batch_be32(b, NFTA_LIMIT_FLAGS, flags);
}

void nf_limit(struct nf_rule *r, uint64_t per_s)
{
	struct expression x = expression_begin(r, "limit");

	put_limit(r->batch, per_s, 0);
	expression_end(r, x);
}

void nf_too_often(struct nf_rule *r, const char *set, uint32_t reg, uint64_t per_s)
{
	struct expression x = expression_begin(r, "dynset");
	struct nlattr *limit, *data;

	batch_text(r->batch, NFTA_DYNSET_SET_NAME, set);
	batch_be32(r->batch, NFTA_DYNSET_SREG_KEY, reg);
	batch_be32(r->batch, NFTA_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
	limit = batch_nest(r->batch, NFTA_DYNSET_EXPR);
	batch_text(r->batch, NFTA_EXPR_NAME, "limit");
	data = batch_nest(r->batch, NFTA_EXPR_DATA);
	put_limit(r->batch, per_s, NFT_LIMIT_F_INV);
	batch_nest_end(r->batch, data);
	batch_nest_end(r->batch, limit);
	expression_end(r, x);
}

void nf_log(struct nf_rule *r, uint16_t group, const char *prefix, uint32_t bytes)
{
	const uint16_t bits = htons(group);
	struct expression x = expression_begin(r, "log");

	batch_put(r->batch, NFTA_LOG_GROUP, &bits, sizeof(bits));
	batch_text(r->batch, NFTA_LOG_PREFIX, prefix);
	batch_be32(r->batch, NFTA_LOG_SNAPLEN, bytes);
	expression_end(r, x);
}

void nf_verdict(struct nf_rule *r, uint32_t code)
{
	verdict(r, code, NULL);
}

void nf_go(struct nf_rule *r, uint32_t how, const char *chain)
{
	verdict(r, how, chain);
}

void nf_nat(struct nf_rule *r, bool v6, enum nft_nat_types type, uint32_t address_reg,
	    uint32_t port_reg)
{
	const struct number n[] = {{NFTA_NAT_TYPE, type},
				   {NFTA_NAT_FAMILY, v6 ? NFPROTO_IPV6 : NFPROTO_IPV4},
				   {NFTA_NAT_REG_ADDR_MIN, address_reg},
				   {NFTA_NAT_REG_PROTO_MIN, port_reg}};

	expression(r, "nat", n, ARRAY_COUNT(n) - (port_reg ? 0 : 1));
}

void nf_masquerade(struct nf_rule *r)
{
	expression(r, "masq", NULL, 0);
}

/* ---- elements ---- */

static void put_element(struct batch *b, const struct nf_element *element)
{
	struct nlattr *item = batch_nest(b, NFTA_LIST_ELEM);

	put_value(b, NFTA_SET_ELEM_KEY, element->key, element->key_size);
	if (element->end)
		put_value(b, NFTA_SET_ELEM_KEY_END, element->end, element->key_size);
	if (element->data)
		put_value(b, NFTA_SET_ELEM_DATA, element->data, element->data_size);
	batch_nest_end(b, item);
}

void nf_elements_change(struct batch *b, unsigned msg, const char *table, const char *set,
			const struct nf_element *elements, size_t count)
{
	bool add = msg == NFT_MSG_NEWSETELEM;

	for (size_t at = 0; at < count; at += ELEMENTS_PER_ITEM) {
		struct nlattr *list;

		request(b, msg, add ? NLM_F_CREATE : 0,
			add ? "add elements to" : "delete elements of", table, set);
		batch_text(b, NFTA_SET_ELEM_LIST_TABLE, table);
		batch_text(b, NFTA_SET_ELEM_LIST_SET, set);
		list = batch_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS);
		for (size_t i = at; i < count && i < at + ELEMENTS_PER_ITEM; i++)
			put_element(b, &elements[i]);
		batch_nest_end(b, list);
	}
}

/* ---- answers ---- */

static bool is_message(const struct nlmsghdr *h, unsigned msg)
{
	return h->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | msg) &&
	       h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nfgenmsg));
}

/* libnl takes headers that it does not change as not const. */
static bool attributes(const struct nlmsghdr *h, struct nlattr **tb, int max,
		       struct nla_policy *policy)
{
	return nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(struct nfgenmsg), tb, max,
			   policy) == 0;
}

static int family_of(const struct nlmsghdr *h)
{
	return ((const struct nfgenmsg *)NLMSG_DATA(h))->nfgen_family;
}

bool nf_table_parse(const struct nlmsghdr *h, struct nf_table_info *ret)
{
	static struct nla_policy policy[NFTA_TABLE_MAX + 1] = {
		[NFTA_TABLE_NAME] = {.type = NLA_STRING},
	};
	struct nlattr *tb[NFTA_TABLE_MAX + 1];

	if (!is_message(h, NFT_MSG_NEWTABLE) || !attributes(h, tb, NFTA_TABLE_MAX, policy))
		return false;
	if (!tb[NFTA_TABLE_NAME])
		return false;
	*ret = (struct nf_table_info){.family = family_of(h),
				      .name = nla_get_string(tb[NFTA_TABLE_NAME])};
	if (tb[NFTA_TABLE_USERDATA]) {
		ret->userdata = nla_data(tb[NFTA_TABLE_USERDATA]);
		ret->userdata_size = (size_t)nla_len(tb[NFTA_TABLE_USERDATA]);
	}
	return true;
}

bool nf_chain_parse(const struct nlmsghdr *h, struct nf_chain_info *ret)
{
	static struct nla_policy policy[NFTA_CHAIN_MAX + 1] = {
		[NFTA_CHAIN_TABLE] = {.type = NLA_STRING},
		[NFTA_CHAIN_NAME] = {.type = NLA_STRING},
		[NFTA_CHAIN_HOOK] = {.type = NLA_NESTED},
		[NFTA_CHAIN_POLICY] = {.type = NLA_U32},
	};
	static struct nla_policy hook_policy[NFTA_HOOK_MAX + 1] = {
		[NFTA_HOOK_HOOKNUM] = {.type = NLA_U32},
	};
	struct nlattr *tb[NFTA_CHAIN_MAX + 1], *hook[NFTA_HOOK_MAX + 1];

	if (!is_message(h, NFT_MSG_NEWCHAIN) || !attributes(h, tb, NFTA_CHAIN_MAX, policy))
		return false;
	if (!tb[NFTA_CHAIN_TABLE] || !tb[NFTA_CHAIN_NAME])
		return false;
	*ret = (struct nf_chain_info){.family = family_of(h),
				      .table = nla_get_string(tb[NFTA_CHAIN_TABLE]),
				      .name = nla_get_string(tb[NFTA_CHAIN_NAME]),
				      .hook = UINT32_MAX,
				      .policy = NF_ACCEPT};
	if (!tb[NFTA_CHAIN_HOOK])
		return true;
	if (nla_parse_nested(hook, NFTA_HOOK_MAX, tb[NFTA_CHAIN_HOOK], hook_policy) < 0)
		return false;
	if (hook[NFTA_HOOK_HOOKNUM])
		ret->hook = ntohl(nla_get_u32(hook[NFTA_HOOK_HOOKNUM]));
	if (tb[NFTA_CHAIN_POLICY])
		ret->policy = ntohl(nla_get_u32(tb[NFTA_CHAIN_POLICY]));
	return true;
}

bool nf_rule_parse(const struct nlmsghdr *h, struct nf_rule_info *ret)
{
	static struct nla_policy policy[NFTA_RULE_MAX + 1] = {
		[NFTA_RULE_HANDLE] = {.type = NLA_U64},
		[NFTA_RULE_EXPRESSIONS] = {.type = NLA_NESTED},
	};
	struct nlattr *tb[NFTA_RULE_MAX + 1];
	uint64_t handle;

	if (!is_message(h, NFT_MSG_NEWRULE) || !attributes(h, tb, NFTA_RULE_MAX, policy) ||
	    !tb[NFTA_RULE_HANDLE])
		return false;
	memcpy(&handle, nla_data(tb[NFTA_RULE_HANDLE]), sizeof(handle));
	*ret = (struct nf_rule_info){.handle = be64toh(handle),
				     .expressions = tb[NFTA_RULE_EXPRESSIONS]};
	return true;
}

bool nf_expression_parse(struct nlattr *item, struct nf_expression *ret)
{
	static struct nla_policy policy[NFTA_EXPR_MAX + 1] = {
		[NFTA_EXPR_NAME] = {.type = NLA_STRING},
		[NFTA_EXPR_DATA] = {.type = NLA_NESTED},
	};
	struct nlattr *tb[NFTA_EXPR_MAX + 1];

	if (nla_parse_nested(tb, NFTA_EXPR_MAX, item, policy) < 0 || !tb[NFTA_EXPR_NAME])
		return false;
	*ret = (struct nf_expression){.name = nla_get_string(tb[NFTA_EXPR_NAME]),
				      .data = tb[NFTA_EXPR_DATA]};
	return true;
}

/* The bytes of a nested NFTA_DATA_VALUE. */
static bool value_parse(struct nlattr *attr, const void **ret, size_t *ret_size)
{
	struct nlattr *tb[NFTA_DATA_MAX + 1];

	if (nla_parse_nested(tb, NFTA_DATA_MAX, attr, NULL) < 0 || !tb[NFTA_DATA_VALUE])
		return false;
	*ret = nla_data(tb[NFTA_DATA_VALUE]);
	*ret_size = (size_t)nla_len(tb[NFTA_DATA_VALUE]);
	return true;
}

static bool element_parse(struct nlattr *item, struct nf_element *ret)
{
	struct nlattr *tb[NFTA_SET_ELEM_MAX + 1];
	size_t end_size;

	*ret = (struct nf_element){0};
	if (nla_parse_nested(tb, NFTA_SET_ELEM_MAX, item, NULL) < 0 || !tb[NFTA_SET_ELEM_KEY])
		return false;
	if (!value_parse(tb[NFTA_SET_ELEM_KEY], &ret->key, &ret->key_size))
		return false;
	if (tb[NFTA_SET_ELEM_KEY_END] &&
	    (!value_parse(tb[NFTA_SET_ELEM_KEY_END], &ret->end, &end_size) ||
	     end_size != ret->key_size))
		return false;
	return !tb[NFTA_SET_ELEM_DATA] ||
	       value_parse(tb[NFTA_SET_ELEM_DATA], &ret->data, &ret->data_size);
}

bool nf_elements_parse(const struct nlmsghdr *h,
		       void (*on_element)(const struct nf_element *element, void *arg), void *arg)
{
	struct nlattr *tb[NFTA_SET_ELEM_LIST_MAX + 1], *item;
	int rest;

	if (!is_message(h, NFT_MSG_NEWSETELEM) || !attributes(h, tb, NFTA_SET_ELEM_LIST_MAX, NULL))
		return false;
	if (!tb[NFTA_SET_ELEM_LIST_ELEMENTS])
		return true;
	nla_for_each_nested(item, tb[NFTA_SET_ELEM_LIST_ELEMENTS], rest)
	{
		struct nf_element element;

		if (!element_parse(item, &element))
			return false;
		on_element(&element, arg);
	}
	return true;
}
