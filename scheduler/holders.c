/* scheduler/holders.c - which node has what of images, and who fetches what nobody has
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/holders.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"

#define LOOKED_AT       64 /* of a blob's holders, to find the one with the most room */
#define INTRODUCED_MAX  32 /* to whom a node was, last */
#define PATIENCE_MAX_MS (15 * 60 * 1000)
#define ID_SIZE         64
#define TICK_MS         1000
#define DIGEST_PREFIX   "sha256:"

struct blob;
struct node;

enum want_state { WANT_WAITS, WANT_TAKES, WANT_FETCHES };

struct want {
	struct want *next, *next_of_node; /* of the blob: in the order in which they came */
	struct blob *blob;
	struct node *node;
	enum want_state state;
	struct node *from; /* TAKES; NULL: that one has gone */
	bool serves;
	char avoid[ECS_NODE_AVOID_MAX][ID_SIZE];
	size_t avoid_count;
	int64_t patience_ms, due_ms;
};

/* Holding is a pair: each side knows where it stands at the other. */
struct held {
	struct blob *blob;
	size_t at; /* of the blob's holders */
};

struct holder {
	struct node *node;
	size_t at; /* of what the node holds */
};

/* As one cluster sees it: others have one of their own. */
struct blob {
	char *name; /* CLUSTER/DIGEST */
	const char *digest;
	struct holder *holders;
	size_t count, capacity, turn; /* the last: where to look first */
	struct want *wants, **last_want;
	size_t waiting;
};

struct node {
	char *instance, *cluster, *address, *key;
	int64_t port;
	struct held *held;
	size_t count, capacity;
	struct want *wants, *takers[HOLDERS_SLOTS];
	size_t want_count;
	char introduced[INTRODUCED_MAX][ID_SIZE]; /* a ring */
	size_t introduced_next;
};

struct holders {
	struct holders_options o;
	struct map nodes, blobs;
	size_t want_count;
};

static bool is_digest(const char *text)
{
	unsigned char ignored[SHA256_SIZE];

	return text && str_starts(text, DIGEST_PREFIX) &&
	       hex_decode(text + strlen(DIGEST_PREFIX), ignored, sizeof(ignored));
}

/* ---- blobs and who has them ---- */

static struct blob *find_blob(struct holders *h, const struct node *n, const char *digest)
{
	auto_free char *name = xasprintf("%s/%s", n->cluster, digest);

	return map_find(&h->blobs, name);
}

/* For a node: made when it is new. */
static struct blob *blob_of(struct holders *h, const struct node *n, const char *digest)
{
	struct blob *b = find_blob(h, n, digest);

	if (b)
		return b;
	b = xcalloc(1, sizeof(*b));
	b->name = xasprintf("%s/%s", n->cluster, digest);
	b->digest = b->name + strlen(n->cluster) + 1;
	b->last_want = &b->wants;
	(void)map_put(&h->blobs, b->name, b);
	return b;
}

static void forget_if_unused(struct holders *h, struct blob *b)
{
	if (b->count || b->wants)
		return;
	(void)map_remove(&h->blobs, b->name);
	free(b->holders);
	free(b->name);
	free(b);
}

/* By whichever of the two lists is shorter. */
static bool has(const struct node *n, const struct blob *b)
{
	size_t count = n->count < b->count ? n->count : b->count;

	for (size_t i = 0; i < count; i++)
		if (n->count < b->count ? n->held[i].blob == b : b->holders[i].node == n)
			return true;
	return false;
}

static void hold(struct node *n, struct blob *b)
{
	if (!n->port || n->count == ECS_NODE_HOLDS_MAX || has(n, b))
		return;
	n->held = xgrow(n->held, n->count, &n->capacity, sizeof(*n->held));
	b->holders = xgrow(b->holders, b->count, &b->capacity, sizeof(*b->holders));
	n->held[n->count] = (struct held){b, b->count};
	b->holders[b->count++] = (struct holder){n, n->count++};
}

/* The i-th of what the node holds; the last takes its place on both sides. */
static void unhold_at(struct holders *h, struct node *n, size_t i)
{
	struct held gone = n->held[i];
	struct blob *b = gone.blob;

	b->holders[gone.at] = b->holders[--b->count];
	b->holders[gone.at].node->held[b->holders[gone.at].at].at = gone.at;
	n->held[i] = n->held[--n->count];
	if (i < n->count)
		n->held[i].blob->holders[n->held[i].at].at = i;
	forget_if_unused(h, b);
}

