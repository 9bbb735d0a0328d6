/* image/sources.h - where the fetcher may get an image, and how it is to ask there
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "image/reference.h"
#include "image/wire.h"

/*
 * Read 'count' sources from the memory file.  Files that they name become memory
 * files of this process, whose paths take their places: what the jail leaves to be
 * read.  *ret is malloc'ed.
 *
 * Context: the fetcher as root, before its jail.
 */
int sources_read(int fd, size_t count, struct source **ret, struct err *e);
