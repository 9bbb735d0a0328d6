/* image/tree.h - the entries of a layer become files, in overlay form
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A tree is one layer by itself; the kernel's overlay puts layers together.  So
 * a whiteout becomes what overlay takes for one (a character device 0:0) and an
 * opaque directory gets overlay's mark: user.overlay.opaque where the file
 * system has user.* attributes, else trusted.overlay.opaque.
 *
 * 1. No path is followed through a symbolic link.  Parents are opened below the
 *    root by openat2(2), which refuses links, and leaves are made with
 *    O_EXCL | O_NOFOLLOW or by calls that never follow.
 * 2. What is made is described through its own descriptor or name, right after.
 * 3. A whiteout hides lower layers only, wherever it stands in the tar: what
 *    this layer has under that name stays, and a directory becomes opaque.
 * 4. The same path again replaces what was there; a directory is kept and
 *    described anew.
 * 5. Parents that the layer does not mention are root's, mode 0755.
 * 6. Times of directories are set at the end, because filling them changes them.
 *
 * The caller is confined to the directory; this file does not rely on it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/tar.h"

struct tree;

/* 'root_fd' is an empty directory, mode 0755 (borrowed). */
int tree_new(int root_fd, struct tree **ret, struct err *e);
void tree_free(struct tree *t); /* NULL is fine */

/* Make the entry.  For a file, then write it, with holes where nothing is written, and end it. */
int tree_add(struct tree *t, const struct tar_entry *entry, struct err *e);
int tree_write(struct tree *t, const void *data, size_t size, int64_t offset, struct err *e);
int tree_end_file(struct tree *t, const struct tar_entry *entry, struct err *e);

/* After the last entry. */
int tree_finish(struct tree *t, struct err *e);
/*
 * After that: hard links to what this layer does not have, each as "/PATH" and the target's path,
 * and whiteouts stand in their place; then the directories that were made because something is in
 * them, and of which no entry says what they are like: the root is "".  Each ends with a NUL.
 */
int tree_write_implied(const struct tree *t, int fd, struct err *e);

uint64_t tree_bytes(const struct tree *t);       /* of all files */
uint32_t tree_greatest_id(const struct tree *t); /* of users and groups */
