/* base/fs.c - files, below a directory descriptor
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fs.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/random.h"

#define READ_CHUNK 16383 /* and a NUL */
#define TREE_DEPTH 1024  /* deeper trees are refused rather than followed */

int write_all(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

ssize_t read_all(int fd, void *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, (char *)data + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int fs_openat2(int dir_fd, const char *path, const struct open_how *how)
{
	long fd;

	do
		fd = syscall(SYS_openat2, dir_fd, path, how, sizeof(*how));
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	return fd < 0 ? -errno : (int)fd;
}

/* 'size': how many bytes are expected, and one more, which shows that there are none. */
static int read_rest(int fd, struct buf *b, size_t size, struct err *e)
{
	for (;;) {
		const size_t left = b->limit - b->size, room = size < left ? size : left;
		char beyond; /* the limit */
		ssize_t n = read(fd, room ? buf_reserve(b, room) : &beyond, room ? room : 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read");
		if (n && !room)
			return err_set(e, EFBIG, "more than %zu bytes", b->limit);
		if (room)
			buf_commit(b, (size_t)n);
		if (n == 0)
			return 0;
		size = size > (size_t)n ? size - (size_t)n : READ_CHUNK;
	}
}

int fs_read_fd(int fd, struct buf *b, struct err *e)
{
	return read_rest(fd, b, READ_CHUNK, e);
}

int fs_read(int dir_fd, const char *path, struct buf *b, struct err *e)
{
	auto_close int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return err_sys(e, "open %s", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s is not a regular file", path);
	if (read_rest(fd, b, st.st_size > 0 ? (size_t)st.st_size + 1 : READ_CHUNK, e) < 0)
		return err_wrap(e, "%s", path);
	return 0;
}

int fs_write_at(int dir_fd, const char *path, const char *text, struct err *e)
{
	auto_close int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return err_sys(e, "open %s", path);
	do
		n = write(fd, text, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, "write '%s' to %s", text, path);
	if ((size_t)n != len)
		return err_set(e, EIO, "write '%s' to %s: %zd bytes taken", text, path, n);
	return 0;
}

/* The directory part of 'path' in 'dir', "." when there is none. */
static void dir_of(const char *path, char *dir, size_t size)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		(void)snprintf(dir, size, ".");
	else
		(void)snprintf(dir, size, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static int sync_dir_of(int dir_fd, const char *path, struct err *e)
{
	char dir[PATH_MAX];
	auto_close int fd = -1;

	dir_of(path, dir, sizeof(dir));
	fd = openat(dir_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_sys(e, "sync directory of %s", path);
	return 0;
}

static int fill(int fd, const char *path, const void *data, size_t size, mode_t mode, struct err *e)
{
	int r;

	if (fd < 0)
		return err_sys(e, "create %s", path);
	if (fchmod(fd, mode) < 0) /* whatever the umask */
		return err_sys(e, "mode of %s", path);
	r = write_all(fd, data, size);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "write %s", path);
	}
	return 0;
}

static int write_opened(int own_fd, const char *path, const void *data, size_t size, mode_t mode,
			enum fs_durability how, struct err *e)
{
	auto_close int fd = own_fd;

	if (fill(fd, path, data, size, mode, e) < 0)
		return -e->code;
	if (how == FS_DURABLE && fdatasync(fd) < 0)
		return err_sys(e, "sync %s", path);
	return 0;
}

/* Not by O_TRUNC: what that empties, be it empty, ext4 brings to the disk when it is closed. */
int fs_write(int dir_fd, const char *path, const void *data, size_t size, mode_t mode,
	     struct err *e)
{
	int fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size && ftruncate(fd, 0) < 0) {
		(void)err_sys(e, "empty %s", path);
		(void)close(fd);
		return -e->code;
	}
	return write_opened(fd, path, data, size, mode, FS_QUICK, e);
}

static int create_new(int dir_fd, const char *path, mode_t mode)
{
	return openat(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
}

int fs_replace(int dir_fd, const char *path, const void *data, size_t size, mode_t mode,
	       enum fs_durability how, struct err *e)
{
	char tmp[PATH_MAX], tag[9];
	int r;

	random_hex(tag, 8);
	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.%s.tmp", path, tag) >= sizeof(tmp))
		return err_set(e, ENAMETOOLONG, "replace %s", path);

	r = write_opened(create_new(dir_fd, tmp, mode), tmp, data, size, mode, how, e);
	if (r == 0 && renameat(dir_fd, tmp, dir_fd, path) < 0)
		r = err_sys(e, "rename to %s", path);
	if (r < 0) {
		(void)unlinkat(dir_fd, tmp, 0); /* the old file stands */
		return r;
	}
	return how == FS_DURABLE ? sync_dir_of(dir_fd, path, e) : 0;
}

int fs_prepare(int dir_fd, const char *name, const void *data, size_t size, mode_t mode,
	       struct fs_prepared *ret, struct err *e)
{
	char tag[9];

	random_hex(tag, 8);
	if ((size_t)snprintf(ret->tmp, sizeof(ret->tmp), "%s.%s.tmp", name, tag) >=
	    sizeof(ret->tmp))
		return err_set(e, ENAMETOOLONG, "replace %s", name);
	ret->fd = create_new(dir_fd, ret->tmp, mode);
	if (fill(ret->fd, ret->tmp, data, size, mode, e) < 0) {
		fs_abandon(dir_fd, ret);
		return -e->code;
	}
	(void)sync_file_range(ret->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* fs_put() hears of errors */
	return 0;
}

int fs_put(int dir_fd, const char *name, struct fs_prepared *p, struct err *e)
{
	if (fdatasync(p->fd) < 0)
		return err_sys(e, "sync %s", p->tmp);
	if (renameat(dir_fd, p->tmp, dir_fd, name) < 0)
		return err_sys(e, "rename to %s", name);
	close_fd(&p->fd);
	return 0;
}

void fs_abandon(int dir_fd, struct fs_prepared *p)
{
	if (p->fd < 0)
		return;
	close_fd(&p->fd);
	(void)unlinkat(dir_fd, p->tmp, 0); /* the old file stands */
}

int fs_mkdirs(int dir_fd, const char *path, mode_t mode, struct err *e)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (!len || len >= sizeof(part))
		return err_set(e, ENAMETOOLONG, "make directory '%s'", path);
	if (mkdirat(dir_fd, path, mode) == 0 || errno == EEXIST)
		return 0; /* nearly always: its parents are there */
	memcpy(part, path, len + 1);

	for (char *p = part + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdirat(dir_fd, part, mode) < 0 && errno != EEXIST)
			return err_sys(e, "make directory %s", part);
		*p = c;
		if (c == '\0')
			return 0;
	}
}

int fs_open_dir(int dir_fd, const char *path, mode_t mode, int *ret_fd, struct err *e)
{
	int fd;

	if (fs_mkdirs(dir_fd, path, mode, e) < 0)
		return -e->code;
	fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open directory %s", path);
	*ret_fd = fd;
	return 0;
}

static int remove_at(int dir_fd, const char *name, unsigned depth, struct err *e);

static int remove_below(int dir_fd, const char *name, unsigned depth, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open directory %s", name);
	dir = fdopendir(fd);
	if (!dir) {
		close_fd(&fd);
		return err_set(e, ENOMEM, "read directory %s", name);
	}

	while ((errno = 0, entry = readdir(dir))) {
		const char *n = entry->d_name;

		if (n[0] == '.' && (!n[1] || (n[1] == '.' && !n[2])))
			continue;
		if (remove_at(dirfd(dir), n, depth + 1, e) < 0)
			return err_wrap(e, "%s", name);
	}
	return errno ? err_sys(e, "read directory %s", name) : 0;
}

static int remove_at(int dir_fd, const char *name, unsigned depth, struct err *e)
{
	if (depth > TREE_DEPTH)
		return err_set(e, ELOOP, "remove %s: more than %d levels", name, TREE_DEPTH);
	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_sys(e, "remove %s", name);
	if (remove_below(dir_fd, name, depth, e) < 0)
		return -e->code;
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "remove directory %s", name);
	return 0;
}

int fs_remove_tree(int dir_fd, const char *name, struct err *e)
{
	return remove_at(dir_fd, name, 0, e);
}

int fs_send(int sock, const void *data, size_t size, const int *fds, size_t fd_count)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * FS_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	assert(fd_count <= FS_FDS_MAX);

	if (fd_count) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EMSGSIZE;
}

/* All descriptors that came; returns how many fit into fds, or -1 when some did not. */
static int collect_fds(struct msghdr *msg, int *fds, size_t fd_max)
{
	size_t count = 0;
	bool overflow = msg->msg_flags & MSG_CTRUNC;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (count < fd_max) {
				fds[count++] = fd;
			} else {
				overflow = true;
				(void)close(fd);
			}
		}
	}
	if (!overflow)
		return (int)count;
	while (count)
		(void)close(fds[--count]);
	return -1;
}

ssize_t fs_recv(int sock, void *data, size_t size, int *fds, size_t fd_max, size_t *ret_fd_count,
		int flags)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * FS_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = data, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.space,
			     .msg_controllen = sizeof(control.space)};
	ssize_t n;
	int count;

	do
		n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;

	count = collect_fds(&msg, fds, fd_max);
	if (count < 0)
		return -EMSGSIZE;
	if (msg.msg_flags & MSG_TRUNC) {
		while (count)
			(void)close(fds[--count]);
		return -EMSGSIZE;
	}
	*ret_fd_count = (size_t)count;
	return n;
}
