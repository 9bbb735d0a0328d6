/* rootfs/overlay.h - the kernel's overlay file system, mounted nowhere
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "rootfs/rootfs.h"

struct overlay {
	int lower_fds[ROOTFS_LAYERS_MAX]; /* highest first */
	const char *lower_paths[ROOTFS_LAYERS_MAX];
	size_t lower_count;
	const struct rootfs_ids *ids; /* lower_fds lie in its layers_fd; NULL: none */
	int upper_fd, work_fd;
	const char *upper_path, *work_path,
		*target;      /* the last: a directory to mount over, unseen */
	bool nowhere;         /* what is below is no part of any mount namespace: an index */
	bool user_attributes; /* marks are user.overlay.*, not trusted.overlay.* */
	bool read_only, volatile_upper;
	int *copy_fd; /* gets another mount of the same, or -1; NULL: none is wanted */
};

/*
 * Two ways to the same mount.  The new one gives overlay one layer at a time,
 * which Linux 6.7 has learned, and 6.15 to take from a mount that is nowhere, as
 * a view with other ids is.  The old one is mount(2), whose options are one
 * string in one page, in a child with a mount namespace of its own.
 */
bool overlay_kernel_is(unsigned major, unsigned minor); /* or newer */
int overlay_mount(const struct overlay *o, int *ret_mount_fd, struct err *e);
