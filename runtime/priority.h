/* runtime/priority.h - how the kernel is to treat a process: processor, input and output, memory
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "base/err.h"
#include "runtime/config.h"

/*
 * Words and ranges; nothing is set.  The kernel's own rules (rights, which
 * processors there are) are its own to tell.
 */
int priority_check(const struct config_process *p, struct err *e);
int priority_check_linux(const struct config_linux *l, struct err *e);

/*
 * Context: the process itself, in its cgroups, with its creator's rights still.
 * 'l' may be NULL.
 */
int priority_apply(const struct config_process *p, const struct config_linux *l, struct err *e);

/* Modes and flags of memory policies, for `features`; the caller's. */
json_t *priority_memory_features(void);

/* "0-3,7": the processors that the caller may run on.  NULL and "" change nothing. */
int priority_set_affinity(const char *list, const char *member, struct err *e);

/* process.oomScoreAdj of a process; 'proc_fd': procfs_open(). */
int priority_set_oom_score(int proc_fd, pid_t pid, int64_t score, struct err *e);
