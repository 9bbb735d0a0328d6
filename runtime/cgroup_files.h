/* runtime/cgroup_files.h - reading the files of cgroups; shared by runtime/cgroup*.c
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "runtime/cgroup.h"

/* O_RDONLY | O_DIRECTORY; -errno, and no err. */
int cgroup_open_dir(int dir_fd, const char *path);

/* The first line, without its end.  False: it cannot be read. */
bool cgroup_read_line(int dir_fd, const char *file, char *ret, size_t size);

/* The number behind "key " in a file of such lines. */
bool cgroup_read_key(int dir_fd, const char *file, const char *key, uint64_t *ret);

/* Call fn for the directory and each one below it, those below first. */
int cgroup_for_each(int fd, unsigned depth, int (*fn)(int fd, void *arg, struct err *e), void *arg,
		    struct err *e);

/* The cgroup of this hierarchy that a process is in: a descriptor, or -errno. */
int cgroup_open_of(const struct cgroup_hierarchy *h, pid_t pid);

/* Membership is the same in each hierarchy; v2's is the one that a container can least change. */
int cgroup_any_fd(const struct cgroup *c);
