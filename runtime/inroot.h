/* runtime/inroot.h - opening what lies below a root that others may write to
 * SPDX-License-Identifier: Apache-2.0
 *
 * The one way to reach anything below a container's root from outside.  A path
 * is resolved as if the root were "/": no symlink, no ".." and no rename under
 * way leads out of it, and magic links of proc are never followed.
 *
 * All return a descriptor (close-on-exec) or -errno.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

enum inroot_mode {
	INROOT_FOLLOW,      /* symlinks, within the root */
	INROOT_NO_SYMLINKS, /* -ELOOP where there is one */
};

/* 'flags' as of open(2), without O_CREAT. */
int inroot_open(int root_fd, const char *path, int flags, enum inroot_mode mode);

/* The directory (O_PATH); what is missing of it is made with mode 0755. */
int inroot_mkdirs(int root_fd, const char *path, enum inroot_mode mode);

/* What is there, of any type (O_PATH); if nothing is, an empty file with mode 0644 is made. */
int inroot_mkfile(int root_fd, const char *path, enum inroot_mode mode);

/*
 * The directory above the last component (O_PATH, made where missing) and that
 * component, which is never "." or ".." and points into 'path'; -EINVAL for a
 * path that names the root itself.
 */
int inroot_parent(int root_fd, const char *path, enum inroot_mode mode, const char **ret_name);
