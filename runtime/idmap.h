/* runtime/idmap.h - mappings of user and group ids
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "base/js.h"

/*
 * Write both maps (lists of struct config_id_map) of a process that is alone in
 * a new user namespace.  'proc_fd': procfs_open().
 */
int idmap_write(int proc_fd, pid_t pid, const struct js_list *uids, const struct js_list *gids,
		struct err *e);

/* A user namespace with these maps and nobody in it: what an id-mapped mount is made by. */
int idmap_namespace(const struct js_list *uids, const struct js_list *gids, int *ret_fd,
		    struct err *e);
