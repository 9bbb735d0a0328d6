/* image/peers.h - other nodes that a fetcher gets blobs from
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdint.h>

#include "base/fetch.h"
#include "image/inflate.h"
#include "image/reference.h"
#include "image/registry.h"
#include "image/sharing.h"
#include "image/wire.h"

#define PEERS_MAX 8 /* at once: more than there are flights of one pull */

struct peer;
struct peers;

/* 'self' says who we are: .certificate_file, .key_file; borrowed, as the fetch. */
struct peers *peers_new(struct fetch *fetch, const struct source *self,
			const struct reference *name);

/* For one get; NULL: its address is none, or too many are in use. */
struct peer *peers_use(struct peers *p, const struct image_peer *who);
void peer_leave(struct peer *p);
struct registry *peer_registry(const struct peer *p);

/* Those that there are, behind what is in the list already. */
size_t peers_list(const struct peers *p, struct registry **list);

/*
 * Of a layer's tar only the digest is known: the most that it may have, as with what a
 * registry's blob of that size may unpack to; and how long one may take.
 */
static inline uint64_t peer_tar_max(uint64_t blob_size)
{
	uint64_t max = blob_size * INFLATE_RATIO_MAX;

	if (max < INFLATE_RATIO_FROM)
		max = INFLATE_RATIO_FROM;
	return max / INFLATE_RATIO_MAX >= blob_size && max < INFLATE_BYTES_MAX ? max
									       : INFLATE_BYTES_MAX;
}
unsigned peer_total_ms(uint64_t blob_size);
