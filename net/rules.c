/* net/rules.c - the rules of our table, each said by a function
 * SPDX-License-Identifier: Apache-2.0
 *
 * Which chain has which of them in which order is the table at the end; those
 * of security groups, which are the same for every task, are in rules_groups.c.
 */
#include "net/rules.h"

#include <assert.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/rtnetlink.h>

#include "base/auto.h"
#include "net/elements.h"
#include "net/flow.h"
#include "net/nf.h"
#include "net/shortcut.h"

#define LOOPBACK_INDEX 1

/* Packets that a task may send to services of this host, as on AWS from an interface to all of them. */
#define ASKER_PER_S 1024

const struct nf_set rules_quiet_sets[NET_FAMILIES] = {
	{"quiet", NF_TYPE_LINK_NAME, IFNAMSIZ, 0, 0, {0}},
	{"quiet6", NF_TYPE_LINK_NAME, IFNAMSIZ, 0, 0, {0}},
};

const struct nf_set rules_askers = {"askers", NF_TYPE_LINK_INDEX, 4, 0, 0, {0}};

void rule_meta_is(struct nf_rule *r, uint32_t key, enum nft_cmp_ops op, uint32_t value)
{
	nf_meta(r, key, REG_A);
	nf_compare(r, op, REG_A, &value, sizeof(value));
}

void rule_is_family(struct nf_rule *r, bool v6)
{
	const uint8_t family = v6 ? NFPROTO_IPV6 : NFPROTO_IPV4;

	nf_meta(r, NFT_META_NFPROTO, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &family, sizeof(family));
}

void rule_load_address(struct nf_rule *r, bool v6, bool source, uint32_t reg)
{
	uint32_t offset = v6 ? (source ? SOURCE_ADDRESS6 : DESTINATION_ADDRESS6)
			     : (source ? SOURCE_ADDRESS : DESTINATION_ADDRESS);

	nf_payload(r, NFT_PAYLOAD_NETWORK_HEADER, offset, v6 ? 16 : 4, reg);
}

/* Of IPv6; a length of whole bytes. */
static void within6(struct nf_rule *r, const struct ip_prefix *prefix, bool source,
		    enum nft_cmp_ops op)
{
	rule_is_family(r, true);
	nf_payload(r, NFT_PAYLOAD_NETWORK_HEADER, source ? SOURCE_ADDRESS6 : DESTINATION_ADDRESS6,
		   prefix->length / 8, REG_A);
	nf_compare(r, op, REG_A, prefix->address, prefix->length / 8);
}

static void address_within(struct nf_rule *r, uint32_t offset, const struct block *block)
{
	const uint32_t bits = htonl(~0u << (32 - block->prefix)), base = htonl(block->base);

	rule_is_family(r, false);
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

/* Services of this host are there, and perhaps somebody else's. */
static void to_local(struct nf_rule *r, bool v6)
{
	const struct block block = {ip_v4(&net_local[0]), net_local[0].length};

	if (v6)
		within6(r, &net_local[1], false, NFT_CMP_EQ);
	else
		address_within(r, DESTINATION_ADDRESS, &block);
}

static void not_ours(struct nf_rule *r, const struct firewall *f)
{
	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_NEQ, f->name->group);
	nf_go(r, NFT_GOTO, "raw_others");
}

/* The block of IPv6 that tasks in mode bridge have theirs of. */
static void within_block6(struct nf_rule *r, const struct firewall *f, bool source,
			  enum nft_cmp_ops op)
{
	const struct ip_prefix block = name_block6(f->name);

	within6(r, &block, source, op);
}

