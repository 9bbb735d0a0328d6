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

/* Versions of what this file defines are told apart by the hash; this is for people. */
#define COMMENT_FORMAT "berth, definition %.16s"
#define COMMENT_SIZE   48

/* Priorities of the hooks, linux/netfilter_ipv4.h. */
enum { PRIORITY_RAW = -300, PRIORITY_DNAT = -100, PRIORITY_FILTER = 0, PRIORITY_SNAT = 100 };

/* IPv4 and IPv6 header; what TCP and UDP have in common; type and code of ICMP. */
enum { SOURCE_ADDRESS = 12, DESTINATION_ADDRESS = 16, SOURCE_ADDRESS6 = 8 };
enum { DESTINATION_ADDRESS6 = 24, DESTINATION_PORT = 2, TYPE_AND_CODE = 0 };
enum { TCP_FLAGS = 13, SYN = 2, RST = 4, ACK = 16, VXLAN_NUMBER = 8 + 4 /* behind UDP's header */ };
#define LOOPBACK_INDEX 1

static const struct nf_set quiet_sets[NET_FAMILIES] = {
	{"quiet", NF_TYPE_LINK_NAME, IFNAMSIZ, 0, 0, {0}},
	{"quiet6", NF_TYPE_LINK_NAME, IFNAMSIZ, 0, 0, {0}},
};

static const struct nf_chain chains[] = {
	{"raw", "filter", NF_INET_PRE_ROUTING, PRIORITY_RAW},
	{"prerouting", "nat", NF_INET_PRE_ROUTING, PRIORITY_DNAT},
	{"output", "nat", NF_INET_LOCAL_OUT, PRIORITY_DNAT},
	{"postrouting", "nat", NF_INET_POST_ROUTING, PRIORITY_SNAT},
	{"input", "filter", NF_INET_LOCAL_IN, PRIORITY_FILTER},
	{"forward", "filter", NF_INET_FORWARD, PRIORITY_FILTER},
	{"identify", NULL, 0, 0},
	{"egress", NULL, 0, 0},
	{"ingress", NULL, 0, 0},
	{"refuse_leaving", NULL, 0, 0},
	{"refuse_entering", NULL, 0, 0},
};

/* ---- rules ---- */

static void meta_is(struct nf_rule *r, uint32_t key, enum nft_cmp_ops op, uint32_t value)
{
	nf_meta(r, key, REG_A);
	nf_compare(r, op, REG_A, &value, sizeof(value));
}

static void is_family(struct nf_rule *r, bool v6)
{
	const uint8_t family = v6 ? NFPROTO_IPV6 : NFPROTO_IPV4;

	nf_meta(r, NFT_META_NFPROTO, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &family, sizeof(family));
}

static void load_address(struct nf_rule *r, bool v6, bool source, uint32_t reg)
{
	uint32_t offset = v6 ? (source ? SOURCE_ADDRESS6 : DESTINATION_ADDRESS6)
			     : (source ? SOURCE_ADDRESS : DESTINATION_ADDRESS);

	nf_payload(r, NFT_PAYLOAD_NETWORK_HEADER, offset, v6 ? 16 : 4, reg);
}

static void address_within(struct nf_rule *r, uint32_t offset, const struct block *block)
{
	const uint32_t bits = htonl(~0u << (32 - block->prefix)), base = htonl(block->base);

	is_family(r, false);
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
	nf_nat(r, false, NFT_NAT_SNAT, REG_A, 0);
}

static const struct block loopback = {.base = 0x7f000000, .prefix = 8};

static void not_ours(struct nf_rule *r, const struct firewall *f)
{
	meta_is(r, NFT_META_IIFGROUP, NFT_CMP_NEQ, f->name->group);
	nf_verdict(r, NF_ACCEPT);
}

/* The block of IPv6 that tasks in mode bridge have theirs of. */
static void within_block6(struct nf_rule *r, const struct firewall *f, bool source,
			  enum nft_cmp_ops op)
{
	const struct ip_prefix block = name_block6(f->name);

	is_family(r, true);
	nf_payload(r, NFT_PAYLOAD_NETWORK_HEADER, source ? SOURCE_ADDRESS6 : DESTINATION_ADDRESS6,
		   block.length / 8, REG_A);
	nf_compare(r, op, REG_A, block.address, block.length / 8);
}

