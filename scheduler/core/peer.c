/* scheduler/core/peer.c - who hears of which other hosts
 * SPDX-License-Identifier: Apache-2.0
 *
 * A host needs to know where addresses of tasks lead, of all VPCs, for it may talk to
 * them itself; its own tasks reach those of their VPC only, which the senders' hosts see
 * to.  So every host hears of those that have blocks of addresses, and those of all, for
 * their tasks answer to hosts' own addresses.  Two hosts without a block have nothing to
 * say to each other.
 *
 * What changes is noted, and told at the end of the event: one host to all others, once.
 * The whole list goes to whom it is another one for: with a host's first block, or after
 * its last, of addresses of IPv6 too, and behind a hello.  What a host has of addresses is
 * put into words when that has changed, and not for each who hears of it; and so is the
 * message to all of them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/pattern.h"
#include "scheduler/core/vpc.h"

#define PREFIXES_MAX 128 /* of one peer: what a node takes (net/peers.h) */
#define OWN_MAX      2   /* addresses of the host itself, one of a family */
#define TEXT_MAX     (1 << 20)

/* ---- which VPCs a host is in ---- */

static uintptr_t blocks_in(const struct instance *i, const char *vpc)
{
	return (uintptr_t)map_find(&i->vpcs, vpc);
}

static bool has_blocks(const struct instance *i)
{
	return i->vpcs.count > 0;
}

static bool hears_of(const struct instance *to, const struct instance *i)
{
	return !i->removed && (has_blocks(i) || has_blocks(to));
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
	if (has_blocks(i))
		(void)map_put(&c->block_holders, i->id, i);
	else
		(void)map_remove(&c->block_holders, i->id);
	peers_forget_words(i);
	peers_changed(c, i);
}

/*
 * Whom a host has to do with: all if it has blocks, else those that have some.  So a hello
 * does not cost more the more hosts there are.
 */
struct reach {
	const struct core *c;
	bool all;
	struct cluster *cluster;
	size_t clusters, at; /* how far it is */
};

static bool reach_next(struct reach *r, struct instance **ret)
{
	if (!r->all)
		return map_next(&r->c->block_holders, &r->at, ret);
	while (!r->cluster || !map_next(&r->cluster->instances, &r->at, ret)) {
		if (!map_next(&r->c->clusters, &r->clusters, &r->cluster))
			return false;
		r->at = 0;
	}
	return true;
}

/* ---- in words ---- */

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

void peers_forget_words(struct instance *i)
{
	for (size_t n = 0; n < i->prefixes.count; n++)
		free(i->prefixes.items[n]);
	free(i->prefixes.items);
	i->prefixes = (struct js_strings){0};
	i->prefixes_known = false;
}

static void add_prefix(struct instance *i, size_t *capacity, const struct ip_prefix *p)
{
	char text[IP_TEXT_MAX];

	if (i->prefixes.count == PREFIXES_MAX - OWN_MAX)
		return;
	ip_prefix_format(p, text);
	i->prefixes.items = xgrow(i->prefixes.items, i->prefixes.count, capacity, sizeof(char *));
	i->prefixes.items[i->prefixes.count++] = xstrdup(text);
}

static void add_run(const struct subnet *s, struct instance *i, uint32_t first, uint32_t count,
		    size_t *capacity)
{
	uint32_t offset = first * s->block_size, size = count * s->block_size;
	const struct ip_prefix p = ip_of_v4(ip_v4(&s->cidr) + offset, 32 - bits_of(size));
	struct ip_prefix p6 = s->cidr6;

	if (s->cidr.length)
		add_prefix(i, capacity, &p);
	if (!s->cidr6.length)
		return;
	for (int k = 0; k < 4; k++)
		p6.address[15 - k] |= (unsigned char)(offset >> (8 * k));
	p6.length = 128 - bits_of(size);
	add_prefix(i, capacity, &p6);
}

