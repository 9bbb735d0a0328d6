/* net/shortcut_program.c - the programs of BPF that know shortcuts
 * SPDX-License-Identifier: Apache-2.0
 *
 * One is written after the other by functions that each put an instruction or
 * a few.  Jumps lead forward, to labels that are told when they are reached.
 *
 * Registers: R6 the context, R7 where in the packet, R8 its end and later the flags
 * of TCP, R9 a number or pointer that outlives a call.
 */
#include "net/shortcut.h"

#include <assert.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"

#define INSNS_MAX  160
#define KEY        (-(int)sizeof(struct shortcut_key) - 4) /* on the stack, at a multiple of 8 */
#define PLACE      (KEY - 8)
#define FIELD(f)   (KEY + (int)offsetof(struct shortcut_key, f))
#define WAY(f)     ((int)offsetof(struct shortcut_way, f))
#define CONTEXT(f) ((int)offsetof(struct __sk_buff, f))
#define IP4(f)     (ETH_HLEN + (int)offsetof(struct iphdr, f))
#define IP6(f)     (ETH_HLEN + (int)offsetof(struct ipv6hdr, f))

#define UDP_SIZE    8
#define TCP_FLAGS   13
#define FIN_SYN_RST 7
#define LOOKED_AT   16 /* one of so many packets, on its way to a task */

enum label { ON, IPV6, TRANSPORT, PORTS, MIDDLE, IPV6_HOPS, REDIRECT, LABELS };

struct program {
	struct bpf_insn *insns;
	size_t count, at[LABELS];
};

static void put(struct program *p, int code, int dst, int src, int off, int imm)
{
	assert(p->count < INSNS_MAX);
	p->insns[p->count++] = (struct bpf_insn){.code = (uint8_t)code,
						 .dst_reg = (unsigned)dst & 15u,
						 .src_reg = (unsigned)src & 15u,
						 .off = (int16_t)off,
						 .imm = imm};
}

static void load(struct program *p, int size, int dst, int src, int off)
{
	put(p, BPF_LDX | BPF_MEM | size, dst, src, off, 0);
}

static void store(struct program *p, int size, int dst, int off, int src)
{
	put(p, BPF_STX | BPF_MEM | size, dst, src, off, 0);
}

