/* cmd/berth/run.h - what the options of run mean
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "cmd/berth/command.h"

struct run_options {
	bool detach, read_only, privileged;
	struct strings publish, env, volume;
	const char *cpu, *memory, *gpus, *network, *name, *user, *workdir, *entrypoint;
	const char *count;
	bool distinct, explain;
	struct strings constraint, strategy, provider;
};

/* The task definition, of one container, for an image and its command; the caller's. */
int run_definition(const struct run_options *o, char **words, int count, json_t **ret,
		   struct err *e);
/* The members of RunTask that say where. */
int run_placement(const struct run_options *o, json_t *request, struct err *e);
