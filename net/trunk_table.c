/* net/trunk_table.c - the nftables table of family netdev of a trunk
 * SPDX-License-Identifier: Apache-2.0
 *
 * For each wire two chains, and what they know of the tasks on it:
 *
 *   map macs      address : MAC; macs6 as well
 *   set owners    MAC
 *   set stations  MAC . address; stations6 as well
 *
 *   out  IP and ARP from one of `macs` get its MAC, and so do answers of the host about
 *        one of `macs6`, in them too, and its address; what the host asks for by ARP
 *        on their behalf is asked in the name of one of them
 *   in   for one of `owners`: it is for us, if it is for its address; questions for its
 *        MAC go to where the host hears them
 *
 * On a VLAN of ours nothing else passes but what the host needs there in IPv6: neighbour
 * discovery by its address of the link, and word of which groups it listens to.  On the
 * parent all does.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/icmp6.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"
#include "net/nf.h"
#include "net/trunk.h"

#define NAME_SIZE   24
#define MAC_SIZE    6
#define MLD_REPORT2 143 /* RFC 3810 */
#define TYPE_MAC    9   /* as nft(8) counts types */

/* Of Ethernet; of IPv4; of ARP for IPv4 (RFC 826). */
enum { TO_MAC = 0, FROM_MAC = 6, SOURCE = 12, DESTINATION = 16 };
enum { SOURCE6 = 8, DESTINATION6 = 24, HOP_LIMIT6 = 7, HOP_LIMIT_OF_LINK = 255 };
/* Of ICMPv6: advertisements of neighbours (RFC 4861, 4.4). */
enum { ADVERT_TARGET = 8, ADVERT_OPTION = 24, ADVERT_MAC = 26 };
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

static void is_icmp6(struct nf_rule *r, uint8_t type)
{
	const uint8_t icmp = IPPROTO_ICMPV6;

	is_protocol(r, ETH_P_IPV6);
	nf_meta(r, NFT_META_L4PROTO, REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &icmp, sizeof(icmp));
	nf_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, 0, sizeof(type), REG_A);
	nf_compare(r, NFT_CMP_EQ, REG_A, &type, sizeof(type));
}

static void accept_icmp6(const struct table *t, const char *chain, uint8_t type)
{
	struct nf_rule r;

	begin(&r, t, chain, "the host finds neighbours");
	is_icmp6(&r, type);
	nf_verdict(&r, NF_ACCEPT);
	nf_rule_end(&r);
}

/* ---- out ---- */

/*
 * By the host in the task's place, of the link's hop limit, which nothing has that was
 * forwarded: so none that a task made itself.
 */
static void advert_of_member(const struct table *t)
{
	static const uint8_t option[] = {ND_OPT_TARGET_LINKADDR, 1}, limit = HOP_LIMIT_OF_LINK;
	char macs[NAME_SIZE];
	struct nf_rule r;

	begin(&r, t, "out", "advertisement of a task");
	is_icmp6(&r, ND_NEIGHBOR_ADVERT);
	nf_payload(&r, NFT_PAYLOAD_NETWORK_HEADER, HOP_LIMIT6, sizeof(limit), REG_A);
	nf_compare(&r, NFT_CMP_EQ, REG_A, &limit, sizeof(limit));
	nf_payload(&r, NFT_PAYLOAD_TRANSPORT_HEADER, ADVERT_OPTION, sizeof(option), REG_A);
	nf_compare(&r, NFT_CMP_EQ, REG_A, option, sizeof(option));
	nf_payload(&r, NFT_PAYLOAD_TRANSPORT_HEADER, ADVERT_TARGET, 16, REG_A);
	nf_in_map(&r, name_of(t, "macs6", macs), REG_A, REG_E);
	nf_payload_set(&r, NFT_PAYLOAD_LL_HEADER, FROM_MAC, MAC_SIZE, REG_E);
	nf_payload_set_icmp6(&r, NFT_PAYLOAD_TRANSPORT_HEADER, ADVERT_MAC, MAC_SIZE, REG_E);
	nf_payload_set_icmp6(&r, NFT_PAYLOAD_NETWORK_HEADER, SOURCE6, 16, REG_A);
	nf_verdict(&r, NF_ACCEPT);
	nf_rule_end(&r);
}

