/* net/nf.h - nf_tables objects as netlink requests
 * SPDX-License-Identifier: Apache-2.0
 *
 * The kernel knows no rules as text.  A rule is a list of small instructions
 * on registers; one that does not hold ends the rule:
 *
 *   nf_rule_begin(&r, b, "berth", "forward", "from task to task");
 *   nf_meta(&r, NFT_META_IIFGROUP, REG_A);
 *   nf_compare(&r, NFT_CMP_EQ, REG_A, &group, sizeof(group));
 *   nf_verdict(&r, NF_ACCEPT);
 *   nf_rule_end(&r);
 *
 * nft(8) lists what these make as `iifgroup 7 accept comment "from task to task"`.
 */
#pragma once

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdint.h>

#include "net/netlink.h"

/* Registers of four bytes; a longer value is in those that follow, too. */
enum {
	REG_A = NFT_REG32_00,
	REG_B = NFT_REG32_01,
	REG_C = NFT_REG32_02,
	REG_D = NFT_REG32_03,
	REG_E = NFT_REG32_04, /* behind an IPv6 address in REG_A */
};

/* Types of keys and data, by which nft(8) prints elements. */
enum nf_type {
	NF_TYPE_ADDRESS = 7,
	NF_TYPE_ADDRESS6 = 8,
	NF_TYPE_PROTOCOL = 12,
	NF_TYPE_PORT = 13,
	NF_TYPE_MARK = 19,
	NF_TYPE_LINK_INDEX = 20,
	NF_TYPE_LINK_NAME = 41,
};
#define NF_TYPE_PAIR(first, second) (((first) << 6) | (second))
#define NF_FIELDS_MAX               4

struct nf_rule {
	struct batch *batch;
	struct nlattr *expressions;
};

/* Objects are of family inet, or of the batch's own.  'comment' is shown by nft(8); NULL: none. */
void nf_table_add(struct batch *b, const char *table, const char *comment);
void nf_table_delete(struct batch *b, const char *table);

struct nf_set {
	const char *name;
	uint32_t key_type, key_size;
	uint32_t data_type, data_size; /* data_size 0: a set, not a map */
	/*
	 * Bytes of each field of the key where elements are ranges in every field;
	 * in the key each is padded to four.  None: elements are single keys.
	 * Two elements must not overlap: the kernel sees only some of it.
	 */
	uint8_t fields[NF_FIELDS_MAX];
};
/* 'id' is any number that no other set of the batch has. */
void nf_set_add(struct batch *b, const char *table, const struct nf_set *set, uint32_t id);
/*
 * A set whose elements, numbers of the host's, a rule makes (nf_too_often), 'size_max' at most; they go when they were not
 * looked for in 'rest_ms'.
 */
void nf_rates_add(struct batch *b, const char *table, const struct nf_set *set, uint32_t rest_ms,
		  uint32_t size_max, uint32_t id);

struct nf_chain {
	const char *name;
	const char *type; /* "filter", "nat"; NULL: it is only jumped to */
	uint32_t hook;
	int32_t priority;
};
/* 'device': of family netdev; else NULL. */
void nf_chain_add(struct batch *b, const char *table, const struct nf_chain *chain,
		  const char *device);

void nf_rule_begin(struct nf_rule *r, struct batch *b, const char *table, const char *chain,
		   const char *comment);
void nf_rule_end(struct nf_rule *r);

/* In a table of somebody else: a rule before all others of its chain; and one that goes. */
struct nf_rule_place {
	int family; /* NFPROTO_IPV4... */
	const char *table, *chain;
	uint64_t handle; /* of a rule that is there */
};
void nf_rule_insert(struct nf_rule *r, struct batch *b, const struct nf_rule_place *at);
void nf_rule_delete(struct batch *b, const struct nf_rule_place *at);
/* To be dumped: the rules of a chain. */
void nf_rules_ask(struct batch *b, const struct nf_rule_place *at);

