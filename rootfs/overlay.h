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
	size_t lower_count;
	int upper_fd, work_fd;
	const char *target;   /* a directory that the old way may mount over, unseen */
	bool user_attributes; /* marks are user.overlay.*, not trusted.overlay.* */
	bool read_only, volatile_upper;
};

/*
 * Two ways to the same mount.  The new one gives overlay one layer at a time
 * (Linux 6.7); where that is not known it returns OVERLAY_UNKNOWN, and the old
 * one is to be taken, whose options are one string in one page.
 */
enum { OVERLAY_UNKNOWN = 1 };
int overlay_mount_new(const struct overlay *o, int *ret_mount_fd, struct err *e);
int overlay_mount_old(const struct overlay *o, int *ret_mount_fd, struct err *e);
