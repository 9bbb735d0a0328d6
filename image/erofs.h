/* image/erofs.h - an outline becomes a file system that the kernel mounts
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * EROFS with all of an image's names, and none of its content: that lies in
 * files of the layers, its devices, as it came.  Blocks are of 512 bytes, like
 * those of a tar, so the content of each file is one chunk there, however long.
 *
 *   superblock | devices | inodes | directories and targets of links
 *
 * Linux 6.12 mounts it from a file, without a loop device.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/outline.h"

#define EROFS_DEVICES_MAX 254 /* two for each layer */

/*
 * Write it to 'fd' from its begin.  'device_bytes' are the sizes of the devices,
 * in the order in which they are given to the kernel; an inode's .device counts
 * from 0.
 */
int erofs_write(struct outline *o, const uint64_t *device_bytes, size_t device_count, int fd,
		struct err *e);
