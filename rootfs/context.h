/* rootfs/context.h - a file system that is being put together: fsopen(2)
 * SPDX-License-Identifier: Apache-2.0
 *
 * Errors begin with what file system it is, and have the kernel's own words, which
 * Linux 6.5 and later have some of.
 */
#pragma once

#include "base/err.h"

int fs_context_string(int fs_fd, const char *key, const char *value, struct err *e);
/* A file or directory by our descriptor: paths of any length and with any character will do. */
int fs_context_file(int fs_fd, const char *key, int fd, struct err *e);
int fs_context_flag(int fs_fd, const char *key, struct err *e);
/* A detached mount of it with MOUNT_ATTR_ bits. */
int fs_context_mount(int fs_fd, unsigned attr, int *ret_fd, struct err *e);
