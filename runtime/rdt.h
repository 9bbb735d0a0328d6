/* runtime/rdt.h - classes of service of Intel's Resource Director Technology
 * SPDX-License-Identifier: Apache-2.0
 *
 * A class is a directory of the resctrl filesystem, wherever that is mounted.
 * One that a config names by closID and that was there before is joined and left
 * alone; one that we made goes with the container.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "runtime/config.h"

/* NULL is none.  What contradicts itself is refused. */
int rdt_check(const struct config_rdt *r, struct err *e);
/* Does it ask for anything? */
bool rdt_wanted(const struct config_rdt *r);

/* The root of resctrl; an error that says so where the kernel or the host has none. */
int rdt_open(int *ret_fd, struct err *e);

/* Its class: that of its closID, or of the container's id without one. */
bool rdt_exists(int root_fd, const struct config_rdt *r, const char *id);
/*
 * Put the process into the class.  'make': it is not there yet, and is ours;
 * else it must have the schemata that are wanted.
 */
int rdt_enter(int root_fd, const struct config_rdt *r, const char *id, pid_t pid, bool make,
	      struct err *e);
/* The class when it was made by us, else what we made in it; absent is fine. */
int rdt_remove(int root_fd, const struct config_rdt *r, const char *id, bool made, struct err *e);
