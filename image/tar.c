/* image/tar.c - the entries of a layer, checked
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/reason.h"

#define WHITEOUT ".wh."
#define OPAQUE   ".wh..wh..opq"

#define BLOCK     512
#define MAJOR_MAX 4095
#define MINOR_MAX 1048575

struct tar {
	struct archive *archive;
	tar_source_fn *source;
	void *ctx;
	struct err source_err; /* why the source failed; code 0: it did not */
	struct tar_entry entry;
	bool is_open;
	uint32_t entries;
	int64_t files_bytes;
	int64_t next_header; /* where the next one begins at the earliest; -1: unknown */
};

static la_ssize_t read_source(struct archive *a, void *ctx, const void **ret)
{
	struct tar *t = ctx;
	size_t size = 0;

	if (t->source_err.code || t->source(t->ctx, ret, &size, &t->source_err) < 0) {
		archive_set_error(a, EIO, "source");
		return ARCHIVE_FATAL;
	}
	return (la_ssize_t)size;
}

struct tar *tar_new(tar_source_fn *source, void *ctx)
{
	struct tar *t = xcalloc(1, sizeof(*t));
	int r;

	t->source = source;
	t->ctx = ctx;
	t->next_header = -1;
	t->archive = archive_read_new();
	assert(t->archive);
	r = archive_read_support_format_tar(t->archive);
	assert(r == ARCHIVE_OK);
	(void)r;
	return t;
}

void tar_free(struct tar *t)
{
	if (!t)
		return;
	(void)archive_read_free(t->archive);
	free(t);
}

/* ---- paths ---- */

static int unsafe(struct err *e, const char *what, const char *path)
{
	return image_fail(e, IMAGE_REASON_UNSAFE, "%s: '%.200s'", what, path);
}

static int too_large(struct err *e, const char *what, const char *path)
{
	return image_fail(e, IMAGE_REASON_TOO_LARGE, "%s: '%.200s'", what, path);
}

int tar_clean_path(const char *path, char ret[TAR_PATH_MAX], struct err *e)
{
	size_t out = 0, depth = 0, len;

	if (path[0] == '\0')
		return unsafe(e, "empty path", path);

	for (const char *p = path; *p; p += len) {
		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 0 || (len == 1 && p[0] == '.'))
			continue;
		if (len == 2 && p[0] == '.' && p[1] == '.')
			return unsafe(e, "'..' in a path", path);
		if (len > TAR_NAME_MAX)
			return too_large(e, "name too long", path);
		if (++depth > TAR_DEPTH_MAX)
			return too_large(e, "nested too deep", path);
		if (out + 1 + len + 1 > TAR_PATH_MAX)
			return too_large(e, "path too long", path);
		if (out)
			ret[out++] = '/';
		memcpy(ret + out, p, len);
		out += len;
	}
	ret[out] = '\0';
	return 0;
}

