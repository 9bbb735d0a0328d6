/* image/nursery.h - where the workers that read layers come from
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * Loading berth-reader with its libraries takes 4 ms, more than many a layer, and an image has
 * many layers.  So who reads them has a process that has loaded the program and does nothing but
 * fork: the workers of unpacking, listing and indexing.
 *
 * 1. It is a program of its own, not a fork of its parent: workers know nothing of the
 *    parent's memory, neither what is in it nor where things are.
 * 2. It takes orders from its parent only and reads nothing foreign.  What workers of one parent
 *    have in common is where things are in memory; each has given all else away before it reads.
 * 3. Its forks are its parent's children, who reaps them as those that worker_start() makes.
 *
 * A fetcher, which has the network, is started for itself.
 */
#pragma once

#include "base/proc.h"
#include "image/worker.h"

struct nursery {
	struct worker worker; /* WORKER_NONE: not started yet */
};

/* Have it load; it need not be waited for.  One that has gone is replaced. */
int nursery_start(struct nursery *n, struct err *e);

/* As worker_start(), of a role that forker.c names. */
int nursery_fork(struct nursery *n, const char *role, const struct proc_fd *fds, size_t fd_count,
		 struct worker *ret, struct err *e);

void nursery_end(struct nursery *n);

/* ---- what they say to each other ---- */

#define NURSERY_FDS_MAX   8
#define NURSERY_ROLE_SIZE sizeof("nursery") /* so that its own name has room for it */

/* With the descriptors, each of which gets the number that stands for it. */
struct nursery_order {
	char role[NURSERY_ROLE_SIZE];
	uint32_t fd_count;
	int children[NURSERY_FDS_MAX];
};

/* With a pidfd, unless .error is an errno value. */
struct nursery_answer {
	int error;
};
