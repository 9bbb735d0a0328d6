/* scheduler/store_internal.h - state.db, seen from inside
 * SPDX-License-Identifier: Apache-2.0
 *
 *   document  what the core gave out to be stored, by key, unless it is an event
 *   brief     what the core wants to know of one at its start, by key
 *   event     what happened, numbered; many are the newest version of a document, too
 *
 *   store.c        loading and fetching, in the loop
 *   store_write.c  the writer's side
 *   events.c       who reads events
 */
#pragma once

#include "scheduler/store.h"

/* How many events are kept; they are looked at as often as this, to see which are too many. */
#define EVENTS_KEPT        100000
#define EVENTS_PRUNED_EACH 1024

#define TEXT_OF(number)  TEXT_OF_(number)
#define TEXT_OF_(number) #number

/* SQL: events up to this number are there, if at all, because they are documents. */
#define EVENTS_PRUNED                                                                \
	"((SELECT max(id) FROM event) / " TEXT_OF(EVENTS_PRUNED_EACH) " * " TEXT_OF( \
		EVENTS_PRUNED_EACH) " - " TEXT_OF(EVENTS_KEPT) ")"

/* SQL: the row that has the event of this number, if any has. */
#define EVENT_ROW(number) "(SELECT id FROM event WHERE id >= " number " ORDER BY id LIMIT 1)"

/*
 * The key under which a document is stored, in 'buffer' or as it is.  The time that a task's
 * id ends with stands before the rest of it, so that new tasks are neighbours in the index.
 */
#define STORED_KEY_SIZE 320
const char *store_key(const char *key, char buffer[STORED_KEY_SIZE]);
