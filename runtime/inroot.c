/* runtime/inroot.c - opening what lies below a root that others may write to
 * SPDX-License-Identifier: Apache-2.0
 *
 * openat2(2) with RESOLVE_IN_ROOT does it in the kernel.  Where that call does
 * not exist (before 5.6, or under a filter that does not know it), and where
 * directories are to be made on the way, a walk of our own does:
 *
 * 1. Each component is opened by itself, O_PATH | O_NOFOLLOW, from the one
 *    before it: the kernel never follows a symlink for us.
 * 2. The text of a symlink is put in front of what is still to be walked.
 * 3. ".." drops the last component of the path walked so far, and that path is
 *    walked again from the root: the kernel is never asked for "..", which a
 *    directory that was moved out of the root in the meantime would answer with
 *    the world outside.
 */
#include "runtime/inroot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"

#define SYMLINKS_MAX 40   /* as the kernel's own limit */
#define STEPS_MAX    4096 /* components walked in all: bounds symlinks that name each other */

enum make { MAKE_NOTHING, MAKE_DIRECTORY, MAKE_FILE };

struct walk {
	int root_fd;
	int fd;                  /* where we are; O_PATH */
	int parent_fd;           /* the directory that the last step was made from; -1: none */
	char name[NAME_MAX + 1]; /* of that step */
	char done[PATH_MAX];     /* the way here: no symlinks, no dots; "" is the root */
	char todo[PATH_MAX];
	unsigned symlinks, steps;
	enum inroot_mode mode;
	enum make make;
};

/* Cut the first component off the rest.  False: nothing is left. */
static bool next_component(struct walk *w, char name[NAME_MAX + 1], int *ret_err)
{
	char *p = w->todo + strspn(w->todo, "/");
	size_t len = strcspn(p, "/");

	if (!len)
		return false;
	if (len > NAME_MAX) {
		*ret_err = -ENAMETOOLONG;
		return false;
	}
	memcpy(name, p, len);
	name[len] = '\0';
	memmove(w->todo, p + len, strlen(p + len) + 1);
	return true;
}

static bool is_last(const struct walk *w)
{
	return w->todo[strspn(w->todo, "/")] == '\0';
}

