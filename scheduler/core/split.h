/* scheduler/core/split.h - rows of the placement table by the values of an attribute
 * SPDX-License-Identifier: Apache-2.0
 *
 * Or by how many tasks of a group they have, which is then the index of the value.
 * Each value has its rows in the order of what they have left.  An order that
 * nobody asks for should cost nothing: before a row changes, what it was is noted
 * once, and when the order is wanted the rows that were noted are put right.
 */
#pragma once

#include "base/map.h"
#include "scheduler/core/order.h"

enum field { FIELD_MEMORY, FIELD_CPU, FIELDS };

struct instance;
struct task_group;

/* A row as the orders have it. */
struct late_row {
	uint32_t row, value; /* value: its index */
	int32_t left[FIELDS];
	uint64_t met;
	bool listed;
};

struct split {
	char *attribute;                /* NULL: all rows have the same value, or it is by group */
	const struct task_group *group; /* NULL: it is not */
	struct map values;              /* a value to 1 and its index, as a number */
	uint32_t *value_of;             /* by row, listed or not */
	size_t capacity;
	struct part {
		struct order by[FIELDS];
		uint64_t changes;                    /* of its rows, that were noted */
		const struct instance *last_changed; /* of them */
	} * parts;                                   /* by value */
	size_t part_count, part_capacity;
	struct sorted {
		bool kept; /* somebody has asked for it */
		struct late_row *late;
		size_t late_count, late_capacity;
		uint64_t *is_late; /* a bit for each row */
		size_t words;
	} by[FIELDS];
	uint64_t serial; /* another one when the value of a row with tasks has changed */
	uint64_t used;   /* when it was last asked for */
};

struct split *split_new(const char *attribute, const struct task_group *group);
void split_free(struct split *s);

/* Before the row is listed, is not any more, or has something else left. */
void split_note(struct split *s, const struct instance *i);
/* The value that the row has now, which was noted before; true: it is another one. */
bool split_set_value(struct split *s, const struct instance *i);

/* Of a search in the orders of all values: each is one, and so is each row to be put right. */
size_t split_cost(const struct split *s, enum field field);

/*
 * The order of a value, right for the rows as they are now (an array, NULL where
 * one is free); NULL: none of them is listed.
 */
const struct order *split_order(struct split *s, struct instance *const *rows, size_t row_count,
				size_t value, enum field field);