static void add_blocks(const struct subnet *s, struct instance *i, size_t *capacity)
{
	uint32_t blocks = s->size / s->block_size;

	for (uint32_t n = 0; n < blocks;) {
		uint32_t count = 1;

		if (s->block_owner[n] == i) {
			count = run_of(s, i, n);
			add_run(s, i, n, count, capacity);
		}
		n += count;
	}
}

static const struct js_strings *prefixes_of(struct core *c, struct instance *i)
{
	size_t capacity = 0;
	struct subnet *s;

	if (i->prefixes_known)
		return &i->prefixes;
	for (size_t n = 0; has_blocks(i) && map_next(&c->subnets, &n, &s);)
		if (blocks_in(i, doc_string(s->record.doc, "vpcId")))
			add_blocks(s, i, &capacity);
	i->prefixes_known = true;
	return &i->prefixes;
}

static bool has_ipv6(struct core *c, struct instance *i)
{
	const struct js_strings *all = prefixes_of(c, i);

	for (size_t n = 0; n < all->count; n++)
		if (strchr(all->items[n], ':'))
			return true;
	return false;
}

static void describe_self(struct core *c, const struct instance *i, struct arena *a,
			  struct js_strings *ret)
{
	struct ip_prefix own[OWN_MAX];

	ret->items = arena_alloc(a, OWN_MAX * sizeof(char *));
	for (size_t v6 = 0; host_address_of(c, i, own) && v6 < OWN_MAX; v6++) {
		char text[IP_TEXT_MAX];

		ip_address_format(&own[v6], text);
		ret->items[ret->count++] = arena_strdup(a, text);
	}
}

static char *borrowed(const json_t *doc, const char *name)
{
	return (char *)(uintptr_t)doc_string(doc, name);
}

/*
 * 'i' as others may know it; borrows from it.  The last prefixes are the host's own
 * addresses: how many are of IPv6 is in *ret_own6, for whom has no use of them.
 */
static void describe(struct core *c, struct instance *i, struct arena *a, struct ecs_node_peer *ret,
		     size_t *ret_own6)
{
	const json_t *doc = i->record.doc, *addresses = json_object_get(doc, "_addresses");
	const struct js_strings *blocks = prefixes_of(c, i);
	char *const *own = host_address_prefixes(i);
	json_t *address;
	size_t n;

	*ret = (struct ecs_node_peer){.instance_id = i->id,
				      .public_key = borrowed(doc, "_publicKey")};
	ret->addresses.items = arena_alloc(a, (json_array_size(addresses) + 1) * sizeof(char *));
	json_array_foreach ((json_t *)(uintptr_t)addresses, n, address)
		ret->addresses.items[ret->addresses.count++] =
			(char *)(uintptr_t)json_string_value(address);
	ret->prefixes.items = arena_alloc(a, (blocks->count + OWN_MAX) * sizeof(char *));
	if (blocks->count)
		memcpy(ret->prefixes.items, blocks->items, blocks->count * sizeof(char *));
	ret->prefixes.count = blocks->count;
	*ret_own6 = 0;
	for (size_t v6 = 0; own && v6 < OWN_MAX; v6++) {
		ret->prefixes.items[ret->prefixes.count++] = own[v6];
		*ret_own6 += v6;
	}
}

/* ---- told ---- */

/* A host's own address of IPv6 is for those who have to do with tasks' ones. */
static size_t unwanted(struct core *c, struct instance *i, struct instance *to, size_t own6)
{
	return has_ipv6(c, i) || has_ipv6(c, to) ? 0 : own6;
}

/* Can it be reached, and does anything lead there? */
static bool is_somewhere(const struct ecs_node_peer *p)
{
	return p->addresses.count && p->prefixes.count;
}

