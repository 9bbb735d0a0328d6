/* image/peers.c - other nodes that a fetcher gets blobs from
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each is a registry that is asked once.  Nothing that we tell a registry is told to
 * them: they know us by a key that is for nothing else.
 */
#include "image/peers.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"

#define GRACE_MS     30000
#define RATE_MIN     (256 << 10) /* bytes of the blob a second: what it unpacks to is more */
#define TOTAL_MS_MAX (2 * 3600 * 1000)

struct peer {
	struct image_peer who;
	struct source source;
	struct registry *registry; /* NULL: a free place */
	unsigned users;
};

struct peers {
	struct fetch *fetch;
	const struct source *self;
	const struct reference *name;
	struct peer items[PEERS_MAX];
};

struct peers *peers_new(struct fetch *fetch, const struct source *self,
			const struct reference *name)
{
	struct peers *p = xcalloc(1, sizeof(*p));

	p->fetch = fetch;
	p->self = self;
	p->name = name;
	return p;
}

/* At this place, which nobody uses. */
static bool open_at(const struct peers *p, struct peer *peer, const struct image_peer *who)
{
	struct reference name;
	const struct registry_options o = {.fetch = p->fetch,
					   .name = &name,
					   .source = &peer->source,
					   .others_follow = true,
					   .is_peer = true};
	struct err ignored;

	registry_free(peer->registry);
	peer->registry = NULL;
	peer->who = *who;
	peer->source = (struct source){.wants_tls = true};
	(void)snprintf(peer->source.location, sizeof(peer->source.location), "%s", who->address);
	memcpy(peer->source.peer_key, who->key, sizeof(who->key));
	memcpy(peer->source.certificate_file, p->self->certificate_file, PATH_MAX);
	memcpy(peer->source.key_file, p->self->key_file, PATH_MAX);
	if (!who->key[0] || reference_at(who->address, p->name, &name, &ignored) < 0)
		return false;
	peer->registry = registry_new(&o);
	return true;
}

struct peer *peers_use(struct peers *p, const struct image_peer *who)
{
	struct peer *room = NULL;

	for (size_t i = 0; i < PEERS_MAX; i++) {
		struct peer *peer = &p->items[i];

		if (peer->registry && strcmp(peer->who.address, who->address) == 0 &&
		    strcmp(peer->who.key, who->key) == 0) {
			peer->users++;
			return peer;
		}
		if (!peer->users && (!room || (room->registry && !peer->registry)))
			room = peer;
	}
	if (!room || !open_at(p, room, who))
		return NULL;
	room->users = 1;
	return room;
}

void peer_leave(struct peer *p)
{
	p->users--;
}

struct registry *peer_registry(const struct peer *p)
{
	return p->registry;
}

size_t peers_list(const struct peers *p, struct registry **list)
{
	size_t count = 0;

	for (size_t i = 0; i < PEERS_MAX; i++)
		if (p->items[i].registry)
			list[count++] = p->items[i].registry;
	return count;
}

unsigned peer_total_ms(uint64_t blob_size)
{
	uint64_t ms = GRACE_MS + blob_size / (RATE_MIN / 1000);

	return ms < TOTAL_MS_MAX ? (unsigned)ms : TOTAL_MS_MAX;
}