/* IPv6 is for those who were given an address of it. */
static void stray_ipv6(struct nf_rule *r, const struct firewall *f)
{
	within_block6(r, f, true, NFT_CMP_NEQ);
	load_address(r, true, true, REG_A);
	nf_not_in_set(r, "secured6", REG_A);
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

/* ---- other hosts ---- */

static const char *const routed_sets[] = {"routed", "routed6"};
static const char *const peer_sets[] = {"peers", "peers6"};
static const char *const elsewhere_sets[] = {"elsewhere", "elsewhere6"};

/* What has our number and comes from nobody we know. */
static void strange_vxlan(struct nf_rule *r, const struct firewall *f, bool v6)
{
	const uint16_t port = htons(f->peers ? f->peers->vxlan_port : 0);
	const uint32_t id = htonl(f->peers ? f->peers->vxlan_id << 8 : 0);
	const uint8_t udp = IPPROTO_UDP;

	is_family(r, v6);
	nf_meta(r, NFT_META_L4PROTO, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &udp, sizeof(udp));
	nf_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT, sizeof(port), REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &port, sizeof(port));
	nf_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, VXLAN_NUMBER, 3, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &id, 3);
	load_address(r, v6, true, REG_A);
	nf_not_in_set(r, peer_sets[v6], REG_A);
	nf_verdict(r, NF_DROP);
}

/* Whoever says he is a task comes from where tasks' addresses are. */
static void strange_source(struct nf_rule *r, const struct firewall *f, bool v6)
{
	const uint32_t none = 0;

	meta_is(r, NFT_META_IIFGROUP, NFT_CMP_NEQ, f->name->group);
	meta_is(r, NFT_META_IIF, NFT_CMP_NEQ, LOOPBACK_INDEX);
	is_family(r, v6);
	nf_meta(r, NFT_META_NFPROTO, REG_A);
	load_address(r, v6, true, REG_B);
	nf_in_set(r, routed_sets[v6], REG_A);
	nf_fib(r, NFT_FIB_RESULT_OIF, NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT,
	       REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &none, sizeof(none));
	nf_verdict(r, NF_DROP);
}

/* Connections that go over a tunnel have segments that fit. */
static void clamp(struct nf_rule *r, const struct firewall *f, enum net_transport transport)
{
	const uint8_t tcp = IPPROTO_TCP, flags = SYN | RST, syn = SYN;
	char name[IFNAMSIZ] = {0};

	tunnel_name(f->name, transport, name);
	nf_meta(r, NFT_META_OIFNAME, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, name, sizeof(name));
	nf_meta(r, NFT_META_L4PROTO, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &tcp, sizeof(tcp));
	nf_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS, sizeof(flags), REG_A);
	nf_mask(r, REG_A, &flags, sizeof(flags));
	nf_compare(r, NFT_CMP_EQ, REG_A, &syn, sizeof(syn));
	nf_clamp_segments(r, REG_A);
}

static void clamp_vxlan(struct nf_rule *r, const struct firewall *f)
{
	clamp(r, f, NET_VXLAN);
}

static void clamp_wireguard(struct nf_rule *r, const struct firewall *f)
{
	clamp(r, f, NET_WIREGUARD);
}

/* ---- host ports ---- */

/* Answers to ::1 find no way back, for the kernel takes such only from lo: it is refused at once. */
static void host_port(struct nf_rule *r, const struct firewall *f, bool v6)
{
	static const uint8_t loopback6[16] = {[15] = 1};
	const uint32_t local = RTN_LOCAL;

	(void)f;
	is_family(r, v6);
	if (v6) {
		load_address(r, true, false, REG_A);
		nf_compare(r, NFT_CMP_NEQ, REG_A, loopback6, sizeof(loopback6));
	}
	nf_fib(r, NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &local, sizeof(local));
	nf_meta(r, NFT_META_L4PROTO, REG_A);
	nf_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT, sizeof(uint16_t), REG_B);
	nf_in_map(r, v6 ? "ports6" : "ports", REG_A, REG_A);
	nf_nat(r, v6, NFT_NAT_DNAT, REG_A, v6 ? REG_E : REG_B);
}