static void from_member6(const struct table *t)
{
	char macs[NAME_SIZE];
	struct nf_rule r;

	begin(&r, t, "out", "from a task");
	is_protocol(&r, ETH_P_IPV6);
	nf_payload(&r, NFT_PAYLOAD_NETWORK_HEADER, SOURCE6, 16, REG_A);
	nf_in_map(&r, name_of(t, "macs6", macs), REG_A, REG_A);
	nf_payload_set(&r, NFT_PAYLOAD_LL_HEADER, FROM_MAC, MAC_SIZE, REG_A);
	nf_verdict(&r, NF_ACCEPT);
	nf_rule_end(&r);
}

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

static void drop_rest(const struct table *t, const char *chain, uint16_t protocol)
{
	struct nf_rule r;

	begin(&r, t, chain, "the wire is the tasks'");
	is_protocol(&r, protocol);
	nf_verdict(&r, NF_DROP);
	nf_rule_end(&r);
}

/* ---- in ---- */

static void not_to_member(const struct table *t, bool v6)
{
	char owners[NAME_SIZE], stations[NAME_SIZE];
	struct nf_rule r;

	begin(&r, t, "in", "not to the task's address");
	is_protocol(&r, v6 ? ETH_P_IPV6 : ETH_P_IP);
	nf_payload(&r, NFT_PAYLOAD_LL_HEADER, TO_MAC, MAC_SIZE, REG_A);
	nf_in_set(&r, name_of(t, "owners", owners), REG_A);
	nf_payload(&r, NFT_PAYLOAD_LL_HEADER, TO_MAC, MAC_SIZE, REG_A);
	nf_payload(&r, NFT_PAYLOAD_NETWORK_HEADER, v6 ? DESTINATION6 : DESTINATION, v6 ? 16 : 4,
		   REG_C);
	nf_not_in_set(&r, name_of(t, v6 ? "stations6" : "stations", stations), REG_A);
	nf_verdict(&r, NF_DROP);
	nf_rule_end(&r);
}

/*
 * Who asks a task whether it still is there asks its address; the host hears what goes to the
 * group of that, whose last bytes are the same (RFC 4291, 2.7.1), and would send the rest on.
 */
static void asked_of_member(const struct table *t)
{
	static const uint8_t group[] = {0xff, 2, [11] = 1, 0xff};
	const uint8_t host = PACKET_HOST;
	char owners[NAME_SIZE];
	struct nf_rule r;

	begin(&r, t, "in", "a task is asked for");
	is_icmp6(&r, ND_NEIGHBOR_SOLICIT);
	nf_payload(&r, NFT_PAYLOAD_LL_HEADER, TO_MAC, MAC_SIZE, REG_A);
	nf_in_set(&r, name_of(t, "owners", owners), REG_A);
	nf_value(&r, REG_A, group, sizeof(group));
	nf_payload_set_icmp6(&r, NFT_PAYLOAD_NETWORK_HEADER, DESTINATION6, sizeof(group), REG_A);
	nf_value(&r, REG_A, &host, sizeof(host));
	nf_meta_set(&r, NFT_META_PKTTYPE, REG_A);
	nf_verdict(&r, NF_ACCEPT);
	nf_rule_end(&r);
}

static void to_member(const struct table *t)
{
	const uint8_t host = PACKET_HOST;
	char owners[NAME_SIZE];
	struct nf_rule r;

	begin(&r, t, "in", "to a task");
	nf_payload(&r, NFT_PAYLOAD_LL_HEADER, TO_MAC, MAC_SIZE, REG_A);
	nf_in_set(&r, name_of(t, "owners", owners), REG_A);
	nf_value(&r, REG_A, &host, sizeof(host));
	nf_meta_set(&r, NFT_META_PKTTYPE, REG_A);
	nf_verdict(&r, NF_ACCEPT);
	nf_rule_end(&r);
}

/* ---- what is known of tasks ---- */

/* MAC, two bytes of nothing, address. */
struct station {
	uint8_t mac[8], address[16];
};

enum { MACS, MACS6, OWNERS, STATIONS, STATIONS6, SETS };
static const char *const set_names[SETS] = {"macs", "macs6", "owners", "stations", "stations6"};