/* IPv6 is for those who were given an address of it. */
static void stray_ipv6(struct nf_rule *r, const struct firewall *f)
{
	within_block6(r, f, true, NFT_CMP_NEQ);
	rule_load_address(r, true, true, REG_A);
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

/* Nobody keeps others from asking: each has a link, and both families by it. */
static void asks_too_often(struct nf_rule *r, const struct firewall *f, bool v6)
{
	(void)f;
	to_local(r, v6);
	nf_meta(r, NFT_META_IIF, REG_A);
	nf_too_often(r, rules_askers.name, REG_A, ASKER_PER_S);
	nf_verdict(r, NF_DROP);
}

/* ---- other hosts ---- */

const char *const rules_routed_sets[NET_FAMILIES] = {"routed", "routed6"};
static const char *const peer_sets[] = {"peers", "peers6"};
const char *const rules_elsewhere_sets[NET_FAMILIES] = {"elsewhere", "elsewhere6"};

/* What has our number and comes from nobody we know. */
static void strange_vxlan(struct nf_rule *r, const struct firewall *f, bool v6)
{
	const uint16_t port = htons(f->peers ? f->peers->vxlan_port : 0);
	const uint32_t id = htonl(f->peers ? f->peers->vxlan_id << 8 : 0);
	const uint8_t udp = IPPROTO_UDP;

	rule_is_family(r, v6);
	nf_meta(r, NFT_META_L4PROTO, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &udp, sizeof(udp));
	nf_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT, sizeof(port), REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &port, sizeof(port));
	nf_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, VXLAN_NUMBER, 3, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &id, 3);
	rule_load_address(r, v6, true, REG_A);
	nf_not_in_set(r, peer_sets[v6], REG_A);
	nf_verdict(r, NF_DROP);
}

/* Neither to ff00::/8 nor to fe80::/10: neighbours on a trunk find the host so, and nothing is forwarded. */
static void beyond_link(struct nf_rule *r)
{
	static const uint8_t group = 0xff, bits[] = {0xff, 0xc0}, local[] = {0xfe, 0x80};

	nf_payload(r, NFT_PAYLOAD_NETWORK_HEADER, DESTINATION_ADDRESS6, sizeof(group), REG_A);
	nf_compare(r, NFT_CMP_NEQ, REG_A, &group, sizeof(group));
	nf_payload(r, NFT_PAYLOAD_NETWORK_HEADER, DESTINATION_ADDRESS6, sizeof(local), REG_A);
	nf_mask(r, REG_A, bits, sizeof(bits));
	nf_compare(r, NFT_CMP_NEQ, REG_A, local, sizeof(local));
}

/* Whoever says he is a task comes from where tasks' addresses are. */
static void strange_source(struct nf_rule *r, const struct firewall *f, bool v6)
{
	const uint32_t none = 0;

	(void)f;
	rule_meta_is(r, NFT_META_IIF, NFT_CMP_NEQ, LOOPBACK_INDEX);
	rule_is_family(r, v6);
	if (v6)
		beyond_link(r);
	nf_meta(r, NFT_META_NFPROTO, REG_A);
	rule_load_address(r, v6, true, REG_B);
	nf_in_set(r, rules_routed_sets[v6], REG_A);
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

	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group); /* names cost more */
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

/* Tasks of other hosts, and these: what the host itself asked for is answered, and no more. */
static void tunnel_to_host(struct nf_rule *r, const struct firewall *f,
			   enum net_transport transport)
{
	char name[IFNAMSIZ] = {0};

	tunnel_name(f->name, transport, name);
	nf_meta(r, NFT_META_IIFNAME, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, name, sizeof(name));
	nf_verdict(r, NF_DROP);
}

static void vxlan_to_host(struct nf_rule *r, const struct firewall *f)
{
	tunnel_to_host(r, f, NET_VXLAN);
}

