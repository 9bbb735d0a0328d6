/* scheduler/holders.h - which node has what of images, and who fetches what nobody has
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * Nodes say which blobs they hold, and ask for each that they are about to get.
 * Who asks is told another node of its cluster that has the blob, or that it is
 * the one to fetch it from the registry, or hears nothing until the one that is
 * has it.  So many nodes that want one image fetch each blob once.
 *
 *   want:  waits ─┬─ takes     from a node, which has one of its SLOTS for it
 *                 └─ fetches   from the registry: the others wait for it
 *
 * 1. Nothing of this is stored: it is what the connected nodes say, and goes with
 *    their sessions.  A node that loses its session asks nobody and fetches.
 * 2. A node fetches or takes for as long as its blob takes at HOLDERS_RATE and
 *    HOLDERS_GRACE_MS, then the next is asked to; who has waited for twice that
 *    fetches.  So whoever is slow, hangs, or lies holds the others up for a while only.
 * 3. Whom a node was introduced to hears when the node has gone, so that it is let
 *    in no more.
 * 4. A node is believed about itself only.  What it serves is checked by who takes it.
 *
 * A node serves SLOTS others at once.  Each that has taken a blob has it then, so that
 * a blob spreads to N nodes in the time of log N copies.
 *
 * No system call, no clock: everything is a function of the calls.
 */
#pragma once

#include <stdint.h>

#include "ecs/node.h"

#define HOLDERS_SLOTS     4
#define HOLDERS_GRACE_MS  15000
#define HOLDERS_RATE      1000000 /* bytes a second */
#define HOLDERS_WANTS_MAX 64      /* of one node; it fetches what is over */

struct holders;

struct holders_options {
	/* To a node that was added. */
	void (*send)(void *ctx, const char *instance, enum ecs_node_type type, const void *message);
	void *ctx;
};

struct holders *holders_new(const struct holders_options *o);
void holders_free(struct holders *h); /* NULL is fine */

/* A node that shares, by its hello; strings are copied. */
struct holders_node {
	const char *instance, *cluster;
	const char *address, *key;
	int64_t port; /* 0: it takes only */
};

/* One of that name takes the place of the one before. */
void holders_add(struct holders *h, const struct holders_node *n, int64_t now_ms);
/* It is connected no more, or removed; or was never added. */
void holders_remove(struct holders *h, const char *instance, int64_t now_ms);

/* What a node says; one that was not added is told to fetch. */
void holders_holds(struct holders *h, const char *instance, const struct ecs_node_holds *m,
		   int64_t now_ms);
void holders_want(struct holders *h, const char *instance, const struct ecs_node_want *m,
		  int64_t now_ms);
void holders_got(struct holders *h, const char *instance, const struct ecs_node_got *m,
		 int64_t now_ms);

/* Time has passed.  How long until it matters again; -1: nobody wants anything. */
int64_t holders_tick(struct holders *h, int64_t now_ms);
