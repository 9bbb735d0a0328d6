/* scheduler/core/launch.h - tasks that are about to be made
 * SPDX-License-Identifier: Apache-2.0
 *
 *   task_run.c   the request, checked; RunTask and StartTask
 *   task_make.c  a task of it, on an instance
 */
#pragma once

#include "scheduler/core/pattern.h"
#include "scheduler/core/placement.h"
#include "scheduler/core/task.h"

/* Texts of tasks, which differ in words. */
struct task_texts {
	const struct task_kind *kind; /* whose tasks; NULL: those of one launch, or none yet */
	/* What callers are shown, what the document has besides, and the message to the node. */
	struct pattern shown, hidden, message;
};

/* What RunTask and StartTask have in common, checked. */
struct launch {
	struct core *c;
	const json_t *request;
	struct cluster *cluster;
	struct definition *definition;
	json_t *effective; /* the definition with the overrides in it; NULL: there are none */
	struct ecs_demand demand;
	int64_t gpus[ECS_CONTAINERS_MAX]; /* of each container */
	json_t *overrides;                /* as the task shows them */
	char *group;
	const json_t *strategy; /* of capacity providers; NULL: none */
	const char *provider;   /* whom the placement is constrained to; NULL: nobody */
	struct placement placement;
	struct task_kind *kind;   /* of the tasks that were made last */
	char *time;               /* of these, as documents have it; NULL: it was not asked for */
	struct task_texts *texts; /* of these: the core's, or its own */
	struct task_texts own_texts;
};

/* A member of the definition, with the overrides in it. */
json_t *launch_defined(const struct launch *l, const char *member);

/*
 * A task on the instance, which has room for it.  What callers are shown of it goes to the
 * list in 'shown', its id to 'ids'.  False: there is no address for it.
 */
bool task_make(struct launch *l, struct instance *i, struct buf *shown, json_t *ids);
void task_texts_done(struct task_texts *texts);
