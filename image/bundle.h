/* image/bundle.h - an archive of images: files by name
 * SPDX-License-Identifier: Apache-2.0
 *
 * A tar, which must be a file that can be read at any place, or a directory.  Both
 * come from strangers: names are looked up in what the tar lists, or below the
 * directory without following links.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define BUNDLE_FILES_MAX 100000

struct bundle;

/* 'fd' is borrowed.  A directory must be the process's root already: see jail_loader(). */
int bundle_open(int fd, bool is_directory, struct bundle **ret, struct err *e);
void bundle_close(struct bundle *b); /* NULL is fine */

bool bundle_has(const struct bundle *b, const char *name);

/* One of its files: 'fd' from 'offset' on.  -ENOENT when it has none of that name. */
struct bundle_file {
	int fd;
	bool own_fd; /* to be closed by the caller */
	int64_t offset, size;
};
int bundle_find(const struct bundle *b, const char *name, struct bundle_file *ret, struct err *e);

/* All of a file, at most 'out's limit. */
int bundle_read(const struct bundle *b, const char *name, struct buf *out, struct err *e);
