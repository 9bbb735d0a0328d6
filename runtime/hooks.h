/* runtime/hooks.h - programs that the config wants run at set points
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "base/js.h"

/*
 * Run each struct config_hook of the list in order, with the state on its
 * standard input; the first that fails ends it.  'kind' is for messages.
 */
int hooks_run(const struct js_list *hooks, const char *kind, const json_t *state, struct err *e);

/*
 * Those that change nothing any more (poststop): each of them is run, whatever
 * the others did, and 'warn' is told of what failed.  NULL: nobody wants to know.
 */
void hooks_run_each(const struct js_list *hooks, const char *kind, const json_t *state,
		    void (*warn)(const struct err *e));
