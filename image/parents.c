/* image/parents.c - what a layer says only together with those below it
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/parents.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/held.h"
#include "image/reason.h"
#include "image/tar.h"

#define IMPLIED_SIZE_MAX   (128 << 20) /* of all names of a layer */
#define ATTRIBUTE_SIZE_MAX (64 << 10)  /* as the kernel has it, of a list of names as of a value */

/* A hard link to what lower layers have. */
struct link {
	const char *path, *target;
};

struct layer {
	int tree_fd;
	char *text;           /* the names, one behind the other */
	const char **implied; /* sorted; into text */
	size_t count;
	struct link *links; /* the same */
	size_t link_count;
};

struct made {
	char *path;
	struct timespec mtime;
};

struct parents {
	struct layer layers[IMAGE_LAYERS_MAX];
	size_t count;
	struct made *made;
	size_t made_count, made_capacity;
};

struct parents *parents_new(void)
{
	return xcalloc(1, sizeof(struct parents));
}

void parents_free(struct parents *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->count; i++) {
		close_fd(&p->layers[i].tree_fd);
		free(p->layers[i].text);
		free(p->layers[i].implied);
		free(p->layers[i].links);
	}
	for (size_t i = 0; i < p->made_count; i++)
		free(p->made[i].path);
	free(p->made);
	free(p);
}

/* ---- layers ---- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_names(struct layer *l, size_t size)
{
	size_t capacity = 0, link_capacity = 0;

	for (size_t at = 0; at < size; at += strlen(l->text + at) + 1) {
		const char *text = l->text + at, *target = text + strlen(text) + 1;

		if (text[0] == '/' && target < l->text + size) {
			l->links = xgrow(l->links, l->link_count, &link_capacity,
					 sizeof(*l->links));
			l->links[l->link_count++] = (struct link){text + 1, target};
			at += strlen(text) + 1;
			continue;
		}
		l->implied = xgrow(l->implied, l->count, &capacity, sizeof(*l->implied));
		l->implied[l->count++] = text;
	}
	if (l->count)
		qsort(l->implied, l->count, sizeof(*l->implied), compare_names);
	if (l->link_count) /* their first member is the name */
		qsort(l->links, l->link_count, sizeof(*l->links), compare_names);
}