void nf_meta(struct nf_rule *r, uint32_t key, uint32_t reg);
void nf_ct(struct nf_rule *r, uint32_t key, uint32_t reg);
void nf_meta_set(struct nf_rule *r, uint32_t key, uint32_t reg);
void nf_ct_set(struct nf_rule *r, uint32_t key, uint32_t reg);
void nf_fib(struct nf_rule *r, uint32_t result, uint32_t flags, uint32_t reg);
void nf_payload(struct nf_rule *r, uint32_t base, uint32_t offset, uint32_t size, uint32_t reg);
void nf_payload_set(struct nf_rule *r, uint32_t base, uint32_t offset, uint32_t size, uint32_t reg);
/* Of ICMPv6: its checksum is that of what is written; of the header before it, or of its own. */
void nf_payload_set_icmp6(struct nf_rule *r, uint32_t base, uint32_t offset, uint32_t size,
			  uint32_t reg);
void nf_value(struct nf_rule *r, uint32_t reg, const void *value, size_t size);
void nf_mask(struct nf_rule *r, uint32_t reg, const void *bits, size_t size);
void nf_compare(struct nf_rule *r, enum nft_cmp_ops op, uint32_t reg, const void *value,
		size_t size);
/* Is the key in the set? */
void nf_in_set(struct nf_rule *r, const char *set, uint32_t reg);
void nf_not_in_set(struct nf_rule *r, const char *set, uint32_t reg);
/* Is the key in the map?  Its data go to 'data_reg'. */
void nf_in_map(struct nf_rule *r, const char *map, uint32_t reg, uint32_t data_reg);
void nf_verdict(struct nf_rule *r, uint32_t verdict);
/* Segments of TCP fit the route that the packet takes; for a first one, in chain forward. */
void nf_clamp_segments(struct nf_rule *r, uint32_t reg);
/* At most so many packets a second. */
void nf_limit(struct nf_rule *r, uint64_t per_s);
/* More than so many a second of the value in 'reg': each has a limit of its own in such a set. */
void nf_too_often(struct nf_rule *r, const char *set, uint32_t reg, uint64_t per_s);
/* Hand the packet's first bytes to a group of NFLOG, if somebody listens there. */
void nf_log(struct nf_rule *r, uint16_t group, const char *prefix, uint32_t bytes);
/* Go on in another chain and come back (NFT_JUMP), or not (NFT_GOTO). */
void nf_go(struct nf_rule *r, uint32_t how, const char *chain);
/* Rewrite the source, or the destination and its port (port_reg 0: not). */
void nf_nat(struct nf_rule *r, bool v6, enum nft_nat_types type, uint32_t address_reg,
	    uint32_t port_reg);
void nf_masquerade(struct nf_rule *r);

/* One element of a set or a map; 'data' NULL for sets, 'end' where elements are no ranges. */
struct nf_element {
	const void *key, *end, *data;
	size_t key_size, data_size;
};

/* Add or delete elements, as many requests as it takes: msg is NFT_MSG_NEWSETELEM or DELSETELEM. */
void nf_elements_change(struct batch *b, unsigned msg, const char *table, const char *set,
			const struct nf_element *elements, size_t count);

/*
 * Taking answers apart.  Each returns false when the message is of another
 * kind or not whole.
 */
struct nf_table_info {
	int family;
	const char *name; /* in the message */
	const void *userdata;
	size_t userdata_size;
};
bool nf_table_parse(const struct nlmsghdr *h, struct nf_table_info *ret);

struct nf_chain_info {
	int family;
	const char *table, *name; /* in the message */
	uint32_t hook;            /* UINT32_MAX: not a base chain */
	uint32_t policy;
};
bool nf_chain_parse(const struct nlmsghdr *h, struct nf_chain_info *ret);

struct nf_rule_info {
	uint64_t handle;
	struct nlattr *expressions; /* in the message; NULL: none */
};
bool nf_rule_parse(const struct nlmsghdr *h, struct nf_rule_info *ret);

/* An instruction of a rule: its name, and its numbers in the attributes of its kind. */
struct nf_expression {
	const char *name;
	struct nlattr *data;
};
bool nf_expression_parse(struct nlattr *item, struct nf_expression *ret);

/* Each element of a message; false when the message is broken. */
bool nf_elements_parse(const struct nlmsghdr *h,
		       void (*on_element)(const struct nf_element *element, void *arg), void *arg);
