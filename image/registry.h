/* image/registry.h - one repository of one registry, as a client sees it
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A get is one document or blob that is wanted.  It ends once, with all its
 * bytes or an error, and makes as many requests as that takes:
 *
 *   401        log in (Basic, or a token from where the challenge says), again
 *   redirect   followed by hand; the login goes to the registry's own origin only
 *   429, 5xx   again after Retry-After, or after a pause that doubles
 *   a break    go on by Range behind the last byte that came; not what a tag
 *              stands for, which may have moved
 *
 * One of a part of a blob ends where that does; who does not serve ranges is refused.
 *
 * A token is fetched once for all gets that wait for it.  Which of http and
 * https is spoken is found out by the first get: loopback hosts may speak http,
 * insecure registries https with any certificate or http; all others speak
 * https or not at all.
 *
 * Where other sources follow, one that brings nothing is not waited for.
 *
 * A peer is another node, known by its key.  It is asked once: no login, no redirect, no
 * second attempt, and a slow one is as bad as none.
 *
 * Runs in the fetcher only; all that comes is foreign.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/fetch.h"
#include "image/reference.h"
#include "image/wire.h"

#define REGISTRY_CONNECT_MS  15000
#define REGISTRY_STALL_S     25                /* a stalled transfer is noticed within 30 s */
#define REGISTRY_TOTAL_MS    (2 * 3600 * 1000) /* of one request: ECS gives a pull two hours */
#define REGISTRY_ATTEMPTS    5                 /* in a row that brought nothing */
#define REGISTRY_BREAKS      100 /* of one get: who brings a byte at a time is not waited for */
#define REGISTRY_RETRY_MS    500 /* before the second; then it doubles */
#define REGISTRY_RETRY_S_MAX 60  /* what Retry-After may ask for */
#define REGISTRY_REDIRECTS   5
#define REGISTRY_LOGINS      2 /* in a row that brought nothing */
#define PEER_CONNECT_MS      3000
#define PEER_STALL_S         8
#define PEER_STALL_BYTES     (64 << 10) /* a second */

struct registry;
struct registry_get;

/* Which host answers for a name. */
const char *registry_host(const struct reference *name);

struct registry_options {
	struct fetch *fetch;          /* borrowed; registries that run together share one */
	const struct reference *name; /* as it is called there; copied */
	const struct source
		*source; /* how to ask there; its .location was heeded already; borrowed */
	bool others_follow;
	bool is_peer;
};

struct registry *registry_new(const struct registry_options *o);
/* Gets that are going on end without a word.  NULL is fine. */
void registry_free(struct registry *r);

struct registry_want {
	const char *kind;   /* "manifests" or "blobs" */
	const char *id;     /* tag or digest */
	const char *accept; /* a whole header, or NULL */
	const char *url; /* where to ask first: registry_url() of another one; NULL: the registry */
	uint64_t begin;  /* bytes that the caller has already; exact ones only */
	uint64_t end;    /* bytes from there on are not wanted; 0: they are */
	uint64_t size;   /* bytes: exactly, or at most */
	bool exact;
	unsigned total_ms; /* 0: REGISTRY_TOTAL_MS */

	/* Some bytes, in order; may call registry_pause().  False ends the get. */
	bool (*on_data)(void *ctx, struct registry_get *g, const void *data, size_t size);
	/* Once; 'e' is NULL when all came.  The get is gone afterwards. */
	void (*on_end)(void *ctx, struct registry_get *g, const struct err *e);
	void *ctx;
};

/* Strings are copied. */
struct registry_get *registry_start(struct registry *r, const struct registry_want *want);
void registry_pause(struct registry_get *g);
void registry_resume(struct registry_get *g);
/* No more than so many bytes of the whole are wanted now; not less than have come. */
void registry_end_at(struct registry_get *g, uint64_t end);
/* No callback comes any more.  Not from its own. */
void registry_cancel(struct registry_get *g);

/* Where redirects have led it; NULL: it has not begun. */
const char *registry_url(const struct registry_get *g);

/* Headers of the answer that succeeded, until on_end returns; "" when absent. */
const char *registry_content_type(const struct registry_get *g);
const char *registry_content_digest(const struct registry_get *g);

/* fetch_run() of the fetch that all of them have, and what becomes due; runs the callbacks. */
int registry_run(struct registry *const *list, size_t count, struct pollfd *extra,
		 size_t extra_count, int timeout_ms, struct err *e);