/* From elsewhere or from here to a task's public address. */
static void to_public(struct nf_rule *r, const struct firewall *f)
{
	(void)f;
	is_family(r, false);
	load_address(r, false, false, REG_A);
	nf_in_map(r, "public_in", REG_A, REG_A);
	nf_nat(r, false, NFT_NAT_DNAT, REG_A, 0);
}

/* In IPv6 we have no gateway of our own: an address of the host does as well. */
static void hairpin(struct nf_rule *r, const struct firewall *f, bool v6)
{
	is_family(r, v6);
	load_address(r, v6, true, REG_A);
	load_address(r, v6, false, v6 ? REG_E : REG_B);
	nf_in_set(r, v6 ? "hairpin6" : "hairpin", REG_A);
	if (v6)
		nf_masquerade(r);
	else
		from_gateway(r, f);
}

static void from_loopback(struct nf_rule *r, const struct firewall *f)
{
	address_within(r, SOURCE_ADDRESS, &loopback);
	meta_is(r, NFT_META_OIFGROUP, NFT_CMP_EQ, f->name->group);
	from_gateway(r, f);
}

static void to_world(struct nf_rule *r, const struct firewall *f, bool v6)
{
	if (v6)
		within_block6(r, f, true, NFT_CMP_EQ);
	else
		address_within(r, SOURCE_ADDRESS, &f->block);
	meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	nf_masquerade(r);
}

/* Our links are never in the set: their packets are spared the lookups. */
static void between_quiet(struct nf_rule *r, const struct firewall *f, bool v6)
{
	meta_is(r, NFT_META_IIFGROUP, NFT_CMP_NEQ, f->name->group);
	meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	is_family(r, v6);
	nf_meta(r, NFT_META_IIFNAME, REG_A);
	nf_in_set(r, quiet_sets[v6].name, REG_A);
	nf_meta(r, NFT_META_OIFNAME, REG_A);
	nf_in_set(r, quiet_sets[v6].name, REG_A);
	nf_verdict(r, NF_DROP);
}

static void to_elsewhere(struct nf_rule *r, const struct firewall *f)
{
	meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	nf_verdict(r, NF_ACCEPT);
}

