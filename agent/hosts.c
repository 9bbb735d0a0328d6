/* agent/hosts.c - other hosts, and where addresses of their tasks lead
 * SPDX-License-Identifier: Apache-2.0
 *
 * What the server says of them is kept, so that tasks reach each other after a
 * restart of the host whether it can be asked or not.
 */
#include <errno.h>
#include <stdlib.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/text.h"

static int set(struct agent *a, const struct ecs_node_peer *p, struct err *e)
{
	auto_free struct ip_prefix *prefixes = xcalloc(p->prefixes.count + 1, sizeof(*prefixes));
	struct net_peer peer = {.id = p->instance_id,
				.prefixes = prefixes,
				.count = p->prefixes.count,
				.public_key = p->public_key};

	for (size_t i = 0; i < p->addresses.count; i++) {
		struct ip_prefix address;

		if (!ip_address_parse(p->addresses.items[i], &address))
			return err_set(e, EINVAL, "address '%.60s'", p->addresses.items[i]);
		peer.addresses[address.v6] = address;
	}
	for (size_t i = 0; i < p->prefixes.count; i++)
		if (!ip_prefix_parse(p->prefixes.items[i], &prefixes[i]))
			return err_set(e, EINVAL, "prefix '%.60s'", p->prefixes.items[i]);
	return net_peer_set(a->net, &peer, e);
}

/* No way there is no reason to forget it: each sweep tries again. */
static int set_or_wait(struct agent *a, const struct ecs_node_peer *p, struct err *e)
{
	int r = set(a, p, e);

	if (r < 0)
		log_warn("host %s: %s", p->instance_id, e->msg);
	return r == -EHOSTUNREACH || r == -EOPNOTSUPP ? 0 : r;
}

static int take(struct agent *a, const struct ecs_node_peer *p, struct err *e)
{
	if (p->gone || !p->prefixes.count) {
		if (net_peer_remove(a->net, p->instance_id, e) < 0)
			return -e->code;
		return records_drop_peer(a->records, p->instance_id, e);
	}
	if (set_or_wait(a, p, e) < 0)
		return -e->code;
	return records_put_peer(a->records, p, e);
}

struct stale {
	const struct ecs_node_peers *full;
	struct arena arena;
	struct js_strings ids;
	size_t capacity;
};

static int note_stale(void *ctx, const struct ecs_node_peer *p, struct err *e)
{
	struct stale *s = ctx;

	(void)e;
	for (size_t i = 0; i < s->full->peers.count; i++)
		if (str_eq(JS_AT(s->full->peers, struct ecs_node_peer, i)->instance_id,
			   p->instance_id))
			return 0;
	s->ids.items = xgrow(s->ids.items, s->ids.count, &s->capacity, sizeof(char *));
	s->ids.items[s->ids.count++] = arena_strdup(&s->arena, p->instance_id);
	return 0;
}

/* What is not in the full list should not be. */
static int drop_others(struct agent *a, const struct ecs_node_peers *full, struct err *e)
{
	struct stale s = {.full = full};
	int r = records_each_peer(a->records, note_stale, &s, e);

	for (size_t i = 0; r == 0 && i < s.ids.count; i++) {
		const struct ecs_node_peer gone = {.instance_id = s.ids.items[i], .gone = true};

		r = take(a, &gone, e);
	}
	free(s.ids.items);
	arena_done(&s.arena);
	return r;
}

/* Of this host itself. */
static int take_self(struct agent *a, const struct js_strings *addresses, struct err *e)
{
	struct ip_prefix self[NET_FAMILIES] = {0}, address;

	for (size_t i = 0; i < addresses->count; i++) {
		if (!ip_address_parse(addresses->items[i], &address))
			return err_set(e, EINVAL, "own address '%.60s'", addresses->items[i]);
		self[address.v6] = address;
	}
	return net_set_self(a->net, self, e);
}

int hosts_take(struct agent *a, const struct ecs_node_peers *message, struct err *e)
{
	if (take_self(a, &message->self, e) < 0 ||
	    (message->full && drop_others(a, message, e) < 0))
		return -e->code;
	for (size_t i = 0; i < message->peers.count; i++) {
		const struct ecs_node_peer *p = JS_AT(message->peers, struct ecs_node_peer, i);

		if (take(a, p, e) < 0)
			return err_wrap(e, "host %.40s", p->instance_id);
	}
	return 0;
}

static int load(void *ctx, const struct ecs_node_peer *p, struct err *e)
{
	(void)set_or_wait(ctx, p, e); /* the server will say it again */
	return 0;
}

int hosts_load(struct agent *a, struct err *e)
{
	return records_each_peer(a->records, load, a, e);
}
