/* scheduler/store.h - state.db: documents, briefs, events
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "base/db.h"
#include "scheduler/core/core.h"

#define STATE_VERSION 4 /* of state.db; 3 had a row for each event */

struct store;

extern const char store_schema[];

/* A store of the version before is taken over; one that is older is refused. */
int store_open(const char *path, struct store **ret, struct err *e);
void store_close(struct store *s);

/* All that the core wants to know before core_loaded().  */
int store_load(struct store *s, struct core *core, struct err *e);

/* In the thread of a writer, in its transaction: what there is to store among effects. */
int store_write(struct db *db, const struct core_effects *fx, struct err *e);

/*
 * Effects are on their way to the writer, and stay where they are until they are settled:
 * durable, or lost.
 */
void store_expect(struct store *s, const struct core_effects *fx);
void store_settle(struct store *s, const struct core_effects *fx);

/* The newest text with this key, malloc'ed, durable or expected.  NULL: *e says why not. */
char *store_fetch(struct store *s, const char *key, struct err *e);
