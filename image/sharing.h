/* image/sharing.h - images between nodes: part of the facade, image/image.h
 * SPDX-License-Identifier: Apache-2.0
 *
 * What a store holds is had from it by digest: layers as their tars (by diff-id), blobs as
 * registries have them where they are kept, configurations, manifests and indexes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"

struct image_store;

/* A node that serves what it holds. */
#define IMAGE_PEER_TEXT 64
struct image_peer {
	char address[IMAGE_PEER_TEXT]; /* "10.0.0.2:4568" */
	char key[SHA256_HEX];          /* SHA-256 of its public key, digits: that is who it is */
	char name[IMAGE_PEER_TEXT];    /* for words */
};

/* ---- what is held ---- */

struct image_content {
	int fd;                /* the caller's */
	uint64_t offset, size; /* bytes of the file that are it */
	char media_type[128];  /* "": octets */
};

/* 0 or IMAGE_ABSENT. */
int image_open_content(struct image_store *s, const char *digest, struct image_content *ret,
		       struct err *e);
/* The digest of each that others may want to have: layers, kept blobs, configurations. */
int image_each_content(struct image_store *s, void (*on_content)(void *ctx, const char *digest),
		       void *ctx, struct err *e);

/* ---- serving it ---- */

/*
 * A process of few rights that answers the distribution API over TLS: GET and HEAD of
 * /v2/, /v2/NAME/manifests/DIGEST and /v2/NAME/blobs/DIGEST, whatever the name.  Who is not
 * introduced is refused.  It opens nothing: what it is to send this process gives it.
 */
struct image_server;

struct image_server_options {
	struct image_store *store;     /* borrowed */
	int listen_fd;                 /* of TCP; borrowed for the call */
	const char *certificate, *key; /* PEM, ours; borrowed for the call */
	uint64_t bytes_per_second;     /* to all of them together; 0: no limit */
};

int image_server_start(const struct image_server_options *o, struct image_server **ret,
		       struct err *e);
void image_server_stop(struct image_server *s); /* NULL is fine */

/* Poll it for reading, then run; < 0: it has ended and is to be stopped. */
int image_server_fd(const struct image_server *s);
int image_server_run(struct image_server *s, struct err *e);

/* Who has this key may come for IMAGE_SERVER_KNOWN_MS, or may not any more. */
#define IMAGE_SERVER_KNOWN_MS (10 * 60 * 1000)
void image_server_introduce(struct image_server *s, const char *key, bool gone);