void peers_send_all(struct core *c, struct instance *to)
{
	auto_arena struct arena a = {0};
	auto_free struct ecs_node_peer *items = NULL;
	struct ecs_node_peers message = {.full = true};
	struct reach reach = {.c = c, .all = has_blocks(to)};
	size_t capacity = 0, own6;
	struct instance *i;

	describe_self(c, to, &a, &message.self);
	while (reach_next(&reach, &i)) {
		struct ecs_node_peer *p;

		if (i == to || !hears_of(to, i))
			continue;
		items = xgrow(items, message.peers.count, &capacity, sizeof(*items));
		p = &items[message.peers.count];
		describe(c, i, &a, p, &own6);
		p->prefixes.count -= unwanted(c, i, to, own6);
		message.peers.count += is_somewhere(p);
	}
	message.peers.items = items;
	effect_send(c, to, ECS_NODE_PEERS, &message);
}

/* How a host is told: as gone or as it is, with its own address of IPv6 or without. */
enum manner { GONE, WHOLE, WITHOUT_IPV6, MANNERS };

/* A host that others are told of: to each the same, but for the addresses of whom it is told to. */
struct telling {
	struct core *c;
	struct instance *i;
	struct ecs_node_peer as;
	size_t own6;
	struct pattern texts[MANNERS];
};

static void telling_done(struct telling *t)
{
	for (size_t n = 0; n < MANNERS; n++)
		pattern_done(&t->texts[n]);
}
#define auto_telling __attribute__((cleanup(telling_done)))

/* With a hole for the addresses. */
static const struct pattern *text_of(struct telling *t, enum manner manner)
{
	struct pattern *p = &t->texts[manner];
	char mark[PATTERN_MARK + 1], hole[PATTERN_HOLE + 1], *self = hole;
	struct ecs_node_peer peer = t->as;
	const struct ecs_node_peers message = {.peers = {.items = &peer, .count = 1},
					       .self = {&self, 1}};
	auto_free char *text = NULL;

	if (p->text)
		return p;
	if (manner == GONE)
		peer = (struct ecs_node_peer){.instance_id = t->i->id, .gone = true};
	else if (manner == WITHOUT_IPV6)
		peer.prefixes.count -= t->own6;
	core_random_hex(t->c, mark, PATTERN_MARK);
	pattern_hole(mark, PATTERN_BARE, hole);
	text = ecs_node_dump(ECS_NODE_PEERS, &message);
	pattern_make(p, text, strlen(text), mark);
	return p;
}

/* To one who hears of it, or did. */
static void tell_one(struct telling *t, struct instance *to)
{
	const size_t without = unwanted(t->c, t->i, to, t->own6);
	struct ecs_node_peer p = t->as;
	struct buf text = BUF_INIT(TEXT_MAX);
	enum manner manner = without ? WITHOUT_IPV6 : WHOLE;
	const char *list = host_address_list(to), *self = list ? list : "";

	p.prefixes.count -= without;
	if (!hears_of(to, t->i) || !is_somewhere(&p))
		manner = GONE;
	pattern_fill(text_of(t, manner), &self, &text);
	effect_send_text(t->c, to, text.data);
}

/* By what of blocks a host has it hears of others. */
enum blocks { NO_BLOCKS, BLOCKS, BLOCKS_OF_IPV6 };

static enum blocks kinds_of(struct core *c, struct instance *i)
{
	if (has_ipv6(c, i))
		return BLOCKS_OF_IPV6;
	return has_blocks(i) ? BLOCKS : NO_BLOCKS;
}

static void tell(struct core *c, struct instance *i)
{
	const enum blocks had = i->told_blocks, has = kinds_of(c, i);
	auto_arena struct arena a = {0};
	auto_telling struct telling t = {.c = c, .i = i};
	struct reach reach = {.c = c, .all = has || had};
	struct instance *to;

	describe(c, i, &a, &t.as, &t.own6);
	while (reach_next(&reach, &to))
		if (to != i && to->connected)
			tell_one(&t, to);
	i->told_blocks = (uint8_t)has;
	if (i->connected && has != had)
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
	(void)map_remove(&c->block_holders, i->id);
	i->removed = true;
	peers_forget_words(i);
	peers_changed(c, i);
	peers_flush(c);
}
