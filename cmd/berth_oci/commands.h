/* cmd/berth_oci/commands.h - the commands of berth-oci
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "cmd/berth_oci/options.h"
#include "runtime/runtime.h"

/*
 * Each does its work and returns the exit code, or a negative value with *e
 * set.  Outcomes of the runtime are turned into errors in the words that runc's
 * users (and containerd, which compares them) know.
 */
int command_create(struct runtime *rt, const struct arguments *a, struct err *e);
int command_start(struct runtime *rt, const struct arguments *a, struct err *e);
int command_run(struct runtime *rt, const struct arguments *a, struct err *e);
int command_exec(struct runtime *rt, const struct arguments *a, struct err *e);
int command_kill(struct runtime *rt, const struct arguments *a, struct err *e);
int command_delete(struct runtime *rt, const struct arguments *a, struct err *e);
int command_pause(struct runtime *rt, const struct arguments *a, struct err *e);
int command_resume(struct runtime *rt, const struct arguments *a, struct err *e);
int command_state(struct runtime *rt, const struct arguments *a, struct err *e);
int command_list(struct runtime *rt, const struct arguments *a, struct err *e);
int command_ps(struct runtime *rt, const struct arguments *a, struct err *e);
int command_update(struct runtime *rt, const struct arguments *a, struct err *e);
int command_events(struct runtime *rt, const struct arguments *a, struct err *e);
int command_checkpoint(struct runtime *rt, const struct arguments *a, struct err *e);
int command_restore(struct runtime *rt, const struct arguments *a, struct err *e);
int command_spec(struct runtime *rt, const struct arguments *a, struct err *e);
int command_features(struct runtime *rt, const struct arguments *a, struct err *e);

/* Exit code of `exec` when it failed before the program ran: as runc's since 1.1. */
#define EXIT_EXEC_FAILED 255

/* Of the options that create, run and restore share. */
struct runtime_create command_create_spec(const struct arguments *a);

/* RUNTIME_ABSENT and its kin as an error about 'id'. */
int command_outcome(int r, const char *id, struct err *e);