/* ---- wants ---- */

static bool avoids(const struct want *w, const struct node *n)
{
	for (size_t i = 0; i < w->avoid_count; i++)
		if (strcmp(w->avoid[i], n->instance) == 0)
			return true;
	return false;
}

static size_t taken_slots(const struct node *n)
{
	size_t count = 0;

	for (size_t i = 0; i < HOLDERS_SLOTS; i++)
		count += n->takers[i] != NULL;
	return count;
}

/* The one with the most room; NULL: none, or *ret_busy. */
static struct node *pick(struct blob *b, const struct want *w, bool *ret_busy)
{
	size_t look = b->count < LOOKED_AT ? b->count : LOOKED_AT, least = HOLDERS_SLOTS;
	struct node *best = NULL;

	*ret_busy = false;
	for (size_t i = 0; i < look; i++) {
		struct node *n = b->holders[(b->turn + i) % b->count].node;
		size_t slots = taken_slots(n);

		if (n == w->node || avoids(w, n))
			continue;
		*ret_busy = true;
		if (slots < least) {
			least = slots;
			best = n;
		}
	}
	b->turn += look;
	return best;
}

/* Does a node fetch it, for others to take?  Those that wait came later. */
static bool is_fetched(const struct blob *b)
{
	for (const struct want *w = b->wants; w; w = w->next)
		if (w->state == WANT_FETCHES && w->serves)
			return true;
	return false;
}

static void unlink_want(struct want *w)
{
	struct want **p = &w->blob->wants;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	if (!w->next)
		w->blob->last_want = p;
	for (p = &w->node->wants; *p != w;)
		p = &(*p)->next_of_node;
	*p = w->next_of_node;
}

static void leave_slot(struct want *w)
{
	for (size_t i = 0; w->from && i < HOLDERS_SLOTS; i++)
		if (w->from->takers[i] == w)
			w->from->takers[i] = NULL;
	w->from = NULL;
}

static void set_state(struct want *w, enum want_state state, int64_t due_ms)
{
	w->blob->waiting -= w->state == WANT_WAITS;
	w->blob->waiting += state == WANT_WAITS;
	w->state = state;
	w->due_ms = due_ms;
}

/* Who waits for its blob, and whoever waits for the slot that it had, is to be looked at. */
static void end_want(struct holders *h, struct want *w)
{
	w->blob->waiting -= w->state == WANT_WAITS;
	leave_slot(w);
	unlink_want(w);
	w->node->want_count--;
	h->want_count--;
	free(w);
}

static void introduce(struct holders *h, struct node *n, const struct node *to)
{
	const struct ecs_node_introduce message = {.key = n->key};
	bool known = false;

	h->o.send(h->o.ctx, to->instance, ECS_NODE_INTRODUCE, &message);
	for (size_t i = 0; i < INTRODUCED_MAX; i++)
		known |= strcmp(n->introduced[i], to->instance) == 0;
	if (known)
		return;
	(void)snprintf(n->introduced[n->introduced_next++ % INTRODUCED_MAX], ID_SIZE, "%s",
		       to->instance);
}

/* Whoever may come is known before it is sent. */
static void take(struct holders *h, struct want *w, struct node *from, int64_t now_ms)
{
	const struct ecs_node_source message = {.digest = (char *)(uintptr_t)w->blob->digest,
						.instance_id = from->instance,
						.address = from->address,
						.port = from->port,
						.key = from->key};
	size_t i = 0;

	while (from->takers[i])
		i++;
	from->takers[i] = w;
	w->from = from;
	set_state(w, WANT_TAKES, now_ms + w->patience_ms);
	introduce(h, w->node, from);
	h->o.send(h->o.ctx, w->node->instance, ECS_NODE_SOURCE, &message);
}

static void send_to_registry(struct holders *h, const char *instance, const char *digest)
{
	const struct ecs_node_source message = {.digest = (char *)(uintptr_t)digest};

	h->o.send(h->o.ctx, instance, ECS_NODE_SOURCE, &message);
}

