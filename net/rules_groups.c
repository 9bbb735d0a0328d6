/* net/rules_groups.c - the chains that tasks in security groups pass, and what becomes of the refused
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/rules.h"

#include <linux/netfilter/nf_conntrack_common.h>

#include "net/elements.h"
#include "net/flow.h"
#include "net/nf.h"

static void is_icmp(struct nf_rule *r, bool v6, bool icmp)
{
	const uint8_t protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;

	nf_meta(r, NFT_META_L4PROTO, REG_A);
	nf_compare(r, icmp ? NFT_CMP_EQ : NFT_CMP_NEQ, REG_A, &protocol, sizeof(protocol));
}

/*
 * The identities of source and destination, 0 for strangers: in the marks of
 * the packet and of its connection, because nft(8) can not list a rule that
 * looks up what it has just looked up.  The packet's is cleared behind it: a packet
 * that has one in "let_in" was given it here, whatever others' rules set.
 */
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

static void clear_mark(struct nf_rule *r)
{
	const uint32_t none = 0;

	nf_value(r, REG_A, &none, sizeof(none));
	nf_meta_set(r, NFT_META_MARK, REG_A);
}

static void allow(struct nf_rule *r, bool egress)
{
	if (egress) {
		nf_go(r, NFT_GOTO, "left");
	} else {
		clear_mark(r);
		nf_verdict(r, NF_ACCEPT);
	}
}

/*
 * Two VPCs do not reach each other, whatever their prefixes allow, but by a public
 * address, which is led to its task.  Rules that name groups are of one VPC anyway.
 */
static void over_border(struct nf_rule *r, bool v6)
{
	static const char *const within[] = {"within", "within6"};
	const uint32_t led = IPS_DST_NAT, none = 0;

	rule_is_family(r, v6);
	rule_load_address(r, v6, true, REG_A);
	rule_load_address(r, v6, false, v6 ? REG_E : REG_B);
	nf_not_in_set(r, within[v6], REG_A);
	nf_ct(r, NFT_CT_STATUS, REG_A);
	nf_mask(r, REG_A, &led, sizeof(led));
	nf_compare(r, NFT_CMP_EQ, REG_A, &none, sizeof(none));
	nf_go(r, NFT_JUMP, "borders");
}

static void to_vpc(struct nf_rule *r, bool v6, const char *const sets[NET_FAMILIES])
{
	rule_is_family(r, v6);
	nf_meta(r, NFT_META_NFPROTO, REG_A);
	rule_load_address(r, v6, false, REG_B);
	nf_in_set(r, sets[v6], REG_A);
	nf_go(r, NFT_GOTO, "refuse_leaving");
}

/* In egress the task is the source, and the other one the destination. */
static void by_group(struct nf_rule *r, bool egress, bool v6, bool icmp)
{
	rule_is_family(r, v6);
	is_icmp(r, v6, icmp);
	load_identity(r, egress, REG_A);
	load_identity(r, !egress, REG_B);
	load_port(r, icmp, REG_C, REG_D);
	nf_in_set(r, egress ? "egress_groups" : "ingress_groups", REG_A);
	allow(r, egress);
}

/* Neither family nor ICMP are told apart: what has no such port is not in the set. */
static void by_port(struct nf_rule *r, bool egress)
{
	load_identity(r, egress, REG_A);
	load_identity(r, !egress, REG_B);
	load_port(r, false, REG_C, REG_D);
	nf_in_set(r, egress ? "egress_ports" : "ingress_ports", REG_A);
	allow(r, egress);
}

/* By IPv4 or IPv6 with anybody; but out of a VPC there are its borders. */
static void by_family(struct nf_rule *r, bool egress)
{
	load_identity(r, egress, REG_A);
	nf_meta(r, NFT_META_NFPROTO, REG_B);
	nf_in_set(r, egress ? "egress_open" : "ingress_open", REG_A);
	if (egress)
		nf_go(r, NFT_GOTO, "open");
	else
		allow(r, false);
}

static void by_range(struct nf_rule *r, bool egress, bool v6, bool icmp)
{
	static const char *const sets[2][2] = {{"ingress_ranges", "ingress_ranges6"},
					       {"egress_ranges", "egress_ranges6"}};

	rule_is_family(r, v6);
	is_icmp(r, v6, icmp);
	load_identity(r, egress, REG_A);
	load_port(r, icmp, REG_B, REG_C);
	rule_load_address(r, v6, !egress, REG_D);
	nf_in_set(r, sets[egress][v6], REG_A);
	allow(r, egress);
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

static size_t define_borders(const struct firewall *f, const char *chain, struct batch *b)
{
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		struct nf_rule r;

		nf_rule_begin(&r, b, f->name->table, chain, "out of its VPC");
		over_border(&r, v6);
		nf_rule_end(&r);
	}
	return NET_FAMILIES;
}