static void wireguard_to_host(struct nf_rule *r, const struct firewall *f)
{
	tunnel_to_host(r, f, NET_WIREGUARD);
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
	rule_is_family(r, v6);
	if (v6) {
		rule_load_address(r, true, false, REG_A);
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
	rule_is_family(r, false);
	rule_load_address(r, false, false, REG_A);
	nf_in_map(r, "public_in", REG_A, REG_A);
	nf_nat(r, false, NFT_NAT_DNAT, REG_A, 0);
}

/* It is nobody else's: neither of a service nor of this host. */
static void to_task(struct nf_rule *r, const struct firewall *f, bool v6)
{
	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
	rule_is_secured(r, v6, false);
	nf_verdict(r, NF_ACCEPT);
}

static const char *const service_maps[] = {"services", "services6"};
static const char *const serving_sets[] = {"serving", "serving6"};

/* What this host has for its tasks at a local address. */
static void to_service(struct nf_rule *r, const struct firewall *f, bool v6)
{
	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
	rule_is_family(r, v6);
	rule_load_address(r, v6, false, REG_A);
	nf_in_map(r, service_maps[v6], REG_A, REG_A);
	nf_nat(r, v6, NFT_NAT_DNAT, REG_A, 0);
}

/* No group has to allow it. */
static void at_service(struct nf_rule *r, const struct firewall *f, bool v6)
{
	(void)f;
	rule_is_family(r, v6);
	rule_load_address(r, v6, false, REG_A);
	nf_in_set(r, serving_sets[v6], REG_A);
	nf_verdict(r, NF_ACCEPT);
}

/* Who asks at its own address would be held back by nobody: the limit counts what goes to local ones. */
static void past_local(struct nf_rule *r, const struct firewall *f, bool v6)
{
	const uint32_t led = IPS_DST_NAT, none = 0;

	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
	nf_ct(r, NFT_CT_STATUS, REG_A);
	nf_mask(r, REG_A, &led, sizeof(led));
	nf_compare(r, NFT_CMP_EQ, REG_A, &none, sizeof(none));
	rule_is_family(r, v6);
	rule_load_address(r, v6, false, REG_A);
	nf_in_set(r, serving_sets[v6], REG_A);
	nf_verdict(r, NF_DROP);
}

/*
 * They are a link's own (RFC 3927, 7), or a cloud's: nothing of the host's links, or of what the
 * host is in, is theirs.  The kernel forwards nothing to fe80::/10 itself.
 */
static void to_others_local(struct nf_rule *r, const struct firewall *f, bool v6)
{
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	to_local(r, v6);
	nf_verdict(r, NF_DROP);
}

/* What the host itself says has no incoming link, and goes on. */
static void from_no_task(struct nf_rule *r, const struct firewall *f)
{
	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_NEQ, f->name->group);
	nf_verdict(r, NF_ACCEPT);
}

static void straight_to_task(struct nf_rule *r, const struct firewall *f)
{
	const uint32_t led = IPS_DST_NAT, none = 0;

	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_EQ, f->name->group);
	nf_ct(r, NFT_CT_STATUS, REG_A);
	nf_mask(r, REG_A, &led, sizeof(led));
	nf_compare(r, NFT_CMP_EQ, REG_A, &none, sizeof(none));
	nf_verdict(r, NF_ACCEPT);
}

/* In IPv6 we have no gateway of our own: an address of the host does as well. */
static void hairpin(struct nf_rule *r, const struct firewall *f, bool v6)
{
	rule_is_family(r, v6);
	rule_load_address(r, v6, true, REG_A);
	rule_load_address(r, v6, false, v6 ? REG_E : REG_B);
	nf_in_set(r, v6 ? "hairpin6" : "hairpin", REG_A);
	if (v6)
		nf_masquerade(r);
	else
		from_gateway(r, f);
}

static void from_loopback(struct nf_rule *r, const struct firewall *f)
{
	address_within(r, SOURCE_ADDRESS, &loopback);
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_EQ, f->name->group);
	from_gateway(r, f);
}

static void to_world(struct nf_rule *r, const struct firewall *f, bool v6)
{
	if (v6)
		within_block6(r, f, true, NFT_CMP_EQ);
	else
		address_within(r, SOURCE_ADDRESS, &f->block);
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	nf_masquerade(r);
}

/* Our links are never in the set: their packets are spared the lookups. */
static void between_quiet(struct nf_rule *r, const struct firewall *f, bool v6)
{
	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_NEQ, f->name->group);
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	rule_is_family(r, v6);
	nf_meta(r, NFT_META_IIFNAME, REG_A);
	nf_in_set(r, rules_quiet_sets[v6].name, REG_A);
	nf_meta(r, NFT_META_OIFNAME, REG_A);
	nf_in_set(r, rules_quiet_sets[v6].name, REG_A);
	nf_verdict(r, NF_DROP);
}

