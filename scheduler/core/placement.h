/* scheduler/core/placement.h - which of the instances that can take a task does
 * SPDX-License-Identifier: Apache-2.0
 *
 * Constraints are binding; strategies are tried in their order, each among those
 * that the one before left over.  Source: "How Amazon ECS places tasks" of the
 * ECS Developer Guide.
 */
#pragma once

#include "scheduler/core/expression.h"
#include "scheduler/core/internal.h"

#define PLACEMENT_CONSTRAINTS_MAX 21 /* ten of a request, ten of its definition, a provider */
#define PLACEMENT_STRATEGIES_MAX  5

struct placement {
	struct expression *members[PLACEMENT_CONSTRAINTS_MAX];
	size_t member_count;
	bool distinct;
	const json_t *strategies; /* borrowed from the request */
	const char *group;        /* of the task; borrowed */
};

void placement_done(struct placement *p);

/* "placementConstraints" of a document, which are those of a definition or of a request. */
int placement_add_constraints(struct placement *p, const json_t *constraints, struct ecs_fault *f);
int placement_add_expression(struct placement *p, const char *expression, struct ecs_fault *f);
int placement_check_strategies(const json_t *strategies, struct ecs_fault *f);

/* Why the constraints rule the instance out; NULL: they do not. */
const char *placement_refusal(const struct placement *p, const struct instance *i);

/* One of them, count > 0; the list is put in another order. */
struct instance *placement_choose(struct core *c, const struct placement *p,
				  struct instance **candidates, size_t count);

/* ListContainerInstances' "filter". */
bool placement_matches(const struct expression *x, const struct instance *i);