/* What is beyond a border; and what identities that are open may do but for it. */
static size_t define_open(const struct firewall *f, struct batch *b)
{
	struct nf_rule r;

	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		nf_rule_begin(&r, b, f->name->table, "borders", "to another VPC");
		to_vpc(&r, v6, rules_routed_sets);
		nf_rule_end(&r);
		nf_rule_begin(&r, b, f->name->table, "borders", "to another VPC on another host");
		to_vpc(&r, v6, rules_elsewhere_sets);
		nf_rule_end(&r);
	}
	nf_rule_begin(&r, b, f->name->table, "open", "to all else");
	allow(&r, true);
	nf_rule_end(&r);
	return 2 * NET_FAMILIES + 1;
}

/* It may leave: whose groups have a word on it here is asked at once, for who they are is known. */
static size_t define_left(const struct firewall *f, struct batch *b)
{
	struct nf_rule r;

	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		nf_rule_begin(&r, b, f->name->table, "left", "to a task in groups");
		rule_meta_is(&r, NFT_META_OIFGROUP, NFT_CMP_EQ, f->name->group);
		rule_is_secured(&r, v6, false);
		nf_go(&r, NFT_GOTO, "let_in");
		nf_rule_end(&r);
	}
	nf_rule_begin(&r, b, f->name->table, "left", "to all else");
	clear_mark(&r);
	nf_rule_end(&r);
	return NET_FAMILIES + 1;
}

static size_t define_beginning(const struct firewall *f, const char *chain, const char *refusal,
			       struct batch *b)
{
	struct nf_rule r;

	nf_rule_begin(&r, b, f->name->table, chain, "not the beginning of a connection");
	midway(&r, refusal);
	nf_rule_end(&r);
	nf_rule_begin(&r, b, f->name->table, chain, "who they are");
	nf_go(&r, NFT_JUMP, "identify");
	nf_rule_end(&r);
	return 2;
}

/* From elsewhere, or from a task that is in no group. */
static size_t define_ingress(const struct firewall *f, struct batch *b)
{
	size_t count = define_beginning(f, "ingress", "refuse_entering", b);
	struct nf_rule r;

	nf_rule_begin(&r, b, f->name->table, "ingress", "what groups say");
	nf_go(&r, NFT_GOTO, "let_in");
	nf_rule_end(&r);
	return count + 1;
}

/* Each chain: what is found at once, what groups allow, what prefixes allow; the rest is dropped. */
static size_t define_policy(const struct firewall *f, bool egress_chain, struct batch *b)
{
	const char *chain = egress_chain ? "egress" : "let_in",
		   *refusal = egress_chain ? "refuse_leaving" : "refuse_entering";
	size_t count = 2 + 8 + 1;
	struct nf_rule r;

	nf_rule_begin(&r, b, f->name->table, chain, "allowed by one port to a group");
	by_port(&r, egress_chain);
	nf_rule_end(&r);
	nf_rule_begin(&r, b, f->name->table, chain, "allowed to all");
	by_family(&r, egress_chain);
	nf_rule_end(&r);
	for (int i = 0; i < 8; i++) {
		bool ranges = i & 4, v6 = i & 2, icmp = i & 1;

		if (i == 4 && egress_chain)
			count += define_borders(f, chain, b);
		nf_rule_begin(&r, b, f->name->table, chain,
			      ranges ? "allowed to a prefix" : "allowed to a group");
		(ranges ? by_range : by_group)(&r, egress_chain, v6, icmp);
		nf_rule_end(&r);
	}
	nf_rule_begin(&r, b, f->name->table, chain, "allowed by no group of the task");
	nf_go(&r, NFT_GOTO, refusal);
	nf_rule_end(&r);
	return count;
}

/* Dropped, and told to flow logs: up to a limit, then that there were more. */
static size_t define_refusal(const struct firewall *f, const char *chain, enum flow_refusal refusal,
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
	return 3;
}

size_t rules_define_groups(const struct firewall *f, struct batch *b)
{
	return define_borders(f, "open", b) + define_open(f, b) + define_left(f, b) +
	       define_beginning(f, "egress", "refuse_leaving", b) + define_policy(f, true, b) +
	       define_ingress(f, b) + define_policy(f, false, b) +
	       define_refusal(f, "refuse_leaving", FLOW_REFUSED_LEAVING, b) +
	       define_refusal(f, "refuse_entering", FLOW_REFUSED_ENTERING, b);
}
