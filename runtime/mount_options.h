/* runtime/mount_options.h - the words in mounts[].options
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct config_mount;

/* What mount_setattr(2) is to set and clear. */
struct mount_attrs {
	uint64_t set, clear; /* MOUNT_ATTR_* */
};

#define MOUNT_PROPAGATIONS_MAX 4 /* "rslave,rshared" is a thing; more is not */

struct mount_options {
	bool bind, recursive; /* rbind */
	bool copy_up;         /* tmpcopyup */
	bool remount;         /* nothing new: what is mounted there is changed */
	bool remount_one;     /* and with "bind" it alone, not its filesystem */
	bool idmap, idmap_recursive;
	struct mount_attrs one, tree;
	struct {
		uint64_t type; /* MS_SHARED ... */
		bool recursive;
	} propagation[MOUNT_PROPAGATIONS_MAX];
	size_t propagation_count;
};

/* Refuses what has no meaning for this kind of mount, by its word. */
int mount_options_parse(const struct config_mount *m, struct mount_options *ret, struct err *e);

/* Is the word for the filesystem itself (size=64k, mode=755, sync)? */
bool mount_option_is_data(const char *word);

/* "rslave" to MS_SLAVE and true. */
bool mount_propagation_find(const char *word, uint64_t *ret_type, bool *ret_recursive);

/* All words, for `features`; the caller's. */
json_t *mount_option_names(void);
