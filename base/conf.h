/* base/conf.h - configuration files: sections, keys and values, by a table
 * SPDX-License-Identifier: Apache-2.0
 *
 *   [server]
 *   listen = 127.0.0.1:4566      ; a comment
 *
 * Sections that a file may have any number of have a word and a name:
 *
 *   [registry ghcr.io]
 *   insecure = yes
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

/* Sections [WORD NAME]: one item for each, in the order of the file. */
#define CONF_ITEMS_MAX 256
struct conf_group {
	const char *word;
	const struct conf_key *keys; /* their .section is the word, their .offset in an item */
	size_t key_count;
	size_t item_size, name_offset; /* of a char * in the item: NAME */
	void *items;                   /* filled: the caller's to free */
	size_t count, capacity;
};

/* The same for a file of ours that may have such sections, too. */
int conf_read_groups(const char *path, const struct conf_key *keys, size_t count,
		     struct conf_group *group, struct arena *a, void *ret, struct err *e);
