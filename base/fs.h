/* base/fs.h - files, below a directory descriptor
 * SPDX-License-Identifier: Apache-2.0
 *
 * Paths are relative to 'dir_fd' (AT_FDCWD for the working directory).
 * Descriptors are close-on-exec from birth.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct open_how;

/* Write all of it, through short writes and EINTR.  Returns 0 or -errno; no err. */
int write_all(int fd, const void *data, size_t size);
/* Read until 'size' bytes or the end.  Returns the bytes read or -errno. */
ssize_t read_all(int fd, void *data, size_t size);

/* openat2(2), EAGAIN retried.  Returns a descriptor or -errno. */
int fs_openat2(int dir_fd, const char *path, const struct open_how *how);

/*
 * Append the whole file to 'b'.  Over b->limit: -EFBIG.  The file must be a
 * regular one (proc and sysfs files are).
 */
int fs_read(int dir_fd, const char *path, struct buf *b, struct err *e);
int fs_read_fd(int fd, struct buf *b, struct err *e);

/* One write(2) to an existing file: the way of cgroup, proc and sysfs files. */
int fs_write_at(int dir_fd, const char *path, const char *text, struct err *e);

/*
 * Replace the file at once: a temporary name beside it, fdatasync, rename,
 * fsync of the directory.  After a power cut there is the old or the new one.
 */
enum fs_durability { FS_DURABLE, FS_QUICK /* no sync: for tmpfs and caches */ };
int fs_replace(int dir_fd, const char *path, const void *data, size_t size, mode_t mode,
	       enum fs_durability how, struct err *e);

/*
 * The same in steps, for files that are replaced together: all are prepared, so that they
 * go to the disk at once; each is put, which waits for what it holds and renames it; then the
 * directory is the caller's to sync.  What was not put is abandoned; to do so always is fine.
 */
struct fs_prepared {
	int fd;
	char tmp[NAME_MAX + 1];
};
#define FS_NOT_PREPARED  \
	{                \
		.fd = -1 \
	}
int fs_prepare(int dir_fd, const char *name, const void *data, size_t size, mode_t mode,
	       struct fs_prepared *ret, struct err *e);
int fs_put(int dir_fd, const char *name, struct fs_prepared *p, struct err *e);
void fs_abandon(int dir_fd, struct fs_prepared *p);

/* In place, for what nobody reads yet: a new file, or one that is there. */
int fs_write(int dir_fd, const char *path, const void *data, size_t size, mode_t mode,
	     struct err *e);

/* mkdir, parents too; those that are there already are fine. */
int fs_mkdirs(int dir_fd, const char *path, mode_t mode, struct err *e);
/* The same, and a descriptor of it (O_RDONLY | O_DIRECTORY). */
int fs_open_dir(int dir_fd, const char *path, mode_t mode, int *ret_fd, struct err *e);

/*
 * Remove 'name' and everything below it; symlinks are removed, never followed;
 * mounts below are not entered (-EBUSY).  Absent is fine.
 */
int fs_remove_tree(int dir_fd, const char *name, struct err *e);

/* Send or receive bytes with up to 'fd_count' descriptors over a unix socket. */
#define FS_FDS_MAX 253 /* SCM_MAX_FD: the kernel takes no more in one message */
int fs_send(int sock, const void *data, size_t size, const int *fds, size_t fd_count);
/*
 * Returns bytes (0: closed) or -errno (-EMSGSIZE: more than 'size' bytes, or
 * more descriptors than 'fd_max': those received are closed).
 */
ssize_t fs_recv(int sock, void *data, size_t size, int *fds, size_t fd_max, size_t *ret_fd_count,
		int flags);
