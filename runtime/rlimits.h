/* runtime/rlimits.h - resource limits of a process
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/js.h"

/* "RLIMIT_NOFILE" */
bool rlimit_find(const char *name, int *ret);

/* Set each struct config_rlimit of the list for ourselves. */
int rlimits_apply(const struct js_list *rlimits, struct err *e);
