/* cmd/berthd/cleanup.h - settings about images that a node pulls and lets go
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "agent/agent.h"
#include "cmd/berthd/host.h"

/* What the agent of ECS is told by its environment counts here, too, and more than the file. */
void cleanup_take_environment(struct config *c, struct arena *a);

int cleanup_parse(const struct config *c, struct arena *a, struct agent_options *ret,
		  struct err *e);
