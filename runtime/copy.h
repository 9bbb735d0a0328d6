/* runtime/copy.h - what tmpcopyup puts into its tmpfs
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "base/err.h"

/*
 * Copy what is in one directory into another, empty one: names, contents,
 * owners, modes, times, links, nodes.  Hard links become files of their own;
 * extended attributes stay behind.
 */
int copy_tree(int from_fd, int to_fd, struct err *e);