static void between_others(struct nf_rule *r, const struct firewall *f)
{
	meta_is(r, NFT_META_IIFGROUP, NFT_CMP_NEQ, f->name->group);
	to_elsewhere(r, f);
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

/* ---- tasks in security groups ---- */

static const char *const secured_sets[] = {"secured", "secured6"};
static const char *const identity_maps[] = {"identities", "identities6"};

static void is_secured(struct nf_rule *r, bool v6, bool source)
{
	is_family(r, v6);
	load_address(r, v6, source, REG_A);
	nf_in_set(r, secured_sets[v6], REG_A);
}

static void leave_secured(struct nf_rule *r, const struct firewall *f, bool v6)
{
	meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
	is_secured(r, v6, true);
	nf_go(r, NFT_JUMP, "egress");
}

static void enter_secured(struct nf_rule *r, const struct firewall *f, bool v6)
{
	meta_is(r, NFT_META_OIFGROUP, NFT_CMP_EQ, f->name->group);
	is_secured(r, v6, false);
	nf_go(r, NFT_GOTO, "ingress");
}

/* The host's own services are not theirs. */
static void secured_to_host(struct nf_rule *r, const struct firewall *f, bool v6)
{
	meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
	is_secured(r, v6, true);
	nf_go(r, NFT_GOTO, "refuse_leaving");
}

static void to_trunk(struct nf_rule *r, const struct firewall *f)
{
	(void)f;
	is_family(r, false);
	load_address(r, false, true, REG_A);
	nf_in_set(r, "trunked", REG_A);
	nf_verdict(r, NF_ACCEPT);
}

/* What is not routed as it is goes out under the host's address. */
static void secured_to_world(struct nf_rule *r, const struct firewall *f, bool v6)
{
	meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	is_secured(r, v6, true);
	nf_meta(r, NFT_META_NFPROTO, REG_A);
	load_address(r, v6, false, REG_B);
	nf_not_in_set(r, routed_sets[v6], REG_A);
	nf_masquerade(r);
}

static void by_public(struct nf_rule *r, const struct firewall *f)
{
	meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	is_family(r, false);
	nf_meta(r, NFT_META_NFPROTO, REG_A);
	load_address(r, false, false, REG_B);
	nf_not_in_set(r, routed_sets[0], REG_A);
	load_address(r, false, true, REG_A);
	nf_in_map(r, "public_out", REG_A, REG_A);
	nf_nat(r, false, NFT_NAT_SNAT, REG_A, 0);
}

static void is_icmp(struct nf_rule *r, bool v6, bool icmp)
{
	const uint8_t protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;

	nf_meta(r, NFT_META_L4PROTO, REG_A);
	nf_compare(r, icmp ? NFT_CMP_EQ : NFT_CMP_NEQ, REG_A, &protocol, sizeof(protocol));
}

/*
 * The identities of source and destination, 0 for strangers: in the marks of
 * the packet and of its connection, because nft(8) can not list a rule that
 * looks up what it has just looked up.  The packet's is cleared behind it.
 */
static void forget_identities(struct nf_rule *r, const struct firewall *f)
{
	const uint32_t none = 0;

	(void)f;
	nf_value(r, REG_A, &none, sizeof(none));
	nf_meta_set(r, NFT_META_MARK, REG_A);
	nf_ct_set(r, NFT_CT_MARK, REG_A);
}

static void identify_source(struct nf_rule *r, const struct firewall *f, bool v6)
{
	(void)f;
	is_family(r, v6);
	load_address(r, v6, true, REG_A);
	nf_in_map(r, identity_maps[v6], REG_A, REG_A);
	nf_meta_set(r, NFT_META_MARK, REG_A);
}

static void identify_destination(struct nf_rule *r, const struct firewall *f, bool v6)
{
	(void)f;
	is_family(r, v6);
	load_address(r, v6, false, REG_A);
	nf_in_map(r, identity_maps[v6], REG_A, REG_A);
	nf_ct_set(r, NFT_CT_MARK, REG_A);
}

static void load_identity(struct nf_rule *r, bool source, uint32_t reg)
{
	if (source)
		nf_meta(r, NFT_META_MARK, reg);
	else
		nf_ct(r, NFT_CT_MARK, reg);
}

static void load_port(struct nf_rule *r, bool icmp, uint32_t protocol_reg, uint32_t port_reg)
{
	nf_meta(r, NFT_META_L4PROTO, protocol_reg);
	nf_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, icmp ? TYPE_AND_CODE : DESTINATION_PORT,
		   sizeof(uint16_t), port_reg);
}

static void allow(struct nf_rule *r, bool egress)
{
	const uint32_t none = 0;

	nf_value(r, REG_A, &none, sizeof(none));
	nf_meta_set(r, NFT_META_MARK, REG_A);
	nf_verdict(r, egress ? NFT_RETURN : NF_ACCEPT);
}

/*
 * Two VPCs do not reach each other, whatever their prefixes allow, but by a public
 * address, which is led to its task.  Rules that name groups are of one VPC anyway.
 */
static void other_vpc(struct nf_rule *r, bool v6, const char *const sets[NET_FAMILIES])
{
	static const char *const within[] = {"within", "within6"};
	const uint32_t led = IPS_DST_NAT, none = 0;

	is_family(r, v6);
	nf_meta(r, NFT_META_NFPROTO, REG_A);
	load_address(r, v6, false, REG_B);
	nf_in_set(r, sets[v6], REG_A);
	load_address(r, v6, true, REG_A);
	load_address(r, v6, false, v6 ? REG_E : REG_B);
	nf_not_in_set(r, within[v6], REG_A);
	nf_ct(r, NFT_CT_STATUS, REG_A);
	nf_mask(r, REG_A, &led, sizeof(led));
	nf_compare(r, NFT_CMP_EQ, REG_A, &none, sizeof(none));
	nf_go(r, NFT_GOTO, "refuse_leaving");
}

/* In egress the task is the source, and the other one the destination. */
static void by_group(struct nf_rule *r, bool egress, bool v6, bool icmp)
{
	is_family(r, v6);
	is_icmp(r, v6, icmp);
	load_identity(r, egress, REG_A);
	load_identity(r, !egress, REG_B);
	load_port(r, icmp, REG_C, REG_D);
	nf_in_set(r, egress ? "egress_groups" : "ingress_groups", REG_A);
	allow(r, egress);
}

