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

/* Hosts to be told to the network all at once: they may be thousands. */
struct hosts {
	struct agent *agent;
	struct arena arena;
	struct net_peer *items;
	size_t count, capacity;
	struct err first; /* why one of them cannot be reached now, or was not taken */
	size_t failed;
};

static void hosts_done(struct hosts *h)
{
	free(h->items);
	arena_done(&h->arena);
}
#define auto_hosts __attribute__((cleanup(hosts_done)))

static int add(struct hosts *h, const struct ecs_node_peer *p, struct err *e)
{
	struct ip_prefix *prefixes = arena_alloc(&h->arena,
						 (p->prefixes.count + 1) * sizeof(*prefixes));
	struct net_peer peer = {.id = arena_strdup(&h->arena, p->instance_id),
				.prefixes = prefixes,
				.count = p->prefixes.count};

	if (p->public_key)
		peer.public_key = arena_strdup(&h->arena, p->public_key);
	for (size_t i = 0; i < p->addresses.count; i++) {
		struct ip_prefix address;

		if (!ip_address_parse(p->addresses.items[i], &address))
			return err_set(e, EINVAL, "host %.40s: address '%.60s'", p->instance_id,
				       p->addresses.items[i]);
		peer.addresses[address.v6] = address;
	}
	for (size_t i = 0; i < p->prefixes.count; i++)
		if (!ip_prefix_parse(p->prefixes.items[i], &prefixes[i]))
			return err_set(e, EINVAL, "host %.40s: prefix '%.60s'", p->instance_id,
				       p->prefixes.items[i]);
	h->items = xgrow(h->items, h->count, &h->capacity, sizeof(*h->items));
	h->items[h->count++] = peer;
	return 0;
}

/* No way there is no reason to forget it: each sweep tries again. */
static void note_failure(void *ctx, const struct net_peer *peer, const struct err *why)
{
	struct hosts *h = ctx;

	(void)peer;
	if (!h->failed++)
		h->first = *why;
}

/* What keeps hosts from being reached is said once, for all of them. */
static int set_all(struct hosts *h, struct err *e)
{
	int r = net_peers_set(h->agent->net, h->items, h->count, note_failure, h, e);

	if (h->failed > 1)
		log_warn("hosts: %s; and %zu more are not reached", h->first.msg, h->failed - 1);
	else if (h->failed)
		log_warn("hosts: %s", h->first.msg);
	return r;
}

/* ---- what the server says ---- */

static bool is_gone(const struct ecs_node_peer *p)
{
	return p->gone || !p->prefixes.count;
}

struct stale {
	struct map known; /* ids of the full list */
	struct arena arena;
	struct js_strings ids;
	size_t capacity;
};

static int note_stale(void *ctx, const struct ecs_node_peer *p, struct err *e)
{
	struct stale *s = ctx;

	(void)e;
	if (map_find(&s->known, p->instance_id))
		return 0;
	s->ids.items = xgrow(s->ids.items, s->ids.count, &s->capacity, sizeof(char *));
	s->ids.items[s->ids.count++] = arena_strdup(&s->arena, p->instance_id);
	return 0;
}

/* What is not in the full list should not be. */
static int drop_others(struct agent *a, const struct ecs_node_peers *full, struct err *e)
{
	auto_free const char **ids = xcalloc(full->peers.count + 1, sizeof(char *));
	struct stale s = {.ids = {0}};
	int r;

	for (size_t i = 0; i < full->peers.count; i++) {
		struct ecs_node_peer *p = JS_AT(full->peers, struct ecs_node_peer, i);

		ids[i] = p->instance_id;
		(void)map_put(&s.known, p->instance_id, p);
	}
	r = net_peers_keep_only(a->net, ids, full->peers.count, e);
	if (r == 0)
		r = records_each_peer(a->records, note_stale, &s, e);
	for (size_t i = 0; r == 0 && i < s.ids.count; i++)
		r = records_drop_peer(a->records, s.ids.items[i], e);
	map_done(&s.known);
	free(s.ids.items);
	arena_done(&s.arena);
	return r;
}

static int drop(struct agent *a, const char *id, struct err *e)
{
	if (net_peer_remove(a->net, id, e) < 0)
		return -e->code;
	return records_drop_peer(a->records, id, e);
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
	auto_hosts struct hosts hosts = {.agent = a};

	if (take_self(a, &message->self, e) < 0 ||
	    (message->full && drop_others(a, message, e) < 0))
		return -e->code;
	for (size_t i = 0; i < message->peers.count; i++) {
		const struct ecs_node_peer *p = JS_AT(message->peers, struct ecs_node_peer, i);

		if ((is_gone(p) ? drop(a, p->instance_id, e) : add(&hosts, p, e)) < 0)
			return -e->code;
	}
	if (set_all(&hosts, e) < 0)
		return -e->code;
	for (size_t i = 0; i < message->peers.count; i++) {
		const struct ecs_node_peer *p = JS_AT(message->peers, struct ecs_node_peer, i);

		if (!is_gone(p) && records_put_peer(a->records, p, e) < 0)
			return -e->code;
	}
	return 0;
}

/* ---- what it said last ---- */

static int load(void *ctx, const struct ecs_node_peer *p, struct err *e)
{
	(void)add(ctx, p, e); /* the server will say it again */
	return 0;
}

int hosts_load(struct agent *a, struct err *e)
{
	auto_hosts struct hosts hosts = {.agent = a};

	if (records_each_peer(a->records, load, &hosts, e) < 0)
		return -e->code;
	if (set_all(&hosts, e) < 0)
		log_error("hosts: %s", e->msg);
	return 0;
}
