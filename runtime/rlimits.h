/* runtime/rlimits.h - resource limits of a process
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/js.h"

/* "RLIMIT_NOFILE" */
bool rlimit_find(const char *name, int *ret);

/*
 * In two steps, for a list of struct config_rlimit: what needs a privilege is
 * done while we have it, and the limits themselves, which we might hit, last.
 */
int rlimits_raise(const struct js_list *rlimits, struct err *e);
int rlimits_apply(const struct js_list *rlimits, struct err *e);
