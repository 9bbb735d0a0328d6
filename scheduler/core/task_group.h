/* scheduler/core/task_group.h - on which container instances the tasks of a group are
 * SPDX-License-Identifier: Apache-2.0
 *
 * A group ("family:web", "service:shop") is there as long as there are tasks of it.  It
 * counts those that are not STOPPED by row of the placement table, and by the value of
 * each attribute that it was spread over.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct split;

struct task_group {
	char *name;
	size_t tasks; /* not STOPPED */
	size_t users; /* kinds of tasks */
	struct group_slot {
		uint32_t row, count; /* count 0: free */
	} * slots;                   /* by row, with open addressing */
	uint32_t slot_count;         /* a power of two */
	uint32_t rows;               /* that have a task */
	uint64_t skipped;            /* how often one was passed over since it had a split */
	struct group_spread {
		uint64_t serial;  /* of the split when it was counted */
		uint32_t *counts; /* by value */
		size_t count;
	} * spreads; /* SPLITS_MAX of them; NULL: it was never spread */
};

void task_group_free(struct task_group *g);
uint32_t task_group_count(const struct task_group *g, uint32_t row);
/* One task more, or less, there; returns how many there are now. */
uint32_t task_group_add(struct task_group *g, uint32_t row, int by);
