/* runtime/mounts.h - the file system that a container sees
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two halves.  The creator, in the host's mount namespace, takes a detached
 * copy of everything that comes from the host (mounts_open).  The init, in the
 * new mount namespace, puts these and the new filesystems in their places
 * (mounts_apply).  No path of the host is looked up after the first half.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "runtime/cgroup.h"
#include "runtime/config.h"

struct mount_plan {
	int state_fd;    /* borrowed: a directory of our own, to make nodes in */
	bool nodes_made; /* some were */
	/* The init is the host's root while it mounts, for a user namespace with the config's maps. */
	bool from_outside;
	bool by_user;  /* we are not the host's root, and make no nodes */
	bool in_place; /* no mount namespace of its own: the root is entered, nothing is mounted */
	int root_fd;   /* detached tree that becomes the root; once attached, the root */
	char *place;   /* root.path, where createContainer hooks look for it; NULL: not there */
	int null_fd;   /* detached /dev/null, to cover files with */
	int *tree_fds; /* of each of config.mounts; -1: a new filesystem, until mounts_finish() is to see it */
	int *device_fds; /* in a user namespace, of the default devices and linux.devices; else NULL */
	size_t device_count;
	int cgroup_fds[CGROUP_HIERARCHIES_MAX]; /* detached: the container's own cgroups */
	uint32_t cgroups_put;                   /* a bit for each that has its place */
};

/* Empties the plan, so that mounts_close() may be called. */
void mounts_init(struct mount_plan *p);
void mounts_close(struct mount_plan *p, const struct config *c);

/*
 * Context: creator.  'rootfs': root.path as an absolute path.  'rootfs_fd': a
 * detached tree given by the caller, or -1.  Relative paths begin at 'bundle_fd'.
 * 'user_fd': the user namespace that the container joins, or -1.
 */
int mounts_open(struct mount_plan *p, const struct config *c, const char *rootfs, int bundle_fd,
		int rootfs_fd, int user_fd, struct err *e);
/* The same for the cgroups, once they are made. */
int mounts_open_cgroups(struct mount_plan *p, const struct config *c, const struct cgroup *cgroup,
			struct err *e);

/* Context: init, before pivot_root.  Everything in place below the attached root. */
int mounts_apply(struct mount_plan *p, const struct config *c, const struct cgroup_host *host,
		 struct err *e);

/* Context: init, when nothing more is made in them: mounts that are to be read-only in the end. */
int mounts_finish(const struct mount_plan *p, const struct config *c, struct err *e);

/* rootfs.c; context: init. */

/* Our mount namespace is a copy of the host's: stop what would travel back. */
int rootfs_isolate(const struct config *c, struct err *e);
int rootfs_attach(struct mount_plan *p, const struct config *c, struct err *e);
/* The attached root becomes "/", and the host's tree is gone. */
int rootfs_pivot(struct mount_plan *p, const struct config *c, bool no_pivot, struct err *e);
/* Masked and read-only paths, read-only root. */
int rootfs_restrict(struct mount_plan *p, const struct config *c, struct err *e);

/* devices.c; context: init, with /dev mounted. */
int devices_make(struct mount_plan *p, const struct config *c, struct err *e);
/* Put the slave of a terminal on /dev/console. */
int devices_console(int root_fd, int slave_fd, struct err *e);
/* Context: creator: the host's nodes, for a user namespace where none can be made. */
int devices_open(struct mount_plan *p, const struct config *c, struct err *e);

/* Context: creator, when the init has mounted all: names that devices_open() has given. */
void devices_unmake(const struct mount_plan *p);

/* Small things that the three share. */

/* A detached copy of what is at 'path', or of 'dir_fd' itself where it is "". */
int mount_clone(int dir_fd, const char *path, bool recursive, struct err *e);
int mount_set(int fd, uint64_t set, uint64_t clear, bool recursive, struct err *e);
int mount_set_propagation(int fd, uint64_t type, bool recursive, struct err *e);
/* Move a detached tree onto what 'target_fd' names. */
int mount_move(int fd, int target_fd, struct err *e);
/* A small tmpfs, detached: for directories of our own making. */
int mount_tmpfs(unsigned attrs, struct err *e);
/* The propagation that everything from the host begins with. */
void mount_first_propagation(const struct config *c, uint64_t *ret_type, bool *ret_recursive);