static char *last_part(char *path)
{
	char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Turn ".wh.x" into the entry that it means.  The prefix has no other use. */
static int read_whiteout(struct tar_entry *entry, struct err *e)
{
	char *name = last_part(entry->path);

	if (str_eq(name, OPAQUE)) {
		entry->kind = TAR_OPAQUE;
		if (name > entry->path)
			name--;
		*name = '\0';
	} else if (str_starts(name, WHITEOUT)) {
		const char *hidden = name + strlen(WHITEOUT);

		if (!*hidden || str_eq(hidden, ".") || str_eq(hidden, "..") ||
		    str_starts(hidden, WHITEOUT))
			return unsafe(e, "whiteout of nothing", entry->path);
		entry->kind = TAR_WHITEOUT;
		memmove(name, hidden, strlen(hidden) + 1);
	}
	if (str_starts(entry->path, WHITEOUT) || strstr(entry->path, "/" WHITEOUT))
		return unsafe(e, "reserved name in a path", entry->path);
	return 0;
}

/* ---- attributes ---- */

static bool is_wanted(const char *name)
{
	static const char *const wanted[] = {
		"security.capability",
		"system.posix_acl_access",
		"system.posix_acl_default",
	};

	if (str_starts(name, "user.") && !str_starts(name, "user.overlay."))
		return name[strlen("user.")] && strlen(name) <= TAR_NAME_MAX;
	for (size_t i = 0; i < ARRAY_COUNT(wanted); i++)
		if (str_eq(name, wanted[i]))
			return true;
	return false;
}

static int read_attributes(struct tar_entry *entry, struct archive_entry *in, struct err *e)
{
	struct tar_attribute a;

	entry->attribute_count = 0;
	(void)archive_entry_xattr_reset(in);
	while (archive_entry_xattr_next(in, &a.name, &a.value, &a.size) == ARCHIVE_OK) {
		if (!a.name || !is_wanted(a.name))
			continue;
		if (a.size > TAR_ATTRIBUTE_SIZE_MAX)
			return too_large(e, "attribute too large", entry->path);
		if (entry->attribute_count == TAR_ATTRIBUTES_MAX)
			return too_large(e, "too many attributes", entry->path);
		entry->attributes[entry->attribute_count++] = a;
	}
	return 0;
}

/* ---- entries ---- */

static int malformed(struct err *e, const char *what, const char *path)
{
	return image_fail(e, IMAGE_REASON_MALFORMED, "%s: '%.200s'", what, path);
}

static int read_owner(struct tar_entry *entry, struct archive_entry *in, struct err *e)
{
	la_int64_t uid = archive_entry_uid(in), gid = archive_entry_gid(in);

	if (uid < 0 || uid > TAR_ID_MAX || gid < 0 || gid > TAR_ID_MAX)
		return malformed(e, "owner out of range", entry->path);
	entry->uid = (uid_t)uid;
	entry->gid = (gid_t)gid;
	entry->mode = archive_entry_perm(in) & 07777;
	entry->mtime.tv_sec = archive_entry_mtime(in);
	entry->mtime.tv_nsec = archive_entry_mtime_nsec(in);
	/* libarchive reads "-4.25" as a quarter after -4; above -1 it loses the sign. */
	if (entry->mtime.tv_sec < 0 && entry->mtime.tv_nsec > 0) {
		entry->mtime.tv_sec--;
		entry->mtime.tv_nsec = 1000000000 - entry->mtime.tv_nsec;
	}
	if (entry->mtime.tv_nsec < 0 || entry->mtime.tv_nsec > 999999999)
		return malformed(e, "time out of range", entry->path);
	return 0;
}

static int read_node(struct tar_entry *entry, struct archive_entry *in, struct err *e)
{
	la_int64_t major = archive_entry_rdevmajor(in), minor = archive_entry_rdevminor(in);

	entry->kind = TAR_NODE;
	entry->mode |= archive_entry_filetype(in);
	entry->device = 0;
	if (S_ISFIFO(entry->mode))
		return 0;
	if (major < 0 || major > MAJOR_MAX || minor < 0 || minor > MINOR_MAX)
		return malformed(e, "device number out of range", entry->path);
	if (S_ISCHR(entry->mode) && major == 0 && minor == 0)
		return unsafe(e, "character device 0:0, which is how overlay writes a whiteout",
			      entry->path);
	entry->device = makedev((unsigned)major, (unsigned)minor);
	return 0;
}

static int read_file(struct tar *t, struct archive_entry *in, struct err *e)
{
	struct tar_entry *entry = &t->entry;

	entry->kind = TAR_FILE;
	entry->size = archive_entry_size(in);
	if (entry->size < 0)
		return malformed(e, "negative size", entry->path);
	if (entry->size > TAR_FILES_MAX - t->files_bytes)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "its files have more than %lld GiB",
				  TAR_FILES_MAX >> 30);
	t->files_bytes += entry->size;
	return 0;
}

/*
 * Files are read where they lie in the tar, so where that is must be known for
 * certain: the next header has to begin behind the content, and nowhere else.
 * A hard link has none, whatever its header says of a size: some readers would skip
 * that, so it is refused where the next header is not the next block.
 */
static int read_place(struct tar *t, struct archive_entry *in, struct err *e)
{
	struct tar_entry *entry = &t->entry;
	int64_t header = archive_read_header_position(t->archive);

	if (t->next_header >= 0 && header != t->next_header)
		return malformed(e, "content of another size than was said before", entry->path);
	t->next_header = entry->kind == TAR_HARD_LINK ? archive_filter_bytes(t->archive, 0) : -1;
	if (entry->kind != TAR_FILE)
		return 0;
	entry->offset = archive_filter_bytes(t->archive, 0);
	entry->sparse = archive_entry_sparse_count(in) > 0;
	if (!entry->sparse)
		t->next_header = entry->offset + (entry->size + BLOCK - 1) / BLOCK * BLOCK;
	if (entry->offset % BLOCK)
		return malformed(e, "content that is not at the begin of a block", entry->path);
	return 0;
}

