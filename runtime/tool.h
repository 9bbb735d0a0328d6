/* runtime/tool.h - programs of the host that do what we leave to them
 * SPDX-License-Identifier: Apache-2.0
 *
 * busctl, criu, newuidmap and newgidmap: each is asked for something that is
 * rare, and whose own library would be paid for at every start.  Hooks end like them.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

/* Look for it in $PATH, in absolute directories only. */
bool tool_find(const char *name, char ret[PATH_MAX]);

/*
 * Run it with our environment until it ends, at most 'timeout_ms'.  'what' it is
 * needed for is told where it is not installed; the end of what it printed is
 * told when it fails.
 */
int tool_run(char *const argv[], int timeout_ms, const char *what, struct err *e);
/* The same with our standard descriptors as its own: it passes them on. */
int tool_run_with_stdio(char *const argv[], int timeout_ms, const char *what, struct err *e);

/* What it prints is the caller's to read. */
int tool_read(char *const argv[], int timeout_ms, const char *what, struct buf *ret, struct err *e);

/*
 * Wait for the end of a program that was started, a hook for instance, at most
 * 'timeout_ms' (-1: for ever): then it is killed, and the error is ETIMEDOUT.
 * ECANCELED: it failed; with the end of what it printed into 'out_fd' (-1: none).
 */
int tool_end(const char *name, int pidfd, int timeout_ms, int out_fd, struct err *e);