int parents_add(struct parents *p, int dir_fd, const char *tree, const char *implied, struct err *e)
{
	struct layer *l = &p->layers[p->count];
	auto_buf struct buf names = BUF_INIT(IMPLIED_SIZE_MAX);
	struct err failed = {0};

	assert(p->count < IMAGE_LAYERS_MAX);

	if (fs_read(dir_fd, implied, &names, &failed) < 0 && failed.code != ENOENT) {
		*e = failed;
		return -e->code;
	}
	l->tree_fd = openat(dir_fd, tree, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (l->tree_fd < 0)
		return err_sys(e, "open %s", tree);
	p->count++;
	buf_putc(&names, '\0'); /* whatever the last name ends with */
	l->text = take_ptr(names.data);
	sort_names(l, names.size - 1);
	return 0;
}

static bool is_implied(const struct layer *l, const char *path)
{
	return l->count && bsearch(&path, l->implied, l->count, sizeof(*l->implied), compare_names);
}

static const struct link *find_link(const struct layer *l, const char *path)
{
	return l->link_count
		       ? bsearch(&path, l->links, l->link_count, sizeof(*l->links), compare_names)
		       : NULL;
}

/* ---- what there is by a name ---- */

enum look { FOUND, ABSENT, COVERED };

static bool is_opaque(int fd)
{
	static const char *const names[] = {"user.overlay.opaque", "trusted.overlay.opaque"};
	char value = 0;

	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		if (fgetxattr(fd, names[i], &value, 1) == 1 && value == 'y')
			return true;
	return false;
}

/* Where 'path' is in a layer; whether what it is in hides what lies below. */
static int look_in(const struct layer *l, const char *path, int *ret_fd, bool *ret_opaque,
		   struct err *e)
{
	auto_close int fd = fcntl(l->tree_fd, F_DUPFD_CLOEXEC, 3);
	auto_free char *names = xstrdup(path);
	char *rest = *path ? names : NULL, *name;

	if (fd < 0)
		return err_sys(e, "duplicate a descriptor");
	while ((name = strsep(&rest, "/"))) {
		int next;

		if (!*name || str_eq(name, ".") || str_eq(name, ".."))
			return err_set(e, EBADMSG, "'%.200s' is no name of a directory", path);
		*ret_opaque |= is_opaque(fd);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0 && errno == ENOENT)
			return ABSENT;
		if (next < 0)
			return errno == ENOTDIR || errno == ELOOP
				       ? COVERED
				       : err_sys(e, "open '%.200s'", path);
		(void)close(fd);
		fd = next;
	}
	*ret_fd = take_fd(fd);
	return FOUND;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* All but the last part, which is ""; the caller frees it. */
static char *dir_of(const char *path)
{
	const char *name = last_part(path);

	return xstrndup(path, name == path ? 0 : (size_t)(name - path) - 1);
}

/* Whatever a layer has by that name, and the directory that it is in. */
static int look_at(const struct layer *l, const char *path, int *ret_dir_fd, struct stat *ret_st,
		   struct err *e)
{
	const char *name = last_part(path);
	auto_free char *dir = dir_of(path);
	auto_close int fd = -1;
	bool opaque = false;
	int r;

	r = look_in(l, dir, &fd, &opaque, e);
	if (r == FOUND && fstatat(fd, name, ret_st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return err_sys(e, "stat '%.200s'", path);
		opaque |= is_opaque(fd);
		r = ABSENT;
	}
	if (r == FOUND)
		*ret_dir_fd = take_fd(fd);
	return r == ABSENT && opaque ? COVERED : r;
}

/* The file that a link of layer 'i' is to. */
static int find_target(const struct parents *p, size_t i, const struct link *link, int *ret_dir_fd,
		       const char **ret_name, struct err *e)
{
	const char *path = link->target;
	int r = ABSENT;

	while (r == ABSENT && i-- > 0) {
		const struct link *next = find_link(&p->layers[i], path);
		auto_close int fd = -1;
		struct stat st;

		if (next) {
			path = next->target;
			continue;
		}
		r = look_at(&p->layers[i], path, &fd, &st, e);
		if (r < 0)
			return r;
		if (r != FOUND || S_ISDIR(st.st_mode) ||
		    (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0)))
			continue;
		*ret_dir_fd = take_fd(fd);
		*ret_name = last_part(path);
		return 0;
	}
	return image_fail(e, IMAGE_REASON_MALFORMED,
			  "hard link '%.150s' to '%.150s', which this layer does not have, nor one "
			  "below",
			  link->path, link->target);
}

/* 1: a layer above layer 'i' has something else there, or nothing. */
static int is_hidden(const struct parents *p, size_t i, const char *path, struct err *e)
{
	while (++i < p->count) {
		auto_close int fd = -1;
		struct stat st;
		int r = look_at(&p->layers[i], path, &fd, &st, e);

		if (r != ABSENT)
			return r < 0 ? r : 1;
	}
	return 0;
}

/*
 * Which directory says what 'path' is like in the image, or -1; whether one of a higher layer
 * hides that from overlay.
 */
static int find_source(const struct parents *p, const char *path, int *ret_fd, bool *ret_hidden,
		       struct err *e)
{
	auto_close int silent_fd = -1;

	*ret_hidden = false;
	for (size_t i = p->count; i-- > 0;) {
		auto_close int fd = -1;
		bool opaque = false;
		int r = look_in(&p->layers[i], path, &fd, &opaque, e);

		if (r < 0)
			return r;
		if (r == FOUND && !is_implied(&p->layers[i], path)) {
			*ret_hidden = silent_fd >= 0;
			*ret_fd = take_fd(fd);
			return 0;
		}
		if (r == FOUND) {
			close_fd(&silent_fd);
			silent_fd = take_fd(fd);
		}
		if (r == COVERED || opaque)
			break;
	}
	*ret_fd = take_fd(silent_fd);
	return 0;
}

/* ---- what is made ---- */

static int copy_attribute(int from_fd, int to_fd, const char *name, char *value, struct err *e)
{
	ssize_t size;

	if (str_starts(name, "user.overlay.") || str_starts(name, "trusted.overlay."))
		return 0;
	size = fgetxattr(from_fd, name, value, ATTRIBUTE_SIZE_MAX);
	if (size < 0 || fsetxattr(to_fd, name, value, (size_t)size, 0) < 0)
		return errno == EOPNOTSUPP ? 0 : err_sys(e, "attribute %.100s", name);
	return 0;
}

static int copy_attributes(int from_fd, int to_fd, struct err *e)
{
	auto_free char *names = xcalloc(1, ATTRIBUTE_SIZE_MAX);
	auto_free char *value = xcalloc(1, ATTRIBUTE_SIZE_MAX);
	ssize_t size = flistxattr(from_fd, names, ATTRIBUTE_SIZE_MAX);

	if (size < 0 && errno != EOPNOTSUPP)
		return err_sys(e, "list attributes");
	for (const char *name = names; name < names + size; name += strlen(name) + 1)
		if (copy_attribute(from_fd, to_fd, name, value, e) < 0)
			return -e->code;
	return 0;
}

static int make_one(struct parents *p, int out_fd, const char *path, struct err *e)
{
	auto_close int from_fd = -1, fd = -1;
	struct stat st;
	bool hidden;

	if (*path && mkdirat(out_fd, path, 0700) < 0)
		return errno == EEXIST ? 0 : err_sys(e, "make '%.200s'", path);
	if (find_source(p, path, &from_fd, &hidden, e) < 0)
		return -e->code;
	fd = openat(out_fd, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || from_fd < 0 || fstat(from_fd, &st) < 0 ||
	    fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 07777) < 0)
		return err_sys(e, "describe '%.200s'", path);
	p->made = xgrow(p->made, p->made_count, &p->made_capacity, sizeof(*p->made));
	p->made[p->made_count++] = (struct made){xstrdup(path), st.st_mtim};
	return copy_attributes(from_fd, fd, e);
}

