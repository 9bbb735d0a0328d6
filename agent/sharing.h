/* agent/sharing.h - images from and for other nodes of the cluster: a part of agent/internal.h
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ecs/node.h"
#include "image/image.h"

struct agent;
struct sharing;

/* NULL: this node shares nothing, which is fine for all of these but those of pulls. */
struct sharing *sharing_new(struct agent *a);
void sharing_free(struct sharing *s);

/* What hello says of it. */
void sharing_describe(const struct sharing *s, struct arena *arena, struct ecs_node_hello *hello);
/* The server is there, or is not. */
void sharing_welcomed(struct sharing *s);
void sharing_lost(struct sharing *s);
void sharing_on_source(struct sharing *s, const struct ecs_node_source *m);
void sharing_on_introduce(struct sharing *s, const struct ecs_node_introduce *m);

/* Images came, or are to be removed: the server hears soon of what is held. */
void sharing_changed(struct sharing *s);

/* Who we are to other nodes, for a pull that asks; NULL: one that begins now asks nobody. */
const char *sharing_file(const struct sharing *s);
/* What such a pull says; it is answered, by image_pull_from(), at once or later. */
void sharing_want(struct sharing *s, struct image_pull *pull, const char *digest, uint64_t size,
		  bool keeps_blobs);
void sharing_bad(struct sharing *s, const struct image_pull *pull, const char *digest,
		 const char *why);
void sharing_got(struct sharing *s, const struct image_pull *pull, const char *digest);
/* It has ended, well or not; the pull still lives. */
void sharing_over(struct sharing *s, const struct image_pull *pull);