static void fetch(struct holders *h, struct want *w, int64_t now_ms)
{
	set_state(w, WANT_FETCHES, now_ms + w->patience_ms);
	send_to_registry(h, w->node->instance, w->blob->digest);
	if (!w->serves) /* nobody gains by waiting for it */
		end_want(h, w);
}

/* False: it goes on waiting. */
static bool settle_one(struct holders *h, struct want *w, int64_t now_ms)
{
	bool busy;
	struct node *from = pick(w->blob, w, &busy);

	if (from)
		take(h, w, from, now_ms);
	else if (!busy && !is_fetched(w->blob))
		fetch(h, w, now_ms);
	else
		return false;
	return true;
}

/* What may go on now goes on: behind one that waits and would take from anybody all do. */
static void settle(struct holders *h, struct blob *b, int64_t now_ms)
{
	bool stuck = false;

	for (struct want *w = b->waiting ? b->wants : NULL, *next; w && !stuck; w = next) {
		next = w->next;
		if (w->state == WANT_WAITS)
			stuck = !settle_one(h, w, now_ms) && !w->avoid_count;
	}
	forget_if_unused(h, b);
}

/* A slot of the node is free: of whatever it holds somebody may take. */
static void settle_holder(struct holders *h, const struct node *n, int64_t now_ms)
{
	for (size_t i = 0; i < n->count; i++)
		if (n->held[i].blob->waiting)
			settle(h, n->held[i].blob, now_ms);
}

static void end_and_settle(struct holders *h, struct want *w, int64_t now_ms)
{
	const struct node *from = w->from;
	struct blob *b = w->blob;

	end_want(h, w);
	settle(h, b, now_ms);
	if (from)
		settle_holder(h, from, now_ms);
}

static struct want *want_of(const struct node *n, const char *digest)
{
	struct want *w = n->wants;

	while (w && strcmp(w->blob->digest, digest) != 0)
		w = w->next_of_node;
	return w;
}

static void copy_avoided(const struct ecs_node_want *m, struct want *w)
{
	for (size_t i = 0; i < m->avoid.count && w->avoid_count < ECS_NODE_AVOID_MAX; i++)
		if (strlen(m->avoid.items[i]) < ID_SIZE)
			(void)snprintf(w->avoid[w->avoid_count++], ID_SIZE, "%s",
				       m->avoid.items[i]);
}

static void add_want(struct holders *h, struct node *n, const struct ecs_node_want *m,
		     int64_t now_ms)
{
	struct want *w = xcalloc(1, sizeof(*w));
	struct blob *b = blob_of(h, n, m->digest);
	int64_t size = m->size > 0 ? m->size : 0;

	w->node = n;
	w->blob = b;
	w->serves = m->serves && n->port;
	copy_avoided(m, w);
	w->patience_ms = HOLDERS_GRACE_MS + size / (HOLDERS_RATE / 1000);
	if (w->patience_ms > PATIENCE_MAX_MS)
		w->patience_ms = PATIENCE_MAX_MS;
	w->due_ms = now_ms + 2 * w->patience_ms;
	b->waiting++;
	*b->last_want = w;
	b->last_want = &w->next;
	w->next_of_node = n->wants;
	n->wants = w;
	n->want_count++;
	h->want_count++;
	(void)settle_one(h, w, now_ms);
	forget_if_unused(h, b);
}

void holders_want(struct holders *h, const char *instance, const struct ecs_node_want *m,
		  int64_t now_ms)
{
	struct node *n = map_find(&h->nodes, instance);
	struct want *before = n ? want_of(n, m->digest) : NULL;

	if (before)
		end_and_settle(h, before, now_ms);
	if (!n || !is_digest(m->digest) || n->want_count == HOLDERS_WANTS_MAX)
		send_to_registry(h, instance, m->digest);
	else
		add_want(h, n, m, now_ms);
}

void holders_got(struct holders *h, const char *instance, const struct ecs_node_got *m,
		 int64_t now_ms)
{
	struct node *n = map_find(&h->nodes, instance);
	struct want *w = n ? want_of(n, m->digest) : NULL;
	const struct node *from = w ? w->from : NULL;

	if (!n || !is_digest(m->digest))
		return;
	if (!m->failed)
		hold(n, blob_of(h, n, m->digest));
	if (w)
		end_want(h, w);
	settle(h, blob_of(h, n, m->digest), now_ms);
	if (from)
		settle_holder(h, from, now_ms);
}

