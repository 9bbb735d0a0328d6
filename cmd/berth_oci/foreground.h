/* cmd/berth_oci/foreground.h - staying beside a process: its terminal, signals, exit code
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct foreground {
	int signal_fd;
	int master_fd;  /* of the terminal; -1: there is none */
	int console[2]; /* the end for the runtime, and ours; -1: no terminal is to come */
};

#define FOREGROUND_INIT                                                 \
	{                                                               \
		.signal_fd = -1, .master_fd = -1, .console = { -1, -1 } \
	}

/*
 * Before the process is made.  Signals are held from here on.  'console': the
 * process may have a terminal, whose master then comes to console[0].
 */
int foreground_begin(struct foreground *f, bool console, struct err *e);

/* It is made, and better not yet running: take the master, if one came, and give it our size. */
int foreground_attach(struct foreground *f, struct err *e);

/*
 * Pass signals to the process and bytes between our terminal and its own,
 * until it ends.  *ret_status: exit code, or 128 + signal.
 */
int foreground_stay(struct foreground *f, pid_t pid, int *ret_status, struct err *e);
void foreground_done(struct foreground *f);

/* The size of our own terminal, zeros where we have none. */
void foreground_size(unsigned short *ret_rows, unsigned short *ret_columns);
