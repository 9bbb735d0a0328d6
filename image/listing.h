/* image/listing.h - the entries of a layer become an outline
 * SPDX-License-Identifier: Apache-2.0
 *
 * What image/tree.h does with files, here in memory, by the same rules: a
 * whiteout hides lower layers only, wherever it stands; the same path again
 * replaces what was there, but a directory is kept and described anew; no path
 * leads through a symbolic link; parents that are not mentioned are implied.
 *
 * A hard link to what this layer does not have is kept as one to lower layers.
 */
#pragma once

#include "base/err.h"
#include "image/outline.h"
#include "image/tar.h"

/* *ret_file is the inode of a file, for its place; NULL otherwise. */
int listing_add(struct outline *o, const struct tar_entry *entry, struct outline_inode **ret_file,
		struct err *e);