/* ---- what nodes hold ---- */

static void drop(struct holders *h, struct node *n, const char *digest)
{
	const struct blob *b = find_blob(h, n, digest);

	for (size_t i = 0; b && i < n->count; i++) {
		if (n->held[i].blob != b)
			continue;
		unhold_at(h, n, i);
		return;
	}
}

void holders_holds(struct holders *h, const char *instance, const struct ecs_node_holds *m,
		   int64_t now_ms)
{
	struct node *n = map_find(&h->nodes, instance);

	if (!n)
		return;
	while (m->full && n->count)
		unhold_at(h, n, n->count - 1);
	for (size_t i = 0; i < m->gone.count; i++)
		drop(h, n, m->gone.items[i]);
	for (size_t i = 0; i < m->digests.count && n->count < ECS_NODE_HOLDS_MAX; i++) {
		if (!is_digest(m->digests.items[i]))
			continue;
		hold(n, blob_of(h, n, m->digests.items[i]));
		settle(h, blob_of(h, n, m->digests.items[i]), now_ms);
	}
}

/* ---- nodes ---- */

void holders_add(struct holders *h, const struct holders_node *o, int64_t now_ms)
{
	struct node *n = xcalloc(1, sizeof(*n));

	assert(o->key && o->address);

	holders_remove(h, o->instance, now_ms);
	n->instance = xstrdup(o->instance);
	n->cluster = xstrdup(o->cluster);
	n->address = xstrdup(o->address);
	n->key = xstrdup(o->key);
	n->port = o->port;
	(void)map_put(&h->nodes, o->instance, n);
}

static void free_node(struct node *n)
{
	free(n->held);
	free(n->instance);
	free(n->cluster);
	free(n->address);
	free(n->key);
	free(n);
}

static void say_farewell(struct holders *h, struct node *n)
{
	const struct ecs_node_introduce gone = {.key = n->key, .gone = true};

	for (size_t i = 0; i < INTRODUCED_MAX; i++)
		if (n->introduced[i][0] && map_find(&h->nodes, n->introduced[i]))
			h->o.send(h->o.ctx, n->introduced[i], ECS_NODE_INTRODUCE, &gone);
}

void holders_remove(struct holders *h, const char *instance, int64_t now_ms)
{
	struct node *n = map_remove(&h->nodes, instance);

	if (!n)
		return;
	for (size_t i = 0; i < HOLDERS_SLOTS; i++)
		if (n->takers[i])
			n->takers[i]->from = NULL; /* it notices by itself */
	while (n->count)
		unhold_at(h, n, n->count - 1);
	while (n->wants)
		end_and_settle(h, n->wants, now_ms);
	say_farewell(h, n);
	free_node(n);
}

/* ---- time ---- */

static void give_up_late(struct holders *h, struct node *n, int64_t now_ms)
{
	for (struct want *w = n->wants, *next; w; w = next) {
		next = w->next_of_node;
		if (w->due_ms > now_ms)
			continue;
		if (w->state == WANT_WAITS)
			fetch(h, w, now_ms);
		else
			end_and_settle(h, w, now_ms);
		next = n->wants; /* others may have ended by that */
		while (next && next->due_ms > now_ms)
			next = next->next_of_node;
	}
}

int64_t holders_tick(struct holders *h, int64_t now_ms)
{
	struct node *n;

	for (size_t i = 0; h->want_count && map_next(&h->nodes, &i, &n);)
		give_up_late(h, n, now_ms);
	return h->want_count ? TICK_MS : -1;
}

/* ---- life ---- */

struct holders *holders_new(const struct holders_options *o)
{
	struct holders *h = xcalloc(1, sizeof(*h));

	h->o = *o;
	return h;
}

static void send_nothing(void *ctx, const char *instance, enum ecs_node_type type,
			 const void *message)
{
	(void)ctx;
	(void)instance;
	(void)type;
	(void)message;
}

void holders_free(struct holders *h)
{
	struct node *n;

	if (!h)
		return;
	h->o.send = send_nothing;
	for (size_t i = 0; map_next(&h->nodes, &i, &n);)
		holders_remove(h, n->instance, 0);
	map_done(&h->nodes);
	map_done(&h->blobs);
	free(h);
}
