/* net/ipam.h - which addresses of the block are free
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * One bit for each address, and a queue of those that rest.  Addresses are
 * handed out in a circle, and one that was given back rests ADDRESS_REST_MS
 * first, so that a late packet or a stale cache does not find another task
 * behind it.  When nothing else is left the longest rested is taken: better a
 * short rest than no task.
 *
 * The files of the state directory are the truth; this is made from them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/block.h"

#define ADDRESS_REST_MS 30000

struct ipam_rest {
	uint32_t address;
	int64_t until_ms;
};

struct ipam {
	struct block block;
	uint64_t *used;            /* a bit for each address of the block; the resting ones count */
	uint32_t free;             /* not used, not resting */
	uint32_t next;             /* offset where the search begins */
	struct ipam_rest *resting; /* a queue, oldest at 'rest_first' */
	size_t rest_first, rest_count, rest_capacity;
};

void ipam_init(struct ipam *p, const struct block *block);
void ipam_done(struct ipam *p);

/* The address is in use (found after a start). False: outside the block, or in use already. */
bool ipam_mark(struct ipam *p, uint32_t address);

/*
 * One address whose rest is over by 'now_ms', or must be because nothing else
 * is free; false: no more.  It is free then.
 */
bool ipam_wake(struct ipam *p, int64_t now_ms, uint32_t *ret);

/* A free address; false: none. */
bool ipam_take(struct ipam *p, uint32_t *ret);

/* An address that was taken or marked begins its rest. */
void ipam_release(struct ipam *p, uint32_t address, int64_t now_ms);
