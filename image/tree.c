/* image/tree.c - the entries of a layer become files, in overlay form
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/tree.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/reason.h"

/* Paths of directories are kept until the end: so many bytes of them. */
#define DIRECTORIES_BYTES_MAX (64 << 20)

struct directory {
	char *path;
	struct timespec mtime;
};

struct tree {
	int root_fd;               /* borrowed */
	const char *opaque;        /* the attribute's name on this file system */
	char parent[TAR_PATH_MAX]; /* the directory that parent_fd is */
	int parent_fd;             /* -1: none; the last one used */
	int file_fd;               /* -1: none; what tree_write() writes to */
	int64_t file_end;
	uint64_t bytes;
	uint32_t greatest_id;
	struct directory *directories;
	size_t directory_count, directory_capacity, directories_bytes;
	char **implied; /* directories that were made because something is in them */
	size_t implied_count, implied_capacity;
	struct map below; /* hard links to what lower layers have: path to target */
};

static int choose_opaque(struct tree *t, struct err *e)
{
	if (fgetxattr(t->root_fd, "user.overlay.opaque", NULL, 0) >= 0 || errno == ENODATA)
		t->opaque = "user.overlay.opaque";
	else if (errno == EOPNOTSUPP)
		t->opaque = "trusted.overlay.opaque";
	else
		return os_fail(e, "attributes of the layer's directory");
	return 0;
}

int tree_new(int root_fd, struct tree **ret, struct err *e)
{
	struct tree *t = xcalloc(1, sizeof(*t));

	t->root_fd = root_fd;
	t->parent_fd = t->file_fd = -1;
	if (choose_opaque(t, e) < 0) {
		tree_free(t);
		return -e->code;
	}
	*ret = t;
	return 0;
}

void tree_free(struct tree *t)
{
	char *target;

	if (!t)
		return;
	close_fd(&t->parent_fd);
	close_fd(&t->file_fd);
	for (size_t i = 0; i < t->directory_count; i++)
		free(t->directories[i].path);
	free(t->directories);
	for (size_t i = 0; i < t->implied_count; i++)
		free(t->implied[i]);
	free(t->implied);
	for (size_t i = 0; map_next(&t->below, &i, &target);)
		free(target);
	map_done(&t->below);
	free(t);
}

uint64_t tree_bytes(const struct tree *t)
{
	return t->bytes;
}

uint32_t tree_greatest_id(const struct tree *t)
{
	return t->greatest_id;
}

static void note_ids(struct tree *t, const struct tar_entry *entry)
{
	if (entry->uid > t->greatest_id)
		t->greatest_id = entry->uid;
	if (entry->gid > t->greatest_id)
		t->greatest_id = entry->gid;
}

/* ---- what is there ---- */

static int open_below(int root_fd, const char *path, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV,
	};

	return fs_openat2(root_fd, *path ? path : ".", &how);
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int mark_opaque(struct tree *t, int dir_fd, const char *path, struct err *e)
{
	if (fsetxattr(dir_fd, t->opaque, "y", 1, 0) < 0)
		return os_fail(e, "%s of '%.200s'", t->opaque, path);
	return 0;
}

/* Open directory 'name' for reading, which setting attributes takes. */
static int open_directory(int parent_fd, const char *name, const char *path, int *ret,
			  struct err *e)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return os_fail(e, "open directory '%.200s'", path);
	*ret = fd;
	return 0;
}

/* Make a directory where this layer has something else: nothing of lower ones shows in it. */
static int replace_other(struct tree *t, int parent_fd, const char *name, const char *path,
			 struct err *e)
{
	auto_close int fd = -1;

	if (unlinkat(parent_fd, name, 0) < 0 || mkdirat(parent_fd, name, 0755) < 0)
		return os_fail(e, "make directory '%.200s'", path);
	if (open_directory(parent_fd, name, path, &fd, e) < 0)
		return -e->code;
	return mark_opaque(t, fd, path, e);
}

/* ---- parents ---- */

static int count_bytes(struct tree *t, const char *path, struct err *e)
{
	t->directories_bytes += strlen(path) + sizeof(struct directory);
	return t->directories_bytes > DIRECTORIES_BYTES_MAX
		       ? image_fail(e, IMAGE_REASON_TOO_LARGE, "too many directories")
		       : 0;
}

