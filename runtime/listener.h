/* runtime/listener.h - the descriptor of a filter that asks (SCMP_ACT_NOTIFY), to whom it asks
 * SPDX-License-Identifier: Apache-2.0
 *
 * The process that loads such a filter may be stopped by it at its very next
 * system call.  So another thread of its passes the descriptor on, over the talk
 * that its starter waits on; the starter sends it to the agent at listenerPath,
 * which it has connected to before.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "runtime/config.h"
#include "runtime/filter.h"
#include "runtime/state.h"

/* Does the filter ask anyone? */
bool listener_wanted(const struct filter *f);

/*
 * Context: the process, one thread.  Load the filter; its listener, if it has
 * one, goes to 'sync_fd'.  What follows may be stopped by it.
 */
int listener_install(const struct filter *f, int sync_fd, struct err *e);

/* Connect to the agent; *ret_fd is -1 where there is none. */
int listener_connect(const struct config_listener *l, int *ret_fd, struct err *e);

/*
 * Context: the starter.  sync_expect_end(); a listener that comes before is sent
 * to 'agent_fd' with the state, as that of process 'pid'.
 */
int listener_expect_end(int sync_fd, int agent_fd, const struct config_listener *l,
			const struct state *s, enum runtime_status status, pid_t pid,
			struct err *e);
