/* base/conf.h - configuration files: sections, keys and values, by a table
 * SPDX-License-Identifier: Apache-2.0
 *
 *   [server]
 *   listen = 127.0.0.1:4566      ; a comment
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

struct conf_key {
	const char *section, *name;
	size_t offset; /* of a char * in the struct that is filled */
};

/* Whose file it is: in ours every key is known; one of others has more than we ask for. */
enum conf_owner { CONF_OURS, CONF_FOREIGN };

/*
 * Read a file into 'ret', strings from the arena; keys that the file does not
 * have are left alone.  -ENOENT when there is no file.  A line that cannot be
 * read and a key that stands twice are errors with the line; in a file of ours
 * an unknown key is one too, told with the nearest name that there is.
 */
int conf_read(const char *path, enum conf_owner owner, const struct conf_key *keys, size_t count,
	      struct arena *a, void *ret, struct err *e);
