/* rootfs/rootfs.h - from layers to a mounted root
 * SPDX-License-Identifier: Apache-2.0
 *
 * A root is an overlay mount: the layers of an image below, never written, and
 * a scratch directory of its own above.  Below is either an index, one file
 * system that shows all layers as they lie in their tars, or a directory for each.  It comes as a detached mount: a
 * descriptor, in no mount table, that move_mount(2) attaches where a container
 * wants it and that disappears with its last user.  So there is nothing to
 * unmount and nothing that a crash could leave behind.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ROOTFS_LAYERS_MAX 128 /* the most that an image has, and what a store puts on top of them */

/*
 * A scratch directory holds what one container writes: upper/, and work/ which
 * the kernel wants beside it.  It outlives the mount; mounted again it shows
 * what was written.  ext4, xfs, btrfs and tmpfs will do; another overlay will
 * not (the kernel refuses overlay upon overlay).
 *
 * Its parent exists.  One that is there already: -EEXIST.
 */
int rootfs_scratch_create(const char *dir, struct err *e);

/*
 * Everything in it goes, the directory too.  Absent is fine.  Takes as long as
 * the container wrote files: not for a loop's thread, but from any other (it
 * uses nothing but its parameters).
 */
int rootfs_scratch_remove(const char *dir, struct err *e);

/*
 * A limit to what directories of 'dir''s file system take together: those of one
 * project, a number that nobody else has there.  Check says whether, or why not,
 * there can be any: it takes ext4 or XFS with project quotas, and Linux 5.14.
 * Find tells a project that is nobody's, until somebody else sets its limit.
 * Set may be done again; 0 bytes: none, and the number is nobody's once nothing
 * is left that belongs to it.
 */
int rootfs_limit_check(const char *dir, struct err *e);
int rootfs_limit_find(const char *dir, uint32_t *ret_project, struct err *e);
int rootfs_limit_set(const char *dir, uint32_t project, uint64_t bytes, struct err *e);
/* A directory and those in it, empty so far: what is made in them belongs to the project. */
int rootfs_limit_join(const char *dir, uint32_t project, struct err *e);

/*
 * Mount an index (EROFS) from its file; 'devices' are the files that it points
 * into, in its order.  *ret_fd is a detached mount that any number of roots
 * share; who keeps it open has further roots for nothing.  The index must be of
 * our own making: the kernel believes it.
 */
int rootfs_open_index(const char *index, char *const *devices, size_t device_count, int *ret_fd,
		      struct err *e);

/*
 * Whether roots can be made of indexes here, by making one: of an index that
 * shows the file "probe", the 512 bytes that 'device' has.  'scratch' must not
 * be there.  It takes Linux 6.15 (6.12 mounts an index, but takes no copy of a
 * mount that is nowhere), EROFS, and a file system that is no overlay.
 */
int rootfs_try_index(const char *index, const char *device, const char *scratch, struct err *e);

/*
 * Ids of a user namespace.  In a root that is mounted with them, files of the
 * layers belong to whom the image says, as the namespace numbers them, and so
 * does what is written; in the scratch directory the host's numbers are.
 */
struct rootfs_ids {
	int userns_fd;          /* borrowed */
	const char *layers_dir; /* all layers lie in it, at any depth; absolute */
	int layers_fd;          /* rootfs_map_layers() of it; borrowed; not for an index */
};

/*
 * A view of the directory for any number of roots with these ids.  An error
 * says what cannot be done: Linux before 5.19, a file system that cannot.
 * It may take some milliseconds to close it: for a thread, rather than a loop.
 */
int rootfs_map_layers(const char *layers_dir, int userns_fd, int *ret_fd, struct err *e);

struct rootfs_spec {
	const int *index_fd; /* of rootfs_open_index(), borrowed; NULL: layers */

	/* Absolute paths, lowest first (struct image .layers); 1 to ROOTFS_LAYERS_MAX. */
	char *const *layers;
	size_t layer_count;

	const struct rootfs_ids *ids; /* NULL: the host's */

	const char *scratch; /* absolute; made by rootfs_scratch_create(); not mounted elsewhere */

	/*
	 * From birth: no one can create a mount point in it either.  For a
	 * container whose root is read-only, let the runtime make it so once its
	 * mounts are in place.
	 */
	bool read_only;

	/*
	 * Nothing is synced to disk on the container's behalf: faster, and right
	 * for what a task may lose.  After a restart of the host such a scratch is
	 * refused (-ESTALE), because it may hold half of anything.
	 */
	bool volatile_upper;

	/*
	 * Gets another mount of the same, the caller's; -1: the kernel has none (6.7 to
	 * 6.14, without ids).  NULL: none is wanted.
	 */
	int *copy_fd;
};

/*
 * On success *ret_mount_fd is the caller's.  The caller needs CAP_SYS_ADMIN and
 * /proc.  Takes well under a millisecond with Linux 6.7 or later (6.15 with ids
 * of a user namespace); before, a child makes the mount in a namespace of its
 * own, which takes one or two.
 */
int rootfs_mount(const struct rootfs_spec *spec, int *ret_mount_fd, struct err *e);
