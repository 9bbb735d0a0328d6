/* image/jail.h - what a worker gives away before it reads a foreign byte
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each function is called once, by root, with one thread, when all descriptors
 * that the worker needs are open.  There is no way back.  All of them: what base/jail.h
 * has as parts, whose server is one of ours, too.
 *
 *   fetcher    an id of its own, no capability; reads only what resolving names
 *              and checking certificates takes (Landlock, where the kernel has it)
 *   unpacker   root of nothing but the layer's directory, which is nodev, nosuid,
 *              noexec to it; network and IPC namespaces of its own, empty; the
 *              capabilities that making files takes
 *   lister     an id of its own, no capability, no file to open; writes to those it has
 *   indexer    the same
 *   loader     the same, and reads one archive; for a directory, root of nothing but that,
 *              with the one capability that reading it takes
 *   reader     the same, and writes to none
 */
#pragma once

#include "base/err.h"

int jail_fetcher(struct err *e);

/* On success the working directory and root is the tree of 'tree_fd', which may be closed. */
int jail_unpacker(int tree_fd, struct err *e);

int jail_lister(struct err *e);
int jail_indexer(struct err *e);
/* 'dir_fd' -1: there is none. */
int jail_loader(int dir_fd, struct err *e);
int jail_reader(struct err *e);
