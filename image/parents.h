/* image/parents.h - what a layer says only together with those below it
 * SPDX-License-Identifier: Apache-2.0
 *
 * A layer that has something in a directory may leave out what that directory is
 * like: then what lower layers say of it holds.  Overlay knows no such thing: of a
 * directory that several layers have it shows the highest one's attributes.  And a
 * layer that is unpacked is there once, whatever lies below it.  So on top of the
 * layers of such an image comes a tree of nothing but these directories, as the
 * highest layer has them that says something of them.
 *
 * A hard link may be to a file of a lower layer.  In the layer itself a whiteout stands in its
 * place; in the tree on top it is one more name of that file, unless a higher layer hides it.
 *
 * Names are the unpacker's, so foreign; what they lead through is opened name by name, and
 * never through a symbolic link.  Links are made when all directories are there, so nothing is
 * made through one of them either.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

struct parents;

struct parents *parents_new(void);
void parents_free(struct parents *p); /* NULL is fine */

/*
 * The next layer up: its tree, and the file of tree_write_implied(), which a layer of an older
 * Berth does not have; both below 'dir_fd'.  At most IMAGE_LAYERS_MAX.
 */
int parents_add(struct parents *p, int dir_fd, const char *tree, const char *implied,
		struct err *e);

/* Fill 'out_fd', an empty directory of the same file system.  Nothing is synced. */
int parents_make(struct parents *p, int out_fd, struct err *e);