static void to_elsewhere(struct nf_rule *r, const struct firewall *f)
{
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	nf_verdict(r, NF_ACCEPT);
}

static void between_others(struct nf_rule *r, const struct firewall *f)
{
	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_NEQ, f->name->group);
	to_elsewhere(r, f);
}

static void answer(struct nf_rule *r, const struct firewall *f)
{
	(void)f;
	ct_has(r, NFT_CT_STATE,
	       NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED));
	nf_verdict(r, NF_ACCEPT);
}

/* Between tasks, some of what goes on: whose flow gets a shortcut. */
static void sampled(struct nf_rule *r, const struct firewall *f)
{
	const uint32_t bits = SHORTCUT_SAMPLE - 1, none = 0;

	nf_meta(r, NFT_META_PRANDOM, REG_A);
	nf_mask(r, REG_A, &bits, sizeof(bits));
	nf_compare(r, NFT_CMP_EQ, REG_A, &none, sizeof(none));
	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_EQ, f->name->group);
	ct_has(r, NFT_CT_STATE, NF_CT_STATE_BIT(IP_CT_ESTABLISHED));
	nf_limit(r, SHORTCUT_SAMPLES_S);
	nf_log(r, shortcut_group(f->name), "f", FLOW_PACKET_BYTES);
}

/* Most packets that tasks get: they are asked no more than this. */
static void answer_to_task(struct nf_rule *r, const struct firewall *f)
{
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_EQ, f->name->group);
	answer(r, f);
}

static void between_tasks(struct nf_rule *r, const struct firewall *f)
{
	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
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

void rule_is_secured(struct nf_rule *r, bool v6, bool source)
{
	rule_is_family(r, v6);
	rule_load_address(r, v6, source, REG_A);
	nf_in_set(r, secured_sets[v6], REG_A);
}

static void leave_secured(struct nf_rule *r, const struct firewall *f, bool v6)
{
	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
	rule_is_secured(r, v6, true);
	nf_go(r, NFT_JUMP, "egress");
}

static void enter_secured(struct nf_rule *r, const struct firewall *f, bool v6)
{
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_EQ, f->name->group);
	rule_is_secured(r, v6, false);
	nf_go(r, NFT_GOTO, "ingress");
}

/* The host's own services are not theirs. */
static void secured_to_host(struct nf_rule *r, const struct firewall *f, bool v6)
{
	rule_meta_is(r, NFT_META_IIFGROUP, NFT_CMP_EQ, f->name->group);
	rule_is_secured(r, v6, true);
	nf_go(r, NFT_GOTO, "refuse_leaving");
}

static void to_trunk(struct nf_rule *r, const struct firewall *f, bool v6)
{
	static const char *const sets[] = {"trunked", "trunked6"};

	(void)f;
	rule_is_family(r, v6);
	rule_load_address(r, v6, true, REG_A);
	nf_in_set(r, sets[v6], REG_A);
	nf_verdict(r, NF_ACCEPT);
}

/* What is not routed as it is goes out under the host's address. */
static void secured_to_world(struct nf_rule *r, const struct firewall *f, bool v6)
{
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	rule_is_secured(r, v6, true);
	nf_meta(r, NFT_META_NFPROTO, REG_A);
	rule_load_address(r, v6, false, REG_B);
	nf_not_in_set(r, rules_routed_sets[v6], REG_A);
	nf_masquerade(r);
}

static void by_public(struct nf_rule *r, const struct firewall *f)
{
	rule_meta_is(r, NFT_META_OIFGROUP, NFT_CMP_NEQ, f->name->group);
	rule_is_family(r, false);
	nf_meta(r, NFT_META_NFPROTO, REG_A);
	rule_load_address(r, false, false, REG_B);
	nf_not_in_set(r, rules_routed_sets[0], REG_A);
	rule_load_address(r, false, true, REG_A);
	nf_in_map(r, "public_out", REG_A, REG_A);
	nf_nat(r, false, NFT_NAT_SNAT, REG_A, 0);
}

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
	rule_is_family(r, v6);
	rule_load_address(r, v6, true, REG_A);
	nf_in_map(r, identity_maps[v6], REG_A, REG_A);
	nf_meta_set(r, NFT_META_MARK, REG_A);
}