static int read_hard_link(struct tar_entry *entry, struct archive_entry *in, struct err *e)
{
	entry->kind = TAR_HARD_LINK;
	if (tar_clean_path(archive_entry_hardlink(in), entry->target, e) < 0)
		return err_wrap(e, "hard link '%.100s'", entry->path);
	if (!entry->target[0])
		return unsafe(e, "hard link to the root", entry->path);
	return 0;
}

static int read_symlink(struct tar_entry *entry, struct archive_entry *in, struct err *e)
{
	const char *target = archive_entry_symlink(in);
	size_t len = target ? strlen(target) : 0;

	entry->kind = TAR_SYMLINK;
	if (len == 0)
		return malformed(e, "symbolic link to nothing", entry->path);
	if (len >= TAR_PATH_MAX)
		return too_large(e, "target of a symbolic link too long", entry->path);
	memcpy(entry->target, target, len + 1);
	return 0;
}

static int read_kind(struct tar *t, struct archive_entry *in, struct err *e)
{
	struct tar_entry *entry = &t->entry;

	if (archive_entry_hardlink(in))
		return read_hard_link(entry, in, e);
	switch (archive_entry_filetype(in)) {
	case AE_IFREG:
		return read_file(t, in, e);
	case AE_IFDIR:
		entry->kind = TAR_DIRECTORY;
		return 0;
	case AE_IFLNK:
		return read_symlink(entry, in, e);
	case AE_IFCHR:
	case AE_IFBLK:
	case AE_IFIFO:
		return read_node(entry, in, e);
	default:
		return malformed(e, "unknown type", entry->path);
	}
}

static int read_entry(struct tar *t, struct archive_entry *in, struct err *e)
{
	struct tar_entry *entry = &t->entry;
	const char *path = archive_entry_pathname(in);

	if (!path)
		return malformed(e, "entry without a name", "");
	if (tar_clean_path(path, entry->path, e) < 0 || read_owner(entry, in, e) < 0 ||
	    read_kind(t, in, e) < 0 || read_place(t, in, e) < 0 ||
	    read_attributes(entry, in, e) < 0)
		return -e->code;
	if (entry->kind != TAR_FILE && archive_entry_size(in) > 0)
		return malformed(e, "data behind what is no file", entry->path);
	if (!entry->path[0] && entry->kind != TAR_DIRECTORY)
		return unsafe(e, "the root is not a directory", path);
	return read_whiteout(entry, e);
}

/* A name that is not ASCII gives a warning, and its bytes all the same. */
static bool only_about_charset(struct archive *a)
{
	const char *message = archive_error_string(a);

	return message && strstr(message, "can't be converted");
}

static int failed(struct tar *t, struct err *e)
{
	const char *message = archive_error_string(t->archive);

	if (t->source_err.code) {
		*e = t->source_err;
		return -e->code;
	}
	return image_fail(e, IMAGE_REASON_MALFORMED, "tar: %.200s",
			  message ? message : "it cannot be read");
}

static int open_archive(struct tar *t, struct err *e)
{
	if (archive_read_open(t->archive, t, NULL, read_source, NULL) != ARCHIVE_OK)
		return failed(t, e);
	t->is_open = true;
	return 0;
}

int tar_next(struct tar *t, const struct tar_entry **ret, struct err *e)
{
	struct archive_entry *in;
	int r;

	if (!t->is_open && open_archive(t, e) < 0)
		return -e->code;
	archive_clear_error(t->archive);
	r = archive_read_next_header(t->archive, &in);
	if (r == ARCHIVE_EOF && archive_filter_bytes(t->archive, 0) < t->next_header)
		return malformed(e, "content of another size than was said", t->entry.path);
	if (r == ARCHIVE_EOF)
		return TAR_END;
	if (r != ARCHIVE_OK && !(r == ARCHIVE_WARN && only_about_charset(t->archive)))
		return failed(t, e);
	if (++t->entries > TAR_ENTRIES_MAX)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "more than %d entries",
				  TAR_ENTRIES_MAX);
	if (read_entry(t, in, e) < 0)
		return -e->code;
	*ret = &t->entry;
	return 0;
}

int tar_data(struct tar *t, const void **ret, size_t *ret_size, int64_t *ret_offset, struct err *e)
{
	la_int64_t offset;
	int r = archive_read_data_block(t->archive, ret, ret_size, &offset);

	if (r == ARCHIVE_EOF)
		return TAR_END;
	if (r != ARCHIVE_OK)
		return failed(t, e);
	if (offset < 0 || offset > t->entry.size || *ret_size > (uint64_t)(t->entry.size - offset))
		return malformed(e, "data behind its end", t->entry.path);
	*ret_offset = offset;
	return 0;
}
