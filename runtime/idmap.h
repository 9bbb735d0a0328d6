/* runtime/idmap.h - mappings of user and group ids
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/js.h"

/*
 * Write both maps (lists of struct config_id_map) of a process that is alone in
 * a new user namespace.  'proc_fd': procfs_open().
 */
int idmap_write(int proc_fd, pid_t pid, const struct js_list *uids, const struct js_list *gids,
		struct err *e);

/* The host's id of one in the container; false: none is mapped to it. */
bool idmap_to_host(const struct js_list *maps, uint32_t id, uint32_t *ret);

/* A user namespace with these maps and nobody in it: what an id-mapped mount is made by. */
int idmap_namespace(const struct js_list *uids, const struct js_list *gids, int *ret_fd,
		    struct err *e);