static void identify_destination(struct nf_rule *r, const struct firewall *f, bool v6)
{
	(void)f;
	rule_is_family(r, v6);
	rule_load_address(r, v6, false, REG_A);
	nf_in_map(r, identity_maps[v6], REG_A, REG_A);
	nf_ct_set(r, NFT_CT_MARK, REG_A);
}

static const struct {
	const char *chain, *comment;
	void (*build)(struct nf_rule *r, const struct firewall *f);
	void (*build_family)(struct nf_rule *r, const struct firewall *f, bool v6);
} rules[] = {
	{"raw", "not from a task", not_ours, NULL},
	{"raw", "no IPv6 address that it was given", stray_ipv6, NULL},
	{"raw", "the host's loopback is not theirs", to_loopback, NULL},
	{"raw", "not the task's own address", wrong_source, NULL},
	{"raw", "more than it may ask services", NULL, asks_too_often},
	{"raw_others", "a task's address, from elsewhere", NULL, strange_source},
	{"prerouting", "a task in groups", NULL, to_task},
	{"prerouting", "public addresses", to_public, NULL},
	{"prerouting", "services of this host", NULL, to_service},
	{"prerouting", "host ports", NULL, host_port},
	{"output", "public addresses", to_public, NULL},
	{"output", "host ports", NULL, host_port},
	{"postrouting", "from elsewhere", from_no_task, NULL},
	{"postrouting", "from task to task", straight_to_task, NULL},
	{"postrouting", "a task to itself by a host port", NULL, hairpin},
	{"postrouting", "the host's loopback to a task", from_loopback, NULL},
	{"postrouting", "tasks on a trunk are known there", NULL, to_trunk},
	{"postrouting", "tasks to the world", NULL, to_world},
	{"postrouting", "tasks with public addresses to the world", by_public, NULL},
	{"postrouting", "tasks in groups to the world", NULL, secured_to_world},
	{"input", "from no peer", NULL, strange_vxlan},
	{"input", "answers", answer, NULL},
	{"input", "tasks in groups to the host", NULL, secured_to_host},
	{"input", "others' tasks and hosts by VXLAN", vxlan_to_host, NULL},
	{"input", "others' tasks and hosts by WireGuard", wireguard_to_host, NULL},
	{"forward", "for shortcuts", sampled, NULL},
	{"forward", "answers to a task", answer_to_task, NULL},
	{"forward", "the host was no router before us", NULL, between_quiet},
	{"forward", "neither from a task nor to one", between_others, NULL},
	{"forward", "what fits a VXLAN", clamp_vxlan, NULL},
	{"forward", "what fits WireGuard", clamp_wireguard, NULL},
	{"forward", "answers", answer, NULL},
	{"forward", "to a service by another address than its local one", NULL, past_local},
	{"forward", "from a task in groups", NULL, leave_secured},
	{"forward", "local addresses of others are no task's", NULL, to_others_local},
	{"forward", "not to a task", to_elsewhere, NULL},
	{"forward", "to a task in groups", NULL, enter_secured},
	{"forward", "between tasks", between_tasks, NULL},
	{"forward", "host ports", by_host_port, NULL},
	{"forward", "nothing else to tasks", all_else, NULL},
	{"refuse_leaving", "but to services of this host", NULL, at_service},
	{"identify", "strangers, so far", forget_identities, NULL},
	{"identify", "source", NULL, identify_source},
	{"identify", "destination", NULL, identify_destination},
};

size_t rules_define(const struct firewall *f, struct batch *b)
{
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_COUNT(rules); i++) {
		for (int v6 = 0; v6 < (rules[i].build_family ? 2 : 1); v6++) {
			struct nf_rule r;

			nf_rule_begin(&r, b, f->name->table, rules[i].chain, rules[i].comment);
			if (rules[i].build_family)
				rules[i].build_family(&r, f, v6);
			else
				rules[i].build(&r, f);
			nf_rule_end(&r);
			count++;
		}
	}
	return count;
}