static int restart(struct walk *w)
{
	int fd = openat(w->root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close_fd(&w->fd);
	close_fd(&w->parent_fd);
	w->fd = fd;
	return 0;
}

/* Walk w->done again from the root. */
static int walk_back(struct walk *w)
{
	char path[PATH_MAX], *p = path, *slash;
	int r = restart(w);

	(void)snprintf(path, sizeof(path), "%s", w->done);
	while (r == 0 && *p) {
		int fd;

		slash = p + strcspn(p, "/");
		if (*slash)
			*slash++ = '\0';
		if (++w->steps > STEPS_MAX)
			return -ELOOP;
		fd = openat(w->fd, p, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		close_fd(&w->fd);
		w->fd = fd;
		p = slash;
	}
	return r;
}

static int go_up(struct walk *w)
{
	char *slash = strrchr(w->done, '/');

	*(slash ? slash : w->done) = '\0';
	return walk_back(w);
}

/* 'link_fd' is the symlink itself, found in w->fd. */
static int expand_symlink(struct walk *w, int link_fd)
{
	char text[PATH_MAX], rest[PATH_MAX];
	ssize_t n;

	if (w->mode == INROOT_NO_SYMLINKS || ++w->symlinks > SYMLINKS_MAX)
		return -ELOOP;
	n = readlinkat(link_fd, "", text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';

	(void)snprintf(rest, sizeof(rest), "%s", w->todo);
	if ((size_t)snprintf(w->todo, sizeof(w->todo), "%s/%s", text, rest) >= sizeof(w->todo))
		return -ENAMETOOLONG;
	if (text[0] != '/')
		return 0;
	w->done[0] = '\0';
	return restart(w);
}

static int make_component(struct walk *w, const char *name)
{
	int fd;

	if (w->make == MAKE_NOTHING)
		return -ENOENT;
	if (w->make == MAKE_FILE && is_last(w)) {
		fd = openat(w->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    0644);
		if (fd < 0)
			return errno == EEXIST ? 0 : -errno;
		(void)close(fd);
		return 0;
	}
	return mkdirat(w->fd, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int step_down(struct walk *w, const char *name)
{
	size_t len = strlen(w->done);
	auto_close int fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 && errno == ENOENT) {
		r = make_component(w, name);
		if (r < 0)
			return r;
		fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return expand_symlink(w, fd);
	if (!S_ISDIR(st.st_mode) && (!is_last(w) || w->make == MAKE_DIRECTORY))
		return -ENOTDIR;

	if ((size_t)snprintf(w->done + len, sizeof(w->done) - len, "%s%s", len ? "/" : "", name) >=
	    sizeof(w->done) - len)
		return -ENAMETOOLONG;
	close_fd(&w->parent_fd);
	w->parent_fd = w->fd;
	w->fd = take_fd(fd);
	(void)snprintf(w->name, sizeof(w->name), "%s", name);
	return 0;
}

static void walk_done(struct walk *w)
{
	close_fd(&w->fd);
	close_fd(&w->parent_fd);
}

static int walk(int root_fd, const char *path, enum inroot_mode mode, enum make make,
		struct walk *w)
{
	char name[NAME_MAX + 1];
	int r;

	*w = (struct walk){
		.root_fd = root_fd, .fd = -1, .parent_fd = -1, .mode = mode, .make = make};
	if ((size_t)snprintf(w->todo, sizeof(w->todo), "%s", path) >= sizeof(w->todo))
		return -ENAMETOOLONG;

	r = restart(w);
	while (r == 0 && next_component(w, name, &r)) {
		if (++w->steps > STEPS_MAX)
			r = -ELOOP;
		else if (strcmp(name, "..") == 0)
			r = go_up(w);
		else if (strcmp(name, ".") != 0)
			r = step_down(w, name);
	}
	return r;
}

static int walk_open(int root_fd, const char *path, enum inroot_mode mode, enum make make)
{
	struct walk w;
	int r = walk(root_fd, path, mode, make, &w);

	if (r == 0)
		r = take_fd(w.fd);
	walk_done(&w);
	return r;
}

static int open_in_kernel(int root_fd, const char *path, int flags, enum inroot_mode mode)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	if (mode == INROOT_NO_SYMLINKS)
		how.resolve |= RESOLVE_NO_SYMLINKS;
	return fs_openat2(root_fd, path, &how);
}

/* The walk gives the place; its last component is then opened again, still not following. */
static int open_by_walk(int root_fd, const char *path, int flags, enum inroot_mode mode)
{
	struct walk w;
	int r = walk(root_fd, path, mode, MAKE_NOTHING, &w);

	if (r == 0) {
		r = w.parent_fd >= 0 ? openat(w.parent_fd, w.name, flags | O_NOFOLLOW | O_CLOEXEC)
				     : openat(w.fd, ".", flags | O_CLOEXEC);
		r = r < 0 ? -errno : r;
	}
	walk_done(&w);
	return r;
}

int inroot_open(int root_fd, const char *path, int flags, enum inroot_mode mode)
{
	int fd = open_in_kernel(root_fd, path, flags, mode);

	if (fd != -ENOSYS && fd != -EPERM)
		return fd;
	return open_by_walk(root_fd, path, flags, mode);
}

int inroot_mkdirs(int root_fd, const char *path, enum inroot_mode mode)
{
	int fd = open_in_kernel(root_fd, path, O_PATH | O_DIRECTORY, mode);

	if (fd >= 0 || fd == -ELOOP || fd == -ENOTDIR)
		return fd;
	return walk_open(root_fd, path, mode, MAKE_DIRECTORY);
}

int inroot_mkfile(int root_fd, const char *path, enum inroot_mode mode)
{
	int fd = open_in_kernel(root_fd, path, O_PATH, mode);

	if (fd >= 0 || fd == -ELOOP || fd == -ENOTDIR)
		return fd;
	return walk_open(root_fd, path, mode, MAKE_FILE);
}

int inroot_parent(int root_fd, const char *path, enum inroot_mode mode, const char **ret_name)
{
	const char *name = strrchr(path, '/');
	char dir[PATH_MAX];

	name = name ? name + 1 : path;
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	if ((size_t)snprintf(dir, sizeof(dir), "/%.*s", (int)(name - path), path) >= sizeof(dir))
		return -ENAMETOOLONG;
	*ret_name = name;
	return inroot_mkdirs(root_fd, dir, mode);
}
