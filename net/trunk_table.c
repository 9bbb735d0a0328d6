/* net/trunk_table.c - the nftables table of family netdev of a trunk
 * SPDX-License-Identifier: Apache-2.0
 *
 * For each wire two chains, and what they know of the tasks on it:
 *
 *   map macs      address : MAC
 *   set owners    MAC
 *   set stations  MAC . address
 *
 *   out  IPv4 and ARP from one of `macs` get its MAC; what the host asks for by ARP
 *        on their behalf is asked in the name of one of them
 *   in   for one of `owners`: it is for us, if it is for its address
 *
 * On a VLAN of ours nothing else of IPv4 passes; on the parent all does.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"
#include "net/nf.h"
#include "net/trunk.h"

#define NAME_SIZE 24
#define MAC_SIZE  6
#define TYPE_MAC  9 /* as nft(8) counts types */

/* Of Ethernet; of IPv4; of ARP for IPv4 (RFC 826). */
enum { TO_MAC = 0, FROM_MAC = 6, SOURCE = 12, DESTINATION = 16 };
enum { ARP_OPERATION = 6, ARP_REQUEST = 1, ARP_FROM_MAC = 8, ARP_FROM = 14 };

struct table {
	struct batch *b;
	const char *name;
	const struct wire *wire;
};

static const char *name_of(const struct table *t, const char *what, char ret[NAME_SIZE])
{
	(void)snprintf(ret, NAME_SIZE, "%s_%u", what, t->wire->vlan);
	return ret;
}

static void begin(struct nf_rule *r, const struct table *t, const char *chain, const char *comment)
{
	char name[NAME_SIZE];

	nf_rule_begin(r, t->b, t->name, name_of(t, chain, name), comment);
}

static void is_protocol(struct nf_rule *r, uint16_t type)
{
	const uint16_t protocol = htons(type);

	nf_meta(r, NFT_META_PROTOCOL, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &protocol, sizeof(protocol));
}

/* ---- out ---- */

static void from_member(const struct table *t, bool arp)
{
	char macs[NAME_SIZE];
	struct nf_rule r;

	begin(&r, t, "out", arp ? "ARP of a task" : "from a task");
	is_protocol(&r, arp ? ETH_P_ARP : ETH_P_IP);
	nf_payload(&r, NFT_PAYLOAD_NETWORK_HEADER, arp ? ARP_FROM : SOURCE, 4, REG_A);
	nf_in_map(&r, name_of(t, "macs", macs), REG_A, REG_A);
	nf_payload_set(&r, NFT_PAYLOAD_LL_HEADER, FROM_MAC, MAC_SIZE, REG_A);
	if (arp)
		nf_payload_set(&r, NFT_PAYLOAD_NETWORK_HEADER, ARP_FROM_MAC, MAC_SIZE, REG_A);
	nf_verdict(&r, NF_ACCEPT);
	nf_rule_end(&r);
}

/* The host has no address on this wire to ask with. */
static void ask_as(const struct table *t, const struct ip_prefix *address)
{
	const uint16_t request = htons(ARP_REQUEST);
	uint8_t mac[MAC_SIZE];
	struct nf_rule r;

	name_mac(ip_v4(address), mac);
	begin(&r, t, "out", "the host asks for a task");
	is_protocol(&r, ETH_P_ARP);
	nf_payload(&r, NFT_PAYLOAD_NETWORK_HEADER, ARP_OPERATION, sizeof(request), REG_A);
	nf_compare(&r, NFT_CMP_EQ, REG_A, &request, sizeof(request));
	nf_value(&r, REG_A, mac, sizeof(mac));
	nf_payload_set(&r, NFT_PAYLOAD_LL_HEADER, FROM_MAC, MAC_SIZE, REG_A);
	nf_payload_set(&r, NFT_PAYLOAD_NETWORK_HEADER, ARP_FROM_MAC, MAC_SIZE, REG_A);
	nf_value(&r, REG_A, address->address, 4);
	nf_payload_set(&r, NFT_PAYLOAD_NETWORK_HEADER, ARP_FROM, 4, REG_A);
	nf_verdict(&r, NF_ACCEPT);
	nf_rule_end(&r);
}

static void drop_rest(const struct table *t, const char *chain)
{
	struct nf_rule r;

	begin(&r, t, chain, "the wire is the tasks'");
	is_protocol(&r, ETH_P_IP);
	nf_verdict(&r, NF_DROP);
	nf_rule_end(&r);
}

/* ---- in ---- */

