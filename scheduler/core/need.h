/* scheduler/core/need.h - what a task needs of a container instance, but amounts
 * SPDX-License-Identifier: Apache-2.0
 *
 * Attributes, constraints by expression, zones.  Tasks with the same key have the
 * same need, whichever their definition is.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "scheduler/core/expression.h"

#define TASK_GROUP      "task:group" /* of the query language: the groups that have tasks there */
#define CONSTRAINTS_MAX 10           /* of a definition, and of a request */

struct definition;
struct instance;

struct need {
	char *key;
	unsigned bit;   /* in the table; others may have the same */
	uint64_t *rows; /* of the table, a bit each: those that meet it, while they are listed */
	size_t words;
	unsigned moves;     /* with what else than attributes: NEED_MOVES_ */
	uint64_t used;      /* when it was last asked for */
	const char *cpu;    /* its architecture; NULL: any */
	json_t *attributes; /* [{name, value}] */
	json_t *zones;      /* names; NULL: any */
	char *node_group;   /* of a capacity provider; NULL: any */
	struct expression *members[2 * CONSTRAINTS_MAX];
	size_t member_count;
};

enum { NEED_MOVES_GROUPS = 1, NEED_MOVES_RUNNING = 2 };

/* "placementConstraints"; *ret_distinct is set when distinctInstance is among them. */
int need_check_constraints(const json_t *constraints, bool *ret_distinct, struct ecs_fault *f);
int need_check_expressions(const json_t *constraints, struct ecs_fault *f);

/* The definition's part of a key. */
void need_name_definition(struct definition *d);
/* The caller's; 'constraints' are those of the request, 'zones' and 'node_group' may be NULL. */
char *need_key(const struct definition *d, const json_t *constraints, const json_t *zones,
	       const char *node_group);
/* NULL and the fault.  'own_zones' is consumed. */
struct need *need_new(const char *key, const struct definition *d, const json_t *constraints,
		      json_t *own_zones, const char *node_group, struct ecs_fault *f);
void need_free(struct need *n);

bool need_has_attributes(const struct need *n, const struct instance *i);
/* ECS's reason; NULL: the constraints are met. */
const char *need_refusal(const struct need *n, const struct instance *i);
bool need_is_met(const struct need *n, const struct instance *i);

static inline bool need_has_row(const struct need *n, uint32_t row)
{
	return row / 64 < n->words && n->rows[row / 64] >> (row % 64) & 1;
}

void need_set_row(struct need *n, uint32_t row, bool met);

/* ListContainerInstances' "filter". */
bool need_matches(const struct expression *x, const struct instance *i);
