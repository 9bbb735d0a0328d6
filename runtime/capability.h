/* runtime/capability.h - capabilities: names, sets, giving them up
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/js.h"

struct config_capabilities;

/* "CAP_CHOWN", as the spec writes them. */
bool capability_find(const char *name, unsigned *ret);

/* Bits by number; all empty means none at all. */
struct capability_sets {
	uint64_t bounding, effective, inheritable, permitted, ambient;
};

/* NULL: no capabilities.  Names that no capability has are left out: capability_grant() tells. */
int capability_sets_of(const struct config_capabilities *c, struct capability_sets *ret,
		       struct err *e);

/*
 * The spec's way with what cannot be given: warn, and do without.  Leaves in the
 * sets what this kernel has and, without a user namespace of the container's own
 * ('all_held': its root has everything), we have ourselves.  Returns true when
 * something of 'c' is not given, with *ret_doubt to name it.
 */
bool capability_grant(const struct config_capabilities *c, bool all_held,
		      struct capability_sets *sets, struct err *ret_doubt);

/*
 * Giving up goes in three steps, because a filter that is loaded without
 * no_new_privs needs CAP_SYS_ADMIN after the user has changed:
 *
 * capability_bound() before the user changes: the bounding set, and
 * "keep capabilities" for the change; capability_narrow() after it: nothing but
 * what is wanted and 'keep' (bits) is left; capability_finish(): what is wanted.
 */
int capability_bound(const struct capability_sets *want, struct err *e);
int capability_narrow(const struct capability_sets *want, uint64_t keep, struct err *e);
int capability_finish(const struct capability_sets *want, struct err *e);
