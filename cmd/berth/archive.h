/* cmd/berth/archive.h - loading what lies there as an archive
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "cmd/berth/local.h"

/*
 * Load an archive, a file or a directory, and tell what came of it.  'name' and
 * 'platform' may be NULL.
 */
int archive_load(struct context *c, int archive_fd, const char *name, const char *platform,
		 bool quiet, struct err *e);