static void copy(struct program *p, int dst, int src)
{
	put(p, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

/* BPF_MOV, BPF_ADD, BPF_AND ...: with a number, of 64 bits. */
static void alu(struct program *p, int op, int dst, int number)
{
	put(p, BPF_ALU64 | op | BPF_K, dst, 0, 0, number);
}

/* The offset is the label until it is known. */
static void jump(struct program *p, int op, int dst, int number, enum label to)
{
	put(p, BPF_JMP | op | BPF_K, dst, 0, to, number);
}

static void jump_by(struct program *p, int op, int dst, int src, enum label to)
{
	put(p, BPF_JMP | op | BPF_X, dst, src, to, 0);
}

static void label(struct program *p, enum label l)
{
	p->at[l] = p->count;
}

static void call(struct program *p, int function)
{
	put(p, BPF_JMP | BPF_CALL, 0, 0, 0, function);
}

static void load_map(struct program *p, int dst, int fd)
{
	put(p, BPF_LD | BPF_DW | BPF_IMM, dst, BPF_PSEUDO_MAP_FD, 0, fd);
	put(p, 0, 0, 0, 0, 0);
}

static void load_key(struct program *p, int dst)
{
	copy(p, dst, BPF_REG_10);
	alu(p, BPF_ADD, dst, KEY);
}

static void resolve(struct program *p)
{
	for (size_t i = 0; i < p->count; i++) {
		struct bpf_insn *insn = &p->insns[i];
		int op = BPF_OP(insn->code);

		if (BPF_CLASS(insn->code) == BPF_JMP && op != BPF_CALL && op != BPF_EXIT)
			insn->off = (int16_t)(p->at[insn->off] - i - 1);
	}
}

/* ---- a packet ---- */

/* So many bytes of it, from R7 on, are there. */
static void need(struct program *p, int bytes)
{
	copy(p, BPF_REG_1, BPF_REG_7);
	alu(p, BPF_ADD, BPF_REG_1, bytes);
	jump_by(p, BPF_JGT, BPF_REG_1, BPF_REG_8, ON);
}

static void load_packet(struct program *p)
{
	load(p, BPF_W, BPF_REG_7, BPF_REG_6, CONTEXT(data));
	load(p, BPF_W, BPF_REG_8, BPF_REG_6, CONTEXT(data_end));
}

/* A field of the context is not 'number': the long way. */
static void expect(struct program *p, int field, int number)
{
	load(p, BPF_W, BPF_REG_1, BPF_REG_6, field);
	jump(p, BPF_JNE, BPF_REG_1, number, ON);
}

/* Both, from there on, to the ends of their fields. */
static void copy_addresses(struct program *p, int bytes, int from)
{
	for (int i = 0; i < 2 * bytes; i += 4) {
		int field = i < bytes ? FIELD(source) : FIELD(destination);

		load(p, BPF_W, BPF_REG_1, BPF_REG_7, from + i);
		store(p, BPF_W, BPF_REG_10, field + 16 - bytes + i % bytes, BPF_REG_1);
	}
}

/* No options, no fragment, and not at the end of its life; R5: the protocol. */
static void put_ipv4(struct program *p)
{
	load(p, BPF_B, BPF_REG_1, BPF_REG_7, ETH_HLEN);
	jump(p, BPF_JNE, BPF_REG_1, 0x45, ON);
	load(p, BPF_H, BPF_REG_1, BPF_REG_7, IP4(frag_off));
	alu(p, BPF_AND, BPF_REG_1, htons(0x3fff));
	jump(p, BPF_JNE, BPF_REG_1, 0, ON);
	load(p, BPF_B, BPF_REG_1, BPF_REG_7, IP4(ttl));
	jump(p, BPF_JLE, BPF_REG_1, 1, ON);
	load(p, BPF_B, BPF_REG_5, BPF_REG_7, IP4(protocol));
	copy_addresses(p, 4, IP4(saddr));
	alu(p, BPF_ADD, BPF_REG_7, ETH_HLEN + (int)sizeof(struct iphdr));
	put(p, BPF_JMP | BPF_JA, 0, 0, TRANSPORT, 0);
}

static void put_ipv6(struct program *p)
{
	label(p, IPV6);
	need(p, ETH_HLEN + (int)sizeof(struct ipv6hdr) + UDP_SIZE);
	load(p, BPF_B, BPF_REG_1, BPF_REG_7, IP6(hop_limit));
	jump(p, BPF_JLE, BPF_REG_1, 1, ON);
	load(p, BPF_B, BPF_REG_5, BPF_REG_7, IP6(nexthdr));
	alu(p, BPF_OR, BPF_REG_5, SHORTCUT_IPV6);
	copy_addresses(p, 16, IP6(saddr));
	alu(p, BPF_ADD, BPF_REG_7, ETH_HLEN + (int)sizeof(struct ipv6hdr));
}

/* R7: behind the header of IP.  R8 becomes what of FIN, SYN and RST is set. */
static void put_transport(struct program *p)
{
	label(p, TRANSPORT);
	store(p, BPF_W, BPF_REG_10, FIELD(protocol), BPF_REG_5);
	alu(p, BPF_AND, BPF_REG_5, 0xff);
	load(p, BPF_W, BPF_REG_1, BPF_REG_7, 0);
	store(p, BPF_W, BPF_REG_10, FIELD(ports), BPF_REG_1);
	alu(p, BPF_MOV, BPF_REG_2, 0);
	jump(p, BPF_JEQ, BPF_REG_5, IPPROTO_UDP, PORTS);
	jump(p, BPF_JNE, BPF_REG_5, IPPROTO_TCP, ON);
	need(p, TCP_FLAGS + 1);
	load(p, BPF_B, BPF_REG_2, BPF_REG_7, TCP_FLAGS);
	alu(p, BPF_AND, BPF_REG_2, FIN_SYN_RST);
	label(p, PORTS);
	copy(p, BPF_REG_8, BPF_REG_2);
}

/* The key of a packet that came in by the link whose index is there in the context; R0: its way. */
static void find_way(struct program *p, int link_field, int ways_fd)
{
	load(p, BPF_W, BPF_REG_1, BPF_REG_6, link_field);
	jump(p, BPF_JEQ, BPF_REG_1, 0, ON);
	store(p, BPF_W, BPF_REG_10, FIELD(link), BPF_REG_1);
	expect(p, CONTEXT(vlan_present), 0);
	expect(p, CONTEXT(pkt_type), PACKET_HOST);
	load_packet(p);
	need(p, ETH_HLEN + (int)sizeof(struct iphdr) + UDP_SIZE);
	alu(p, BPF_MOV, BPF_REG_1, 0);
	for (int i = 0; i < 32; i += 8)
		store(p, BPF_DW, BPF_REG_10, FIELD(source) + i, BPF_REG_1);
	load(p, BPF_W, BPF_REG_2, BPF_REG_6, CONTEXT(protocol));
	jump(p, BPF_JEQ, BPF_REG_2, htons(ETH_P_IPV6), IPV6);
	jump(p, BPF_JNE, BPF_REG_2, htons(ETH_P_IP), ON);
	put_ipv4(p);
	put_ipv6(p);
	put_transport(p);
	load_map(p, BPF_REG_1, ways_fd);
	load_key(p, BPF_REG_2);
	call(p, BPF_FUNC_map_lookup_elem);
}

/* Of a place. */
static void take_link(struct program *p, int reg)
{
	put(p, BPF_ALU | BPF_MOV | BPF_X, reg, reg, 0, 0);
}

/* ---- receiving ---- */

/* As routing does: one hop less, and the frame is for who gets it. */
static void put_rewriting(struct program *p)
{
	load_packet(p);
	need(p, ETH_HLEN + (int)sizeof(struct iphdr));
	for (int i = 0; i < 12; i += 4) {
		load(p, BPF_W, BPF_REG_1, BPF_REG_9, WAY(macs) + i);
		store(p, BPF_W, BPF_REG_7, i, BPF_REG_1);
	}
	load(p, BPF_W, BPF_REG_1, BPF_REG_10, FIELD(protocol));
	jump(p, BPF_JGT, BPF_REG_1, 0xff, IPV6_HOPS);
	load(p, BPF_B, BPF_REG_1, BPF_REG_7, IP4(ttl));
	alu(p, BPF_SUB, BPF_REG_1, 1);
	store(p, BPF_B, BPF_REG_7, IP4(ttl), BPF_REG_1);
	load(p, BPF_H, BPF_REG_1, BPF_REG_7, IP4(check)); /* RFC 1624 */
	alu(p, BPF_ADD, BPF_REG_1, htons(0x100));
	copy(p, BPF_REG_2, BPF_REG_1);
	alu(p, BPF_RSH, BPF_REG_2, 16);
	put(p, BPF_ALU64 | BPF_ADD | BPF_X, BPF_REG_1, BPF_REG_2, 0, 0);
	store(p, BPF_H, BPF_REG_7, IP4(check), BPF_REG_1);
	put(p, BPF_JMP | BPF_JA, 0, 0, REDIRECT, 0);
	label(p, IPV6_HOPS);
	load(p, BPF_B, BPF_REG_1, BPF_REG_7, IP6(hop_limit));
	alu(p, BPF_SUB, BPF_REG_1, 1);
	store(p, BPF_B, BPF_REG_7, IP6(hop_limit), BPF_REG_1);
	label(p, REDIRECT);
}

static void put_receiving(struct program *p, int ways_fd)
{
	find_way(p, CONTEXT(ifindex), ways_fd);
	jump(p, BPF_JEQ, BPF_REG_0, 0, ON);
	copy(p, BPF_REG_9, BPF_REG_0);
	jump(p, BPF_JEQ, BPF_REG_8, 0, MIDDLE);
	load_map(p, BPF_REG_1, ways_fd);
	load_key(p, BPF_REG_2);
	call(p, BPF_FUNC_map_delete_elem);
	put(p, BPF_JMP | BPF_JA, 0, 0, ON, 0);

	label(p, MIDDLE);
	call(p, BPF_FUNC_jiffies64);
	load(p, BPF_DW, BPF_REG_1, BPF_REG_9, WAY(seen));
	put(p, BPF_ALU64 | BPF_SUB | BPF_X, BPF_REG_0, BPF_REG_1, 0, 0);
	jump(p, BPF_JGT, BPF_REG_0, SHORTCUT_JIFFIES, ON);
	load(p, BPF_DW, BPF_REG_8, BPF_REG_9, WAY(place));
	copy(p, BPF_REG_1, BPF_REG_8);
	alu(p, BPF_RSH, BPF_REG_1, 32);
	load(p, BPF_W, BPF_REG_2, BPF_REG_10, FIELD(destination) + 12);
	jump_by(p, BPF_JNE, BPF_REG_1, BPF_REG_2, ON);
	store(p, BPF_DW, BPF_REG_10, PLACE, BPF_REG_8);
	put_rewriting(p);
	load(p, BPF_DW, BPF_REG_1, BPF_REG_10, PLACE);
	take_link(p, BPF_REG_1);
	alu(p, BPF_MOV, BPF_REG_2, 0);
	call(p, BPF_FUNC_redirect_peer);
	put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* ---- sending ---- */

/* A way that leads to where the packet goes may be used for longer. */
static void put_sending(struct program *p, int ways_fd)
{
	call(p, BPF_FUNC_get_prandom_u32);
	alu(p, BPF_AND, BPF_REG_0, LOOKED_AT - 1);
	jump(p, BPF_JNE, BPF_REG_0, 0, ON);
	find_way(p, CONTEXT(ingress_ifindex), ways_fd);
	jump(p, BPF_JEQ, BPF_REG_0, 0, ON);
	copy(p, BPF_REG_9, BPF_REG_0);
	load(p, BPF_DW, BPF_REG_1, BPF_REG_9, WAY(place));
	take_link(p, BPF_REG_1);
	load(p, BPF_W, BPF_REG_2, BPF_REG_6, CONTEXT(ifindex));
	jump_by(p, BPF_JNE, BPF_REG_1, BPF_REG_2, ON);
	call(p, BPF_FUNC_jiffies64);
	store(p, BPF_DW, BPF_REG_9, WAY(seen), BPF_REG_0);
}

uint64_t shortcut_place(const struct shortcut_key *key, uint32_t link)
{
	uint32_t destination;

	memcpy(&destination, key->destination + 12, sizeof(destination));
	return (uint64_t)destination << 32 | link;
}

struct bpf_insn *shortcut_program(bool receiving, int ways_fd, size_t *ret_count)
{
	struct program p = {.insns = xcalloc(INSNS_MAX, sizeof(struct bpf_insn))};

	copy(&p, BPF_REG_6, BPF_REG_1);
	(receiving ? put_receiving : put_sending)(&p, ways_fd);
	label(&p, ON);
	alu(&p, BPF_MOV, BPF_REG_0, TC_ACT_UNSPEC);
	put(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	resolve(&p);
	*ret_count = p.count;
	return p.insns;
}
