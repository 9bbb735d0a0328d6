/* runtime/io.h - what a process of a container gets from outside
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "runtime/runtime.h"

/* One that is not open would be taken by a descriptor of ours, and leak: checked first of all. */
int io_check_preserved(unsigned count, struct err *e);

/* Connect to the listening socket at 'path'; 'what' it is, for messages. */
int io_connect(const char *what, const char *path, int *ret_fd, struct err *e);

/* Where the terminal goes: connects, or takes over what was given.  -1: there is none. */
int io_open_console(const struct runtime_io *io, bool terminal, int *ret_fd, struct err *e);

/* Context: the child.  The descriptors 0, 1, 2 that were asked for. */
int io_take_stdio(const struct runtime_io *io, struct err *e);

/* NULL: none is wanted. */
int io_send_pidfd(const char *path, pid_t pid, struct err *e);
int io_write_pid(const char *path, pid_t pid, struct err *e);
