/* image/bundle.c - an archive of images: files by name
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/reason.h"
#include "image/tar.h"

#define PIECE_SIZE (256 << 10)
#define LINKS_MAX  8 /* in a row: older Dockers write a layer that repeats as a link */

struct file {
	char *name, *target; /* of a link: what it is to; NULL */
	int64_t offset, size;
};

struct bundle {
	int fd; /* borrowed */
	bool is_directory;
	struct file *files;
	size_t count, capacity;
};

/* ---- reading the list ---- */

struct reading {
	int fd;
	unsigned char piece[PIECE_SIZE];
};

static int read_piece(void *ctx, const void **ret, size_t *ret_size, struct err *e)
{
	struct reading *r = ctx;
	ssize_t n;

	do
		n = read(r->fd, r->piece, sizeof(r->piece));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return os_fail(e, "read the archive");
	*ret = r->piece;
	*ret_size = (size_t)n;
	return 0;
}

/* "a/layer.tar" and "../b/layer.tar" is "b/layer.tar"; "" when it leads out. */
static char *join(const char *name, const char *target)
{
	const char *slash = strrchr(name, '/');
	size_t len = slash ? (size_t)(slash - name) : 0;

	while (str_starts(target, "../")) {
		if (len == 0)
			return xstrdup("");
		while (len > 0 && name[len - 1] != '/')
			len--;
		len -= len > 0;
		target += strlen("../");
	}
	return len ? xasprintf("%.*s/%s", (int)len, name, target) : xstrdup(target);
}

static int add_entry(struct bundle *b, const struct tar_entry *entry, struct err *e)
{
	bool is_link = entry->kind == TAR_SYMLINK || entry->kind == TAR_HARD_LINK;

	if (!is_link && (entry->kind != TAR_FILE || entry->sparse))
		return 0;
	if (b->count == BUNDLE_FILES_MAX)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "more than %d files",
				  BUNDLE_FILES_MAX);
	b->files = xgrow(b->files, b->count, &b->capacity, sizeof(*b->files));
	b->files[b->count++] = (struct file){
		.name = xstrdup(entry->path),
		.target = entry->kind == TAR_SYMLINK     ? join(entry->path, entry->target)
			  : entry->kind == TAR_HARD_LINK ? xstrdup(entry->target)
							 : NULL,
		.offset = entry->offset,
		.size = entry->size,
	};
	return 0;
}

static int list_files(struct bundle *b, struct err *e)
{
	struct reading *reading = xcalloc(1, sizeof(*reading));
	const struct tar_entry *entry;
	struct tar *tar;
	int r;

	reading->fd = b->fd;
	tar = tar_new(read_piece, reading);
	while ((r = tar_next(tar, &entry, e)) == 0)
		if (add_entry(b, entry, e) < 0) {
			r = -e->code;
			break;
		}
	tar_free(tar);
	free(reading);
	return r < 0 ? r : 0;
}

/* By its first bytes: what is packed cannot be read at any place. */
static int check_plain(int fd, struct err *e)
{
	static const struct {
		const char *name;
		unsigned char magic[4];
		size_t size;
	} packings[] = {{"gzip", {0x1f, 0x8b}, 2},
			{"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4},
			{"bzip2", {'B', 'Z', 'h'}, 3},
			{"xz", {0xfd, '7', 'z', 'X'}, 4}};
	unsigned char first[4] = {0};

	if (pread(fd, first, sizeof(first), 0) < 0)
		return os_fail(e, "read the archive");
	for (size_t i = 0; i < ARRAY_COUNT(packings); i++)
		if (memcmp(first, packings[i].magic, packings[i].size) == 0)
			return image_fail(e, IMAGE_REASON_UNSUPPORTED,
					  "the archive is packed by %s: unpack it first",
					  packings[i].name);
	return 0;
}

int bundle_open(int fd, bool is_directory, struct bundle **ret, struct err *e)
{
	struct bundle *b = xcalloc(1, sizeof(*b));

	b->fd = fd;
	b->is_directory = is_directory;
	if (!is_directory && (check_plain(fd, e) < 0 || list_files(b, e) < 0)) {
		bundle_close(b);
		return -e->code;
	}
	*ret = b;
	return 0;
}

void bundle_close(struct bundle *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->count; i++) {
		free(b->files[i].name);
		free(b->files[i].target);
	}
	free(b->files);
	free(b);
}

/* ---- looking up ---- */

/* The last of that name counts, as with tar. */
static const struct file *find_listed(const struct bundle *b, const char *name)
{
	const struct file *f = NULL;

	for (int links = 0; links < LINKS_MAX; links++) {
		f = NULL;
		for (size_t i = b->count; i-- > 0 && !f;)
			if (str_eq(b->files[i].name, name))
				f = &b->files[i];
		if (!f || !f->target)
			return f;
		name = f->target;
	}
	return NULL;
}

static int find_in_directory(const char *name, struct bundle_file *ret, struct err *e)
{
	char clean[TAR_PATH_MAX];
	struct stat st;
	int fd;

	if (tar_clean_path(name, clean, e) < 0)
		return -e->code;
	fd = openat(AT_FDCWD, clean, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : os_fail(e, "open %.200s", clean);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		(void)close(fd);
		return image_fail(e, IMAGE_REASON_MALFORMED, "%.200s is no file", clean);
	}
	*ret = (struct bundle_file){.fd = fd, .own_fd = true, .size = st.st_size};
	return 0;
}

int bundle_find(const struct bundle *b, const char *name, struct bundle_file *ret, struct err *e)
{
	const struct file *f = b->is_directory ? NULL : find_listed(b, name);
	int r = b->is_directory ? find_in_directory(name, ret, e) : f ? 0 : -ENOENT;

	if (r == -ENOENT)
		return image_fail(e, IMAGE_REASON_MALFORMED, "the archive has no %.200s", name);
	if (f)
		*ret = (struct bundle_file){.fd = b->fd, .offset = f->offset, .size = f->size};
	return r;
}

bool bundle_has(const struct bundle *b, const char *name)
{
	struct bundle_file f;
	struct err ignored;

	if (bundle_find(b, name, &f, &ignored) < 0)
		return false;
	if (f.own_fd)
		(void)close(f.fd);
	return true;
}

static int read_file(const struct bundle_file *f, const char *name, struct buf *out, struct err *e)
{
	int64_t done = 0;

	if (f->size > (int64_t)out->limit)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "%.200s: %lld bytes, the limit is %zu",
				  name, (long long)f->size, out->limit);
	while (done < f->size) {
		size_t want = f->size - done > PIECE_SIZE ? PIECE_SIZE : (size_t)(f->size - done);
		void *room = buf_reserve(out, want);
		ssize_t n = room ? pread(f->fd, room, want, f->offset + done) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return os_fail(e, "read %.200s", name);
		if (n == 0)
			return image_fail(e, IMAGE_REASON_TRUNCATED, "%.200s ends too early", name);
		buf_commit(out, (size_t)n);
		done += n;
	}
	return 0;
}

int bundle_read(const struct bundle *b, const char *name, struct buf *out, struct err *e)
{
	struct bundle_file f;
	int r;

	if (bundle_find(b, name, &f, e) < 0)
		return -e->code;
	r = read_file(&f, name, out, e);
	if (f.own_fd)
		(void)close(f.fd);
	return r;
}
