/* runtime/process.h - from a process of ours in a container to the user's program
 * SPDX-License-Identifier: Apache-2.0
 *
 * The last stretch of create and of exec.  Context: a process that is in all
 * its namespaces, with the container's root as its own.
 */
#pragma once

#include "base/err.h"
#include "base/mem.h"
#include "runtime/capability.h"
#include "runtime/config.h"
#include "runtime/filter.h"

struct process {
	const struct config_process *config; /* borrowed */
	const struct config_linux *linux_;   /* borrowed; for what it says of processes */
	const struct filter *filter;         /* borrowed */
	unsigned preserve_fds, listen_fds;
	int listener_to;   /* talk that a listener of the filter is passed on by */
	int user_fd;       /* borrowed: a user namespace to enter on the way; -1: none */
	bool groups_fixed; /* the user namespace lets nobody change his groups */
	struct capability_sets caps;
	struct arena arena;
	char *program; /* found by process_find() */
	char **env;
};

/* What can be prepared anywhere. */
int process_init(struct process *x, const struct config_process *config,
		 const struct config_linux *linux_, const struct filter *filter,
		 unsigned preserve_fds, struct err *e);
/*
 * 'who' ("self", a pid) is where the process will be: a user who mapped himself
 * alone had to give up the change of groups, so they stay as they are
 * (user_namespaces(7)).  Where others are asked for, that is an error.
 */
void process_look_at_groups(struct process *x, const char *who);
/*
 * Do without the capabilities that cannot be given (capability_grant()); that is
 * told to 'warn', and fails where there is nobody to be told.
 */
int process_grant(struct process *x, bool all_held, void (*warn)(const struct err *e),
		  struct err *e);
void process_done(struct process *x);

/*
 * The steps, in this order.  All that can be told beforehand fails in the first two.
 *
 * process_prepare(): become the user: working directory, label, limits, groups, ids, and
 * no more capabilities than the last steps need.  'proc_fd': procfs_open(), or -1 when no
 * label is wanted.
 * process_find(): the environment, and the program if there are arguments.
 * process_seal(): limits, filter, capabilities; may come before process_find().
 * process_execute(): execve(2).  Returns only to tell why it could not.
 */
int process_prepare(struct process *x, int proc_fd, struct err *e);
int process_find(struct process *x, struct err *e);
int process_seal(struct process *x, struct err *e);
int process_execute(struct process *x, struct err *e);

/* Default dispositions and an empty mask, whatever our caller had. */
void process_reset_signals(void);

/*
 * Let go of every descriptor from 3 on that is not in keep[0..count) and not one
 * of the first 'preserve' of them.  -1 entries are passed over; sorts the array.
 */
void process_keep_fds(int *keep, size_t count, unsigned preserve);

/*
 * The file that execvp(3) would execute, in the words that runc's users know:
 * `exec: "x": executable file not found in $PATH`.
 */
int process_find_program(const char *name, const struct js_strings *env, struct arena *a,
			 char **ret, struct err *e);