/* And all that it is in, but for the root. */
static int make_with_parents(struct parents *p, int out_fd, const char *path, struct err *e)
{
	for (size_t at = 1; *path && at <= strlen(path); at++) {
		auto_free char *part = xstrndup(path, at);

		if ((path[at] == '/' || !path[at]) && make_one(p, out_fd, part, e) < 0)
			return -e->code;
	}
	return 0;
}

static int make_all(struct parents *p, int out_fd, const struct layer *l, struct err *e)
{
	for (size_t i = 0; i < l->count; i++) {
		auto_close int fd = -1;
		bool hidden;

		if (find_source(p, l->implied[i], &fd, &hidden, e) < 0 ||
		    (hidden && make_with_parents(p, out_fd, l->implied[i], e) < 0))
			return -e->code;
	}
	return 0;
}

/* Of names alone; the root is none. */
static bool is_path(const char *path)
{
	for (size_t len;; path += len + 1) {
		len = strcspn(path, "/");
		if (len == 0 || (path[0] == '.' && (len == 1 || (len == 2 && path[1] == '.'))))
			return false;
		if (!path[len])
			return true;
	}
}

/* What links will be in; they and what they are to have been looked at then. */
static int make_places(struct parents *p, int out_fd, size_t i, struct err *e)
{
	for (size_t n = 0; n < p->layers[i].link_count; n++) {
		const struct link *link = &p->layers[i].links[n];
		auto_free char *dir = dir_of(link->path);
		auto_close int fd = -1;
		const char *name;
		int r = 0;

		if (!is_path(link->path) || !is_path(link->target))
			r = err_set(e, EBADMSG, "hard link '%.150s' to '%.150s'", link->path,
				    link->target);
		if (r == 0)
			r = find_target(p, i, link, &fd, &name, e);
		if (r == 0)
			r = is_hidden(p, i, link->path, e);
		if (r == 0)
			r = make_with_parents(p, out_fd, dir, e);
		if (r < 0)
			return err_wrap(e, "layer %zu", i);
	}
	return 0;
}

static int make_link(const struct parents *p, int out_fd, size_t i, const struct link *link,
		     struct err *e)
{
	const struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
				     .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
						RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
	auto_free char *dir = dir_of(link->path);
	auto_close int fd = -1, target_fd = -1;
	const char *name;
	int r = is_hidden(p, i, link->path, e);

	if (r != 0)
		return r < 0 ? r : 0;
	if (find_target(p, i, link, &target_fd, &name, e) < 0)
		return -e->code;
	fd = fs_openat2(out_fd, *dir ? dir : ".", &how);
	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "open '%.200s'", dir);
	}
	return linkat(target_fd, name, fd, last_part(link->path), 0) < 0
		       ? err_sys(e, "make hard link '%.200s'", link->path)
		       : 0;
}

static int make_links(const struct parents *p, int out_fd, struct err *e)
{
	for (size_t i = 0; i < p->count; i++)
		for (size_t n = 0; n < p->layers[i].link_count; n++)
			if (make_link(p, out_fd, i, &p->layers[i].links[n], e) < 0)
				return err_wrap(e, "layer %zu", i);
	return 0;
}

/* Making one changes the time of what it is in. */
static int set_times(const struct parents *p, int out_fd, struct err *e)
{
	for (size_t i = 0; i < p->made_count; i++) {
		const struct made *m = &p->made[i];
		const struct timespec times[2] = {m->mtime, m->mtime};

		if (utimensat(out_fd, *m->path ? m->path : ".", times, AT_SYMLINK_NOFOLLOW) < 0)
			return err_sys(e, "time of '%.200s'", m->path);
	}
	return 0;
}

int parents_make(struct parents *p, int out_fd, struct err *e)
{
	if (make_one(p, out_fd, "", e) < 0)
		return -e->code;
	for (size_t i = 1; i < p->count; i++) /* nothing lies below the lowest */
		if (make_all(p, out_fd, &p->layers[i], e) < 0)
			return -e->code;
	for (size_t i = 0; i < p->count; i++)
		if (make_places(p, out_fd, i, e) < 0)
			return -e->code;
	return make_links(p, out_fd, e) < 0 ? -e->code : set_times(p, out_fd, e);
}