static void by_range(struct nf_rule *r, bool egress, bool v6, bool icmp)
{
	static const char *const sets[2][2] = {{"ingress_ranges", "ingress_ranges6"},
					       {"egress_ranges", "egress_ranges6"}};

	is_family(r, v6);
	is_icmp(r, v6, icmp);
	load_identity(r, egress, REG_A);
	load_port(r, icmp, REG_B, REG_C);
	load_address(r, v6, !egress, REG_D);
	nf_in_set(r, sets[egress][v6], REG_A);
	allow(r, egress);
}

static const struct {
	const char *chain, *comment;
	void (*build)(struct nf_rule *r, const struct firewall *f);
	void (*build_family)(struct nf_rule *r, const struct firewall *f, bool v6);
} rules[] = {
	{"raw", "from no peer", NULL, strange_vxlan},
	{"raw", "a task's address, from elsewhere", NULL, strange_source},
	{"raw", "not from a task", not_ours, NULL},
	{"raw", "no IPv6 address that it was given", stray_ipv6, NULL},
	{"raw", "the host's loopback is not theirs", to_loopback, NULL},
	{"raw", "not the task's own address", wrong_source, NULL},
	{"prerouting", "public addresses", to_public, NULL},
	{"prerouting", "host ports", NULL, host_port},
	{"output", "public addresses", to_public, NULL},
	{"output", "host ports", NULL, host_port},
	{"postrouting", "a task to itself by a host port", NULL, hairpin},
	{"postrouting", "the host's loopback to a task", from_loopback, NULL},
	{"postrouting", "tasks on a trunk are known there", to_trunk, NULL},
	{"postrouting", "tasks to the world", NULL, to_world},
	{"postrouting", "tasks with public addresses to the world", by_public, NULL},
	{"postrouting", "tasks in groups to the world", NULL, secured_to_world},
	{"input", "answers", answer, NULL},
	{"input", "tasks in groups to the host", NULL, secured_to_host},
	{"forward", "the host was no router before us", NULL, between_quiet},
	{"forward", "neither from a task nor to one", between_others, NULL},
	{"forward", "what fits a VXLAN", clamp_vxlan, NULL},
	{"forward", "what fits WireGuard", clamp_wireguard, NULL},
	{"forward", "answers", answer, NULL},
	{"forward", "from a task in groups", NULL, leave_secured},
	{"forward", "not to a task", to_elsewhere, NULL},
	{"forward", "to a task in groups", NULL, enter_secured},
	{"forward", "between tasks", between_tasks, NULL},
	{"forward", "host ports", by_host_port, NULL},
	{"forward", "nothing else to tasks", all_else, NULL},
	{"identify", "strangers, so far", forget_identities, NULL},
	{"identify", "source", NULL, identify_source},
	{"identify", "destination", NULL, identify_destination},
};

#define FAMILY_RULES  13                                /* of the table, with one for each family */
#define POLICY_RULES  (2 * (2 + 2 * 2 * 2 + 1) + 2 * 2) /* of define_policy() */
#define REFUSAL_RULES (2 * 3)                           /* of define_refusal() */
#define RULE_COUNT    (ARRAY_COUNT(rules) + FAMILY_RULES + POLICY_RULES + REFUSAL_RULES)

static void define_rules(const struct firewall *f, struct batch *b)
{
	for (size_t i = 0; i < ARRAY_COUNT(rules); i++) {
		for (int v6 = 0; v6 < (rules[i].build_family ? 2 : 1); v6++) {
			struct nf_rule r;

			nf_rule_begin(&r, b, f->name->table, rules[i].chain, rules[i].comment);
			if (rules[i].build_family)
				rules[i].build_family(&r, f, v6);
			else
				rules[i].build(&r, f);
			nf_rule_end(&r);
		}
	}
}

/*
 * A connection of TCP that is new and does not begin with a SYN is one that was
 * forgotten; it must not begin again from the side that the rules would let.
 */
