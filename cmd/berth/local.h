/* cmd/berth/local.h - what is done to the image store of this host, by berth-worker
 * SPDX-License-Identifier: Apache-2.0
 *
 * The store is root's, and on this host: berth-worker is started here, and takes the
 * store's lock where it changes something, so that the daemon's pulls wait for it.
 */
#pragma once

#include "base/proc.h"
#include "cmd/berth/command.h"

/* Is it said to talk to somebody else?  Then that is told. */
bool local_refused(const struct context *c, const char *what);

/*
 * Start `berth-worker WORDS[0] STORE WORDS[1]...` with descriptors; *ret_fd is its
 * standard output, unless the caller gave it one: then it is not touched.
 */
int local_start(const struct context *c, char *const *words, const struct proc_fd *fds,
		size_t fd_count, int *ret_fd, int *ret_pidfd, struct err *e);
