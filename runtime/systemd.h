/* runtime/systemd.h - cgroups that systemd makes: a transient scope for each container
 * SPDX-License-Identifier: Apache-2.0
 *
 * systemd is asked by its own busctl: the protocol is its own affair, and a
 * container that needs none of it pays nothing for it.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"
#include "runtime/config.h"

struct systemd_scope {
	char *unit, *slice; /* the arena's */
	char *cgroup;       /* where it is to be expected */
};

/* Of linux.cgroupsPath "SLICE:PREFIX:NAME"; NULL and "" are the default. */
int systemd_scope_of(const char *cgroups_path, const char *id, struct arena *a,
		     struct systemd_scope *ret, struct err *e);

/*
 * Start the scope with the process in it, and wait until it is.  *ret_cgroup:
 * where systemd has put it, the arena's.
 */
int systemd_start(const struct systemd_scope *s, const char *id, pid_t pid,
		  const struct config_resources *r, struct arena *a, char **ret_cgroup,
		  struct err *e);

/* Nobody is in it any more: forget it.  Returns when systemd has; absent is fine. */
void systemd_stop(const char *unit);

/* systemd is to know limits that it would otherwise set back. */
int systemd_set_limits(const char *unit, const struct config_resources *r, struct err *e);