static void midway(struct nf_rule *r, const char *refusal)
{
	const uint8_t tcp = IPPROTO_TCP, flags = SYN | ACK | RST, syn = SYN;

	nf_meta(r, NFT_META_L4PROTO, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &tcp, sizeof(tcp));
	nf_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS, sizeof(flags), REG_A);
	nf_mask(r, REG_A, &flags, sizeof(flags));
	nf_compare(r, NFT_CMP_NEQ, REG_A, &syn, sizeof(syn));
	nf_go(r, NFT_GOTO, refusal);
}

static void define_borders(const struct firewall *f, const char *chain, struct batch *b)
{
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		struct nf_rule r;

		nf_rule_begin(&r, b, f->name->table, chain, "to another VPC");
		other_vpc(&r, v6, routed_sets);
		nf_rule_end(&r);
		nf_rule_begin(&r, b, f->name->table, chain, "to another VPC on another host");
		other_vpc(&r, v6, elsewhere_sets);
		nf_rule_end(&r);
	}
}

/* Each chain: what groups allow, then what prefixes allow; the rest is dropped. */
static void define_policy(const struct firewall *f, bool egress_chain, struct batch *b)
{
	const char *chain = egress_chain ? "egress" : "ingress",
		   *refusal = egress_chain ? "refuse_leaving" : "refuse_entering";
	struct nf_rule r;

	nf_rule_begin(&r, b, f->name->table, chain, "not the beginning of a connection");
	midway(&r, refusal);
	nf_rule_end(&r);
	nf_rule_begin(&r, b, f->name->table, chain, "who they are");
	nf_go(&r, NFT_JUMP, "identify");
	nf_rule_end(&r);
	for (int i = 0; i < 8; i++) {
		bool ranges = i & 4, v6 = i & 2, icmp = i & 1;

		if (i == 4 && egress_chain)
			define_borders(f, chain, b);
		nf_rule_begin(&r, b, f->name->table, chain,
			      ranges ? "allowed to a prefix" : "allowed to a group");
		(ranges ? by_range : by_group)(&r, egress_chain, v6, icmp);
		nf_rule_end(&r);
	}
	nf_rule_begin(&r, b, f->name->table, chain, "allowed by no group of the task");
	nf_go(&r, NFT_GOTO, refusal);
	nf_rule_end(&r);
}

/* Dropped, and told to flow logs: up to a limit, then that there were more. */
static void define_refusal(const struct firewall *f, const char *chain, enum flow_refusal refusal,
			   struct batch *b)
{
	const char told[] = {(char)refusal, '\0'}, untold[] = {FLOW_REFUSED_UNTOLD, '\0'};
	struct nf_rule r;

	nf_rule_begin(&r, b, f->name->table, chain, "for flow logs");
	nf_limit(&r, FLOW_REFUSALS_PER_S);
	nf_log(&r, flow_group(f->name), told, FLOW_PACKET_BYTES);
	nf_verdict(&r, NF_DROP);
	nf_rule_end(&r);
	nf_rule_begin(&r, b, f->name->table, chain, "more than flow logs are told");
	nf_limit(&r, 1);
	nf_log(&r, flow_group(f->name), untold, FLOW_PACKET_BYTES);
	nf_rule_end(&r);
	nf_rule_begin(&r, b, f->name->table, chain, "refused");
	nf_verdict(&r, NF_DROP);
	nf_rule_end(&r);
}

void firewall_define(const struct firewall *f, const char *comment, struct batch *b)
{
	const char *table = f->name->table;

	nf_table_add(b, table, comment);
	for (uint32_t i = 0; i < ELEMENT_SETS; i++)
		nf_set_add(b, table, &elements_sets[i], i + 1);
	for (uint32_t v6 = 0; v6 < NET_FAMILIES; v6++)
		nf_set_add(b, table, &quiet_sets[v6], ELEMENT_SETS + 1 + v6);
	for (size_t i = 0; i < ARRAY_COUNT(chains); i++)
		nf_chain_add(b, table, &chains[i], NULL);
	define_rules(f, b);
	define_policy(f, true, b);
	define_policy(f, false, b);
	define_refusal(f, "refuse_leaving", FLOW_REFUSED_LEAVING, b);
	define_refusal(f, "refuse_entering", FLOW_REFUSED_ENTERING, b);
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
	*ret = look.rule_count == RULE_COUNT;
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

	definition_comment(f, comment);
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
		add_quiet(f, &b, &quiet_sets[v6], &host->forwarding[v6]);
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