/* What a member has in a set; false: nothing. */
static bool element_of(size_t set, const struct endpoint *ep, struct station *s,
		       struct nf_element *ret)
{
	const bool v6 = set == MACS6 || set == STATIONS6;
	const size_t size = v6 ? 16 : 4;

	if (set != OWNERS && !ep->own[v6].length)
		return false;
	name_own_mac(ep->own, s->mac);
	memcpy(s->address, ep->own[v6].address, size);
	if (set == OWNERS)
		*ret = (struct nf_element){.key = s->mac, .key_size = MAC_SIZE};
	else if (set == MACS || set == MACS6)
		*ret = (struct nf_element){
			.key = s->address, .key_size = size, .data = s->mac, .data_size = MAC_SIZE};
	else
		*ret = (struct nf_element){.key = s, .key_size = sizeof(s->mac) + size};
	return true;
}

static void add_elements(const struct table *t, const struct trunk_members *members)
{
	auto_free struct station *stations = xcalloc(members->count + 1, sizeof(*stations));
	auto_free struct nf_element *items = xcalloc(members->count + 1, sizeof(*items));
	char name[NAME_SIZE];

	for (size_t set = 0; set < SETS; set++) {
		size_t count = 0;

		for (size_t i = 0; i < members->count; i++)
			if (members->items[i]->trunk.vlan == t->wire->vlan)
				count += element_of(set, members->items[i], &stations[count],
						    &items[count]);
		nf_elements_change(t->b, NFT_MSG_NEWSETELEM, t->name,
				   name_of(t, set_names[set], name), items, count);
	}
}

static void add_sets(const struct table *t, uint32_t first_id)
{
	static const struct nf_set kinds[SETS] = {
		[MACS] = {NULL, NF_TYPE_ADDRESS, 4, TYPE_MAC, MAC_SIZE, {0}},
		[MACS6] = {NULL, NF_TYPE_ADDRESS6, 16, TYPE_MAC, MAC_SIZE, {0}},
		[OWNERS] = {NULL, TYPE_MAC, MAC_SIZE, 0, 0, {0}},
		[STATIONS] = {NULL, NF_TYPE_PAIR(TYPE_MAC, NF_TYPE_ADDRESS), 12, 0, 0, {0}},
		[STATIONS6] = {NULL, NF_TYPE_PAIR(TYPE_MAC, NF_TYPE_ADDRESS6), 24, 0, 0, {0}},
	};

	for (uint32_t i = 0; i < SETS; i++) {
		struct nf_set set = kinds[i];
		char name[NAME_SIZE];

		set.name = name_of(t, set_names[i], name);
		nf_set_add(t->b, t->name, &set, first_id + i);
	}
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

/* With an address of IPv4. */
static const struct endpoint *first_on(const struct wire *w, const struct trunk_members *members)
{
	for (size_t i = 0; i < members->count; i++)
		if (members->items[i]->trunk.vlan == w->vlan && members->items[i]->own[0].length)
			return members->items[i];
	return NULL;
}

/* Advice of routers, and all else, is not for the host. */
static void close_wire(const struct table *t)
{
	static const uint8_t heard[] = {MLD_LISTENER_QUERY, ND_NEIGHBOR_SOLICIT,
					ND_NEIGHBOR_ADVERT},
			     said[] = {MLD_LISTENER_REPORT, MLD_LISTENER_REDUCTION, MLD_REPORT2,
				       ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT};

	for (size_t i = 0; i < ARRAY_COUNT(said); i++)
		accept_icmp6(t, "out", said[i]);
	for (size_t i = 0; i < ARRAY_COUNT(heard); i++)
		accept_icmp6(t, "in", heard[i]);
	drop_rest(t, "out", ETH_P_IP);
	drop_rest(t, "out", ETH_P_IPV6);
	drop_rest(t, "in", ETH_P_IP);
	drop_rest(t, "in", ETH_P_IPV6);
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

		add_sets(&t, (uint32_t)(1 + i * SETS));
		add_chains(&t);
		advert_of_member(&t);
		from_member(&t, false);
		from_member(&t, true);
		from_member6(&t);
		if (!wires[i].speaks && speaker)
			ask_as(&t, &speaker->own[0]);
		not_to_member(&t, false);
		not_to_member(&t, true);
		asked_of_member(&t);
		to_member(&t);
		if (wires[i].vlan)
			close_wire(&t);
		add_elements(&t, members);
	}
}
