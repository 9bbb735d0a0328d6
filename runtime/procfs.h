/* runtime/procfs.h - a procfs of our own
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whatever is written to proc for a container is written through an instance
 * that was mounted nowhere: on a mounted /proc, something may lie over the file
 * and turn the write into one of another kind.
 */
#pragma once

#include "base/err.h"

/* The root of a new instance for our own pid namespace. */
int procfs_open(int *ret_fd, struct err *e);

/* One write(2) to "sys/net/..." or "<pid>/attr/exec". */
int procfs_write(int proc_fd, const char *path, const char *text, struct err *e);
