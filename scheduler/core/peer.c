/* scheduler/core/peer.c - who hears of which other hosts
 * SPDX-License-Identifier: Apache-2.0
 *
 * A host needs to know where addresses of tasks lead that its own tasks can
 * talk to: the blocks of other hosts in the VPCs in which it has blocks itself.
 * What changes is noted, and told at the end of the event, once for each host.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

#define PREFIXES_MAX 128 /* of one peer: what a node takes (net/peers.h) */

/* ---- which VPCs a host is in ---- */

static uintptr_t blocks_in(const struct instance *i, const char *vpc)
{
	return (uintptr_t)map_find(&i->vpcs, vpc);
}

static bool shares_vpc(struct core *c, const struct instance *a, const struct instance *b)
{
	struct vpc *v;

	for (size_t n = 0; map_next(&c->vpcs, &n, &v);)
		if (blocks_in(a, v->id) && blocks_in(b, v->id))
			return true;
	return false;
}

void peers_changed(struct core *c, struct instance *i)
{
	if (i->peer_dirty)
		return;
	i->peer_dirty = true;
	i->next_dirty = c->dirty_peers;
	c->dirty_peers = i;
}

void peers_block(struct core *c, const struct subnet *s, struct instance *i, int by)
{
	const char *vpc = doc_string(s->record.doc, "vpcId");

	uintptr_t blocks = blocks_in(i, vpc) + (uintptr_t)(intptr_t)by;

	if (blocks)
		(void)map_put(&i->vpcs, vpc, (void *)blocks);
	else
		(void)map_remove(&i->vpcs, vpc);
	peers_changed(c, i);
}

/* ---- told ---- */

/* A block, or several that are one prefix, of an instance; how many blocks. */
static uint32_t run_of(const struct subnet *s, const struct instance *i, uint32_t first)
{
	uint32_t blocks = s->size / s->block_size, count = 1;

	while (first % (2 * count) == 0 && first + 2 * count <= blocks) {
		for (uint32_t n = first + count; n < first + 2 * count; n++)
			if (s->block_owner[n] != i)
				return count;
		count *= 2;
	}
	return count;
}

static unsigned bits_of(uint32_t power_of_two)
{
	return (unsigned)__builtin_ctz(power_of_two);
}

static void add_prefix(struct arena *a, const struct ip_prefix *p, struct js_strings *ret)
{
	char text[IP_TEXT_MAX];

	if (ret->count == PREFIXES_MAX)
		return;
	ip_prefix_format(p, text);
	ret->items[ret->count++] = arena_strdup(a, text);
}

static void add_run(const struct subnet *s, uint32_t first, uint32_t count, struct arena *a,
		    struct js_strings *ret)
{
	uint32_t offset = first * s->block_size, size = count * s->block_size;
	const struct ip_prefix p = ip_of_v4(ip_v4(&s->cidr) + offset, 32 - bits_of(size));
	struct ip_prefix p6 = s->cidr6;

	add_prefix(a, &p, ret);
	if (!s->cidr6.length)
		return;
	for (int k = 0; k < 4; k++)
		p6.address[15 - k] |= (unsigned char)(offset >> (8 * k));
	p6.length = 128 - bits_of(size);
	add_prefix(a, &p6, ret);
}

static void add_blocks(const struct subnet *s, const struct instance *i, struct arena *a,
		       struct js_strings *ret)
{
	uint32_t blocks = s->size / s->block_size;

	for (uint32_t n = 0; n < blocks;) {
		uint32_t count = 1;

		if (s->block_owner[n] == i) {
			count = run_of(s, i, n);
			add_run(s, n, count, a, ret);
		}
		n += count;
	}
}

/* The host's own address, of IPv6 only if it has other prefixes of that. */
static void add_own(struct core *c, const struct instance *i, struct arena *a,
		    struct js_strings *ret)
{
	struct ip_prefix own[2];
	size_t families = 1;

	for (size_t n = 0; n < ret->count; n++)
		if (strchr(ret->items[n], ':'))
			families = ARRAY_COUNT(own);
	for (size_t v6 = 0; host_address_of(c, i, own) && v6 < families; v6++)
		add_prefix(a, &own[v6], ret);
}

static void describe_self(struct core *c, const struct instance *i, struct arena *a,
			  struct js_strings *ret)
{
	struct ip_prefix own[2];