static int imply(struct tree *t, const char *path, struct err *e)
{
	if (count_bytes(t, path, e) < 0)
		return -e->code;
	t->implied = xgrow(t->implied, t->implied_count, &t->implied_capacity, sizeof(*t->implied));
	t->implied[t->implied_count++] = xstrdup(path);
	return 0;
}

/* Make 'name' a directory, unless something else is there. */
static int make_parent(struct tree *t, int parent_fd, const char *name, const char *path,
		       struct err *e)
{
	struct stat st;

	if (mkdirat(parent_fd, name, 0755) == 0)
		return imply(t, path, e);
	if (errno != EEXIST || fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return os_fail(e, "make directory '%.200s'", path);
	if (is_whiteout(&st) && !map_find(&t->below, path))
		return imply(t, path, e) < 0 ? -e->code
					     : replace_other(t, parent_fd, name, path, e);
	if (S_ISLNK(st.st_mode))
		return image_fail(e, IMAGE_REASON_UNSAFE, "path through a symbolic link: '%.200s'",
				  path);
	if (!S_ISDIR(st.st_mode))
		return image_fail(e, IMAGE_REASON_MALFORMED, "path through a file: '%.200s'", path);
	return 0;
}

/* Open directory 'path', making what is missing of it. */
static int make_parents(struct tree *t, char *path, int *ret, struct err *e)
{
	auto_close int fd = open_below(t->root_fd, "", O_PATH | O_DIRECTORY);

	if (fd < 0) {
		errno = -fd;
		return os_fail(e, "open the layer's directory");
	}
	for (char *name = path, *slash;; name = slash + 1) {
		int next, r;

		slash = strchr(name, '/');
		if (slash)
			*slash = '\0';
		r = make_parent(t, fd, name, path, e);
		next = r < 0 ? -1 : openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (r == 0 && next < 0)
			r = os_fail(e, "open directory '%.200s'", path);
		if (slash)
			*slash = '/';
		if (r < 0)
			return r;
		(void)close(fd);
		fd = next;
		if (!slash)
			break;
	}
	*ret = take_fd(fd);
	return 0;
}

/* The directory that 'path' is in, as a descriptor that stays the tree's, and its name there. */
static int find_parent(struct tree *t, const char *path, int *ret_fd, const char **ret_name,
		       struct err *e)
{
	char parent[TAR_PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	int fd;

	*ret_name = slash ? slash + 1 : path;
	if (len == 0) {
		*ret_fd = t->root_fd;
		return 0;
	}
	memcpy(parent, path, len);
	parent[len] = '\0';
	if (t->parent_fd >= 0 && str_eq(t->parent, parent)) {
		*ret_fd = t->parent_fd;
		return 0;
	}

	fd = open_below(t->root_fd, parent, O_PATH | O_DIRECTORY);
	if (fd < 0 && make_parents(t, parent, &fd, e) < 0)
		return -e->code;
	close_fd(&t->parent_fd);
	t->parent_fd = fd;
	memcpy(t->parent, parent, len + 1);
	*ret_fd = fd;
	return 0;
}

/* ---- entries ---- */

/* Take away what is there, a tree included. */
static int clear(struct tree *t, int parent_fd, const char *name, const char *path, struct err *e)
{
	if (unlinkat(parent_fd, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return os_fail(e, "replace '%.200s'", path);
	if (fs_remove_tree(parent_fd, name, e) < 0)
		return image_class_os(e);
	if (parent_fd != t->parent_fd)
		close_fd(&t->parent_fd); /* it may have been in there */
	return 0;
}

static int set_attributes(int fd, const struct tar_entry *entry, struct err *e)
{
	for (size_t i = 0; i < entry->attribute_count; i++) {
		const struct tar_attribute *a = &entry->attributes[i];

		/* What the file system has no room for in principle is left out, as elsewhere. */
		if (fsetxattr(fd, a->name, a->value, a->size, 0) < 0 && errno != EOPNOTSUPP)
			return os_fail(e, "attribute %.100s of '%.200s'", a->name, entry->path);
	}
	return 0;
}

/* In this order: a change of owner takes set-uid bits and capabilities away. */
static int describe(int fd, const struct tar_entry *entry, struct err *e)
{
	if (fchown(fd, entry->uid, entry->gid) < 0)
		return os_fail(e, "owner of '%.200s'", entry->path);
	if (fchmod(fd, entry->mode) < 0)
		return os_fail(e, "mode of '%.200s'", entry->path);
	return set_attributes(fd, entry, e);
}

static int set_times(int fd, struct timespec mtime, const char *path, struct err *e)
{
	const struct timespec times[2] = {mtime, mtime};

	if (futimens(fd, times) < 0)
		return os_fail(e, "time of '%.200s'", path);
	return 0;
}

/* For what cannot be opened: links and nodes.  It is ours and new, so nobody swapped it. */
static int describe_by_name(int parent_fd, const char *name, const struct tar_entry *entry,
			    struct err *e)
{
	const struct timespec times[2] = {entry->mtime, entry->mtime};

	if (fchownat(parent_fd, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return os_fail(e, "owner of '%.200s'", entry->path);
	if (entry->kind != TAR_SYMLINK && fchmodat(parent_fd, name, entry->mode & 07777, 0) < 0)
		return os_fail(e, "mode of '%.200s'", entry->path);
	if (utimensat(parent_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return os_fail(e, "time of '%.200s'", entry->path);
	return 0;
}

static int add_file(struct tree *t, int parent_fd, const char *name, const struct tar_entry *entry,
		    struct err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(parent_fd, name, flags, 0600);

	if (fd < 0 && errno == EEXIST) {
		if (clear(t, parent_fd, name, entry->path, e) < 0)
			return -e->code;
		fd = openat(parent_fd, name, flags, 0600);
	}
	if (fd < 0)
		return os_fail(e, "create '%.200s'", entry->path);
	t->file_fd = fd;
	t->file_end = 0;
	return 0;
}

int tree_write(struct tree *t, const void *data, size_t size, int64_t offset, struct err *e)
{
	const char *p = data;

	assert(t->file_fd >= 0);

	while (size) {
		ssize_t n = pwrite(t->file_fd, p, size, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return os_fail(e, "write a file");
		p += n;
		size -= (size_t)n;
		offset += n;
	}
	t->file_end = offset;
	return 0;
}

int tree_end_file(struct tree *t, const struct tar_entry *entry, struct err *e)
{
	auto_close int fd = take_fd(t->file_fd);

	assert(fd >= 0);

	if (t->file_end < entry->size && ftruncate(fd, entry->size) < 0) /* a hole at its end */
		return os_fail(e, "size of '%.200s'", entry->path);
	t->bytes += (uint64_t)entry->size;
	if (describe(fd, entry, e) < 0)
		return -e->code;
	return set_times(fd, entry->mtime, entry->path, e);
}

static int remember(struct tree *t, const struct tar_entry *entry, struct err *e)
{
	if (count_bytes(t, entry->path, e) < 0)
		return -e->code;
	t->directories = xgrow(t->directories, t->directory_count, &t->directory_capacity,
			       sizeof(*t->directories));
	t->directories[t->directory_count++] = (struct directory){xstrdup(entry->path),
								  entry->mtime};
	return 0;
}

/* Make 'name' a directory whatever is there. */
static int make_directory(struct tree *t, int parent_fd, const char *name, const char *path,
			  struct err *e)
{
	struct stat st;

	if (mkdirat(parent_fd, name, 0755) == 0)
		return 0;
	if (errno != EEXIST || fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return os_fail(e, "make directory '%.200s'", path);
	return S_ISDIR(st.st_mode) ? 0 : replace_other(t, parent_fd, name, path, e);
}

static int add_directory(struct tree *t, int parent_fd, const char *name,
			 const struct tar_entry *entry, struct err *e)
{
	auto_close int fd = -1;

	if (!*name)
		name = "."; /* the root */
	else if (make_directory(t, parent_fd, name, entry->path, e) < 0)
		return -e->code;
	if (open_directory(parent_fd, name, entry->path, &fd, e) < 0 || describe(fd, entry, e) < 0)
		return -e->code;
	return remember(t, entry, e);
}

static int add_symlink(struct tree *t, int parent_fd, const char *name,
		       const struct tar_entry *entry, struct err *e)
{
	int r = symlinkat(entry->target, parent_fd, name);

	if (r < 0 && errno == EEXIST) {
		if (clear(t, parent_fd, name, entry->path, e) < 0)
			return -e->code;
		r = symlinkat(entry->target, parent_fd, name);
	}
	if (r < 0)
		return os_fail(e, "make symbolic link '%.200s'", entry->path);
	return describe_by_name(parent_fd, name, entry, e);
}

static int add_node(struct tree *t, int parent_fd, const char *name, const struct tar_entry *entry,
		    struct err *e)
{
	const mode_t mode = (entry->mode & S_IFMT) | 0600;
	int r = mknodat(parent_fd, name, mode, entry->device);

	if (r < 0 && errno == EEXIST) {
		if (clear(t, parent_fd, name, entry->path, e) < 0)
			return -e->code;
		r = mknodat(parent_fd, name, mode, entry->device);
	}
	if (r < 0)
		return os_fail(e, "make device or fifo '%.200s'", entry->path);
	return describe_by_name(parent_fd, name, entry, e);
}

static int no_target(const struct tar_entry *entry, struct err *e)
{
	return image_fail(e, IMAGE_REASON_MALFORMED,
			  "hard link '%.150s' to '%.150s', which this layer does not have",
			  entry->path, entry->target);
}

/* A link to what lower layers have by 'target', which is for those who put layers together to make. */
static int link_below(struct tree *t, int parent_fd, const char *name,
		      const struct tar_entry *entry, const char *target, struct err *e)
{
	auto_free char *copy = xstrdup(target);
	struct stat st;

	if (count_bytes(t, entry->path, e) < 0 || count_bytes(t, target, e) < 0)
		return -e->code;
	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    clear(t, parent_fd, name, entry->path, e) < 0)
		return -e->code;
	if (mknodat(parent_fd, name, S_IFCHR, makedev(0, 0)) < 0)
		return os_fail(e, "make hard link '%.200s'", entry->path);
	free(map_put(&t->below, entry->path, take_ptr(copy)));
	return 0;
}

/*
 * The target is something that this layer made already, or what lower layers have.  Its
 * parent is opened, never made, and a link that is the target stays a link: linkat(2)
 * without AT_SYMLINK_FOLLOW.  All else was said by the first name.
 */
static int add_hard_link(struct tree *t, int parent_fd, const char *name,
			 const struct tar_entry *entry, struct err *e)
{
	char dir[TAR_PATH_MAX];
	const char *slash = strrchr(entry->target, '/');
	const char *target = slash ? slash + 1 : entry->target, *below;
	auto_close int dir_fd = -1;
	struct stat st, old;

	(void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - entry->target) : 0,
		       entry->target);
	dir_fd = open_below(t->root_fd, dir, O_PATH | O_DIRECTORY);
	if (dir_fd < 0 || fstatat(dir_fd, target, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return link_below(t, parent_fd, name, entry, entry->target, e);
	below = is_whiteout(&st) ? map_find(&t->below, entry->target) : NULL;
	if (below)
		return str_eq(entry->target, entry->path)
			       ? 0
			       : link_below(t, parent_fd, name, entry, below, e);
	if (is_whiteout(&st) || S_ISDIR(st.st_mode))
		return no_target(entry, e);

	if (fstatat(parent_fd, name, &old, AT_SYMLINK_NOFOLLOW) == 0) {
		if (old.st_dev == st.st_dev && old.st_ino == st.st_ino)
			return 0; /* it is that file already */
		if (clear(t, parent_fd, name, entry->path, e) < 0)
			return -e->code;
	}
	if (linkat(dir_fd, target, parent_fd, name, 0) == 0)
		return 0;
	if (errno == ENOENT) /* it was in what has just been replaced */
		return no_target(entry, e);
	return os_fail(e, "make hard link '%.200s'", entry->path);
}

static int add_whiteout(struct tree *t, int parent_fd, const char *name,
			const struct tar_entry *entry, struct err *e)
{
	auto_close int fd = -1;
	struct stat st;

	if (mknodat(parent_fd, name, S_IFCHR, makedev(0, 0)) == 0)
		return 0;
	if (errno != EEXIST || fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return os_fail(e, "make whiteout '%.200s'", entry->path);
	if (!S_ISDIR(st.st_mode))
		return 0; /* what is there hides what is below */
	if (open_directory(parent_fd, name, entry->path, &fd, e) < 0)
		return -e->code;
	return mark_opaque(t, fd, entry->path, e);
}

static int add_opaque(struct tree *t, int parent_fd, const char *name,
		      const struct tar_entry *entry, struct err *e)
{
	auto_close int fd = -1;

	if (!*name)
		name = ".";
	else if (make_parent(t, parent_fd, name, entry->path, e) < 0)
		return -e->code;
	if (open_directory(parent_fd, name, entry->path, &fd, e) < 0)
		return -e->code;
	return mark_opaque(t, fd, entry->path, e);
}

typedef int add_fn(struct tree *t, int parent_fd, const char *name, const struct tar_entry *entry,
		   struct err *e);

static add_fn *const adders[] = {
	[TAR_FILE] = add_file,       [TAR_DIRECTORY] = add_directory,
	[TAR_SYMLINK] = add_symlink, [TAR_HARD_LINK] = add_hard_link,
	[TAR_NODE] = add_node,       [TAR_WHITEOUT] = add_whiteout,
	[TAR_OPAQUE] = add_opaque,
};

int tree_add(struct tree *t, const struct tar_entry *entry, struct err *e)
{
	const char *name;
	int parent_fd;

	assert(t->file_fd < 0 && (size_t)entry->kind < ARRAY_COUNT(adders));

	if (find_parent(t, entry->path, &parent_fd, &name, e) < 0)
		return -e->code;
	note_ids(t, entry);
	return adders[entry->kind](t, parent_fd, name, entry, e);
}

/* ---- the end ---- */

static int set_directory_times(struct tree *t, const char *path, struct timespec mtime,
			       struct err *e)
{
	auto_close int fd = open_below(t->root_fd, path, O_RDONLY | O_DIRECTORY);

	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0; /* it was replaced */
	if (fd < 0) {
		errno = -fd;
		return os_fail(e, "open directory '%.200s'", path);
	}
	return set_times(fd, mtime, path, e);
}

static int compare_directories(const void *a, const void *b)
{
	return strcmp(((const struct directory *)a)->path, ((const struct directory *)b)->path);
}

static bool is_told(const struct tree *t, const char *path)
{
	const struct directory wanted = {.path = (char *)(uintptr_t)path};

	return t->directory_count && bsearch(&wanted, t->directories, t->directory_count,
					     sizeof(wanted), compare_directories);
}

/* Those that the layer tells of itself are none. */
static int settle_implied(struct tree *t, struct err *e)
{
	size_t count = 0;

	for (size_t i = 0; i < t->implied_count; i++) {
		if (is_told(t, t->implied[i]))
			free(t->implied[i]);
		else
			t->implied[count++] = t->implied[i];
	}
	t->implied_count = count;
	if (!is_told(t, "") && imply(t, "", e) < 0)
		return -e->code;
	for (size_t i = 0; i < t->implied_count; i++)
		if (set_directory_times(t, t->implied[i], (struct timespec){.tv_sec = 0}, e) < 0)
			return -e->code;
	return 0;
}

int tree_finish(struct tree *t, struct err *e)
{
	for (size_t i = 0; i < t->directory_count; i++) /* the last word counts */
		if (set_directory_times(t, t->directories[i].path, t->directories[i].mtime, e) < 0)
			return -e->code;
	if (t->directory_count)
		qsort(t->directories, t->directory_count, sizeof(*t->directories),
		      compare_directories);
	return settle_implied(t, e);
}

/* Has nothing else come in its place? */
static bool is_still_below(const struct tree *t, const char *path)
{
	auto_close int fd = open_below(t->root_fd, path, O_PATH);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && is_whiteout(&st);
}

static void put_links(const struct tree *t, struct buf *b)
{
	for (size_t i = 0; i < t->below.used; i++) {
		const struct map_entry *link = &t->below.entries[i];

		if (!link->key || !is_still_below(t, link->key))
			continue;
		buf_putc(b, '/');
		buf_add(b, link->key, strlen(link->key) + 1);
		buf_add(b, link->value, strlen(link->value) + 1);
	}
}

int tree_write_implied(const struct tree *t, int fd, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(2 * DIRECTORIES_BYTES_MAX);
	int r;

	put_links(t, &b);
	for (size_t i = 0; i < t->implied_count; i++)
		buf_add(&b, t->implied[i], strlen(t->implied[i]) + 1);
	r = write_all(fd, b.data, b.size);
	if (r < 0) {
		errno = -r;
		return os_fail(e, "write the names of directories");
	}
	return 0;
}
