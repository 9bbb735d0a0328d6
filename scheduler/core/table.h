/* scheduler/core/table.h - what placement knows of the container instances of a cluster
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * Documents say what an instance is; the table has what a placement is decided by,
 * in a form that it is decided quickly by.  It can be made from the documents, and
 * is told of each change by who makes it; core_check() finds what was not told.
 *
 * A row is an instance.  Rows that can be given tasks (connected, ACTIVE, quiet)
 * are listed in orders: by memory that is left and, once somebody packs by it, by
 * CPU.  A split has such orders for each value of an attribute that tasks are spread
 * over; the first split has all rows in one.
 *
 * A need (need.h) is what tasks want of an instance but an amount: attributes,
 * constraints.  Each knows the rows that meet it, which stays right as they change, and
 * has one of NEED_BITS bits, which is set for the rows that meet any of the needs with this
 * bit: orders are searched by it.  The bits above say whether a row has one free GPU,
 * whether two, and so on.  The needs and splits that were not asked for longest give way
 * to new ones.
 *
 * A group that is on many rows, and spread over them or kept apart, gets a split by
 * the number of its tasks.
 *
 * 1. A listed row is in each order that is kept, with what it had left when the
 *    order was last asked for; those that changed since are noted there.
 * 2. Needs and bits are right for all rows that are listed.
 * 3. A task group counts each task of it that is not STOPPED, by row; and by value of
 *    a split while it has the split's serial.
 */
#pragma once

#include "base/map.h"
#include "scheduler/core/need.h"
#include "scheduler/core/split.h"
#include "scheduler/core/task_group.h"

#define SPLITS_MAX 8
#define CROWDS_MAX 16
#define NEEDS_MAX  1024
#define NEED_BITS  56
#define GPU_BITS   8 /* those above */

struct table {
	struct instance **blocks; /* of instances */
	size_t block_count, block_capacity;
	struct instance *unused; /* of them */
	struct instance **rows;  /* NULL: free */
	size_t row_count, row_capacity, listed;
	uint32_t *free_rows;
	size_t free_count, free_capacity;
	struct need *needs[NEEDS_MAX]; /* by NEED_BITS and a bit; NULL: free */
	size_t need_count;             /* those behind are free */
	struct map needs_by_key;
	bool moving; /* some move with more than attributes */
	struct split *splits[SPLITS_MAX];
	uint64_t splits_made; /* another number: those that were asked for may be gone */
	struct split *crowds[CROWDS_MAX]; /* by group */
	size_t crowd_count;
	uint64_t clock;   /* counts uses, and serials */
	uint64_t changes; /* of listed rows, and to be listed or not */
	const struct instance *last_changed;
	struct map groups;
	bool groups_noted; /* instances have a list of theirs: since somebody has asked for it */
};

/* The bits of who has so many free GPUs; who wants so many needs all of them. */
static inline uint64_t table_gpu_bits(int64_t count)
{
	return ((1ULL << (count < GPU_BITS ? count : GPU_BITS)) - 1) << NEED_BITS;
}

void table_done(struct table *t);

/*
 * Memory for an instance, of zero bytes.  Those of a table are side by side: each decision
 * looks at other ones, and strewn among documents each would be in a page of its own.
 */
struct instance *table_new_instance(struct table *t);
void table_free_instance(struct table *t, struct instance *i);

void table_add(struct table *t, struct instance *i);
void table_remove(struct table *t, struct instance *i); /* no group counts tasks there any more */
/* What it has left, or whether it can be given tasks, may be different from before. */
void table_update(struct table *t, struct instance *i);
/* Attributes, version or another thing that constraints ask for may be. */
void table_describe(struct table *t, struct instance *i);
/* The number of its running tasks is. */
void table_recount(struct table *t, struct instance *i);

/* With a user more; made if it is not there.  It is gone with its last user, and has no tasks then. */
struct task_group *table_group(struct table *t, const char *name);
void table_release(struct table *t, struct task_group *g);
/* One of its tasks more is on the instance, or one less. */
void table_count(struct table *t, struct instance *i, struct task_group *g, int by);

/* From now on instances have a list of the groups that have tasks there. */
void table_note_groups(struct table *t);

/* NULL: there is none yet. */
struct need *table_need(struct table *t, const char *key);
/* It is the table's from now on, valid until the next one is added, at least. */
void table_add_need(struct table *t, struct need *own_need);
/* Valid until 'splits_made' is another number. */
struct split *table_split(struct table *t, const char *attribute);
/* The same, for who wants the first of all rows, whatever values they have: the cheapest. */
struct split *table_whole(struct table *t, enum field field);
/*
 * By how many tasks of the group they have; NULL: it costs more to have it than it
 * has cost so far to pass over rows that have some.
 */
struct split *table_crowd(struct table *t, struct task_group *g);
/* NULL: none of that value is listed. */
const struct order *table_order(const struct table *t, struct split *s, size_t value,
				enum field field);
/* Tasks of a group by value of a split, also of those that are not listed; NULL: there are none. */
const uint32_t *table_spread(struct table *t, struct task_group *g, const struct split *s);
