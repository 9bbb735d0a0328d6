/* image/client.h - what image_store_open() gives
 * SPDX-License-Identifier: Apache-2.0
 *
 * The files that the caller's process is made of (client.c, pull.c, lookup.c,
 * store.c) call nothing that is linked with a parser of foreign bytes.
 */
#pragma once

#include "image/image.h"
#include "image/store.h"
#include "image/worker.h"

#define ENDING_MAX 8 /* pullers that were let go and are still to be reaped */

struct image_store {
	struct store store;
	char *worker;
	struct worker puller; /* while there are pulls, */
	bool puller_waits;    /* or ahead of the first */
	unsigned pulls;
	struct worker ending[ENDING_MAX];
	size_t ending_count;
	struct lookup *lookups; /* those made, newest first */
};

/* Start the puller unless it is there. */
int client_start_puller(struct image_store *s, struct err *e);
/* Have the store swept, without waiting for it when a puller is there: it will. */
int client_sweep(struct image_store *s, struct err *e);
/* Let go of it: it ends its pulls, sweeps the store, and ends. */
void client_end_puller(struct image_store *s);

void client_forget_lookups(struct image_store *s);