static void to_member(const struct table *t)
{
	char owners[NAME_SIZE], stations[NAME_SIZE];
	const uint8_t host = PACKET_HOST;
	struct nf_rule r;

	begin(&r, t, "in", "not to the task's address");
	is_protocol(&r, ETH_P_IP);
	nf_payload(&r, NFT_PAYLOAD_LL_HEADER, TO_MAC, MAC_SIZE, REG_A);
	nf_in_set(&r, name_of(t, "owners", owners), REG_A);
	nf_payload(&r, NFT_PAYLOAD_LL_HEADER, TO_MAC, MAC_SIZE, REG_A);
	nf_payload(&r, NFT_PAYLOAD_NETWORK_HEADER, DESTINATION, 4, REG_C);
	nf_not_in_set(&r, name_of(t, "stations", stations), REG_A);
	nf_verdict(&r, NF_DROP);
	nf_rule_end(&r);

	begin(&r, t, "in", "to a task");
	nf_payload(&r, NFT_PAYLOAD_LL_HEADER, TO_MAC, MAC_SIZE, REG_A);
	nf_in_set(&r, owners, REG_A);
	nf_value(&r, REG_A, &host, sizeof(host));
	nf_meta_set(&r, NFT_META_PKTTYPE, REG_A);
	nf_verdict(&r, NF_ACCEPT);
	nf_rule_end(&r);
}

/* ---- what is known of tasks ---- */

/* MAC, two bytes of nothing, address. */
struct station {
	uint8_t mac[8], address[4];
};

static void add_elements(const struct table *t, const struct trunk_members *members)
{
	auto_free struct station *stations = xcalloc(members->count + 1, sizeof(*stations));
	auto_free struct nf_element *items = xcalloc(members->count + 1, sizeof(*items));
	static const char *const names[] = {"macs", "owners", "stations"};
	char name[NAME_SIZE];

	for (size_t set = 0; set < ARRAY_COUNT(names); set++) {
		size_t count = 0;

		for (size_t i = 0; i < members->count; i++) {
			const struct endpoint *ep = members->items[i];
			struct station *s = &stations[count];

			if (ep->trunk.vlan != t->wire->vlan)
				continue;
			memcpy(s->address, ep->own[0].address, sizeof(s->address));
			name_mac(ip_v4(&ep->own[0]), s->mac);
			items[count++] =
				set == 0 ? (struct nf_element){.key = s->address,
							       .key_size = 4,
							       .data = s->mac,
							       .data_size = MAC_SIZE}
				: set == 1
					? (struct nf_element){.key = s->mac, .key_size = MAC_SIZE}
					: (struct nf_element){.key = s, .key_size = sizeof(*s)};
		}
		nf_elements_change(t->b, NFT_MSG_NEWSETELEM, t->name, name_of(t, names[set], name),
				   items, count);
	}
}

static void add_sets(const struct table *t, uint32_t first_id)
{
	char macs[NAME_SIZE], owners[NAME_SIZE], stations[NAME_SIZE];
	const struct nf_set sets[] = {
		{name_of(t, "macs", macs), NF_TYPE_ADDRESS, 4, TYPE_MAC, MAC_SIZE, {0}},
		{name_of(t, "owners", owners), TYPE_MAC, MAC_SIZE, 0, 0, {0}},
		{name_of(t, "stations", stations),
		 NF_TYPE_PAIR(TYPE_MAC, NF_TYPE_ADDRESS),
		 sizeof(struct station),
		 0,
		 0,
		 {0}},
	};

	for (uint32_t i = 0; i < ARRAY_COUNT(sets); i++)
		nf_set_add(t->b, t->name, &sets[i], first_id + i);
}

static void add_chains(const struct table *t)
{
	char in[NAME_SIZE], out[NAME_SIZE];
	const struct nf_chain chains[] = {
		{name_of(t, "in", in), "filter", NF_NETDEV_INGRESS, 0},
		{name_of(t, "out", out), "filter", NF_NETDEV_EGRESS, 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(chains); i++)
		nf_chain_add(t->b, t->name, &chains[i], t->wire->link);
}

static const struct endpoint *first_on(const struct wire *w, const struct trunk_members *members)
{
	for (size_t i = 0; i < members->count; i++)
		if (members->items[i]->trunk.vlan == w->vlan)
			return members->items[i];
	return NULL;
}

void trunk_define(const char *table, const struct wire *wires, size_t count,
		  const struct trunk_members *members, struct batch *b)
{
	b->nf_family = NFPROTO_NETDEV;
	nf_table_add(b, table, NULL); /* so that there is one to delete */
	nf_table_delete(b, table);
	if (count)
		nf_table_add(b, table, NULL);
	for (size_t i = 0; i < count; i++) {
		const struct table t = {b, table, &wires[i]};
		const struct endpoint *speaker = first_on(&wires[i], members);

		add_sets(&t, (uint32_t)(1 + i * 3));
		add_chains(&t);
		from_member(&t, false);
		from_member(&t, true);
		if (!wires[i].speaks && speaker)
			ask_as(&t, &speaker->own[0]);
		to_member(&t);
		if (wires[i].vlan) {
			drop_rest(&t, "out");
			drop_rest(&t, "in");
		}
		add_elements(&t, members);
	}
}
