/* cmd/berth/archive.h - loading what lies there as an archive
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "cmd/berth/local.h"

/*
 * A plain tar, or a directory: at 'path', NULL or "-" for standard input.  What comes
 * through a pipe, or is packed (gzip, zstd, xz), is a file without a name then, unpacked
 * by a worker.
 */
int archive_open(const struct context *c, const char *path, int *ret_fd, struct err *e);

/*
 * Load an archive, a file or a directory, and tell what came of it.  'name' and
 * 'platform' may be NULL.
 */
int archive_load(struct context *c, int archive_fd, const char *name, const char *platform,
		 bool quiet, struct err *e);