	ret->items = arena_alloc(a, ARRAY_COUNT(own) * sizeof(char *));
	for (size_t v6 = 0; host_address_of(c, i, own) && v6 < ARRAY_COUNT(own); v6++) {
		char text[IP_TEXT_MAX];

		ip_address_format(&own[v6], text);
		ret->items[ret->count++] = arena_strdup(a, text);
	}
}

static char *borrowed(const json_t *doc, const char *name)
{
	return (char *)(uintptr_t)doc_string(doc, name);
}

/* 'i' as 'to' may know it; false: it has nothing where that one is. */
static bool describe(struct core *c, const struct instance *i, const struct instance *to,
		     struct arena *a, struct ecs_node_peer *ret)
{
	const json_t *doc = i->record.doc, *addresses = json_object_get(doc, "_addresses");
	struct subnet *s;
	size_t n;
	json_t *address;

	*ret = (struct ecs_node_peer){.instance_id = i->id, .gone = true};
	if (!shares_vpc(c, i, to) || !json_array_size(addresses))
		return false;
	ret->gone = false;
	ret->public_key = borrowed(doc, "_publicKey");
	ret->addresses.items = arena_alloc(a, (json_array_size(addresses) + 1) * sizeof(char *));
	json_array_foreach ((json_t *)(uintptr_t)addresses, n, address)
		ret->addresses.items[ret->addresses.count++] =
			(char *)(uintptr_t)json_string_value(address);
	ret->prefixes.items = arena_alloc(a, (PREFIXES_MAX + 1) * sizeof(char *));
	for (n = 0; map_next(&c->subnets, &n, &s);)
		if (blocks_in(to, doc_string(s->record.doc, "vpcId")))
			add_blocks(s, i, a, &ret->prefixes);
	add_own(c, i, a, &ret->prefixes);
	return true;
}

static size_t instance_count(const struct core *c)
{
	struct cluster *cl;
	size_t count = 0;

	for (size_t n = 0; map_next(&c->clusters, &n, &cl);)
		count += cl->instances.count;
	return count;
}

void peers_send_all(struct core *c, const struct instance *to)
{
	auto_arena struct arena a = {0};
	struct ecs_node_peers message = {.full = true};
	struct ecs_node_peer *items;
	struct cluster *cl;
	struct instance *i;

	describe_self(c, to, &a, &message.self);
	if (!to->vpcs.count) { /* it has no use of any */
		effect_send(c, to, ECS_NODE_PEERS, &message);
		return;
	}
	items = arena_alloc(&a, (instance_count(c) + 1) * sizeof(*items));
	message.peers.items = items;
	for (size_t n = 0; map_next(&c->clusters, &n, &cl);)
		for (size_t k = 0; map_next(&cl->instances, &k, &i);)
			if (i != to && describe(c, i, to, &a, &items[message.peers.count]))
				message.peers.count++;
	effect_send(c, to, ECS_NODE_PEERS, &message);
}

static void send_one(struct core *c, const struct instance *i, const struct instance *to)
{
	auto_arena struct arena a = {0};
	struct ecs_node_peer peer;
	struct ecs_node_peers message = {.peers = {.items = &peer, .count = 1}};

	describe_self(c, to, &a, &message.self);
	(void)describe(c, i, to, &a, &peer);
	effect_send(c, to, ECS_NODE_PEERS, &message);
}

/* All others hear of it, and it of all others: it may be in another VPC now. */
static void tell(struct core *c, struct instance *i)
{
	struct cluster *cl;
	struct instance *to;

	for (size_t n = 0; map_next(&c->clusters, &n, &cl);)
		for (size_t k = 0; map_next(&cl->instances, &k, &to);)
			if (to != i && to->connected && to->vpcs.count)
				send_one(c, i, to);
	if (i->connected)
		peers_send_all(c, i);
}

void peers_flush(struct core *c)
{
	struct instance *i;

	while ((i = c->dirty_peers)) {
		c->dirty_peers = i->next_dirty;
		i->peer_dirty = false;
		tell(c, i);
	}
}

void peers_forget(struct core *c, struct instance *i)
{
	struct subnet *s;

	for (size_t n = 0; map_next(&c->subnets, &n, &s);)
		for (uint32_t k = 0; k < s->size / s->block_size; k++)
			if (s->block_owner[k] == i)
				s->block_owner[k] = NULL;
	map_done(&i->vpcs);
	i->vpcs = (struct map){0};
	peers_changed(c, i);
	peers_flush(c);
}
