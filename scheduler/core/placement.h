/* scheduler/core/placement.h - which of the container instances that can take a task does
 * SPDX-License-Identifier: Apache-2.0
 *
 * Constraints are binding; strategies are tried in their order, each among those
 * that the one before left over.  Source: "How Amazon ECS places tasks" of the ECS
 * Developer Guide.  Of what all strategies leave over it is the one that has the
 * least memory left, then the least CPU, then the one that has the lowest row.
 */
#pragma once

#include "scheduler/core/internal.h"

#define PLACEMENT_STRATEGIES_MAX 5
#define VALUES_KNOWN             8 /* of an attribute; of others each search is a new one */

/* How strategies are looked up: at most one of each kind, in this order; or one by one. */
struct plan {
	const char *attribute; /* spread over its values; NULL: not */
	bool by_instance;      /* spread over the instances */
	enum field field;      /* packed by it */
	bool random;           /* any of them, and nothing else */
	bool one_by_one;       /* another order: each strategy narrows what the last one left */
};

/* What is to be placed; borrowed from a request that was checked. */
struct placement {
	struct core *core;
	struct cluster *cluster;
	const struct definition *definition;
	struct ecs_demand demand;
	const json_t *request;
	const char *group;      /* of the task */
	const char *node_group; /* of the capacity provider; NULL: any */
	/* made by placement_prepare(), for as long as no other need is asked for */
	struct need *need;
	struct task_group *counted; /* of the group; NULL: it has no tasks yet */
	bool distinct, public_address;
	struct plan plan;
	struct split *split; /* by the attribute that it is spread over */
	uint64_t splits_made;
	/*
	 * The first that a search found in the order of a value: as long as nothing else than
	 * this one changes there, what comes before it does not fit.
	 */
	struct found {
		struct instance *instance;
		struct order_item at;
		uint64_t changes; /* of the value's rows at that time */
	} found[VALUES_KNOWN];
	/* where the last one went, and what of the table that was decided by */
	struct instance *last;
	int32_t last_left[FIELDS];
	uint64_t last_changes;
};

/* The rest of *p is filled in; -1 and what is wrong with constraints or strategies. */
int placement_prepare(struct placement *p, struct ecs_fault *f);

/* ECS's reason why not there; NULL: it can be. */
const char *placement_refusal(const struct placement *p, const struct instance *i);

/* NULL: there is none. */
struct instance *placement_choose(struct placement *p);

/* All that can have it, with least memory first; the caller's.  *ret_count says how many. */
struct instance **placement_candidates(struct placement *p, size_t *ret_count);
/* By the n-th strategy, the less the better; false: it is the last one, or random. */
bool placement_cost(struct placement *p, size_t n, struct instance *i, int64_t *ret);

/* ---- explain.c ---- */

#define REFUSALS_MAX 16 /* different reasons */

/* How many instances cannot have it, and why; those that matter most come first. */
struct refusals {
	struct refusal {
		const char *reason;
		size_t count;
	} items[REFUSALS_MAX];
	size_t count, instances; /* instances: of the cluster */
};

void placement_count_refusals(const struct placement *p, struct refusals *ret);
/* "none of 12 container instances: 9 RESOURCE:MEMORY, 3 AGENT"; the caller's. */
char *placement_tell_refusals(const struct refusals *r);
/*
 * The reply of ExplainPlacement: "containerInstances" of the cluster, "candidates" of
 * them, "refusals" [{reason, count}], and of the candidates the "best", in the order
 * that they would be chosen in: [{containerInstanceArn, hostname, remainingCpu,
 * remainingMemory, tasksOfGroup, strategies: [{type, field, value, attributeValue}]}].
 */
json_t *placement_explain(struct placement *p);
